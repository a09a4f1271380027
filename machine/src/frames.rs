//! The frame table: one record for each frame of RAM, at a fixed address, zero at first.

use crate::layout::FRAME_TABLE;
use crate::num::index;
use crate::paging::frame_mapped;
use abi::Mfn;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering::AcqRel};
use zerocopy::FromZeros;

/// Bytes of a record.
pub const RECORD_SIZE: usize = 32;

static CLAIMED: AtomicBool = AtomicBool::new(false);

/// The right to see the frame table as records of type `F`. There is only one such type.
pub struct FrameTable<F> {
    _records: PhantomData<fn() -> F>,
}

impl<F> Clone for FrameTable<F> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<F> Copy for FrameTable<F> {}

impl<F: FromZeros + Sync + 'static> FrameTable<F> {
    const FITS: () = assert!(size_of::<F>() == RECORD_SIZE && align_of::<F>() <= RECORD_SIZE);

    /// The table's only user claims it, at boot.
    pub fn claim() -> Option<Self> {
        let () = Self::FITS;
        (!CLAIMED.swap(true, AcqRel)).then_some(FrameTable { _records: PhantomData })
    }

    /// The record of `mfn`, `None` where there is no RAM for 256 MiB around.
    #[inline]
    pub fn get(self, mfn: Mfn) -> Option<&'static F> {
        let at = index(FRAME_TABLE.wrapping_add(mfn.0.wrapping_mul(RECORD_SIZE as u64)));
        // SAFETY: mapped for ever where `frame_mapped` says so, zeroed at boot, and only ever
        // seen as `F` because `claim` succeeds once.
        frame_mapped(mfn).then(|| unsafe { &*core::ptr::with_exposed_provenance::<F>(at) })
    }
}
