//! Awkward addresses and counts among the arguments of hypercalls.

use crate::{Test, refused, test};
use pv_runtime::hypercall::{DOMID_SELF, addr, call, call2, call3, errno, nr};
use pv_runtime::memory::{self, M2P};
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::start;

pub const TESTS: &[Test] = &[
    test("pointers-to-write", pointers_to_write),
    test("pointers-to-read", pointers_to_read),
    test("result-into-page-table", result_into_page_table),
    test("huge-counts", huge_counts),
    test("argument-across-pages", argument_across_pages),
    test("unknown-hypercalls", unknown_hypercalls),
    test("reservation-counts", reservation_counts),
];

/// Addresses at which nothing of ours can be read or written.
const NOWHERE: [u64; 7] = [
    0x1000,
    0x7000_0000_0000,
    0x0000_7fff_ffff_fffc,
    0x0000_8000_0000_0000,
    0xffff_82d0_4020_0000,
    0xffff_8300_0000_0000,
    0xffff_ffff_ffff_fffc,
];

/// What comes of a bad pointer where dom0 alone may ask at all.
fn fault_of_dom0() -> i64 {
    if start::privileged() { errno::EFAULT } else { errno::EPERM }
}

/// Results go nowhere but into the guest's own memory.
fn pointers_to_write() -> Outcome {
    for pointer in NOWHERE.into_iter().chain([M2P]) {
        expect("extraversion", call2(nr::XEN_VERSION, 1, pointer), errno::EFAULT)?;
        expect("capabilities", call2(nr::XEN_VERSION, 3, pointer), errno::EFAULT)?;
        expect("memory map", call2(nr::MEMORY_OP, 10, pointer), fault_of_dom0())?;
        expect("grant table size", call3(nr::GRANT_TABLE_OP, 6, pointer, 1), errno::EFAULT)?;
        expect("channel status", call2(nr::EVENT_CHANNEL_OP, 5, pointer), errno::EFAULT)?;
        expect("run state", call3(nr::VCPU_OP, 4, 0, pointer), errno::EFAULT)?;
    }
    Ok(())
}

/// Arguments come from nowhere else.
fn pointers_to_read() -> Outcome {
    for pointer in NOWHERE {
        expect("shutdown", call2(nr::SCHED_OP, 2, pointer), errno::EFAULT)?;
        expect("send", call2(nr::EVENT_CHANNEL_OP, 4, pointer), errno::EFAULT)?;
        expect("console", call3(nr::CONSOLE_IO, 0, 4, pointer), fault_of_dom0())?;
        let updates = [pointer, 1, 0, DOMID_SELF, 0];
        expect("page-table updates", call(nr::MMU_UPDATE, updates), errno::EFAULT)?;
        expect("extended operations", call(nr::MMUEXT_OP, updates), errno::EFAULT)?;
        expect("multicall", call2(nr::MULTICALL, pointer, 1), errno::EFAULT)?;
        expect("descriptor table", call2(nr::SET_GDT, pointer, 1), errno::EFAULT)?;
        expect("poll", call2(nr::SCHED_OP, 3, pointer), errno::EFAULT)?;
    }
    Ok(())
}

/// A result into a page table is not written, though the hypervisor itself could.
fn result_into_page_table() -> Outcome {
    let table = memory::empty_table();
    let pinned = pv_runtime::hypercall::mmuext(0, table.mfn(), 0);
    expect("pinning it", pinned, 0)?;
    expect("extraversion", call2(nr::XEN_VERSION, 1, table.va()), errno::EFAULT)?;
    for index in 0..4 {
        expect("the table", table.read(index) as i64, 0)?;
    }
    expect("unpinning it", pv_runtime::hypercall::mmuext(4, table.mfn(), 0), 0)
}

/// Counts that nothing could serve end in an error, soon.
fn huge_counts() -> Outcome {
    let page = memory::page();
    let counts = [0x7fff_ffff, 0x1000_0000];
    for count in counts {
        // The page holds zeros: an update of entry 0 of frame 0, which is not ours.
        let args = [page.va(), count, 0, DOMID_SELF, 0];
        refused("page-table updates", call(nr::MMU_UPDATE, args))?;
        refused("multicall", call2(nr::MULTICALL, 0x7000_0000_0000, count))?;
        refused("grants", call3(nr::GRANT_TABLE_OP, 0, 0x7000_0000_0000, count))?;
        refused("console", call3(nr::CONSOLE_IO, 0, count, 0x7000_0000_0000))?;
    }
    expect(
        "grants below none",
        call3(nr::GRANT_TABLE_OP, 0, page.va(), 0xffff_ffff),
        errno::EINVAL,
    )?;
    refused("poll of many", {
        #[repr(C)]
        struct Poll {
            ports: u64,
            count: u32,
            timeout: u64,
        }
        let poll = Poll { ports: page.va(), count: 0xffff_ffff, timeout: 1 };
        call2(nr::SCHED_OP, 3, addr(&poll))
    })
}

/// An argument that begins in our memory and ends nowhere is read or refused as a whole.
fn argument_across_pages() -> Outcome {
    let window = memory::window(300);
    let page = memory::page();
    let mapped =
        memory::set_entry(window.l1, 0, memory::entry(page.mfn(), memory::PRESENT | memory::WRITE));
    expect("mapping a page before a hole", mapped, 0)?;
    // Operation 99 at the end of the page: 4 of its 24 bytes are there.
    page.write(511, 99 << 32);
    let updates = [window.va + 4092, 1, 0, DOMID_SELF, 0];
    expect("extended operation", call(nr::MMUEXT_OP, updates), errno::EFAULT)?;
    let written = call2(nr::XEN_VERSION, 3, window.va + 4090);
    expect("capabilities", written, errno::EFAULT)?;
    window.close();
    Ok(())
}

fn unknown_hypercalls() -> Outcome {
    let numbers =
        [11, 38, 43, 44, 45, 46, 47, 50, 55, 56, 63, 64, 65, 1000, 0xffff_ffff, 1 << 32, !0];
    for number in numbers {
        expect("a number that is none", call2(number, 0, 0), errno::ENOSYS)?;
    }
    for number in [nr::XEN_VERSION, nr::SCHED_OP, nr::EVENT_CHANNEL_OP, nr::VCPU_OP, nr::MEMORY_OP]
    {
        refused("a subordinate number that is none", call3(number, 0x3f, 0, 0))?;
    }
    Ok(())
}

/// Extents beyond any memory are not walked.
fn reservation_counts() -> Outcome {
    #[repr(C)]
    struct Reservation {
        extents: u64,
        count: u64,
        order: u32,
        flags: u32,
        domid: u16,
    }
    let run = |op: u64, extents, count, order, domid| {
        let reservation = Reservation { extents, count, order, flags: 0, domid };
        call2(nr::MEMORY_OP, op, addr(&reservation))
    };
    let page = memory::page();
    let own = DOMID_SELF as u16;
    for op in [1, 6] {
        holds("no extents are done at order 64", run(op, page.va(), 1, 64, own) <= 0)?;
        holds("nor at order 40", run(op, page.va(), 1, 40, own) <= 0)?;
        holds("nor from nowhere", run(op, 0x7000_0000_0000, 1, 0, own) <= 0)?;
        holds("nor too many", run(op, 0xffff_8300_0000_0000, !0, 0, own) <= 0)?;
        holds("nor of nobody", run(op, page.va(), 1, 0, 0x7abc) <= 0)?;
    }
    Ok(())
}
