//! Two virtual CPUs at once: one undoes, or rewrites, what the hypervisor does for the other.
//!
//! `test=NAME` on the command line runs one, which prints a line `TEST NAME: passed|failed: why`;
//! without it all run. Each needs two CPUs, and goes on until both sides have won at times.
#![no_std]
#![no_main]

mod exchange;
mod grants;
mod pages;
mod ports;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use pv_runtime::hypercall::yield_now;
use pv_runtime::outcome::{Failure, Outcome, report};
use pv_runtime::{println, smp, start};

/// A test: its name, and the question as a function.
pub struct Test {
    name: &'static str,
    run: fn() -> Outcome,
}

/// A test of that name.
pub const fn test(name: &'static str, run: fn() -> Outcome) -> Test {
    Test { name, run }
}

const ALL: [&[Test]; 4] = [exchange::TESTS, pages::TESTS, grants::TESTS, ports::TESTS];

static STOP: AtomicBool = AtomicBool::new(false);
/// How often the second CPU has won.
pub static WINS: AtomicU32 = AtomicU32::new(0);

/// Whether the second CPU is to end.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Lets a moment pass.
pub fn pause(turns: u32) {
    for _ in 0..turns {
        core::hint::spin_loop();
    }
}

/// Runs `round` on this CPU and `other` on the second, until `enough` of the rounds made says so,
/// or very many have been made.
pub fn against(
    other: fn(),
    mut round: impl FnMut() -> Outcome,
    enough: impl Fn(u32) -> bool,
) -> Outcome {
    const MOST: u32 = 20_000;
    STOP.store(false, Ordering::SeqCst);
    WINS.store(0, Ordering::SeqCst);
    smp::start(other).map_err(|got| Failure { what: "starting a second CPU", got, wanted: 0 })?;
    let mut outcome = Ok(());
    for made in 0..MOST {
        if outcome.is_err() || enough(made) {
            break;
        }
        outcome = round();
    }
    STOP.store(true, Ordering::SeqCst);
    while !smp::idle() {
        yield_now();
    }
    outcome
}

fn main() {
    let wanted = start::argument("test");
    let mut any = false;
    for test in ALL.iter().copied().flatten() {
        if wanted.is_none_or(|name| name == test.name) {
            report(test.name, &(test.run)());
            any = true;
        }
    }
    if let (false, Some(name)) = (any, wanted) {
        println!("TEST {name}: failed: there is no such test");
    }
}

pv_runtime::main!(main);
