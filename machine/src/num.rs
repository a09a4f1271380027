//! Conversions between integer widths that lose nothing, or say what they drop.

/// An index or address as the machine's word. Lossless: this code runs in 64-bit mode only.
#[inline(always)]
pub const fn index(x: u64) -> usize {
    const { assert!(size_of::<usize>() == size_of::<u64>()) };
    usize::from_ne_bytes(x.to_ne_bytes())
}

/// The lower 32 bits.
#[inline(always)]
pub const fn low32(x: u64) -> u32 {
    (x & 0xffff_ffff) as u32
}

/// The lower 16 bits.
#[inline(always)]
pub const fn low16(x: u64) -> u16 {
    (x & 0xffff) as u16
}

/// The lower 8 bits.
#[inline(always)]
pub const fn low8(x: u64) -> u8 {
    (x & 0xff) as u8
}
