//! What the commands do, one file a family: each fetches, and lets `format` make the text.

pub mod attach;
pub mod check;
pub mod config;
pub mod console;
pub mod cpupools;
pub mod create;
pub mod devices;
pub mod doctor;
pub mod help;
pub mod host;
pub mod info;
pub mod life;
pub mod list;
pub mod long;
pub mod memory;
pub mod names;
pub mod saving;
pub mod sched;
pub mod stopping;
pub mod top;
pub mod uptime;
pub mod vcpus;

use crate::failure::{Failure, code};

/// A wrong operand, found after parsing: exit code 1, as in C.
fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(what)
}

/// Two options that do not go together.
fn conflict(what: impl Into<String>) -> Failure {
    Failure::new(what).code(code::FAILED)
}
