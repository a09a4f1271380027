//! The bytes of one instruction, read once.

use crate::{fault::Fault, machine::Machine};

/// The longest instruction, in bytes; one longer raises `#GP(0)` (Intel SDM vol. 2, 2.3.11).
pub const MAX_LENGTH: usize = 15;

/// The bytes of one instruction and how far they have been read.
#[derive(Debug)]
pub struct Code {
    bytes: [u8; MAX_LENGTH],
    len: usize,
    pos: usize,
}

impl Code {
    /// Fetches what there is at RIP, once: other CPUs may change it meanwhile.
    #[inline]
    pub fn fetch<M: Machine>(m: &mut M) -> Result<Self, Fault> {
        let mut bytes = [0; MAX_LENGTH];
        let rip = m.rip();
        let len = m.fetch(rip, &mut bytes)?.min(MAX_LENGTH);
        Ok(Self { bytes, len, pos: 0 })
    }

    /// The fault for having run out of bytes: too long an instruction, or one that goes on into a
    /// page that cannot be fetched from.
    #[cold]
    pub fn ran_out<M: Machine>(&self, m: &mut M) -> Fault {
        if self.len >= MAX_LENGTH {
            return Fault::GP;
        }
        let missing = m.rip().wrapping_add(self.len as u64);
        match m.fetch(missing, &mut [0]) {
            Err(fault) => fault,
            // It has become readable in between: start afresh.
            Ok(_) => Fault::Retry,
        }
    }

    /// Are there no bytes left?
    #[inline]
    pub const fn exhausted(&self) -> bool {
        self.pos > self.len
    }

    /// How many bytes have been read, 0 to 15.
    #[inline]
    pub const fn position(&self) -> u64 {
        self.pos as u64
    }

    /// The next byte; after the last one, `Unhandled` and [`Self::exhausted`] becomes true.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Fault> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    /// The next `N` bytes.
    #[inline]
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = self.bytes.get(self.pos..self.len);
        self.pos = self.pos.saturating_add(N);
        match rest.and_then(<[u8]>::first_chunk::<N>) {
            Some(bytes) => Ok(*bytes),
            None => {
                self.pos = MAX_LENGTH.wrapping_add(1);
                Err(Fault::Unhandled)
            }
        }
    }
}
