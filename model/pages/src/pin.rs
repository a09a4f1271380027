//! Pins and base pointers: what a guest itself holds its page tables by.

use abi::{DomId, Mfn};

use crate::{Budget, Deferred, Env, Kind, Pages, Reason, Stop, TypedRef};

impl<E: Env> Pages<E> {
    /// Pins a frame of `dom` as a page table: it stays one until it is unpinned.
    ///
    /// The caller must make sure that the domain is not dying, and cannot begin to meanwhile.
    ///
    /// # Errors
    /// [`Stop::Again`]: call again. [`Reason::AlreadyPinned`], [`Reason::BadKind`] if `kind` is no
    /// page table's; otherwise as [`Pages::get_typed`].
    pub fn pin(&self, mfn: Mfn, dom: DomId, kind: Kind, budget: &mut Budget) -> Result<(), Stop> {
        if kind.level().is_none() {
            return Err(Reason::BadKind { kind }.into());
        }
        let typed = self.get_typed(mfn, dom, kind, budget)?;
        let frame = self.frame(mfn)?;
        let mut state = frame.state.load();
        loop {
            let pinned = state.is_pinned();
            // With a pin there are two uses at least, its and this one's, so this is not the last.
            let next = if pinned { state.one_less() } else { state.pinned() };
            match frame.state.step(state, next) {
                Ok(()) if pinned => {
                    self.drop_page(frame, typed.into_parts().0);
                    return Err(Reason::AlreadyPinned { mfn }.into());
                }
                Ok(()) => {
                    // The pin owns it now.
                    typed.into_parts();
                    return Ok(());
                }
                Err(now) => state = now,
            }
        }
    }

    /// Takes the pin off. If that was the table's last use, it is released, and what the budget
    /// did not suffice for comes back.
    ///
    /// # Errors
    /// [`Reason::NotPinned`], [`Reason::NotOwned`], [`Reason::NoFrame`].
    pub fn unpin(
        &self,
        mfn: Mfn,
        dom: DomId,
        budget: &mut Budget,
    ) -> Result<Option<Deferred>, Reason> {
        let frame = self.frame(mfn)?;
        self.take_page(frame, mfn, dom)?;
        let typed = self.take_pin(mfn);
        let rest = typed.map(|typed| self.put_typed(typed, budget));
        self.drop_page(frame, mfn);
        rest.ok_or(Reason::NotPinned { mfn })
    }

    /// Turns a pin into the use that it owned.
    pub(crate) fn take_pin(&self, mfn: Mfn) -> Option<TypedRef> {
        let frame = self.env.frame(mfn)?;
        let mut state = frame.state.load();
        while state.is_pinned() {
            match frame.state.step(state, state.unpinned()) {
                Ok(()) => return Some(TypedRef::new(mfn, state.kind())),
                Err(now) => state = now,
            }
        }
        None
    }

    /// A reference to an L4 for a vCPU's base pointer. The one that it replaces goes back by
    /// [`Pages::put_typed`] once no CPU has it loaded.
    ///
    /// # Errors
    /// As [`Pages::get_typed`].
    pub fn new_base(&self, mfn: Mfn, dom: DomId, budget: &mut Budget) -> Result<TypedRef, Stop> {
        self.get_typed(mfn, dom, Kind::L4, budget)
    }
}
