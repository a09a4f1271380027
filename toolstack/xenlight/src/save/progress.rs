//! How far a save or restore has come.

use std::io::{IsTerminal, Write};

/// Told of progress.
pub trait Progress {
    /// A file's header is about to be written, with so many bytes of optional data.
    fn header(&mut self, optional_bytes: usize) {
        let _ = optional_bytes;
    }

    /// `done` of `total` page frames were seen.
    fn pages(&mut self, done: u64, total: u64);
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {
    fn pages(&mut self, _done: u64, _total: u64) {}
}

/// A line on standard error that is written over, if that is a terminal.
pub struct Terminal {
    label: String,
    shown: Option<u64>,
    enabled: bool,
}

impl Terminal {
    /// The line begins with `label`.
    pub fn new(label: &str) -> Terminal {
        let enabled = std::io::stderr().is_terminal();
        Terminal { label: label.to_owned(), shown: None, enabled }
    }
}

impl Progress for Terminal {
    fn pages(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if !self.enabled || self.shown == Some(percent) {
            return;
        }
        self.shown = Some(percent);
        let end = if done == total { "\n" } else { "" };
        // Nothing depends on it.
        let _ = write!(std::io::stderr(), "\r{}: {percent:3} %{end}", self.label);
    }
}
