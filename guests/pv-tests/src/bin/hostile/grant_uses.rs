//! The less common ways to use grants: by entry, for devices, in batches, in version 2.

use crate::{Test, test};
use pv_runtime::events::domid;
use pv_runtime::grants::{self, Map, Side, Unmap, choose, copy, flags, grant, map};
use pv_runtime::hypercall::errno;
use pv_runtime::memory::{self, PRESENT, WRITE, entry, window};
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::probe;

pub const TESTS: &[Test] = &[
    test("grant-entry-bits", entry_bits),
    test("grant-by-entry", by_entry),
    test("grant-for-devices", for_devices),
    test("grant-replace", replace),
    test("grant-batches", batches),
    test("grant-batch-places", batch_places),
    test("grant-swap", swap),
    test("grant-version-two", version_two),
    test("grant-parts", parts),
    test("grant-entry-overwritten", overwritten),
    test("grant-transfer", transfer),
];

const DEVICE: u32 = 1;
const HOST: u32 = 2;
const READONLY: u32 = 4;
const APPLICATION: u32 = 8;
const BY_ENTRY: u32 = 16;
const SELF: u16 = 0x7ff0;

fn unmap(handle: u32, host_addr: u64, bus_addr: u64) -> i64 {
    let mut op = [Unmap { host_addr, bus_addr, handle, ..Unmap::default() }];
    match grants::batch(1, &mut op) {
        0 => i64::from(op[0].status),
        error => error,
    }
}

/// What a mapping's page-table entry holds beside the frame.
fn entry_bits() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    grant(9, 1 | 0x60, domid(), page.mfn());
    let bits = |flags: u32| {
        let mapped = map(domid(), 9, HOST | flags, window.va);
        let bits = window.l1.read(0) ^ (page.mfn() << 12);
        let gone = unmap(mapped.handle, window.va, 0);
        (i64::from(mapped.status) | gone, bits as i64)
    };
    // Present, user, accessed, dirty, a kernel's, not for fetching.
    let kernel = (1 << 63 | 1 << 52 | 0x65u64) as i64;
    expect("mapping for reading", bits(READONLY).0, 0)?;
    expect("its entry", bits(READONLY).1, kernel)?;
    expect("for writing", bits(0).1, kernel | 2)?;
    // Global too, and not the kernel's own.
    expect("for applications", bits(APPLICATION).1, (1 << 63 | 0x167u64) as i64)?;
    expect("bits of our choice", bits(5 << 16).1, kernel | 2 | 5 << 9)?;
    expect("more than there are", bits(0xfff8 << 16).1, kernel | 2)?;
    window.close();
    Ok(())
}

fn by_entry() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    page.write(0, 0xe47);
    grant(9, 1, domid(), page.mfn());
    let at = (window.l1.mfn() << 12) + 3 * 8;
    let va = window.va + 3 * 4096;
    expect("askew", i64::from(map(domid(), 9, HOST | BY_ENTRY, at + 4).status), -1)?;
    let mapped = map(domid(), 9, HOST | BY_ENTRY, at);
    expect("mapping", i64::from(mapped.status), 0)?;
    holds("it is there", probe::read(va) == Ok(0xe47))?;
    expect("unmapping it by its address", unmap(mapped.handle, va, 0), -1)?;
    expect("by another entry", unmap(mapped.handle, at + 8, 0), -1)?;
    expect("by its entry", unmap(mapped.handle, at, 0), 0)?;
    holds("it is gone", probe::read(va).is_err())?;
    expect("the marks", i64::from(flags(9)), 1)?;
    window.close();
    Ok(())
}

