//! How often one guest may call for attention.

use std::time::{Duration, Instant};

/// Events that a guest may send in one [`PERIOD`].
pub const ALLOWANCE: u32 = 30;
/// The time that the allowance is for.
pub const PERIOD: Duration = Duration::from_millis(200);

/// One guest's account. When it is used up the guest's event channel stays masked until the
/// period is over: the guest waits, nobody else does.
#[derive(Debug)]
pub struct Rate {
    used: u32,
    since: Instant,
    held: bool,
}

impl Rate {
    /// A full account.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { used: 0, since: now, held: false }
    }

    /// Notes an event. Whether the channel may be unmasked at once.
    pub fn event(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= PERIOD {
            self.since = now;
            self.used = 0;
        }
        self.used = self.used.saturating_add(1);
        self.held = self.used >= ALLOWANCE;
        !self.held
    }

    /// When a held channel may be unmasked; `None` if it is not held.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.held.then(|| self.since + PERIOD)
    }

    /// Whether a held channel is to be unmasked now; true once for each hold.
    pub fn release(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| now >= due);
        if due {
            self.held = false;
            self.used = 0;
            self.since = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_after_its_allowance_and_let_go_after_the_period() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let passed = (0..100).take_while(|_| rate.event(start)).count();
        assert_eq!(passed, ALLOWANCE as usize - 1);
        assert_eq!(rate.due(), Some(start + PERIOD));
        assert!(!rate.release(start + PERIOD / 2));
        assert!(rate.release(start + PERIOD));
        assert!(!rate.release(start + PERIOD));
        assert!(rate.event(start + PERIOD));
    }

    #[test]
    fn a_quiet_guest_is_never_held() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        for step in 0..1000 {
            assert!(rate.event(start + step * PERIOD / 20), "event {step}");
        }
        assert_eq!(rate.due(), None);
    }
}
