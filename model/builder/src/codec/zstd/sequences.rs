//! Sequences: "copy so many literals, then so much of what was output already" (RFC 8878, 3.1.1.3.2).

use alloc::boxed::Box;

use super::Workspace;
use super::bits::BitReader;
use super::fse::{Distribution, MAX_SIZE};
use crate::codec::CodecError;
use crate::num::{index, low8, low32, u8_at};

const CORRUPT: CodecError = CodecError::Corrupt("zstd sequences");
const BEFORE: CodecError = CodecError::Corrupt("zstd offset reaches before the output");

/// Output at most; no kernel is near it. Places in it are 32 bits: that some bytes more are there is one
/// comparison then.
const MAX_OUTPUT: usize = 1 << 31;

/// Bytes past the literals that a copy in steps may read.
pub const SLACK: usize = 32;

/// (baseline, extra bits) of the literal length codes from 16 on; a lower code is the length.
const LITERAL_CODES: [(u32, u8); 20] = [
    (16, 1),
    (18, 1),
    (20, 1),
    (22, 1),
    (24, 2),
    (28, 2),
    (32, 3),
    (40, 3),
    (48, 4),
    (64, 6),
    (128, 7),
    (256, 8),
    (512, 9),
    (1024, 10),
    (2048, 11),
    (4096, 12),
    (8192, 13),
    (16384, 14),
    (32768, 15),
    (65536, 16),
];
/// The same of the match length codes from 32 on; a lower code is the length less 3.
const MATCH_CODES: [(u32, u8); 21] = [
    (35, 1),
    (37, 1),
    (39, 1),
    (41, 1),
    (43, 2),
    (47, 2),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 5),
    (131, 7),
    (259, 8),
    (515, 9),
    (1027, 10),
    (2051, 11),
    (4099, 12),
    (8195, 13),
    (16387, 14),
    (32771, 15),
    (65539, 16),
];
const LITERAL_PRESET: [i16; 36] = [
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
    -1, -1, -1, -1,
];
const MATCH_PRESET: [i16; 53] = [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
];
const OFFSET_PRESET: [i16; 29] =
    [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1];

/// The three alphabets.
#[derive(Clone, Copy)]
enum Kind {
    Literal,
    Offset,
    Match,
}

impl Kind {
    /// Number of symbols and largest table accuracy.
    fn limits(self) -> (usize, u32) {
        match self {
            Self::Literal => (36, 9),
            Self::Offset => (32, 8),
            Self::Match => (53, 9),
        }
    }

    fn preset(self) -> Distribution {
        match self {
            Self::Literal => Distribution::preset(&LITERAL_PRESET, 6),
            Self::Offset => Distribution::preset(&OFFSET_PRESET, 5),
            Self::Match => Distribution::preset(&MATCH_PRESET, 6),
        }
    }

    /// Baseline and extra bits of a symbol, which is below the limit.
    fn code(self, symbol: u8) -> (u32, u8) {
        let coded = |codes: &[(u32, u8)], first: u8, plus: u32| match symbol.checked_sub(first) {
            None => (u32::from(symbol).wrapping_add(plus), 0),
            Some(k) => codes.get(usize::from(k)).copied().unwrap_or((0, 0)),
        };
        match self {
            Self::Literal => coded(&LITERAL_CODES, 16, 0),
            Self::Match => coded(&MATCH_CODES, 32, 3),
            Self::Offset => (1u32.wrapping_shl(u32::from(symbol)), symbol & 31),
        }
    }
}

/// A state, in one word to be loaded at once: bits 0-31 the baseline of the value, 32-39 its extra bits,
/// 40-55 the base of the next state, 56-63 the bits to it.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn new((base, extra): (u32, u8), bits: u8, next: u16) -> Self {
        let high = u64::from(bits) << 56 | u64::from(next) << 40 | u64::from(extra) << 32;
        Self(high | u64::from(base))
    }
    #[inline(always)]
    fn of(entries: &[u64; MAX_SIZE], state: usize) -> Self {
        Self(entries.get(state & (MAX_SIZE - 1)).copied().unwrap_or(0))
    }
    #[inline(always)]
    fn base(self) -> u32 {
        low32(self.0)
    }
    #[inline(always)]
    fn extra(self) -> u8 {
        low8(self.0 >> 32)
    }
    /// The next state in the low bits, of which [`Entry::of`] takes as many as count; what lies above is
    /// left there, as taking it away costs an instruction each time.
    #[inline(always)]
    fn next(self, stream: &mut BitReader<'_>) -> usize {
        index((self.0 >> 40).wrapping_add(stream.take_uncounted(low8(self.0 >> 56))))
    }
    /// Whether either has extra bits.
    #[inline(always)]
    fn any_extra(self, other: Self) -> bool {
        (self.0 | other.0) >> 32 & 0xff != 0
    }
    /// All bits that lead to the next states: no field is so large that three of it overflow into the next,
    /// but for the baselines, which overflow into the extra bits by 2 at most.
    #[inline(always)]
    fn all_bits(self, b: Self, c: Self) -> u32 {
        u32::from(low8(self.0.wrapping_add(b.0).wrapping_add(c.0) >> 56))
    }
}

