//! Hostile kernels: each test is one thing that a guest must not get away with.
//!
//! `test=NAME` on the command line runs one, which prints one line `TEST NAME: passed|failed: why`.
//! Without it, and by the name `all`, all run that leave the guest alive, and a last line sums up. Tests whose outcome
//! is that the hypervisor ends the domain are run one by one; they print `TEST NAME: failed` only
//! if they are still there afterwards. What is expected was seen under Xen 4.20; a comment says
//! where another answer would do as well. `tests.toml` lists them all.
#![no_std]
#![no_main]

mod addresses;
mod crashes;
mod descriptors;
mod event_channels;
mod grant_tables;
mod grant_uses;
mod instructions;
mod levels;
mod multicalls;
mod page_tables;
mod second_cpu;
mod translations;
mod versions;

use pv_runtime::outcome::{Failure, Outcome, report};
use pv_runtime::{memory, println, start};

/// A test: its name, and the question as a function.
pub struct Test {
    name: &'static str,
    run: fn() -> Outcome,
}

/// A test of that name.
pub const fn test(name: &'static str, run: fn() -> Outcome) -> Test {
    Test { name, run }
}

/// In place of a name: one after the other in the same boot, each leaving nothing to the next.
const ALL: &str = "all";

/// What the guest survives.
const SURVIVED: [&[Test]; 12] = [
    page_tables::TESTS,
    levels::TESTS,
    translations::TESTS,
    descriptors::TESTS,
    instructions::TESTS,
    addresses::TESTS,
    multicalls::TESTS,
    event_channels::TESTS,
    grant_tables::TESTS,
    grant_uses::TESTS,
    second_cpu::TESTS,
    versions::TESTS,
];

/// A machine frame that is not ours, though it is memory: one below 1.75 GiB, where machines have
/// nothing else, for which the hypervisor's table has no frame number of ours.
pub fn foreign_frame() -> u64 {
    let is_foreign = |&mfn: &u64| {
        let pfn = memory::mfn_to_pfn(mfn);
        pfn >= start::info().nr_pages || memory::pfn_to_mfn(pfn) != mfn
    };
    (0x1000..0x7_0000).rev().find(is_foreign).unwrap_or(0x1000)
}

/// Fails unless an error came.
pub fn refused(what: &'static str, result: i64) -> Outcome {
    if result < 0 { Ok(()) } else { Err(Failure { what, got: result, wanted: -1 }) }
}

fn run_all() {
    println!("a foreign frame: {:#x}", foreign_frame());
    let (mut passed, mut failed) = (0, 0);
    for test in SURVIVED.iter().copied().flatten() {
        let outcome = (test.run)();
        report(test.name, &outcome);
        match outcome {
            Ok(()) => passed += 1,
            Err(_) => failed += 1,
        }
    }
    if failed == 0 {
        println!("TEST {ALL}: passed, {passed} of them");
    } else {
        println!("TEST {ALL}: failed: {failed} of {}", passed + failed);
    }
}

fn main() {
    let name = start::argument("test").unwrap_or(ALL);
    if name == ALL {
        return run_all();
    }
    let tests = SURVIVED.iter().copied().flatten().chain(crashes::TESTS);
    match { tests }.find(|test| test.name == name) {
        Some(test) => report(test.name, &(test.run)()),
        None => println!("TEST {name}: failed: there is no such test"),
    }
}

pv_runtime::main!(main);
