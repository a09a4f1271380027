//! The order in which locks may be taken, and the stack that checks it.

use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Locks that one CPU may hold at once.
const DEPTH: usize = 16;

/// A lock taken against the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RankError {
    /// A lock of a lower rank, or of the same rank and no greater key, was wanted.
    Order {
        /// Rank of the innermost lock held.
        held: u8,
        /// Its order key.
        held_key: u64,
        /// Rank of the lock wanted.
        wanted: u8,
        /// Its order key.
        wanted_key: u64,
    },
    /// More locks than the stack has places for.
    TooDeep,
    /// The lock that is let go is not held.
    NotHeld {
        /// Its rank.
        rank: u8,
        /// Its order key.
        key: u64,
    },
}

impl fmt::Display for RankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { held, held_key, wanted, wanted_key } => write!(
                f,
                "lock of rank {wanted} (key {wanted_key:#x}) wanted while one of rank {held} \
                 (key {held_key:#x}) is held"
            ),
            Self::TooDeep => write!(f, "more than {DEPTH} locks held by one CPU"),
            Self::NotHeld { rank, key } => {
                write!(f, "lock of rank {rank} (key {key:#x}) let go without being held")
            }
        }
    }
}

/// The locks that one CPU holds, innermost last. One for each CPU, touched by that CPU alone; its
/// fields are atomics only so that it can lie in shared per-CPU data.
#[derive(Debug, Default)]
pub struct RankStack {
    depth: AtomicUsize,
    ranks: [AtomicU64; DEPTH],
    keys: [AtomicU64; DEPTH],
}

impl RankStack {
    /// A CPU that holds nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            depth: AtomicUsize::new(0),
            ranks: [const { AtomicU64::new(0) }; DEPTH],
            keys: [const { AtomicU64::new(0) }; DEPTH],
        }
    }

    /// Number of locks held.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Notes a lock that is about to be waited for.
    ///
    /// # Errors
    /// [`RankError::Order`] unless its rank is above the innermost held one, or equal with a
    /// greater key; [`RankError::TooDeep`] when the stack is full. Nothing is noted then.
    pub fn enter(&self, rank: u8, key: u64) -> Result<(), RankError> {
        let depth = self.depth();
        if let Some((held, held_key)) = depth.checked_sub(1).and_then(|top| self.at(top))
            && (rank, key) <= (held, held_key)
        {
            return Err(RankError::Order { held, held_key, wanted: rank, wanted_key: key });
        }
        let (Some(r), Some(k)) = (self.ranks.get(depth), self.keys.get(depth)) else {
            return Err(RankError::TooDeep);
        };
        r.store(u64::from(rank), Ordering::Relaxed);
        k.store(key, Ordering::Relaxed);
        self.depth.store(depth.saturating_add(1), Ordering::Relaxed);
        Ok(())
    }

    /// Notes that a lock was let go. It need not be the innermost: guards may end in any order.
    ///
    /// # Errors
    /// [`RankError::NotHeld`] when it is not held.
    pub fn leave(&self, rank: u8, key: u64) -> Result<(), RankError> {
        let depth = self.depth();
        let found = (0..depth).rev().find(|&i| self.at(i) == Some((rank, key)));
        let Some(found) = found else {
            return Err(RankError::NotHeld { rank, key });
        };
        for i in found..depth.saturating_sub(1) {
            let next = i.saturating_add(1);
            for words in [&self.ranks, &self.keys] {
                if let (Some(to), Some(from)) = (words.get(i), words.get(next)) {
                    to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            }
        }
        self.depth.store(depth.saturating_sub(1), Ordering::Relaxed);
        Ok(())
    }

    fn at(&self, i: usize) -> Option<(u8, u64)> {
        let rank = self.ranks.get(i)?.load(Ordering::Relaxed);
        let key = self.keys.get(i)?.load(Ordering::Relaxed);
        Some((u8::try_from(rank).ok()?, key))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn ranks_rise_and_equal_ranks_rise_by_key() {
        let s = RankStack::new();
        assert_eq!(s.enter(1, 7), Ok(()));
        assert_eq!(s.enter(3, 5), Ok(()));
        assert_eq!(s.enter(3, 6), Ok(()));
        assert_eq!(
            s.enter(3, 6),
            Err(RankError::Order { held: 3, held_key: 6, wanted: 3, wanted_key: 6 })
        );
        assert!(matches!(s.enter(2, 9), Err(RankError::Order { .. })));
        assert_eq!(s.depth(), 3);
    }

    #[test]
    fn a_lock_let_go_out_of_order_leaves_the_others_held() {
        let s = RankStack::new();
        for r in 1..=3 {
            assert_eq!(s.enter(r, 0), Ok(()));
        }
        assert_eq!(s.leave(2, 0), Ok(()));
        assert!(s.enter(3, 0).is_err(), "rank 3 is still held");
        assert_eq!(s.leave(2, 0), Err(RankError::NotHeld { rank: 2, key: 0 }));
        assert_eq!(s.leave(3, 0), Ok(()));
        assert_eq!(s.enter(2, 0), Ok(()));
        assert_eq!(s.depth(), 2);
    }

    #[test]
    fn a_full_stack_refuses_instead_of_forgetting() {
        let s = RankStack::new();
        for r in 0..16 {
            assert_eq!(s.enter(r, 0), Ok(()));
        }
        assert_eq!(s.enter(16, 0), Err(RankError::TooDeep));
        assert_eq!(s.depth(), 16);
    }
}
