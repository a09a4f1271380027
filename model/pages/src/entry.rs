//! What one page-table entry holds: taking it for a new entry, giving it back for an old one.

use abi::{DomId, Mfn};

use crate::tables::{Table, is_hypervisor_slot};
use crate::{
    Access, Budget, Deferred, Env, Frame, Kind, Level, PageRef, Pages, Pte, Reason, Stop, TypedRef,
};

/// The references that an entry will own.
#[derive(Debug)]
enum Refs {
    /// I/O memory, or the table itself: not counted.
    Nothing,
    /// Read-only.
    Page(PageRef),
    /// Writable, or a table.
    Typed(TypedRef),
}

/// An entry that may go into its table, with the references that it will own there.
#[derive(Debug)]
#[must_use = "install it"]
pub(crate) struct Held {
    entry: Pte,
    refs: Refs,
}

impl Held {
    /// The entry as it is to be stored, which may differ from what the guest gave.
    #[inline]
    pub(crate) fn entry(&self) -> Pte {
        self.entry
    }

    /// The entry stands in its table now, and owns the references. Also when it came to nothing:
    /// releasing the entry then gives them back.
    #[inline]
    pub(crate) fn install(self) {
        match self.refs {
            Refs::Nothing => {}
            Refs::Page(page) => {
                page.into_mfn();
            }
            Refs::Typed(typed) => {
                typed.into_parts();
            }
        }
    }
}

impl<E: Env> Pages<E> {
    /// Takes what a present level 1 entry needs: a reference to a frame of `frame_owner`, and its
    /// use as writable if it is. `table_owner` is who will use the mapping.
    #[inline]
    pub(crate) fn take_l1_entry(
        &self,
        table_owner: DomId,
        frame_owner: DomId,
        entry: Pte,
    ) -> Result<Held, Reason> {
        let bad = entry.bad_l1(self.address);
        if bad != 0 {
            return Err(Reason::BadBits { entry: entry.0, bits: bad });
        }
        let entry = entry.adjusted_l1();
        let mfn = entry.mfn();
        let Some(frame) = self.env.frame(mfn) else {
            return self.take_io(table_owner, frame_owner, entry);
        };
        if frame_owner == DomId::IO || frame.owner.get(frame_owner).is_err() {
            return self.take_refused(frame, table_owner, frame_owner, entry);
        }
        if !entry.is_writable() {
            return Ok(Held { entry, refs: Refs::Page(PageRef::new(mfn)) });
        }
        match self.take_writable(frame, mfn, table_owner != frame_owner) {
            Ok(()) => {
                let typed = TypedRef::new(mfn, Kind::Writable);
                Ok(Held { entry, refs: Refs::Typed(typed) })
            }
            Err(reason) => {
                self.drop_page(frame, mfn);
                Err(unmappable(frame, mfn, frame_owner, reason))
            }
        }
    }

    /// Makes of a reference what a present level 1 entry needs that maps that page: its use as
    /// writable too, if it is.
    #[inline]
    pub(crate) fn hold_l1_entry(
        &self,
        entry: Pte,
        foreign: bool,
        page: PageRef,
    ) -> Result<Held, (Reason, PageRef)> {
        let bad = entry.bad_l1(self.address) | (!entry.0 & Pte::PRESENT);
        if bad != 0 {
            return Err((Reason::BadBits { entry: entry.0, bits: bad }, page));
        }
        let entry = entry.adjusted_l1();
        let mfn = page.mfn();
        let Some(frame) = self.env.frame(mfn).filter(|_| entry.mfn() == mfn) else {
            return Err((Reason::NoFrame { mfn: entry.mfn() }, page));
        };
        if !entry.is_writable() {
            return Ok(Held { entry, refs: Refs::Page(page) });
        }
        match self.take_writable(frame, mfn, foreign) {
            Ok(()) => {
                let typed = TypedRef::new(page.into_mfn(), Kind::Writable);
                Ok(Held { entry, refs: Refs::Typed(typed) })
            }
            Err(reason) => Err((reason, page)),
        }
    }

    /// A frame with a record that is not `frame_owner`'s: I/O all the same, or refused.
    #[cold]
    fn take_refused(
        &self,
        frame: &Frame,
        table_owner: DomId,
        frame_owner: DomId,
        entry: Pte,
    ) -> Result<Held, Reason> {
        let word = frame.owner.load();
        if word.belongs_to(DomId::IO) {
            self.take_io(table_owner, frame_owner, entry)
        } else {
            let reason = crate::life::not_owned(word, entry.mfn(), frame_owner);
            Err(unmappable(frame, entry.mfn(), frame_owner, reason))
        }
    }

    /// An I/O frame: the rights are those of the domain whose memory is mapped, or the mapper's
    /// own if that is [`DomId::IO`]. It is never mapped cached.
    #[cold]
    fn take_io(&self, table_owner: DomId, frame_owner: DomId, entry: Pte) -> Result<Held, Reason> {
        let dom = if frame_owner == DomId::IO { table_owner } else { frame_owner };
        let mfn = entry.mfn();
        let entry = match self.env.mmio_access(dom, mfn) {
            Access::None => return Err(Reason::NoIoAccess { mfn, dom }),
            Access::ReadOnly => Pte(entry.0 & !Pte::WRITABLE),
            Access::ReadWrite => entry,
        };
        Ok(Held { entry: entry.uncached(), refs: Refs::Nothing })
    }

