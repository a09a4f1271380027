//! The machine's CPUs, and what the hypervisor keeps for each.

use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use machine::layout::MAX_CPUS;
use machine::lock::Lock;

/// A set of CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuSet(u64);

const _: () = assert!(MAX_CPUS == 64);

impl CpuSet {
    /// No CPU.
    pub const EMPTY: CpuSet = CpuSet(0);
    /// Every CPU there may be.
    pub const ALL: CpuSet = CpuSet(!0);

    /// From a bitmap, CPU 0 in the lowest bit.
    pub const fn from_bits(bits: u64) -> Self {
        CpuSet(bits)
    }

    /// As a bitmap.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The CPUs in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        CpuSet(self.0 & other.0)
    }

    fn bit(cpu: usize) -> u64 {
        u32::try_from(cpu).ok().and_then(|c| 1u64.checked_shl(c)).unwrap_or(0)
    }

    /// Adds a CPU.
    pub fn insert(&mut self, cpu: usize) {
        self.0 |= Self::bit(cpu);
    }

    /// Takes a CPU out.
    pub fn remove(&mut self, cpu: usize) {
        self.0 &= !Self::bit(cpu);
    }

    /// Whether the CPU is in it.
    pub fn contains(self, cpu: usize) -> bool {
        self.0 & Self::bit(cpu) != 0
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The CPUs in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let first = left.trailing_zeros() as usize;
            let found = (left != 0).then_some(first);
            left &= left.wrapping_sub(1);
            found
        })
    }

    /// How many.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }
}

/// What the hypervisor keeps for one CPU.
pub struct Cpu {
    /// The vCPU whose state this CPU's registers hold: the one that runs here or, while the CPU
    /// idles, the one that ran last, if it has not been put away.
    pub loaded: Lock<Option<Arc<Vcpu>>>,
    /// The loaded vCPU runs; else the CPU idles.
    pub running: AtomicBool,
    /// Another CPU waits for the loaded vCPU's state.
    pub wanted: AtomicBool,
    /// Timers of vCPUs that this CPU keeps.
    pub timers: Lock<scheduler::Timers>,
    /// Whose vCPU was loaded last.
    pub last_domain: AtomicU16,
    /// Breakpoints of a guest are loaded.
    pub debug_loaded: AtomicBool,
    /// Something changed that the scheduler should look at.
    pub resched: AtomicBool,
    /// The timer fired.
    pub timer_fired: AtomicBool,
    /// When this CPU's timer is set to fire, in system time; `u64::MAX` for never.
    pub deadline: AtomicU64,
    /// When the scheduler is to look again.
    pub slice_end: AtomicU64,
    /// Nanoseconds spent idle, up to when it last stopped being so.
    pub idle_ns: AtomicU64,
    /// Since when it idles, in system time; `u64::MAX` while it does not.
    pub idle_since: AtomicU64,
    /// The local APIC's id.
    pub apic_id: AtomicU32,
}

impl Cpu {
    const fn new() -> Self {
        Cpu {
            loaded: Lock::new(None),
            running: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            timers: Lock::new(scheduler::Timers::new()),
            last_domain: AtomicU16::new(abi::DomId::IDLE.0),
            debug_loaded: AtomicBool::new(false),
            resched: AtomicBool::new(false),
            timer_fired: AtomicBool::new(false),
            deadline: AtomicU64::new(u64::MAX),
            slice_end: AtomicU64::new(u64::MAX),
            idle_ns: AtomicU64::new(0),
            idle_since: AtomicU64::new(u64::MAX),
            apic_id: AtomicU32::new(0),
        }
    }

    /// The vCPU that runs here; none while the CPU idles.
    #[inline]
    pub fn current(&self) -> Option<Arc<Vcpu>> {
        if self.running.load(Ordering::Acquire) { self.loaded.lock().clone() } else { None }
    }

    /// Nanoseconds spent idle so far.
    pub fn idle_time(&self, now: u64) -> u64 {
        let since = self.idle_since.load(Ordering::Acquire);
        self.idle_ns.load(Ordering::Relaxed).wrapping_add(now.saturating_sub(since))
    }
}

static CPUS: [Cpu; MAX_CPUS] = [const { Cpu::new() }; MAX_CPUS];
static ONLINE: AtomicU64 = AtomicU64::new(0);

/// The CPUs that run.
pub fn online() -> CpuSet {
    CpuSet(ONLINE.load(Ordering::Acquire))
}

/// Notes that this CPU runs.
pub fn set_online(cpu: usize) {
    ONLINE.fetch_or(CpuSet::bit(cpu), Ordering::AcqRel);
}

/// One CPU's data.
pub fn get(cpu: usize) -> &'static Cpu {
    static NONE: Cpu = Cpu::new();
    CPUS.get(cpu).unwrap_or(&NONE)
}

/// This CPU's data.
#[inline]
pub fn this() -> &'static Cpu {
    get(machine::percpu::cpu_id())
}

/// The vCPU that runs on this CPU. While a hypercall or trap is handled there is one.
#[inline]
pub fn current() -> Option<Arc<Vcpu>> {
    this().current()
}

/// Interrupts another CPU, so that it looks at what is asked of it.
pub fn interrupt(cpu: usize) {
    machine::apic::send_ipi(get(cpu).apic_id.load(Ordering::Relaxed), crate::irq::VECTOR_KICK);
}

/// Makes `cpu` look for something to run.
pub fn reschedule(cpu: usize) {
    // Whoever set it first has interrupted it, and it has not looked since.
    if !get(cpu).resched.swap(true, Ordering::SeqCst) && cpu != machine::percpu::cpu_id() {
        interrupt(cpu);
    }
}
