//! LZMA and LZMA2 into a flat buffer.
//!
//! Facts: Igor Pavlov's "LZMA specification" (public domain) for the coder, `xz-file-format.txt` and
//! the LZMA2 chunk layout it refers to.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{CodecError, repeat};
use crate::num::{index, low8, u8_at, u32_at, u64_at};

/// Where each model's probabilities start.
mod at {
    pub const IS_MATCH: usize = 0;
    pub const IS_REP: usize = IS_MATCH + 12 * 16;
    pub const IS_REP0: usize = IS_REP + 12;
    pub const IS_REP1: usize = IS_REP0 + 12;
    pub const IS_REP2: usize = IS_REP1 + 12;
    pub const IS_REP0_LONG: usize = IS_REP2 + 12;
    pub const SLOT: usize = IS_REP0_LONG + 12 * 16;
    pub const SPECIAL: usize = SLOT + 4 * 64;
    pub const ALIGN: usize = SPECIAL + 128;
    pub const LENGTH: usize = ALIGN + 16;
    pub const REP_LENGTH: usize = LENGTH + 2 + 128 + 128 + 256;
    pub const LITERAL: usize = REP_LENGTH + 2 + 128 + 128 + 256;
    pub const END: usize = LITERAL + (0x300 << 4);
}
/// A power of two, so that a masked index needs no check.
const PROBABILITIES: usize = 1 << 14;
const _: () = assert!(at::END <= PROBABILITIES);

const CORRUPT: CodecError = CodecError::Corrupt("lzma data");
const CUT: CodecError = CodecError::Truncated;
const TOO_LONG: CodecError = CodecError::Corrupt("lzma match longer than the output");

/// The range decoder and its adaptive probabilities.
struct Coder<'a> {
    input: &'a [u8],
    next: usize,
    range: u32,
    code: u32,
    probabilities: Box<[u16; PROBABILITIES]>,
}

impl<'a> Coder<'a> {
    fn new() -> Result<Self, CodecError> {
        let mut v = Vec::new();
        v.try_reserve_exact(PROBABILITIES).map_err(|_| CodecError::NoMemory)?;
        v.resize(PROBABILITIES, 1024u16);
        let probabilities = v.into_boxed_slice().try_into().map_err(|_| CodecError::NoMemory)?;
        Ok(Self { input: &[], next: 0, range: 0, code: 0, probabilities })
    }

    /// Starts on new input.
    fn start(&mut self, input: &'a [u8]) -> Result<(), CodecError> {
        let [first, code @ ..] = *input.first_chunk::<5>().ok_or(CUT)?;
        if first != 0 {
            return Err(CORRUPT);
        }
        self.input = input;
        self.next = 5;
        self.range = u32::MAX;
        self.code = u32::from_be_bytes(code);
        Ok(())
    }

    /// Whether it has read past its input. Past the end zeros are read, until someone asks here.
    #[inline(always)]
    fn overrun(&self) -> bool {
        self.next > self.input.len()
    }

    #[inline(always)]
    fn normalise(&mut self) {
        if self.range < 1 << 24 {
            let byte = self.input.get(self.next).copied().unwrap_or(0);
            self.next = self.next.wrapping_add(1);
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(byte);
        }
    }

    #[inline(always)]
    fn bit(&mut self, which: usize) -> usize {
        self.normalise();
        let Some(p) = self.probabilities.get_mut(which & (PROBABILITIES - 1)) else { return 0 };
        let bound = (self.range >> 11).wrapping_mul(u32::from(*p));
        if self.code < bound {
            self.range = bound;
            *p = p.wrapping_add(2048u16.wrapping_sub(*p) >> 5);
            0
        } else {
            self.range = self.range.wrapping_sub(bound);
            self.code = self.code.wrapping_sub(bound);
            *p = p.wrapping_sub(*p >> 5);
            1
        }
    }

    /// `bits` bits, the highest first, each with a model chosen by those before.
    #[inline(always)]
    fn tree(&mut self, base: usize, bits: u32) -> usize {
        let mut symbol = 1usize;
        for _ in 0..bits {
            symbol = symbol << 1 | self.bit(base.wrapping_add(symbol));
        }
        symbol.wrapping_sub(1usize.wrapping_shl(bits))
    }

