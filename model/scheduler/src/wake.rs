//! What makes units runnable or not, and which CPU is told.

use crate::cpuset::CpuSet;
use crate::pick::MOVE_RESISTANCE;
use crate::queue::{Next, Queue, Slot};
use crate::unit::{Handle, Place, Unit, Vcpus};
use abi::CpuId;

impl Queue {
    /// An event came for the vCPU: it no longer waits for one.
    pub fn wake<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle, now: u64) -> Next {
        let Some(unit) = self.own(vcpus, vcpu).filter(|u| u.blocked.get()) else {
            return Next::Nothing;
        };
        unit.blocked.set(false);
        self.changed(vcpus, vcpu, unit, now)
    }

    /// The running vCPU waits for an event. Takes effect when its CPU picks; a
    /// [`wake`](Queue::wake) until then undoes it.
    pub fn block<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle, now: u64) -> Next {
        let Some(unit) = self.own(vcpus, vcpu) else { return Next::Nothing };
        unit.blocked.set(true);
        self.changed(vcpus, vcpu, unit, now)
    }

    /// The vCPU may not run. If it does, its CPU is to be kicked, and [`Unit::on_cpu`] tells when
    /// it has let go. Counting is the caller's.
    pub fn pause<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle, now: u64) -> Next {
        let Some(unit) = self.own(vcpus, vcpu) else { return Next::Nothing };
        unit.paused.set(true);
        self.changed(vcpus, vcpu, unit, now)
    }

    /// The vCPU may run again.
    pub fn unpause<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle, now: u64) -> Next {
        let Some(unit) = self.own(vcpus, vcpu).filter(|u| u.paused.get()) else {
            return Next::Nothing;
        };
        unit.paused.set(false);
        self.changed(vcpus, vcpu, unit, now)
    }

    /// Says at once whether the vCPU waits for an event and whether it may not run; what
    /// [`block`](Queue::block), [`wake`](Queue::wake), [`pause`](Queue::pause) and
    /// [`unpause`](Queue::unpause) say one by one.
    pub fn set_wants<V: Vcpus>(
        &mut self,
        vcpus: &V,
        vcpu: Handle,
        (blocked, paused): (bool, bool),
        now: u64,
    ) -> Next {
        let Some(unit) = self.own(vcpus, vcpu) else { return Next::Nothing };
        if unit.blocked.get() == blocked && unit.paused.get() == paused {
            return Next::Nothing;
        }
        unit.blocked.set(blocked);
        unit.paused.set(paused);
        self.changed(vcpus, vcpu, unit, now)
    }

    /// The running vCPU lets others go first, once. Its CPU is to pick.
    pub fn yield_now<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle) {
        if let Some(unit) = self.own(vcpus, vcpu) {
            unit.yielded.set(true);
        }
    }

    /// Sets where the vCPU may run, and where it had better run.
    pub fn set_affinity<V: Vcpus>(
        &mut self,
        vcpus: &V,
        vcpu: Handle,
        (hard, soft): (CpuSet, CpuSet),
        now: u64,
    ) -> Next {
        let Some(unit) = self.own(vcpus, vcpu) else { return Next::Nothing };
        unit.set_affinity_words(hard, soft);
        self.moved(vcpus, vcpu, unit, now)
    }

    /// Makes the vCPU run on one CPU whatever its affinity (`SCHEDOP_pin_override`; also what
    /// helps when none of its CPUs is there any more), or ends that.
    pub fn set_pin<V: Vcpus>(
        &mut self,
        vcpus: &V,
        vcpu: Handle,
        cpu: Option<CpuId>,
        now: u64,
    ) -> Next {
        let Some(unit) = self.own(vcpus, vcpu) else { return Next::Nothing };
        unit.set_pin_word(cpu);
        self.moved(vcpus, vcpu, unit, now)
    }

    /// The CPU has let go of a unit that [`pick`](Queue::pick) took off it: its state is where any
    /// CPU can take it up.
    pub fn saved<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle, now: u64) -> Next {
        let unit = self.own(vcpus, vcpu).filter(|u| u.place() == Place::Leaving);
        let Some(unit) = unit else { return Next::Nothing };
        unit.set_place(Place::Off);
        self.changed(vcpus, vcpu, unit, now)
    }

    /// Moves a unit to another queue, with what it has received in comparison to others. One that
    /// runs, or has not been let go, is not moved; its CPU is to be kicked first.
    pub fn migrate<V: Vcpus>(&mut self, to: &mut Queue, vcpus: &V, vcpu: Handle, now: u64) -> Next {
        let Some(unit) = self.own(vcpus, vcpu) else { return Next::Nothing };
        match unit.place() {
            Place::Running => return Next::Kick(CpuId(unit.cpu.get())),
            Place::Leaving => return Next::Nothing,
            Place::Off | Place::Waiting | Place::Parked => {}
        }
        self.unlist(vcpus, unit);
        let relative = i128::from(unit.vtime.get()).wrapping_sub(i128::from(self.floor()));
        let vtime = i128::from(to.floor()).saturating_add(relative);
        unit.vtime.set(u64::try_from(vtime).unwrap_or(to.floor()));
        unit.set_home(Some(to.id()));
        to.changed(vcpus, vcpu, unit, now)
    }

    /// Takes a unit out of the lists that may run on none of the queue's CPUs any more; it is to
    /// be [migrated](Queue::migrate). Called again until there is none, after a CPU went.
    pub fn evict<V: Vcpus>(&mut self, vcpus: &V) -> Option<Handle> {
        for list in [self.waiting.first(), self.parked.first()] {
            let mut next = list;
            while let Some((handle, unit)) = next.and_then(|h| Some((h, vcpus.unit(h)?))) {
                if unit.allowed().and(&self.online()).is_empty() {
                    self.unlist(vcpus, unit);
                    return Some(handle);
                }
                next = crate::list::List::after(unit);
            }
        }
        None
    }

    /// Puts a unit where its flags say that it belongs.
    fn changed<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle, unit: &Unit, now: u64) -> Next {
        match unit.place() {
            Place::Running if unit.is_runnable() => return Next::Nothing,
            Place::Running => return Next::Kick(CpuId(unit.cpu.get())),
            Place::Leaving | Place::Off | Place::Waiting | Place::Parked => {
                let state = unit.resting_state();
                unit.set_state(state, now);
            }
        }
        match unit.place() {
            Place::Off if unit.is_runnable() => self.enqueue(vcpus, vcpu, unit, now),
            Place::Waiting | Place::Parked if !unit.is_runnable() => {
                self.unlist(vcpus, unit);
                Next::Nothing
            }
            _ => Next::Nothing,
        }
    }

    /// Looks for a place again after affinity changed.
    fn moved<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle, unit: &Unit, now: u64) -> Next {
        match unit.place() {
            Place::Running if !unit.may_run_on(CpuId(unit.cpu.get())) => {
                Next::Kick(CpuId(unit.cpu.get()))
            }
            Place::Waiting | Place::Parked => {
                self.unlist(vcpus, unit);
                self.enqueue(vcpus, vcpu, unit, now)
            }
            Place::Off if unit.is_runnable() => self.enqueue(vcpus, vcpu, unit, now),
            Place::Off | Place::Running | Place::Leaving => Next::Nothing,
        }
    }

    /// Lets a runnable unit wait, and finds it a CPU.
    pub(crate) fn enqueue<V: Vcpus>(
        &mut self,
        vcpus: &V,
        vcpu: Handle,
        unit: &Unit,
        now: u64,
    ) -> Next {
        if unit.allowed().and(&self.online()).is_empty() {
            return Next::Rehome;
        }
        let weight = vcpus.share(vcpu).map_or(crate::DEFAULT_WEIGHT, crate::Share::weight);
        self.admit(vcpus, unit, weight);
        self.waiting.insert(vcpus, vcpu, unit);
        self.tickle(vcpus, unit, now)
    }

    /// The CPU that had better pick now that the unit waits: an idle one, best one that it likes
    /// and that has its data in the caches; else the one whose unit is furthest ahead of it.
    pub(crate) fn tickle<V: Vcpus>(&mut self, vcpus: &V, unit: &Unit, now: u64) -> Next {
        let mut best: Option<(u8, u64, CpuId)> = None;
        for slot in self.slots() {
            if slot.tickled || !self.online().contains(slot.cpu) || !unit.may_run_on(slot.cpu) {
                continue;
            }
            let Some((class, lead)) = Self::suits(vcpus, unit, slot, now) else { continue };
            if best.is_none_or(|(c, l, _)| (class, lead) > (c, l)) {
                best = Some((class, lead, slot.cpu));
            }
        }
        let Some((_, _, cpu)) = best else { return Next::Nothing };
        if let Some(slot) = self.slot_mut(cpu) {
            slot.tickled = true;
        }
        unit.told.set(cpu.0);
        Next::Kick(cpu)
    }

    /// How well a CPU suits a unit that waits: larger is better; `None` if it has better to do.
    fn suits<V: Vcpus>(vcpus: &V, unit: &Unit, slot: Slot, now: u64) -> Option<(u8, u64)> {
        let cold = unit.is_cold(slot.cpu);
        let liked = u8::from(unit.prefers(slot.cpu)).wrapping_mul(2);
        let Some(running) = slot.running else {
            return Some((4u8.wrapping_add(liked).wrapping_add(u8::from(!cold)), 0));
        };
        let (other, share) = (vcpus.unit(running)?, vcpus.share(running)?);
        let resistance = if cold { MOVE_RESISTANCE } else { 0 };
        let vtime = unit.vtime.get().saturating_add(resistance);
        let ahead = Self::vtime_at(other, share.weight(), now).checked_sub(vtime)?;
        (ahead > 0).then_some((0, ahead))
    }
}
