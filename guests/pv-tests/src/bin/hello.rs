//! Prints what the domain builder says, and turns the machine off.
#![no_std]
#![no_main]

use pv_runtime::{memory, outcome, println, start};

fn main() {
    let info = start::info();
    println!("hello from a paravirtual guest: {} pages, flags {:#x}", info.nr_pages, info.flags);
    println!("command line: {}", start::command_line());
    println!("top table {:#x}, shared info {:#x}", memory::top_table(), info.shared_info);
    let round_trip = memory::mfn_to_pfn(memory::pfn_to_mfn(7)) as i64;
    outcome::report("hello", &outcome::expect("frame 7, there and back", round_trip, 7));
}

pv_runtime::main!(main);
