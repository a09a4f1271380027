//! TLB flushes on this and other CPUs.
//!
//! A clock advances with each full flush, loads of a guest's tables included; each CPU remembers the
//! clock's value at its last one, so that a flush which only has to be newer than a stamp is often
//! found to have happened already.

use crate::cpus::{self, CpuSet};
use crate::frames::FLUSH_CLOCK;
use abi::DomId;
use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use machine::layout::MAX_CPUS;
use pages::Caches;

/// The domain whose page tables each CPU has loaded (or last had, while it idles); in the upper half
/// the one whose tables it is about to leave. [`DomId::IDLE`] for none.
static LOADED: [AtomicU32; MAX_CPUS] =
    [const { AtomicU32::new(both(DomId::IDLE, DomId::IDLE)) }; MAX_CPUS];
/// The clock at each CPU's last full flush.
static FLUSHED_AT: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// Flushes requested from other CPUs, and flushes done, since boot.
pub static REMOTE_FLUSHES: AtomicU64 = AtomicU64::new(0);
/// Full local flushes since boot.
pub static LOCAL_FLUSHES: AtomicU64 = AtomicU64::new(0);

/// What [`LOADED`] says of a CPU that goes from `left`'s tables to `loaded`'s.
const fn both(loaded: DomId, left: DomId) -> u32 {
    loaded.0 as u32 | (left.0 as u32) << 16
}

/// The two of [`LOADED`].
fn owners(word: u32) -> [DomId; 2] {
    [DomId((word & 0xffff) as u16), DomId((word >> 16) as u16)]
}

/// Notes that this CPU has no guest's tables any more: they were unloaded before.
pub fn left_all() {
    if let Some(slot) = LOADED.get(machine::percpu::cpu_id()) {
        slot.store(both(DomId::IDLE, DomId::IDLE), SeqCst);
    }
}

/// Loads the tables of a vCPU of `dom`, whatever was loaded before, and drops all of this CPU's
/// translations.
///
/// The domain is noted before the tables are loaded: who changes an entry and then does not find
/// the domain here knows that the new entry is read by what comes after. What was loaded before is
/// noted until it is no more.
pub fn enter(dom: DomId, hot: &machine::hot::Hot) {
    let Some(slot) = LOADED.get(machine::percpu::cpu_id()) else { return };
    // Nobody but this CPU changes it.
    let [before, _] = owners(slot.load(Relaxed));
    if before != dom {
        slot.store(both(dom, before), SeqCst);
    }
    load(hot);
    if before != dom && before != DomId::IDLE {
        slot.store(both(dom, DomId::IDLE), SeqCst);
    }
}

/// Drops all of this CPU's translations.
pub fn flush_local() {
    flush_by(machine::cpu::flush_tlb_all);
}

/// Loads the tables of `hot`'s mode, and drops all of this CPU's translations.
pub fn load(hot: &machine::hot::Hot) {
    flush_by(|| machine::paging::load_tables_and_flush(hot));
}

#[inline]
fn flush_by(flush: impl FnOnce()) {
    // The clock advances first: what is stamped with the new time may be forgotten by this flush or
    // not, and is not counted as if it were.
    let now = tick();
    flush();
    LOCAL_FLUSHES.fetch_add(1, SeqCst);
    if let Some(at) = FLUSHED_AT.get(machine::percpu::cpu_id()) {
        at.store(now, SeqCst);
    }
}

/// Advances the clock for a flush that follows; the time that it carries.
#[inline]
fn tick() -> u64 {
    FLUSH_CLOCK.fetch_add(1, SeqCst).wrapping_add(1)
}

fn may_cache(cpu: usize, whose: Caches) -> bool {
    let owners = LOADED.get(cpu).map_or([DomId::IDLE; 2], |l| owners(l.load(SeqCst)));
    match whose {
        // A CPU with no guest's tables flushes as it loads some: see `enter`.
        Caches::All => owners != [DomId::IDLE; 2],
        Caches::Of(dom) => owners.contains(&dom),
    }
}

/// Whether `cpu`'s last flush is newer than the stamp `since`.
fn flushed_after(cpu: usize, since: u64) -> bool {
    FLUSHED_AT.get(cpu).is_some_and(|at| at.load(SeqCst) > since)
}

/// Flushes those of `whose` CPUs that have not flushed since `since`, and waits for them.
pub fn flush(whose: Caches, since: Option<u64>) {
    let mut set = CpuSet::EMPTY;
    for cpu in cpus::online().iter() {
        if may_cache(cpu, whose) && !since.is_some_and(|s| flushed_after(cpu, s)) {
            set.insert(cpu);
        }
    }
    flush_cpus(set);
}

/// Flushes these CPUs, and waits for them.
pub fn flush_cpus(set: CpuSet) {
    if set.is_empty() {
        return;
    }
    let mut others = set;
    others.remove(machine::percpu::cpu_id());
    if others.is_empty() {
        return flush_local();
    }
    flush_with_others(set, others);
}

/// Flushes this CPU too if it is in `set`.
#[inline(never)]
fn flush_with_others(set: CpuSet, others: CpuSet) {
    let now = tick();
    let mut tickets = [0u32; MAX_CPUS];
    for cpu in others.iter() {
        if let Some(t) = tickets.get_mut(cpu) {
            *t = machine::smp::ask_flush(cpu);
        }
        REMOTE_FLUSHES.fetch_add(1, SeqCst);
        crate::cpus::interrupt(cpu);
    }
    if set != others {
        flush_local();
    }
    for cpu in others.iter() {
        let ticket = tickets.get(cpu).copied().unwrap_or(0);
        while !machine::smp::flushed(cpu, ticket) {
            machine::smp::serve();
            machine::cpu::relax();
        }
        if let Some(at) = FLUSHED_AT.get(cpu) {
            at.store(now, SeqCst);
        }
    }
}
