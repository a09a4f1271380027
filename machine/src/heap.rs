//! The hypervisor's heap: private memory behind `alloc`'s collections.

use crate::lock::Lock;
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use talc::{ErrOnOom, Span, Talc};

/// The global allocator, to be named by the image.
pub struct Heap {
    talc: Lock<Talc<ErrOnOom>>,
    free: AtomicUsize,
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap {
    /// An allocator without memory.
    pub const fn new() -> Self {
        Heap { talc: Lock::new(Talc::new(ErrOnOom)), free: AtomicUsize::new(0) }
    }

    /// Gives it `[start, start + len)` of the direct map.
    ///
    /// # Safety
    /// The memory must be mapped, private and nobody else's.
    pub(crate) unsafe fn claim(&self, start: *mut u8, len: usize) {
        // SAFETY: as promised by the caller.
        let _ = unsafe { self.talc.lock().claim(Span::from_base_size(start, len)) };
        self.free.fetch_add(len, Relaxed);
    }

    /// Bytes not allocated, about.
    pub(crate) fn free_bytes(&self) -> usize {
        self.free.load(Relaxed)
    }
}

// SAFETY: `talc` allocates from memory that `claim` gave it, under the lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `GlobalAlloc`'s caller passes a layout of non-zero size.
        let p = unsafe { self.talc.lock().malloc(layout) };
        if p.is_ok() {
            self.free.fetch_sub(layout.size(), Relaxed);
        }
        p.map_or(core::ptr::null_mut(), |p| p.as_ptr())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(p) = core::ptr::NonNull::new(at) {
            self.free.fetch_add(layout.size(), Relaxed);
            // SAFETY: `GlobalAlloc`'s caller passes what `alloc` returned.
            unsafe { self.talc.lock().free(p, layout) };
        }
    }
}
