//! Reading bits backwards, as zstd's entropy-coded streams are laid out (RFC 8878, 4.1).

use crate::codec::CodecError;
use crate::num::u64_at;

/// A stream read from its last bit to its first.
///
/// It borrows all of the input, not only its own bytes, so that eight bytes can be loaded at any of
/// its positions without a special case near its start: whatever lies before the stream is read
/// as padding, and using any of it shows in [`BitReader::finished`].
#[derive(Clone, Copy)]
pub struct BitReader<'a> {
    input: &'a [u8],
    /// Where the stream starts in `input`.
    start: u32,
    /// Where `word` was loaded from. 32 bits, so that eight bytes further on is never less, and one
    /// comparison tells whether they are there; a negative place is a large one.
    at: u32,
    /// Eight bytes, rotated so that the next bits to take are at the top.
    word: u64,
    /// Bits of `word` that were taken.
    used: u32,
}

/// The lowest `n` bits, for each `n` up to 63; a whole byte's worth, so that no index is out of it.
static MASKS: [u64; 256] = {
    let mut masks = [0; 256];
    let mut n = 0;
    let mut mask = 0u64;
    while let Some((first, _)) = masks.split_at_mut(n).1.split_first_mut() {
        *first = mask;
        mask = mask << 1 | 1;
        n = n.wrapping_add(1);
    }
    masks
};

impl<'a> BitReader<'a> {
    /// The stream of `input[start..end]`, whose last byte's highest one is the end mark.
    pub fn new(input: &'a [u8], start: usize, end: usize) -> Result<Self, CodecError> {
        let corrupt = CodecError::Corrupt("zstd bit stream without end mark");
        let last = end.checked_sub(1).filter(|last| *last >= start).ok_or(corrupt)?;
        let last = input.get(last).copied().filter(|b| *b != 0).ok_or(corrupt)?;
        // A frame's header alone is longer than what could be missing here.
        let at = end.checked_sub(8).ok_or(corrupt)?;
        let word = u64_at(input, at).ok_or(corrupt)?;
        let used = last.leading_zeros().wrapping_add(1);
        let large = CodecError::Unsupported("zstd block past 2 GiB");
        let place = |n: usize| i32::try_from(n).map(i32::cast_unsigned).map_err(|_| large);
        let (start, at) = (place(start)?, place(at)?);
        Ok(Self { input, start, at, word: word.rotate_left(used), used })
    }

    /// Makes at least 57 bits available.
    #[inline(always)]
    pub fn refill(&mut self) {
        self.at = self.at.wrapping_sub(self.used >> 3);
        self.used &= 7;
        let at = self.at as usize;
        let bytes = self.input.get(at..at.wrapping_add(8)).and_then(|rest| rest.first_chunk::<8>());
        self.word = bytes.map_or(0, |b| u64::from_le_bytes(*b)).rotate_left(self.used);
    }

    /// The next `n` bits (1 to 57, of those available) without taking them.
    #[inline(always)]
    pub fn peek(&self, n: u32) -> u64 {
        self.word.wrapping_shr(0u32.wrapping_sub(n))
    }

    /// Takes `n` bits, of those available.
    #[inline(always)]
    pub fn skip(&mut self, n: u32) {
        self.word = self.word.rotate_left(n);
        self.used = self.used.wrapping_add(n);
    }

    /// Takes the next `n` bits (0 to 31, of those available), but leaves it to the caller to count them
    /// with [`BitReader::count`].
    #[inline(always)]
    pub fn take_uncounted(&mut self, n: u8) -> u64 {
        self.word = self.word.rotate_left(u32::from(n));
        self.word & MASKS.get(usize::from(n)).copied().unwrap_or(0)
    }

    /// Counts bits as taken.
    #[inline(always)]
    pub fn count(&mut self, n: u32) {
        self.used = self.used.wrapping_add(n);
    }

    /// Takes the next `n` bits (0 to 31, of those available).
    #[inline(always)]
    pub fn take(&mut self, n: u8) -> u64 {
        self.count(u32::from(n));
        self.take_uncounted(n)
    }

    /// Bits that are left; negative when more were taken than there are.
    pub fn left(&self) -> i64 {
        let bytes = i64::from(self.at.cast_signed()).wrapping_add(8);
        let bytes = bytes.wrapping_sub(i64::from(self.start));
        bytes.wrapping_mul(8).wrapping_sub(i64::from(self.used))
    }

    /// Whether exactly all bits were taken.
    pub fn finished(&self) -> bool {
        self.left() == 0
    }
}