/// One alphabet's decoding table.
pub struct Table {
    entries: Box<[u64; MAX_SIZE]>,
    /// log2 of the states; `None` until a table was given.
    log: Option<u32>,
    kind: Kind,
}

impl Table {
    pub fn literal() -> Option<Self> {
        Self::new(Kind::Literal)
    }
    pub fn offset() -> Option<Self> {
        Self::new(Kind::Offset)
    }
    pub fn matches() -> Option<Self> {
        Self::new(Kind::Match)
    }

    fn new(kind: Kind) -> Option<Self> {
        Some(Self { entries: super::boxed()?, log: None, kind })
    }

    /// As if no table had been given.
    pub fn forget(&mut self) {
        self.log = None;
    }

    fn build(&mut self, distribution: &Distribution) {
        let (kind, entries) = (self.kind, &mut self.entries);
        distribution.build(|state, symbol, bits, next| {
            if let Some(entry) = entries.get_mut(state) {
                *entry = Entry::new(kind.code(symbol), bits, next).0;
            }
        });
        self.log = Some(distribution.log);
    }

    /// Sets the table up as `mode` says from the description in `input`; gives its length.
    fn read(&mut self, mode: u8, input: &[u8]) -> Result<usize, CodecError> {
        let (symbols, max_log) = self.kind.limits();
        match mode & 3 {
            0 => {
                self.build(&self.kind.preset());
                Ok(0)
            }
            1 => {
                let symbol = u8_at(input, 0).ok_or(CodecError::Truncated)?;
                if usize::from(symbol) >= symbols {
                    return Err(CORRUPT);
                }
                if let Some(entry) = self.entries.first_mut() {
                    *entry = Entry::new(self.kind.code(symbol), 0, 0).0;
                }
                self.log = Some(0);
                Ok(1)
            }
            2 => {
                let (distribution, taken) = Distribution::read(input, symbols, max_log)?;
                self.build(&distribution);
                Ok(taken)
            }
            _ if self.log.is_some() => Ok(0),
            _ => Err(CodecError::Corrupt("zstd table repeated before there was one")),
        }
    }

    fn start(&self, stream: &mut BitReader<'_>) -> usize {
        index(stream.take(low8(u64::from(self.log.unwrap_or(0)))))
    }
}

/// The last three offsets.
pub type Offsets = [u32; 3];

/// Runs the sequences section `input[at..end]` with the literals of `work`; output goes to `dst` from
/// `out` on. Gives where the output ends.
pub fn run(
    work: &mut Workspace,
    input: &[u8],
    at: usize,
    end: usize,
    dst: &mut [u8],
    out: usize,
) -> Result<usize, CodecError> {
    let input = input.get(..end).ok_or(CodecError::Truncated)?;
    let (count, mut at) = sequence_count(input, at)?;
    let limit = dst.len().min(MAX_OUTPUT);
    let dst = dst.get_mut(..limit).unwrap_or_default();
    let out = u32::try_from(out).map_err(|_| CodecError::TooLarge(limit))?;
    let mut place = Place { at: out, next: 0 };
    if count > 0 {
        let modes = u8_at(input, at).ok_or(CodecError::Truncated)?;
        if modes & 3 != 0 {
            return Err(CodecError::Corrupt("zstd reserved bits of compression modes"));
        }
        at = at.wrapping_add(1);
        for (table, shift) in [(&mut work.ll, 6u8), (&mut work.of, 4), (&mut work.ml, 2)] {
            let body = input.get(at..).ok_or(CodecError::Truncated)?;
            at = at.wrapping_add(table.read(modes.wrapping_shr(u32::from(shift)), body)?);
        }
        let stream = BitReader::new(input, at, end)?;
        place = decode(work, stream, count, dst, place)?;
    } else if at != end {
        return Err(CORRUPT);
    }
    let rest = work.literal_count.checked_sub(place.next as usize).ok_or(CORRUPT)?;
    Ok(place.literals(&work.literals, dst, rest)?.at as usize)
}

