//! Copies by the hypervisor: checking what is asked, and leasing the frames.

use crate::active::{Access, PAGE_LEN, Record};
use crate::shared::{Header, Memory, Purpose, WordsV2};
use crate::status::{Status, Version, gtf};
use crate::table::{GrantTable, PinLost, Target};
use abi::{DomId, Gfn, GrantRef, Mfn};

/// One side of a `GNTTABOP_copy`, as the guest gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyPtr {
    /// A grant reference (its low 32 bits) or a frame number of the caller's.
    pub value: u64,
    /// The domain that it is about; may be `DomId::SELF`.
    pub domid: DomId,
    /// The first byte.
    pub offset: u16,
}

/// A `GNTTABOP_copy`, as the guest gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyOp {
    /// From where.
    pub source: CopyPtr,
    /// To where.
    pub dest: CopyPtr,
    /// How many bytes.
    pub len: u16,
    /// `GNTCOPY_source_gref` (1), `GNTCOPY_dest_gref` (2).
    pub flags: u16,
}

/// What one side of a copy names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// A grant of that domain (which may be `DomId::SELF`).
    Grant(DomId, GrantRef),
    /// A frame of the caller's own.
    Own(Gfn),
}

impl CopyPtr {
    fn operand(self, is_gref: bool) -> Result<Operand, Status> {
        if is_gref {
            Ok(Operand::Grant(self.domid, GrantRef((self.value & 0xffff_ffff) as u32)))
        } else if self.domid == DomId::SELF {
            Ok(Operand::Own(Gfn(self.value)))
        } else {
            // Only grants open other domains' memory.
            Err(Status::PermissionDenied)
        }
    }
}

impl CopyOp {
    /// What source and destination name.
    ///
    /// # Errors
    /// `PermissionDenied` for a frame number of another domain.
    pub fn operands(&self) -> Result<(Operand, Operand), Status> {
        let source = self.source.operand(self.flags & 1 != 0)?;
        let dest = self.dest.operand(self.flags & 2 != 0)?;
        Ok((source, dest))
    }

    /// Checks the copy's range against what was leased: `(start, length)` of either side, which
    /// is `Lease::window()` or, for an own frame, [`OWN_WINDOW`].
    ///
    /// # Errors
    /// `BadCopyArg` when a side crosses its page's end, `GeneralError` when it leaves the part
    /// that is granted.
    pub fn check_windows(&self, source: (u16, u16), dest: (u16, u16)) -> Result<(), Status> {
        let sides = [(self.source.offset, source), (self.dest.offset, dest)];
        let end_of = |start: u16, len: u16| u32::from(start).saturating_add(u32::from(len));
        if sides.iter().any(|&(offset, _)| end_of(offset, self.len) > u32::from(PAGE_LEN)) {
            return Err(Status::BadCopyArg);
        }
        let inside = |&(offset, (start, length)): &(u16, (u16, u16))| {
            offset >= start && end_of(offset, self.len) <= end_of(start, length)
        };
        if sides.iter().all(inside) { Ok(()) } else { Err(Status::GeneralError) }
    }
}

/// The window of a frame of the caller's own: all of it.
pub const OWN_WINDOW: (u16, u16) = (0, PAGE_LEN);

/// The pin of a lease, to be given back to the table it is of.
#[must_use = "a pin that is dropped keeps the granter's entry in use for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct CopyPin {
    /// Whose table.
    pub granter: DomId,
    /// Which entry.
    pub gref: GrantRef,
    /// For reading only.
    pub readonly: bool,
}

/// A lease of a frame by a grant of the frame's own domain.
#[must_use = "its pin must be given back"]
#[derive(Debug)]
pub struct Direct<H> {
    /// The machine frame.
    pub mfn: Mfn,
    /// The page reference that the resolver took.
    pub hold: H,
    /// First usable byte, number of usable bytes.
    pub window: (u16, u16),
    /// The pin.
    pub pin: CopyPin,
}