fn for_devices() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    let bus = page.mfn() << 12;
    grant(9, 1, domid(), page.mfn());
    let mapped = map(domid(), 9, DEVICE, 0);
    expect("mapping", i64::from(mapped.status), 0)?;
    expect("the address", mapped.bus_addr as i64, bus as i64)?;
    expect("the marks", i64::from(flags(9)), 1 | 8 | 16)?;
    expect("unmapping it elsewhere", unmap(mapped.handle, 0, bus + 4096), -6)?;
    expect("unmapping it", unmap(mapped.handle, 0, bus), 0)?;
    expect("the marks", i64::from(flags(9)), 1)?;
    let both = map(domid(), 9, DEVICE | HOST, window.va);
    expect("mapping for both", i64::from(both.status), 0)?;
    expect("unmapping nothing", unmap(both.handle, 0, 0), 0)?;
    expect("unmapping from the CPU", unmap(both.handle, window.va, 0), 0)?;
    holds("it is gone there", probe::read(window.va).is_err())?;
    expect("the marks", i64::from(flags(9)), 1 | 8 | 16)?;
    expect("unmapping from devices", unmap(both.handle, 0, bus), 0)?;
    expect("the marks", i64::from(flags(9)), 1)?;
    expect("unmapping once more", unmap(both.handle, 0, bus), -4)?;
    // Twice in one call, which ends mappings only after it has looked at all of them.
    let mapped = map(domid(), 9, DEVICE, 0);
    let mut twice = [Unmap { handle: mapped.handle, bus_addr: bus, ..Unmap::default() }; 2];
    expect("unmapping twice", grants::batch(1, &mut twice), 0)?;
    expect("the first time", i64::from(twice[0].status), 0)?;
    expect("the second time", i64::from(twice[1].status), -4)?;
    expect("the marks", i64::from(flags(9)), 1)?;
    // A page table may be granted for reading alone.
    grant(9, 1, domid(), window.l1.mfn());
    let table = |flags| map(domid(), 9, flags, window.va);
    holds("no device may write a page table", table(DEVICE).status < 0)?;
    holds("nor may we", table(HOST).status < 0)?;
    expect("the marks", i64::from(flags(9)), 1)?;
    let reading = table(HOST | READONLY);
    expect("reading it", i64::from(reading.status), 0)?;
    expect("unmapping it", unmap(reading.handle, window.va, 0), 0)?;
    window.close();
    Ok(())
}

fn replace() -> Outcome {
    grants::install()?;
    let window = window(300);
    let (granted, other) = (memory::page(), memory::page());
    granted.write(0, 1);
    other.write(0, 2);
    grant(9, 1, domid(), granted.mfn());
    let (va, new) = (window.va, window.va + 4096);
    let entry = entry(other.mfn(), PRESENT | WRITE);
    expect("another mapping", memory::set_entry(window.l1, 1, entry), 0)?;
    let mapped = map(domid(), 9, HOST, va);
    expect("mapping", i64::from(mapped.status), 0)?;
    expect("replacing", i64::from(grants::replace(mapped.handle, va, new)), 0)?;
    holds("the other has come", probe::read(va) == Ok(2))?;
    holds("it has left its place", probe::read(new).is_err())?;
    expect("the marks", i64::from(flags(9)), 1)?;
    window.close();
    Ok(())
}

fn batches() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    for gref in 9..18 {
        grant(gref, 1, domid(), page.mfn());
    }
    grant(18, 0, 0, 0);
    let at = |n: usize| window.va + n as u64 * 4096;
    let mut maps = [Map::default(); 300];
    for (n, op) in maps.iter_mut().enumerate() {
        // Every tenth of a grant that is none.
        let gref = 9 + n as u32 % 10;
        let (host_addr, dom) = (at(n), domid());
        *op = Map { host_addr, flags: HOST, gref, dom, status: 99, ..Map::default() };
    }
    expect("mapping many", grants::batch(0, &mut maps), 0)?;
    let wanted = |n: usize, refusal: i64| if n % 10 == 9 { refusal } else { 0 };
    for (n, op) in maps.iter().enumerate() {
        expect("each map has its answer", i64::from(op.status), wanted(n, -1))?;
    }
    holds("the last is there", probe::read(at(298)).is_ok())?;
    let mut unmaps = [Unmap::default(); 300];
    for (n, op) in unmaps.iter_mut().enumerate() {
        let handle = if n % 10 == 9 { !0 } else { maps[n].handle };
        *op = Unmap { host_addr: at(n), handle, status: 99, ..Unmap::default() };
    }
    expect("unmapping many", grants::batch(1, &mut unmaps), 0)?;
    for (n, op) in unmaps.iter().enumerate() {
        expect("each unmap has its answer", i64::from(op.status), wanted(n, -4))?;
    }
    holds("the last is gone", probe::read(at(298)).is_err())?;
    expect("the marks", i64::from(flags(9)), 1)?;
    expect("none at all", grants::batch::<Map>(0, &mut []), 0)?;
    window.close();
    Ok(())
}

