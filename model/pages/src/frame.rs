//! The record that each frame of RAM has in the frame table.

use abi::DomId;
use sync::atomic::{AtomicU32, Ordering};

use crate::Kind;
use crate::owner::OwnerWord;
use crate::record::Record;
use crate::state::StateWord;

/// The record of one frame: 32 bytes, all atomics, so that it is shared freely.
///
/// All zeroes is a frame that nobody owns, was never in use, and is on no list.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[derive(Debug, Default)]
#[repr(C)]
pub struct Frame {
    pub(crate) owner: OwnerWord,
    pub(crate) state: StateWord,
    pub(crate) record: Record,
    next: AtomicU32,
    prev: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Frame>() == 32);

/// What a frame's record says at one moment: for debug keys, dumps and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Who owns the frame.
    pub owner: Option<DomId>,
    /// References to it.
    pub references: u32,
    /// Whether one of them is the allocation's.
    pub allocated: bool,
    /// Whether it is a page of the hypervisor, lent to the owner.
    pub shared: bool,
    /// Its use, or its last one if `uses` is 0.
    pub kind: Kind,
    /// How often it is in that use.
    pub uses: u32,
    /// Whether one use is the guest's pin.
    pub pinned: bool,
    /// Whether it has stopped half way in or out of use.
    pub partial: bool,
}

impl Frame {
    /// What the record says now. Its words are read one after the other.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let owner = self.owner.load();
        let state = self.state.load();
        Snapshot {
            owner: owner.owner(),
            references: owner.count(),
            allocated: owner.is_allocated(),
            shared: owner.is_shared(),
            kind: state.kind(),
            uses: state.count(),
            pinned: state.is_pinned(),
            partial: state.is_partial(),
        }
    }

    /// Who owns the frame now.
    #[inline]
    #[must_use]
    pub fn owner(&self) -> Option<DomId> {
        self.owner.load().owner()
    }

    /// The list link to the next frame; 0 for none. The owner of the list's lock says what it
    /// means: the heap for free frames, [`crate::PageList`] for a domain's.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// Sets the link to the next frame, under the list's lock.
    pub fn set_next(&self, mfn: u32) {
        self.next.store(mfn, Ordering::Relaxed);
    }

    /// The list link to the previous frame; 0 for none.
    #[must_use]
    pub fn prev(&self) -> u32 {
        self.prev.load(Ordering::Relaxed)
    }

    /// Sets the link to the previous frame, under the list's lock.
    pub fn set_prev(&self, mfn: u32) {
        self.prev.store(mfn, Ordering::Relaxed);
    }

    /// The heap's tag of a free frame (its order and whether it heads a free block).
    #[must_use]
    pub fn tag(&self) -> u8 {
        self.record.tag()
    }

    /// Sets the heap's tag. Only while nobody owns the frame, under the heap's lock; the flush
    /// stamp beside it is kept. [`crate::Pages::quiesce`] clears both.
    pub fn set_tag(&self, tag: u8) {
        debug_assert!(self.owner().is_none(), "the heap's tag on a frame that has an owner");
        self.record.set_tag(tag);
    }
}
