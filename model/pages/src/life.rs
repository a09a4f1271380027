//! The life of a frame: given to a domain, referenced, released.

use abi::{DomId, Mfn};

use crate::owner::Owner;
use crate::{Access, Caches, Env, Frame, Kind, PageRef, Pages, Reason};

impl<E: Env> Pages<E> {
    #[inline]
    pub(crate) fn frame(&self, mfn: Mfn) -> Result<&Frame, Reason> {
        self.env.frame(mfn).ok_or(Reason::NoFrame { mfn })
    }

    /// Takes a reference to a frame of `dom`, as a bare count: the caller makes it a token.
    #[inline]
    pub(crate) fn take_page(&self, frame: &Frame, mfn: Mfn, dom: DomId) -> Result<(), Reason> {
        frame.owner.get(dom).map_err(|w| not_owned(w, mfn, dom))
    }

    /// Gives back a reference that was a bare count.
    #[inline]
    pub(crate) fn drop_page(&self, frame: &Frame, mfn: Mfn) {
        if let Some(owner) = frame.owner.put() {
            self.free(frame, mfn, owner);
        }
    }

    /// The frame is nobody's now, and this CPU's alone.
    #[cold]
    fn free(&self, frame: &Frame, mfn: Mfn, owner: DomId) {
        self.end(frame);
        self.env.freed(mfn, owner);
    }

    fn end(&self, frame: &Frame) {
        frame.state.forget();
        // CPUs may remember translations to it, read-only ones included: see `quiesce`.
        frame.record.set_stamp(self.env.flush_stamp());
    }

    /// Makes sure that no CPU remembers a translation to a frame that nobody owns.
    ///
    /// [`Pages::assign`] and [`Pages::share`] do it themselves. The hypervisor must do it before
    /// it uses a frame from the heap in any other way. The stamp and the heap's tag are cleared.
    pub fn quiesce(&self, mfn: Mfn) {
        if let Some(frame) = self.env.frame(mfn) {
            debug_assert!(frame.owner().is_none(), "quiescing a frame that has an owner");
            if let Some(stamp) = frame.record.stamp() {
                self.env.flush(Caches::All, Some(stamp));
            }
            frame.record.clear();
        }
    }

    /// Gives a frame that nobody owns, and that the caller has for itself, to `dom`. It then has
    /// one reference, the allocation's, which [`Pages::release_allocation`] takes away.
    ///
    /// # Errors
    /// [`Reason::NoFrame`]; [`Reason::Owned`] if the caller was wrong.
    pub fn assign(&self, mfn: Mfn, dom: DomId) -> Result<(), Reason> {
        let frame = self.unowned(mfn)?;
        frame.owner.assign(dom).map_err(|w| owned(w, mfn))
    }

    /// Lends a frame of the hypervisor to `dom`: it may be mapped as `access` says, by `dom` or
    /// by whoever may map pages of `dom`, but never become a page or descriptor table.
    ///
    /// # Errors
    /// As [`Pages::assign`]. [`Reason::NoIoAccess`] for [`Access::None`].
    pub fn share(&self, mfn: Mfn, dom: DomId, access: Access) -> Result<(), Reason> {
        let read_only = match access {
            Access::None => return Err(Reason::NoIoAccess { mfn, dom }),
            Access::ReadOnly => true,
            Access::ReadWrite => false,
        };
        let frame = self.unowned(mfn)?;
        frame.owner.share(dom, read_only).map_err(|w| owned(w, mfn))
    }

    fn unowned(&self, mfn: Mfn) -> Result<&Frame, Reason> {
        let frame = self.frame(mfn)?;
        let word = frame.owner.load();
        if word.0 != 0 {
            return Err(owned(word, mfn));
        }
        self.quiesce(mfn);
        Ok(frame)
    }

    /// Takes a lent frame back. It is then the hypervisor's alone, and flushed.
    ///
    /// # Errors
    /// [`Reason::InUse`] while it is mapped; [`Reason::NotOwned`] if it is not lent to `dom`.
    pub fn unshare(&self, mfn: Mfn, dom: DomId) -> Result<(), Reason> {
        let frame = self.frame(mfn)?;
        frame.owner.take_sole(dom, true).map_err(|w| not_sole(w, mfn, dom, w.is_shared()))?;
        self.end(frame);
        self.quiesce(mfn);
        Ok(())
    }

