//! The words that describe one device: `disk`, `vif`, `vfb`.

mod disk;
mod rate;
mod vfb;
mod vif;

pub(crate) use disk::{DISK_FORM, parse_disk};
pub(crate) use vfb::parse_vfb;
pub(crate) use vif::parse_vif;

use crate::{Disk, Vif};

/// What is wrong with a word of a device's description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default())]
pub struct WordError {
    /// First byte of what is meant.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// How bad it is.
    pub grade: Grade,
}

/// How bad a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Refused.
    Wrong,
    /// Not known; refused unless [`Lax`](crate::Lax).
    Unknown,
    /// Taken, but worth saying.
    Note,
}

impl Disk {
    /// Reads one disk specification: `/path,raw,xvda,rw`, `format=..., vdev=..., target=...`, or
    /// the old `file:/path,sda1,w`. Several arguments (`xl block-attach`) are joined by commas.
    pub fn parse(text: &str) -> Result<Self, WordError> {
        let (disk, faults) = parse_disk(text);
        first_fault(faults, disk, text)
    }
}

impl Vif {
    /// Reads one network interface: `mac=...,bridge=...`; empty: all defaults. Several arguments
    /// (`xl network-attach`) are joined by commas.
    pub fn parse(text: &str) -> Result<Self, WordError> {
        let (vif, faults) = parse_vif(text);
        first_fault(faults, Some(vif), text)
    }
}

fn first_fault<T>(faults: Vec<WordError>, made: Option<T>, text: &str) -> Result<T, WordError> {
    match (faults.into_iter().find(|fault| fault.grade != Grade::Note), made) {
        (Some(fault), _) => Err(fault),
        (None, Some(made)) => Ok(made),
        (None, None) => Err(Word { text, start: 0 }.wrong("nothing can be made of this")),
    }
}

/// A part of a specification, with its place.
#[derive(Clone, Copy, Debug)]
struct Word<'a> {
    text: &'a str,
    start: usize,
}

impl<'a> Word<'a> {
    /// Without blanks at its ends.
    fn trim(self) -> Self {
        let left = self.text.trim_start();
        Self { text: left.trim_end(), start: self.start + self.text.len() - left.len() }
    }

    /// Up to a separator, and what follows it.
    fn split(self, separator: char) -> (Self, Option<Self>) {
        match self.text.split_once(separator) {
            Some((before, after)) => (
                Self { text: before, start: self.start },
                Some(Self { text: after, start: self.start + before.len() + separator.len_utf8() }),
            ),
            None => (self, None),
        }
    }

    /// `key=value` with blanks removed.
    fn key_value(self) -> Option<(Self, Self)> {
        let (key, value) = self.split('=');
        Some((key.trim(), value?.trim()))
    }

    fn wrong(self, message: impl Into<String>) -> WordError {
        WordError {
            start: self.start,
            end: self.start + self.text.len().max(1),
            message: message.into(),
            help: None,
            grade: Grade::Wrong,
        }
    }
}

impl WordError {
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn grade(mut self, grade: Grade) -> Self {
        self.grade = grade;
        self
    }
}

/// A help line naming the known words, and the nearest.
fn known(word: &str, names: &[&'static str]) -> String {
    match crate::similar::nearest(word, names.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known are: {}", names.join(", ")),
    }
}

/// 0, 1, and nothing else.
fn flag(value: Word<'_>, faults: &mut Vec<WordError>) -> Option<bool> {
    match value.text {
        "0" => Some(false),
        "1" => Some(true),
        _ => {
            faults.push(value.wrong(format!("\"{}\" is neither 0 nor 1", value.text)));
            None
        }
    }
}

/// A number of at most 32 bits.
fn number(value: Word<'_>, what: &str, faults: &mut Vec<WordError>) -> Option<u32> {
    let number = value.text.parse().ok();
    if number.is_none() {
        faults.push(value.wrong(format!("{what} must be a number, not \"{}\"", value.text)));
    }
    number
}
