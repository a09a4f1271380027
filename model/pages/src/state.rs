//! The second word of a frame's record: its use, counted.
//!
//! ```text
//! bit  0..=31  uses
//!     32..=34  kind (the last one, if there are no uses)
//!          35  PINNED     one use is the guest's pin
//!          36  VALIDATED  usable as that kind; there is at least one use
//!          37  PARTIAL    some of a table's entries hold references, no use; the record says
//!                         which, and the state itself holds one reference to the frame
//!          38  LOCKED     one CPU has the table's entries and record for itself
//!          39  FOREIGN    since it became writable, tables of another domain mapped it so
//! ```
//!
//! | VALIDATED | PARTIAL | LOCKED | uses | meaning |
//! |---|---|---|---|---|
//! | 0 | 0 | 0 | 0 | idle: in no use |
//! | 1 | 0 | 0 | > 0 | in use |
//! | 1 | 0 | 1 | > 0 | in use, and a CPU changes an entry; uses may come, the last may not go |
//! | 0 | 0 | 1 | 0 | moving: one CPU alone brings it in or out of use |
//! | 0 | 1 | 0 | 0 | stopped half way in or out of use |
//!
//! A CPU never waits for a moving frame whose kind is not the one it wants: waiting so goes from
//! higher levels to lower ones only, which is why nobody waits for himself.

use sync::atomic::{AtomicU64, Ordering};

use crate::Kind;
use crate::bits::low32;

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct State(pub(crate) u64);

impl State {
    const COUNT: u64 = 0xffff_ffff;
    const COUNT_MAX: u64 = 0x7fff_ffff;
    const KIND_SHIFT: u32 = 32;
    const PINNED: u64 = 1 << 35;
    const VALIDATED: u64 = 1 << 36;
    const PARTIAL: u64 = 1 << 37;
    const LOCKED: u64 = 1 << 38;
    const FOREIGN: u64 = 1 << 39;

    const fn of(kind: Kind, flags: u64) -> Self {
        Self((kind.bits() << Self::KIND_SHIFT) | flags)
    }
    /// In no use, last in `kind`.
    pub(crate) const fn idle(kind: Kind) -> Self {
        Self::of(kind, 0)
    }
    /// In its first use.
    pub(crate) const fn live(kind: Kind) -> Self {
        Self::of(kind, Self::VALIDATED | 1)
    }
    /// Being brought in or out of use.
    pub(crate) const fn moving(kind: Kind) -> Self {
        Self::of(kind, Self::LOCKED)
    }
    /// Stopped half way.
    pub(crate) const fn partial(kind: Kind) -> Self {
        Self::of(kind, Self::PARTIAL)
    }
    /// The same, marked as mapped writable by tables of another domain.
    #[inline]
    pub(crate) const fn foreign(self, foreign: bool) -> Self {
        if foreign { Self(self.0 | Self::FOREIGN) } else { self }
    }

    #[inline]
    pub(crate) const fn kind(self) -> Kind {
        Kind::from_bits((self.0 >> Self::KIND_SHIFT) & 7)
    }
    pub(crate) fn count(self) -> u32 {
        low32(self.0 & Self::COUNT)
    }
    #[inline]
    pub(crate) const fn in_use(self) -> bool {
        self.0 & Self::COUNT != 0
    }
    #[inline]
    pub(crate) const fn is_last(self) -> bool {
        self.0 & Self::COUNT == 1
    }
    #[inline]
    pub(crate) const fn is_full(self) -> bool {
        self.0 & Self::COUNT >= Self::COUNT_MAX
    }
    pub(crate) const fn is_pinned(self) -> bool {
        self.0 & Self::PINNED != 0
    }
    #[inline]
    pub(crate) const fn is_partial(self) -> bool {
        self.0 & Self::PARTIAL != 0
    }
    #[inline]
    pub(crate) const fn is_locked(self) -> bool {
        self.0 & Self::LOCKED != 0
    }
    #[inline]
    pub(crate) const fn is_foreign(self) -> bool {
        self.0 & Self::FOREIGN != 0
    }
    #[inline]
    pub(crate) const fn is_moving(self) -> bool {
        self.0 & (Self::LOCKED | Self::VALIDATED) == Self::LOCKED
    }
    #[inline]
    pub(crate) const fn one_more(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
    #[inline]
    pub(crate) const fn one_less(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }
    #[inline]
    pub(crate) const fn locked(self) -> Self {
        Self(self.0 | Self::LOCKED)
    }
    pub(crate) const fn pinned(self) -> Self {
        Self(self.0 | Self::PINNED)
    }
    pub(crate) const fn unpinned(self) -> Self {
        Self(self.0 & !Self::PINNED)
    }
    /// Writable by its last use: what remains when that goes.
    #[inline]
    pub(crate) const fn retired(self) -> Self {
        Self(self.0 & !(Self::COUNT | Self::VALIDATED))
    }
}

/// The word in a frame's record.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct StateWord(AtomicU64);

impl StateWord {
    #[inline]
    pub(crate) fn load(&self) -> State {
        State(self.0.load(Ordering::Acquire))
    }

    /// Moves from `old` to `new` if the word still is `old`.
    #[inline]
    pub(crate) fn step(&self, old: State, new: State) -> Result<(), State> {
        self.0
            .compare_exchange_weak(old.0, new.0, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(State)
    }

    /// Ends the moving state, which only its CPU may: nobody else changes the word meanwhile.
    #[inline]
    pub(crate) fn settle(&self, new: State) {
        debug_assert!(self.load().is_moving(), "settling a frame that is not moving");
        self.0.store(new.0, Ordering::Release);
    }

    /// Lets go of the lock of a table in use.
    #[inline]
    pub(crate) fn unlock(&self) {
        let before = self.0.fetch_and(!State::LOCKED, Ordering::Release);
        debug_assert!(State(before).is_locked(), "unlocking a table that is not locked");
    }

    /// Forgets the last use, once nobody owns the frame.
    pub(crate) fn forget(&self) {
        debug_assert!(!self.load().in_use(), "freeing a frame that is in use");
        self.0.store(0, Ordering::Release);
    }
}
