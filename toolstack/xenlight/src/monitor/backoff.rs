//! A bound on guests that end again and again right after their start.

use std::time::Duration;

/// A guest that lived longer has started well.
const SHORT_LIFE: Duration = Duration::from_secs(60);
/// Short lives in a row that are not slowed down.
const FREE: u32 = 2;
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Counts short lives in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    short: u32,
}

impl Backoff {
    /// How long to wait before a guest that lived for `lived` is created again: nothing twice, then twice
    /// as long each time, a minute at most.
    pub fn ended(&mut self, lived: Duration) -> Duration {
        if lived >= SHORT_LIFE {
            self.short = 0;
            return Duration::ZERO;
        }
        self.short = self.short.saturating_add(1);
        match self.short.saturating_sub(FREE) {
            0 => Duration::ZERO,
            more => Duration::from_secs(1 << more.min(6)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_ends_again_and_again_is_slowed_down_to_once_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> =
            (0..10).map(|_| backoff.ended(Duration::from_secs(3)).as_secs()).collect();
        assert_eq!(waits, [0, 0, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_long_life_makes_up_for_all_short_ones() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.ended(Duration::ZERO);
        }
        assert_eq!(backoff.ended(SHORT_LIFE), Duration::ZERO);
        assert_eq!(backoff.ended(Duration::ZERO), Duration::ZERO);
    }
}
