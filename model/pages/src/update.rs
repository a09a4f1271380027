//! Changing one entry of a page table in use: hypercalls, trapped writes, grant maps.

use abi::{DomId, Mfn};
use sync::Relax;
use sync::atomic::{AtomicU64, Ordering};

use crate::entry::Held;
use crate::tables::Table;
use crate::{
    Budget, Deferred, Env, FlushBatch, Frame, Kind, Level, PageRef, Pages, Pte, Reason, Stop,
};

/// For whom an entry is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ctx {
    /// Who owns the table, and will use the mapping.
    pub table_owner: DomId,
    /// Who owns the frame that the new entry maps. Another than `table_owner` only at level 1,
    /// and only if the caller has decided that the one may map the other's pages.
    pub frame_owner: DomId,
}

impl Ctx {
    /// A domain that maps its own memory.
    #[must_use]
    pub const fn own(dom: DomId) -> Self {
        Self { table_owner: dom, frame_owner: dom }
    }
}

/// How the new entry replaces the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It just does (`MMU_NORMAL_PT_UPDATE`).
    Normal,
    /// The old entry's accessed and dirty bits are added to the new one
    /// (`MMU_PT_UPDATE_PRESERVE_AD`).
    PreserveAd,
    /// The frame number is a machine's already (`MMU_PT_UPDATE_NO_TRANSLATE`). For PV guests
    /// every one is, so this is the same as [`Mode::Normal`].
    NoTranslate,
}

/// What a change that has taken place leaves to its caller.
#[derive(Debug, Default)]
#[must_use = "merge the flush, and resume what is deferred"]
pub struct Done {
    /// TLB work. Always none for a guest's ordinary changes: guests ask for flushes themselves.
    pub flush: FlushBatch,
    /// The table that the old entry pointed to, if its release could not be ended.
    pub deferred: Option<Deferred>,
}

/// How a change came out that was to take place only if the entry was as expected.
#[derive(Debug)]
#[must_use = "merge the flush, and resume what is deferred"]
pub enum Compared {
    /// The entry was as expected and has been changed.
    Swapped(Done),
    /// The entry is another, this one. Nothing has been changed.
    Differs(u64),
}

/// How the word itself is to be exchanged.
#[derive(Clone, Copy)]
enum Swap {
    Plain,
    PreserveAd,
    If(u64),
}

impl From<Mode> for Swap {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Normal | Mode::NoTranslate => Self::Plain,
            Mode::PreserveAd => Self::PreserveAd,
        }
    }
}

/// Exchanges an entry. The table is locked against software, but the CPU may set accessed and
/// dirty bits at any time. The entry before, or the one found instead of the expected.
#[inline]
fn exchange(slot: &AtomicU64, new: u64, how: Swap) -> Result<u64, u64> {
    match how {
        Swap::Plain => Ok(slot.swap(new, Ordering::SeqCst)),
        Swap::PreserveAd => {
            let mut old = slot.load(Ordering::Relaxed);
            loop {
                // Nothing is preserved from or for an entry that maps nothing.
                let both = old & new & Pte::PRESENT != 0;
                let keep = if both { old & Pte::ACCESSED_DIRTY } else { 0 };
                match slot.compare_exchange_weak(
                    old,
                    new | keep,
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Ok(old),
                    Err(now) => old = now,
                }
            }
        }
        Swap::If(expected) => {
            slot.compare_exchange(expected, new, Ordering::SeqCst, Ordering::Relaxed)
        }
    }
}

/// An entry of a table that this CPU has locked.
struct Locked<'a> {
    frame: &'a Frame,
    mfn: Mfn,
    level: Level,
    slot: &'a AtomicU64,
    index: usize,
}

/// What a locked change gives: the old entry to release, or the one found instead of the
/// expected.
type Old = Result<Pte, u64>;

