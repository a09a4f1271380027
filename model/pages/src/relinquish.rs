//! The end of a domain: every frame comes back.

use abi::{DomId, Mfn};
use sync::Relax;
use sync::atomic::Ordering;

use crate::tables::is_hypervisor_slot;
use crate::{Budget, Env, Frame, Level, Pages, Pte};

/// The stages of taking a dying domain's memory away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Pins, stopped tables and the allocation go. Enough for every frame that nobody else
    /// refers to: vCPUs' base pointers and mappings by others must have been given back.
    Release,
    /// Tables still in use are emptied besides, whoever holds them.
    Break,
}

impl<E: Env> Pages<E> {
    /// Takes a frame from a dying domain, whose vCPUs run no more and which gets no new pins. For
    /// each frame on its list, stage by stage, until [`Env::freed`] has taken them all off: frames
    /// that others map come back when those unmap them. A pass over the list may stop tables that
    /// had their turn already, so [`Stage::Break`] is repeated while frames come back.
    ///
    /// False if the budget ran out: call again with the same arguments.
    #[must_use]
    pub fn relinquish(&self, mfn: Mfn, dom: DomId, stage: Stage, budget: &mut Budget) -> bool {
        let Some(frame) = self.env.frame(mfn) else {
            return true;
        };
        if self.take_page(frame, mfn, dom).is_err() {
            return true;
        }
        let done = self.relinquish_held(frame, mfn, dom, stage, budget);
        self.drop_page(frame, mfn);
        done
    }

    fn relinquish_held(
        &self,
        frame: &Frame,
        mfn: Mfn,
        dom: DomId,
        stage: Stage,
        budget: &mut Budget,
    ) -> bool {
        if let Some(typed) = self.take_pin(mfn)
            && let Some(rest) = self.put_typed(typed, budget)
        {
            // What remains is found by the table's stopped state next time.
            self.drop_page(frame, rest.into_mfn());
            return false;
        }
        if !self.release_partial(frame, mfn, budget) {
            return false;
        }
        if stage == Stage::Break && !self.empty(frame, mfn, dom, budget) {
            return false;
        }
        if frame.owner.take_allocation(dom).is_ok() {
            self.drop_page(frame, mfn);
        }
        budget.spend();
        true
    }

    /// Removes all entries of a table in use, so that whatever still holds the table holds
    /// nothing by it. Unlike a forced release this needs no belief about who that is: the table's
    /// own counts stay right.
    fn empty(&self, frame: &Frame, mfn: Mfn, dom: DomId, budget: &mut Budget) -> bool {
        let level = match self.lock_dying(frame, dom) {
            Some(level) => level,
            None => return true,
        };
        let mut done = true;
        for (index, slot) in self.env.table(mfn).into_iter().flatten().enumerate() {
            if is_hypervisor_slot(level, index) || slot.load(Ordering::Relaxed) == 0 {
                continue;
            }
            if budget.is_spent() {
                done = false;
                break;
            }
            budget.spend();
            let old = Pte(slot.swap(0, Ordering::SeqCst));
            if let Some(rest) = self.release_entry(frame, mfn, level, old, budget) {
                // A table of the same domain, stopped: found when its own turn comes.
                let child = rest.into_mfn();
                if let Some(f) = self.env.frame(child) {
                    self.drop_page(f, child);
                }
                done = false;
                break;
            }
        }
        frame.state.unlock();
        done
    }

    fn lock_dying(&self, frame: &Frame, dom: DomId) -> Option<Level> {
        let mut state = frame.state.load();
        loop {
            let level = state.kind().level().filter(|_| state.in_use())?;
            if frame.owner() != Some(dom) {
                return None;
            }
            if state.is_locked() {
                E::Relax::relax();
                state = frame.state.load();
                continue;
            }
            match frame.state.step(state, state.locked()) {
                Ok(()) => return Some(level),
                Err(now) => state = now,
            }
        }
    }
}
