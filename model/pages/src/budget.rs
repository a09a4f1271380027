//! How much work one call may do.

/// Work left for this call. One unit is about one page-table entry looked at.
///
/// An operation does at least one unit's worth if any is left, so that a caller that restarts it
/// with one unit each time still gets to the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Units left.
    pub left: u32,
}

impl Budget {
    /// A budget of so many units.
    #[must_use]
    pub const fn new(units: u32) -> Self {
        Self { left: units }
    }

    /// A budget that does not run out: for boot, where nothing waits. Never for a guest's call.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { left: u32::MAX }
    }

    /// Whether nothing is left.
    #[inline]
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Takes one unit off.
    #[inline]
    pub fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}
