//! `console`: becomes the console's client.

use super::wrong;
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::Failure;
use crate::session::Session;
use crate::table::Outcome;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the client may be, beside this program first.
const FOLDERS: &[&str] = &["/usr/lib/ferroxen/bin", "/usr/lib/xen/bin"];
const CLIENT: &str = "xenconsole";

/// `xl console`.
pub fn console(session: &mut Session, parsed: &Parsed) -> Outcome {
    let kind = parsed.value("t").unwrap_or("pv");
    match kind {
        "pv" | "serial" => {}
        "vuart" => return Err(wrong("console type vuart is for Arm guests only")),
        _ => return Err(wrong(format!("console type supported are: pv, serial, vuart: {kind}"))),
    }
    let number = parsed.value("n").unwrap_or("0");
    if number.parse::<u16>().is_err() {
        return Err(wrong(format!("-n needs a console's number, not {number}")));
    }
    let escape = parsed.value("e");
    let domid = domains::find(session, parsed.operand(0))?;
    domains::info(session, domid)?;
    let mut client = client(domid, kind, number, escape);
    Err(Failure::caused("Unable to attach console", &client.exec())
        .help("is xenconsole installed beside xl?"))
}

/// The command that becomes the console of a domain.
pub fn client(domid: u16, kind: &str, number: &str, escape: Option<&str>) -> Command {
    let mut client = Command::new(find_client());
    client.args([&domid.to_string(), "--type", kind, "--num", number]);
    if let Some(escape) = escape {
        client.args(["--escape", escape]);
    }
    client
}

fn find_client() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|program| {
        let folder = program.parent()?;
        Some(folder.join(CLIENT))
    });
    beside
        .into_iter()
        .chain(FOLDERS.iter().map(|folder| Path::new(folder).join(CLIENT)))
        .find(|path| path.is_file())
        // Not found: the shell's path may have it.
        .unwrap_or_else(|| PathBuf::from(CLIENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_domain_kind_and_number() {
        let client = client(7, "pv", "0", Some("x"));
        let words: Vec<_> = client.get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words, ["7", "--type", "pv", "--num", "0", "--escape", "x"]);
    }
}
