//! The hypervisor's heap: private memory behind `alloc`'s collections.

use crate::lock::Lock;
use core::alloc::{GlobalAlloc, Layout};
use talc::{ErrOnOom, Span, Talc};

/// The global allocator, to be named by the image.
pub struct Heap(Lock<Talc<ErrOnOom>>);

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap {
    /// An allocator without memory.
    pub const fn new() -> Self {
        Heap(Lock::new(Talc::new(ErrOnOom)))
    }

    /// Gives it `[start, start + len)` of the direct map.
    ///
    /// # Safety
    /// The memory must be mapped, private and nobody else's.
    pub(crate) unsafe fn claim(&self, start: *mut u8, len: usize) {
        // SAFETY: as promised by the caller.
        let _ = unsafe { self.0.lock().claim(Span::from_base_size(start, len)) };
    }
}

// SAFETY: `talc` allocates from memory that `claim` gave it, under the lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `GlobalAlloc`'s caller passes a layout of non-zero size.
        let p = unsafe { self.0.lock().malloc(layout) };
        p.map_or(core::ptr::null_mut(), |p| p.as_ptr())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(p) = core::ptr::NonNull::new(at) {
            // SAFETY: `GlobalAlloc`'s caller passes what `alloc` returned.
            unsafe { self.0.lock().free(p, layout) };
        }
    }
}
