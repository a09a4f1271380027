//! `domid`, `domname`, `vm-list`.

use super::list;
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::Failure;
use crate::format::{self, list::Columns};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;

/// `xl domid`.
pub fn domid(session: &mut Session, parsed: &Parsed) -> Outcome {
    let name = parsed.operand(0);
    let (domid, near) = domains::find_name(session, name)?;
    let Some(domid) = domid else {
        let failure = Failure::new(format!(
            "Can't get domid of domain name '{name}', maybe this domain does not exist."
        ));
        return Err(match near {
            Some(near) => failure.help(format!("did you mean {near}?")),
            None => failure,
        });
    };
    output::print(&format!("{domid}\n"));
    Ok(0)
}

/// `xl domname`.
pub fn domname(session: &mut Session, parsed: &Parsed) -> Outcome {
    let word = parsed.operand(0);
    let domid = domains::as_number(word)
        .ok_or_else(|| Failure::new(format!("Invalid domain id: {word}")).help("give a number"))?;
    let name = domains::names(session.store()?, &[domid])?.into_iter().next().flatten();
    let Some(name) = name else {
        return Err(Failure::new(format!(
            "Can't get domain name of domain id '{domid}', maybe this domain does not exist."
        )));
    };
    output::print(&format!("{name}\n"));
    Ok(0)
}

/// `xl vm-list`.
pub fn vm_list(session: &mut Session, parsed: &Parsed) -> Outcome {
    let rows = list::rows(session, &[], Columns::default())?;
    // Service domains: the one of the store.
    let rows: Vec<_> = rows.into_iter().filter(|row| !row.info.xenstore).collect();
    let text = if parsed.json() {
        format::json::ours(&format::list::json(&rows))
    } else {
        format::on_terminal(format::list::vms(&rows), output::colours())
    };
    output::print(&text);
    Ok(0)
}
