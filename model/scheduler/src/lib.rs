//! Run queues, weights, affinity.
//!
//! A [`Queue`] serves a set of CPUs and holds the vCPUs that wait for one of them; the hypervisor
//! has one queue for each core or socket, each in a lock of its own. What belongs to a vCPU is its
//! [`Unit`], what belongs to a domain its [`Share`]; both are reached through [`Vcpus`]. A unit
//! changes only under the lock of the queue that is its [`home`](Unit::home).
//!
//! Like Xen's credit2, from which the parameters are: whoever has had the least time for its
//! weight runs next. Time received is kept as *virtual time*, nanoseconds at the default weight,
//! so that nothing ever has to be handed out to all.
//!
//! The life of a unit: it waits, runs on one CPU, leaves it. [`Queue::pick`] names the next unit
//! of a CPU and the one that leaves; the latter is nobody's until the CPU has let go of it and
//! said so by [`Queue::saved`]. So no vCPU runs on two CPUs, and a wake-up meanwhile is not lost.
//!
//! Beside the queues, [`Timers`] keeps the vCPUs whose timers one CPU looks after, by expiry.
//!
//! Every operation that makes a unit runnable returns a [`Next`]: a CPU to kick, so that it picks
//! again, or the wish to be moved to another queue. Times are system time in nanoseconds.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

extern crate alloc;

mod balance;
mod cells;
mod cpuset;
mod list;
mod pick;
mod queue;
mod share;
#[cfg(test)]
mod tests;
mod timers;
mod unit;
mod vtime;
mod wake;

pub use cpuset::{CpuSet, MAX_CPUS};
pub use pick::Decision;
pub use queue::{Next, Queue, QueueId, SLOTS};
pub use share::{DEFAULT_WEIGHT, PERIOD, Share};
pub use timers::{TimerPlace, TimerPlaces, Timers};
pub use unit::{Handle, Runstate, RunstateInfo, Unit, Vcpus};
