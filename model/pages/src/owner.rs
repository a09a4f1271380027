//! The first word of a frame's record: owner, flags and reference count in one.
//!
//! ```text
//! bit  0..=31  references
//!     32..=47  owner
//!          48  OWNED      bits 32..=47 are an owner
//!          49  ALLOCATED  one reference is the allocation's own
//!          50  SHARED     a page of the hypervisor, lent to the owner
//!          51  READ_ONLY  with SHARED: may not be mapped writable
//! ```
//! The word is 0 exactly while nobody owns the frame.

use abi::DomId;
use sync::atomic::{AtomicU64, Ordering};

use crate::bits::low32;

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct Owner(pub(crate) u64);

impl Owner {
    const COUNT: u64 = 0xffff_ffff;
    const OWNER_SHIFT: u32 = 32;
    const OWNED: u64 = 1 << 48;
    const ALLOCATED: u64 = 1 << 49;
    const SHARED: u64 = 1 << 50;
    const READ_ONLY: u64 = 1 << 51;
    /// Owner and whether there is one.
    const IDENTITY: u64 = Self::OWNED | (0xffff << Self::OWNER_SHIFT);
    /// Guests get no further than this. What remains is for the references that partly
    /// validated tables and deferred work hold, at most a handful for each frame and CPU.
    const COUNT_MAX: u64 = 0x7fff_ffff;

    const fn identity(dom: DomId) -> u64 {
        Self::OWNED | ((dom.0 as u64) << Self::OWNER_SHIFT)
    }

    const fn allocated(dom: DomId) -> Self {
        Self(Self::identity(dom) | Self::ALLOCATED | 1)
    }

    const fn shared(dom: DomId, read_only: bool) -> Self {
        let flags = if read_only { Self::SHARED | Self::READ_ONLY } else { Self::SHARED };
        Self(Self::identity(dom) | flags | 1)
    }

    pub(crate) fn count(self) -> u32 {
        low32(self.0 & Self::COUNT)
    }

    #[inline]
    pub(crate) fn owner(self) -> Option<DomId> {
        let id = u16::try_from((self.0 >> Self::OWNER_SHIFT) & 0xffff).unwrap_or(0);
        (self.0 & Self::OWNED != 0).then_some(DomId(id))
    }

    #[inline]
    pub(crate) const fn belongs_to(self, dom: DomId) -> bool {
        self.0 & Self::IDENTITY == Self::identity(dom)
    }

    #[inline]
    pub(crate) const fn is_shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }

    #[inline]
    pub(crate) const fn is_read_only(self) -> bool {
        self.0 & Self::READ_ONLY != 0
    }

    #[inline]
    pub(crate) const fn is_full(self) -> bool {
        self.0 & Self::COUNT >= Self::COUNT_MAX
    }

    pub(crate) const fn is_allocated(self) -> bool {
        self.0 & Self::ALLOCATED != 0
    }

    /// The word with one reference less; 0 if that was the last.
    #[inline]
    const fn minus_one(self) -> Self {
        if self.0 & Self::COUNT <= 1 { Self(0) } else { Self(self.0.wrapping_sub(1)) }
    }
}

/// The word in a frame's record.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct OwnerWord(AtomicU64);

impl OwnerWord {
    #[inline]
    pub(crate) fn load(&self) -> Owner {
        Owner(self.0.load(Ordering::Acquire))
    }

    /// Replaces the word by what `f` makes of it, unless `f` declines. Gives the word before.
    #[inline]
    fn update(&self, f: impl Fn(Owner) -> Option<Owner>) -> Result<Owner, Owner> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let Some(next) = f(Owner(word)) else {
                return Err(Owner(word));
            };
            // Release: what was done under the reference given up happens before the frame's
            // next life. Acquire: and what its last life did happens before ours.
            match self.0.compare_exchange_weak(word, next.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(Owner(word)),
                Err(now) => word = now,
            }
        }
    }

    /// Gives a frame that nobody owns to `dom`, with the allocation's reference.
    pub(crate) fn assign(&self, dom: DomId) -> Result<(), Owner> {
        self.update(|w| (w.0 == 0).then_some(Owner::allocated(dom))).map(|_| ())
    }

    /// Lends a frame that nobody owns to `dom`, with the hypervisor's reference.
    pub(crate) fn share(&self, dom: DomId, read_only: bool) -> Result<(), Owner> {
        self.update(|w| (w.0 == 0).then_some(Owner::shared(dom, read_only))).map(|_| ())
    }

    /// Takes a reference if the frame belongs to `dom`.
    #[inline]
    pub(crate) fn get(&self, dom: DomId) -> Result<(), Owner> {
        self.update(|w| (w.belongs_to(dom) && !w.is_full()).then_some(Owner(w.0.wrapping_add(1))))
            .map(|_| ())
    }

    /// Takes a reference, whoever the owner is.
    pub(crate) fn get_any(&self) -> Option<DomId> {
        self.update(|w| (w.owner().is_some() && !w.is_full()).then_some(Owner(w.0.wrapping_add(1))))
            .ok()
            .and_then(Owner::owner)
    }

    /// Takes one more reference for the hypervisor's own bookkeeping; the caller holds one.
    #[inline]
    pub(crate) fn dup(&self) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        debug_assert!(Owner(before).count() != 0, "a reference out of nothing");
    }

    /// Gives a reference back. The owner, if it was the last: the caller alone has the frame now.
    #[inline]
    pub(crate) fn put(&self) -> Option<DomId> {
        let before = self.update(|w| (w.count() != 0).then_some(w.minus_one()));
        debug_assert!(before.is_ok(), "a reference given back twice");
        before.ok().filter(|w| w.count() == 1).and_then(Owner::owner)
    }

    /// Turns the allocation's reference into the caller's, if `dom` owns the frame and it still
    /// has one.
    pub(crate) fn take_allocation(&self, dom: DomId) -> Result<(), Owner> {
        self.update(|w| {
            (w.belongs_to(dom) && w.is_allocated()).then_some(Owner(w.0 & !Owner::ALLOCATED))
        })
        .map(|_| ())
    }

    /// Takes the frame from its owner if the allocation's (or the hypervisor's, for a shared
    /// page) is its only reference.
    pub(crate) fn take_sole(&self, dom: DomId, shared: bool) -> Result<(), Owner> {
        self.update(|w| {
            let flag = if shared { w.is_shared() } else { w.is_allocated() };
            (w.belongs_to(dom) && flag && w.count() == 1).then_some(Owner(0))
        })
        .map(|_| ())
    }
}
