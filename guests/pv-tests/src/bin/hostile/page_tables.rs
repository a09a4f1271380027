//! Forged entries, and pages in two roles.

use crate::{Test, foreign_frame, refused, test};
use pv_runtime::hypercall::{MmuUpdate, errno, ext, mmu_update, mmu_updates, mmuext};
use pv_runtime::memory::{self, LARGE, PRESENT, USER, WRITE, entry, set_entry, window};
use pv_runtime::outcome::{Outcome, expect};
use pv_runtime::probe;

pub const TESTS: &[Test] = &[
    test("l1-foreign-frame", l1_foreign_frame),
    test("l1-frame-beyond-memory", l1_frame_beyond_memory),
    test("l1-writable-page-table", l1_writable_page_table),
    test("reserved-bits", reserved_bits),
    test("l2-writable-page", l2_writable_page),
    test("l2-forged-table", l2_forged_table),
    test("l2-large-page", l2_large_page),
    test("l4-hypervisor-slots", l4_hypervisor_slots),
    test("l4-writable-self-map", l4_writable_self_map),
    test("mmu-update-misuse", mmu_update_misuse),
    test("mmu-update-partial", mmu_update_partial),
    test("direct-write-forged", direct_write_forged),
];

const TABLE: u64 = PRESENT | WRITE | USER;

/// An L1 entry cannot name a page of nobody or of somebody else.
fn l1_foreign_frame() -> Outcome {
    let window = window(300);
    let frame = foreign_frame();
    for flags in [PRESENT, PRESENT | WRITE] {
        refused("mapping a foreign frame", set_entry(window.l1, 0, entry(frame, flags)))?;
    }
    expect("the entry", window.l1.read(0) as i64, 0)?;
    window.close();
    Ok(())
}

/// Nor one that no machine has: dom0 may map what is not memory, but only what there can be.
fn l1_frame_beyond_memory() -> Outcome {
    let window = window(300);
    for (frame, wanted) in [(1 << 39, errno::EPERM), ((1 << 40) - 1, errno::EINVAL)] {
        let result = set_entry(window.l1, 0, entry(frame, PRESENT));
        expect("mapping beyond memory", result, wanted)?;
    }
    window.close();
    Ok(())
}

/// A page table is never mapped writable, whatever its level; reading it is fine.
fn l1_writable_page_table() -> Outcome {
    let window = window(300);
    for table in [window.l1, window.l2, window.l3] {
        let writable = set_entry(window.l1, 1, entry(table.mfn(), PRESENT | WRITE));
        refused("a writable mapping of a page table", writable)?;
        refused("the same by virtual address", table.unprotect())?;
        let readable = set_entry(window.l1, 1, entry(table.mfn(), PRESENT));
        expect("a read-only mapping", readable, 0)?;
    }
    let top = entry(memory::top_table(), PRESENT | WRITE);
    refused("a writable mapping of the top table", set_entry(window.l1, 1, top))?;
    window.close();
    Ok(())
}

/// Software's bits are the guest's in L1 entries; cache and global bits are not, above.
fn reserved_bits() -> Outcome {
    let window = window(300);
    let page = memory::page();
    for bit in [9, 52, 58] {
        let result = set_entry(window.l1, 0, entry(page.mfn(), PRESENT) | 1 << bit);
        expect("an L1 entry with a software bit", result, 0)?;
    }
    for bit in [3, 4, 8] {
        let result = set_entry(window.l2, 5, entry(window.l1.mfn(), TABLE) | 1 << bit);
        expect("an L2 entry with a reserved bit", result, errno::EINVAL)?;
    }
    window.close();
    Ok(())
}

/// A page that is mapped writable cannot become a page table, and a page table not writable.
fn l2_writable_page() -> Outcome {
    let window = window(300);
    let page = memory::page();
    let link = || set_entry(window.l2, 1, entry(page.mfn(), TABLE));
    expect("a writable page as a table", link(), errno::EINVAL)?;
    expect("protecting it", page.protect(), 0)?;
    expect("a read-only page as a table", link(), 0)?;
    refused("making a table writable", page.unprotect())?;
    expect("unlinking it", set_entry(window.l2, 1, 0), 0)?;
    expect("making it writable then", page.unprotect(), 0)?;
    window.close();
    Ok(())
}

/// A page of forged entries does not become a table, and the attempt leaves nothing behind.
fn l2_forged_table() -> Outcome {
    let window = window(300);
    let good = memory::page();
    // The last entry is the bad one, so that all before it must be given back.
    let forged = memory::table_with(&[
        (0, entry(good.mfn(), PRESENT | WRITE)),
        (1, entry(good.mfn(), PRESENT)),
        (511, entry(foreign_frame(), PRESENT | WRITE)),
    ]);
    refused("a forged table", set_entry(window.l2, 1, entry(forged.mfn(), TABLE)))?;
    refused("pinning it", mmuext(ext::PIN_L1, forged.mfn(), 0))?;
    expect("making it writable again", forged.unprotect(), 0)?;
    // If a writable reference were left, the page could not become a table.
    expect("protecting the page that it named", good.protect(), 0)?;
    expect("pinning that page", mmuext(ext::PIN_L1, good.mfn(), 0), 0)?;
    expect("unpinning that page", mmuext(ext::UNPIN, good.mfn(), 0), 0)?;
    window.close();
    Ok(())
}

