//! Sequences: "copy so many literals, then so much of what was output already" (RFC 8878, 3.1.1.3.2).

use alloc::boxed::Box;

use super::Workspace;
use super::bits::BitReader;
use super::fse::{Distribution, MAX_SIZE};
use crate::codec::CodecError;
use crate::num::{array, index, low8, low32, u8_at};

const CORRUPT: CodecError = CodecError::Corrupt("zstd sequences");

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
/// 40-47 the bits to the next state, 48-63 the base of the next state.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn new((base, extra): (u32, u8), bits: u8, next: u16) -> Self {
        let high = u64::from(next) << 48 | u64::from(bits) << 40 | u64::from(extra) << 32;
        Self(high | u64::from(base))
    }
    #[inline(always)]
    fn base(self) -> usize {
        low32(self.0) as usize
    }
    #[inline(always)]
    fn extra(self) -> u32 {
        u32::from(low8(self.0 >> 32))
    }
    #[inline(always)]
    fn next(self, stream: &mut BitReader<'_>) -> usize {
        let bits = u32::from(low8(self.0 >> 40));
        index((self.0 >> 48).wrapping_add(stream.take(bits)))
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

    #[inline(always)]
    fn at(&self, state: usize) -> Entry {
        Entry(self.entries.get(state & (MAX_SIZE - 1)).copied().unwrap_or(0))
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
        index(stream.take(self.log.unwrap_or(0)))
    }
}

/// The last three offsets.
pub type Offsets = [usize; 3];

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
    let mut output = Output { dst, at: out, literals: &work.literals, next: 0 };
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
        let mut stream = BitReader::new(input, at, end)?;
        work.offsets =
            decode(&work.ll, &work.of, &work.ml, work.offsets, &mut stream, count, &mut output)?;
        if !stream.finished() {
            return Err(CodecError::Corrupt("zstd sequence stream has another length"));
        }
    } else if at != end {
        return Err(CORRUPT);
    }
    let rest = work.literal_count.checked_sub(output.next).ok_or(CORRUPT)?;
    output.literals(rest)?;
    Ok(output.at)
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

/// The hot loop: some 60% of a kernel's decompression.
fn decode(
    ll: &Table,
    of: &Table,
    ml: &Table,
    mut offsets: Offsets,
    stream: &mut BitReader<'_>,
    count: usize,
    output: &mut Output<'_>,
) -> Result<Offsets, CodecError> {
    let mut l_state = ll.start(stream);
    let mut o_state = of.start(stream);
    let mut m_state = ml.start(stream);
    let mut left = count;
    loop {
        let (l, o, m) = (ll.at(l_state), of.at(o_state), ml.at(m_state));
        stream.refill();
        let value = o.base().wrapping_add(index(stream.take(o.extra())));
        let lengths = m.extra().wrapping_add(l.extra());
        // 57 bits are good for an offset of 31; refill when lengths and states might not fit too.
        if o.extra().wrapping_add(lengths) > 57 - 26 {
            stream.refill();
        }
        let matched = m.base().wrapping_add(index(stream.take(m.extra())));
        let literals = l.base().wrapping_add(index(stream.take(l.extra())));
        let offset = resolve(&mut offsets, value, literals);
        left = left.wrapping_sub(1);
        if left != 0 {
            if lengths > 57 - 26 {
                stream.refill();
            }
            l_state = l.next(stream);
            m_state = m.next(stream);
            o_state = o.next(stream);
        }
        output.sequence(literals, offset, matched)?;
        if left == 0 {
            return Ok(offsets);
        }
    }
}

/// What an offset value means: the values 1 to 3 repeat one of the last offsets.
#[inline(always)]
fn resolve(last: &mut Offsets, value: usize, literals: usize) -> usize {
    let [a, b, c] = *last;
    if value > 3 {
        let offset = value.wrapping_sub(3);
        *last = [offset, a, b];
        return offset;
    }
    match value.wrapping_add(usize::from(literals == 0)) {
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

/// Where output goes and literals come from.
struct Output<'a> {
    dst: &'a mut [u8],
    at: usize,
    /// The block's literals and [`SLACK`] bytes more.
    literals: &'a [u8],
    next: usize,
}

impl Output<'_> {
    /// Copies literals, then a match.
    #[inline(always)]
    fn sequence(&mut self, lits: usize, offset: usize, matched: usize) -> Result<(), CodecError> {
        // Lengths are below 2^18 and positions within slices: none of these sums can wrap.
        let middle = self.at.wrapping_add(lits);
        let end = middle.wrapping_add(matched);
        let from = middle.wrapping_sub(offset);
        let roomy = end.wrapping_add(SLACK) <= self.dst.len();
        if roomy && lits <= 16 && offset >= 16 && matched <= 32 && from < middle {
            let lit: [u8; 16] = array(self.literals, self.next).ok_or(CORRUPT)?;
            store(self.dst, self.at, lit)?;
            let first: [u8; 16] = array(self.dst, from).ok_or(CORRUPT)?;
            store(self.dst, middle, first)?;
            if matched > 16 {
                let second: [u8; 16] = array(self.dst, from.wrapping_add(16)).ok_or(CORRUPT)?;
                store(self.dst, middle.wrapping_add(16), second)?;
            }
            self.next = self.next.wrapping_add(lits);
            self.at = end;
            return Ok(());
        }
        self.literals(lits)?;
        self.matched(offset, matched)
    }

    /// Copies `count` literals.
    fn literals(&mut self, count: usize) -> Result<(), CodecError> {
        let next = self.next.wrapping_add(count);
        let end = self.at.wrapping_add(count);
        let from = self.literals.get(self.next..next).ok_or(CORRUPT)?;
        let size = self.dst.len();
        let to = self.dst.get_mut(self.at..end).ok_or(CodecError::TooLarge(size))?;
        to.copy_from_slice(from);
        self.next = next;
        self.at = end;
        Ok(())
    }

    /// Repeats `count` bytes from `offset` back.
    fn matched(&mut self, offset: usize, count: usize) -> Result<(), CodecError> {
        let size = self.dst.len();
        if offset == 0 || offset > self.at {
            return Err(CodecError::Corrupt("zstd offset reaches before the output"));
        }
        if size.wrapping_sub(self.at) < count {
            return Err(CodecError::TooLarge(size));
        }
        crate::codec::repeat(self.dst, self.at, offset, count);
        self.at = self.at.wrapping_add(count);
        Ok(())
    }
}

#[inline(always)]
fn store(dst: &mut [u8], at: usize, bytes: [u8; 16]) -> Result<(), CodecError> {
    dst.get_mut(at..at.wrapping_add(16)).ok_or(CORRUPT)?.copy_from_slice(&bytes);
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
