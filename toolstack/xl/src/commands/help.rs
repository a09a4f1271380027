//! `help`, `completion`, `man`.

use crate::cli::{self, completion, manpage, options::Parsed};
use crate::failure::{Failure, code};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;

/// `xl help`.
pub fn help(_session: &mut Session, parsed: &Parsed) -> Outcome {
    let text = match parsed.operands.first() {
        Some(word) => cli::help::of(cli::find(word)?),
        None if parsed.flag("long") => cli::help::everything(),
        None => cli::help::overview(),
    };
    output::print(&text);
    Ok(0)
}

/// `xl completion`.
pub fn completion(_session: &mut Session, parsed: &Parsed) -> Outcome {
    match parsed.operand(0) {
        "bash" => {
            output::print(&completion::bash());
            Ok(0)
        }
        other => Err(Failure::new(format!("there is no completion for the shell {other}"))
            .help("xl completion bash prints the one for bash")
            .code(code::USAGE)),
    }
}

/// `xl man`.
pub fn man(_session: &mut Session, _parsed: &Parsed) -> Outcome {
    output::print(&manpage::page());
    Ok(0)
}