/// Large pages would map frames that were never checked.
fn l2_large_page() -> Outcome {
    let window = window(300);
    let frame = memory::top_table() & !511;
    for (table, what) in [(window.l2, "a 2 MiB page"), (window.l3, "a 1 GiB page")] {
        let result = set_entry(table, 1, entry(frame, TABLE | LARGE));
        expect(what, result, errno::EINVAL)?;
    }
    // A table that would do there is no large page either.
    for (table, below) in [(window.l2, window.l1), (window.l3, window.l2)] {
        let result = set_entry(table, 1, entry(below.mfn(), TABLE | LARGE));
        expect("a table as a large page", result, errno::EINVAL)?;
    }
    window.close();
    Ok(())
}

/// The hypervisor's slots of the top table are not the guest's to write.
fn l4_hypervisor_slots() -> Outcome {
    let top = memory::top_table() << 12;
    let window = window(300);
    for slot in [256, 257, 260, 261, 271] {
        let result = mmu_update(top + slot * 8, entry(window.l3.mfn(), TABLE));
        expect("a hypervisor slot", result, errno::EINVAL)?;
        expect("clearing a hypervisor slot", mmu_update(top + slot * 8, 0), errno::EINVAL)?;
    }
    expect("a guest's slot", mmu_update(top + 272 * 8, entry(window.l3.mfn(), TABLE)), 0)?;
    expect("clearing it", mmu_update(top + 272 * 8, 0), 0)?;
    window.close();
    Ok(())
}

/// The top table may name itself for reading (a linear page table), never for writing.
fn l4_writable_self_map() -> Outcome {
    let top = memory::top_table();
    let slot = (top << 12) + 301 * 8;
    let writable = mmu_update(slot, entry(top, TABLE));
    expect("a writable self map", writable, errno::EINVAL)?;
    // A hypervisor without linear page tables says EINVAL here, which is as safe.
    let readable = mmu_update(slot, entry(top, PRESENT | USER));
    if readable == 0 {
        let va = 0xffff_0000_0000_0000 | 301 << 39 | 301 << 30 | 301 << 21 | 301 << 12;
        let own = probe::read(va + 301 * 8).map_or(0, memory::mfn_in);
        expect("the entry seen through itself", own as i64, top as i64)?;
        let write = probe::write(va + 302 * 8, entry(top, TABLE));
        expect("a write through it faults", i64::from(write.is_err()), 1)?;
        expect("clearing it", mmu_update(slot, 0), 0)?;
        expect("flushing", memory::flush_local(), 0)?;
    }
    Ok(())
}

/// Entries that are not entries, kinds that do not exist, frames of others.
fn mmu_update_misuse() -> Outcome {
    let window = window(300);
    let l1 = window.l1.mfn() << 12;
    expect("a foreign table", mmu_update(foreign_frame() << 12, 0), errno::EINVAL)?;
    expect("a table beyond memory", mmu_update(1 << 51, 0), errno::EINVAL)?;
    let foreign = foreign_frame() << 12;
    expect("a foreign machine-to-physical entry", mmu_update(foreign | 1, 5), errno::EINVAL)?;
    let kept = memory::mfn_to_pfn(foreign >> 12);
    expect("that entry is as it was", i64::from(kept == 5), 0)?;
    refused("an entry across two", mmu_update(l1 + 4, 1))?;
    expect("no updates at all", mmu_updates(&[]).0, 0)?;
    window.close();
    Ok(())
}

/// Of a batch, what precedes the bad one is done and counted; nothing behind it is.
fn mmu_update_partial() -> Outcome {
    let window = window(300);
    let l1 = window.l1.mfn() << 12;
    let page = memory::page();
    let good = entry(page.mfn(), PRESENT);
    let updates = [
        MmuUpdate { ptr: l1, val: good },
        MmuUpdate { ptr: l1 + 8, val: entry((1 << 40) - 1, PRESENT) },
        MmuUpdate { ptr: l1 + 16, val: good },
    ];
    let (result, done) = mmu_updates(&updates);
    expect("the result", result, errno::EINVAL)?;
    expect("how many are done", i64::from(done), 1)?;
    expect("the first", memory::mfn_in(window.l1.read(0)) as i64, page.mfn() as i64)?;
    expect("the third", window.l1.read(2) as i64, 0)?;
    window.close();
    Ok(())
}

/// A write to a page table by an instruction is checked like any other. It may be carried out
/// (writable page tables) or fault; a forged one faults.
fn direct_write_forged() -> Outcome {
    let window = window(300);
    let page = memory::page();
    let va = window.l1.va();
    let forged = entry(foreign_frame(), PRESENT | WRITE);
    let write = probe::write(va, forged);
    expect("the forged write faults", i64::from(write.is_err()), 1)?;
    expect("the entry", window.l1.read(0) as i64, 0)?;
    let good = probe::write(va, entry(page.mfn(), PRESENT));
    let seen = memory::mfn_in(window.l1.read(0));
    let wanted = if good.is_ok() { page.mfn() } else { 0 };
    expect("the entry after a good write", seen as i64, wanted as i64)?;
    // The upper tables are written by hypercall only.
    let upper = probe::write(window.l2.va() + 8, entry(window.l1.mfn(), TABLE));
    expect("a write to an L2 table faults", i64::from(upper.is_err()), 1)?;
    window.close();
    Ok(())
}