impl<E: Env> Pages<E> {
    /// Changes entry `index` of a frame of `ctx.table_owner`: validated if it is a page table in
    /// use, a plain write if it is an ordinary page.
    ///
    /// # Errors
    /// [`Stop::Again`]: call again with the same arguments. When refused, nothing has changed.
    pub fn update_entry(
        &self,
        ctx: Ctx,
        table: Mfn,
        index: usize,
        new: u64,
        mode: Mode,
        budget: &mut Budget,
    ) -> Result<Done, Stop> {
        match self.change(ctx, table, index, new, mode.into(), budget)? {
            Compared::Swapped(done) => Ok(done),
            // Not to be had: only a conditional exchange differs.
            Compared::Differs(entry) => Err(Reason::Changed { table, entry }.into()),
        }
    }

    /// The same, if the entry is `expected` when it happens: a guest's compare-and-exchange.
    ///
    /// # Errors
    /// As [`Pages::update_entry`].
    pub fn update_entry_if(
        &self,
        ctx: Ctx,
        table: Mfn,
        index: usize,
        expected: u64,
        new: u64,
        budget: &mut Budget,
    ) -> Result<Compared, Stop> {
        self.change(ctx, table, index, new, Swap::If(expected), budget)
    }

    /// Changes entry `index` of a level 1 table in use: the path that guests use most.
    ///
    /// # Errors
    /// [`Reason::NotATable`] if the frame is no level 1 table in use: take
    /// [`Pages::update_entry`] then. Otherwise as that.
    pub fn update_l1(
        &self,
        ctx: Ctx,
        table: Mfn,
        index: usize,
        new: u64,
        mode: Mode,
    ) -> Result<(), Reason> {
        let (frame, slot) = self.lock_l1(table, index, ctx.table_owner)?;
        let old = self.swap_l1(ctx, slot, Pte(new), mode.into());
        frame.state.unlock();
        if let Ok(old) = old? {
            self.release_l1(old);
        }
        Ok(())
    }

    /// Maps the page of `ctx.frame_owner` that `page` is a reference to, by a grant: entry `index`
    /// of a level 1 table in use becomes `entry`, which must be present and map that page. The
    /// reference is the entry's then; a writable entry takes the use besides.
    ///
    /// # Errors
    /// As [`Pages::update_l1`], and the reference comes back.
    pub fn install_grant(
        &self,
        ctx: Ctx,
        table: Mfn,
        index: usize,
        entry: u64,
        page: PageRef,
    ) -> Result<(), (Reason, PageRef)> {
        let foreign = ctx.table_owner != ctx.frame_owner;
        let (frame, slot) = match self.lock_l1(table, index, ctx.table_owner) {
            Ok(found) => found,
            Err(reason) => return Err((reason, page)),
        };
        let old = self.hold_l1_entry(Pte(entry), foreign, page).map(|held| {
            let old = slot.swap(held.entry().0, Ordering::SeqCst);
            held.install();
            Pte(old)
        });
        frame.state.unlock();
        self.release_l1(old?);
        Ok(())
    }

    /// Unmaps a grant: entry `index` of a level 1 table in use becomes `new` (0, or any entry
    /// that `ctx` may have) if it still maps `expected`, and what it held is given back.
    ///
    /// The answer is the flush after which the table's owner reaches the page no more. A page
    /// that `new` maps is for `ctx` to allow.
    ///
    /// # Errors
    /// [`Reason::Changed`] if it maps something else: the guest has changed the entry itself, and
    /// its references have gone then. Otherwise as [`Pages::update_l1`].
    pub fn replace_grant(
        &self,
        ctx: Ctx,
        table: Mfn,
        index: usize,
        expected: Mfn,
        new: u64,
    ) -> Result<FlushBatch, Reason> {
        let (frame, slot) = self.lock_l1(table, index, ctx.table_owner)?;
        let now = Pte(slot.load(Ordering::Relaxed));
        let old = if now.is_present() && now.mfn() == expected {
            self.swap_l1(ctx, slot, Pte(new), Swap::Plain)
        } else {
            Err(Reason::Changed { table, entry: now.0 })
        };
        frame.state.unlock();
        if let Ok(old) = old? {
            self.release_l1(old);
        }
        Ok(FlushBatch::of(ctx.table_owner))
    }