    /// Takes what a present entry of level 2 to 4 needs: the use of the table that it points to,
    /// which is brought into use if it is not. `table` is the one that the entry is for, which this CPU has locked.
    pub(crate) fn take_upper_entry(
        &self,
        table: Table<'_>,
        below: Level,
        entry: Pte,
        budget: &mut Budget,
    ) -> Result<Held, Stop> {
        let Table { frame, mfn, owner, level } = table;
        let bad = entry.bad_upper(self.address);
        if bad & Pte::ADDRESS != 0 {
            return Err(Reason::NoFrame { mfn: entry.mfn() }.into());
        }
        if bad != 0 {
            return Err(Reason::BadBits { entry: entry.0, bits: bad }.into());
        }
        let entry = entry.adjusted_upper();
        let child_mfn = entry.mfn();
        if child_mfn == mfn {
            if entry.is_writable() {
                return Err(Reason::LinearWritable { mfn }.into());
            }
            // A reference to itself would keep the table alive for ever.
            return Ok(Held { entry, refs: Refs::Nothing });
        }
        let child = self.frame(child_mfn)?;
        self.take_page(child, child_mfn, owner)?;
        let state = child.state.load();
        let kind = Kind::table(level);
        let (kind, taken) = if state.in_use() && state.kind() == kind {
            (kind, self.take_linear(frame, child, child_mfn, kind, entry).map_err(Stop::Refused))
        } else {
            (Kind::table(below), self.take_table(child, child_mfn, below, budget))
        };
        match taken {
            Ok(()) => Ok(Held { entry, refs: Refs::Typed(TypedRef::new(child_mfn, kind)) }),
            Err(stop) => {
                self.drop_page(child, child_mfn);
                Err(stop)
            }
        }
    }

    /// An entry that uses another table of the same level as if it were one of the level below.
    fn take_linear(
        &self,
        frame: &Frame,
        child: &Frame,
        child_mfn: Mfn,
        kind: Kind,
        entry: Pte,
    ) -> Result<(), Reason> {
        if entry.is_writable() {
            return Err(Reason::LinearWritable { mfn: child_mfn });
        }
        let chain = Reason::LinearChain { mfn: child_mfn };
        if !frame.record.add_entry() {
            return Err(chain);
        }
        let mut taken = self.join(child, child_mfn, kind);
        if taken.is_ok() && !child.record.add_use() {
            // The use just joined may have become the last one, and leaving it is not bounded. There
            // is no budget for that here, so the table stops at once and is left for its domain's
            // end or its next use.
            let mut none = Budget::new(0);
            if let Some(level) = kind.level() {
                child.owner.dup();
                if let Some(rest) = self.drop_table(child, child_mfn, level, &mut none) {
                    self.drop_page(child, rest.into_mfn());
                }
            }
            taken = Err(chain);
        }
        if taken.is_err() {
            // Only now: see `release_entry`.
            frame.record.sub_entry();
        }
        taken
    }

    /// Gives back what an old entry of the table `mfn` held. The table is locked by this CPU, or
    /// the entry has been swapped out of it.
    #[inline]
    pub(crate) fn release_entry(
        &self,
        frame: &Frame,
        mfn: Mfn,
        level: Level,
        entry: Pte,
        budget: &mut Budget,
    ) -> Option<Deferred> {
        if !entry.is_present() {
            return None;
        }
        if level == Level::L1 {
            self.release_l1(entry);
            return None;
        }
        let child_mfn = entry.mfn();
        if child_mfn == mfn {
            return None;
        }
        let child = self.env.frame(child_mfn)?;
        let child_level = child.state.load().kind().level()?;
        let linear = child_level == level;
        if linear {
            child.record.sub_use();
        }
        let rest = self.drop_table(child, child_mfn, child_level, budget);
        if linear {
            // Only now: while the entry counts no other table can use this one by a linear entry, so
            // no CPU waits for its lock while this one waits for the child's.
            frame.record.sub_entry();
        }
        rest
    }

    /// Gives back what an old level 1 entry held.
    #[inline]
    pub(crate) fn release_l1(&self, entry: Pte) {
        let mfn = entry.mfn();
        let Some(frame) = self.env.frame(mfn).filter(|_| entry.is_present()) else {
            return;
        };
        if frame.owner.load().belongs_to(DomId::IO) {
            return;
        }
        if entry.is_writable() {
            self.drop_simple(frame);
        }
        self.drop_page(frame, mfn);
    }

    /// Whether a guest may change this entry at all.
    #[inline]
    pub(crate) fn check_slot(level: Level, table: Mfn, index: usize) -> Result<(), Reason> {
        if is_hypervisor_slot(level, index) {
            Err(Reason::HypervisorSlot { table, index })
        } else {
            Ok(())
        }
    }
}

/// Why a level 1 entry is refused whose frame is there, but not for this mapping. What can be got
/// over by trying again keeps its own reason.
#[cold]
fn unmappable(frame: &Frame, mfn: Mfn, wanted: DomId, reason: Reason) -> Reason {
    match reason {
        Reason::NotOwned { .. } | Reason::WrongKind { .. } | Reason::Shared { .. } => {
            let (owner, has) = (frame.owner.load().owner(), frame.state.load().kind());
            Reason::Unmappable { mfn, owner, wanted, has }
        }
        other => other,
    }
}