/// Requests of one batch that go to and fro between two level 1 tables, with places among them
/// that are none: each takes effect where it says, whatever the one before it was about.
fn batch_places() -> Outcome {
    grants::install()?;
    let (one, two) = (window(300), window(301));
    let pages = [0; 6].map(|_| memory::page());
    for (gref, page) in (9..).zip(&pages) {
        grant(gref, 1, domid(), page.mfn());
    }
    let by_entry = (one.l1.mfn() << 12) + 3 * 8;
    let places = [
        (one.va, HOST, 0),
        (two.va + 4096, HOST, 0),
        (one.va + 0x2000, HOST, 0),
        // No table there, though one nearby; the hypervisor's; the other's, by its entry.
        (one.va + (1 << 21), HOST, -1),
        (0xffff_8300_0000_0000, HOST, -1),
        (by_entry, HOST | BY_ENTRY, 0),
        (two.va, HOST, 0),
        (two.va + (1 << 21), HOST, -1),
        (one.va + 0x4000, HOST, 0),
    ];
    let mut maps = places.map(|(host_addr, flags, _)| Map {
        host_addr,
        flags,
        dom: domid(),
        status: 99,
        ..Map::default()
    });
    let good = || (0..places.len()).filter(|&n| places[n].2 == 0);
    good().zip(9..).for_each(|(n, gref)| maps[n].gref = gref);
    places.iter().zip(&mut maps).filter(|(p, _)| p.2 != 0).for_each(|(_, map)| map.gref = 9);
    expect("mapping", grants::batch(0, &mut maps), 0)?;
    for (map, (.., status)) in maps.iter().zip(places) {
        expect("each map has its answer", i64::from(map.status), status)?;
    }
    let frames = |w: &memory::Window| [0, 1, 2, 3, 4].map(|n| memory::mfn_in(w.l1.read(n)));
    let [a, b, c, d, e, f] = pages.map(|page| page.mfn());
    holds("those of the one are there", frames(&one) == [a, 0, c, d, f])?;
    holds("those of the other are there", frames(&two) == [e, b, 0, 0, 0])?;
    let mut unmaps = maps.map(|m| Unmap {
        host_addr: m.host_addr,
        handle: m.handle,
        status: 99,
        ..Unmap::default()
    });
    let bad = |n: &usize| places[*n].2 != 0;
    // One that is in the one window, asked for where the other has its own.
    let instead = (0..places.len()).find(bad).unwrap_or(0);
    (unmaps[instead].host_addr, unmaps[instead].handle) = (two.va + 0x4000, maps[8].handle);
    expect("unmapping", grants::batch(1, &mut unmaps), 0)?;
    for (n, op) in unmaps.iter().enumerate() {
        let wanted = match places[n].2 {
            0 => 0,
            _ if n == instead => -1,
            _ => -4,
        };
        expect("each unmap has its answer", i64::from(op.status), wanted)?;
    }
    holds("all are gone", frames(&one) == [0; 5] && frames(&two) == [0; 5])?;
    for gref in 9..15 {
        expect("the marks", i64::from(flags(gref)), 1)?;
    }
    one.close();
    two.close();
    Ok(())
}

fn swap() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    grant(9, 1, domid(), page.mfn());
    grant(10, 1 | 4, domid(), page.mfn());
    expect("swapping", i64::from(grants::swap(9, 10)), 0)?;
    expect("one", i64::from(flags(9)), 1 | 4)?;
    expect("the other", i64::from(flags(10)), 1)?;
    expect("with one that is none", i64::from(grants::swap(9, 0x10_0000)), -3)?;
    let mapped = map(domid(), 10, HOST, window.va);
    expect("mapping", i64::from(mapped.status), 0)?;
    expect("swapping one in use", i64::from(grants::swap(9, 10)), -12)?;
    expect("unmapping", unmap(mapped.handle, window.va, 0), 0)?;
    window.close();
    Ok(())
}

