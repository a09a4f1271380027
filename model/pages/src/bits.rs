//! Narrowing without loss.

/// The low 32 bits.
#[inline]
pub(crate) fn low32(x: u64) -> u32 {
    u32::try_from(x & 0xffff_ffff).unwrap_or(0)
}

/// The low 10 bits, as an index.
#[inline]
pub(crate) fn low10(x: u64) -> usize {
    usize::try_from(x & 0x3ff).unwrap_or(0)
}
