//! TLB flushes on this and other CPUs.
//!
//! A clock advances with each flush that might matter later; each CPU remembers the clock's value at
//! its last full flush, so that a flush which only has to be newer than a stamp is often found to
//! have happened already.

use crate::cpus::{self, CpuSet};
use crate::frames::FLUSH_CLOCK;
use abi::DomId;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};
use machine::layout::MAX_CPUS;
use pages::Caches;

/// The domain whose page tables each CPU has loaded (or last had, while it idles).
static LOADED: [AtomicU16; MAX_CPUS] = [const { AtomicU16::new(DomId::IDLE.0) }; MAX_CPUS];
/// The clock at each CPU's last full flush.
static FLUSHED_AT: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
/// Flushes requested from other CPUs, and flushes done, since boot.
pub static REMOTE_FLUSHES: AtomicU64 = AtomicU64::new(0);
/// Full local flushes since boot.
pub static LOCAL_FLUSHES: AtomicU64 = AtomicU64::new(0);

/// Notes whose tables this CPU loads. The load and flush ([`load`]) must follow, in this
/// order: who changes an entry and then finds the old owner here knows that the new entry is read
/// by what comes after. [`DomId::IDLE`] is noted after the guest's tables were unloaded.
pub fn set_loaded(dom: DomId) {
    if let Some(slot) = LOADED.get(machine::percpu::cpu_id()) {
        slot.store(dom.0, SeqCst);
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
    // The stamp is read first: what happens between the two is flushed without being counted so.
    let now = FLUSH_CLOCK.load(SeqCst);
    flush();
    LOCAL_FLUSHES.fetch_add(1, SeqCst);
    if let Some(at) = FLUSHED_AT.get(machine::percpu::cpu_id()) {
        at.store(now, SeqCst);
    }
}

fn may_cache(cpu: usize, whose: Caches) -> bool {
    match whose {
        // A CPU with no guest's tables flushes before it loads some: see `set_loaded`.
        Caches::All => LOADED.get(cpu).is_some_and(|l| l.load(SeqCst) != DomId::IDLE.0),
        Caches::Of(dom) => LOADED.get(cpu).is_some_and(|l| l.load(SeqCst) == dom.0),
    }
}

/// Whether `cpu`'s last flush is newer than the stamp `since`. Stamps wrap: those that look older
/// than half the range count as not flushed.
fn flushed_after(cpu: usize, since: u32) -> bool {
    let at = FLUSHED_AT.get(cpu).map_or(0, |a| a.load(SeqCst));
    let ahead = at.wrapping_sub(since);
    ahead != 0 && ahead < u32::MAX / 2
}

/// Flushes those of `whose` CPUs that have not flushed since `since`, and waits for them.
pub fn flush(whose: Caches, since: Option<u32>) {
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
    FLUSH_CLOCK.fetch_add(1, SeqCst);
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
    let now = FLUSH_CLOCK.load(SeqCst);
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
