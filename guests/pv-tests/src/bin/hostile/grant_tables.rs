//! Grants: what is granted to whom, handles, copies. We grant to ourselves.

use crate::{Test, foreign_frame, test};
use pv_runtime::events::domid;
use pv_runtime::grants::{self, Side, copy, flags, grant, map, unmap};
use pv_runtime::hypercall::errno;
use pv_runtime::memory::{self, window};
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::probe;

pub const TESTS: &[Test] = &[
    test("grant-sizes", sizes),
    test("grant-map", map_and_unmap),
    test("grant-not-granted", not_granted),
    test("grant-bad-handles", bad_handles),
    test("grant-bad-addresses", bad_addresses),
    test("grant-copy-ranges", copy_ranges),
    test("grant-changed-in-use", changed_in_use),
    test("grant-version-in-use", version_in_use),
];

const HOST: u32 = 2;
const READONLY: u32 = 4;
const SELF: u16 = 0x7ff0;

fn sizes() -> Outcome {
    let mut list = [0u64; 4];
    expect("too many frames", i64::from(grants::setup_table(SELF, 0x10_0000, &mut list).1), -1)?;
    expect("far too many", i64::from(grants::setup_table(SELF, !0, &mut list).1), -1)?;
    expect("nobody's table", i64::from(grants::setup_table(0x7abc, 1, &mut list).1), -2)?;
    let mut version = [3u32];
    expect("version 3", grants::op(8, &mut version), errno::EINVAL)?;
    expect("a number that is none", grants::op(99, &mut [0u64; 4]), errno::ENOSYS)
}

fn map_and_unmap() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    page.write(0, 0x9a9e);
    grant(9, 1, domid(), page.mfn());
    let mapped = map(domid(), 9, HOST, window.va);
    expect("mapping", i64::from(mapped.status), 0)?;
    holds("it reads the same", probe::read(window.va) == Ok(0x9a9e))?;
    holds("it is writable", probe::write(window.va, 7).is_ok())?;
    expect("the page", page.read(0) as i64, 7)?;
    expect("the marks", i64::from(flags(9)), 1 | 8 | 16)?;
    let reading = map(domid(), 9, HOST | READONLY, window.va + 4096);
    expect("mapping it for reading", i64::from(reading.status), 0)?;
    holds("that is not writable", probe::write(window.va + 4096, 7).is_err())?;
    expect("unmapping the first", i64::from(unmap(mapped.handle, window.va)), 0)?;
    holds("it is gone", probe::read(window.va).is_err())?;
    expect("the marks", i64::from(flags(9)), 1 | 8)?;
    expect("unmapping the second", i64::from(unmap(reading.handle, window.va + 4096)), 0)?;
    expect("the marks", i64::from(flags(9)), 1)?;
    window.close();
    Ok(())
}

fn not_granted() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    let status = |dom, gref, flags| i64::from(map(dom, gref, flags, window.va).status);
    grant(9, 1, domid(), page.mfn());
    expect("no access asked for", status(domid(), 9, 0), -3)?;
    expect("a reference beyond the table", status(domid(), 0x10_0000, HOST), -3)?;
    expect("the greatest reference", status(domid(), !0, HOST), -3)?;
    expect("nobody's table", status(0x7abc, 9, HOST), -2)?;
    grant(9, 1 | 4, domid(), page.mfn());
    expect("writing a read-only grant", status(domid(), 9, HOST), -1)?;
    grant(9, 1, 77, page.mfn());
    expect("somebody else's grant", status(domid(), 9, HOST), -1)?;
    for kind in [0, 2, 3] {
        grant(9, kind, domid(), page.mfn());
        expect("an entry of another kind", status(domid(), 9, HOST), -1)?;
    }
    for frame in [foreign_frame(), 0xffff_ffff] {
        grant(9, 1, domid(), frame);
        expect("a frame that is not the granter's", status(domid(), 9, HOST), -9)?;
        expect("no marks are left", i64::from(flags(9)), 1)?;
    }
    holds("nothing is mapped", probe::read(window.va).is_err())?;
    window.close();
    Ok(())
}

fn bad_handles() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    for handle in [5000, 0x7fff_ffff, 0xffff_ffff] {
        expect("a handle that is none", i64::from(unmap(handle, window.va)), -4)?;
    }
    grant(9, 1, domid(), page.mfn());
    let mapped = map(domid(), 9, HOST, window.va);
    expect("mapping", i64::from(mapped.status), 0)?;
    let elsewhere = unmap(mapped.handle, window.va + 4096);
    expect("unmapping it elsewhere", i64::from(elsewhere), -1)?;
    holds("it is still there", probe::read(window.va).is_ok())?;
    expect("unmapping it", i64::from(unmap(mapped.handle, window.va)), 0)?;
    expect("unmapping it twice", i64::from(unmap(mapped.handle, window.va)), -4)?;
    expect("the marks", i64::from(flags(9)), 1)?;
    window.close();
    Ok(())
}

