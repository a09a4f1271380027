//! Port input and output.
//!
//! The hypervisor's drivers use single ports by name; a guest's accesses come here after the
//! hypervisor checked them against its permissions.

use core::arch::asm;

/// Reads one byte.
#[inline]
pub fn inb(port: u16) -> u8 {
    let v: u8;
    // SAFETY: port input touches no memory of ours.
    unsafe { asm!("in al, dx", in("dx") port, out("al") v, options(nostack, nomem)) };
    v
}

/// Writes one byte.
#[inline]
pub fn outb(port: u16, value: u8) {
    // SAFETY: a device could be told to write to memory, which no IOMMU prevents here: the
    // hypervisor lets only the hardware domain near ports.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack)) };
}

/// Reads two bytes.
#[inline]
pub fn inw(port: u16) -> u16 {
    let v: u16;
    // SAFETY: as for `inb`.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") v, options(nostack, nomem)) };
    v
}

/// Writes two bytes.
#[inline]
pub fn outw(port: u16, value: u16) {
    // SAFETY: as for `outb`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack)) };
}

/// Reads four bytes.
#[inline]
pub fn inl(port: u16) -> u32 {
    let v: u32;
    // SAFETY: as for `inb`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") v, options(nostack, nomem)) };
    v
}

/// Writes four bytes.
#[inline]
pub fn outl(port: u16, value: u32) {
    // SAFETY: as for `outb`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)) };
}
