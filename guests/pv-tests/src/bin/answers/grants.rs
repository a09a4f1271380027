//! `grant_table_op`: the uses of grants.

use crate::{BEYOND, NOBODY, NOWHERE, Test, foreign_frame, spare_frame, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::Limits;
use pv_runtime::grants::{self, Map, Side, Unmap, copy, grant, map, transfer, unmap};
use pv_runtime::hypercall::{DOMID_SELF, call3, errno, nr, update_va_mapping};
use pv_runtime::memory::{self, PRESENT, WRITE, entry, window};
use pv_runtime::outcome::{Failure, expect};
use pv_runtime::probe;
use pv_runtime::puppet::{Puppet, View};

pub const TESTS: &[Test] = &[
    test("answers-grant-map", maps),
    test("answers-grant-map-all", maps_all),
    test("answers-grant-replace", replaces),
    test("answers-grant-copy", copies),
    test("answers-grant-transfer", transfers),
    test("answers-grant-swap", swaps),
];

const OKAY: i16 = 0;
const GENERAL_ERROR: i16 = -1;
const BAD_DOMAIN: i16 = -2;
const BAD_GNTREF: i16 = -3;
const BAD_HANDLE: i16 = -4;
const BAD_DEV_ADDR: i16 = -6;
const PERMISSION_DENIED: i16 = -8;
const BAD_PAGE: i16 = -9;
const BAD_COPY_ARG: i16 = -10;
const EAGAIN: i16 = -12;
const NO_SPACE: i16 = -13;

/// The first frame of another domain's table, to write entries of version 1 there.
pub fn table_of(domid: u16) -> Result<View, Failure> {
    let mut list = [0u64; 1];
    let (result, status) = grants::setup_table(domid, 1, &mut list);
    expect("its grant table", result, 0)?;
    expect("the status of that", status.into(), 0)?;
    View::of(domid, list[0]).map_err(|got| Failure { what: "mapping its table", got, wanted: 0 })
}

/// An entry of version 1.
pub fn set(table: &View, gref: usize, flags: u16, to: u16, frame: u64) {
    table.page().write(gref, u64::from(flags) | u64::from(to) << 16 | frame << 32);
}

fn worked(what: &'static str, status: i16) -> Outcome {
    expect(what, status.into(), OKAY.into())
}

/// What the operation as a whole is answered when its argument or its count is none.
pub fn bad_arguments(a: &mut Answers, name: &'static str, op: u64) {
    a.refuses(name, call3(nr::GRANT_TABLE_OP, op, NOWHERE, 1), errno::EFAULT);
}

fn maps() -> Outcome {
    const MAP: &str = "grant_table_op.map_grant_ref";
    const UNMAP: &str = "grant_table_op.unmap_grant_ref";
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    let table = table_of(puppet.domid)?;
    let them = puppet.domid;
    set(&table, 9, 1, 0, puppet.data_frame(1));
    set(&table, 10, 1 | 4, 0, puppet.data_frame(2));
    set(&table, 11, 1, 7, puppet.data_frame(2));
    set(&table, 12, 1, 0, foreign_frame());
    set(&table, 13, 1, 0, BEYOND >> 8);
    set(&table, 14, 1, 0, puppet.frames[0]);
    let window = window(300);
    let va = window.va;
    puppet.data(1).write(4, 0x600d);
    let good = map(them, 9, 2, va);
    let seen = expect("what is read", probe::read(va + 32).map_or(-1, u64::cast_signed), 0x600d);
    a.works(MAP, worked("mapping", good.status).and(seen));
    a.status(UNMAP, unmap(good.handle, va + 4096), GENERAL_ERROR);
    a.status(UNMAP, unmap(good.handle + 9, va), BAD_HANDLE);
    let status = unmap(good.handle, va);
    let gone = expect("reading it", i64::from(probe::read(va).is_err()), 1);
    a.works(UNMAP, worked("unmapping", status).and(gone));
    a.status(UNMAP, unmap(good.handle, va), BAD_HANDLE);
    // For a device as well, which is given up by its own address.
    let both = map(them, 9, 1 | 2, va);
    a.step(worked("mapping", both.status));
    let mut op = Unmap { host_addr: 0, bus_addr: 0x5000, handle: both.handle, status: 99 };
    a.step(expect("the call", grants::op(1, &mut op), 0));
    a.status(UNMAP, op.status, BAD_DEV_ADDR);
    let mut op = Unmap { host_addr: va, bus_addr: both.bus_addr, handle: both.handle, status: 99 };
    a.step(expect("the call", grants::op(1, &mut op), 0));
    a.step(worked("unmapping both", op.status));
    let read_only = map(them, 10, 2 | 4, va);
    a.step(worked("mapping for reading", read_only.status));
    a.step(expect("writing it", i64::from(probe::write(va, 1).is_err()), 1));
    a.step(worked("unmapping", unmap(read_only.handle, va)));
    for (domid, gref, flags, at, wanted) in [
        (NOBODY, 9, 2, va, BAD_DOMAIN),
        (DOMID_SELF as u16, 9, 2, va, BAD_DOMAIN),
        (them, 9, 0, va, BAD_GNTREF),
        (them, 512, 2, va, BAD_GNTREF),
        (them, 9999, 2, va, BAD_GNTREF),
        (them, 20, 2, va, GENERAL_ERROR),
        (them, 10, 2, va, GENERAL_ERROR),
        (them, 11, 2, va, GENERAL_ERROR),
        (them, 12, 2, va, BAD_PAGE),
        (them, 13, 2, va, BAD_PAGE),
        (them, 14, 2, va, GENERAL_ERROR),
        (them, 9, 2, NOWHERE, GENERAL_ERROR),
        (them, 9, 2 | 16, va + 3, GENERAL_ERROR),
        (them, 9, 2 | 16, memory::page().mfn() << 12, GENERAL_ERROR),
    ] {
        a.status(MAP, map(domid, gref, flags, at).status, wanted);
    }
    bad_arguments(&mut a, MAP, 0);
    bad_arguments(&mut a, UNMAP, 1);
    a.refuses("grant_table_op", call3(nr::GRANT_TABLE_OP, 0, NOWHERE, 0xffff_ffff), errno::EINVAL);
    for op in [3, 13, 99] {
        a.refuses("grant_table_op", call3(nr::GRANT_TABLE_OP, op, va, 0), errno::ENOSYS);
    }
    window.close();
    table.close();
    puppet.end()?;
    a.end()
}

/// Maps until there are no handles left.
fn maps_all() -> Outcome {
    let mut a = Answers::new();
    let mut puppet =
        Puppet::with(Limits { vcpus: 1, port: 1023, grant_frames: 1, grant_version: 1 })?;
    grants::install()?;
    let page = memory::page();
    (8..40).for_each(|gref| grant(gref, 1, puppet.domid, page.mfn()));
    // For a device: it needs no address.
    let one = Map { host_addr: 0, flags: 1, gref: 9, dom: 0, status: 99, handle: !0, bus_addr: 0 };
    let mut last = OKAY;
    for gref in 8..40 {
        let mut batch = [Map { gref, ..one }; 64];
        puppet.call_with(nr::GRANT_TABLE_OP, [0, 0, 64, 0, 0], 1, &mut batch);
        last = batch[63].status;
        if last != OKAY {
            break;
        }
    }
    a.status("grant_table_op.map_grant_ref", last, NO_SPACE);
    // With it gone, nothing uses the grant any more.
    puppet.end()?;
    a.step(expect("the entry", grants::flags(9).into(), 1));
    (8..40).for_each(|gref| grant(gref, 0, 0, 0));
    a.end()
}

fn replaces() -> Outcome {
    const NAME: &str = "grant_table_op.unmap_and_replace";
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    let table = table_of(puppet.domid)?;
    set(&table, 9, 1, 0, puppet.data_frame(1));
    let (window, page) = (window(300), memory::page());
    let (va, other) = (window.va, window.va + 4096);
    let good = map(puppet.domid, 9, 2, va);
    a.step(worked("mapping", good.status));
    let mapped = update_va_mapping(other, entry(page.mfn(), PRESENT | WRITE), 2);
    a.step(expect("a page of ours beside it", mapped, 0));
    page.write(0, 0x51);
    a.status(NAME, grants::replace(good.handle + 7, va, other), BAD_HANDLE);
    a.status(NAME, grants::replace(good.handle, va + 8192, other), GENERAL_ERROR);
    a.status(NAME, grants::replace(good.handle, va, NOWHERE), GENERAL_ERROR);
    // Under Xen the refused ones have cost that page its mapping.
    let mapped = update_va_mapping(other, entry(page.mfn(), PRESENT | WRITE), 2);
    a.step(expect("a page of ours beside it", mapped, 0));
    let status = grants::replace(good.handle, va, other);
    let here = expect("what is read", probe::read(va).map_or(-1, u64::cast_signed), 0x51);
    let there = expect("reading it there", i64::from(probe::read(other).is_err()), 1);
    a.works(NAME, worked("replacing", status).and(here).and(there));
    bad_arguments(&mut a, NAME, 7);
    window.close();
    table.close();
    puppet.end()?;
    a.end()
}

fn copies() -> Outcome {
    const NAME: &str = "grant_table_op.copy";
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    let table = table_of(puppet.domid)?;
    let them = puppet.domid;
    set(&table, 9, 1, 0, puppet.data_frame(1));
    set(&table, 10, 1 | 4, 0, puppet.data_frame(2));
    set(&table, 11, 1, 0, foreign_frame());
    set(&table, 14, 1, 0, puppet.frames[0]);
    let page = memory::page();
    let own = |offset| Side { value: page.mfn(), dom: DOMID_SELF as u16, offset };
    let side = |value, dom| Side { value, dom, offset: 0 };
    page.write(0, 0xabcd);
    let status = copy(own(0), side(9, them), 8, 2);
    let there = expect("what is there", puppet.data(1).read(0).cast_signed(), 0xabcd);
    a.works(NAME, worked("copying there", status).and(there));
    puppet.data(2).write(0, 0x77);
    let status = copy(side(10, them), own(8), 8, 1);
    let here = expect("what is here", page.read(1).cast_signed(), 0x77);
    a.works(NAME, worked("copying here", status).and(here));
    let wide = |offset| Side { offset, ..side(9, them) };
    for (source, dest, len, flags, wanted) in [
        (own(0), side(9, NOBODY), 8, 2, BAD_DOMAIN),
        (own(0), side(512, them), 8, 2, BAD_GNTREF),
        (own(0), side(20, them), 8, 2, GENERAL_ERROR),
        (own(0), side(10, them), 8, 2, GENERAL_ERROR),
        (own(0), side(11, them), 8, 2, BAD_PAGE),
        (own(0), side(14, them), 8, 2, GENERAL_ERROR),
        (own(0), side(puppet.data_frame(1), them), 8, 0, PERMISSION_DENIED),
        (own(0), side(foreign_frame(), DOMID_SELF as u16), 8, 0, BAD_PAGE),
        (own(0), wide(4090), 8, 2, BAD_COPY_ARG),
        (own(4090), wide(0), 8, 2, BAD_COPY_ARG),
    ] {
        a.status(NAME, copy(source, dest, len, flags), wanted);
    }
    bad_arguments(&mut a, NAME, 5);
    table.close();
    puppet.end()?;
    a.end()
}

fn transfers() -> Outcome {
    const NAME: &str = "grant_table_op.transfer";
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    let table = table_of(puppet.domid)?;
    let them = puppet.domid;
    set(&table, 9, 2, 0, 0x4242);
    let frame = spare_frame(40);
    let status = transfer(frame, them, 9);
    let entry = table.page().read(9);
    let done = expect("the mark", (entry & 0xffff).cast_signed(), 2 | 4 | 8)
        .and(expect("the frame", (entry >> 32).cast_signed(), frame.cast_signed()))
        .and(expect("its number", memory::mfn_to_pfn(frame).cast_signed(), 0x4242));
    let theirs =
        View::of(them, frame).map_err(|got| Failure { what: "it is theirs", got, wanted: 0 });
    a.works(NAME, worked("giving it", status).and(done).and(theirs.map(View::close)));
    for frame in [foreign_frame(), frame, memory::page().mfn(), memory::top_table()] {
        a.status(NAME, transfer(frame, them, 10), BAD_PAGE);
    }
    // Xen loses the page of one that fails from here on.
    a.status(NAME, transfer(spare_frame(41), NOBODY, 9), BAD_DOMAIN);
    a.status(NAME, transfer(spare_frame(42), them, 10), GENERAL_ERROR);
    a.status(NAME, transfer(spare_frame(43), them, 9), GENERAL_ERROR);
    a.status(NAME, transfer(spare_frame(44), them, 512), GENERAL_ERROR);
    bad_arguments(&mut a, NAME, 4);
    table.close();
    puppet.end()?;
    a.end()
}

fn swaps() -> Outcome {
    const NAME: &str = "grant_table_op.swap_grant_ref";
    let mut a = Answers::new();
    grants::install()?;
    let page = memory::page();
    grant(9, 1, 0, page.mfn());
    grant(10, 0, 5, 77);
    let status = grants::swap(9, 10);
    let moved = expect("the entry", grants::flags(10).into(), 1)
        .and(expect("its frame", grants::frame(10).into(), page.mfn().cast_signed()))
        .and(expect("the other's", grants::frame(9).into(), 77));
    a.works(NAME, worked("swapping", status).and(moved));
    let window = window(300);
    let mapped = map(0, 10, 2, window.va);
    a.step(worked("mapping", mapped.status));
    a.status(NAME, grants::swap(9, 10), EAGAIN);
    a.step(worked("unmapping", unmap(mapped.handle, window.va)));
    a.status(NAME, grants::swap(9, 100_000), BAD_GNTREF);
    a.status(NAME, grants::swap(100_000, 9), BAD_GNTREF);
    bad_arguments(&mut a, NAME, 11);
    window.close();
    a.end()
}
