//! What the scheduler keeps for a vCPU.

use crate::cells::{Flag, Long, Signed, Word};
use crate::cpuset::CpuSet;
use crate::queue::QueueId;
use crate::share::Share;
use abi::CpuId;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// A vCPU of any domain, by the hypervisor's own count; `u32::MAX` is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle(pub u32);

/// Where the scheduler finds what belongs to a handle.
pub trait Vcpus {
    /// The vCPU's unit; always the same one while the handle is in use.
    fn unit(&self, vcpu: Handle) -> Option<&Unit>;
    /// Its domain's share.
    fn share(&self, vcpu: Handle) -> Option<&Share>;
}

/// What a vCPU's time is booked under; numbers as in `RUNSTATE_*` of `public/vcpu.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Runstate {
    /// On a CPU.
    Running = 0,
    /// Waits for one.
    Runnable = 1,
    /// Waits for an event.
    Blocked = 2,
    /// Paused, but not waiting for an event.
    Offline = 3,
}

/// `struct vcpu_runstate_info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunstateInfo {
    /// The state.
    pub state: Runstate,
    /// Since when, in nanoseconds.
    pub since: u64,
    /// Nanoseconds in each state, by its number; the current stay included.
    pub time: [u64; 4],
}

/// Where a unit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Place {
    /// In no list and on no CPU.
    Off = 0,
    /// In its queue's list of those that wait.
    Waiting = 1,
    /// In its queue's list of those that have used up their cap.
    Parked = 2,
    /// On a CPU.
    Running = 3,
    /// No longer on its CPU for the queue, but the CPU has not let go of it.
    Leaving = 4,
}

/// The scheduler's part of a vCPU. All fields are guarded by the lock of its home queue.
#[derive(Debug)]
pub struct Unit {
    pub(crate) next: Word,
    pub(crate) prev: Word,
    home: AtomicU32,
    place: AtomicU8,
    pub(crate) blocked: Flag,
    pub(crate) paused: Flag,
    pub(crate) yielded: Flag,
    /// Where it runs, or ran last.
    pub(crate) cpu: Word,
    /// The CPU that was last told that it waits.
    pub(crate) told: Word,
    /// What it has received, in nanoseconds at the default weight.
    pub(crate) vtime: Long,
    /// Up to when that is booked, while it runs.
    pub(crate) charged: Long,
    /// Since when it runs; while it is parked, until when.
    pub(crate) started: Long,
    /// Nanoseconds it may run on, if its domain is capped.
    pub(crate) quota: Signed,
    hard: [Long; 4],
    soft: [Long; 4],
    /// A CPU that overrides affinity; `u32::MAX` for none.
    pin: Word,
    state: AtomicU8,
    since: Long,
    time: [Long; 4],
}

const NONE: u32 = u32::MAX;

fn load(words: &[Long; 4]) -> CpuSet {
    let [a, b, c, d] = words;
    CpuSet([a.get(), b.get(), c.get(), d.get()])
}

fn store(words: &[Long; 4], set: CpuSet) {
    words.iter().zip(set.0).for_each(|(word, value)| word.set(value));
}

impl Unit {
    /// One that is blocked since `now`, may run anywhere, and is in no queue yet.
    pub const fn new(now: u64) -> Unit {
        const fn zeros() -> [Long; 4] {
            [const { Long::new(0) }; 4]
        }
        const fn ones() -> [Long; 4] {
            [const { Long::new(u64::MAX) }; 4]
        }
        Unit {
            next: Word::new(NONE),
            prev: Word::new(NONE),
            home: AtomicU32::new(NONE),
            place: AtomicU8::new(Place::Off as u8),
            blocked: Flag::new(true),
            paused: Flag::new(false),
            yielded: Flag::new(false),
            cpu: Word::new(NONE),
            told: Word::new(NONE),
            vtime: Long::new(0),
            charged: Long::new(now),
            started: Long::new(now),
            quota: Signed::new(0),
            hard: ones(),
            soft: ones(),
            pin: Word::new(NONE),
            state: AtomicU8::new(Runstate::Blocked as u8),
            since: Long::new(now),
            time: zeros(),
        }
    }

    /// Makes it as new, for another vCPU. Only while it is in no queue.
    pub fn reset(&self, now: u64) {
        debug_assert!(self.home().is_none(), "a unit in use is made as new");
        for word in [&self.next, &self.prev, &self.cpu, &self.told, &self.pin] {
            word.set(NONE);
        }
        self.set_place(Place::Off);
        self.blocked.set(true);
        self.paused.set(false);
        self.yielded.set(false);
        self.vtime.set(0);
        self.charged.set(now);
        self.started.set(now);
        self.quota.set(0);
        self.set_affinity_words(CpuSet::ALL, CpuSet::ALL);
        self.state.store(Runstate::Blocked as u8, Ordering::Relaxed);
        self.since.set(now);
        self.time.iter().for_each(|t| t.set(0));
    }

