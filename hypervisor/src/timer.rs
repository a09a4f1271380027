//! Timers: one hardware timer for each CPU, set to the earliest of what its vCPUs wait for.

use crate::cpus::{self, Cpu};
use crate::time;
use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use events::Virq;

/// Makes this CPU's timer fire at `at` if it was to fire later. Firing early is harmless, so it
/// is never set back before it has fired.
pub fn set_deadline(cpu: &'static Cpu, at: u64) {
    if at < cpu.deadline.load(Acquire) {
        cpu.deadline.store(at, Release);
        time::arm(at);
    }
}

/// Makes the timer of the vCPU's CPU fire at `at` or before.
pub fn arm(v: &Arc<Vcpu>, at: u64) {
    let cpu = v.cpu.load(Acquire);
    if cpu == machine::percpu::cpu_id() {
        set_deadline(cpus::this(), at);
    } else if at < cpus::get(cpu).deadline.load(Acquire) {
        // The other CPU looks at all its vCPUs' timers.
        cpus::get(cpu).timer_fired.store(true, Release);
        cpus::interrupt(cpu);
    }
}

/// Sets a vCPU's one-shot timer; `u64::MAX` stops it.
pub fn set_singleshot(v: &Arc<Vcpu>, at: u64) {
    v.timer.store(at, Release);
    if at != u64::MAX {
        arm(v, at);
    }
}

/// The timer fired (or was asked to be looked at): serves what is due, sets it anew.
pub fn run(cpu: &'static Cpu) {
    let now = time::now();
    let mut next = u64::MAX;
    let mut index = 0usize;
    loop {
        let v = cpu.residents.lock().get(index).cloned();
        let Some(v) = v else { break };
        index = index.wrapping_add(1);
        next = next.min(serve(&v, now));
    }
    let slice = cpu.slice_end.load(Acquire);
    if slice <= now {
        cpu.resched.store(true, Release);
    } else {
        next = next.min(slice);
    }
    cpu.deadline.store(next, Release);
    if next != u64::MAX {
        time::arm(next);
    }
}

/// Fires what is due of one vCPU's timers; returns when the next is.
fn serve(v: &Arc<Vcpu>, now: u64) -> u64 {
    let mut next = u64::MAX;
    let due = v.timer.load(Acquire);
    if due <= now {
        if v.timer.compare_exchange(due, u64::MAX, AcqRel, Acquire).is_ok() {
            raise_timer(v);
        }
    } else {
        next = next.min(due);
    }
    let period = v.period.load(Acquire);
    if period != 0 {
        let due = v.period_next.load(Acquire);
        let then = if due <= now {
            raise_timer(v);
            now.saturating_add(period)
        } else {
            due
        };
        v.period_next.store(then, Release);
        next = next.min(then);
    }
    let due = v.poll_deadline.load(Acquire);
    if due <= now {
        if v.poller_done() {
            crate::schedule::kick(v);
        }
    } else {
        next = next.min(due);
    }
    next
}

fn raise_timer(v: &Arc<Vcpu>) {
    if let Some(virq) = Virq::new(abi::xen::Virq::TIMER.0) {
        let raised = v.domain.events.raise_virq(v.id, virq);
        crate::evtchn::follow_up(&v.domain, raised, None);
    }
}
