//! Texts with names, and places in them.

use crate::{Diagnostic, Severity};

/// A place in one of a document's sources: bytes `start` to `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Which source.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

impl Span {
    /// No place: only the file is meant.
    pub const NOWHERE: Self = Self { source: usize::MAX, start: 0, end: 0 };
}

/// A named text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the file, or `command line`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// An error at `start..end`; a place outside the text is moved to its end.
    pub fn error(&self, start: usize, end: usize, message: impl Into<String>) -> Diagnostic {
        let start = floor(&self.text, start);
        let end = floor(&self.text, end.max(start));
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let line_text = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let meant = self.text.get(start..end).unwrap_or_default();
        let meant = meant.split('\n').next().unwrap_or_default();
        Diagnostic {
            severity: Severity::Error,
            file: self.name.clone(),
            line: count(before.matches('\n').count()).saturating_add(1),
            column: count(before.get(line_start..).unwrap_or_default().chars().count())
                .saturating_add(1),
            width: count(meant.chars().count()).max(1),
            text: line_text.to_owned(),
            message: message.into(),
            help: None,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
