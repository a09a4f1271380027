//! Work moves from queue to queue.

use crate::list::List;
use crate::queue::{Next, Queue};
use crate::unit::{Handle, Unit, Vcpus};
use abi::CpuId;

impl Queue {
    /// A CPU of this queue has nothing to do: takes a unit that waits in another queue. `true`: the
    /// CPU is to pick again.
    pub fn steal<V: Vcpus>(&mut self, from: &mut Queue, vcpus: &V, cpu: CpuId, now: u64) -> bool {
        if !self.online().contains(cpu) {
            return false;
        }
        let Some(handle) = from.find_waiting(vcpus, |unit, _| unit.may_run_on(cpu)) else {
            return false;
        };
        if let Next::Kick(other) = from.migrate(self, vcpus, handle, now) {
            // The thief picks at once, so nobody is kicked.
            if let Some(slot) = self.slot_mut(other) {
                slot.tickled = false;
            }
        }
        true
    }

    /// Moves a waiting unit from this queue to a less loaded one, if that makes them more equal.
    /// Meant to be called a few times a second for pairs of queues.
    pub fn balance<V: Vcpus>(&mut self, to: &mut Queue, vcpus: &V, now: u64) -> Next {
        let (here, there) = (self.load(vcpus), to.load(vcpus));
        let cpus = u64::from(self.online().len());
        let their_cpus = u64::from(to.online().len());
        // Loads for each CPU, compared without division.
        let more = here.saturating_mul(their_cpus);
        let less = there.saturating_mul(cpus);
        let Some(excess) = more.checked_sub(less).filter(|_| their_cpus != 0) else {
            return Next::Nothing;
        };
        let both = cpus.saturating_add(their_cpus);
        let target = to.online();
        let fits = |unit: &Unit, weight: u32| {
            let moved = u64::from(weight).saturating_mul(both);
            moved < excess.saturating_mul(2) && !unit.allowed().and(&target).is_empty()
        };
        match self.find_waiting(vcpus, fits) {
            Some(handle) => self.migrate(to, vcpus, handle, now),
            None => Next::Nothing,
        }
    }

    /// The weights of all that run or want to.
    pub fn load<V: Vcpus>(&self, vcpus: &V) -> u64 {
        let weight = |h: Handle| vcpus.share(h).map_or(0, |s| u64::from(s.weight()));
        let mut sum = self.running().fold(0u64, |sum, h| sum.saturating_add(weight(h)));
        let mut at = self.waiting.first();
        while let Some((handle, unit)) = at.and_then(|h| Some((h, vcpus.unit(h)?))) {
            sum = sum.saturating_add(weight(handle));
            at = List::after(unit);
        }
        sum
    }

    fn find_waiting<V: Vcpus>(
        &self,
        vcpus: &V,
        suits: impl Fn(&Unit, u32) -> bool,
    ) -> Option<Handle> {
        let mut at = self.waiting.first();
        while let Some((handle, unit)) = at.and_then(|h| Some((h, vcpus.unit(h)?))) {
            if suits(unit, vcpus.share(handle)?.weight()) {
                return Some(handle);
            }
            at = List::after(unit);
        }
        None
    }
}
