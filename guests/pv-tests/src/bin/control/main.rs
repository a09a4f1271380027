//! What the hypercalls of the control tools and of dom0's kernel answer: success, with what it
//! should bring about, and each error.
//!
//! `test=NAME` on the command line runs one test, which prints a line `SHOWN family.operation
//! outcome` for each answer that it has seen, and at the end `TEST NAME: passed|failed: why`.
#![no_std]
#![no_main]

mod domains;
mod memory_types;
mod physdev;
mod platform;
mod policies;
mod settings;
mod small;
mod sysctl;
mod vcpu_state;
mod vcpus;

use pv_runtime::hypercall::{addr_mut, call2};
use pv_runtime::outcome::{Outcome, report};
use pv_runtime::{println, start};

/// A test: its name, and the questions as a function.
pub struct Test {
    name: &'static str,
    run: fn() -> Outcome,
}

/// A test of that name.
pub const fn test(name: &'static str, run: fn() -> Outcome) -> Test {
    Test { name, run }
}

const ALL: [&[Test]; 10] = [
    domains::TESTS,
    settings::TESTS,
    memory_types::TESTS,
    vcpus::TESTS,
    vcpu_state::TESTS,
    policies::TESTS,
    sysctl::TESTS,
    platform::TESTS,
    physdev::TESTS,
    small::TESTS,
];

/// An address where nothing is.
pub const NOWHERE: u64 = 0x7000_0000_0000;
/// A domain that there is not.
pub const NOBODY: u16 = 0x7abc;
/// This domain.
pub const DOM0: u16 = 0;

/// Hypercalls that only this program makes.
pub mod nr {
    /// platform_op.
    pub const PLATFORM: u64 = 7;
    /// sysctl.
    pub const SYSCTL: u64 = 35;
    /// mca.
    pub const MCA: u64 = 48;
}

/// Two 32-bit fields, the one that comes first in memory first.
pub const fn two(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Words of 32 bits as words of 64.
pub fn words(fields: &[u32]) -> [u64; 16] {
    let mut all = [0; 16];
    for (to, pair) in all.iter_mut().zip(fields.chunks(2)) {
        *to = two(pair[0], pair.get(1).copied().unwrap_or(0));
    }
    all
}

/// A request to the machine's control: a command, the interface's version, a union.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Request {
    command: u32,
    version: u32,
    /// The command's structure.
    pub u: [u64; 16],
}

impl Request {
    /// A request with the first words of its structure.
    pub fn new(command: u32, version: u32, words: &[u64]) -> Request {
        let mut request = Request { command, version, u: [0; 16] };
        for (to, from) in request.u.iter_mut().zip(words) {
            *to = *from;
        }
        request
    }

    /// Makes it.
    pub fn call(&mut self, number: u64) -> i64 {
        call2(number, addr_mut(self), 0)
    }
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