fn sequence_count(input: &[u8], at: usize) -> Result<(usize, usize), CodecError> {
    let byte =
        |k: usize| u8_at(input, at.wrapping_add(k)).map(usize::from).ok_or(CodecError::Truncated);
    let first = byte(0)?;
    Ok(match first {
        0..128 => (first, at.wrapping_add(1)),
        128..255 => {
            let high = first.wrapping_sub(128) << 8;
            (high.wrapping_add(byte(1)?), at.wrapping_add(2))
        }
        _ => {
            let value = byte(1)?.wrapping_add(byte(2)? << 8);
            (value.wrapping_add(0x7f00), at.wrapping_add(3))
        }
    })
}

/// One decoded sequence.
#[derive(Clone, Copy, Default)]
struct Sequence {
    lits: u32,
    offset: u32,
    matched: u32,
}

/// The hot loop: most of a kernel's decompression, four million times for one. Sequences are decoded
/// some at a time before they are carried out, as there are not registers enough for both at once.
fn decode(
    work: &mut Workspace,
    mut stream: BitReader<'_>,
    count: usize,
    dst: &mut [u8],
    mut place: Place,
) -> Result<Place, CodecError> {
    let mut states = States {
        l: work.ll.start(&mut stream),
        o: work.of.start(&mut stream),
        m: work.ml.start(&mut stream),
    };
    let mut batch = [Sequence::default(); 64];
    let mut left = count;
    let mut surplus = 0;
    while left > 0 {
        let now = left.min(batch.len());
        left = left.wrapping_sub(now);
        let batch = batch.get_mut(..now).ok_or(CORRUPT)?;
        surplus = decode_batch(work, &mut states, &mut stream, batch);
        place = carry_out(&work.literals, dst, batch, place)?;
    }
    // There are no states after the very last sequence, but bits were taken for them.
    if stream.left().wrapping_add(i64::from(surplus)) == 0 {
        Ok(place)
    } else {
        Err(CodecError::Corrupt("zstd sequence stream has another length"))
    }
}

/// Carries sequences out.
#[inline(never)]
fn carry_out(
    literals: &[u8],
    dst: &mut [u8],
    batch: &[Sequence],
    mut place: Place,
) -> Result<Place, CodecError> {
    for sequence in batch {
        place = place.sequence(literals, dst, sequence)?;
    }
    Ok(place)
}

/// The states of the three tables.
#[derive(Clone, Copy)]
struct States {
    l: usize,
    o: usize,
    m: usize,
}

/// Decodes as many sequences as `batch` has room for; gives the bits that led from the last of them to
/// the next states. Not inlined: it wants all registers for itself.
#[inline(never)]
fn decode_batch(
    work: &mut Workspace,
    states: &mut States,
    shared: &mut BitReader<'_>,
    batch: &mut [Sequence],
) -> u32 {
    let mut stream = *shared;
    let mut last = work.offsets;
    let States { l: mut l_state, o: mut o_state, m: mut m_state } = *states;
    let (ll, of, ml) = (&*work.ll.entries, &*work.of.entries, &*work.ml.entries);
    let mut bits = 0;
    for slot in batch {
        let (l, o, m) = (Entry::of(ll, l_state), Entry::of(of, o_state), Entry::of(ml, m_state));
        stream.refill();
        let value = o.base().wrapping_add(low32(stream.take(o.extra())));
        let (mut matched, mut lits) = (m.base(), l.base());
        // 57 bits are good for an offset's 31 and three states' 26. Only the rarer longer lengths
        // need more.
        if m.any_extra(l) {
            stream.refill();
            matched = matched.wrapping_add(low32(stream.take(m.extra())));
            lits = lits.wrapping_add(low32(stream.take(l.extra())));
            stream.refill();
        }
        *slot = Sequence { lits, offset: resolve(&mut last, value, lits), matched };
        l_state = l.next(&mut stream);
        m_state = m.next(&mut stream);
        o_state = o.next(&mut stream);
        bits = l.all_bits(m, o);
        stream.count(bits);
    }
    *shared = stream;
    *states = States { l: l_state, o: o_state, m: m_state };
    work.offsets = last;
    bits
}

