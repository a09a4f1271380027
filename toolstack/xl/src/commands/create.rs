//! `create`, `config-update`, and `list -l`, which shows what a domain was created from.

use crate::cli::options::Parsed;
use crate::failure::Failure;
use crate::session::Session;
use crate::table::Outcome;

fn awaited(name: &str) -> Outcome {
    Err(Failure::new(format!("{name} is not supported yet")))
}

/// `xl create`.
pub fn create(_session: &mut Session, parsed: &Parsed) -> Outcome {
    awaited(parsed.command.name)
}

/// `xl config-update`.
pub fn config_update(_session: &mut Session, parsed: &Parsed) -> Outcome {
    awaited(parsed.command.name)
}

/// `xl list -l`.
pub fn list_long(_session: &mut Session, _words: &[String]) -> Outcome {
    awaited("list -l")
}