    /// The same with the lowest first.
    fn reverse_tree(&mut self, base: usize, bits: u32) -> usize {
        let mut symbol = 1usize;
        let mut value = 0usize;
        for k in 0..bits {
            let bit = self.bit(base.wrapping_add(symbol));
            symbol = symbol << 1 | bit;
            value |= bit.wrapping_shl(k);
        }
        value
    }

    /// `bits` bits of even odds.
    fn direct(&mut self, bits: u32) -> usize {
        let mut value = 0usize;
        for _ in 0..bits {
            self.normalise();
            self.range >>= 1;
            let bit = usize::from(self.code >= self.range);
            if bit == 1 {
                self.code = self.code.wrapping_sub(self.range);
            }
            value = value << 1 | bit;
        }
        value
    }

    /// A match length less 2.
    fn length(&mut self, base: usize, pos_state: usize) -> usize {
        let narrow = base.wrapping_add(2).wrapping_add(pos_state << 3);
        if self.bit(base) == 0 {
            self.tree(narrow, 3)
        } else if self.bit(base.wrapping_add(1)) == 0 {
            self.tree(narrow.wrapping_add(128), 3).wrapping_add(8)
        } else {
            self.tree(base.wrapping_add(2 + 256), 8).wrapping_add(16)
        }
    }

    /// How far back less 1, of a match of `length` less 2.
    fn distance(&mut self, length: usize) -> usize {
        let slot = self.tree(at::SLOT.wrapping_add(length.min(3) << 6), 6);
        if slot < 4 {
            return slot;
        }
        let bits = u32::from(low8(slot as u64 >> 1)).wrapping_sub(1);
        let high = (2 | slot & 1).wrapping_shl(bits);
        if slot < 14 {
            let base = at::SPECIAL.wrapping_add(high).wrapping_sub(slot);
            high.wrapping_add(self.reverse_tree(base, bits))
        } else {
            let middle = self.direct(bits.wrapping_sub(4)) << 4;
            let low = self.reverse_tree(at::ALIGN, 4);
            high.wrapping_add(middle).wrapping_add(low)
        }
    }
}

/// How a chunk of LZMA data ended.
#[derive(PartialEq, Eq)]
enum End {
    /// The output reached its limit.
    Full,
    /// There was an end mark.
    Mark,
}

/// An LZMA decoder.
struct Lzma<'a> {
    coder: Coder<'a>,
    lc: u32,
    lp: u32,
    pb: u32,
    state: usize,
    /// The last four distances, each less 1.
    reps: [usize; 4],
    /// Where in the output the dictionary starts.
    base: usize,
}

impl<'a> Lzma<'a> {
    fn new() -> Result<Self, CodecError> {
        Ok(Self { coder: Coder::new()?, lc: 0, lp: 0, pb: 0, state: 0, reps: [0; 4], base: 0 })
    }

