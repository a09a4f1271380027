//! Which vCPU runs where: the model's decisions (`model/scheduler`), and what follows from them.
//!
//! Nothing blocks in the hypervisor: a vCPU is switched only on the way out, when every handler has
//! returned and its registers lie at the top of the CPU's stack.
//!
//! What keeps a vCPU from running is said by its own flags and its domain's ([`Vcpu::runnable`]).
//! Whoever changes one calls [`wake`], [`kick`] or [`sleep`]; the queue's view is brought in line
//! under its lock, where the flags are read again, so that the last word counts. A vCPU that
//! changes its own needs to call nothing: they are looked at before it goes on.

use crate::cpus::{self, Cpu, CpuSet};
use crate::domain::Domain;
use crate::switch;
use crate::time;
use crate::units::{self, All, Record};
use crate::vcpu::Vcpu;
use abi::{CpuId, Errno};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use machine::layout::MAX_CPUS;
use machine::lock::{Lock, LockGuard};
use machine::regs::GuestRegs;
use scheduler::{Decision, Next, Queue, QueueId, SLOTS};

const QUEUES: usize = MAX_CPUS / SLOTS;
const _: () = assert!(QUEUES == 4 && QUEUES * SLOTS == MAX_CPUS);

/// One queue for each 16 CPUs. Two locks are taken in the order of their numbers.
static QUEUE: [Lock<Queue>; QUEUES] = [
    Lock::new(Queue::new(QueueId(0))),
    Lock::new(Queue::new(QueueId(1))),
    Lock::new(Queue::new(QueueId(2))),
    Lock::new(Queue::new(QueueId(3))),
];

fn queue_of(cpu: usize) -> &'static Lock<Queue> {
    let [first, ..] = &QUEUE;
    QUEUE.get(cpu / SLOTS).unwrap_or(first)
}

fn cpu_id(cpu: usize) -> CpuId {
    CpuId(u32::try_from(cpu).unwrap_or(u32::MAX))
}

fn model_set(set: CpuSet) -> scheduler::CpuSet {
    scheduler::CpuSet::from_words([set.bits(), 0, 0, 0])
}

/// Does something with the queue that is a vCPU's home, under its lock; `None` if it has none.
fn at_home<R>(r: &Record, f: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    loop {
        let home = r.unit.home()?;
        let mut queue = QUEUE.get(home.0 as usize)?.lock();
        if r.unit.home() == Some(home) {
            return Some(f(&mut queue));
        }
    }
}

/// Does what a change of a vCPU's standing asks for.
fn follow(r: &Record, next: Next) {
    match next {
        Next::Nothing => {}
        Next::Kick(cpu) => cpus::reschedule(cpu.0 as usize),
        Next::Rehome => rehome(r),
    }
}

/// Two different queues, locked in the order of their numbers.
fn two(a: usize, b: usize) -> Option<(LockGuard<'static, Queue>, LockGuard<'static, Queue>)> {
    let (qa, qb) = (QUEUE.get(a)?, QUEUE.get(b)?);
    if a < b {
        let a = qa.lock();
        Some((a, qb.lock()))
    } else {
        let b = qb.lock();
        Some((qa.lock(), b))
    }
}

/// Moves a vCPU to a queue with CPUs that it may use.
fn rehome(r: &Record) {
    let allowed = r.unit.allowed();
    for target in 0..QUEUES {
        let Some(home) = r.unit.home().map(|q| q.0 as usize) else { return };
        if home == target {
            continue;
        }
        let Some((mut from, mut to)) = two(home, target) else { return };
        if r.unit.home() != Some(from.id()) || allowed.and(&to.online()).is_empty() {
            continue;
        }
        let next = from.migrate(&mut to, &All, r.handle, time::now());
        drop((from, to));
        if let Next::Kick(cpu) = next {
            cpus::reschedule(cpu.0 as usize);
        }
        return;
    }
}

/// Lets the scheduler use this CPU.
pub fn add_cpu(cpu: usize) {
    if queue_of(cpu).lock().add_cpu(cpu_id(cpu)).is_err() {
        crate::error!("BUG: CPU {cpu} is on line twice");
    }
}

