//! What the TLB remembers, and what addresses reach.

use crate::{Test, refused, test};
use pv_runtime::hypercall::{
    INVLPG_ALL, INVLPG_LOCAL, addr, call2, errno, ext, mmuext, nr, update_va_mapping,
};
use pv_runtime::memory::{self, M2P, PRESENT, USER, WRITE, entry, set_entry, window};
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::probe;

pub const TESTS: &[Test] = &[
    test("stale-writable-translation", stale_writable_translation),
    test("stale-after-flush", stale_after_flush),
    test("read-only-downgrade", read_only_downgrade),
    test("va-of-hypervisor", va_of_hypervisor),
    test("read-hypervisor-memory", read_hypervisor_memory),
    test("release-mapped-page", release_mapped_page),
    test("release-page-table", release_page_table),
];

/// A page that becomes a page table is not written through what the TLB remembers of a writable
/// mapping, even though the guest asked for no flush.
fn stale_writable_translation() -> Outcome {
    let window = window(300);
    let page = memory::page();
    expect("protecting the other mapping", page.protect(), 0)?;
    for round in 0..20 {
        let slot = round * 7;
        let va = window.va + slot * 4096;
        let mapped = set_entry(window.l1, slot, entry(page.mfn(), PRESENT | WRITE));
        expect("mapping it writable", mapped, 0)?;
        holds("the writable mapping works", probe::write(va, 0).is_ok())?;
        expect("unmapping it without a flush", set_entry(window.l1, slot, 0), 0)?;
        expect("pinning it", mmuext(ext::PIN_L1, page.mfn(), 0), 0)?;
        let forged = probe::write(va, entry(1 << 20, PRESENT | WRITE));
        let kept = page.read(0);
        expect("unpinning it", mmuext(ext::UNPIN, page.mfn(), 0), 0)?;
        holds("the write faults", forged.is_err())?;
        expect("the table", kept as i64, 0)?;
    }
    window.close();
    Ok(())
}

/// After the flush that was asked for, an unmapped address faults.
fn stale_after_flush() -> Outcome {
    let window = window(300);
    let page = memory::page();
    let good = entry(page.mfn(), PRESENT | WRITE);
    let va = window.va;
    for round in 0..6 {
        expect("mapping it", update_va_mapping(va, good, INVLPG_LOCAL), 0)?;
        holds("it is mapped", probe::write(va, round).is_ok())?;
        match round {
            0 => expect("unmapping", update_va_mapping(va, 0, INVLPG_LOCAL), 0)?,
            1 => expect("unmapping", update_va_mapping(va, 0, INVLPG_ALL), 0)?,
            2 => expect("unmapping", update_va_mapping(va, 0, 1), 0)?,
            _ => {
                expect("unmapping", set_entry(window.l1, 0, 0), 0)?;
                let flushed = match round {
                    3 => mmuext(ext::INVLPG_LOCAL, va, 0),
                    4 => mmuext(ext::TLB_FLUSH_ALL, 0, 0),
                    _ => mmuext(ext::NEW_BASEPTR, memory::top_table(), 0),
                };
                expect("flushing", flushed, 0)?;
            }
        }
        holds("it is unmapped", probe::read(va).is_err())?;
    }
    window.close();
    Ok(())
}

/// A mapping that loses its write bit loses it at once for the hypervisor's purposes: the page
/// has no writable reference any more.
fn read_only_downgrade() -> Outcome {
    let window = window(300);
    let page = memory::page();
    let va = window.va;
    let map = |flags| update_va_mapping(va, entry(page.mfn(), flags), INVLPG_LOCAL);
    expect("protecting the other mapping", page.protect(), 0)?;
    expect("mapping it writable", map(PRESENT | WRITE), 0)?;
    expect("pinning a writable page", mmuext(ext::PIN_L1, page.mfn(), 0), errno::EINVAL)?;
    expect("mapping it read-only", map(PRESENT), 0)?;
    holds("a write faults", probe::write(va, 1).is_err())?;
    expect("pinning it", mmuext(ext::PIN_L1, page.mfn(), 0), 0)?;
    refused("mapping it writable again", map(PRESENT | WRITE))?;
    expect("unpinning it", mmuext(ext::UNPIN, page.mfn(), 0), 0)?;
    expect("mapping it writable again", map(PRESENT | WRITE), 0)?;
    expect("unmapping it", update_va_mapping(va, 0, INVLPG_LOCAL), 0)?;
    window.close();
    Ok(())
}

