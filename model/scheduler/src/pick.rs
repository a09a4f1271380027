//! Who runs next.

use crate::list::List;
use crate::queue::{Next, Queue, Slot};
use crate::unit::{Handle, Place, Runstate, Unit, Vcpus};
use crate::vtime::{MAX_SLICE, MIN_SLICE, real_ns};
use abi::CpuId;

/// How much less virtual time a unit must have had to be preferred to one that likes the CPU.
const SOFT_RESISTANCE: u64 = 2_000_000;

/// How much less virtual time a unit must have had to be taken to a CPU from the one that has its
/// tables and data in its caches.
pub(crate) const MOVE_RESISTANCE: u64 = 500_000;

/// What a CPU is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Decision {
    /// The unit that runs; `None` to idle.
    pub next: Option<Handle>,
    /// The unit that ran and leaves: [`Queue::saved`] when the CPU has let go of it.
    pub left: Option<Handle>,
    /// When to pick again, in nanoseconds; `u64::MAX` for not before being kicked.
    pub until: u64,
    /// Another CPU that could run one of those that wait.
    pub kick: Option<CpuId>,
}

impl Queue {
    /// Decides what a CPU runs from now on.
    pub fn pick<V: Vcpus>(&mut self, vcpus: &V, cpu: CpuId, now: u64) -> Decision {
        let Some(slot) = self.slot_mut(cpu) else {
            return Decision { next: None, left: None, until: u64::MAX, kick: None };
        };
        slot.tickled = false;
        let current = slot.running;
        self.unpark(vcpus, now);
        let stays = current.and_then(|h| self.settle(vcpus, h, cpu, now));
        let fresh = stays.filter(|u| self.is_fresh(u, now));
        let found = match fresh {
            Some(_) => None,
            None => self.candidate(vcpus, cpu, stays, now),
        };
        let next = match (found, stays) {
            (Some(found), _) => Some(found),
            (None, Some(_)) => current,
            (None, None) => None,
        };
        if let Some(unit) = stays {
            unit.yielded.set(false);
        }
        let left = current.filter(|&h| next != Some(h));
        if let Some(leaving) = left {
            self.leave(vcpus, leaving, now);
        }
        if let Some(handle) = found {
            self.start(vcpus, handle, cpu, now);
        }
        if let Some(slot) = self.slot_mut(cpu) {
            slot.running = next;
        }
        let until = self.deadline(vcpus, next, now);
        let kick = self.kick_idle(vcpus, now);
        Decision { next, left, until, kick }
    }

