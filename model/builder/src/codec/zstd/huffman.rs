//! Huffman-coded literals (RFC 8878, 4.2).

use alloc::boxed::Box;

use super::bits::BitReader;
use super::fse::Distribution;
use crate::codec::CodecError;
use crate::num::{index, low8, u8_at, u16_at};

/// The longest code.
const MAX_BITS: u32 = 11;
/// Entries of a decoding table.
pub const TABLE: usize = 1 << MAX_BITS;

const CORRUPT: CodecError = CodecError::Corrupt("zstd Huffman tree");
const STREAM: CodecError = CodecError::Corrupt("zstd literal stream");

/// A decoding table: by the next `bits` bits, the symbol in the low byte and the length of its code
/// in the high one.
pub struct Tree {
    /// The entries; only the first `1 << bits` count.
    pub table: Box<[u16; TABLE]>,
    /// The length of the longest code, 0 while there is no tree.
    pub bits: u32,
}

impl Tree {
    /// Reads a tree description in `input[start..end]`; gives where it ends.
    pub fn read(&mut self, input: &[u8], start: usize, end: usize) -> Result<usize, CodecError> {
        self.bits = 0;
        let header = usize::from(u8_at(input, start).ok_or(CodecError::Truncated)?);
        let body = start.wrapping_add(1);
        let mut weights = [0u8; 256];
        let (count, next) = if header < 128 {
            let next = body.wrapping_add(header);
            if next > end {
                return Err(CodecError::Truncated);
            }
            (coded_weights(input, body, next, &mut weights)?, next)
        } else {
            let count = header.wrapping_sub(127);
            let next = body.wrapping_add(count.div_ceil(2));
            let packed = input.get(body..next).filter(|_| next <= end);
            let packed = packed.ok_or(CodecError::Truncated)?;
            for (pair, byte) in weights.chunks_exact_mut(2).zip(packed) {
                if let [high, low] = pair {
                    *high = byte >> 4;
                    *low = byte & 15;
                }
            }
            // With an odd count the last nibble is padding.
            if let Some(extra) = weights.get_mut(count) {
                *extra = 0;
            }
            (count, next)
        };
        self.fill(&mut weights, count)?;
        Ok(next)
    }

    fn fill(&mut self, weights: &mut [u8; 256], count: usize) -> Result<(), CodecError> {
        let mut sum = 0u32;
        for w in weights.iter().take(count) {
            if u32::from(*w) > MAX_BITS {
                return Err(CORRUPT);
            }
            sum = sum.wrapping_add(1u32.wrapping_shl(u32::from(*w)) >> 1);
        }
        let bits = sum.checked_ilog2().ok_or(CORRUPT)?.wrapping_add(1);
        let rest = 1u32.wrapping_shl(bits).wrapping_sub(sum);
        if bits > MAX_BITS || !rest.is_power_of_two() {
            return Err(CORRUPT);
        }
        // The last symbol's weight is what completes the sum to a power of two.
        let last = weights.get_mut(count).ok_or(CORRUPT)?;
        *last = low8(u64::from(rest.trailing_zeros().wrapping_add(1)));
        let mut at = 0usize;
        for weight in 1..=bits {
            let length = bits.wrapping_add(1).wrapping_sub(weight);
            let run = 1usize.wrapping_shl(weight.wrapping_sub(1));
            for (symbol, w) in (0u16..).zip(weights.iter()) {
                if u32::from(*w) != weight {
                    continue;
                }
                let next = at.wrapping_add(run);
                let entry = symbol | u16::from(low8(u64::from(length))) << 8;
                self.table.get_mut(at..next).ok_or(CORRUPT)?.fill(entry);
                at = next;
            }
        }
        self.bits = bits;
        Ok(())
    }

    #[inline(always)]
    fn symbol(&self, stream: &mut BitReader<'_>) -> u8 {
        let slot = index(stream.peek(self.bits)) & (TABLE - 1);
        let [symbol, length] = self.table.get(slot).copied().unwrap_or(0).to_le_bytes();
        stream.skip(u32::from(length));
        symbol
    }

    /// Decodes one stream, `input[start..end]`, which gives exactly `out`.
    pub fn one(
        &self,
        input: &[u8],
        start: usize,
        end: usize,
        out: &mut [u8],
    ) -> Result<(), CodecError> {
        let mut stream = BitReader::new(input, start, end)?;
        self.rest(&mut stream, out)
    }