/// No entry for the hypervisor's own addresses, nor for those that have no tables.
fn va_of_hypervisor() -> Outcome {
    let page = memory::page();
    let good = entry(page.mfn(), PRESENT | USER);
    for va in [
        M2P,
        0xffff_8200_0000_0000,
        0xffff_82d0_4000_0000,
        0xffff_8300_0000_0000,
        0xffff_87ff_ffff_f000,
        0x0000_8000_0000_0000,
        0x1234_0000_0000_0000,
        !0xfff,
        0x0000_7000_0000_0000,
    ] {
        expect("an entry for that address", update_va_mapping(va, good, 2), errno::EINVAL)?;
        expect("clearing it", update_va_mapping(va, 0, 2), errno::EINVAL)?;
    }
    Ok(())
}

/// The table of frame numbers can be read; nothing else of the hypervisor can.
fn read_hypervisor_memory() -> Outcome {
    holds("the frame table is readable", probe::read(M2P).is_ok())?;
    let write = probe::write(M2P, 0);
    holds("it is not writable", write.is_err())?;
    for va in [
        0xffff_8200_0000_0000,
        0xffff_82d0_4020_0000,
        0xffff_82e0_0000_0000,
        0xffff_8300_0000_0000,
        0xffff_8300_0010_0000,
        0xffff_8280_0000_0000,
    ] {
        let Err(trap) = probe::read(va) else {
            return expect("reading the hypervisor's memory", 0, -1);
        };
        expect("the exception", trap.vector as i64, 14)?;
        expect("its address", trap.cr2 as i64, va as i64)?;
        let write = probe::write(va, 0);
        expect("writing", i64::from(write.is_err()), 1)?;
    }
    Ok(())
}

/// Gives pages to the hypervisor, or asks for some: how many were done.
fn reservation(op: u64, frames: &mut [u64]) -> i64 {
    #[repr(C)]
    struct Reservation {
        extents: u64,
        count: u64,
        order: u32,
        flags: u32,
        domid: u16,
    }
    let reservation = Reservation {
        extents: frames.as_mut_ptr() as u64,
        count: frames.len() as u64,
        order: 0,
        flags: 0,
        domid: 0x7ff0,
    };
    call2(nr::MEMORY_OP, op, addr(&reservation))
}

/// A page given back while it is mapped stays ours in all that matters until it is unmapped: it
/// is not handed out again meanwhile.
fn release_mapped_page() -> Outcome {
    let page = memory::page();
    let frame = page.mfn();
    page.write(0, 0x5eed);
    expect("giving it back", reservation(1, &mut [frame]), 1)?;
    let mut fresh = [0u64; 64];
    for (index, slot) in fresh.iter_mut().enumerate() {
        // Frame numbers of our own count beyond those that we have: any will do.
        *slot = pv_runtime::start::info().nr_pages + index as u64;
    }
    // Only as many as were given back can be had: one. A guest may be allowed a few more.
    let most = if pv_runtime::start::privileged() { 1 } else { fresh.len() as i64 };
    let had = reservation(6, &mut fresh);
    holds("asking for pages", (0..=most).contains(&had))?;
    let again = fresh.iter().take(had as usize).any(|&mfn| mfn == frame);
    holds("another page is given", !again)?;
    holds("the old one can be read", probe::read(page.va()) == Ok(0x5eed))?;
    expect("unmapping it", page.unmap(), 0)?;
    let back = update_va_mapping(page.va(), entry(frame, PRESENT), INVLPG_LOCAL);
    refused("mapping it again", back)
}

/// A page given back while it is a page table stays a page table.
fn release_page_table() -> Outcome {
    let window = window(300);
    let page = memory::page();
    let mapped = set_entry(window.l1, 0, entry(page.mfn(), PRESENT | WRITE));
    expect("mapping a page", mapped, 0)?;
    let given = reservation(1, &mut [window.l1.mfn()]);
    holds("giving a page table back", (0..=1).contains(&given))?;
    refused("it is not writable", window.l1.unprotect())?;
    holds("what it maps is still mapped", probe::write(window.va, 1).is_ok())?;
    expect("the page", page.read(0) as i64, 1)?;
    window.close();
    Ok(())
}