fn bad_addresses() -> Outcome {
    grants::install()?;
    let page = memory::page();
    grant(9, 1, domid(), page.mfn());
    for va in [0xffff_8300_0000_0000, 0x0000_8000_0000_0000, 0x7000_0000_0000] {
        expect("mapping there", i64::from(map(domid(), 9, HOST, va).status), -1)?;
    }
    // By the machine address of an entry: not one of ours, not in a table, across two.
    let entries =
        [foreign_frame() << 12, page.mfn() << 12, 1 << 51, (memory::top_table() << 12) + 8];
    for entry in entries {
        let status = map(domid(), 9, HOST | 16, entry).status;
        expect("mapping by that entry", i64::from(status), -1)?;
    }
    expect("no marks are left", i64::from(flags(9)), 1)
}

fn copy_ranges() -> Outcome {
    grants::install()?;
    let (from, to) = (memory::page(), memory::page());
    from.write(0, 0xc0b7);
    grant(9, 1 | 4, domid(), from.mfn());
    grant(10, 1, domid(), to.mfn());
    let side = |value, dom, offset| Side { value, dom, offset };
    let grants = |from_offset, to_offset, len| {
        i64::from(copy(side(9, domid(), from_offset), side(10, domid(), to_offset), len, 3))
    };
    expect("a copy", grants(0, 8, 8), 0)?;
    expect("what was copied", to.read(1) as i64, 0xc0b7)?;
    expect("a whole page", grants(0, 0, 4096), 0)?;
    expect("across the source's end", grants(1, 0, 4096), -10)?;
    expect("across the destination's end", grants(0, 4095, 2), -10)?;
    expect("far beyond", grants(0xffff, 0xffff, 0xffff), -10)?;
    let own = |value, dom| side(value, dom, 0);
    let to_grant = |from| i64::from(copy(from, side(10, domid(), 0), 8, 2));
    expect("from a frame of our own", to_grant(own(from.mfn(), SELF)), 0)?;
    expect("from a frame of another's", to_grant(own(from.mfn(), 0)), -8)?;
    expect("from a foreign frame", to_grant(own(foreign_frame(), SELF)), -9)?;
    let read_only = copy(own(to.mfn(), SELF), side(9, domid(), 0), 8, 2);
    expect("to a read-only grant", i64::from(read_only), -1)?;
    expect("to nobody", i64::from(copy(own(to.mfn(), SELF), side(10, 0x7abc, 0), 8, 2)), -2)?;
    let table = memory::top_table();
    let forged = copy(own(to.mfn(), SELF), own(table, SELF), 8, 0);
    holds("to a page table", forged < 0)?;
    expect("the marks", i64::from(flags(9)), 1 | 4)?;
    expect("the marks", i64::from(flags(10)), 1)
}

/// An entry that is changed while it is in use means what it meant.
fn changed_in_use() -> Outcome {
    grants::install()?;
    let window = window(300);
    let (first, second) = (memory::page(), memory::page());
    first.write(0, 1);
    second.write(0, 2);
    grant(9, 1, domid(), first.mfn());
    let mapped = map(domid(), 9, HOST | READONLY, window.va);
    expect("mapping", i64::from(mapped.status), 0)?;
    grant(9, 1 | 4, 77, second.mfn());
    let again = map(domid(), 9, HOST | READONLY, window.va + 4096);
    expect("mapping it again", i64::from(again.status), 0)?;
    holds("it is the first page", probe::read(window.va + 4096) == Ok(1))?;
    let writing = map(domid(), 9, HOST, window.va + 8192);
    expect("mapping it for writing", i64::from(writing.status), -1)?;
    expect("unmapping", i64::from(unmap(mapped.handle, window.va)), 0)?;
    expect("unmapping", i64::from(unmap(again.handle, window.va + 4096)), 0)?;
    grant(9, 0, 0, 0);
    window.close();
    Ok(())
}

fn version_in_use() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    grant(9, 1, domid(), page.mfn());
    let mapped = map(domid(), 9, HOST, window.va);
    expect("mapping", i64::from(mapped.status), 0)?;
    let mut version = [2u32];
    expect("another version", grants::op(8, &mut version), errno::EBUSY)?;
    expect("the version is told", i64::from(version[0]), 1)?;
    expect("unmapping", i64::from(unmap(mapped.handle, window.va)), 0)?;
    let mut version = [1u32];
    expect("the same version", grants::op(8, &mut version), 0)?;
    window.close();
    Ok(())
}
