//! Which vCPU runs where, and the switch from one to another.
//!
//! Nothing blocks in the hypervisor: a vCPU is switched only on the way out, when every handler has
//! returned and its registers lie at the top of the CPU's stack.

use crate::cpus::{self, Cpu, CpuSet};
use crate::time;
use crate::vcpu::{Run, Vcpu};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use machine::regs::GuestRegs;

/// Nanoseconds that a vCPU runs while others wait for its CPU.
const SLICE: u64 = 5_000_000;

/// Chooses a CPU for a new vCPU.
pub fn place(v: &Arc<Vcpu>) {
    let allowed = cpus::online().and(CpuSet::from_bits(v.affinity.load(Relaxed)));
    let count = allowed.len().max(1);
    let seed = u32::from(v.domain.id.0).wrapping_add(v.id.0);
    let pick = allowed.iter().nth((seed % count) as usize).unwrap_or(0);
    v.cpu.store(pick, Relaxed);
    cpus::get(pick).residents.lock().push(v.clone());
}

/// Makes a vCPU that has something to do run, if nothing keeps it from running.
pub fn wake(v: &Arc<Vcpu>) {
    if v.runnable() && v.change_run(Run::Parked, Run::Queued) {
        v.runstate.lock().change(1, time::now());
        let cpu = v.cpu.load(Relaxed);
        cpus::get(cpu).queue.lock().push_back(v.clone());
        cpus::reschedule(cpu);
    }
}

/// An event for a vCPU: it no longer blocks; if it runs elsewhere, it is interrupted to see it.
pub fn kick(v: &Arc<Vcpu>) {
    v.blocked.store(false, Release);
    match v.run() {
        Run::Parked => wake(v),
        Run::Queued => {}
        Run::Running => {
            let cpu = v.cpu.load(Relaxed);
            if cpu != machine::percpu::cpu_id() {
                cpus::interrupt(cpu);
            }
        }
    }
}

/// Waits until a paused vCPU does not run, unless it is the caller.
pub fn sleep(v: &Arc<Vcpu>) {
    let me = machine::percpu::cpu_id();
    if v.cpu.load(Acquire) == me {
        cpus::this().resched.store(true, Release);
        return;
    }
    let mut asked = false;
    while v.run() == Run::Running && !v.runnable() {
        if !asked {
            cpus::reschedule(v.cpu.load(Acquire));
            asked = true;
        }
        machine::smp::serve();
        machine::cpu::relax();
    }
}

/// Takes a vCPU that will never run again, and does not run now, off all queues. No CPU has
/// anything of it loaded afterwards.
pub fn retire(v: &Arc<Vcpu>) {
    sleep(v);
    for cpu in cpus::online().iter() {
        let cpu = cpus::get(cpu);
        cpu.queue.lock().retain(|other| !Arc::ptr_eq(other, v));
        cpu.residents.lock().retain(|other| !Arc::ptr_eq(other, v));
    }
    v.change_run(Run::Queued, Run::Parked);
}

/// Sets where a vCPU may run.
pub fn set_affinity(v: &Arc<Vcpu>, hard: CpuSet) {
    v.affinity.store(hard.bits(), Release);
}

/// The running vCPU gives the others a turn.
pub fn yield_now() {
    cpus::this().resched.store(true, Release);
}

/// The last step on the way to a guest.
pub fn exit(regs: &mut GuestRegs) {
    let cpu = cpus::this();
    loop {
        machine::smp::serve();
        if cpu.timer_fired.swap(false, AcqRel) {
            crate::timer::run(cpu);
        }
        let running = cpu.current.lock().clone();
        let Some(v) = running.filter(|v| v.runnable() && !cpu.resched.load(Acquire)) else {
            schedule(cpu, regs);
            continue;
        };
        if v.has_deferred.load(Acquire) {
            crate::mmu::resume_deferred(&v, &mut pages::Budget::new(4096));
            continue;
        }
        if v.nmi_pending.load(Relaxed) && crate::traps::nmi(&v, regs) {
            continue;
        }
        if v.event_pending() {
            crate::bounce::event(&v, regs);
            // A bounce that failed has crashed the domain: look again.
            continue;
        }
        return;
    }
}

