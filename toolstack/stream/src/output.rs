//! Writing with a count of bytes.

use std::io::Write;

use crate::input::padding;
use crate::{Error, Place, Problem, RECORD_MAX};

/// Where a stream is written to.
pub struct Output<W> {
    to: W,
    at: u64,
}

impl<W: Write> Output<W> {
    /// Writes to `to`, whose next byte counts as byte 0.
    pub fn new(to: W) -> Self {
        Output { to, at: 0 }
    }

    /// Bytes written so far.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Hands out what was buffered, and gives the destination back.
    pub fn finish(mut self, place: Place) -> Result<W, Error> {
        match self.to.flush() {
            Ok(()) => Ok(self.to),
            Err(source) => Err(Error::Write { place, at: self.at, source }),
        }
    }

    pub(crate) fn put(&mut self, bytes: &[u8], place: Place) -> Result<(), Error> {
        self.to.write_all(bytes).map_err(|source| Error::Write { place, at: self.at, source })?;
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// A record of either stream, its body given in parts.
    pub(crate) fn record(&mut self, kind: u32, parts: &[&[u8]], place: Place) -> Result<(), Error> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let short = u32::try_from(length).unwrap_or(u32::MAX);
        if short > RECORD_MAX {
            let problem = Problem::TooLong(short);
            return Err(Error::Malformed { place, at: self.at, problem });
        }
        self.put(&kind.to_le_bytes(), place)?;
        self.put(&short.to_le_bytes(), place)?;
        for part in parts {
            self.put(part, place)?;
        }
        self.put([0; 8].get(..padding(length)).unwrap_or_default(), place)
    }
}
