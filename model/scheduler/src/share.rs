//! What a domain's vCPUs have in common: weight and cap.

use crate::vtime::MAX_SLICE;
use abi::Errno;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use core::sync::atomic::{Ordering::Relaxed, Ordering::Release};

/// The weight of a domain that was given none.
pub const DEFAULT_WEIGHT: u32 = 256;

/// The time, in nanoseconds, over which a cap is kept.
pub const PERIOD: u64 = 10_000_000;

/// A capped vCPU does not ask for less than this at a time, in nanoseconds.
const MIN_QUOTA: u64 = 500_000;

/// A domain's share of the machine. Its vCPUs may be on several queues, so it has no lock; the
/// budget is handed out and given back atomically.
#[derive(Debug)]
pub struct Share {
    weight: AtomicU32,
    /// Percent of one CPU; 0 for no cap.
    cap: AtomicU32,
    /// Nanoseconds that nobody has taken yet; negative if vCPUs ran longer than they were given.
    budget: AtomicI64,
    /// When the budget is filled up again.
    period_end: AtomicU64,
}

impl Default for Share {
    fn default() -> Share {
        Share::new()
    }
}

impl Share {
    /// Default weight, no cap.
    pub const fn new() -> Share {
        Share {
            weight: AtomicU32::new(DEFAULT_WEIGHT),
            cap: AtomicU32::new(0),
            budget: AtomicI64::new(0),
            period_end: AtomicU64::new(0),
        }
    }

    /// Sets both, in the units of `XEN_DOMCTL_SCHEDOP_putinfo` for credit2. Weight 0 leaves the
    /// weight as it is; cap 0 is none, else it is in percent of one CPU.
    ///
    /// # Errors
    /// `EINVAL`: weight above 65535.
    pub fn set(&self, weight: u32, cap: u16) -> Result<(), Errno> {
        if weight > 0xffff {
            return Err(Errno::EINVAL);
        }
        if weight != 0 {
            self.weight.store(weight, Relaxed);
        }
        self.cap.store(u32::from(cap), Relaxed);
        // The next one who asks starts a period with the new budget.
        self.budget.store(0, Relaxed);
        self.period_end.store(0, Release);
        Ok(())
    }

    /// The weight, 1 to 65535.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// The cap in percent of one CPU, 0 if there is none.
    pub fn cap(&self) -> u32 {
        self.cap.load(Relaxed)
    }

    /// When there will be budget again.
    pub(crate) fn period_end(&self) -> u64 {
        self.period_end.load(Acquire)
    }

    /// Nanoseconds that all vCPUs together may run in a period.
    fn per_period(&self) -> u64 {
        u64::from(self.cap()).wrapping_mul(PERIOD / 100)
    }

    /// Starts a new period if it is time. Only one of several callers adds to the budget.
    fn refill(&self, now: u64) {
        let end = self.period_end();
        if now < end {
            return;
        }
        let next = now.saturating_add(PERIOD);
        if self.period_end.compare_exchange(end, next, AcqRel, Relaxed).is_err() {
            return;
        }
        let periods = now.saturating_sub(end).wrapping_div(PERIOD).saturating_add(1);
        let full = i64::try_from(self.per_period()).unwrap_or(i64::MAX);
        let added = i64::try_from(self.per_period().saturating_mul(periods)).unwrap_or(i64::MAX);
        let fill = |budget: i64| Some(budget.saturating_add(added).min(full));
        // The closure never refuses.
        let _ = self.budget.fetch_update(AcqRel, Relaxed, fill);
    }

    /// Takes time for a vCPU that is to run; `None`: there is no more in this period. Only asked
    /// when there is a cap.
    pub(crate) fn take(&self, now: u64) -> Option<i64> {
        self.refill(now);
        let want = self.per_period().wrapping_shr(2).clamp(MIN_QUOTA, MAX_SLICE);
        let want = i64::try_from(want).unwrap_or(i64::MAX);
        let take = |budget: i64| (budget > 0).then(|| budget.saturating_sub(want).max(0));
        let before = self.budget.fetch_update(AcqRel, Relaxed, take).ok()?;
        Some(before.min(want))
    }

    /// Gives back what was not used, or takes away what was used too much.
    pub(crate) fn give_back(&self, left: i64) {
        if left != 0 {
            self.budget.fetch_add(left, AcqRel);
        }
    }
}
