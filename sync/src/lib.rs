//! Atomics, ranked locks and a loom backend for their tests.
//!
//! Nothing here is `unsafe`, so nothing here can own the data that a lock guards: [`RawLock`] is
//! the lock alone, and `machine` joins it to an `UnsafeCell`. Every loop that waits calls
//! [`Relax::relax`], because a CPU that spins with interrupts off must go on answering the TLB
//! shoot-downs of the CPU that it waits for.
#![cfg_attr(not(any(test, loom)), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

pub mod atomic;
pub mod rank;
pub mod raw_lock;

pub use rank::{RankError, RankStack};
pub use raw_lock::RawLock;

/// What a waiting CPU does between two looks, and what watches the order of locks.
///
/// A type without values: all is static, so that the optimiser sees through it.
pub trait Relax {
    /// Called once for each turn of a loop that waits for another CPU: answer shoot-down
    /// requests, then pause the core for a moment.
    fn relax();

    /// A lock of `rank` with the order key `key` is about to be waited for. Called in builds
    /// with debug assertions only; report a wrong order there (see [`RankStack::enter`]).
    #[inline]
    fn entering(rank: u8, key: u64) {
        let _ = (rank, key);
    }

    /// The lock of `rank` and `key` has been let go. Called in builds with debug assertions only.
    #[inline]
    fn left(rank: u8, key: u64) {
        let _ = (rank, key);
    }
}

/// Waits with the core's own pause hint and nothing else: for host programs and tests.
#[derive(Clone, Copy, Debug)]
pub struct Pause;

impl Relax for Pause {
    #[inline]
    fn relax() {
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(not(loom))]
        core::hint::spin_loop();
    }
}
