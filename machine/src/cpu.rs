//! Control registers, model-specific registers, CPUID and other instructions of their own.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _rdtsc};

/// Model-specific registers by number.
pub mod msr {
    #![allow(missing_docs)]
    pub const APIC_BASE: u32 = 0x1b;
    pub const SPEC_CTRL: u32 = 0x48;
    pub const PRED_CMD: u32 = 0x49;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const PAT: u32 = 0x277;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const SYSCALL_MASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// Bits of CR4.
pub mod cr4 {
    #![allow(missing_docs)]
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

/// The page attribute table that PV guests know: WB WT UC- UC WC WP UC UC.
pub const PAT_LAYOUT: u64 = 0x0000_0501_0007_0406;

/// CPUID's four registers eax, ebx, ecx, edx.
#[inline]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = __cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// The time-stamp counter.
#[inline]
pub fn rdtsc() -> u64 {
    // SAFETY: reads a counter; ring 0 may always.
    unsafe { _rdtsc() }
}

/// Reads an MSR that this CPU is known to have.
#[inline]
pub(crate) fn rdmsr(msr: u32) -> u64 {
    let (lo, hi): (u32, u32);
    // SAFETY: reading has no effect on memory; the caller names an existing register.
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") lo, out("edx") hi, options(nostack, nomem)) };
    u64::from(hi) << 32 | u64::from(lo)
}

/// Writes an MSR.
///
/// # Safety
/// The value must keep what the hypervisor relies on.
#[inline]
pub(crate) unsafe fn wrmsr(msr: u32, value: u64) {
    let lo = value & 0xffff_ffff;
    let hi = value >> 32;
    // SAFETY: as promised by the caller.
    unsafe { asm!("wrmsr", in("ecx") msr, in("rax") lo, in("rdx") hi, options(nostack)) };
}

/// Reads an MSR that may not exist.
pub fn rdmsr_safe(msr: u32) -> Option<u64> {
    let (lo, hi, bad): (u32, u32, u32);
    // SAFETY: reading has no effect on memory; the fault of a missing register has its fix-up.
    unsafe {
        asm!(
            "xor {bad:e}, {bad:e}",
            "2: rdmsr",
            "jmp 4f",
            "3: mov {bad:e}, 1",
            "4:",
            ".pushsection .ex_table,\"a\"",
            ".long 2b - ., 3b - .",
            ".popsection",
            bad = out(reg) bad,
            in("ecx") msr,
            out("eax") lo,
            out("edx") hi,
        );
    }
    (bad == 0).then_some(u64::from(hi) << 32 | u64::from(lo))
}

/// Writes an MSR that may not exist, or not take this value. Returns whether it did.
///
/// # Safety
/// As [`wrmsr`].
pub(crate) unsafe fn wrmsr_safe(msr: u32, value: u64) -> bool {
    let bad: u32;
    // SAFETY: as promised by the caller; the fault of a missing register has its fix-up.
    unsafe {
        asm!(
            "xor {bad:e}, {bad:e}",
            "2: wrmsr",
            "jmp 4f",
            "3: mov {bad:e}, 1",
            "4:",
            ".pushsection .ex_table,\"a\"",
            ".long 2b - ., 3b - .",
            ".popsection",
            bad = out(reg) bad,
            in("ecx") msr,
            in("rax") value & 0xffff_ffff,
            in("rdx") value >> 32,
        );
    }
    bad == 0
}

/// CR4.
#[inline]
pub fn read_cr4() -> u64 {
    let v: u64;
    // SAFETY: reading has no effect.
    unsafe { asm!("mov {}, cr4", out(reg) v, options(nostack, nomem)) };
    v
}

/// Writes CR4.
///
/// # Safety
/// The value must keep what the hypervisor relies on.
#[inline]
pub(crate) unsafe fn write_cr4(value: u64) {
    // SAFETY: as promised by the caller.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack)) };
}

/// CR2, the address of the last page fault.
#[inline]
pub fn read_cr2() -> u64 {
    let v: u64;
    // SAFETY: reading has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) v, options(nostack, nomem)) };
    v
}

/// CR3.
#[inline]
pub fn read_cr3() -> u64 {
    let v: u64;
    // SAFETY: reading has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) v, options(nostack, nomem)) };
    v
}

/// Writes CR3.
///
/// # Safety
/// `phys` must be an L4 that holds the hypervisor's slots and stays valid while it is loaded.
#[inline]
pub(crate) unsafe fn write_cr3(phys: u64) {
    // SAFETY: as promised by the caller.
    unsafe { asm!("mov cr3, {}", in(reg) phys, options(nostack)) };
}

/// CR0.
#[inline]
pub fn read_cr0() -> u64 {
    let v: u64;
    // SAFETY: reading has no effect.
    unsafe { asm!("mov {}, cr0", out(reg) v, options(nostack, nomem)) };
    v
}

/// Sets or clears CR0.TS, with which a PV guest catches its next use of the FPU.
pub fn set_task_switched(set: bool) {
    if set {
        let v = read_cr0() | 8;
        // SAFETY: TS changes nothing but whether FPU instructions trap; we use none.
        unsafe { asm!("mov cr0, {}", in(reg) v, options(nostack, nomem)) };
    } else {
        // SAFETY: as above.
        unsafe { asm!("clts", options(nostack, nomem)) };
    }
}

/// Drops this CPU's translations, global ones too.
#[inline]
pub fn flush_tlb_all() {
    let cr4 = read_cr4();
    if cr4 & cr4::PGE == 0 {
        // SAFETY: the tables that are loaded.
        return unsafe { write_cr3(read_cr3()) };
    }
    // SAFETY: PGE goes off and on again, which only empties the TLB.
    unsafe { write_cr4(cr4 & !cr4::PGE) };
    // SAFETY: the value that was there.
    unsafe { write_cr4(cr4) };
}

/// Drops this CPU's translation of one address.
#[inline]
pub fn invlpg(va: u64) {
    // SAFETY: only drops a cached translation.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack)) };
}

/// Writes back and drops all caches.
pub fn wbinvd() {
    // SAFETY: memory keeps its contents.
    unsafe { asm!("wbinvd", options(nostack)) };
}

/// Waits for an interrupt with interrupts on, and returns with them off.
pub fn idle() {
    // SAFETY: the interrupt handlers expect to find the idle loop.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Lets the other hyper-thread run, in spin loops.
#[inline]
pub fn relax() {
    core::hint::spin_loop();
}

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: interrupts stay off; nothing runs on this CPU any more.
        unsafe { asm!("cli", "hlt", options(nostack, nomem)) };
    }
}

/// Clears the causes of a debug exception.
pub fn clear_dr6_status() {
    // SAFETY: DR6 only reports.
    unsafe { asm!("mov dr6, {}", in(reg) 0xffff_0ff0u64, options(nostack, nomem)) };
}

/// One reader for each debug register: the number is part of the instruction.
macro_rules! read_dr {
    ($register:literal) => {{
        let v: u64;
        // SAFETY: reading a debug register has no effect, and does not fault: general detection
        // (DR7.GD) is never on.
        unsafe { asm!(concat!("mov {}, ", $register), out(reg) v, options(nostack, nomem)) };
        v
    }};
}

/// Reads debug register `n` (0 to 3, 6, 7).
pub fn read_dr(n: u8) -> u64 {
    match n {
        0 => read_dr!("dr0"),
        1 => read_dr!("dr1"),
        2 => read_dr!("dr2"),
        3 => read_dr!("dr3"),
        6 => read_dr!("dr6"),
        _ => read_dr!("dr7"),
    }
}

/// Loads all debug registers with a guest's. Breakpoints in the hypervisor's range and general
/// detection are masked out here, whatever the caller checked.
pub fn load_debug_registers(address: [u64; 4], dr7: u64) {
    let in_hypervisor = |a: u64| !crate::hot::guest_range(a, 8);
    let mut dr7 = dr7 & !(1 << 13) & 0xffff_dfff;
    if address.iter().any(|&a| in_hypervisor(a)) {
        dr7 = 0x400;
    }
    // SAFETY: breakpoints lie in the guest's range only, so none fires in the hypervisor.
    unsafe {
        asm!(
            "mov dr0, {0}", "mov dr1, {1}", "mov dr2, {2}", "mov dr3, {3}", "mov dr7, {4}",
            in(reg) address[0], in(reg) address[1], in(reg) address[2], in(reg) address[3],
            in(reg) dr7, options(nostack, nomem)
        );
    }
}
