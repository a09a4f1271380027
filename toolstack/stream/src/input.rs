//! Reading with a count of bytes and a name for what is being read.

use std::io::{ErrorKind, Read};

use crate::{Error, Place, Problem, RECORD_MAX};

/// Where a stream is read from.
pub struct Input<R> {
    from: R,
    at: u64,
}

impl<R: Read> Input<R> {
    /// Reads from `from`, whose next byte counts as byte 0.
    pub fn new(from: R) -> Self {
        Input { from, at: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What is read from.
    pub fn inner(&self) -> &R {
        &self.from
    }

    /// A malformed part that starts at `at`.
    pub(crate) fn malformed<T>(place: Place, at: u64, problem: Problem) -> Result<T, Error> {
        Err(Error::Malformed { place, at, problem })
    }

    /// Exactly `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, place: Place) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, place)?;
        Ok(bytes)
    }

    fn fill(&mut self, mut into: &mut [u8], place: Place) -> Result<(), Error> {
        while !into.is_empty() {
            match self.from.read(into) {
                Ok(0) => {
                    let missing = into.len() as u64;
                    return Err(Error::Truncated { place, at: self.at, missing });
                }
                Ok(n) => {
                    self.at = self.at.saturating_add(n as u64);
                    into = into.get_mut(n..).unwrap_or_default();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { place, at: self.at, source }),
            }
        }
        Ok(())
    }

    /// `length` bytes. Room is made as they come, so that a forged length costs no more memory
    /// than the file has bytes.
    pub(crate) fn bytes(&mut self, length: u32, place: Place) -> Result<Vec<u8>, Error> {
        const STEP: usize = 1 << 20;
        let length = length as usize;
        let mut bytes = Vec::with_capacity(length.min(STEP));
        while bytes.len() < length {
            let start = bytes.len();
            bytes.resize(length.min(start.saturating_add(STEP)), 0);
            let room = bytes.get_mut(start..).unwrap_or_default();
            let room_len = room.len();
            self.fill(room, place).map_err(|e| match e {
                Error::Truncated { place, at, missing } => {
                    let later = (length - start - room_len) as u64;
                    Error::Truncated { place, at, missing: missing.saturating_add(later) }
                }
                e => e,
            })?;
        }
        Ok(bytes)
    }

    /// Type and body of the next record of either stream; `place` makes the place of a type.
    pub(crate) fn record(
        &mut self,
        place: impl Fn(Option<u32>) -> Place,
    ) -> Result<(u32, Vec<u8>), Error> {
        let start = self.at;
        let head = self.array::<8>(place(None))?;
        let (kind, length) = (u32_at(&head, 0), u32_at(&head, 4));
        let place = place(Some(kind));
        if length > RECORD_MAX {
            return Self::malformed(place, start, Problem::TooLong(length));
        }
        let body = self.bytes(length, place)?;
        // The padding's content is for nobody.
        self.bytes(padding(body.len()) as u32, place)?;
        Ok((kind, body))
    }
}

/// Bytes that fill a body of `length` bytes up to a multiple of eight.
pub(crate) fn padding(length: usize) -> usize {
    length.wrapping_neg() & 7
}

/// The little-endian number at `offset`; 0 beyond the end, which callers rule out.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map(|chunk| u32::from_le_bytes(*chunk))
        .unwrap_or_default()
}

/// The little-endian number at `offset`; 0 beyond the end, which callers rule out.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map(|chunk| u64::from_le_bytes(*chunk))
        .unwrap_or_default()
}
