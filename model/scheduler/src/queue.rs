//! A run queue and the CPUs that it serves.

use crate::cpuset::CpuSet;
use crate::list::List;
use crate::unit::{Handle, Place, Unit, Vcpus};
use abi::{CpuId, Errno};

/// How many CPUs a queue can serve.
pub const SLOTS: usize = 16;

/// A queue, by the hypervisor's own count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct QueueId(pub u32);

/// What is to be done after a unit's standing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a CPU that is not kicked does not see who waits for it"]
pub enum Next {
    /// Nothing.
    Nothing,
    /// This CPU is to call [`Queue::pick`] soon.
    Kick(CpuId),
    /// The unit may run on no CPU of this queue: [`Queue::migrate`] it to another one.
    Rehome,
}

/// A CPU of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) cpu: CpuId,
    pub(crate) running: Option<Handle>,
    /// It was told to pick and has not done so yet.
    pub(crate) tickled: bool,
}

/// A run queue. See the crate's head for what guards what.
#[derive(Debug)]
pub struct Queue {
    id: QueueId,
    slots: [Option<Slot>; SLOTS],
    /// The CPUs that may be given work; a subset of those with a slot.
    online: CpuSet,
    pub(crate) waiting: List,
    pub(crate) parked: List,
    /// When the first parked unit is to be looked at again.
    pub(crate) next_unpark: u64,
    floor: u64,
    pub(crate) ratelimit: u64,
}

impl Queue {
    /// A queue without CPUs.
    pub const fn new(id: QueueId) -> Queue {
        Queue {
            id,
            slots: [None; SLOTS],
            online: CpuSet::EMPTY,
            waiting: List::new(Place::Waiting),
            parked: List::new(Place::Parked),
            next_unpark: u64::MAX,
            floor: 1 << 32,
            ratelimit: 1_000_000,
        }
    }

    /// Its number.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// The CPUs that it gives work to.
    pub fn online(&self) -> CpuSet {
        self.online
    }

    /// How many units wait for a CPU: what makes a queue worth stealing from.
    pub fn waiting(&self) -> u32 {
        self.waiting.len()
    }

    /// How long a unit runs at least before another may take its place, in microseconds.
    pub fn ratelimit_us(&self) -> u32 {
        u32::try_from(self.ratelimit.wrapping_div(1000)).unwrap_or(u32::MAX)
    }

    /// Sets that; 0 for not at all, else 100 to 500000 (`public/sysctl.h`).
    ///
    /// # Errors
    /// `EINVAL`: outside of that range.
    pub fn set_ratelimit_us(&mut self, us: u32) -> Result<(), Errno> {
        if us != 0 && !(100..=500_000).contains(&us) {
            return Err(Errno::EINVAL);
        }
        self.ratelimit = u64::from(us).wrapping_mul(1000);
        Ok(())
    }

    /// Gives the queue a CPU, idle.
    ///
    /// # Errors
    /// `EEXIST`: it has it. `ENOSPC`: it has [`SLOTS`]. `EINVAL`: not a CPU's number.
    pub fn add_cpu(&mut self, cpu: CpuId) -> Result<(), Errno> {
        if cpu.0 >= crate::MAX_CPUS {
            return Err(Errno::EINVAL);
        }
        if self.slot(cpu).is_some() {
            return Err(Errno::EEXIST);
        }
        let free = self.slots.iter_mut().find(|s| s.is_none()).ok_or(Errno::ENOSPC)?;
        *free = Some(Slot { cpu, running: None, tickled: false });
        self.online.insert(cpu);
        Ok(())
    }

    /// Gives the CPU no more work. Kick it; when it has picked, which gives it nothing, and said
    /// [`saved`](Queue::saved), it can be [removed](Queue::remove_cpu).
    pub fn retire_cpu(&mut self, cpu: CpuId) {
        self.online.remove(cpu);
    }

    /// Takes a retired CPU away. Then [`evict`](Queue::evict) those that only it could run.
    ///
    /// # Errors
    /// `ENOENT`: the queue does not have it. `EBUSY`: it runs a unit, or is not retired.
    pub fn remove_cpu(&mut self, cpu: CpuId) -> Result<Next, Errno> {
        let slot = self.slot(cpu).ok_or(Errno::ENOENT)?;
        if slot.running.is_some() || self.online.contains(cpu) {
            return Err(Errno::EBUSY);
        }
        for slot in self.slots.iter_mut().filter(|s| s.is_some_and(|s| s.cpu == cpu)) {
            *slot = None;
        }
        // It may have been the one with the timer for parked units, or on its way to pick.
        Ok(self.online.first().map_or(Next::Nothing, Next::Kick))
    }

    /// Gives a new unit to the queue; it stays blocked.
    ///
    /// # Errors
    /// `ENOENT`: no such unit. `EEXIST`: it is in a queue.
    pub fn insert<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle) -> Result<(), Errno> {
        let unit = vcpus.unit(vcpu).ok_or(Errno::ENOENT)?;
        if unit.home().is_some() {
            return Err(Errno::EEXIST);
        }
        unit.vtime.set(self.floor);
        unit.set_home(Some(self.id));
        Ok(())
    }

    /// Takes a unit away for good; pause it first.
    ///
    /// # Errors
    /// `ENOENT`: not of this queue. `EBUSY`: it runs, or its CPU has not let go of it.
    pub fn remove<V: Vcpus>(&mut self, vcpus: &V, vcpu: Handle) -> Result<(), Errno> {
        let unit = self.own(vcpus, vcpu).ok_or(Errno::ENOENT)?;
        if unit.on_cpu().is_some() {
            return Err(Errno::EBUSY);
        }
        self.unlist(vcpus, unit);
        unit.set_home(None);
        Ok(())
    }

    /// The unit, if this queue is its home: what every operation starts with.
    pub(crate) fn own<'v, V: Vcpus>(&self, vcpus: &'v V, vcpu: Handle) -> Option<&'v Unit> {
        let unit = vcpus.unit(vcpu).filter(|u| u.home() == Some(self.id));
        debug_assert!(unit.is_some(), "{vcpu:?} is not at home in {:?}", self.id);
        unit
    }

    /// Takes a unit out of whatever list it is in.
    pub(crate) fn unlist<V: Vcpus>(&mut self, vcpus: &V, unit: &Unit) {
        match unit.place() {
            Place::Waiting => self.waiting.remove(vcpus, unit),
            Place::Parked => self.parked.remove(vcpus, unit),
            Place::Off | Place::Running | Place::Leaving => {}
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().filter_map(|s| *s)
    }

    pub(crate) fn slot(&self, cpu: CpuId) -> Option<Slot> {
        self.slots().find(|s| s.cpu == cpu)
    }

    pub(crate) fn slot_mut(&mut self, cpu: CpuId) -> Option<&mut Slot> {
        self.slots.iter_mut().filter_map(|s| s.as_mut()).find(|s| s.cpu == cpu)
    }

    /// The units on its CPUs.
    pub(crate) fn running(&self) -> impl Iterator<Item = Handle> + '_ {
        self.slots().filter_map(|s| s.running)
    }

    /// What the CPU runs, by the last decision.
    pub fn running_on(&self, cpu: CpuId) -> Option<Handle> {
        self.slot(cpu)?.running
    }
}
