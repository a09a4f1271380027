//! The local APIC of this CPU.
//!
//! Registers are reached in memory (xAPIC) or as MSRs (x2APIC); the first CPU decides for all. They
//! are numbered alike: MSR 0x800 + n is the 32-bit register at 16 n. Intel SDM volume 3, chapter 11.
//!
//! Nothing here may be called from an NMI: in xAPIC mode an interrupt command is two writes.
//!
//! QEMU's emulator cannot count instructions (`-icount`) with x2APIC timers: give it `-x2apic` there.

use crate::cpu::{cpuid, msr, rdmsr, wrmsr};
use crate::mmio::Registers;
use core::arch::asm;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Register numbers.
mod reg {
    pub const ID: u16 = 0x02;
    pub const VERSION: u16 = 0x03;
    pub const TASK_PRIORITY: u16 = 0x08;
    pub const EOI: u16 = 0x0b;
    pub const LOGICAL_DESTINATION: u16 = 0x0d;
    pub const DESTINATION_FORMAT: u16 = 0x0e;
    pub const SPURIOUS: u16 = 0x0f;
    pub const IN_SERVICE: u16 = 0x10;
    pub const REQUESTED: u16 = 0x20;
    pub const ERROR_STATUS: u16 = 0x28;
    pub const COMMAND: u16 = 0x30;
    pub const COMMAND_HIGH: u16 = 0x31;
    pub const LVT_TIMER: u16 = 0x32;
    pub const LVT_THERMAL: u16 = 0x33;
    pub const LVT_PERFORMANCE: u16 = 0x34;
    pub const LVT_LINT0: u16 = 0x35;
    pub const LVT_LINT1: u16 = 0x36;
    pub const LVT_ERROR: u16 = 0x37;
    pub const INITIAL_COUNT: u16 = 0x38;
    pub const CURRENT_COUNT: u16 = 0x39;
    pub const DIVIDE: u16 = 0x3e;
    pub const SELF_IPI: u16 = 0x3f;
}

const X2APIC_MSR: u32 = 0x800;
const TSC_DEADLINE_MSR: u32 = 0x6e0;
/// APIC_BASE: this CPU booted; x2APIC; enabled.
const BASE_BSP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const LVT_MASKED: u32 = 1 << 16;
const LVT_TSC_DEADLINE: u32 = 2 << 17;
const MODE_NMI: u32 = 4 << 8;
const MODE_INIT: u32 = 5 << 8;
const MODE_STARTUP: u32 = 6 << 8;
const COMMAND_PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;
const TO_SELF: u32 = 1 << 18;
const TO_OTHERS: u32 = 3 << 18;
/// Count at the bus's own frequency.
const DIVIDE_BY_ONE: u32 = 0b1011;
/// Polls of a pending command before the next one goes out all the same.
const POLLS: u32 = 100_000;

/// Address of the registers, 0 in x2APIC mode.
static XAPIC: AtomicUsize = AtomicUsize::new(0);
static DEADLINE: AtomicBool = AtomicBool::new(false);
static READY: AtomicBool = AtomicBool::new(false);

#[inline(always)]
fn read(n: u16) -> u32 {
    match XAPIC.load(Relaxed) {
        0 => low(rdmsr(X2APIC_MSR.wrapping_add(n.into()))),
        base => {
            let at = base.wrapping_add(usize::from(n) << 4);
            // SAFETY: `XAPIC` is the address of the mapped page, and every `n` lies within.
            unsafe { with_exposed_provenance::<u32>(at).read_volatile() }
        }
    }
}

#[inline(always)]
fn write(n: u16, value: u32) {
    match XAPIC.load(Relaxed) {
        // SAFETY: no APIC register touches memory; vectors and modes are this module's choice.
        0 => unsafe { wrmsr(X2APIC_MSR.wrapping_add(n.into()), value.into()) },
        base => {
            let at = base.wrapping_add(usize::from(n) << 4);
            // SAFETY: as in `read`, and as above.
            unsafe { with_exposed_provenance_mut::<u32>(at).write_volatile(value) };
        }
    }
}

#[inline(always)]
fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn feature(bit: u32) -> bool {
    cpuid(1, 0)[2] >> bit & 1 != 0
}

/// The vectors of a CPU's own interrupts, all at least 0x10.
#[derive(Clone, Copy, Debug)]
pub struct Vectors {
    /// Interrupts that went away before they were taken; needs no end of interrupt.
    pub spurious: u8,
    /// The timer.
    pub timer: u8,
    /// Errors of the APIC itself.
    pub error: u8,
}

