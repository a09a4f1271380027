//! A value set once, at boot or at first use, and read for ever after.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, Ordering};

/// Holds nothing until [`Once::set`].
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: written by the one caller of `set` that wins, before `state` becomes READY; shared reads
// only afterwards.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const READY: u8 = 2;

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Once { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(None) }
    }

    /// Sets the value; `false`, and nothing happens, when there was one.
    pub fn set(&self, value: T) -> bool {
        if self.state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        // SAFETY: only one caller gets from EMPTY to BUSY, and readers wait for READY.
        unsafe { *self.value.get() = Some(value) };
        self.state.store(READY, Ordering::Release);
        true
    }

    /// The value, once it is set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) == READY {
            // SAFETY: READY is final, and nobody writes any more.
            unsafe { &*self.value.get() }.as_ref()
        } else {
            None
        }
    }
}
