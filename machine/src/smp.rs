//! Requests between CPUs: TLB flushes.
//!
//! A request is a counter that the asking CPU advances and the asked one catches up with, either
//! in the interrupt that goes with it or wherever it waits itself, so that two CPUs that wait for
//! each other do not wait for ever.

use crate::layout::MAX_CPUS;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

static ASKED: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
static DONE: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// Serves what other CPUs ask of this one; called wherever a CPU waits.
#[inline]
pub fn serve() {
    let cpu = crate::percpu::cpu_id();
    if let (Some(asked), Some(done)) = (ASKED.get(cpu), DONE.get(cpu)) {
        let ticket = asked.load(SeqCst);
        if ticket != done.load(SeqCst) {
            catch_up(ticket, done);
        }
    }
}

#[cold]
#[inline(never)]
fn catch_up(ticket: u32, done: &AtomicU32) {
    crate::cpu::flush_tlb_all();
    done.store(ticket, SeqCst);
}

/// Asks `cpu` to flush its TLB; returns the ticket for [`flushed`]. The caller interrupts it.
pub fn ask_flush(cpu: usize) -> u32 {
    ASKED.get(cpu).map_or(0, |a| a.fetch_add(1, SeqCst).wrapping_add(1))
}

/// Whether `cpu` has flushed since `ticket` was drawn.
pub fn flushed(cpu: usize, ticket: u32) -> bool {
    let done = DONE.get(cpu).map_or(ticket, |d| d.load(SeqCst));
    done.wrapping_sub(ticket) < u32::MAX / 2
}
