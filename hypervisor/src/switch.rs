//! The switch from one vCPU's state to another's.
//!
//! A vCPU's state (registers at the top of the stack, segments, vector registers, page tables,
//! descriptor tables) stays in its CPU when the vCPU stops running there, until that CPU or another
//! needs it elsewhere: a vCPU that sleeps for a moment finds all in place. Who takes such a vCPU
//! up on another CPU, or wants to see its state, asks the holder to put it away and waits; nobody
//! waits while he holds a state that another may wait for.

use crate::cpus::{self, Cpu};
use crate::time;
use crate::units::Record;
use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use machine::regs::GuestRegs;

/// How often one who waits looks before he interrupts the other CPU once more.
const PATIENCE: u32 = 100_000;

/// Moves the state that this CPU holds into its vCPU's record. The vCPU does not run.
pub fn put_away(cpu: &'static Cpu, regs: &GuestRegs) {
    let Some(v) = save(cpu, regs) else { return };
    machine::percpu::set_hot(None);
    machine::paging::load_tables(None);
    crate::flush::left_all();
    v.sched.set_holder(None);
}

/// Copies the registers that this CPU holds into their vCPU's record, and returns that vCPU: its
/// tables are loaded still, and it stays held until they are not.
fn save(cpu: &'static Cpu, regs: &GuestRegs) -> Option<Arc<Vcpu>> {
    cpu.wanted.store(false, Relaxed);
    let v = cpu.loaded.lock().take()?;
    let mut saved = v.saved.lock();
    saved.regs = *regs;
    saved.segments = machine::fpu::save_segments();
    // The guest's own wish to trap must not trap us.
    machine::cpu::set_task_switched(false);
    saved.fpu.save();
    drop(saved);
    Some(v)
}

/// Asks whatever CPU holds a vCPU's state to put it away. The vCPU does not run.
pub fn ask(r: &Record) {
    if let Some(holder) = r.holder()
        && !cpus::get(holder).wanted.swap(true, AcqRel)
    {
        cpus::interrupt(holder);
    }
}

/// Waits until no CPU holds a vCPU's state. The caller holds none that others may wait for, and no
/// lock that an interrupt handler takes.
pub fn wait_put_away(r: &Record) {
    let mut looks = 0u32;
    while let Some(holder) = r.holder() {
        if looks == 0 {
            cpus::get(holder).wanted.store(true, Release);
            cpus::interrupt(holder);
            looks = PATIENCE;
        }
        looks = looks.wrapping_sub(1);
        machine::smp::serve();
        machine::cpu::relax();
    }
}

/// Makes the vCPU that the scheduler chose the one that runs here.
pub fn run(cpu: &'static Cpu, r: &'static Record, regs: &mut GuestRegs) {
    let me = machine::percpu::cpu_id();
    if r.holder() == Some(me) {
        let Some(v) = cpu.loaded.lock().clone() else { return };
        return go(cpu, &v);
    }
    let Some(v) = r.vcpu() else {
        crate::panic::bug("the scheduler chose a vCPU that is no more");
    };
    if r.holder().is_some() {
        put_away(cpu, regs);
        wait_put_away(r);
    }
    // Nobody else takes it up now. One set of tables follows the other: what was held here is
    // free for others as soon as the new tables are loaded, and nothing is waited for before.
    let left = save(cpu, regs);
    load(cpu, &v, regs, me);
    *cpu.loaded.lock() = Some(v.clone());
    if let Some(left) = left {
        left.sched.set_holder(None);
    }
    go(cpu, &v);
}

/// Loads a vCPU's state onto this CPU. What the registers held before has been saved.
fn load(cpu: &'static Cpu, v: &Vcpu, regs: &mut GuestRegs, me: usize) {
    v.cpu.store(me, Release);
    v.sched.set_holder(Some(me));
    {
        let saved = v.saved.lock();
        *regs = saved.regs;
        machine::cpu::set_task_switched(false);
        machine::fpu::set_xcr0(machine::fpu::xcr0_supported());
        saved.fpu.restore();
        machine::fpu::set_xcr0(v.xcr0.load(Relaxed));
        if cpu.last_domain.swap(v.domain.id.0, Relaxed) != v.domain.id.0 {
            machine::mitigate::between_domains();
        }
        crate::descriptor::set_windows(v);
        crate::flush::enter(v.domain.id, v.hot);
        crate::descriptor::load_ldt_register(v);
        machine::fpu::load_segments(&saved.segments);
    }
    machine::percpu::set_hot(Some(v.hot));
    if v.task_switched.load(Relaxed) {
        machine::cpu::set_task_switched(true);
    }
    let d = *v.debug.lock();
    if d[7] & 0xff != 0 || cpu.debug_loaded.load(Relaxed) {
        cpu.debug_loaded.store(d[7] & 0xff != 0, Relaxed);
        machine::cpu::load_debug_registers([d[0], d[1], d[2], d[3]], d[7]);
    }
}

/// What is to be done whenever a vCPU goes on after it did not run.
fn go(cpu: &'static Cpu, v: &Arc<Vcpu>) {
    // Also orders that it runs before the look at its events: who raises one after that look
    // sees it running, and interrupts.
    cpu.running.swap(true, AcqRel);
    if v.polls.load(Acquire) && v.polls.swap(false, AcqRel) {
        v.poller_done();
        v.domain.pollers.fetch_sub(1, AcqRel);
    }
    time::update_guest_areas(v);
}
