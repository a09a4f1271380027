//! `xentop`: `xl top` under its old name.

use crate::cli::options::{self, Outcome};
use crate::cli::{self, help};
use crate::commands::top;
use crate::output;
use crate::session::{Globals, Session};
use crate::table::{self, Lookup};

/// Runs it; the exit code.
pub fn run(words: &[String]) -> u8 {
    let Lookup::Found(command) = table::find("top") else { return 1 };
    let globals = Globals::default();
    let result = match options::parse(command, words) {
        Ok(Outcome::Run(parsed)) => top::top(&mut Session::new(globals), &parsed),
        Ok(Outcome::Help) => {
            let text = help::of(command);
            let options = text.split_once("\nOptions:\n").map_or("", |(_, options)| options);
            output::print(&format!("Usage: xentop [OPTION]\n{}.\n{options}", command.help));
            Ok(0)
        }
        Err(failure) => Err(failure),
    };
    result.unwrap_or_else(|failure| cli::report("xentop", &globals, &failure))
}
