//! Bringing page tables in and out of use, entry by entry, stopping and going on.
//!
//! The entries that hold references are always a prefix of the table: validation moves its end
//! up, release moves it down, and either can take over where the other stopped.

use abi::{DomId, Mfn};
use sync::Relax;

use crate::record::Progress;
use crate::state::State;
use crate::typed::Entered;
use crate::{
    Budget, Deferred, ENTRIES, Env, Frame, HYPERVISOR_SLOTS, Kind, Level, Pages, Pte, Reason, Stop,
};
use sync::atomic::{AtomicU64, Ordering};

/// A table that this CPU has locked.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) frame: &'a Frame,
    pub(crate) mfn: Mfn,
    pub(crate) owner: DomId,
    pub(crate) level: Level,
}

/// Which stopped tables a release goes on with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Any.
    Any,
    /// What an entry of a table of this level can use: a table of the level below, or one of the same
    /// level by a linear entry. What has become of it meanwhile at another level could wait for a lock
    /// that this CPU holds: waits go down the levels, or from a table that is moving to one in use.
    ByEntryOf(Level),
    /// The level below only.
    Below(Level),
}

impl Wanted {
    fn includes(self, level: Level) -> bool {
        match self {
            Self::Any => true,
            Self::ByEntryOf(parent) => level == parent || Some(level) == parent.below(),
            Self::Below(parent) => Some(level) == parent.below(),
        }
    }

    /// What a table of `level` that is gone on with may go on with in turn. A table that a linear
    /// entry used had no linear entries: where it stopped at one, it has been another one's since, and
    /// that one answers for it. So the way down is bounded by the levels.
    fn of_entries(self, level: Level) -> Self {
        if self == Self::ByEntryOf(level) { Self::Below(level) } else { Self::ByEntryOf(level) }
    }
}

/// A table being validated.
struct Run<'a> {
    frame: &'a Frame,
    mfn: Mfn,
    level: Level,
    /// Not resumed: a stopped state needs a reference of its own yet.
    fresh: bool,
}

impl<E: Env> Pages<E> {
    /// Starts or joins the use as a table of `level`. The caller holds a page reference.
    pub(crate) fn take_table(
        &self,
        frame: &Frame,
        mfn: Mfn,
        level: Level,
        budget: &mut Budget,
    ) -> Result<(), Stop> {
        match self.enter(frame, mfn, Kind::table(level))? {
            Entered::Joined => Ok(()),
            Entered::Moving(before) if before.is_partial() => {
                let at = frame.record.progress();
                let run = Run { frame, mfn, level, fresh: false };
                let done = if at.undo {
                    let reason = Reason::Invalid { mfn, kind: Kind::table(level) };
                    self.roll_back(&run, at, reason, budget)
                } else {
                    self.validate(&run, at, budget)
                };
                if done != Err(Stop::Again) {
                    // The stopped state's own reference; the caller's keeps the frame.
                    self.drop_page(frame, mfn);
                }
                done
            }
            Entered::Moving(_) => {
                frame.record.clear();
                let run = Run { frame, mfn, level, fresh: true };
                self.validate(&run, Progress::NONE, budget)
            }
        }
    }

    /// Validates a moving table from `at` on, and settles it whichever way it goes.
    fn validate(&self, run: &Run<'_>, at: Progress, budget: &mut Budget) -> Result<(), Stop> {
        let Run { frame, mfn, level, fresh } = *run;
        match self.walk_up(frame, mfn, level, at, budget) {
            Ok(()) => {
                frame.record.set_progress(Progress::NONE);
                if level == Level::L4 {
                    self.env.install_hypervisor_slots(mfn);
                }
                frame.state.settle(State::live(Kind::table(level)));
                Ok(())
            }
            Err((at, Stop::Again)) => {
                self.stop_at(frame, level, at, fresh);
                Err(Stop::Again)
            }
            Err((at, Stop::Refused(reason))) => self.roll_back(run, at, reason, budget),
        }
    }

    /// Releases what a table that was refused holds up to `at`.
    fn roll_back(
        &self,
        run: &Run<'_>,
        at: Progress,
        reason: Reason,
        budget: &mut Budget,
    ) -> Result<(), Stop> {
        let Run { frame, mfn, level, fresh } = *run;
        match self.walk_down(frame, mfn, level, (at, Wanted::ByEntryOf(level)), budget) {
            None => {
                self.finish_release(frame, level);
                Err(Stop::Refused(reason))
            }
            Some(at) => {
                self.stop_at(frame, level, Progress { undo: true, ..at }, fresh);
                Err(Stop::Again)
            }
        }
    }