    /// Gives up the hypervisor's reference to a lent frame: it is freed through [`Env::freed`]
    /// as soon as nobody maps it. The caller must have made sure that it does this once.
    ///
    /// # Errors
    /// [`Reason::NotOwned`] if it is not lent to `dom`.
    pub fn release_shared(&self, mfn: Mfn, dom: DomId) -> Result<(), Reason> {
        let frame = self.frame(mfn)?;
        let word = frame.owner.load();
        if !word.belongs_to(dom) || !word.is_shared() {
            return Err(not_owned(word, mfn, dom));
        }
        self.drop_page(frame, mfn);
        Ok(())
    }

    /// Takes the allocation's reference away from a frame of `dom`: the frame is freed through
    /// [`Env::freed`] when all others are gone, which may be at once.
    ///
    /// # Errors
    /// [`Reason::NoFrame`]; [`Reason::NotOwned`], also if the allocation was released before.
    pub fn release_allocation(&self, mfn: Mfn, dom: DomId) -> Result<(), Reason> {
        let frame = self.frame(mfn)?;
        frame.owner.take_allocation(dom).map_err(|w| not_owned(w, mfn, dom))?;
        self.drop_page(frame, mfn);
        Ok(())
    }

    /// Takes a frame away from `dom` if nothing refers to it but its allocation: for exchanging
    /// and transferring pages. It is then nobody's and the caller's alone; [`Env::freed`] is not
    /// called, so the caller takes it off the domain's list and count.
    ///
    /// # Errors
    /// [`Reason::InUse`], [`Reason::NotOwned`], [`Reason::NoFrame`].
    pub fn steal(&self, mfn: Mfn, dom: DomId) -> Result<(), Reason> {
        let frame = self.frame(mfn)?;
        frame.owner.take_sole(dom, false).map_err(|w| not_sole(w, mfn, dom, w.is_allocated()))?;
        self.end(frame);
        Ok(())
    }

    /// A reference to a frame of `dom`; `None` if it is not `dom`'s (or has 2^31 references).
    #[inline]
    #[must_use]
    pub fn get(&self, mfn: Mfn, dom: DomId) -> Option<PageRef> {
        self.env.frame(mfn)?.owner.get(dom).ok()?;
        Some(PageRef::new(mfn))
    }

    /// A reference to a frame, whoever owns it, with its owner.
    #[must_use]
    pub fn get_any(&self, mfn: Mfn) -> Option<(PageRef, DomId)> {
        let owner = self.env.frame(mfn)?.owner.get_any()?;
        Some((PageRef::new(mfn), owner))
    }

    /// Gives a reference back. If it was the last, the frame is freed through [`Env::freed`].
    #[inline]
    pub fn put(&self, page: PageRef) {
        let mfn = page.into_mfn();
        if let Some(frame) = self.env.frame(mfn) {
            self.drop_page(frame, mfn);
        }
    }

    /// Who owns the frame of a reference.
    #[must_use]
    pub fn owner_of(&self, page: &PageRef) -> Option<DomId> {
        self.env.frame(page.mfn())?.owner()
    }

    /// The use of the frame of a reference, at this moment: [`Kind::None`] if it is in none.
    #[must_use]
    pub fn kind_of(&self, page: &PageRef) -> Kind {
        let state = self.env.frame(page.mfn()).map(|f| f.state.load());
        state.filter(|s| s.in_use()).map_or(Kind::None, |s| s.kind())
    }
}

fn owned(word: Owner, mfn: Mfn) -> Reason {
    Reason::Owned { mfn, owner: word.owner().unwrap_or(DomId::INVALID) }
}

#[cold]
pub(crate) fn not_owned(word: Owner, mfn: Mfn, wanted: DomId) -> Reason {
    if word.belongs_to(wanted) && word.is_full() {
        Reason::TooManyReferences { mfn }
    } else {
        Reason::NotOwned { mfn, owner: word.owner(), wanted }
    }
}

fn not_sole(word: Owner, mfn: Mfn, dom: DomId, right_sort: bool) -> Reason {
    if word.belongs_to(dom) && right_sort {
        Reason::InUse { mfn, extra: word.count().saturating_sub(1) }
    } else {
        Reason::NotOwned { mfn, owner: word.owner(), wanted: dom }
    }
}
