//! What a guest wrote and nobody read yet: bounded.

use std::collections::VecDeque;

/// What happens when a backlog is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest bytes go.
    Discard,
    /// No more is taken from the guest until somebody reads.
    Keep,
}

/// Smallest limit, whatever the store says: two rings full.
pub const LIMIT_MIN: usize = 4096;
/// The limit where the store has none: what the toolstack writes for every guest.
pub const LIMIT_DEFAULT: usize = 1 << 20;
/// Largest limit, whatever the store says.
pub const LIMIT_MAX: usize = 16 << 20;

/// Bytes on their way from a guest to its terminal.
#[derive(Debug)]
pub struct Backlog {
    bytes: VecDeque<u8>,
    limit: usize,
    overflow: Overflow,
    discarded: u64,
}

impl Backlog {
    /// An empty one. The limit, in bytes, is brought between [`LIMIT_MIN`] and [`LIMIT_MAX`].
    #[must_use]
    pub fn new(limit: usize, overflow: Overflow) -> Self {
        let limit = limit.clamp(LIMIT_MIN, LIMIT_MAX);
        Self { bytes: VecDeque::new(), limit, overflow, discarded: 0 }
    }

    /// Changes the limit; takes effect with the next [`Backlog::push`].
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.clamp(LIMIT_MIN, LIMIT_MAX);
    }

    /// Whether so many more bytes may be taken from the guest now.
    #[must_use]
    pub fn accepts(&self, bytes: usize) -> bool {
        self.overflow == Overflow::Discard || self.bytes.len().saturating_add(bytes) <= self.limit
    }

    /// Appends; where that is too much, the oldest bytes go.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(self.limit);
        if excess > 0 {
            // An eighth more than needed, so that a flood does not move bytes one by one, and from
            // the start of a line on where there is one near.
            let cut = (excess + self.limit / 8).min(self.bytes.len());
            let line = self.bytes.range(cut..).take(1024).position(|b| *b == b'\n');
            let cut = line.map_or(cut, |at| cut + at + 1).min(self.bytes.len());
            self.bytes.drain(..cut);
            self.discarded = self.discarded.saturating_add(cut as u64);
        }
    }

    /// The next bytes in order, without taking them.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        let (first, second) = self.bytes.as_slices();
        if first.is_empty() { second } else { first }
    }

    /// Takes so many bytes away.
    pub fn consume(&mut self, bytes: usize) {
        self.bytes.drain(..bytes.min(self.bytes.len()));
        // What a flood made grow is given back once it was read.
        if self.bytes.is_empty() && self.bytes.capacity() > 64 * 1024 {
            self.bytes = VecDeque::new();
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that were thrown away so far.
    #[must_use]
    pub const fn discarded(&self) -> u64 {
        self.discarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(backlog: &mut Backlog) -> Vec<u8> {
        let mut all = Vec::new();
        while !backlog.is_empty() {
            let piece = backlog.front().to_vec();
            backlog.consume(piece.len());
            all.extend(piece);
        }
        all
    }

    proptest! {
        #[test]
        fn what_remains_is_the_end_of_what_came_and_is_bounded(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2048), 0..12),
        ) {
            let mut backlog = Backlog::new(LIMIT_MIN, Overflow::Discard);
            let mut all = Vec::new();
            for piece in &pieces {
                prop_assert!(backlog.accepts(piece.len()));
                backlog.push(piece);
                all.extend(piece);
                prop_assert!(backlog.len() <= LIMIT_MIN);
            }
            let lost = usize::try_from(backlog.discarded()).unwrap();
            prop_assert_eq!(drain(&mut backlog), &all[lost..]);
        }
    }

    #[test]
    fn an_overflow_cuts_at_the_start_of_a_line() {
        let mut backlog = Backlog::new(LIMIT_MIN, Overflow::Discard);
        for number in 0..400 {
            backlog.push(format!("line {number:06}\n").as_bytes());
        }
        let text = String::from_utf8(drain(&mut backlog)).unwrap();
        assert!(text.starts_with("line "), "{text:.20}");
        assert!(text.ends_with("line 000399\n"));
    }

    #[test]
    fn keeping_stops_the_intake_and_loses_nothing() {
        let mut backlog = Backlog::new(LIMIT_MIN, Overflow::Keep);
        backlog.push(&[b'a'; LIMIT_MIN]);
        assert!(!backlog.accepts(1));
        backlog.consume(10);
        assert!(backlog.accepts(10) && !backlog.accepts(11));
        assert_eq!(backlog.discarded(), 0);
    }
}
