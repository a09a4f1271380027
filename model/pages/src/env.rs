//! What the frames' rules need of the machine.

use abi::{DomId, Mfn};
use sync::Relax;
use sync::atomic::AtomicU64;

use crate::Frame;

/// Entries in a page table.
pub const ENTRIES: usize = 512;

/// The slots of an L4 that belong to the hypervisor (public header `arch-x86/xen-x86_64.h`:
/// 0xffff800000000000 to 0xffff87ffffffffff).
pub const HYPERVISOR_SLOTS: core::ops::Range<usize> = 256..272;

/// What a domain may do with an I/O frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nothing.
    None,
    /// Map it read-only.
    ReadOnly,
    /// Map it at will.
    ReadWrite,
}

/// Whose translations a flush is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caches {
    /// CPUs that may hold translations of this domain's own page tables.
    Of(DomId),
    /// All CPUs.
    All,
}

/// The machine, as seen from the frames' rules. Static, so that all of it inlines.
pub trait Env {
    /// How a CPU waits for another: must answer flush requests, see [`Env::flush`].
    type Relax: Relax;

    /// The record of a frame; `None` where there is no RAM. Must always answer the same for a
    /// frame once any page table may point to it.
    fn frame(&self, mfn: Mfn) -> Option<&Frame>;

    /// The frame's contents as a page table's entries. Must be `Some` whenever
    /// [`Env::frame`] is.
    fn table(&self, mfn: Mfn) -> Option<&[AtomicU64; ENTRIES]>;

    /// What `dom` may do with a frame that has no record, or whose owner is [`DomId::IO`]. For
    /// [`Access::ReadOnly`] a writable entry silently becomes a read-only one, as Xen does it (a
    /// device's interrupt tables are so protected from drivers that map them whole).
    ///
    /// Such frames are not counted: the machine promises that they stay I/O for ever.
    fn mmio_access(&self, dom: DomId, mfn: Mfn) -> Access;

    /// Flushes everything that those of `whose` CPUs remember of page tables (global entries and
    /// paging-structure caches as well) which have not flushed since the clock stood at `since`;
    /// all of them if `None`. Returns when they have. A CPU whose flush carried the stamp `since`
    /// itself counts as not flushed.
    ///
    /// Called with interrupts off and frame locks held: waiting CPUs answer through
    /// [`Relax::relax`].
    fn flush(&self, whose: Caches, since: Option<u64>);

    /// The flush clock now: it advances with each flush, and never turns back. Read after the entry
    /// was taken out of its table.
    fn flush_stamp(&self) -> u64;

    /// Whether the 512 descriptors in a frame are all ones that a guest may load. Nobody can
    /// write them during the call.
    fn check_descriptors(&self, mfn: Mfn) -> bool;

    /// Fills [`HYPERVISOR_SLOTS`] of an L4 that is about to become usable.
    fn install_hypervisor_slots(&self, l4: Mfn);

    /// The last reference to a frame of `owner` is gone: take it off the owner's list, count it
    /// off, scrub it, give it to the heap. May be called with frame locks held, so the locks that
    /// this takes rank above them; it must not call back into [`crate::Pages`].
    fn freed(&self, mfn: Mfn, owner: DomId);
}
