//! Static storage that is written without locks.

use core::cell::UnsafeCell;

/// A static that its users write through a raw pointer.
///
/// One CPU runs all code except the closures given to [`crate::smp`], which keep to atomics; trap
/// handlers touch nothing that the code they interrupt holds a reference to.
#[repr(transparent)]
pub struct Global<T>(UnsafeCell<T>);

// SAFETY: see above: accesses never overlap, as each user says at its raw pointer accesses.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    /// With an initial value.
    pub const fn new(value: T) -> Global<T> {
        Global(UnsafeCell::new(value))
    }

    /// Where it is.
    pub const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}

impl<T: Copy> Global<T> {
    /// Its value now. Volatile, as a trap handler or the hypervisor may have changed it.
    pub fn get(&self) -> T {
        // SAFETY: the pointer is that of a live, aligned, initialised static.
        unsafe { self.0.get().read_volatile() }
    }

    /// Changes it.
    pub fn set(&self, value: T) {
        // SAFETY: as in `get`; nobody holds a reference into a `Global<T: Copy>`.
        unsafe { self.0.get().write_volatile(value) }
    }
}