    /// The queue whose lock guards it; `None` before it is inserted. Take that lock, then look
    /// again: it may have moved.
    pub fn home(&self) -> Option<QueueId> {
        let home = self.home.load(Ordering::Acquire);
        (home != NONE).then_some(QueueId(home))
    }

    pub(crate) fn set_home(&self, queue: Option<QueueId>) {
        self.home.store(queue.map_or(NONE, |q| q.0), Ordering::Release);
    }

    /// The CPU that it runs on, or has not yet been let go by.
    pub fn on_cpu(&self) -> Option<CpuId> {
        matches!(self.place(), Place::Running | Place::Leaving).then_some(CpuId(self.cpu.get()))
    }

    /// The CPU that it runs on, or ran on last; `None` if it never ran.
    pub fn last_cpu(&self) -> Option<CpuId> {
        let cpu = self.cpu.get();
        (cpu != NONE).then_some(CpuId(cpu))
    }

    /// Whether another CPU has its tables and data in its caches.
    pub(crate) fn is_cold(&self, cpu: CpuId) -> bool {
        self.last_cpu().is_some_and(|last| last != cpu)
    }

    /// Whether it wants a CPU: neither blocked nor paused.
    pub fn is_runnable(&self) -> bool {
        !self.blocked.get() && !self.paused.get()
    }

    /// Whether it waits for an event.
    pub fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Where it may run.
    pub fn hard_affinity(&self) -> CpuSet {
        load(&self.hard)
    }

    /// Where it had better run.
    pub fn soft_affinity(&self) -> CpuSet {
        load(&self.soft)
    }

    /// The CPU that overrides affinity (`SCHEDOP_pin_override`).
    pub fn pin(&self) -> Option<CpuId> {
        let cpu = self.pin.get();
        (cpu != NONE).then_some(CpuId(cpu))
    }

    /// Where it may run, the override considered.
    pub fn allowed(&self) -> CpuSet {
        self.pin().map_or_else(|| self.hard_affinity(), CpuSet::of)
    }

    pub(crate) fn may_run_on(&self, cpu: CpuId) -> bool {
        let pin = self.pin.get();
        if pin != NONE {
            return pin == cpu.0;
        }
        let word = self.hard.get(cpu.0.wrapping_shr(6) as usize);
        word.is_some_and(|w| w.get() & 1u64.wrapping_shl(cpu.0 & 63) != 0)
    }

    pub(crate) fn prefers(&self, cpu: CpuId) -> bool {
        let word = self.soft.get(cpu.0.wrapping_shr(6) as usize);
        word.is_some_and(|w| w.get() & 1u64.wrapping_shl(cpu.0 & 63) != 0)
    }

    pub(crate) fn set_affinity_words(&self, hard: CpuSet, soft: CpuSet) {
        store(&self.hard, hard);
        store(&self.soft, soft);
    }

    pub(crate) fn set_pin_word(&self, cpu: Option<CpuId>) {
        self.pin.set(cpu.map_or(NONE, |c| c.0));
    }

    pub(crate) fn place(&self) -> Place {
        match self.place.load(Ordering::Relaxed) {
            1 => Place::Waiting,
            2 => Place::Parked,
            3 => Place::Running,
            4 => Place::Leaving,
            _ => Place::Off,
        }
    }

    pub(crate) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Ordering::Relaxed);
    }

    fn state(&self) -> Runstate {
        match self.state.load(Ordering::Relaxed) {
            0 => Runstate::Running,
            1 => Runstate::Runnable,
            3 => Runstate::Offline,
            _ => Runstate::Blocked,
        }
    }

    /// Books the time since the last change, and starts anew.
    pub(crate) fn set_state(&self, state: Runstate, now: u64) {
        if let Some(time) = self.time.get(self.state() as usize) {
            time.set(time.get().wrapping_add(now.saturating_sub(self.since.get())));
        }
        self.state.store(state as u8, Ordering::Relaxed);
        self.since.set(now);
    }

    /// What it is when it is not on a CPU. Being blocked outweighs being paused (`public/vcpu.h`).
    pub(crate) fn resting_state(&self) -> Runstate {
        if self.blocked.get() {
            Runstate::Blocked
        } else if self.paused.get() {
            Runstate::Offline
        } else {
            Runstate::Runnable
        }
    }

    /// Its times up to `now`. Exact under the home queue's lock or on the CPU that it runs on.
    pub fn runstate(&self, now: u64) -> RunstateInfo {
        let (state, since) = (self.state(), self.since.get());
        let [a, b, c, d] = &self.time;
        let mut time = [a.get(), b.get(), c.get(), d.get()];
        if let Some(time) = time.get_mut(state as usize) {
            *time = time.wrapping_add(now.saturating_sub(since));
        }
        RunstateInfo { state, since, time }
    }
}