/// Makes a new vCPU known to the scheduler, in the queue that has the fewest.
pub fn place(v: &Arc<Vcpu>) {
    let r = v.sched;
    r.attach(v);
    let candidates = QUEUE.iter().enumerate().filter(|(_, q)| !q.lock().online().is_empty());
    let seed = usize::from(v.domain.id.0).wrapping_add(v.id.0 as usize);
    let count = candidates.clone().count().max(1);
    let target = candidates.map(|(i, _)| i).nth(seed.checked_rem(count).unwrap_or(0)).unwrap_or(0);
    if let Some(q) = QUEUE.get(target)
        && q.lock().insert(&All, r.handle).is_err()
    {
        crate::error!("BUG: d{}v{} is in a queue already", v.domain.id, v.id);
    }
    wake(v);
}

/// Takes a vCPU that will never run again, and is stopped, off its queue and its timers' heap. No
/// CPU has anything of it loaded afterwards.
pub fn retire(v: &Arc<Vcpu>) {
    v.online.store(false, Release);
    sleep(v);
    crate::timer::forget(v);
    let gone = at_home(v.sched, |q| q.remove(&All, v.sched.handle));
    if matches!(gone, Some(Err(_))) {
        crate::error!("BUG: d{}v{} runs on", v.domain.id, v.id);
        return;
    }
    v.sched.detach();
}

/// Brings the queue's view of a vCPU in line with its flags.
fn review(v: &Vcpu) -> Next {
    let now = time::now();
    let next = at_home(v.sched, |q| {
        let wants = (v.blocked.load(SeqCst), v.stopped());
        q.set_wants(&All, v.sched.handle, wants, now)
    });
    next.unwrap_or(Next::Nothing)
}

/// Makes a vCPU that has something to do run, if nothing keeps it from running.
pub fn wake(v: &Arc<Vcpu>) {
    follow(v.sched, review(v));
}

/// An event for a vCPU: it no longer blocks; if it runs elsewhere, it is interrupted to see it.
pub fn kick(v: &Arc<Vcpu>) {
    if v.blocked.load(SeqCst) && v.blocked.swap(false, SeqCst) {
        return wake(v);
    }
    if let Some(cpu) = v.sched.unit.on_cpu().map(|c| c.0 as usize)
        && cpu != machine::percpu::cpu_id()
    {
        cpus::interrupt(cpu);
    }
}

/// Makes a vCPU that was paused or taken down stop soon.
pub fn sleep_soon(v: &Arc<Vcpu>) {
    wake(v);
}

/// Waits until a paused vCPU does not run and its state can be looked at; unless it is the
/// caller, which will not go on. The caller holds no lock that an interrupt handler takes.
pub fn sleep(v: &Arc<Vcpu>) {
    wake(v);
    let cpu = cpus::this();
    let me = machine::percpu::cpu_id();
    let r = v.sched;
    if r.holder() == Some(me) {
        if !cpu.running.load(Relaxed) {
            // Left here by an idle CPU, which this one is: an interrupt handler is the caller.
            cpu.wanted.store(true, Release);
        }
        return;
    }
    while v.stopped() && r.unit.on_cpu().is_some_and(|c| c.0 as usize != me) {
        machine::smp::serve();
        machine::cpu::relax();
    }
    if v.stopped() {
        switch::wait_put_away(r);
    }
}

/// The running vCPU gives the others a turn.
pub fn yield_now() {
    if let Some(v) = cpus::current() {
        at_home(v.sched, |q| q.yield_now(&All, v.sched.handle));
    }
    cpus::this().resched.store(true, Release);
}

/// The weight and cap (percent of one CPU, 0 for none) of a domain.
pub fn params(d: &Domain) -> (u16, u16) {
    let short = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    units::share(d.id).map_or((0, 0), |s| (short(s.weight()), short(s.cap())))
}

/// Sets them; weight 0 leaves the weight as it is.
///
/// # Errors
/// `EINVAL`: weight above 65535.
pub fn set_params(d: &Domain, weight: u32, cap: u16) -> Result<(), Errno> {
    units::share(d.id).ok_or(Errno::EINVAL)?.set(weight, cap)?;
    // Whoever has used up the old cap, or has none any more, is looked at again.
    for cpu in cpus::online().iter() {
        cpus::reschedule(cpu);
    }
    Ok(())
}

/// Where a vCPU may run, and where it had better run.
pub fn affinity(v: &Vcpu) -> (CpuSet, CpuSet) {
    let first = |set: scheduler::CpuSet| {
        let [bits, ..] = set.words();
        CpuSet::from_bits(bits)
    };
    (first(v.sched.unit.hard_affinity()), first(v.sched.unit.soft_affinity()))
}

