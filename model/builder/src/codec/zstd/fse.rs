//! Finite-state entropy tables (RFC 8878, 4.1).

use crate::codec::CodecError;
use crate::num::{low8, low16, u8_at};

/// The largest accuracy of any table here.
pub const MAX_LOG: u32 = 9;
/// Entries of the largest table.
pub const MAX_SIZE: usize = 1 << MAX_LOG;
/// Symbols of the largest alphabet (Huffman weights need 13, match lengths 53).
pub const MAX_SYMBOLS: usize = 64;

const CORRUPT: CodecError = CodecError::Corrupt("zstd FSE table description");

/// What each symbol of a distribution is worth; -1 is "less than one".
#[derive(Clone)]
pub struct Distribution {
    /// Counts by symbol.
    pub counts: [i16; MAX_SYMBOLS],
    /// log2 of what they add up to.
    pub log: u32,
}

impl Distribution {
    /// From a table in the format's definition.
    pub fn preset(counts: &[i16], log: u32) -> Self {
        let mut d = Self { counts: [0; MAX_SYMBOLS], log };
        for (to, from) in d.counts.iter_mut().zip(counts) {
            *to = *from;
        }
        d
    }

    /// Reads a description from the start of `input`, of at most `symbols` symbols and `max_log`
    /// accuracy. Also gives the bytes it takes.
    pub fn read(input: &[u8], symbols: usize, max_log: u32) -> Result<(Self, usize), CodecError> {
        let mut bits = ForwardBits { input, at: 0 };
        let log = bits.take(4)?.wrapping_add(5);
        if log > max_log {
            return Err(CORRUPT);
        }
        let mut counts = [0i16; MAX_SYMBOLS];
        let mut remaining = 1u32.wrapping_shl(log).wrapping_add(1);
        let mut symbol = 0usize;
        while remaining > 1 {
            let slot = counts.get_mut(symbol).filter(|_| symbol < symbols).ok_or(CORRUPT)?;
            let count = bits.count(remaining)?;
            symbol = symbol.wrapping_add(1);
            *slot = count;
            remaining = remaining.checked_sub(u32::from(count.unsigned_abs())).ok_or(CORRUPT)?;
            if count == 0 {
                loop {
                    let zeros = bits.take(2)?;
                    symbol = symbol.wrapping_add(zeros as usize);
                    if zeros != 3 {
                        break;
                    }
                }
            }
        }
        if remaining != 1 {
            return Err(CORRUPT);
        }
        Ok((Self { counts, log }, bits.at.div_ceil(8)))
    }

    /// Spreads the symbols over the states and calls `put(state, symbol, bits, base)` for each:
    /// the next state is `base` plus that many bits of the stream.
    pub fn build(&self, mut put: impl FnMut(usize, u8, u8, u16)) {
        let size = 1usize.wrapping_shl(self.log);
        let mask = size.wrapping_sub(1);
        let mut symbols = [0u8; MAX_SIZE];
        let mut next = [0u16; MAX_SYMBOLS];
        let mut high = size;
        for ((symbol, count), next) in (0u8..).zip(self.counts).zip(next.iter_mut()) {
            *next = count.unsigned_abs();
            if count == -1 {
                high = high.wrapping_sub(1);
                if let Some(s) = symbols.get_mut(high) {
                    *s = symbol;
                }
            }
        }
        let step = (size >> 1).wrapping_add(size >> 3).wrapping_add(3);
        let mut at = 0usize;
        for (symbol, count) in (0u8..).zip(self.counts) {
            for _ in 0..count {
                if let Some(s) = symbols.get_mut(at) {
                    *s = symbol;
                }
                at = at.wrapping_add(step) & mask;
                // The states from `high` up are taken; `step` is odd, so this ends.
                let mut guard = 0usize;
                while at >= high && guard < size {
                    at = at.wrapping_add(step) & mask;
                    guard = guard.wrapping_add(1);
                }
            }
        }
        for (state, symbol) in symbols.iter().copied().enumerate().take(size) {
            let Some(n) = next.get_mut(usize::from(symbol)) else { continue };
            let value = *n;
            *n = value.wrapping_add(1);
            let bits = self.log.wrapping_sub(value.checked_ilog2().unwrap_or(0));
            let base =
                u32::from(value).wrapping_shl(bits).wrapping_sub(1u32.wrapping_shl(self.log));
            put(state, symbol, low8(u64::from(bits)), low16(u64::from(base)));
        }
    }
}

/// Bits read from the first on, for table descriptions.
struct ForwardBits<'a> {
    input: &'a [u8],
    /// In bits.
    at: usize,
}

impl ForwardBits<'_> {
    /// Up to 16 bits, not taken; past the end reads as 0.
    fn peek(&self, n: u32) -> u32 {
        let byte = self.at >> 3;
        let mut word = 0u32;
        for k in (0..3).rev() {
            let b = u8_at(self.input, byte.wrapping_add(k)).unwrap_or(0);
            word = (word << 8) | u32::from(b);
        }
        let shift = u32::from(low8(self.at as u64 & 7));
        word.wrapping_shr(shift) & 1u32.wrapping_shl(n).wrapping_sub(1)
    }

    fn skip(&mut self, n: u32) -> Result<(), CodecError> {
        self.at = self.at.wrapping_add(n as usize);
        if self.at.div_ceil(8) > self.input.len() { Err(CodecError::Truncated) } else { Ok(()) }
    }

    fn take(&mut self, n: u32) -> Result<u32, CodecError> {
        let bits = self.peek(n);
        self.skip(n)?;
        Ok(bits)
    }

    /// One symbol's count when `remaining - 1` are still to be given out: the smaller values take one
    /// bit less.
    fn count(&mut self, remaining: u32) -> Result<i16, CodecError> {
        let wide = remaining.checked_ilog2().unwrap_or(0).wrapping_add(1);
        let threshold = 1u32.wrapping_shl(wide.wrapping_sub(1));
        let short = threshold.wrapping_mul(2).wrapping_sub(1).wrapping_sub(remaining);
        let low = self.peek(wide.wrapping_sub(1));
        let value = if low < short {
            self.skip(wide.wrapping_sub(1))?;
            low
        } else {
            let value = self.take(wide)?;
            if value >= threshold { value.wrapping_sub(short) } else { value }
        };
        // At most 1024, since `max_log` is 9.
        Ok(low16(u64::from(value)).cast_signed().wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_built_table_is_set_once() {
        let d = Distribution::preset(&[4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, -1], 5);
        let mut seen = [0; 32];
        d.build(|state, _, bits, base| {
            seen[state] += 1;
            assert!(usize::from(base) + (1 << bits) <= 32);
        });
        assert_eq!(seen, [1; 32]);
    }

    #[test]
    fn descriptions_of_nothing_are_cut_short() {
        assert!(Distribution::read(&[], 36, 9).is_err());
        assert!(Distribution::read(&[0xff; 1], 36, 9).is_err());
    }
}
