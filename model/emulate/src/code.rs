//! The bytes of one instruction, fetched once.

use crate::{fault::Fault, machine::Machine};

/// The longest instruction, in bytes; one longer raises `#GP(0)` (Intel SDM vol. 2, 2.3.11).
pub const MAX_LENGTH: usize = 15;

/// The bytes of one instruction and how far they have been read.
///
/// Reading is by shifting, and never fails: past the end there are bytes of no meaning. Whoever has
/// read all that he wants asks [`Self::exhausted`] before he does anything with it.
#[derive(Debug)]
pub struct Code {
    /// What has not been read yet, the next byte lowest.
    window: u128,
    used: u8,
    len: u8,
}

impl Code {
    /// Fetches what there is at RIP, once: other CPUs may change it meanwhile.
    #[inline(always)]
    pub fn fetch<M: Machine>(m: &mut M) -> Result<Self, Fault> {
        let mut bytes = [0; 16];
        let rip = m.rip();
        // The sixteenth byte stays 0: no prefix, so runs of prefixes end there.
        let [buffer @ .., _] = &mut bytes;
        let len = m.fetch(rip, buffer)?;
        let len = u8::try_from(len.min(MAX_LENGTH)).unwrap_or(0);
        Ok(Self { window: u128::from_le_bytes(bytes), used: 0, len })
    }

    /// All bytes, if there are as many as an instruction can have and none has been read.
    #[inline(always)]
    pub const fn whole(&self) -> Option<u128> {
        if self.len as usize >= MAX_LENGTH && self.used == 0 { Some(self.window) } else { None }
    }

    /// The fault for having run out of bytes: too long an instruction, or one that goes on into a
    /// page that cannot be fetched from.
    #[cold]
    #[inline(never)]
    pub fn ran_out<M: Machine>(&self, m: &mut M) -> Fault {
        if usize::from(self.len) >= MAX_LENGTH {
            return Fault::GP;
        }
        let missing = m.rip().wrapping_add(u64::from(self.len));
        match m.fetch(missing, &mut [0]) {
            Err(fault) => fault,
            // It has become readable in between: start afresh.
            Ok(_) => Fault::Retry,
        }
    }

    /// Has more been read than there is?
    #[inline(always)]
    pub const fn exhausted(&self) -> bool {
        self.used > self.len
    }

    /// How many bytes have been read.
    #[inline(always)]
    pub const fn position(&self) -> u64 {
        self.used as u64
    }

    /// The next byte.
    #[inline(always)]
    pub const fn byte(&mut self) -> u8 {
        let [byte, ..] = self.window.to_le_bytes();
        self.skip(1);
        byte
    }

    /// The next two bytes.
    #[inline(always)]
    pub const fn word(&mut self) -> u16 {
        let [a, b, ..] = self.window.to_le_bytes();
        self.skip(2);
        u16::from_le_bytes([a, b])
    }

    /// The next four bytes.
    #[inline(always)]
    pub const fn dword(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.window.to_le_bytes();
        self.skip(4);
        u32::from_le_bytes([a, b, c, d])
    }

    /// The next eight bytes.
    #[inline(always)]
    pub const fn qword(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.window.to_le_bytes();
        self.skip(8);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    #[inline(always)]
    const fn skip(&mut self, bytes: u8) {
        self.window >>= (bytes & 15) << 3;
        self.used = self.used.saturating_add(bytes);
    }
}