/// What an offset value means: the values 1 to 3 repeat one of the last offsets.
#[inline(always)]
fn resolve(last: &mut Offsets, value: u32, literals: u32) -> u32 {
    let [a, b, c] = *last;
    if value > 3 {
        let offset = value.wrapping_sub(3);
        *last = [offset, a, b];
        return offset;
    }
    match value.wrapping_add(u32::from(literals == 0)) {
        1 => a,
        2 => {
            *last = [b, a, c];
            b
        }
        3 => {
            *last = [c, a, b];
            c
        }
        _ => {
            let offset = a.wrapping_sub(1);
            *last = [offset, a, b];
            offset
        }
    }
}

/// How far output and literals have come.
#[derive(Clone, Copy)]
struct Place {
    /// Where in the output the next byte goes, at most [`MAX_OUTPUT`].
    at: u32,
    /// Which literal is next.
    next: u32,
}

impl Place {
    /// Copies literals, then a match. Literals have [`SLACK`] bytes behind them.
    #[inline(always)]
    fn sequence(
        self,
        literals: &[u8],
        dst: &mut [u8],
        sequence: &Sequence,
    ) -> Result<Self, CodecError> {
        let Sequence { lits, offset, matched } = *sequence;
        // Nearly all are short: whole steps are copied then, into room that the next output fills.
        if lits <= 16 && matched <= 32 {
            let room = (self.at as usize).wrapping_add(64) <= dst.len();
            if let (Some(from), true) = (chunk::<16>(literals, self.next), room) {
                if let Some(to) = chunk_mut::<16>(dst, self.at) {
                    *to = *from;
                }
                // Lengths are below 2^18 and places below 2^31: these sums cannot wrap.
                let middle = self.at.wrapping_add(lits);
                let start = middle.checked_sub(offset).ok_or(BEFORE)?;
                if offset >= 16 {
                    let first = *chunk::<16>(dst, start).ok_or(CORRUPT)?;
                    *chunk_mut::<16>(dst, middle).ok_or(CORRUPT)? = first;
                    if matched > 16 {
                        let second = *chunk::<16>(dst, start.wrapping_add(16)).ok_or(CORRUPT)?;
                        *chunk_mut::<16>(dst, middle.wrapping_add(16)).ok_or(CORRUPT)? = second;
                    }
                } else {
                    let window = dst.get_mut(start as usize..).ok_or(BEFORE)?;
                    short_period(window, offset as usize, matched as usize)?;
                }
                let at = middle.wrapping_add(matched);
                return Ok(Self { at, next: self.next.wrapping_add(lits) });
            }
        }
        let after = self.literals(literals, dst, lits as usize)?;
        after.matched(dst, offset as usize, matched as usize)
    }

    /// Copies `count` literals.
    #[inline(always)]
    fn literals(self, literals: &[u8], dst: &mut [u8], count: usize) -> Result<Self, CodecError> {
        let (next, at) = (self.next as usize, self.at as usize);
        let from = literals.get(next..next.wrapping_add(count)).ok_or(CORRUPT)?;
        let size = dst.len();
        let to = dst.get_mut(at..at.wrapping_add(count)).ok_or(CodecError::TooLarge(size))?;
        if count <= 8 {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        } else {
            to.copy_from_slice(from);
        }
        Ok(self.after(count, count))
    }

    /// Repeats `count` bytes from `offset` back.
    #[inline(never)]
    fn matched(self, dst: &mut [u8], offset: usize, count: usize) -> Result<Self, CodecError> {
        let at = self.at as usize;
        if offset == 0 || offset > at {
            return Err(BEFORE);
        }
        if at.wrapping_add(count) > dst.len() {
            return Err(CodecError::TooLarge(dst.len()));
        }
        crate::codec::repeat(dst, at, offset, count);
        Ok(self.after(count, 0))
    }

    /// The place so many bytes and literals further on, which are in the slices.
    #[inline(always)]
    fn after(self, bytes: usize, literals: usize) -> Self {
        let (bytes, literals) = (low32(bytes as u64), low32(literals as u64));
        Self { at: self.at.wrapping_add(bytes), next: self.next.wrapping_add(literals) }
    }
}

