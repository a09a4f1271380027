//! `check`: whether a configuration file is right, and what it names is there; touches nothing.

use super::config;
use crate::cli::options::Parsed;
use crate::failure::code;
use crate::format;
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use serde::Serialize;
use xl_config::{Diagnostic, Severity};

/// A diagnostic as `--json` has it.
#[derive(Debug, Serialize)]
struct Json<'a> {
    severity: &'static str,
    file: &'a str,
    line: u32,
    column: u32,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> Json<'a> {
    fn of(diagnostic: &'a Diagnostic) -> Self {
        Self {
            severity: match diagnostic.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            file: &diagnostic.file,
            line: diagnostic.line,
            column: diagnostic.column,
            message: &diagnostic.message,
            help: diagnostic.help.as_deref(),
        }
    }
}

/// `xl check`: 0 if nothing is wrong.
pub fn check(_session: &mut Session, parsed: &Parsed) -> Outcome {
    let request = config::Request::of(parsed)?;
    let (loaded, mut diagnostics) = request.examine(parsed.flag("lax"))?;
    if let Some(loaded) = &loaded {
        diagnostics.extend(loaded.warnings.iter().cloned());
        diagnostics.extend(loaded.on_host());
    }
    let good = loaded.filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
    if parsed.json() {
        let list: Vec<_> = diagnostics.iter().map(Json::of).collect();
        output::print(&format::json::ours(&list));
        return Ok(if good.is_some() { 0 } else { code::FAILED });
    }
    config::say(&diagnostics);
    match good {
        Some(loaded) => {
            let name = &loaded.config.name;
            output::print(&format!("{}: {name} can be created\n", request.file));
            Ok(0)
        }
        None => Err(request.wrong(&diagnostics)),
    }
}