    fn change(
        &self,
        ctx: Ctx,
        table: Mfn,
        index: usize,
        new: u64,
        how: Swap,
        budget: &mut Budget,
    ) -> Result<Compared, Stop> {
        let frame = self.frame(table)?;
        let slot = self.slot(table, index)?;
        let Some(level) = self.lock_table(frame, table, ctx.table_owner)? else {
            return Ok(self.plain_write(frame, ctx, table, slot, new, how)?);
        };
        let old = match level.below() {
            None => self.swap_l1(ctx, slot, Pte(new), how).map_err(Stop::Refused),
            Some(below) => {
                let locked = Locked { frame, mfn: table, level, slot, index };
                self.swap_upper(ctx, &locked, below, Pte(new), how, budget)
            }
        };
        let done = match old {
            // Under the lock still: a linear entry is counted in the table's record.
            Ok(Ok(old)) => {
                let deferred = self.release_entry(frame, table, level, old, budget);
                Ok(Compared::Swapped(Done { flush: FlushBatch::NONE, deferred }))
            }
            Ok(Err(found)) => Ok(Compared::Differs(found)),
            Err(stop) => Err(stop),
        };
        frame.state.unlock();
        done
    }

    /// Locks a level 1 table in use of `dom` and finds its entry `index`.
    #[inline]
    fn lock_l1(
        &self,
        table: Mfn,
        index: usize,
        dom: DomId,
    ) -> Result<(&Frame, &AtomicU64), Reason> {
        let frame = self.frame(table)?;
        let slot = self.slot(table, index)?;
        match self.lock_table(frame, table, dom)? {
            Some(Level::L1) => Ok((frame, slot)),
            other => {
                if other.is_some() {
                    frame.state.unlock();
                }
                Err(Reason::NotATable { mfn: table, has: frame.state.load().kind() })
            }
        }
    }

    #[inline]
    fn slot(&self, table: Mfn, index: usize) -> Result<&AtomicU64, Reason> {
        let entries = self.env.table(table).ok_or(Reason::NoFrame { mfn: table })?;
        entries.get(index).ok_or(Reason::BadIndex { index })
    }

    /// Locks a page table in use of `dom`; `None` if the frame is no page table now.
    ///
    /// No page reference is needed: the lock keeps the last use from going, and a use keeps the
    /// frame from being freed.
    #[inline]
    pub(crate) fn lock_table(
        &self,
        frame: &Frame,
        mfn: Mfn,
        dom: DomId,
    ) -> Result<Option<Level>, Reason> {
        let mut state = frame.state.load();
        loop {
            let owner = frame.owner.load();
            if !owner.belongs_to(dom) {
                return Err(crate::life::not_owned(owner, mfn, dom));
            }
            let Some(level) = state.kind().level() else {
                return Ok(None);
            };
            if !state.in_use() {
                if state.is_moving() || state.is_partial() {
                    return Err(Reason::Unfinished { mfn, kind: state.kind() });
                }
                return Ok(None);
            }
            if state.is_locked() {
                E::Relax::relax();
                state = frame.state.load();
                continue;
            }
            match frame.state.step(state, state.locked()) {
                Ok(()) => {
                    // It may have changed hands before it was locked; now it cannot.
                    let owner = frame.owner.load();
                    if owner.belongs_to(dom) {
                        return Ok(Some(level));
                    }
                    frame.state.unlock();
                    return Err(crate::life::not_owned(owner, mfn, dom));
                }
                Err(now) => state = now,
            }
        }
    }

