//! Copies of plain data from and to the running guest's address space.
//!
//! The guest's current page tables translate; a range that is not the guest's, or a fault on the
//! way, is an error. Nothing else in the hypervisor touches guest virtual addresses.

use crate::hot::guest_range;
use core::arch::asm;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The guest's memory could not be accessed there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAddress;

/// Copies `len` bytes; either side may be the guest's. Returns bytes not copied.
///
/// # Safety
/// The side that is not the guest's must be valid for `len` bytes, and the guest's must lie in
/// the guest's range.
#[inline]
unsafe fn copy(dst: u64, src: u64, len: usize) -> usize {
    let words = len >> 3;
    let tail = len & 7;
    let left: usize;
    // SAFETY: as promised by the caller; faults have their fix-ups, which count what is left.
    unsafe {
        asm!(
            "90: stac",
            ".pushsection .patch_sites,\"a\"; .long 90b - .; .byte 1, 0, 0, 0; .popsection",
            "2: rep movsq",
            "mov ecx, {tail:e}",
            "3: rep movsb",
            "jmp 5f",
            "4: lea rcx, [{tail} + rcx*8]",
            "5: clac",
            ".pushsection .patch_sites,\"a\"; .long 5b - .; .byte 1, 0, 0, 0; .popsection",
            ".pushsection .ex_table,\"a\"",
            ".long 2b - ., 4b - .",
            ".long 3b - ., 5b - .",
            ".popsection",
            tail = in(reg) tail,
            inout("rcx") words => left,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack)
        );
    }
    left
}

/// Reads bytes at guest address `from`.
pub fn read_bytes(from: u64, to: &mut [u8]) -> Result<(), BadAddress> {
    if !guest_range(from, to.len() as u64) {
        return Err(BadAddress);
    }
    // SAFETY: `to` is ours and long enough; `from` was checked.
    let left = unsafe { copy(to.as_mut_ptr().addr() as u64, from, to.len()) };
    if left == 0 { Ok(()) } else { Err(BadAddress) }
}

/// As [`read_bytes`], but says how many bytes could be read.
pub fn read_some(from: u64, to: &mut [u8]) -> usize {
    if !guest_range(from, to.len() as u64) {
        return 0;
    }
    // SAFETY: `to` is ours and long enough; `from` was checked.
    let left = unsafe { copy(to.as_mut_ptr().addr() as u64, from, to.len()) };
    to.len().saturating_sub(left)
}

/// Writes bytes at guest address `to`.
pub fn write_bytes(to: u64, from: &[u8]) -> Result<(), BadAddress> {
    if !guest_range(to, from.len() as u64) {
        return Err(BadAddress);
    }
    // SAFETY: `from` is ours; `to` was checked, so the write reaches only the guest's memory.
    let left = unsafe { copy(to, from.as_ptr().addr() as u64, from.len()) };
    if left == 0 { Ok(()) } else { Err(BadAddress) }
}

/// Reads one value of plain data, once.
#[inline]
pub fn read<T: FromBytes + IntoBytes>(from: u64) -> Result<T, BadAddress> {
    let mut value = T::new_zeroed();
    read_bytes(from, value.as_mut_bytes())?;
    Ok(value)
}

/// Writes one value of plain data.
#[inline]
pub fn write<T: IntoBytes + Immutable>(to: u64, value: &T) -> Result<(), BadAddress> {
    write_bytes(to, value.as_bytes())
}

/// Compares the `size` (1, 2, 4 or 8) bytes at `at` with `old` and replaces them by `new`, in one
/// atomic step. `Ok(Err(seen))` when they differ.
pub fn compare_exchange(
    at: u64,
    size: u8,
    old: u64,
    new: u64,
) -> Result<Result<(), u64>, BadAddress> {
    if !guest_range(at, u64::from(size)) {
        return Err(BadAddress);
    }
    let (mut seen, mut fault) = (old, 0u64);
    macro_rules! cas {
        ($insn:literal, $reg:literal) => {
            // SAFETY: `at` is in the guest's range; a fault has its fix-up.
            unsafe {
                asm!(
                    "90: stac",
            ".pushsection .patch_sites,\"a\"; .long 90b - .; .byte 1, 0, 0, 0; .popsection",
                    concat!("2: lock ", $insn, " [{at}], ", $reg),
                    "jmp 4f",
                    "3: mov {fault:e}, 1",
                    "4: clac",
            ".pushsection .patch_sites,\"a\"; .long 4b - .; .byte 1, 0, 0, 0; .popsection",
                    ".pushsection .ex_table,\"a\"",
                    ".long 2b - ., 3b - .",
                    ".popsection",
                    at = in(reg) at,
                    fault = inout(reg) fault,
                    in("rdx") new,
                    inout("rax") seen,
                    options(nostack)
                )
            }
        };
    }
    match size {
        1 => cas!("cmpxchg", "dl"),
        2 => cas!("cmpxchg", "dx"),
        4 => cas!("cmpxchg", "edx"),
        8 => cas!("cmpxchg", "rdx"),
        _ => return Err(BadAddress),
    }
    if fault != 0 {
        return Err(BadAddress);
    }
    let mask = u64::MAX.checked_shr(64u32.saturating_sub(u32::from(size).saturating_mul(8)));
    let mask = mask.unwrap_or(u64::MAX);
    Ok(if seen & mask == old & mask { Ok(()) } else { Err(seen & mask) })
}
