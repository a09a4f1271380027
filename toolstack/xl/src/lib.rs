//! The administrator's programs: `xl`, `xentop`, `xen-init-dom0`, `xendomains`, one binary that
//! goes by the name it is called with. See docs/design/0005-toolstack.md.
//!
//! One [table](table) says which commands there are; [cli] parses and dispatches by it. Each
//! family of commands is a file of [commands]: it fetches through [session] and lets [format],
//! which is pure, make the text.

pub mod cli;
mod commands;
mod doctor;
mod domains;
pub mod failure;
mod format;
mod output;
mod programs;
pub mod session;
pub mod table;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program that the first word names.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    let called = words.next().unwrap_or_default();
    let words: Vec<String> = words.collect();
    let code = match called.rsplit('/').next().unwrap_or_default() {
        "xentop" => programs::xentop::run(&words),
        "xen-init-dom0" => programs::init_dom0::run(&words),
        "xendomains" => programs::xendomains::run(&words),
        _ => cli::run(&words),
    };
    ExitCode::from(code)
}