    fn rest(&self, stream: &mut BitReader<'_>, out: &mut [u8]) -> Result<(), CodecError> {
        for five in out.chunks_mut(5) {
            stream.refill();
            for byte in five {
                *byte = self.symbol(stream);
            }
        }
        if stream.finished() { Ok(()) } else { Err(STREAM) }
    }

    /// Decodes four streams behind their jump table in `input[start..end]`: a quarter of `out` each,
    /// side by side, as they do not wait for one another.
    pub fn four(
        &self,
        input: &[u8],
        start: usize,
        end: usize,
        out: &mut [u8],
    ) -> Result<(), CodecError> {
        let size = |k: usize| {
            u16_at(input, start.wrapping_add(k)).map(usize::from).ok_or(CodecError::Truncated)
        };
        let s1 = start.wrapping_add(6);
        let s2 = s1.wrapping_add(size(0)?);
        let s3 = s2.wrapping_add(size(2)?);
        let s4 = s3.wrapping_add(size(4)?);
        if s4 >= end {
            return Err(STREAM);
        }
        let quarter = out.len().div_ceil(4);
        let (o1, out) = out.split_at_mut_checked(quarter).ok_or(STREAM)?;
        let (o2, out) = out.split_at_mut_checked(quarter).ok_or(STREAM)?;
        let (o3, o4) = out.split_at_mut_checked(quarter).ok_or(STREAM)?;
        let mut a = BitReader::new(input, s1, s2)?;
        let mut b = BitReader::new(input, s2, s3)?;
        let mut c = BitReader::new(input, s3, s4)?;
        let mut d = BitReader::new(input, s4, end)?;
        let common = out_common(o4.len());
        let (h1, t1) = o1.split_at_mut_checked(common).ok_or(STREAM)?;
        let (h2, t2) = o2.split_at_mut_checked(common).ok_or(STREAM)?;
        let (h3, t3) = o3.split_at_mut_checked(common).ok_or(STREAM)?;
        let (h4, t4) = o4.split_at_mut_checked(common).ok_or(STREAM)?;
        let (h1, h2) = (h1.as_chunks_mut::<5>().0, h2.as_chunks_mut::<5>().0);
        let (h3, h4) = (h3.as_chunks_mut::<5>().0, h4.as_chunks_mut::<5>().0);
        for (((f1, f2), f3), f4) in h1.iter_mut().zip(h2).zip(h3).zip(h4) {
            a.refill();
            b.refill();
            c.refill();
            d.refill();
            for (((w, x), y), z) in f1.iter_mut().zip(f2).zip(f3).zip(f4) {
                *w = self.symbol(&mut a);
                *x = self.symbol(&mut b);
                *y = self.symbol(&mut c);
                *z = self.symbol(&mut d);
            }
        }
        self.rest(&mut a, t1)?;
        self.rest(&mut b, t2)?;
        self.rest(&mut c, t3)?;
        self.rest(&mut d, t4)
    }
}

/// How much of the four streams is decoded in step: whole fives of the shortest.
fn out_common(shortest: usize) -> usize {
    (shortest / 5).wrapping_mul(5)
}

/// Weights coded by two interleaved FSE states; gives how many.
fn coded_weights(
    input: &[u8],
    start: usize,
    end: usize,
    weights: &mut [u8; 256],
) -> Result<usize, CodecError> {
    let body = input.get(start..end).ok_or(CodecError::Truncated)?;
    let (distribution, taken) = Distribution::read(body, 13, 6)?;
    let mut table = [(0u8, 0u8, 0u16); 64];
    distribution.build(|state, symbol, bits, base| {
        if let Some(entry) = table.get_mut(state) {
            *entry = (symbol, bits, base);
        }
    });
    let entry = |state: u64| table.get(index(state) & 63).copied().unwrap_or_default();
    let mut stream = BitReader::new(input, start.wrapping_add(taken), end)?;
    let mut this = stream.take(low8(u64::from(distribution.log)));
    let mut other = stream.take(low8(u64::from(distribution.log)));
    let mut count = 0usize;
    // The 256th weight is never written: it is the one that is worked out.
    while count < 255 {
        let (symbol, bits, base) = entry(this);
        *weights.get_mut(count).ok_or(CORRUPT)? = symbol;
        count = count.wrapping_add(1);
        stream.refill();
        if stream.left() < i64::from(bits) {
            let (symbol, ..) = entry(other);
            *weights.get_mut(count).filter(|_| count < 255).ok_or(CORRUPT)? = symbol;
            return Ok(count.wrapping_add(1));
        }
        let next = u64::from(base).wrapping_add(stream.take(bits));
        this = core::mem::replace(&mut other, next);
    }
    Err(CORRUPT)
}
