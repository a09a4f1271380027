//! A ticket lock without data.

use core::marker::PhantomData;

use crate::Relax;
use crate::atomic::{AtomicU32, Ordering};

/// One place in the queue: the upper half of the word counts tickets given out.
const TICKET: u32 = 1 << 16;
/// The lower half: the ticket that is being served.
const SERVING: u32 = TICKET - 1;

/// A fair spinning lock of rank `RANK`, without the data that it guards.
///
/// Fair, because under contention an unfair lock lets one CPU starve another whose interrupts are
/// off. The word's upper half counts the tickets given out, the lower the one being served, so at
/// most 65535 CPUs may wait. A CPU may take it only while all locks that it holds have a lower
/// `RANK`, or the same and a smaller key (see [`crate::RankStack`]).
#[derive(Debug)]
pub struct RawLock<R: Relax, const RANK: u8> {
    word: AtomicU32,
    relax: PhantomData<fn() -> R>,
}

impl<R: Relax, const RANK: u8> Default for RawLock<R, RANK> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Relax, const RANK: u8> RawLock<R, RANK> {
    /// A lock that nobody holds.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0), relax: PhantomData }
    }

    /// A lock that nobody holds.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { word: AtomicU32::new(0), relax: PhantomData }
    }

    /// Takes the lock, waiting for those that came before. `key` orders locks of the same rank
    /// (a domid, an MFN; 0 where only one is ever held).
    #[inline]
    pub fn lock(&self, key: u64) {
        if cfg!(debug_assertions) {
            R::entering(RANK, key);
        }
        // The upper half wraps out of the word, which is what the queue wants.
        let mine = self.word.fetch_add(TICKET, Ordering::Relaxed) >> 16;
        while self.word.load(Ordering::Acquire) & SERVING != mine {
            R::relax();
        }
    }

    /// Takes the lock if nobody holds it; says whether it did.
    #[inline]
    #[must_use]
    pub fn try_lock(&self, key: u64) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        let free = word >> 16 == word & SERVING;
        let taken = free
            && self
                .word
                .compare_exchange(
                    word,
                    word.wrapping_add(TICKET),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok();
        if cfg!(debug_assertions) && taken {
            R::entering(RANK, key);
        }
        taken
    }

    /// Lets the lock go. Only its holder may call this, with the key that it was taken by.
    #[inline]
    pub fn unlock(&self, key: u64) {
        // Others may add tickets at any time, so the lower half is advanced by a
        // compare-and-swap: a plain add would carry into the tickets when it wraps.
        let mut word = self.word.load(Ordering::Relaxed);
        debug_assert!(word >> 16 != word & SERVING, "a lock let go that nobody holds");
        loop {
            let next = (word & !SERVING) | (word.wrapping_add(1) & SERVING);
            match self.word.compare_exchange_weak(word, next, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if cfg!(debug_assertions) {
            R::left(RANK, key);
        }
    }

    /// Whether anybody holds it now: for assertions and crash output.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word >> 16 != word & SERVING
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::{Pause, RankStack};
    use std::sync::atomic::AtomicU64;

    std::thread_local! {
        static HELD: RankStack = const { RankStack::new() };
    }
    struct Ranked;
    impl Relax for Ranked {
        fn relax() {
            std::thread::yield_now();
        }
        fn entering(rank: u8, key: u64) {
            assert_eq!(HELD.with(|h| h.enter(rank, key)), Ok(()));
        }
        fn left(rank: u8, key: u64) {
            assert_eq!(HELD.with(|h| h.leave(rank, key)), Ok(()));
        }
    }

    #[test]
    fn a_lock_excludes_and_queues_across_the_wrap_of_its_halves() {
        let lock = RawLock::<Pause, 0>::new();
        let turns = if cfg!(miri) {
            // Near the wrap of both halves, as if it had been taken so often.
            lock.word.store(0xfff0_fff0, Ordering::Relaxed);
            50
        } else {
            70_000
        };
        for _ in 0..turns {
            lock.lock(0);
            assert!(!lock.try_lock(0));
            lock.unlock(0);
        }
        assert!(!lock.is_locked());
        assert!(lock.try_lock(0));
        lock.unlock(0);
    }

    #[test]
    fn two_threads_never_lose_a_count() {
        let lock = RawLock::<Ranked, 1>::new();
        let count = AtomicU64::new(0);
        let turns = if cfg!(miri) { 20 } else { 20_000 };
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    for _ in 0..turns {
                        lock.lock(0);
                        let n = count.load(Ordering::Relaxed);
                        count.store(n + 1, Ordering::Relaxed);
                        lock.unlock(0);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 2 * turns);
    }

    #[test]
    #[should_panic(expected = "Order")]
    fn a_lock_taken_against_the_ranks_is_reported() {
        let (low, high) = (RawLock::<Ranked, 1>::new(), RawLock::<Ranked, 2>::new());
        high.lock(0);
        low.lock(0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::Pause;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    /// loom's cell notes two accesses that overlap without order, without `unsafe` of ours.
    fn touch(cell: &UnsafeCell<u32>) {
        cell.with_mut(|_| ());
    }

    #[test]
    fn loom_two_holders_never_overlap() {
        loom::model(|| {
            let shared = Arc::new((RawLock::<Pause, 0>::new(), UnsafeCell::new(0)));
            let other = shared.clone();
            let t = loom::thread::spawn(move || {
                other.0.lock(0);
                touch(&other.1);
                other.0.unlock(0);
            });
            shared.0.lock(0);
            touch(&shared.1);
            shared.0.unlock(0);
            t.join().unwrap();
        });
    }

    #[test]
    fn loom_a_try_orders_like_a_lock() {
        loom::model(|| {
            let shared = Arc::new((RawLock::<Pause, 0>::new(), UnsafeCell::new(0)));
            let other = shared.clone();
            let t = loom::thread::spawn(move || {
                if other.0.try_lock(0) {
                    touch(&other.1);
                    other.0.unlock(0);
                }
            });
            shared.0.lock(0);
            touch(&shared.1);
            shared.0.unlock(0);
            t.join().unwrap();
        });
    }
}
