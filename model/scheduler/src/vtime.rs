//! Virtual time: what a unit has received, for its weight.
//!
//! Within a queue virtual times differ by little: whoever is ahead waits until the others have
//! caught up. Where that cannot be (a unit alone on the only CPU that it may use; a weight larger
//! than a CPU can serve) the difference is cut off, so that nobody has to wait long for what
//! others did earlier.

use crate::queue::Queue;
use crate::share::DEFAULT_WEIGHT;
use crate::unit::{Unit, Vcpus};

/// No unit runs longer than this before there is a new decision, in nanoseconds.
pub(crate) const MAX_SLICE: u64 = 10_000_000;
/// Nor is a new decision planned for earlier than this.
pub(crate) const MIN_SLICE: u64 = 500_000;
/// What a unit may have saved up when it wakes.
pub(crate) const WAKE_CREDIT: u64 = 5_000_000;
/// The default weight, as a divisor known to be non-zero.
const DEFAULT_WEIGHT_NS: u64 = DEFAULT_WEIGHT as u64;
/// What a difference may be beyond that of two slices.
const SLACK: u64 = 50_000_000;

/// Real nanoseconds as virtual ones.
pub(crate) fn virtual_ns(real: u64, weight: u32) -> u64 {
    let scaled = real.saturating_mul(u64::from(DEFAULT_WEIGHT));
    scaled.checked_div(u64::from(weight)).unwrap_or(scaled)
}

/// Virtual nanoseconds as real ones.
pub(crate) fn real_ns(virtual_ns: u64, weight: u32) -> u64 {
    virtual_ns.saturating_mul(u64::from(weight)) / DEFAULT_WEIGHT_NS
}

/// How far ahead of others a unit can get while all is as it should be.
fn lead(weight: u32) -> u64 {
    virtual_ns(2 * MAX_SLICE, weight).saturating_add(SLACK)
}

impl Queue {
    /// Books the time that a running unit has had since it was last done.
    pub(crate) fn charge<V: Vcpus>(&mut self, vcpus: &V, unit: &Unit, weight: u32, now: u64) {
        let ran = now.saturating_sub(unit.charged.get());
        unit.charged.set(now);
        unit.quota.set(unit.quota.get().saturating_sub_unsigned(ran));
        let mut vtime = unit.vtime.get().saturating_add(virtual_ns(ran, weight));
        if let Some((first, its_weight)) = self.first_waiting(vcpus) {
            // Far behind one that waits although it runs: it has all that it can use.
            vtime = vtime.max(first.vtime.get().saturating_sub(lead(its_weight)));
        }
        unit.vtime.set(vtime);
        self.raise_floor(vcpus);
    }

    /// Sets what a unit that comes to the queue has: neither more saved up than a sleeper may
    /// have, nor further ahead than those that are here.
    pub(crate) fn admit<V: Vcpus>(&mut self, vcpus: &V, unit: &Unit, weight: u32) {
        self.raise_floor(vcpus);
        let (floor, vtime) = (self.floor(), unit.vtime.get());
        let lowest = floor.saturating_sub(WAKE_CREDIT);
        unit.vtime.set(vtime.clamp(lowest, floor.saturating_add(lead(weight).saturating_mul(2))));
    }

    /// The virtual time of a running unit at `now`, without booking it.
    pub(crate) fn vtime_at(unit: &Unit, weight: u32, now: u64) -> u64 {
        let ran = now.saturating_sub(unit.charged.get());
        unit.vtime.get().saturating_add(virtual_ns(ran, weight))
    }

    fn first_waiting<'v, V: Vcpus>(&self, vcpus: &'v V) -> Option<(&'v Unit, u32)> {
        let handle = self.waiting.first()?;
        Some((vcpus.unit(handle)?, vcpus.share(handle)?.weight()))
    }

    /// Raises the floor to the least virtual time of those that wait or run.
    fn raise_floor<V: Vcpus>(&mut self, vcpus: &V) {
        let waiting = self.first_waiting(vcpus).map(|(unit, _)| unit.vtime.get());
        let running = self.running().filter_map(|h| vcpus.unit(h)).map(|u| u.vtime.get()).min();
        let least = match (waiting, running) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) => a,
            (None, Some(b)) => b,
            (None, None) => return,
        };
        self.set_floor(self.floor().max(least));
    }
}