/// A lease of a frame for a copy, perhaps through one transitive grant.
///
/// That there is at most one is in the type: the inner lease is [`Direct`].
#[must_use = "its pins must be given back"]
#[derive(Debug)]
pub struct Lease<H> {
    /// The frame, its page reference, its window, and the pin of the frame's own domain.
    pub inner: Direct<H>,
    /// The pin of the transitive grant that led there.
    pub outer: Option<CopyPin>,
}

impl<H> Lease<H> {
    /// The machine frame.
    pub fn mfn(&self) -> Mfn {
        self.inner.mfn
    }

    /// First usable byte, number of usable bytes.
    pub fn window(&self) -> (u16, u16) {
        self.inner.window
    }
}

/// How to reach the grants of a third domain, given by the hypervisor.
pub trait Transit<H> {
    /// Leases `gref` of `domid` on behalf of `by`: find the domain (`GeneralError` when there is
    /// none) and call [`GrantTable::acquire_direct`] on its table.
    fn enter(
        &mut self,
        domid: DomId,
        gref: GrantRef,
        by: DomId,
        readonly: bool,
    ) -> Result<Direct<H>, Status>;
    /// Gives such a lease back: page reference and pin.
    fn leave(&mut self, lease: Direct<H>);
}

/// Transitive grants are refused.
#[derive(Clone, Copy, Debug)]
pub struct NoTransit;

impl<H> Transit<H> for NoTransit {
    fn enter(&mut self, _: DomId, _: GrantRef, _: DomId, _: bool) -> Result<Direct<H>, Status> {
        Err(Status::GeneralError)
    }
    fn leave(&mut self, lease: Direct<H>) {
        // Never called, as `enter` gives nothing out.
        let _ = lease;
    }
}

/// A transitive entry's meaning, as the guest wrote it.
type Via = (DomId, GrantRef);

impl<M: Memory> GrantTable<M> {
    /// Leases the frame of grant `gref` for a copy by domain `by`.
    ///
    /// `resolve` is as for [`GrantTable::map`]; `transit` reaches a third domain when the entry is
    /// a transitive one.
    ///
    /// # Errors
    /// `BadGntref` for a reference beyond the table; `GeneralError` when the entry does not
    /// permit it; `Eagain` when it changed meanwhile; what `resolve` and `transit` fail with.
    /// Nothing is pinned then.
    pub fn acquire<H>(
        &self,
        gref: GrantRef,
        by: DomId,
        readonly: bool,
        resolve: impl FnOnce(Target) -> Result<(Mfn, H), Status>,
        transit: &mut impl Transit<H>,
    ) -> Result<Lease<H>, Status> {
        match self.peek_transitive(gref, by)? {
            None => self
                .acquire_direct(gref, by, readonly, resolve)
                .map(|inner| Lease { inner, outer: None }),
            Some(via) => self.acquire_through(gref, by, readonly, via, transit),
        }
    }

    /// Gives back a pin of this table.
    ///
    /// # Errors
    /// [`PinLost`] for a pin that is not there, or is of another table.
    pub fn release(&self, pin: CopyPin) -> Result<(), PinLost> {
        let access = Access::host(pin.readonly);
        if pin.granter != self.owner {
            return Err(PinLost { gref: pin.gref, access });
        }
        self.unpin(pin.gref, access)
    }