    /// Leaves a moving table as it is. `reference`: take one for whom it will need, before others
    /// can see the state and give its own away.
    fn stop_at(&self, frame: &Frame, level: Level, at: Progress, reference: bool) {
        if reference {
            frame.owner.dup();
        }
        frame.record.set_progress(at);
        frame.state.settle(State::partial(Kind::table(level)));
    }

    fn finish_release(&self, frame: &Frame, level: Level) {
        frame.record.set_stamp(self.env.flush_stamp());
        frame.state.settle(State::idle(Kind::table(level)));
    }

    /// Takes the references of entries from `at` to the end.
    fn walk_up(
        &self,
        frame: &Frame,
        mfn: Mfn,
        level: Level,
        mut at: Progress,
        budget: &mut Budget,
    ) -> Result<(), (Progress, Stop)> {
        let table = self.env.table(mfn).ok_or((at, Reason::NoFrame { mfn }.into()))?;
        let owner = frame.owner().ok_or((at, Reason::NoFrame { mfn }.into()))?;
        let this = Table { frame, mfn, owner, level };
        if at.pending {
            // The entry is validated anew, which takes over where its release stopped.
            self.drop_pending(mfn, at.index);
            at.pending = false;
        }
        let mut next = at.index;
        while let Some(slot) = table.get(next) {
            at.index = next;
            if budget.is_spent() {
                return Err((at, Stop::Again));
            }
            if next.is_multiple_of(GROUP) && is_vacant(table, next) {
                next = next.saturating_add(GROUP);
                budget.left = budget.left.saturating_sub(GROUP_COST);
                continue;
            }
            next = next.saturating_add(1);
            let entry = Pte(slot.load(Ordering::Relaxed));
            if entry.is_present() && !is_hypervisor_slot(level, at.index) {
                let taken = match level.below() {
                    None => self.take_l1_entry(owner, owner, entry).map_err(Stop::Refused),
                    Some(below) => self.take_upper_entry(this, below, entry, budget),
                };
                match taken {
                    Ok(held) if held.entry() == entry => held.install(),
                    Ok(held) => {
                        slot.store(held.entry().0, Ordering::Relaxed);
                        held.install();
                    }
                    Err(stop) => return Err((at, stop)),
                }
            }
            budget.spend();
        }
        Ok(())
    }

    /// Gives back the references of entries from `at` down to the first, and goes on with what is
    /// `wanted` of the table of the entry where it stopped before. Where it stopped, if it did.
    fn walk_down(
        &self,
        frame: &Frame,
        mfn: Mfn,
        level: Level,
        (mut at, wanted): (Progress, Wanted),
        budget: &mut Budget,
    ) -> Option<Progress> {
        let table = self.env.table(mfn)?;
        if at.pending {
            let child = table.get(at.index).map(|slot| Pte(slot.load(Ordering::Relaxed)).mfn())?;
            if let Some(rest) = self.resume_as(Deferred::new(child), wanted, budget) {
                rest.into_mfn();
                return Some(at);
            }
            at.pending = false;
        }
        at.index = at.index.min(ENTRIES);
        while let Some(index) = at.index.checked_sub(1) {
            if budget.is_spent() {
                return Some(at);
            }
            let group = at.index.saturating_sub(GROUP);
            if at.index.is_multiple_of(GROUP) && is_vacant(table, group) {
                at.index = group;
                budget.left = budget.left.saturating_sub(GROUP_COST);
                continue;
            }
            at.index = index;
            if !is_hypervisor_slot(level, index) {
                let entry = Pte(table.get(index)?.load(Ordering::Relaxed));
                if let Some(rest) = self.release_entry(frame, mfn, level, entry, budget) {
                    // The record takes the token over, as the pending mark.
                    rest.into_mfn();
                    at.pending = true;
                    return Some(at);
                }
            }
            budget.spend();
        }
        None
    }

    fn drop_pending(&self, mfn: Mfn, index: usize) {
        let entry = self.env.table(mfn).and_then(|t| t.get(index));
        if let Some(entry) = entry {
            let child = Pte(entry.load(Ordering::Relaxed)).mfn();
            if let Some(frame) = self.env.frame(child) {
                self.drop_page(frame, child);
            }
        }
    }