    /// Changes a level 1 entry under the table's lock. The old entry is to be released.
    #[inline]
    fn swap_l1(&self, ctx: Ctx, slot: &AtomicU64, new: Pte, how: Swap) -> Result<Old, Reason> {
        if !new.is_present() {
            return Ok(exchange(slot, new.0, how).map(Pte));
        }
        let old = Pte(slot.load(Ordering::Relaxed));
        let adjusted = new.adjusted_l1();
        if (old.0 ^ adjusted.0) & !Pte::L1_FREE == 0 && new.bad_l1(self.address) == 0 {
            // The same frame with the same rights: the references stay where they are.
            return Ok(exchange(slot, adjusted.0, how).map(|_| Pte::default()));
        }
        let held = self.take_l1_entry(ctx.table_owner, ctx.frame_owner, new)?;
        Ok(self.put_in(slot, held, how, |refused| self.release_l1(refused)))
    }

    /// Exchanges the word; if that is refused, what the new entry holds is given back.
    #[inline]
    fn put_in(&self, slot: &AtomicU64, held: Held, how: Swap, undo: impl FnOnce(Pte)) -> Old {
        let entry = held.entry();
        let old = exchange(slot, entry.0, how);
        held.install();
        if old.is_err() {
            undo(entry);
        }
        old.map(Pte)
    }

    /// Changes an entry of level 2 to 4 under the table's lock.
    fn swap_upper(
        &self,
        ctx: Ctx,
        at: &Locked<'_>,
        below: Level,
        new: Pte,
        how: Swap,
        budget: &mut Budget,
    ) -> Result<Old, Stop> {
        Self::check_slot(at.level, at.mfn, at.index)?;
        if !new.is_present() {
            return Ok(exchange(at.slot, new.0, how).map(Pte));
        }
        if ctx.frame_owner != ctx.table_owner {
            return Err(Reason::ForeignTable { mfn: new.mfn() }.into());
        }
        let old = Pte(at.slot.load(Ordering::Relaxed));
        let adjusted = new.adjusted_upper();
        if (old.0 ^ adjusted.0) & !Pte::UPPER_FREE == 0 && new.bad_upper(self.address) == 0 {
            return Ok(exchange(at.slot, adjusted.0, how).map(|_| Pte::default()));
        }
        if let Swap::If(expected) = how
            && expected != old.0
        {
            // Before a whole tree is brought into use for nothing.
            return Ok(Err(old.0));
        }
        let owner = ctx.table_owner;
        let table = Table { frame: at.frame, mfn: at.mfn, owner, level: at.level };
        let held = self.take_upper_entry(table, below, new, budget)?;
        Ok(self.put_in(at.slot, held, how, |refused| {
            // The CPU's accessed bit came in between. Release without end would need a budget:
            // what is left stops at once and is taken up by its next use.
            let mut none = Budget::new(0);
            let rest = self.release_entry(at.frame, at.mfn, at.level, refused, &mut none);
            if let Some((mfn, child)) = rest
                .map(Deferred::into_mfn)
                .and_then(|mfn| self.env.frame(mfn).map(|child| (mfn, child)))
            {
                self.drop_page(child, mfn);
            }
        }))
    }

    /// Writes a word of an ordinary page of `ctx.table_owner`.
    fn plain_write(
        &self,
        frame: &Frame,
        ctx: Ctx,
        mfn: Mfn,
        slot: &AtomicU64,
        new: u64,
        how: Swap,
    ) -> Result<Compared, Reason> {
        self.take_page(frame, mfn, ctx.table_owner)?;
        let written = self.take_writable(frame, mfn, false).map(|()| {
            let how = if matches!(how, Swap::PreserveAd) { Swap::Plain } else { how };
            let old = exchange(slot, new, how);
            self.drop_simple(frame);
            old
        });
        self.drop_page(frame, mfn);
        Ok(match written? {
            Ok(_) => Compared::Swapped(Done::default()),
            Err(found) => Compared::Differs(found),
        })
    }

    /// The use that a frame of `dom` is in, for a caller that chooses its path by it.
    #[must_use]
    pub fn table_level(&self, mfn: Mfn, dom: DomId) -> Option<Level> {
        let frame = self.env.frame(mfn)?;
        let state = frame.state.load();
        let kind = if state.in_use() { state.kind() } else { Kind::None };
        kind.level().filter(|_| frame.owner() == Some(dom))
    }
}