/// Puts the vCPU that runs here aside and takes the next, or idles until there is one.
fn schedule(cpu: &'static Cpu, regs: &mut GuestRegs) {
    cpu.resched.store(false, Release);
    let current = cpu.current.lock().clone();
    if let Some(v) = &current {
        if v.runnable() {
            if cpu.queue.lock().is_empty() {
                cpu.slice_end.store(u64::MAX, Relaxed);
                return;
            }
            put_aside(cpu, v, regs, Run::Queued);
        } else {
            put_aside(cpu, v, regs, Run::Parked);
        }
    }
    match next(cpu) {
        Some(v) => start(cpu, &v, regs),
        None => idle(cpu),
    }
}

/// Takes a vCPU off this CPU: to the queue's end, or to sleep.
fn put_aside(cpu: &'static Cpu, v: &Arc<Vcpu>, regs: &GuestRegs, to: Run) {
    {
        let mut saved = v.saved.lock();
        saved.regs = *regs;
        saved.segments = machine::fpu::save_segments();
        saved.fpu.save();
    }
    *cpu.current.lock() = None;
    machine::percpu::set_hot(None);
    machine::paging::load_tables(None);
    crate::flush::set_loaded(abi::DomId::IDLE);
    v.runstate.lock().change(if to == Run::Queued { 1 } else { 2 }, time::now());
    v.change_run(Run::Running, to);
    if to == Run::Queued {
        cpu.queue.lock().push_back(v.clone());
    } else {
        // It may have been woken between the decision and the change of its state.
        wake(v);
    }
}

/// The next vCPU of the queue that may run.
fn next(cpu: &'static Cpu) -> Option<Arc<Vcpu>> {
    loop {
        let v = cpu.queue.lock().pop_front()?;
        if v.runnable() {
            if v.change_run(Run::Queued, Run::Running) {
                return Some(v);
            }
        } else {
            v.change_run(Run::Queued, Run::Parked);
            wake(&v);
        }
    }
}

/// Loads a vCPU's state onto this CPU.
fn start(cpu: &'static Cpu, v: &Arc<Vcpu>, regs: &mut GuestRegs) {
    let now = time::now();
    v.cpu.store(machine::percpu::cpu_id(), Release);
    {
        let saved = v.saved.lock();
        *regs = saved.regs;
        machine::fpu::set_xcr0(machine::fpu::xcr0_supported());
        saved.fpu.restore();
        machine::fpu::set_xcr0(v.xcr0.load(Relaxed));
        crate::flush::set_loaded(v.domain.id);
        machine::paging::load_tables(Some(v.hot));
        crate::flush::flush_local();
        crate::descriptor::load(v);
        machine::fpu::load_segments(&saved.segments);
    }
    machine::percpu::set_hot(Some(v.hot));
    machine::cpu::set_task_switched(v.task_switched.load(Relaxed));
    let d = *v.debug.lock();
    if d[7] & 0xff != 0 || cpu.debug_loaded.swap(false, Relaxed) {
        cpu.debug_loaded.store(d[7] & 0xff != 0, Relaxed);
        machine::cpu::load_debug_registers([d[0], d[1], d[2], d[3]], d[7]);
    }
    v.runstate.lock().change(0, now);
    let end = if cpu.queue.lock().is_empty() { u64::MAX } else { now.wrapping_add(SLICE) };
    cpu.slice_end.store(end, Relaxed);
    crate::timer::set_deadline(cpu, end);
    *cpu.current.lock() = Some(v.clone());
    if v.polls.swap(false, AcqRel) {
        v.poller_done();
        v.domain.pollers.fetch_sub(1, AcqRel);
    }
    crate::time::update_guest_areas(v);
}

/// Waits for an interrupt.
fn idle(cpu: &'static Cpu) {
    let since = time::now();
    cpu.idle.store(true, Release);
    if !cpu.resched.load(Acquire) && !cpu.timer_fired.load(Acquire) {
        machine::cpu::idle();
    }
    cpu.idle.store(false, Release);
    cpu.idle_ns.fetch_add(time::now().saturating_sub(since), Relaxed);
}
