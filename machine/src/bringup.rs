//! The CPUs that did not boot: woken by INIT and start-up interrupts, one at a time.
//!
//! Each begins in real mode in a page below 1 MiB (see `ap_trampoline` in [`crate::boot`]), goes
//! through the boot tables and the boot stack to its own, compares its time-stamp counter with the
//! first CPU's, and goes on in [`Kernel::start`].

use crate::acpi::Processor;
use crate::cpu::{self, cpuid, rdtsc};
use crate::entry::Kernel;
use crate::layout::MAX_CPUS;
use crate::{apic, clock, memory, paging, percpu};
use abi::Mfn;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Where a CPU goes in long mode; an `extern "C" fn() -> !`.
pub(crate) static ENTRY: AtomicU64 = AtomicU64::new(0);
/// Who is expected: its number in the upper half, its APIC identifier in the lower; or nobody.
static EXPECTED: AtomicU64 = AtomicU64::new(NOBODY);
const NOBODY: u64 = u64::MAX;
/// The expected CPU is on its own stack, and its TSC was compared.
static ARRIVED: AtomicBool = AtomicBool::new(false);

/// Comparison of TSCs: the new CPU's question, the first CPU's answer and its TSC then.
static ASKED: AtomicU64 = AtomicU64::new(0);
static ANSWERED: AtomicU64 = AtomicU64::new(0);
static FIRST_TSC: AtomicU64 = AtomicU64::new(0);
/// The largest contradiction seen so far, in ticks.
static WARP: AtomicU64 = AtomicU64::new(0);
const ROUNDS: u64 = 16;

/// Bytes of the page that are used, at most.
const ROOM: usize = 512;
const MS: u64 = 1_000_000;
/// A CPU that has not shown up after this has failed, in nanoseconds. Generous: an emulator on a
/// loaded host starts its threads late.
const TIMEOUT: u64 = 3_000 * MS;
/// Between start-up interrupts.
const RETRY: u64 = 20 * MS;

/// The code below 1 MiB; what was there comes back when this is dropped.
pub struct Trampoline {
    page: u8,
    before: [u8; ROOM],
}

/// Why a CPU does not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotStarted {
    /// No block was made for that number.
    Unprepared,
    /// The APIC cannot address it.
    Unreachable,
    /// It did not show up in time.
    Silent,
}

impl core::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            NotStarted::Unprepared => "nothing was prepared for it",
            NotStarted::Unreachable => "its APIC identifier needs x2APIC",
            NotStarted::Silent => "it did not answer in time",
        })
    }
}

fn code() -> &'static [u8] {
    unsafe extern "C" {
        static ap_trampoline: u8;
        static ap_trampoline_end: u8;
    }
    let start = &raw const ap_trampoline;
    let len = (&raw const ap_trampoline_end).addr().wrapping_sub(start.addr());
    // SAFETY: the two symbols enclose constant bytes of the image.
    unsafe { core::slice::from_raw_parts(start, len) }
}

/// A page of RAM below 640 KiB, the highest there is: the firmware's data are at both ends of that
/// range, and it says where.
fn low_page() -> Option<u8> {
    let map = crate::boot::info()?.memory();
    let page = |r: &crate::bootinfo::MemoryRange| {
        let last = (r.end.min(0xa_0000) >> 12).checked_sub(1)?;
        (last << 12 >= r.start && last > 0).then_some(last)
    };
    let best = map.iter().filter(|r| r.kind == 1).filter_map(page).max()?;
    u8::try_from(best).ok()
}

impl Trampoline {
    /// Puts the code in place. `None`: there is no RAM below 640 KiB.
    pub fn install() -> Option<Trampoline> {
        let page = low_page()?;
        let mut before = [0; ROOM];
        let at = Mfn(page.into());
        let code = code();
        let ok = code.len() <= ROOM
            && memory::read_page(at, 0, &mut before)
            && memory::write_page(at, 0, code);
        ok.then_some(Trampoline { page, before })
    }