/// Decides how APICs are reached, on the CPU that boots: by MSRs where they can be and `want_x2apic`,
/// or where the firmware has chosen so already. `false` when there is no APIC to be had.
pub fn init(want_x2apic: bool) -> bool {
    if cpuid(1, 0)[3] >> 9 & 1 == 0 {
        return false;
    }
    let base = rdmsr(msr::APIC_BASE);
    if !(feature(21) && (want_x2apic || base & BASE_X2APIC != 0)) {
        let Some(registers) = Registers::map(base & BASE_ADDRESS, 4096) else { return false };
        XAPIC.store(registers.address(), Relaxed);
    }
    DEADLINE.store(feature(24), Relaxed);
    READY.store(true, Relaxed);
    true
}

/// Turns this CPU's APIC on with nothing pending but what may be; the timer is stopped. Call
/// [`init`] once before. `false`, and nothing is done, when that failed.
pub fn init_this_cpu(vectors: Vectors) -> bool {
    if !READY.load(Relaxed) {
        return false;
    }
    let base = rdmsr(msr::APIC_BASE);
    // From disabled to x2APIC the way leads through xAPIC.
    // SAFETY: the registers' address stays as it is.
    unsafe { wrmsr(msr::APIC_BASE, base | BASE_ENABLED) };
    if is_x2apic() {
        // SAFETY: as above; CPUID has x2APIC, and nothing goes by the registers in memory.
        unsafe { wrmsr(msr::APIC_BASE, base | BASE_ENABLED | BASE_X2APIC) };
    } else {
        // Flat logical mode, addressed to nobody: commands and routes use physical numbers.
        write(reg::DESTINATION_FORMAT, u32::MAX);
        write(reg::LOGICAL_DESTINATION, 0);
    }
    write(reg::TASK_PRIORITY, 0);
    init_lvt(vectors, base & BASE_BSP != 0);
    write(reg::SPURIOUS, 0x100 | u32::from(vectors.spurious));
    retire_leftovers();
    write(reg::ERROR_STATUS, 0);
    true
}

/// Sets what the local interrupt sources do.
fn init_lvt(vectors: Vectors, booted: bool) {
    let last = read(reg::VERSION) >> 16 & 0xff;
    write(reg::LVT_LINT0, LVT_MASKED);
    // The NMI button is wired to every CPU; one answer is enough.
    write(reg::LVT_LINT1, if booted { MODE_NMI } else { MODE_NMI | LVT_MASKED });
    write(reg::LVT_ERROR, vectors.error.into());
    if last >= 4 {
        write(reg::LVT_PERFORMANCE, LVT_MASKED);
    }
    if last >= 5 {
        write(reg::LVT_THERMAL, LVT_MASKED);
    }
    write(reg::DIVIDE, DIVIDE_BY_ONE);
    write(reg::INITIAL_COUNT, 0);
    let mode = if has_deadline() { LVT_TSC_DEADLINE } else { 0 };
    write(reg::LVT_TIMER, mode | u32::from(vectors.timer));
    if has_deadline() {
        // In xAPIC mode the LVT write must be seen before the first deadline is.
        fence();
    }
}

/// Ends the interrupts that the firmware left in service.
fn retire_leftovers() {
    for word in 0..8u16 {
        let mut bits = read(reg::IN_SERVICE.wrapping_add(word));
        while bits != 0 {
            eoi();
            bits &= bits.wrapping_sub(1);
        }
    }
}

/// Silences this CPU's APIC: before another kernel takes over, or when the CPU goes away.
pub fn shut_down_this_cpu() {
    for lvt in [reg::LVT_TIMER, reg::LVT_LINT0, reg::LVT_LINT1, reg::LVT_ERROR] {
        write(lvt, LVT_MASKED);
    }
    write(reg::SPURIOUS, 0xff);
}

/// Whether APICs are reached by MSRs and have 32-bit identifiers.
#[inline]
pub fn is_x2apic() -> bool {
    XAPIC.load(Relaxed) == 0
}

/// This CPU's APIC identifier.
pub fn id() -> u32 {
    let id = read(reg::ID);
    if is_x2apic() { id } else { id >> 24 }
}

/// The version register: bits 0 to 7 version, 16 to 23 last LVT entry.
pub fn version() -> u32 {
    read(reg::VERSION)
}

