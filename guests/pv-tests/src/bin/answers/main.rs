//! What each hypercall answers: success, with what it should bring about, and each error.
//!
//! One test a family. `test=NAME` on the command line runs one, which prints a line
//! `SHOWN family.sub_op outcome` for each answer that it has seen, and at the end
//! `TEST NAME: passed|failed: why`. Without it all run, one after the other. Xen 4.20 answers the
//! same, but where a comment says otherwise.
#![no_std]
#![no_main]

mod callbacks;
mod descriptors;
mod events;
mod fifo;
mod grant_admin;
mod grants;
mod memory_op;
mod mmu;
mod mmuext;
mod multicall;
mod reservations;
mod sched;
mod small;
mod timers;
mod vcpus;

use pv_runtime::outcome::{Outcome, report};
use pv_runtime::{memory, println, start};

/// A test: its name, and the questions as a function.
pub struct Test {
    name: &'static str,
    run: fn() -> Outcome,
}

/// A test of that name.
pub const fn test(name: &'static str, run: fn() -> Outcome) -> Test {
    Test { name, run }
}

const ALL: [&[Test]; 15] = [
    mmu::TESTS,
    mmuext::TESTS,
    reservations::TESTS,
    memory_op::TESTS,
    grants::TESTS,
    grant_admin::TESTS,
    events::TESTS,
    fifo::TESTS,
    sched::TESTS,
    vcpus::TESTS,
    timers::TESTS,
    descriptors::TESTS,
    callbacks::TESTS,
    small::TESTS,
    multicall::TESTS,
];

/// An address where nothing is.
pub const NOWHERE: u64 = 0x7000_0000_0000;
/// A domain that there is not.
pub const NOBODY: u16 = 0x7abc;
/// A frame number far beyond memory.
pub const BEYOND: u64 = 1 << 39;

/// A machine frame that is not ours, though it is memory.
pub fn foreign_frame() -> u64 {
    let is_foreign = |&mfn: &u64| memory::mfn_to_pfn(mfn) >= start::info().nr_pages;
    (0x1000..0x7_0000).rev().find(is_foreign).unwrap_or(0x1000)
}

/// The frame of a page of ours that nothing maps; each is given out once.
pub fn spare_frame(index: u64) -> u64 {
    memory::pfn_to_mfn(start::info().nr_pages - 1 - index)
}

fn main() {
    let wanted = start::argument("test");
    let mut any = false;
    for test in ALL.iter().copied().flatten() {
        if wanted.is_none_or(|name| name == test.name) {
            println!("== {}", test.name);
            report(test.name, &(test.run)());
            any = true;
        }
    }
    match (any, wanted) {
        (false, Some(name)) => println!("TEST {name}: failed: there is no such test"),
        (_, None) => println!("TEST all: passed"),
        _ => {}
    }
}

pv_runtime::main!(main);
