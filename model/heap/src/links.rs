//! What the allocator keeps in the frame table.

use crate::order::Order;
use abi::Mfn;

/// The allocator's part of the frame table.
///
/// Records are only read and written while the caller's heap lock is held. A frame's links are
/// used while it is free only, so they may share memory with what an owner keeps there; the tag
/// must be the allocator's alone. Fresh records have tag 0, and so has every number outside the
/// table: [`tag`](Links::tag) is total.
pub trait Links {
    /// The next free block in the list, as last set.
    fn next(&self, mfn: Mfn) -> Mfn;
    /// The previous free block in the list, as last set.
    fn prev(&self, mfn: Mfn) -> Mfn;
    /// Sets the next free block; [`Mfn::INVALID`] for none.
    fn set_next(&self, mfn: Mfn, next: Mfn);
    /// Sets the previous free block; [`Mfn::INVALID`] for none.
    fn set_prev(&self, mfn: Mfn, prev: Mfn);
    /// What the frame is to the allocator, as last set; 0 at first and outside the table.
    fn tag(&self, mfn: Mfn) -> u8;
    /// Says what the frame is to the allocator.
    fn set_tag(&self, mfn: Mfn, tag: u8);
}

/// What a frame is to the allocator. Only the first frame of a block has a tag that is not
/// [`Tag::NONE`], so a tag names a whole block with its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag(pub(crate) u8);

impl Tag {
    /// Not the first frame of a block, or not the allocator's.
    pub(crate) const NONE: Tag = Tag(0);

    pub(crate) fn free(order: Order) -> Tag {
        Tag(0x80 | order.get())
    }

    pub(crate) fn allocated(order: Order) -> Tag {
        Tag(0x40 | order.get())
    }
}
