//! One domain's grant table: coming into use by mappings, and going out of use.

use crate::active::{Access, ActiveEntry, Locked, Pins, Record};
use crate::shared::{Demand, Memory, Purpose, Words};
use crate::status::{DEFAULT_MAX_GRANT_FRAMES, Status, V1_ENTRIES_PER_FRAME, Version, gtf};
use abi::{DomId, Gfn, GrantRef, Mfn};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What the caller must turn into a machine frame with a page reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The grant comes into use: the frame as the granter numbers it, an unchecked number.
    Gfn(Gfn),
    /// The grant is in use and means this frame. It may have left the granter since, so the
    /// reference must be taken "if it still belongs to the granter".
    Mfn(Mfn),
}

/// A grant that was pinned for a mapping. The pin is not in this value: it belongs to the map
/// handle, and goes by [`GrantTable::unpin`].
#[must_use = "the page reference must go into a page table or be given back"]
#[derive(Debug)]
pub struct Mapped<H> {
    /// The machine frame to map.
    pub mfn: Mfn,
    /// The page reference that the resolver took.
    pub hold: H,
    /// The cache attributes that the granter asks for (`GTF_PWT`, `GTF_PCD`, `GTF_PAT`).
    pub cache_flags: u16,
}

/// A pin was to go that is not there: a defect of the hypervisor, which no guest can cause.
/// Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PinLost {
    /// The entry.
    pub gref: GrantRef,
    /// The pin that was to go.
    pub access: Access,
}

/// A grant in use, as a dump shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InUse {
    /// The entry.
    pub gref: GrantRef,
    /// How often it is in use.
    pub pins: Pins,
    /// What it means.
    pub record: Record,
}

/// The grant table of one domain.
///
/// All methods may run on several CPUs at once. Those that change the table as a whole are
/// reached through [`GrantTable::admin`].
#[derive(Debug)]
pub struct GrantTable<M> {
    pub(crate) owner: DomId,
    pub(crate) memory: M,
    pub(crate) version: AtomicU32,
    pub(crate) frames: AtomicU32,
    pub(crate) max_frames: u32,
    pub(crate) administered: AtomicBool,
}

impl<M: Memory> GrantTable<M> {
    /// A version 1 table without frames, which may grow to `max_frames`.
    pub const fn new(owner: DomId, max_frames: u32, memory: M) -> GrantTable<M> {
        GrantTable {
            owner,
            memory,
            version: AtomicU32::new(1),
            frames: AtomicU32::new(0),
            max_frames,
            administered: AtomicBool::new(false),
        }
    }

    /// A table of the default size limit.
    pub const fn with_default_limit(owner: DomId, memory: M) -> GrantTable<M> {
        Self::new(owner, DEFAULT_MAX_GRANT_FRAMES, memory)
    }

    /// Where the entries are.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The domain whose table it is.
    pub fn owner(&self) -> DomId {
        self.owner
    }

    /// The layout that shared entries have at this moment.
    pub fn version(&self) -> Version {
        match self.version.load(Ordering::Acquire) {
            2 => Version::V2,
            _ => Version::V1,
        }
    }

    /// How many shared frames there are, and how many there may be (`GNTTABOP_query_size`).
    pub fn sizes(&self) -> (u32, u32) {
        (self.frames.load(Ordering::Acquire), self.max_frames)
    }

    /// Pins the grant `gref` for a mapping by domain `by`.
    ///
    /// `resolve` takes a page reference of type `H`; it runs with the entry locked, and must not
    /// come back to this entry. Once this returns, whoever keeps the handle owes one
    /// [`Self::unpin`] with the same `access`.
    ///
    /// # Errors
    /// `BadGntref` for a reference beyond the table; `GeneralError` when the entry does not
    /// permit it (another kind, another domain, read-only), is part of a page, is unstable, or
    /// is in use too often; and what `resolve` fails with. Nothing is pinned then.
    pub fn map<H>(
        &self,
        gref: GrantRef,
        by: DomId,
        access: Access,
        resolve: impl FnOnce(Target) -> Result<(Mfn, H), Status>,
    ) -> Result<Mapped<H>, Status> {
        let (mut locked, version) = self.lock(gref)?;
        let words = self.words(version, gref)?;
        let record = locked.record();
        if record.is_some_and(|record| record.user != by || record.sub_page) {
            return Err(Status::GeneralError);
        }
        let pins = locked.pins().plus(access).ok_or(Status::GeneralError)?;
        let header = self.mark(&words, locked.pins(), by, access.readonly, Purpose::Map)?;
        let target = match record {
            None => Target::Gfn(Gfn(words.frame())),
            Some(record) => Target::Mfn(record.mfn),
        };
        let (mfn, hold) =
            resolve(target).inspect_err(|_| words.clear(locked.pins().stale_marks()))?;
        match record {
            None => locked.begin(&Record::whole_page(by, mfn), pins),
            Some(_) => locked.set_pins(pins),
        }
        Ok(Mapped { mfn, hold, cache_flags: header & gtf::CACHE_MASK })
    }

