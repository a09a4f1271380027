//! `doctor`: what is wrong with this host, and the cure.

use crate::cli::options::Parsed;
use crate::doctor::{self, Finding};
use crate::failure::code;
use crate::format;
use crate::output;
use crate::session::Session;
use crate::table::Outcome;

/// `xl doctor`: 0 if nothing is wrong, else 1.
pub fn doctor(session: &mut Session, parsed: &Parsed) -> Outcome {
    if parsed.flag("cure") {
        for line in doctor::cure(session)? {
            session.say(&line);
        }
    }
    let findings = doctor::examine(session, &doctor::Places::default());
    output::print(&if parsed.json() {
        format::json::ours(&findings)
    } else {
        doctor::report(&findings, output::colours())
    });
    Ok(if findings.iter().any(Finding::is_bad) { code::FAILED } else { 0 })
}