fn version_two() -> Outcome {
    grants::install()?;
    let window = window(300);
    let (first, page) = (memory::page(), memory::page());
    grant(3, 1, domid(), first.mfn());
    grant(9, 1, domid(), first.mfn());
    expect("version 2", choose(2), 0)?;
    let mut list = [0u64; 2];
    let status = grants::status_frames(SELF, 2, &mut list);
    expect("more status frames than there are", i64::from(status), -1)?;
    expect("its status frame", i64::from(grants::status_frames(SELF, 1, &mut list)), 0)?;
    let status = memory::page();
    let map_entry = entry(list[0], PRESENT | WRITE);
    let mapped = pv_runtime::hypercall::update_va_mapping(status.va(), map_entry, 2);
    expect("mapping the status frame", mapped, 0)?;
    let word = |gref: usize| (status.read(gref / 4) >> (gref % 4 * 16) & 0xffff) as i64;
    let reserved = map(domid(), 3, HOST | READONLY, window.va);
    expect("a reserved entry stayed", i64::from(reserved.status), 0)?;
    holds("the other did not", map(domid(), 9, HOST, window.va + 4096).status < 0)?;
    grants::grant_v2(9, 1, domid(), 0, page.mfn());
    let mapped = map(domid(), 9, HOST, window.va + 4096);
    expect("mapping", i64::from(mapped.status), 0)?;
    expect("its marks", word(9), 8 | 16)?;
    expect("the reserved one's marks", word(3), 8)?;
    expect("version 1 while it is in use", choose(1), errno::EBUSY)?;
    expect("unmapping", unmap(mapped.handle, window.va + 4096, 0), 0)?;
    expect("its marks", word(9), 0)?;
    expect("unmapping the other", unmap(reserved.handle, window.va, 0), 0)?;
    expect("unmapping the status frame", status.unmap(), 0)?;
    expect("version 1 again", choose(1), 0)?;
    window.close();
    Ok(())
}

fn parts() -> Outcome {
    grants::install()?;
    let window = window(300);
    let (from, to) = (memory::page(), memory::page());
    expect("version 2", choose(2), 0)?;
    from.write(2, 0x9a47);
    // Bytes 16 to 31.
    grants::grant_v2(9, 1 | 1 << 8, domid(), 16 | 16 << 16, from.mfn());
    let part = |offset, len| {
        let side = |value, dom, offset| Side { value, dom, offset };
        i64::from(copy(side(9, domid(), offset), side(to.mfn(), SELF, 0), len, 1))
    };
    expect("the part", part(16, 16), 0)?;
    expect("what was copied", to.read(0) as i64, 0x9a47)?;
    expect("before it", part(8, 8), -1)?;
    expect("beyond it", part(24, 16), -1)?;
    expect("mapping it", i64::from(map(domid(), 9, HOST, window.va).status), -1)?;
    // A grant that leads to the granter's own.
    grants::grant_v2(10, 3, domid(), 0, 9);
    let circle = Side { value: 10, dom: domid(), offset: 16 };
    let own = Side { value: to.mfn(), dom: SELF, offset: 0 };
    expect("in a circle", i64::from(copy(circle, own, 8, 1)), -1)?;
    expect("version 1 again", choose(1), 0)?;
    window.close();
    Ok(())
}

/// Who writes over the entry of a mapping can no longer unmap it, before it is there again.
fn overwritten() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    grant(9, 1, domid(), page.mfn());
    let mapped = map(domid(), 9, HOST, window.va);
    expect("mapping", i64::from(mapped.status), 0)?;
    let kept = window.l1.read(0);
    expect("writing over it", memory::set_entry(window.l1, 0, 0), 0)?;
    expect("unmapping", unmap(mapped.handle, window.va, 0), -1)?;
    expect("the marks stay", i64::from(flags(9)), 1 | 8 | 16)?;
    expect("putting it back", memory::set_entry(window.l1, 0, kept), 0)?;
    expect("unmapping then", unmap(mapped.handle, window.va, 0), 0)?;
    expect("the marks go", i64::from(flags(9)), 1)?;
    window.close();
    Ok(())
}

fn transfer() -> Outcome {
    grants::install()?;
    let page = memory::page();
    let (mfn, pfn) = (page.mfn(), memory::mfn_to_pfn(page.mfn()));
    page.write(0, 0x61f7);
    grant(9, 2, domid(), pfn);
    let give = || i64::from(grants::transfer(mfn, domid(), 9));
    expect("a page that is mapped", give(), -9)?;
    expect("the slot", i64::from(flags(9)), 2)?;
    expect("unmapping it", page.unmap(), 0)?;
    expect("giving it to ourselves", give(), 0)?;
    expect("the slot", i64::from(flags(9)), 2 | 4 | 8)?;
    expect("its frame", i64::from(grants::frame(9)), mfn as i64)?;
    expect("its number", memory::mfn_to_pfn(mfn) as i64, pfn as i64)?;
    let entry = entry(mfn, PRESENT | WRITE);
    expect("mapping it", pv_runtime::hypercall::update_va_mapping(page.va(), entry, 2), 0)?;
    expect("what it holds", page.read(0) as i64, 0x61f7)?;
    expect("a frame that is none", i64::from(grants::transfer(1 << 40, domid(), 9)), -9)
}