    fn properties(&mut self, byte: u8) -> Result<(), CodecError> {
        let (lc, rest) = (u32::from(byte % 9), u32::from(byte / 9));
        (self.lc, self.lp, self.pb) = (lc, rest % 5, rest / 5);
        if self.pb > 4 {
            return Err(CodecError::Corrupt("lzma properties"));
        }
        if self.lc.wrapping_add(self.lp) > 4 {
            return Err(CodecError::Unsupported("lzma with lc + lp above 4"));
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.state = 0;
        self.reps = [0; 4];
        self.coder.probabilities.fill(1024);
    }

    /// Decodes into `dst` from `out` up to `limit`, which lies within it; gives where it stopped.
    fn run(
        &mut self,
        dst: &mut [u8],
        mut out: usize,
        limit: usize,
    ) -> Result<(usize, End), CodecError> {
        let pos_mask = 1usize.wrapping_shl(self.pb).wrapping_sub(1);
        while out < limit {
            if self.coder.overrun() {
                return Err(CUT);
            }
            let pos_state = out.wrapping_sub(self.base) & pos_mask;
            let context = (self.state << 4).wrapping_add(pos_state);
            if self.coder.bit(at::IS_MATCH.wrapping_add(context)) == 0 {
                let byte = self.literal(dst, out);
                *dst.get_mut(out).ok_or(CORRUPT)? = byte;
                out = out.wrapping_add(1);
                continue;
            }
            let Some(length) = self.matched(pos_state, context) else {
                return Ok((out, End::Mark));
            };
            let [distance, ..] = self.reps;
            if distance >= out.wrapping_sub(self.base) {
                return Err(CodecError::Corrupt("lzma distance reaches before the output"));
            }
            if length > limit.wrapping_sub(out) {
                return Err(TOO_LONG);
            }
            repeat(dst, out, distance.wrapping_add(1), length);
            out = out.wrapping_add(length);
        }
        Ok((out, End::Full))
    }

    #[inline(always)]
    fn literal(&mut self, dst: &[u8], out: usize) -> u8 {
        let here = out.wrapping_sub(self.base);
        let back =
            |n: usize| if n <= here { u8_at(dst, out.wrapping_sub(n)).unwrap_or(0) } else { 0 };
        let low = here & 1usize.wrapping_shl(self.lp).wrapping_sub(1);
        let high = usize::from(back(1)).wrapping_shr(8u32.wrapping_sub(self.lc));
        let context = low.wrapping_shl(self.lc).wrapping_add(high);
        let base = at::LITERAL.wrapping_add(context.wrapping_mul(0x300));
        let mut symbol = 1usize;
        if self.state >= 7 {
            // After a match the byte that would have gone on with it is a good guess, up to the
            // first bit that is another.
            let [distance, ..] = self.reps;
            let mut guess = usize::from(back(distance.wrapping_add(1)));
            while symbol < 0x100 {
                let expected = guess >> 7 & 1;
                guess <<= 1;
                let model = base.wrapping_add(0x100).wrapping_add(expected << 8);
                let bit = self.coder.bit(model.wrapping_add(symbol));
                symbol = symbol << 1 | bit;
                if bit != expected {
                    break;
                }
            }
        }
        while symbol < 0x100 {
            symbol = symbol << 1 | self.coder.bit(base.wrapping_add(symbol));
        }
        self.state = match self.state {
            0..4 => 0,
            4..10 => self.state.wrapping_sub(3),
            _ => self.state.wrapping_sub(6),
        };
        low8(symbol as u64)
    }

    /// A match's length, its distance in `reps`; `None` for the end mark.
    fn matched(&mut self, pos_state: usize, context: usize) -> Option<usize> {
        let after_literal = self.state < 7;
        let state = self.state;
        let [a, b, c, d] = self.reps;
        if self.coder.bit(at::IS_REP.wrapping_add(state)) == 0 {
            let length = self.coder.length(at::LENGTH, pos_state);
            let distance = self.coder.distance(length);
            if distance == 0xffff_ffff {
                return None;
            }
            self.reps = [distance, a, b, c];
            self.state = if after_literal { 7 } else { 10 };
            return Some(length.wrapping_add(2));
        }
        if self.coder.bit(at::IS_REP0.wrapping_add(state)) == 0 {
            if self.coder.bit(at::IS_REP0_LONG.wrapping_add(context)) == 0 {
                self.state = if after_literal { 9 } else { 11 };
                return Some(1);
            }
        } else if self.coder.bit(at::IS_REP1.wrapping_add(state)) == 0 {
            self.reps = [b, a, c, d];
        } else if self.coder.bit(at::IS_REP2.wrapping_add(state)) == 0 {
            self.reps = [c, a, b, d];
        } else {
            self.reps = [d, a, b, c];
        }
        self.state = if after_literal { 8 } else { 11 };
        Some(self.coder.length(at::REP_LENGTH, pos_state).wrapping_add(2))
    }
}

/// The old .lzma file: properties, dictionary size, output size (all ones if there is an end mark).
pub fn decompress_alone(src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
    let mut lzma = Lzma::new()?;
    lzma.properties(u8_at(src, 0).ok_or(CUT)?)?;
    let size = u64_at(src, 5).ok_or(CUT)?;
    lzma.coder.start(src.get(13..).ok_or(CUT)?)?;
    let room = dst.len();
    if size == u64::MAX {
        return match lzma.run(dst, 0, room) {
            // There is no other limit here than the buffer.
            Err(TOO_LONG) => Err(CodecError::TooLarge(room)),
            Err(e) => Err(e),
            Ok((out, End::Mark)) => Ok(out),
            // A full buffer may have the end mark next.
            Ok((out, End::Full)) => {
                let pos_state = out & 1usize.wrapping_shl(lzma.pb).wrapping_sub(1);
                let context = (lzma.state << 4).wrapping_add(pos_state);
                let mark = lzma.coder.bit(at::IS_MATCH.wrapping_add(context)) == 1
                    && lzma.matched(pos_state, context).is_none();
                if mark { Ok(out) } else { Err(CodecError::TooLarge(room)) }
            }
        };
    }
    let limit = index(size);
    if limit > room {
        return Err(CodecError::TooLarge(room));
    }
    let (out, _) = lzma.run(dst, 0, limit)?;
    if lzma.coder.overrun() {
        return Err(CUT);
    }
    if out == limit { Ok(out) } else { Err(CORRUPT) }
}

/// LZMA2 chunks from the start of `src`, output from `out` on; gives the bytes taken and where the output
/// ends.
pub fn decompress_lzma2(
    src: &[u8],
    dst: &mut [u8],
    mut out: usize,
) -> Result<(usize, usize), CodecError> {
    let mut lzma = Lzma::new()?;
    let mut at = 0usize;
    // Until a dictionary, and properties, were given.
    let (mut fresh, mut ready) = (true, false);
    loop {
        let control = u8_at(src, at).ok_or(CUT)?;
        let word = |k| {
            let [a, b, ..] = u32_at(src, at.wrapping_add(k))?.to_le_bytes();
            Some(usize::from(u16::from_be_bytes([a, b])).wrapping_add(1))
        };
        if control == 0 {
            return Ok((at.wrapping_add(1), out));
        }
        if control == 1 || control >= 0xe0 {
            lzma.base = out;
            fresh = false;
        }
        let bad = CodecError::Corrupt("lzma2 control byte");
        if fresh || (3..0x80).contains(&control) {
            return Err(bad);
        }
        let low = word(1).ok_or(CUT)?;
        let limit_of = |size: usize| {
            let limit = out.checked_add(size).filter(|limit| *limit <= dst.len());
            limit.ok_or(CodecError::TooLarge(dst.len()))
        };
        if control < 0x80 {
            let limit = limit_of(low)?;
            at = at.wrapping_add(3);
            let end = at.wrapping_add(low);
            let from = src.get(at..end).ok_or(CUT)?;
            dst.get_mut(out..limit).ok_or(CORRUPT)?.copy_from_slice(from);
            (at, out) = (end, limit);
            continue;
        }
        let limit = limit_of((usize::from(control & 0x1f) << 16).wrapping_add(low))?;
        let packed = word(3).ok_or(CUT)?;
        at = at.wrapping_add(5);
        if control >= 0xc0 {
            lzma.properties(u8_at(src, at).ok_or(CUT)?)?;
            at = at.wrapping_add(1);
            ready = true;
        }
        if !ready {
            return Err(bad);
        }
        if control >= 0xa0 {
            lzma.reset();
        }
        let end = at.wrapping_add(packed);
        lzma.coder.start(src.get(at..end).ok_or(CUT)?)?;
        let (stop, _) = lzma.run(dst, out, limit)?;
        lzma.coder.normalise();
        if stop != limit || lzma.coder.next != packed || lzma.coder.code != 0 {
            return Err(CodecError::Corrupt("lzma2 chunk does not end where it should"));
        }
        (at, out) = (end, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_input_is_cut_short() {
        assert_eq!(decompress_alone(&[], &mut [0; 4]), Err(CUT));
        assert_eq!(decompress_lzma2(&[], &mut [0; 4], 0), Err(CUT));
        assert_eq!(decompress_lzma2(&[0], &mut [0; 4], 0), Ok((1, 0)));
        assert!(decompress_lzma2(&[2, 0, 0, 7, 0], &mut [0; 4], 0).is_err());
    }

    #[test]
    fn stored_lzma2_chunks_are_copied() {
        let mut dst = [0; 4];
        assert_eq!(decompress_lzma2(&[1, 0, 1, 7, 8, 2, 0, 0, 9, 0], &mut dst, 0), Ok((10, 3)));
        assert_eq!(dst, [7, 8, 9, 0]);
        assert!(decompress_lzma2(&[1, 0, 4, 7, 8, 9, 10, 11, 0], &mut dst, 0).is_err());
    }
}
