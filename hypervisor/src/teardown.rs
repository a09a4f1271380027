//! The end of a domain, step by step.
//!
//! The tools' call that ends a domain is made again and again until the last step is done. Each
//! step may be interrupted where its budget ends, and is then taken up there. Whatever state the
//! domain was in, half made included, every step finds what is there and gives it back.
//!
//! What others still map of the domain's pages comes back when they unmap it; until then the
//! domain stays in the table, dead, so that its number is not given to another.

use crate::cpus::{self, CpuSet};
use crate::domain::{self, Domain, Life, VIRQ_HANDLERS};
use crate::frames::{self, pages};
use crate::hypercall::event_channel;
use crate::vcpu::Vcpu;
use abi::{Mfn, xen::Virq};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use pages::{Budget, Stage};

/// Page-table entries looked at in one go.
const BUDGET: u32 = 4096;
/// Pages given back in one go.
const PAGES: u32 = 512;

/// Where a domain's end has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Nothing has begun.
    Stop,
    /// Event channels are closed.
    Events,
    /// Waits until no CPU is in the middle of something that began before.
    Wait(CpuSet),
    /// vCPUs let go of what they hold.
    Vcpus,
    /// Mappings of others' grants end, and the domain's own table.
    Grants,
    /// Memory goes back: `left` pages are to be looked at in this pass, `at` is half done, and
    /// the pass began with `began` pages.
    Memory { stage: Stage, left: u64, began: u64, at: Option<Mfn> },
    /// What else was set aside for it.
    Rest,
    /// All is done.
    Done,
}

/// How far a domain's end has come.
pub struct Progress(Step);

