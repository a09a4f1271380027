//! References to a frame's use: joining it, starting it, leaving it.

use abi::{DomId, Mfn};
use sync::Relax;

use crate::state::State;
use crate::{Budget, Caches, Deferred, Env, Frame, Kind, PageRef, Pages, Reason, Stop, TypedRef};

/// How a CPU came into a use.
pub(crate) enum Entered {
    /// The frame was in that use already.
    Joined,
    /// It was in none: it is moving now, and this CPU must settle it. The state before.
    Moving(State),
}

impl<E: Env> Pages<E> {
    /// A reference to a frame of `dom` in the use `kind`, which is started if need be: a page
    /// table is validated with all that hangs below it, a descriptor table is checked.
    ///
    /// # Errors
    /// [`Stop::Again`]: call again with the same arguments. Refused if the frame is in another
    /// use, is not `dom`'s, or holds what it may not.
    #[inline]
    pub fn get_typed(
        &self,
        mfn: Mfn,
        dom: DomId,
        kind: Kind,
        budget: &mut Budget,
    ) -> Result<TypedRef, Stop> {
        let frame = self.frame(mfn)?;
        self.take_page(frame, mfn, dom)?;
        match self.take_use(frame, mfn, kind, budget) {
            Ok(()) => Ok(TypedRef::new(mfn, kind)),
            Err(stop) => {
                self.drop_page(frame, mfn);
                Err(stop)
            }
        }
    }

    /// Makes a reference one to a use as well.
    ///
    /// # Errors
    /// As [`Pages::get_typed`]; the reference comes back.
    pub fn upgrade(
        &self,
        page: PageRef,
        kind: Kind,
        budget: &mut Budget,
    ) -> Result<TypedRef, (Stop, PageRef)> {
        let mfn = page.mfn();
        let taken = match self.env.frame(mfn) {
            Some(frame) => self.take_use(frame, mfn, kind, budget),
            None => Err(Reason::NoFrame { mfn }.into()),
        };
        match taken {
            Ok(()) => Ok(TypedRef::new(page.into_mfn(), kind)),
            Err(stop) => Err((stop, page)),
        }
    }

    /// One more reference to the same use.
    ///
    /// # Errors
    /// [`Reason::TooManyReferences`].
    pub fn duplicate(&self, typed: &TypedRef) -> Result<TypedRef, Reason> {
        let (mfn, kind) = (typed.mfn(), typed.kind());
        let frame = self.frame(mfn)?;
        if frame.owner.load().is_full() {
            return Err(Reason::TooManyReferences { mfn });
        }
        self.join(frame, mfn, kind)?;
        frame.owner.dup();
        Ok(TypedRef::new(mfn, kind))
    }

    /// Gives a reference to a use back, with its reference to the frame. The last one ends the
    /// use: a page table lets go of all that its entries hold.
    ///
    /// If the budget does not suffice for that, what remains is in the answer, for
    /// [`Pages::resume`].
    #[must_use]
    pub fn put_typed(&self, typed: TypedRef, budget: &mut Budget) -> Option<Deferred> {
        let (mfn, kind) = typed.into_parts();
        let frame = self.env.frame(mfn)?;
        match kind.level() {
            Some(level) => self.drop_table(frame, mfn, level, budget),
            None => {
                self.drop_simple(frame);
                self.drop_page(frame, mfn);
                None
            }
        }
    }

    /// Starts or joins a use. The caller holds a reference to the frame, and keeps it.
    pub(crate) fn take_use(
        &self,
        frame: &Frame,
        mfn: Mfn,
        kind: Kind,
        budget: &mut Budget,
    ) -> Result<(), Stop> {
        match (kind, kind.level()) {
            (_, Some(level)) => self.take_table(frame, mfn, level, budget),
            (Kind::Writable, None) => Ok(self.take_writable(frame, mfn, false)?),
            (Kind::Segment, None) => Ok(self.take_segment(frame, mfn)?),
            _ => Err(Reason::BadKind { kind }.into()),
        }
    }

