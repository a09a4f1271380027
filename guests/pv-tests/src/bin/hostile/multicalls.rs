//! Calls of calls.

use crate::{Test, refused, test};
use pv_runtime::hypercall::{MulticallEntry, addr_mut, call2, errno, multicall, nr};
use pv_runtime::memory;
use pv_runtime::outcome::{Outcome, expect, holds};

pub const TESTS: &[Test] = &[
    test("multicall-nested", nested),
    test("multicall-mixed", mixed),
    test("multicall-off-the-end", off_the_end),
    test("multicall-over-itself", over_itself),
];

fn version() -> MulticallEntry {
    MulticallEntry { op: nr::XEN_VERSION, ..MulticallEntry::default() }
}

/// A multicall within a multicall is refused, and its neighbours still run.
fn nested() -> Outcome {
    let mut inner = [version()];
    let mut args = [0; 6];
    args[..2].copy_from_slice(&[addr_mut(&mut inner), 1]);
    let nested = MulticallEntry { op: nr::MULTICALL, result: 0, args };
    let mut outer = [version(), nested, version()];
    expect("the outer one", multicall(&mut outer), 0)?;
    expect("the inner one", outer[1].result, errno::EINVAL)?;
    expect("its call", inner[0].result, 0)?;
    holds("the neighbours", outer[0].result > 0 && outer[2].result > 0)
}

/// Unknown and failing calls leave the others alone.
fn mixed() -> Outcome {
    let unknown = |op| MulticallEntry { op, ..MulticallEntry::default() };
    let mut calls = [version(), unknown(11), unknown(!0), unknown(1 << 32), version()];
    expect("the whole", multicall(&mut calls), 0)?;
    for call in &calls[1..4] {
        expect("a number that is none", call.result, errno::ENOSYS)?;
    }
    holds("the neighbours", calls[0].result > 0 && calls[4].result > 0)?;
    expect("none at all", multicall(&mut []), 0)
}

/// An array that runs off the mapped memory stops there.
fn off_the_end() -> Outcome {
    let window = memory::window(300);
    let page = memory::page();
    let mapped =
        memory::set_entry(window.l1, 0, memory::entry(page.mfn(), memory::PRESENT | memory::WRITE));
    expect("mapping a page before a hole", mapped, 0)?;
    page.write(504, nr::XEN_VERSION);
    let result = call2(nr::MULTICALL, window.va + 504 * 8, 2);
    expect("the whole", result, errno::EFAULT)?;
    holds("the first was done", page.read(505) > 0)?;
    window.close();
    Ok(())
}

/// A call that unmaps the array it is in cannot have its result written there.
fn over_itself() -> Outcome {
    let window = memory::window(300);
    let page = memory::page();
    let mapped =
        memory::set_entry(window.l1, 0, memory::entry(page.mfn(), memory::PRESENT | memory::WRITE));
    expect("mapping a page", mapped, 0)?;
    // update_va_mapping(window, 0, INVLPG), then another call.
    page.write(0, nr::UPDATE_VA_MAPPING);
    page.write(2, window.va);
    page.write(3, 0);
    page.write(4, 2);
    page.write(8, nr::XEN_VERSION);
    page.write(9, 0x55);
    refused("the whole", call2(nr::MULTICALL, window.va, 2))?;
    expect("the second was not done", page.read(9) as i64, 0x55)?;
    window.close();
    Ok(())
}
