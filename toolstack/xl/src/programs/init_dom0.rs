//! `xen-init-dom0`: writes what the store and the toolstack must know of domain 0 before guests come.

use crate::cli;
use crate::failure::{Failure, OrFail as _};
use crate::output;
use crate::session::{Globals, Session};
use std::path::Path;
use xenstore::{Access, Client};

/// Domain 0's name, by which scripts know it.
const NAME: &str = "Domain-0";
/// Where stored configurations are.
const USERDATA: &str = "/var/lib/xen";
/// Domain 0's stored configuration: there is nothing to be said of it but its kind.
const STUB: &str = r#"{"c_info":{"type":"pv"},"b_info":{"sched_params":{},"type.pv":{},"arch_arm":{},"arch_x86":{}}}"#;

/// Runs it; the exit code.
pub fn run(words: &[String]) -> u8 {
    match init(words) {
        Ok(()) => 0,
        Err(failure) => cli::report("xen-init-dom0", &Globals::default(), &failure),
    }
}

fn init(words: &[String]) -> Result<(), Failure> {
    let mut session = Session::new(Globals::default());
    if words.len() > 1 {
        return Err(Failure::new("too many arguments").help("it takes at most domain 0's UUID"));
    }
    let uuid = match words.first() {
        Some(word) => {
            Some(uuid(word).ok_or_else(|| Failure::new(format!("failed to parse UUID {word}")))?)
        }
        None => None,
    };
    let (xen, store) = session.both()?;
    if is_set_up(store)? {
        output::error("Dom0 is already set up\n");
        return Ok(());
    }
    if let Some(handle) = uuid {
        xen.set_handle(0, handle).or_fail(|| "failed to set Dom0 UUID".to_owned())?;
    }
    let info = xen
        .domain_info(0)
        .or_fail(|| "cannot look at domain 0".to_owned())?
        .ok_or_else(|| Failure::new("there is no domain 0"))?;
    keep_stub(Path::new(USERDATA), &crate::format::uuid(&info.handle))?;
    write_nodes(store).or_fail(|| "cannot write domain 0's nodes".to_owned())?;
    output::print("Done setting up Dom0\n");
    Ok(())
}

/// Whether this was done before, since the store was started.
fn is_set_up(store: &mut Client) -> Result<bool, Failure> {
    let failed = || "cannot look whether domain 0 is set up".to_owned();
    let domid = store.try_read("/local/domain/0/domid").or_fail(failed)?;
    let name = store.try_read("/local/domain/0/name").or_fail(failed)?;
    Ok(domid.as_deref() == Some("0") && name.as_deref() == Some(NAME))
}

/// All nodes at once: the name last, since the kernel's waits are for it.
fn write_nodes(store: &mut Client) -> xenstore::Result<()> {
    store.transaction(|t| {
        t.write("/local/domain/0/domid", "0")?;
        t.write("/local/pool/0/name", "Pool-0")?;
        t.write("/local/domain/0/name", NAME)
    })
}

/// Puts the stub where C's tools and ours look for a stored configuration.
fn keep_stub(folder: &Path, uuid: &str) -> Result<(), Failure> {
    let path = folder.join(format!("userdata-d.0.{uuid}.libxl-json"));
    let failed = || format!("cannot store stub json config for domain 0 in {}", path.display());
    std::fs::create_dir_all(folder).or_fail(failed)?;
    let value: serde_json::Value = serde_json::from_str(STUB).or_fail(failed)?;
    std::fs::write(&path, crate::format::json::libxl(&value)).or_fail(failed)
}

/// A UUID's bytes.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_taken_in_its_usual_form_only() {
        let bytes = uuid("14388ede-d6e3-497c-a468-f2e95dc63d31").unwrap();
        assert_eq!(crate::format::uuid(&bytes), "14388ede-d6e3-497c-a468-f2e95dc63d31");
        for text in ["", "14388ede", "14388ede-d6e3-497c-a468-f2e95dc63d3g", "1-2-3-4-5"] {
            assert_eq!(uuid(text), None, "{text}");
        }
    }

    #[test]
    fn the_stub_is_stored_as_libxl_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        keep_stub(folder.path(), "u").unwrap();
        let text =
            std::fs::read_to_string(folder.path().join("userdata-d.0.u.libxl-json")).unwrap();
        assert!(
            text.starts_with("{\n    \"c_info\": {\n        \"type\": \"pv\"\n    },\n"),
            "{text}"
        );
        assert!(text.ends_with("        \"arch_x86\": {\n\n        }\n    }\n}\n"), "{text}");
    }
}
