//! A shared slot for a reference to something that lives for ever.

use core::sync::atomic::{AtomicPtr, Ordering};

/// Holds a `&'static T` or nothing; read and written by any CPU.
pub struct StaticRef<T: 'static>(AtomicPtr<T>);

impl<T> Default for StaticRef<T> {
    fn default() -> Self {
        Self::none()
    }
}

impl<T: Sync> StaticRef<T> {
    /// The reference.
    #[inline]
    pub fn get(&self) -> Option<&'static T> {
        let p = self.0.load(Ordering::Acquire);
        // SAFETY: only ever stored from a `&'static T`, or null.
        unsafe { p.as_ref() }
    }

    /// Replaces it and returns what was there.
    pub fn swap(&self, to: Option<&'static T>) -> Option<&'static T> {
        let p = to.map_or(core::ptr::null_mut(), |r| core::ptr::from_ref(r).cast_mut());
        let old = self.0.swap(p, Ordering::AcqRel);
        // SAFETY: only ever stored from a `&'static T`, or null.
        unsafe { old.as_ref() }
    }

    /// Replaces it.
    #[inline]
    pub fn set(&self, to: Option<&'static T>) {
        let p = to.map_or(core::ptr::null_mut(), |r| core::ptr::from_ref(r).cast_mut());
        self.0.store(p, Ordering::Release);
    }
}

impl<T> StaticRef<T> {
    /// An empty slot.
    pub const fn none() -> Self {
        StaticRef(AtomicPtr::new(core::ptr::null_mut()))
    }
}
