//! The machine's CPUs, and what the hypervisor keeps for each.

use crate::vcpu::Vcpu;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
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
        (0..MAX_CPUS).filter(move |&c| self.contains(c))
    }

    /// How many.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }
}

/// What the hypervisor keeps for one CPU.
pub struct Cpu {
    /// The vCPU that runs here; none while the CPU idles.
    pub current: Lock<Option<Arc<Vcpu>>>,
    /// vCPUs whose timers this CPU keeps.
    pub residents: Lock<alloc::vec::Vec<Arc<Vcpu>>>,
    /// Breakpoints of a guest are loaded.
    pub debug_loaded: AtomicBool,
    /// vCPUs that wait to run here.
    pub queue: Lock<VecDeque<Arc<Vcpu>>>,
    /// Something changed that the scheduler should look at.
    pub resched: AtomicBool,
    /// The timer fired.
    pub timer_fired: AtomicBool,
    /// When this CPU's timer is set to fire, in system time; `u64::MAX` for never.
    pub deadline: AtomicU64,
    /// End of the running vCPU's time slice.
    pub slice_end: AtomicU64,
    /// Whether an idle loop waits here.
    pub idle: AtomicBool,
    /// Nanoseconds spent idle.
    pub idle_ns: AtomicU64,
    /// The local APIC's id.
    pub apic_id: AtomicU32,
}

impl Cpu {
    const fn new() -> Self {
        Cpu {
            current: Lock::new(None),
            queue: Lock::new(VecDeque::new()),
            residents: Lock::new(alloc::vec::Vec::new()),
            debug_loaded: AtomicBool::new(false),
            resched: AtomicBool::new(false),
            timer_fired: AtomicBool::new(false),
            deadline: AtomicU64::new(u64::MAX),
            slice_end: AtomicU64::new(u64::MAX),
            idle: AtomicBool::new(false),
            idle_ns: AtomicU64::new(0),
            apic_id: AtomicU32::new(0),
        }
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
    this().current.lock().clone()
}

/// Interrupts another CPU, so that it looks at what is asked of it.
pub fn interrupt(cpu: usize) {
    machine::apic::send_ipi(get(cpu).apic_id.load(Ordering::Relaxed), crate::irq::VECTOR_KICK);
}

/// Makes `cpu` look for something to run.
pub fn reschedule(cpu: usize) {
    get(cpu).resched.store(true, Ordering::Release);
    if cpu != machine::percpu::cpu_id() {
        interrupt(cpu);
    }
}