impl Progress {
    /// Not begun.
    pub const fn new() -> Self {
        Progress(Step::Stop)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Does a piece of what a domain's end takes; `false` when there is more to do.
///
/// The caller is not one of the domain's vCPUs.
pub fn advance(d: &Arc<Domain>) -> bool {
    let Some(mut progress) = d.control.teardown.try_lock() else { return false };
    let mut budget = Budget::new(BUDGET);
    // Several steps fit into one call if they are short.
    while progress.0 != Step::Done && !budget.is_spent() {
        match step(d, progress.0, &mut budget) {
            Next::Step(next) => progress.0 = next,
            Next::Again(same) => {
                progress.0 = same;
                return false;
            }
        }
    }
    progress.0 == Step::Done
}

/// What a step leads to.
enum Next {
    /// It is done: the next one.
    Step(Step),
    /// It is to be gone on with, by another call.
    Again(Step),
}

fn step(d: &Arc<Domain>, step: Step, budget: &mut Budget) -> Next {
    match step {
        Step::Stop => {
            stop(d);
            Next::Step(Step::Events)
        }
        Step::Events => match event_channel::close_all(d) {
            Ok(()) => Next::Step(Step::Wait(ask_others())),
            // Also when another domain changed the other end all the while.
            Err(_) => Next::Again(step),
        },
        Step::Wait(busy) => {
            let busy = still_busy(busy);
            if busy.is_empty() { Next::Step(Step::Vcpus) } else { Next::Again(Step::Wait(busy)) }
        }
        Step::Vcpus => {
            event_channel::drop_fifo(d);
            for v in d.vcpus() {
                release_vcpu(&v, budget);
            }
            Next::Step(Step::Grants)
        }
        Step::Grants => {
            if crate::grant::release_mappings(d, budget) && crate::grant::release_table(d) {
                Next::Step(pass(d, Stage::Release))
            } else {
                Next::Again(step)
            }
        }
        Step::Memory { stage, left, began, at } => memory(d, (stage, left, began, at), budget),
        Step::Rest => {
            rest(d);
            Next::Step(Step::Done)
        }
        Step::Done => Next::Step(Step::Done),
    }
}

/// Stops the domain for good: nothing new is given to it, none of its vCPUs will run again.
fn stop(d: &Arc<Domain>) {
    d.set_life(Life::Dying);
    d.bindings.lock().set_dying();
    d.pause();
    for v in d.vcpus() {
        crate::schedule::retire(&v);
    }
    for handler in &VIRQ_HANDLERS {
        // To dom0, which has them by default.
        let _ = handler.compare_exchange(u32::from(d.id.0), 0, AcqRel, Relaxed);
    }
}

/// Asks all other CPUs to pass their outermost exit, where no handler is half done.
fn ask_others() -> CpuSet {
    let mut others = cpus::online();
    others.remove(machine::percpu::cpu_id());
    for cpu in others.iter() {
        cpus::reschedule(cpu);
    }
    others
}

/// Those that have not passed it yet.
fn still_busy(mut asked: CpuSet) -> CpuSet {
    for cpu in asked.iter() {
        if !cpus::get(cpu).resched.load(Acquire) {
            asked.remove(cpu);
        }
    }
    asked
}

/// Gives back what a vCPU holds: page tables, descriptor tables, the page of its `vcpu_info`.
fn release_vcpu(v: &Arc<Vcpu>, budget: &mut Budget) {
    v.hot.set_cr3_kernel(0);
    v.hot.set_cr3_user(0);
    v.hot.set_vcpu_info(None);
    let (kernel, user) = {
        let mut base = v.base.lock();
        (base.kernel.take(), base.user.take())
    };
    // What is left of a table is found again, by its state, when its own turn comes; but it is
    // finished here if there was already something left of another.
    crate::mmu::put_base(v, user, budget);
    crate::mmu::put_base(v, kernel, budget);
    while v.base.lock().deferred.is_some() {
        crate::mmu::resume_deferred(v, &mut pages::Budget::new(4096));
    }
    crate::descriptor::drop_all(v);
    let info = v.info_frame.lock().take();
    if let Some(page) = info {
        // A writable page's use has nothing to defer.
        let _ = pages().put_typed(page, budget);
    }
}

/// The beginning of a pass over the domain's pages.
fn pass(d: &Domain, stage: Stage) -> Step {
    let n = d.memory.lock().list.len();
    Step::Memory { stage, left: n, began: n, at: None }
}

/// Goes on with a pass over the domain's pages. Those that do not come back at once are put at the
/// list's end, so that each gets its turn.
fn memory(
    d: &Arc<Domain>,
    (stage, mut left, began, mut at): (Stage, u64, u64, Option<Mfn>),
    budget: &mut Budget,
) -> Next {
    let mut pages_left = PAGES;
    loop {
        if pages_left == 0 || budget.is_spent() {
            return Next::Again(Step::Memory { stage, left, began, at });
        }
        let page = at.take().or_else(|| {
            left = left.checked_sub(1)?;
            let mut m = d.memory.lock();
            let first = m.list.pop(&frames::Machine)?;
            m.list.push(&frames::Machine, first).then_some(first)
        });
        let Some(mfn) = page else { break };
        pages_left = pages_left.wrapping_sub(1);
        if !pages().relinquish(mfn, d.id, stage, budget) {
            at = Some(mfn);
        }
    }
    let now = d.memory.lock().list.len();
    match stage {
        _ if now == 0 => Next::Step(Step::Rest),
        Stage::Release => Next::Step(pass(d, Stage::Break)),
        // As long as it frees pages, breaking tables up may free more.
        Stage::Break if now < began => Next::Step(pass(d, Stage::Break)),
        Stage::Break => Next::Step(Step::Rest),
    }
}

/// The last step: settings, and the page shared with the kernel. If nobody maps any page of the
/// domain now, it is gone.
fn rest(d: &Arc<Domain>) {
    // Taking a claim back cannot fail.
    let _ = crate::claims::set(d, 0);
    d.permissions.lock().clear();
    d.set_life(Life::Dead);
    let page = d.shared_info;
    if let Err(reason) = pages().release_shared(page, d.id) {
        crate::error!("BUG: shared page {page:#x} of d{}: {reason}", d.id);
    }
    // That was the domain's end if it was its last page; tell the tools of this state otherwise.
    if domain::by_id(d.id).is_some() {
        domain::send_machine_virq(Virq::DOM_EXC);
    }
}
