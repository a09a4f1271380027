//! Loops of system calls from user mode, bounced to this kernel, which returns at once.
//!
//! Markers for the instruction-counting plugin stand around 1000 rounds each: 0x10 and 0x11
//! around those with fast returns, 0x12 and 0x13 around those with full returns.
#![no_std]
#![no_main]

use pv_runtime::outcome::{self, Outcome, holds};
use pv_runtime::user;

const CALLS: u32 = 1000;

fn both() -> Outcome {
    let space = user::space();
    for full in [false, true] {
        space.load_loop(full, CALLS);
        // Once to warm up, once to count.
        holds("the first round comes back", space.run().is_ok())?;
        holds("the second round comes back", space.run().is_ok())?;
    }
    Ok(())
}

fn main() {
    outcome::report("syscall-count", &both());
}

pv_runtime::main!(main);