    /// Starts or joins the use [`Kind::Writable`]. `foreign`: for a table of another domain.
    #[inline]
    pub(crate) fn take_writable(
        &self,
        frame: &Frame,
        mfn: Mfn,
        foreign: bool,
    ) -> Result<(), Reason> {
        let mut state = frame.state.load();
        loop {
            let same = state.kind() == Kind::Writable;
            if same && state.in_use() {
                if state.is_full() {
                    return Err(Reason::TooManyReferences { mfn });
                }
                match frame.state.step(state, state.one_more().foreign(foreign)) {
                    Ok(()) => return Ok(()),
                    Err(now) => state = now,
                }
                continue;
            }
            let untouched = same || state.kind() == Kind::None;
            let idle = !state.is_moving() && !state.is_partial() && !state.in_use();
            if !(untouched && idle) {
                return self.make_writable(frame, mfn, foreign);
            }
            if frame.owner.load().is_read_only() {
                return Err(Reason::Shared { mfn, wanted: Kind::Writable });
            }
            let live = State::live(Kind::Writable).foreign(foreign || state.is_foreign());
            match frame.state.step(state, live) {
                Ok(()) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    /// [`Pages::take_writable`] for a frame whose last use was another, or that moves.
    #[cold]
    fn make_writable(&self, frame: &Frame, mfn: Mfn, foreign: bool) -> Result<(), Reason> {
        match self.enter(frame, mfn, Kind::Writable)? {
            Entered::Joined => {
                if foreign {
                    // The use is held now, so the kind stays and the mark can follow.
                    let mut state = frame.state.load();
                    while let Err(now) = frame.state.step(state, state.foreign(true)) {
                        state = now;
                    }
                }
            }
            Entered::Moving(before) => {
                let keep = before.kind() == Kind::Writable && before.is_foreign();
                frame.state.settle(State::live(Kind::Writable).foreign(foreign || keep));
            }
        }
        Ok(())
    }

    fn take_segment(&self, frame: &Frame, mfn: Mfn) -> Result<(), Reason> {
        match self.enter(frame, mfn, Kind::Segment)? {
            Entered::Joined => Ok(()),
            Entered::Moving(_) => {
                if self.env.check_descriptors(mfn) {
                    frame.state.settle(State::live(Kind::Segment));
                    Ok(())
                } else {
                    frame.record.set_stamp(self.env.flush_stamp());
                    frame.state.settle(State::idle(Kind::Segment));
                    Err(Reason::BadDescriptors { mfn })
                }
            }
        }
    }

    /// Joins a use that the frame is in, and starts none.
    pub(crate) fn join(&self, frame: &Frame, mfn: Mfn, kind: Kind) -> Result<(), Reason> {
        let mut state = frame.state.load();
        loop {
            if !state.in_use() || state.kind() != kind {
                return Err(Reason::WrongKind { mfn, has: state.kind(), wanted: kind });
            }
            if state.is_full() {
                return Err(Reason::TooManyReferences { mfn });
            }
            match frame.state.step(state, state.one_more()) {
                Ok(()) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    /// Joins a use, or takes the frame alone in order to start it: then no CPU remembers a
    /// translation by which what it last was could be used.
    pub(crate) fn enter(&self, frame: &Frame, mfn: Mfn, kind: Kind) -> Result<Entered, Reason> {
        let mut state = frame.state.load();
        loop {
            let same = state.kind() == kind;
            if !same && (state.in_use() || state.is_moving()) {
                return Err(Reason::WrongKind { mfn, has: state.kind(), wanted: kind });
            }
            if state.is_moving() {
                E::Relax::relax();
                state = frame.state.load();
                continue;
            }
            if state.in_use() {
                if state.is_full() {
                    return Err(Reason::TooManyReferences { mfn });
                }
                match frame.state.step(state, state.one_more()) {
                    Ok(()) => return Ok(Entered::Joined),
                    Err(now) => state = now,
                }
                continue;
            }
            if state.is_partial() && !same {
                return Err(Reason::Unfinished { mfn, kind: state.kind() });
            }
            let owner = frame.owner.load();
            if owner.is_shared() && (kind != Kind::Writable || owner.is_read_only()) {
                return Err(Reason::Shared { mfn, wanted: kind });
            }
            match frame.state.step(state, State::moving(kind)) {
                Ok(()) => {
                    if !state.is_partial() {
                        self.flush_last_use(frame, state, kind);
                    }
                    return Ok(Entered::Moving(state));
                }
                Err(now) => state = now,
            }
        }
    }

    /// Before a frame starts a use: flushes what CPUs remember of its last one, if it was
    /// another. The frame is moving already, so no new translation of the old sort can arise.
    fn flush_last_use(&self, frame: &Frame, before: State, kind: Kind) {
        let last = before.kind();
        if last == Kind::None || last == kind {
            return;
        }
        let whose = match frame.owner() {
            Some(owner) if !before.is_foreign() => Caches::Of(owner),
            _ => Caches::All,
        };
        self.env.flush(whose, frame.record.stamp());
    }

    /// Leaves a use that is not a page table's.
    #[inline]
    pub(crate) fn drop_simple(&self, frame: &Frame) {
        let mut state = frame.state.load();
        loop {
            debug_assert!(state.in_use(), "a use given back twice");
            let next = if state.is_last() {
                // Before the count says so: whoever sees it at 0 must see the stamp.
                frame.record.set_stamp(self.env.flush_stamp());
                state.retired()
            } else {
                state.one_less()
            };
            match frame.state.step(state, next) {
                Ok(()) => return,
                Err(now) => state = now,
            }
        }
    }
}