    /// Starts a CPU under the number `cpu`, for which [`crate::boot::prepare_cpus`] has made a
    /// block, and which no other CPU has. It goes on in [`Kernel::start`].
    ///
    /// # Errors
    /// See [`NotStarted`]. A CPU that is silent will not run later either.
    pub fn start<K: Kernel>(&self, cpu: u32, processor: &Processor) -> Result<(), NotStarted> {
        let id = processor.apic_id;
        if (cpu as usize) >= MAX_CPUS || cpu == 0 || !paging::has_cpu_block(cpu) {
            return Err(NotStarted::Unprepared);
        }
        if !apic::is_x2apic() && id >= 0xff {
            return Err(NotStarted::Unreachable);
        }
        ENTRY.store(arrive::<K> as *const () as u64, SeqCst);
        ARRIVED.store(false, SeqCst);
        EXPECTED.store(u64::from(cpu) << 32 | u64::from(id), SeqCst);
        // SAFETY: the CPU has not run anything yet.
        unsafe { apic::send_init(id) };
        wait(10 * MS, || false);
        let mut left = TIMEOUT / RETRY;
        while left != 0 && EXPECTED.load(SeqCst) != NOBODY {
            // SAFETY: `install` put the code there, and it stays as long as `self`.
            unsafe { apic::send_startup(id, self.page) };
            wait(RETRY, || EXPECTED.load(SeqCst) == NOBODY);
            left = left.wrapping_sub(1);
        }
        if EXPECTED.swap(NOBODY, SeqCst) != NOBODY {
            // SAFETY: it has not come so far as to run anything of ours.
            unsafe { apic::send_init(id) };
            return Err(NotStarted::Silent);
        }
        // It is on its way, on the boot stack: nothing else may go on before it has left that.
        while !ARRIVED.load(SeqCst) {
            answer();
            cpu::relax();
        }
        Ok(())
    }
}

impl Drop for Trampoline {
    fn drop(&mut self) {
        memory::write_page(Mfn(self.page.into()), 0, &self.before);
    }
}

/// The largest difference between CPUs' TSCs that was proved, in ticks.
pub fn tsc_warp() -> u64 {
    WARP.load(SeqCst)
}

/// Waits so many nanoseconds, or until `done`.
fn wait(ns: u64, done: impl Fn() -> bool) {
    let Some(clock) = clock::get() else { return };
    let end = clock.now().saturating_add(ns);
    while clock.now() < end && !done() {
        cpu::relax();
    }
}

/// This CPU's APIC identifier, before its APIC is on.
fn own_apic_id() -> u32 {
    if cpuid(0, 0)[0] >= 0xb && cpuid(0xb, 0)[1] != 0 {
        cpuid(0xb, 0)[3]
    } else {
        cpuid(1, 0)[1] >> 24
    }
}

/// A new CPU, on the boot stack: no locks here, they need the CPU's own.
extern "C" fn arrive<K: Kernel>() -> ! {
    let expected = EXPECTED.load(SeqCst);
    let me = expected & 0xffff_ffff == u64::from(own_apic_id());
    if expected == NOBODY
        || !me
        || EXPECTED.compare_exchange(expected, NOBODY, SeqCst, SeqCst).is_err()
    {
        // Too late: whoever waited for it has gone on.
        cpu::halt_forever();
    }
    paging::activate();
    percpu::on_own_stack((expected >> 32) as u32, own_stack::<K>)
}

extern "C" fn own_stack<K: Kernel>() -> ! {
    let cpu = crate::num::low32(percpu::cpu_id() as u64);
    crate::desc::load(cpu);
    crate::desc::init_syscall(cpu);
    compare_tsc();
    ARRIVED.store(true, SeqCst);
    K::start(cpu)
}

/// The first CPU's part of the comparison.
fn answer() {
    let asked = ASKED.load(SeqCst);
    if asked != ANSWERED.load(SeqCst) {
        FIRST_TSC.store(ordered_tsc(), SeqCst);
        ANSWERED.store(asked, SeqCst);
    }
}

/// The new CPU's part: the first CPU's TSC, read between two of ours, must lie between them.
fn compare_tsc() {
    for _ in 0..ROUNDS {
        let before = ordered_tsc();
        let ticket = ASKED.fetch_add(1, SeqCst).wrapping_add(1);
        while ANSWERED.load(SeqCst) != ticket {
            cpu::relax();
        }
        let first = FIRST_TSC.load(SeqCst);
        let after = ordered_tsc();
        let warp = before.saturating_sub(first).max(first.saturating_sub(after));
        WARP.fetch_max(warp, SeqCst);
    }
}

/// The TSC, read when all before has happened.
fn ordered_tsc() -> u64 {
    // SAFETY: orders instructions only.
    unsafe { core::arch::asm!("lfence", options(nostack, preserves_flags)) };
    rdtsc()
}