    /// What [`Self::acquire`] does for an entry that is not transitive; refuses one that is.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn acquire_direct<H>(
        &self,
        gref: GrantRef,
        by: DomId,
        readonly: bool,
        resolve: impl FnOnce(Target) -> Result<(Mfn, H), Status>,
    ) -> Result<Direct<H>, Status> {
        let (mut locked, version) = self.lock(gref)?;
        let words = self.words(version, gref)?;
        let record = locked.record();
        if record.is_some_and(|record| record.user != by) {
            return Err(Status::GeneralError);
        }
        if record.is_some_and(|record| record.via.is_some()) {
            return Err(Status::Eagain);
        }
        let pins = locked.pins().plus(Access::host(readonly)).ok_or(Status::GeneralError)?;
        let flags = self.mark(&words, locked.pins(), by, readonly, Purpose::Copy)?;
        let unmark = |_: &Status| words.clear(locked.pins().stale_marks());
        let (mfn, window, hold) = match record {
            Some(record) => {
                let (mfn, hold) = resolve(Target::Mfn(record.mfn)).inspect_err(unmark)?;
                (mfn, (record.start, record.length), hold)
            }
            None => {
                let span = match &words {
                    crate::shared::Words::V2(words) if flags & gtf::SUB_PAGE != 0 => {
                        Some(words.span())
                    }
                    _ => None,
                };
                let (mfn, hold) = resolve(Target::Gfn(Gfn(words.frame()))).inspect_err(unmark)?;
                let mut record = Record::whole_page(by, mfn);
                if let Some(span) = span {
                    record.start = (span & 0xffff) as u16;
                    record.length = (span >> 16) as u16;
                    record.sub_page = true;
                }
                locked.begin(&record, pins);
                (mfn, (record.start, record.length), hold)
            }
        };
        locked.set_pins(pins);
        let pin = CopyPin { granter: self.owner, gref, readonly };
        Ok(Direct { mfn, hold, window, pin })
    }

    /// Whether the entry is transitive and for `by`, and for what it stands.
    fn peek_transitive(&self, gref: GrantRef, by: DomId) -> Result<Option<Via>, Status> {
        if self.version() == Version::V1 {
            return Ok(None);
        }
        // Only a guess, so not locked: whoever acts on it checks it again under the lock.
        self.check_range(Version::V2, gref)?;
        let words = self.memory.v2(gref).ok_or(Status::BadGntref)?;
        Ok(via_of(&words, words.header(), by))
    }

    /// Leases through the third domain that `via` names. No two entries are locked at once: the
    /// inner lease comes first, then this entry must still say the same.
    fn acquire_through<H>(
        &self,
        gref: GrantRef,
        by: DomId,
        readonly: bool,
        via: Via,
        transit: &mut impl Transit<H>,
    ) -> Result<Lease<H>, Status> {
        if via.0 == self.owner {
            return Err(Status::GeneralError);
        }
        let inner = transit.enter(via.0, via.1, self.owner, readonly)?;
        match self.pin_transitive(gref, by, readonly, via, &inner) {
            Ok(outer) => Ok(Lease { inner, outer: Some(outer) }),
            Err(status) => {
                transit.leave(inner);
                Err(status)
            }
        }
    }

    fn pin_transitive<H>(
        &self,
        gref: GrantRef,
        by: DomId,
        readonly: bool,
        via: Via,
        inner: &Direct<H>,
    ) -> Result<CopyPin, Status> {
        let (mut locked, version) = self.lock(gref)?;
        if version == Version::V1 {
            return Err(Status::Eagain);
        }
        let wanted = Record {
            user: by,
            mfn: inner.mfn,
            start: inner.window.0,
            length: inner.window.1,
            // Even when the inner grant is of a whole page: a transitive grant is never mapped.
            sub_page: true,
            via: Some(via),
        };
        if let Some(record) = locked.record() {
            if record.user != by {
                return Err(Status::GeneralError);
            }
            if record != wanted {
                return Err(Status::Eagain);
            }
        }
        let pins = locked.pins().plus(Access::host(readonly)).ok_or(Status::GeneralError)?;
        let words = self.words(version, gref)?;
        let flags = self.mark(&words, locked.pins(), by, readonly, Purpose::Transit)?;
        if !locked.pins().any() {
            let now = match &words {
                crate::shared::Words::V2(words) => via_of(words, Header::new(flags, by), by),
                crate::shared::Words::V1(_) => None,
            };
            if now != Some(via) {
                words.clear(locked.pins().stale_marks());
                return Err(Status::Eagain);
            }
        }
        locked.begin(&wanted, pins);
        Ok(CopyPin { granter: self.owner, gref, readonly })
    }
}

/// For what a version 2 entry with this header stands, when it is transitive and for `by`.
fn via_of(words: &impl WordsV2, header: Header, by: DomId) -> Option<Via> {
    (header.kind() == gtf::TRANSITIVE && header.domid() == by).then(|| {
        let domid = DomId((words.span() & 0xffff) as u16);
        (domid, GrantRef((words.frame() & 0xffff_ffff) as u32))
    })
}
