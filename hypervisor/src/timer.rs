//! Timers: one hardware timer for each CPU, set to the earliest of what it keeps.
//!
//! A vCPU's next expiry (of its one-shot, periodic and poll timers the first) is in the heap of one
//! CPU: that on which it was set last. The timer fires there, wherever the vCPU is then.

use crate::cpus::{self, Cpu};
use crate::time;
use crate::units::{self, Record};
use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use events::Virq;
use scheduler::Handle;

/// Not in the heap.
const NOWHERE: u32 = u32::MAX;

/// When each vCPU's next timer expires, the earliest first: a binary heap in which every vCPU knows
/// its place.
pub struct Heap(Vec<(u64, Handle)>);

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap {
    /// An empty one.
    pub const fn new() -> Heap {
        Heap(Vec::new())
    }

    /// The earliest expiry, `u64::MAX` if there is none.
    #[inline]
    pub fn first(&self) -> u64 {
        self.0.first().map_or(u64::MAX, |(due, _)| *due)
    }

    fn due(&self, at: usize) -> u64 {
        self.0.get(at).map_or(u64::MAX, |(due, _)| *due)
    }

    /// Tells the vCPU at `at` its place.
    fn note(&self, at: usize) {
        let handle = self.0.get(at).map(|(_, h)| *h);
        if let Some(r) = handle.and_then(units::record) {
            r.timer_place.store(u32::try_from(at).unwrap_or(NOWHERE), Relaxed);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.0.swap(a, b);
        self.note(a);
        self.note(b);
    }

    /// Restores the order around `at`, which is the only place where it may be wrong.
    fn sift(&mut self, mut at: usize) {
        while at > 0 {
            let parent = at.wrapping_sub(1) >> 1;
            if self.due(parent) <= self.due(at) {
                break;
            }
            self.swap(parent, at);
            at = parent;
        }
        loop {
            let left = at.wrapping_mul(2).wrapping_add(1);
            let right = left.wrapping_add(1);
            let child = if self.due(right) < self.due(left) { right } else { left };
            if self.due(child) >= self.due(at) {
                return;
            }
            self.swap(at, child);
            at = child;
        }
    }

    /// Sets when a vCPU's next timer expires; `u64::MAX` for never. `false`: no memory.
    fn set(&mut self, r: &Record, due: u64) -> bool {
        let place = r.timer_place.load(Relaxed);
        if place == NOWHERE {
            if due == u64::MAX {
                return true;
            }
            if self.0.try_reserve(1).is_err() {
                return false;
            }
            let at = self.0.len();
            self.0.push((due, r.handle));
            self.note(at);
            self.sift(at);
            return true;
        }
        let at = place as usize;
        if due == u64::MAX {
            self.take(r, at);
        } else if let Some(entry) = self.0.get_mut(at)
            && entry.0 != due
        {
            entry.0 = due;
            self.sift(at);
        }
        true
    }

    fn take(&mut self, r: &Record, at: usize) {
        r.timer_place.store(NOWHERE, Relaxed);
        if at < self.0.len() {
            self.0.swap_remove(at);
            if at < self.0.len() {
                self.note(at);
                self.sift(at);
            }
        }
    }

    /// Takes out one that is due.
    fn pop(&mut self, now: u64) -> Option<&'static Record> {
        let (due, handle) = *self.0.first()?;
        let r = units::record(handle).filter(|_| due <= now)?;
        self.take(r, 0);
        Some(r)
    }
}

/// Makes this CPU's timer fire at `at` if it was to fire later. Firing early is harmless, so it
/// is never set back before it has fired.
pub fn set_deadline(cpu: &'static Cpu, at: u64) {
    if at < cpu.deadline.load(Relaxed) {
        cpu.deadline.store(at, Relaxed);
        time::arm(at);
    }
}

/// Brings the heaps in line with a vCPU's timers, after one of them was set or stopped.
pub fn settle(v: &Vcpu) {
    let r = v.sched;
    let me = machine::percpu::cpu_id();
    let mut keeper = r.timer_cpu.lock();
    if *keeper != me {
        cpus::get(*keeper).timers.lock().set(r, u64::MAX);
        *keeper = me;
    }
    let cpu = cpus::this();
    let first = {
        let mut heap = cpu.timers.lock();
        if !heap.set(r, next_due(v)) {
            crate::error!("no memory for a timer of d{}v{}", v.domain.id, v.id);
        }
        heap.first()
    };
    set_deadline(cpu, first);
}

/// Forgets the timers of a vCPU that will not run again.
pub fn forget(v: &Vcpu) {
    v.timer.store(u64::MAX, Release);
    v.period.store(0, Release);
    v.poll_deadline.store(u64::MAX, Release);
    settle(v);
}

/// When the first of a vCPU's timers expires.
fn next_due(v: &Vcpu) -> u64 {
    let periodic = match v.period.load(Acquire) {
        0 => u64::MAX,
        _ => v.period_next.load(Acquire),
    };
    v.timer.load(Acquire).min(v.poll_deadline.load(Acquire)).min(periodic)
}

/// Sets a vCPU's one-shot timer; `u64::MAX` stops it.
pub fn set_singleshot(v: &Vcpu, at: u64) {
    v.timer.store(at, Release);
    settle(v);
}

/// The timer fired: serves what is due, sets it anew.
pub fn run(cpu: &'static Cpu) {
    let now = time::now();
    loop {
        let due = cpu.timers.lock().pop(now);
        let Some(r) = due else { break };
        if let Some(v) = r.vcpu() {
            serve(&v, now);
            settle(&v);
        }
    }
    let slice = cpu.slice_end.load(Acquire);
    if slice <= now {
        cpu.slice_end.store(u64::MAX, Release);
        cpu.resched.store(true, Release);
    }
    let next = cpu.timers.lock().first().min(cpu.slice_end.load(Acquire));
    set_deadline(cpu, next);
}

/// Fires what is due of one vCPU's timers.
fn serve(v: &Arc<Vcpu>, now: u64) {
    let due = v.timer.load(Acquire);
    if due <= now && v.timer.compare_exchange(due, u64::MAX, AcqRel, Acquire).is_ok() {
        raise_timer(v);
    }
    let period = v.period.load(Acquire);
    let due = v.period_next.load(Acquire);
    if period != 0 && due <= now {
        v.period_next.store(now.saturating_add(period), Release);
        raise_timer(v);
    }
    if v.poll_deadline.load(Acquire) <= now && v.poller_done() {
        crate::schedule::kick(v);
    }
}

fn raise_timer(v: &Arc<Vcpu>) {
    if let Some(virq) = Virq::new(abi::xen::Virq::TIMER.0) {
        let raised = v.domain.events.raise_virq(v.id, virq);
        crate::evtchn::follow_up(&v.domain, raised, None);
    }
}