/// Sets them.
///
/// # Errors
/// `EINVAL`: no CPU that is on line is in `hard`.
pub fn set_affinity(v: &Vcpu, hard: CpuSet, soft: CpuSet) -> Result<(), Errno> {
    if hard.and(cpus::online()).is_empty() {
        return Err(Errno::EINVAL);
    }
    let sets = (model_set(hard), model_set(soft));
    let now = time::now();
    let next = at_home(v.sched, |q| q.set_affinity(&All, v.sched.handle, sets, now));
    follow(v.sched, next.unwrap_or(Next::Nothing));
    Ok(())
}

/// The rate limit in microseconds: how long a vCPU runs at least before another takes its place.
pub fn ratelimit_us() -> u32 {
    let [first, ..] = &QUEUE;
    first.lock().ratelimit_us()
}

/// Sets it; 0 for none.
///
/// # Errors
/// `EINVAL`: neither 0 nor 100 to 500000.
pub fn set_ratelimit_us(us: u32) -> Result<(), Errno> {
    QUEUE.iter().try_for_each(|q| q.lock().set_ratelimit_us(us))
}

/// The last step on the way to a guest.
pub fn exit(regs: &mut GuestRegs) {
    let cpu = cpus::this();
    loop {
        machine::smp::serve();
        if cpu.timer_fired.load(Acquire) {
            crate::timer::run(cpu);
        }
        let Some(v) = cpu.current() else {
            idle(cpu, regs);
            continue;
        };
        if cpu.resched.load(Acquire) || !v.runnable() {
            schedule(cpu, Some(&v), regs);
            continue;
        }
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

/// Nothing runs here: looks for something, or waits for an interrupt.
#[inline(never)]
fn idle(cpu: &'static Cpu, regs: &mut GuestRegs) {
    if cpu.wanted.load(Acquire) {
        switch::put_away(cpu, regs);
    }
    if cpu.resched.load(Acquire) {
        schedule(cpu, None, regs);
    } else {
        machine::cpu::idle();
    }
}

/// Has the model decide what this CPU runs, and does so.
#[inline(never)]
fn schedule(cpu: &'static Cpu, current: Option<&Arc<Vcpu>>, regs: &mut GuestRegs) {
    cpu.resched.swap(false, SeqCst);
    let me = machine::percpu::cpu_id();
    let now = time::now();
    let (decision, left) = decide(me, current, now);
    if let Some(other) = decision.kick {
        cpus::reschedule(other.0 as usize);
    }
    if let (Some(v), Some(next)) = (current, left) {
        follow(v.sched, next);
    }
    cpu.slice_end.store(decision.until, Relaxed);
    crate::timer::set_deadline(cpu, decision.until);
    let next = decision.next.and_then(units::record);
    match (next, current) {
        (Some(r), Some(v)) if core::ptr::eq(r, v.sched) => {}
        (Some(r), _) => {
            cpu.running.store(false, Relaxed);
            let since = cpu.idle_since.swap(u64::MAX, AcqRel);
            cpu.idle_ns.fetch_add(now.saturating_sub(since), Relaxed);
            switch::run(cpu, r, regs);
        }
        (None, Some(_)) => {
            cpu.running.store(false, Release);
            cpu.idle_since.store(now, Release);
        }
        (None, None) => {}
    }
}

/// The model's decision, and what follows for the vCPU that leaves. That one may be taken up by
/// others at once: they wait for its state.
fn decide(me: usize, current: Option<&Arc<Vcpu>>, now: u64) -> (Decision, Option<Next>) {
    let mut left = None;
    let decision = {
        let mut queue = queue_of(me).lock();
        if let Some(v) = current {
            let wants = (v.blocked.load(SeqCst), v.stopped());
            // If its CPU is to pick: that is what happens now.
            let _ = queue.set_wants(&All, v.sched.handle, wants, now);
        }
        let decision = queue.pick(&All, cpu_id(me), now);
        if let Some(handle) = decision.left {
            left = Some(queue.saved(&All, handle, now));
        }
        decision
    };
    if decision.next.is_none() && cpus::online().len() as usize > SLOTS && steal(me, now) {
        let again = queue_of(me).lock().pick(&All, cpu_id(me), now);
        return (again, left);
    }
    (decision, left)
}

/// Takes a vCPU that waits in another queue; says whether there was one.
fn steal(me: usize, now: u64) -> bool {
    let home = me / SLOTS;
    (0..QUEUES).filter(|&q| q != home).any(|other| {
        if QUEUE.get(other).is_none_or(|q| q.lock().waiting() == 0) {
            return false;
        }
        let Some((mut mine, mut theirs)) = two(home, other) else { return false };
        mine.steal(&mut theirs, &All, cpu_id(me), now)
    })
}