    /// Gives back a use as a table of `level`, and the page reference with it.
    pub(crate) fn drop_table(
        &self,
        frame: &Frame,
        mfn: Mfn,
        level: Level,
        budget: &mut Budget,
    ) -> Option<Deferred> {
        let kind = Kind::table(level);
        let mut state = frame.state.load();
        loop {
            debug_assert!(state.in_use() && state.kind() == kind, "a use given back twice");
            let last = state.is_last();
            if last && state.is_locked() {
                E::Relax::relax();
                state = frame.state.load();
                continue;
            }
            debug_assert!(!(last && state.is_pinned()), "the pin's use given back");
            let next = if last { State::moving(kind) } else { state.one_less() };
            match frame.state.step(state, next) {
                Ok(()) if last => break,
                Ok(()) => {
                    self.drop_page(frame, mfn);
                    return None;
                }
                Err(now) => state = now,
            }
        }
        let all = (Progress::ALL, Wanted::ByEntryOf(level));
        match self.walk_down(frame, mfn, level, all, budget) {
            None => {
                self.finish_release(frame, level);
                self.drop_page(frame, mfn);
                None
            }
            Some(at) => {
                // The caller's reference becomes the stopped state's; one more is the token's.
                self.stop_at(frame, level, at, true);
                Some(Deferred::new(mfn))
            }
        }
    }

    /// Goes on with the release of a table. What still remains, if anything does.
    #[must_use]
    pub fn resume(&self, rest: Deferred, budget: &mut Budget) -> Option<Deferred> {
        self.resume_as(rest, Wanted::Any, budget)
    }

    /// The same for what is wanted only.
    fn resume_as(&self, rest: Deferred, wanted: Wanted, budget: &mut Budget) -> Option<Deferred> {
        let mfn = rest.mfn();
        let Some(frame) = self.env.frame(mfn) else {
            rest.into_mfn();
            return None;
        };
        if !self.release_partial_as(frame, mfn, wanted, budget) {
            return Some(rest);
        }
        self.drop_page(frame, rest.into_mfn());
        None
    }

    /// Releases a table that stopped half way, if the frame is one. False if the budget ran out
    /// before the end. The caller holds a page reference besides.
    pub(crate) fn release_partial(&self, frame: &Frame, mfn: Mfn, budget: &mut Budget) -> bool {
        self.release_partial_as(frame, mfn, Wanted::Any, budget)
    }

    fn release_partial_as(
        &self,
        frame: &Frame,
        mfn: Mfn,
        wanted: Wanted,
        budget: &mut Budget,
    ) -> bool {
        let mut state = frame.state.load();
        loop {
            // Moving: another CPU is at it, and answers for what it leaves.
            let stopped = |l: &Level| state.is_partial() && wanted.includes(*l);
            let Some(level) = state.kind().level().filter(stopped) else {
                return true;
            };
            match frame.state.step(state, State::moving(state.kind())) {
                Err(now) => state = now,
                Ok(()) => {
                    let from = (frame.record.progress(), wanted.of_entries(level));
                    return match self.walk_down(frame, mfn, level, from, budget) {
                        None => {
                            self.finish_release(frame, level);
                            self.drop_page(frame, mfn);
                            true
                        }
                        Some(at) => {
                            self.stop_at(frame, level, at, false);
                            false
                        }
                    };
                }
            }
        }
    }
}

/// Entries that are looked at together: tables are sparse, and most groups hold nothing.
const GROUP: usize = 8;
const GROUP_COST: u32 = 8;

/// Whether no entry of the group from `first` on is present.
#[inline]
fn is_vacant(table: &[AtomicU64; ENTRIES], first: usize) -> bool {
    let group = table.get(first..first.saturating_add(GROUP)).unwrap_or(&[]);
    let all = group.iter().fold(0, |bits, slot| bits | slot.load(Ordering::Relaxed));
    !Pte(all).is_present()
}

/// Whether the slot of a table of `level` is the hypervisor's.
#[inline]
pub(crate) fn is_hypervisor_slot(level: Level, index: usize) -> bool {
    level == Level::L4 && HYPERVISOR_SLOTS.contains(&index)
}
