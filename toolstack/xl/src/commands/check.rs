//! `check`: whether a configuration file is right, without touching anything.

use crate::cli::options::Parsed;
use crate::failure::Failure;
use crate::session::Session;
use crate::table::Outcome;

/// `xl check`.
pub fn check(_session: &mut Session, parsed: &Parsed) -> Outcome {
    Err(Failure::new(format!("{} is not supported yet", parsed.command.name)))
}
