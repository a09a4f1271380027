//! Copies from and to memory that others may change at any time.
//!
//! Rust's own copies assume that nobody else writes. One string instruction is a copy that the compiler
//! knows nothing about: the bytes may be of any mixture of moments, and that is all.

/// Copies `count` bytes.
///
/// # Safety
/// `from` is readable and `to` writable for `count` bytes, and the ranges do not meet. What others do to
/// the memory in the meantime does not matter.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, count: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for both ranges; the direction flag is clear, as the ABI demands of all code.
    unsafe {
        std::arch::asm!(
            "rep movsq",
            "mov ecx, edx",
            "rep movsb",
            inout("rcx") count / 8 => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            in("edx") count % 8,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    for n in 0..count {
        // SAFETY: `n` is below `count`, for which the caller vouches.
        let (from, to) = unsafe { (from.add(n), to.add(n)) };
        // SAFETY: the same.
        let byte = unsafe { from.read_volatile() };
        // SAFETY: the same.
        unsafe { to.write_volatile(byte) };
    }
}

/// Zeroes `count` bytes.
///
/// # Safety
/// `to` is writable for `count` bytes. What others do to the memory in the meantime does not matter.
pub(crate) unsafe fn zero(to: *mut u8, count: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the range; the direction flag is clear, as the ABI demands of all code.
    unsafe {
        std::arch::asm!(
            "rep stosq",
            "mov ecx, edx",
            "rep stosb",
            inout("rcx") count / 8 => _,
            inout("rdi") to => _,
            in("rax") 0u64,
            in("edx") count % 8,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    for n in 0..count {
        // SAFETY: `n` is below `count`, for which the caller vouches.
        let to = unsafe { to.add(n) };
        // SAFETY: the same.
        unsafe { to.write_volatile(0) };
    }
}
