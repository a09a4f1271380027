//! The third word of a frame's record: what it says depends on the state.
//!
//! ```text
//! idle, writable or free         page table (moving, partial or in use)
//! bit  0..=54  flush stamp       bit  0..=9   entries that hold references (a prefix)
//!          55  STAMPED                    10  PENDING: the entry after them gave its reference
//!     56..=63  the heap's tag                 back, but its table is not yet wholly released
//!                                         11  UNDO: an entry was refused, the way is back
//!                                    32..=47  linear entries in this table
//!                                    48..=63  linear entries of others to this table
//! ```

use sync::atomic::{AtomicU64, Ordering};

use crate::ENTRIES;
use crate::bits::low10;

const STAMPED: u64 = 1 << 55;
/// The clock never wraps: this many flushes take a year at a thousand million in a second. Should
/// it come so far all the same, later stamps are this one, and count as newer than any flush.
const LAST_STAMP: u64 = STAMPED - 1;
const TAG_SHIFT: u32 = 56;
const PENDING: u64 = 1 << 10;
const UNDO: u64 = 1 << 11;
const PROGRESS: u64 = 0xffff_ffff;
const ENTRY: u64 = 1 << 32;
const ENTRIES_MASK: u64 = 0xffff << 32;
const USE: u64 = 1 << 48;
const USES_MASK: u64 = 0xffff << 48;

/// How far a table's entries hold references.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    /// Entries `0..index` hold references, those from `index` on do not.
    pub(crate) index: usize,
    /// Entry `index` gave its reference back, and the table it points to is in the middle of its
    /// release; this record holds a page reference to that table.
    pub(crate) pending: bool,
    /// The table is on its way out because an entry was refused.
    pub(crate) undo: bool,
}

impl Progress {
    pub(crate) const NONE: Self = Self { index: 0, pending: false, undo: false };
    pub(crate) const ALL: Self = Self { index: ENTRIES, pending: false, undo: false };

    fn to_bits(self) -> u64 {
        let flags = if self.pending { PENDING } else { 0 } | if self.undo { UNDO } else { 0 };
        u64::try_from(self.index).unwrap_or(0) | flags
    }
}

/// The word in a frame's record.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Record(AtomicU64);

impl Record {
    /// The flush clock when the last use (or the frame's last life) ended, if there was one.
    pub(crate) fn stamp(&self) -> Option<u64> {
        let w = self.0.load(Ordering::Acquire);
        let stamp = w & LAST_STAMP;
        (w & STAMPED != 0).then_some(if stamp == LAST_STAMP { u64::MAX } else { stamp })
    }

    /// Notes when the last use ended.
    #[inline]
    pub(crate) fn set_stamp(&self, stamp: u64) {
        self.0.store(STAMPED | stamp.min(LAST_STAMP), Ordering::Release);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// The heap's tag of a free frame.
    pub(crate) fn tag(&self) -> u8 {
        u8::try_from(self.0.load(Ordering::Relaxed) >> TAG_SHIFT).unwrap_or(0)
    }

    /// Sets the tag, keeping the stamp. Only for free frames, under the heap's lock.
    pub(crate) fn set_tag(&self, tag: u8) {
        let rest = self.0.load(Ordering::Relaxed) & !(0xff << TAG_SHIFT);
        self.0.store(rest | (u64::from(tag) << TAG_SHIFT), Ordering::Relaxed);
    }

    /// How far the entries hold references.
    pub(crate) fn progress(&self) -> Progress {
        let w = self.0.load(Ordering::Relaxed);
        Progress { index: low10(w), pending: w & PENDING != 0, undo: w & UNDO != 0 }
    }

    /// Notes how far. The linear counts share the word and stay; they change only for tables that
    /// are in use, by others, or by the CPU that is here.
    pub(crate) fn set_progress(&self, progress: Progress) {
        let counts = self.0.load(Ordering::Relaxed) & !PROGRESS;
        self.0.store(counts | progress.to_bits(), Ordering::Relaxed);
    }

    /// Counts a linear entry of this table, unless other tables' linear entries use it.
    pub(crate) fn add_entry(&self) -> bool {
        self.add(ENTRY, USES_MASK, ENTRIES_MASK)
    }

    /// Counts a linear entry that uses this table, unless it has such entries itself.
    pub(crate) fn add_use(&self) -> bool {
        self.add(USE, ENTRIES_MASK, USES_MASK)
    }

    fn add(&self, one: u64, must_be_zero: u64, full: u64) -> bool {
        let mut w = self.0.load(Ordering::Relaxed);
        while w & must_be_zero == 0 && w & full != full {
            let next = w.wrapping_add(one);
            match self.0.compare_exchange_weak(w, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => w = now,
            }
        }
        false
    }

    /// One linear entry of this table less.
    pub(crate) fn sub_entry(&self) {
        let before = self.0.fetch_sub(ENTRY, Ordering::AcqRel);
        debug_assert!(before & ENTRIES_MASK != 0, "more linear entries gone than came");
    }

    /// One linear entry that uses this table less.
    pub(crate) fn sub_use(&self) {
        let before = self.0.fetch_sub(USE, Ordering::AcqRel);
        debug_assert!(before & USES_MASK != 0, "more linear uses gone than came");
    }

    /// Linear entries in the table, and of others to it.
    #[cfg(test)]
    #[cfg(not(loom))]
    pub(crate) fn linear(&self) -> (u64, u64) {
        let w = self.0.load(Ordering::Relaxed);
        ((w & ENTRIES_MASK) >> 32, (w & USES_MASK) >> 48)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_kept_whole_long_after_the_clock_has_passed_32_bits() {
        let record = Record::default();
        assert_eq!(record.stamp(), None);
        for stamp in [1, 1 << 32, (1 << 54) + 3] {
            record.set_stamp(stamp);
            record.set_tag(0xa5);
            assert_eq!((record.stamp(), record.tag()), (Some(stamp), 0xa5));
        }
    }

    #[test]
    fn a_stamp_that_does_not_fit_is_newer_than_every_flush() {
        let record = Record::default();
        record.set_stamp(1 << 60);
        assert_eq!((record.stamp(), record.tag()), (Some(u64::MAX), 0));
    }
}
