//! Timers: one hardware timer for each CPU, set to the earliest of what it keeps.
//!
//! A vCPU's next expiry (of its one-shot, periodic and poll timers the first) is in the heap of one
//! CPU: that on which it was set last. The timer fires there, wherever the vCPU is then.

use crate::cpus::{self, Cpu};
use crate::time;
use crate::units::{self, All};
use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use events::Virq;

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
        cpus::get(*keeper).timers.lock().set(&All, r.handle, u64::MAX);
        *keeper = me;
    }
    let cpu = cpus::this();
    let first = {
        let mut heap = cpu.timers.lock();
        if !heap.set(&All, r.handle, next_due(v)) {
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

/// The timer fired: serves what is due, sets it anew. Not part of the way out that has nothing to
/// do.
#[inline(never)]
pub fn run(cpu: &'static Cpu) {
    cpu.timer_fired.store(false, Relaxed);
    let now = time::now();
    loop {
        let due = cpu.timers.lock().pop(&All, now);
        let Some(handle) = due else { break };
        if let Some(v) = units::record(handle).and_then(|r| r.vcpu()) {
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