    /// Books what the running unit has had; returns it if it could go on.
    fn settle<'v, V: Vcpus>(
        &mut self,
        vcpus: &'v V,
        handle: Handle,
        cpu: CpuId,
        now: u64,
    ) -> Option<&'v Unit> {
        let (unit, share) = (vcpus.unit(handle)?, vcpus.share(handle)?);
        self.charge(vcpus, unit, share.weight(), now);
        let wanted = unit.is_runnable() && unit.may_run_on(cpu) && self.online().contains(cpu);
        (wanted && Self::has_quota(vcpus, handle, unit, now)).then_some(unit)
    }

    /// Whether a unit may run as far as its domain's cap goes; takes a quota for it if need be.
    fn has_quota<V: Vcpus>(vcpus: &V, handle: Handle, unit: &Unit, now: u64) -> bool {
        let Some(share) = vcpus.share(handle) else { return false };
        if share.cap() == 0 {
            unit.quota.set(0);
            return true;
        }
        if unit.quota.get() > 0 {
            return true;
        }
        // Having run longer than it might is taken off the domain.
        share.give_back(unit.quota.get());
        let quota = share.take(now);
        unit.quota.set(quota.unwrap_or(0));
        quota.is_some()
    }

    /// Whether the rate limit keeps the unit running.
    fn is_fresh(&self, unit: &Unit, now: u64) -> bool {
        !unit.yielded.get() && now.saturating_sub(unit.started.get()) < self.ratelimit
    }

    /// The waiting unit that is to run on the CPU rather than the one that could stay. Parks those
    /// that come to turn and have used up their cap.
    fn candidate<V: Vcpus>(
        &mut self,
        vcpus: &V,
        cpu: CpuId,
        stays: Option<&Unit>,
        now: u64,
    ) -> Option<Handle> {
        if !self.online().contains(cpu) {
            return None;
        }
        let limit = stays.filter(|u| !u.yielded.get()).map_or(u64::MAX, |u| u.vtime.get());
        let mut best: Option<(u64, Handle, &Unit)> = None;
        let mut at = self.waiting.first();
        while let Some((handle, unit)) = at.and_then(|h| Some((h, vcpus.unit(h)?))) {
            at = List::after(unit);
            let vtime = unit.vtime.get();
            let moved = vtime.saturating_add(if unit.is_cold(cpu) { MOVE_RESISTANCE } else { 0 });
            let rank = moved.saturating_add(if unit.prefers(cpu) { 0 } else { SOFT_RESISTANCE });
            let least = best.map_or(u64::MAX, |(rank, ..)| rank);
            if vtime >= limit.min(least) {
                break;
            }
            let later = moved >= limit || rank >= least;
            if later || !unit.may_run_on(cpu) || self.is_awaited(unit) {
                continue;
            }
            if !Self::has_quota(vcpus, handle, unit, now) {
                self.park(vcpus, handle, unit);
                continue;
            }
            if let Some((_, other, other_unit)) = best {
                Self::return_quota(vcpus, other, other_unit);
            }
            best = Some((rank, handle, unit));
        }
        best.map(|(_, handle, _)| handle)
    }

    /// Whether an idle CPU was told of the unit and is about to pick: were another to take it first,
    /// both would load tables that they do not have.
    fn is_awaited(&self, unit: &Unit) -> bool {
        let told = self.slot(CpuId(unit.told.get()));
        told.is_some_and(|slot| slot.tickled && slot.running.is_none())
    }

    fn return_quota<V: Vcpus>(vcpus: &V, handle: Handle, unit: &Unit) {
        if let Some(share) = vcpus.share(handle).filter(|s| s.cap() != 0) {
            share.give_back(unit.quota.get());
        }
        unit.quota.set(0);
    }

    /// Takes a unit off its CPU, which has yet to let go of it.
    fn leave<V: Vcpus>(&mut self, vcpus: &V, handle: Handle, now: u64) {
        let Some(unit) = vcpus.unit(handle) else { return };
        Self::return_quota(vcpus, handle, unit);
        unit.yielded.set(false);
        unit.set_state(unit.resting_state(), now);
        unit.set_place(Place::Leaving);
    }

    fn start<V: Vcpus>(&mut self, vcpus: &V, handle: Handle, cpu: CpuId, now: u64) {
        let Some(unit) = vcpus.unit(handle) else { return };
        self.waiting.remove(vcpus, unit);
        unit.set_place(Place::Running);
        unit.set_state(Runstate::Running, now);
        unit.cpu.set(cpu.0);
        unit.charged.set(now);
        unit.started.set(now);
    }

    fn park<V: Vcpus>(&mut self, vcpus: &V, handle: Handle, unit: &Unit) {
        self.waiting.remove(vcpus, unit);
        self.parked.insert(vcpus, handle, unit);
        let end = vcpus.share(handle).map_or(0, crate::Share::period_end);
        // Kept here, since others may start the domain's next period, and end it again, first.
        unit.started.set(end);
        self.next_unpark = self.next_unpark.min(end);
    }

    /// Lets those wait again whose domain has budget again.
    fn unpark<V: Vcpus>(&mut self, vcpus: &V, now: u64) {
        if now < self.next_unpark {
            return;
        }
        self.next_unpark = u64::MAX;
        let mut at = self.parked.first();
        while let Some((handle, unit)) = at.and_then(|h| Some((h, vcpus.unit(h)?))) {
            at = List::after(unit);
            let Some(share) = vcpus.share(handle) else { continue };
            let retry = unit.started.get();
            if share.cap() != 0 && retry > now {
                self.next_unpark = self.next_unpark.min(retry);
                continue;
            }
            self.parked.remove(vcpus, unit);
            self.admit(vcpus, unit, share.weight());
            self.waiting.insert(vcpus, handle, unit);
        }
    }

    /// When the CPU is to pick again.
    fn deadline<V: Vcpus>(&self, vcpus: &V, next: Option<Handle>, now: u64) -> u64 {
        let parked = self.next_unpark;
        let Some(handle) = next else { return parked };
        let (Some(unit), Some(share)) = (vcpus.unit(handle), vcpus.share(handle)) else {
            return now;
        };
        let slice = match self.waiting.first().and_then(|h| vcpus.unit(h)) {
            None => MAX_SLICE,
            Some(first) => {
                let lead = first.vtime.get().saturating_sub(unit.vtime.get());
                let ran = now.saturating_sub(unit.started.get());
                let least = self.ratelimit.saturating_sub(ran).max(MIN_SLICE);
                // A rate limit may be longer than any slice.
                real_ns(lead, share.weight()).min(MAX_SLICE).max(least)
            }
        };
        let quota = match share.cap() {
            0 => u64::MAX,
            _ => u64::try_from(unit.quota.get()).unwrap_or(0),
        };
        now.saturating_add(slice.min(quota)).min(parked.max(now.saturating_add(1)))
    }

    /// A CPU that idles although there is a unit for it: such as have been parked together come
    /// back together, and only one CPU has the timer.
    fn kick_idle<V: Vcpus>(&mut self, vcpus: &V, now: u64) -> Option<CpuId> {
        let mut at = self.waiting.first();
        while let Some(unit) = at.and_then(|h| vcpus.unit(h)) {
            let online = self.online();
            let idles = |s: &Slot| s.running.is_none() && !s.tickled && online.contains(s.cpu);
            if !self.slots().any(|s| idles(&s)) {
                return None;
            }
            let helps = |s: &Slot| idles(s) && unit.may_run_on(s.cpu);
            if !self.is_awaited(unit) && self.slots().any(|s| helps(&s)) {
                return match self.tickle(vcpus, unit, now) {
                    Next::Kick(cpu) => Some(cpu),
                    Next::Nothing | Next::Rehome => None,
                };
            }
            at = List::after(unit);
        }
        None
    }
}