    /// Ends a use of `gref`. The last one to write clears the entry's writing mark, the last one
    /// its reading mark. Call it only when no TLB can hold the mapping any more: the granter may
    /// give the page to somebody else as soon as the marks are gone.
    ///
    /// # Errors
    /// [`PinLost`] when there is no such use; nothing is changed.
    pub fn unpin(&self, gref: GrantRef, access: Access) -> Result<(), PinLost> {
        let lost = PinLost { gref, access };
        let Some(active) = self.memory.active(gref) else { return Err(lost) };
        let mut locked = active.lock();
        let pins = locked.pins().minus(access).ok_or(lost)?;
        // The version cannot change under the entry's lock, and reserved entries in use are
        // carried over, so the words are there; if not there is nothing to clear.
        if let Ok(words) = self.words(self.version(), gref) {
            words.clear(pins.stale_marks());
        }
        locked.set_pins(pins);
        Ok(())
    }

    /// The machine frame that a grant in use means; `None` when it is not in use.
    ///
    /// The answer is good for as long as the caller owns a pin, as the owner of a claimed map
    /// handle does.
    pub fn pinned_frame(&self, gref: GrantRef) -> Option<Mfn> {
        let locked = self.memory.active(gref)?.lock();
        locked.record().map(|record| record.mfn)
    }

    /// The first grant in use at or after `*cursor`, which moves beyond it. Each entry looked at
    /// costs 1 of `budget`; `None` with budget left is the end of the table.
    pub fn next_in_use(&self, cursor: &mut u32, budget: &mut u32) -> Option<InUse> {
        let (frames, _) = self.sizes();
        let end = frames.saturating_mul(V1_ENTRIES_PER_FRAME);
        while *cursor < end && *budget > 0 {
            let gref = GrantRef(*cursor);
            *cursor = cursor.saturating_add(1);
            *budget = budget.saturating_sub(1);
            let (pins, record) = self.memory.active(gref)?.glance();
            if pins.any() {
                return Some(InUse { gref, pins, record });
            }
        }
        None
    }

    /// Locks an entry, and says the layout of the table, which stays while the lock is held.
    pub(crate) fn lock(&self, gref: GrantRef) -> Result<(Locked<'_>, Version), Status> {
        // First against the version at this moment, so that no wild number reaches `memory`; then
        // again under the lock, as the table may have changed in between.
        self.check_range(self.version(), gref)?;
        let active: &ActiveEntry = self.memory.active(gref).ok_or(Status::BadGntref)?;
        let locked = active.lock();
        let version = self.version();
        self.check_range(version, gref)?;
        Ok((locked, version))
    }

    pub(crate) fn check_range(&self, version: Version, gref: GrantRef) -> Result<(), Status> {
        let (frames, _) = self.sizes();
        let end = frames.saturating_mul(version.entries_per_frame());
        if gref.0 < end { Ok(()) } else { Err(Status::BadGntref) }
    }

    pub(crate) fn words(
        &self,
        version: Version,
        gref: GrantRef,
    ) -> Result<Words<M::V1<'_>, M::V2<'_>>, Status> {
        Words::of(&self.memory, version, gref).ok_or(Status::BadGntref)
    }

    /// Sets the in-use marks that a use needs and that are not set yet; returns the flags.
    pub(crate) fn mark(
        &self,
        words: &Words<M::V1<'_>, M::V2<'_>>,
        pins: Pins,
        by: DomId,
        readonly: bool,
        purpose: Purpose,
    ) -> Result<u16, Status> {
        if pins.any() && (readonly || pins.writes()) {
            return Ok(words.header().flags());
        }
        let demand = Demand { by, readonly, purpose, first: !pins.any() };
        words.claim(demand).map(|header| header.flags())
    }
}
