//! A spin lock around data.
//!
//! Interrupts are off in the hypervisor, so a holder is never interrupted; whoever spins serves
//! the requests that other CPUs sent to it meanwhile (see [`crate::smp`]), so that a CPU that waits
//! for all others to flush their TLBs may do so with locks held.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// Mutual exclusion by spinning.
pub struct Lock<T> {
    held: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: `held` lets only one guard exist at a time.
unsafe impl<T: Send> Sync for Lock<T> {}
// SAFETY: owning the lock is owning the data.
unsafe impl<T: Send> Send for Lock<T> {}

/// Access to the data for as long as it lives.
pub struct LockGuard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Lock<T> {
    /// A free lock.
    pub const fn new(data: T) -> Self {
        Lock { held: AtomicBool::new(false), data: UnsafeCell::new(data) }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> LockGuard<'_, T> {
        if self.held.swap(true, Ordering::Acquire) {
            self.wait();
        }
        LockGuard { lock: self }
    }

    /// Until the lock is ours.
    #[cold]
    #[inline(never)]
    fn wait(&self) {
        loop {
            while self.held.load(Ordering::Relaxed) {
                crate::smp::serve();
                core::hint::spin_loop();
            }
            if !self.held.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        let free = !self.held.swap(true, Ordering::Acquire);
        free.then_some(LockGuard { lock: self })
    }
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only one, and lends the data for no longer than it lives.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the only one, and is itself borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for LockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.held.store(false, Ordering::Release);
    }
}