/// Ends the interrupt in service.
#[inline(always)]
pub fn eoi() {
    write(reg::EOI, 0);
}

/// Whether `vector` waits to be taken.
pub fn is_requested(vector: u8) -> bool {
    let word = read(reg::REQUESTED.wrapping_add(u16::from(vector >> 5)));
    word >> (vector & 31) & 1 != 0
}

/// The errors since the last call, bit by bit; the interrupt handler's first step.
pub fn take_errors() -> u32 {
    write(reg::ERROR_STATUS, 0);
    read(reg::ERROR_STATUS)
}

/// Lets earlier writes be seen before a following MSR write takes effect: those to x2APIC and
/// deadline registers do not wait for them.
#[inline(always)]
fn fence() {
    // SAFETY: orders memory accesses only.
    unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
}

#[inline]
fn command(dest: u32, command: u32) {
    if is_x2apic() {
        fence();
        let value = u64::from(dest) << 32 | u64::from(command);
        // SAFETY: sends an interrupt; what INIT and start-up do to a CPU is their callers' wish.
        unsafe { wrmsr(X2APIC_MSR.wrapping_add(reg::COMMAND.into()), value) };
    } else {
        wait_idle();
        write(reg::COMMAND_HIGH, dest << 24);
        write(reg::COMMAND, command);
    }
}

/// Waits until the previous command has left (xAPIC), for a bounded time.
#[inline]
fn wait_idle() {
    let mut left = POLLS;
    while read(reg::COMMAND) & COMMAND_PENDING != 0 && left != 0 {
        left = left.wrapping_sub(1);
        crate::cpu::relax();
    }
}

/// Sends interrupt `vector` (at least 0x10) to the CPU with APIC identifier `dest`, which in xAPIC
/// mode has 8 bits. Memory writes before the call are seen by the handler.
#[inline]
pub fn send_ipi(dest: u32, vector: u8) {
    command(dest, ASSERT | u32::from(vector));
}

/// Sends interrupt `vector` to this CPU.
#[inline]
pub fn send_ipi_self(vector: u8) {
    if is_x2apic() {
        write(reg::SELF_IPI, vector.into());
    } else {
        command(0, TO_SELF | ASSERT | u32::from(vector));
    }
}

/// Sends a non-maskable interrupt.
pub fn send_nmi(dest: u32) {
    command(dest, ASSERT | MODE_NMI);
}

/// Sends a non-maskable interrupt to all CPUs but this one.
pub fn send_nmi_to_others() {
    command(0, TO_OTHERS | ASSERT | MODE_NMI);
}

/// Makes a CPU wait for start-up. Give it 10 ms before [`send_startup`].
///
/// # Safety
/// The CPU must not be running anything: it forgets where it was.
pub unsafe fn send_init(dest: u32) {
    command(dest, ASSERT | MODE_INIT);
}

/// Starts a CPU in real mode at the first byte of physical page `page`. If it does not show up
/// within 200 microseconds send it again; one that is not waiting for it (yet: a loaded emulator
/// can take longer than 10 ms) ignores it.
///
/// # Safety
/// The page must hold code that takes the CPU to where it shall be.
pub unsafe fn send_startup(dest: u32, page: u8) {
    command(dest, ASSERT | MODE_STARTUP | u32::from(page));
}

/// Whether the timer takes absolute times of the TSC ([`arm_deadline`]), else ticks from now
/// ([`arm_timer`]). [`crate::clock::Clock::arm`] does what fits.
#[inline(always)]
pub fn has_deadline() -> bool {
    DEADLINE.load(Relaxed)
}

/// One interrupt after `ticks` of the APIC's own frequency; 0 stops. Not where
/// [`has_deadline`].
#[inline]
pub fn arm_timer(ticks: u32) {
    write(reg::INITIAL_COUNT, ticks);
}

/// One interrupt when the TSC passes `tsc`, at once if it has; 0 stops. Only where
/// [`has_deadline`].
#[inline]
pub fn arm_deadline(tsc: u64) {
    if has_deadline() {
        // SAFETY: the register exists, and only raises our timer interrupt.
        unsafe { wrmsr(TSC_DEADLINE_MSR, tsc) };
    }
}

/// No timer interrupt any more; one that is pending may still come.
pub fn stop_timer() {
    if has_deadline() { arm_deadline(0) } else { arm_timer(0) }
}

/// What the count-down has left, for calibration.
pub(crate) fn timer_left() -> u32 {
    read(reg::CURRENT_COUNT)
}
