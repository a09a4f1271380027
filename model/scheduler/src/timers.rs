//! When each vCPU's next timer expires.

use crate::unit::Handle;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A vCPU's place in the heap that it is in; guarded by that heap's lock.
#[derive(Debug)]
pub struct TimerPlace(AtomicU32);

impl Default for TimerPlace {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerPlace {
    const NOWHERE: u32 = u32::MAX;

    /// In no heap.
    pub const fn new() -> TimerPlace {
        TimerPlace(AtomicU32::new(Self::NOWHERE))
    }

    fn get(&self) -> Option<usize> {
        let at = self.0.load(Relaxed);
        (at != Self::NOWHERE).then_some(at as usize)
    }

    fn set(&self, at: Option<usize>) {
        let at = at.and_then(|at| u32::try_from(at).ok());
        self.0.store(at.unwrap_or(Self::NOWHERE), Relaxed);
    }
}

/// Where a heap finds the places of those that it keeps.
pub trait TimerPlaces {
    /// The vCPU's; always the same one while it is in a heap.
    fn timer_place(&self, vcpu: Handle) -> Option<&TimerPlace>;
}

/// A binary heap of expiries, the earliest first, in which every vCPU knows its place. A vCPU is in
/// one heap at a time.
#[derive(Debug, Default)]
pub struct Timers(Vec<(u64, Handle)>);

impl Timers {
    /// An empty one.
    pub const fn new() -> Timers {
        Timers(Vec::new())
    }

    /// The earliest expiry, `u64::MAX` if there is none.
    #[inline]
    pub fn first(&self) -> u64 {
        self.due(0)
    }

    /// Sets when a vCPU's next timer expires; `u64::MAX` for never. `false`: no memory.
    pub fn set<P: TimerPlaces>(&mut self, places: &P, vcpu: Handle, due: u64) -> bool {
        let Some(place) = places.timer_place(vcpu) else { return true };
        match place.get() {
            None if due == u64::MAX => {}
            None => {
                if self.0.try_reserve(1).is_err() {
                    return false;
                }
                let at = self.0.len();
                self.0.push((due, vcpu));
                place.set(Some(at));
                self.sift(places, at);
            }
            Some(at) if due == u64::MAX => self.take(places, place, at),
            Some(at) => {
                if let Some(entry) = self.0.get_mut(at)
                    && entry.0 != due
                {
                    entry.0 = due;
                    self.sift(places, at);
                }
            }
        }
        true
    }

    /// Takes out the earliest, if it is due.
    pub fn pop<P: TimerPlaces>(&mut self, places: &P, now: u64) -> Option<Handle> {
        let (_, vcpu) = *self.0.first().filter(|(due, _)| *due <= now)?;
        self.take(places, places.timer_place(vcpu)?, 0);
        Some(vcpu)
    }

    #[inline]
    fn due(&self, at: usize) -> u64 {
        self.0.get(at).map_or(u64::MAX, |(due, _)| *due)
    }

    /// Tells the vCPU at `at` its place.
    fn note<P: TimerPlaces>(&self, places: &P, at: usize) {
        if let Some(place) = self.0.get(at).and_then(|(_, h)| places.timer_place(*h)) {
            place.set(Some(at));
        }
    }

    fn swap<P: TimerPlaces>(&mut self, places: &P, a: usize, b: usize) {
        self.0.swap(a, b);
        self.note(places, a);
        self.note(places, b);
    }

    /// Restores the order around `at`, which is the only place where it may be wrong.
    fn sift<P: TimerPlaces>(&mut self, places: &P, mut at: usize) {
        while at > 0 {
            let parent = at.wrapping_sub(1) >> 1;
            if self.due(parent) <= self.due(at) {
                break;
            }
            self.swap(places, parent, at);
            at = parent;
        }
        loop {
            let left = at.wrapping_mul(2).wrapping_add(1);
            let right = left.wrapping_add(1);
            let child = if self.due(right) < self.due(left) { right } else { left };
            if self.due(child) >= self.due(at) {
                return;
            }
            self.swap(places, at, child);
            at = child;
        }
    }

    fn take<P: TimerPlaces>(&mut self, places: &P, place: &TimerPlace, at: usize) {
        place.set(None);
        if at < self.0.len() {
            self.0.swap_remove(at);
            if at < self.0.len() {
                self.note(places, at);
                self.sift(places, at);
            }
        }
    }
}