/// Eight bytes that repeat the first `offset` of others: their mask, by what to multiply them, and the
/// smallest multiple of `offset` that is at least 8. By `offset`, 1 to 7.
const PERIODS: [(u64, u64, usize); 8] = [
    (0, 0, 8),
    (0xff, 0x0101_0101_0101_0101, 8),
    (0xffff, 0x0001_0001_0001_0001, 8),
    (0xff_ffff, 0x0001_0000_0100_0001, 9),
    (0xffff_ffff, 0x0000_0001_0000_0001, 8),
    (0xff_ffff_ffff, 0x0000_0100_0000_0001, 10),
    (0xffff_ffff_ffff, 0x0001_0000_0000_0001, 12),
    (0xff_ffff_ffff_ffff, 0x0100_0000_0000_0001, 14),
];

/// Repeats the first `offset` bytes of `window`, fewer than 16, for `count` bytes and up to 7 more.
#[inline(always)]
fn short_period(window: &mut [u8], offset: usize, count: usize) -> Result<(), CodecError> {
    let mut wide = offset;
    let mut done = 0usize;
    if offset < 8 {
        if offset == 0 {
            return Err(BEFORE);
        }
        let (mask, times, multiple) = PERIODS.get(offset & 7).copied().unwrap_or_default();
        let first = window.first_chunk::<8>().ok_or(CORRUPT)?;
        let eight = (u64::from_le_bytes(*first) & mask).wrapping_mul(times);
        let to = window.get_mut(offset..).and_then(|rest| rest.first_chunk_mut::<8>());
        *to.ok_or(CORRUPT)? = eight.to_le_bytes();
        // What repeats with a period repeats with its multiples.
        wide = multiple;
        done = 8;
    }
    while done < count {
        let from = done.wrapping_add(offset).wrapping_sub(wide);
        step(window, from, wide)?;
        done = done.wrapping_add(8);
    }
    Ok(())
}

/// The `N` bytes at `at`.
#[inline(always)]
fn chunk<const N: usize>(bytes: &[u8], at: u32) -> Option<&[u8; N]> {
    let at = at as usize;
    bytes.get(at..at.wrapping_add(N)).and_then(|found| found.first_chunk::<N>())
}

/// The same, to be changed.
#[inline(always)]
fn chunk_mut<const N: usize>(bytes: &mut [u8], at: u32) -> Option<&mut [u8; N]> {
    let at = at as usize;
    bytes.get_mut(at..at.wrapping_add(N)).and_then(|found| found.first_chunk_mut::<N>())
}

/// Copies eight bytes at `k` to `offset` further on, which is at least eight.
#[inline(always)]
fn step(window: &mut [u8], k: usize, offset: usize) -> Result<(), CodecError> {
    let (head, tail) = window.split_at_mut_checked(k.wrapping_add(offset)).ok_or(CORRUPT)?;
    let from = head.get(k..).and_then(|rest| rest.first_chunk::<8>()).ok_or(CORRUPT)?;
    *tail.first_chunk_mut::<8>().ok_or(CORRUPT)? = *from;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preset_distributions_add_up_to_their_table_size() {
        let sum = |c: &[i16]| c.iter().map(|v| v.unsigned_abs()).sum::<u16>();
        assert_eq!(sum(&LITERAL_PRESET), 64);
        assert_eq!(sum(&MATCH_PRESET), 64);
        assert_eq!(sum(&OFFSET_PRESET), 32);
    }

    #[test]
    fn length_codes_follow_on_without_gap() {
        for codes in [&LITERAL_CODES[..], &MATCH_CODES[..]] {
            for pair in codes.windows(2) {
                assert_eq!(pair[0].0 + (1 << pair[0].1), pair[1].0, "after {}", pair[0].0);
            }
        }
    }

    #[test]
    fn repeated_offsets_shift_when_there_are_no_literals() {
        let mut last = [1, 4, 8];
        assert_eq!(resolve(&mut last, 1, 5), 1);
        assert_eq!(resolve(&mut last, 1, 0), 4);
        assert_eq!(last, [4, 1, 8]);
        assert_eq!(resolve(&mut last, 3, 0), 3);
        assert_eq!(last, [3, 4, 1]);
        assert_eq!(resolve(&mut last, 13, 0), 10);
        assert_eq!(last, [10, 3, 4]);
    }
}
