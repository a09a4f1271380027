//! TLB work that an operation leaves to its caller.

use abi::DomId;

use crate::{Caches, Env, Pages};

/// TLB work owed by the caller, gathered over a batch of operations.
///
/// The frames' own rules never depend on it: a frame's change of use or owner flushes for itself.
/// It is what the ABI promises, as for grants: after an unmap the granter may count on it that
/// nobody reaches the page any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "give it to Pages::complete, or merge it into another"]
pub struct FlushBatch {
    whose: Option<Caches>,
}

impl FlushBatch {
    /// Nothing to flush.
    pub const NONE: Self = Self { whose: None };

    pub(crate) const fn of(dom: DomId) -> Self {
        Self { whose: Some(Caches::Of(dom)) }
    }

    /// Whether there is nothing to flush.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.whose.is_none()
    }

    /// Whose translations are to go.
    #[must_use]
    pub const fn whose(&self) -> Option<Caches> {
        self.whose
    }

    /// Adds another's work to this.
    pub fn merge(&mut self, other: Self) {
        self.whose = match (self.whose, other.whose) {
            (None, w) | (w, None) => w,
            (Some(a), Some(b)) if a == b => Some(a),
            (Some(_), Some(_)) => Some(Caches::All),
        };
    }
}

impl<E: Env> Pages<E> {
    /// Does the work.
    pub fn complete(&self, batch: FlushBatch) {
        if let Some(whose) = batch.whose {
            self.env.flush(whose, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_for_two_domains_becomes_work_for_all() {
        let mut b = FlushBatch::NONE;
        b.merge(FlushBatch::of(DomId(1)));
        b.merge(FlushBatch::NONE);
        b.merge(FlushBatch::of(DomId(1)));
        assert_eq!(b.whose(), Some(Caches::Of(DomId(1))));
        b.merge(FlushBatch::of(DomId(2)));
        assert_eq!(b.whose(), Some(Caches::All));
    }
}
