//! Pages given back while they are being mapped.

use crate::{Test, WINS, against, pause, stopped, test};
use core::sync::atomic::{AtomicU64, Ordering};
use pv_runtime::hypercall::{DOMID_SELF, addr, call2, ext, mmu_update, mmuext, nr};
use pv_runtime::memory::{self, PRESENT, WRITE, Window, entry, window};
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::{println, probe};

pub const TESTS: &[Test] = &[test("race-release-against-map", release_against_map)];

static FRAME: AtomicU64 = AtomicU64::new(0);
static SLOT: AtomicU64 = AtomicU64::new(0);
/// How often the other CPU has looked at what to map.
static LOOKS: AtomicU64 = AtomicU64::new(0);

fn map_and_unmap() {
    while !stopped() {
        let slot = SLOT.load(Ordering::SeqCst);
        LOOKS.fetch_add(1, Ordering::SeqCst);
        let frame = FRAME.load(Ordering::SeqCst);
        if mmu_update(slot, entry(frame, PRESENT | WRITE)) == 0 {
            WINS.fetch_add(1, Ordering::SeqCst);
            pause(50);
            mmu_update(slot, 0);
        }
        pause(200);
    }
}

fn reservation(op: u64, list: &AtomicU64) -> i64 {
    #[repr(C)]
    struct Extents {
        list: u64,
        count: u64,
        order: u32,
        flags: u32,
        domid: u16,
    }
    let extents =
        Extents { list: addr(list), count: 1, order: 0, flags: 0, domid: DOMID_SELF as u16 };
    call2(nr::MEMORY_OP, op, addr(&extents))
}

/// One CPU gives a page back while another maps it: it is mapped, or gone, and nobody else's
/// before it is unmapped. A page that is given out is the receiver's alone.
fn release_against_map() -> Outcome {
    let theirs = window(300);
    let mine = window(301);
    let first = memory::pfn_to_mfn(pv_runtime::start::info().nr_pages - 700);
    let domid = DOMID_SELF as u16;
    let before = call2(nr::MEMORY_OP, 3, addr(&domid));
    FRAME.store(first, Ordering::SeqCst);
    SLOT.store(theirs.l1.mfn() << 12, Ordering::SeqCst);
    let mut frame = first;
    let rounds = core::cell::Cell::new(0u32);
    let round = || {
        rounds.set(rounds.get() + 1);
        let list = AtomicU64::new(frame);
        // It may be mapped by the other CPU: then it goes when it is unmapped.
        expect("giving it back", reservation(1, &list), 1)?;
        // As soon as the last mapping is gone, so that one can be had again.
        let list = AtomicU64::new(0x20_0000);
        for _ in 0..100_000 {
            if reservation(6, &list) == 1 {
                break;
            }
        }
        frame = list.load(Ordering::SeqCst);
        holds("a page was given", frame != 0x20_0000)?;
        // The other CPU may have it mapped by now, if it is the same one: not any more.
        FRAME.store(0, Ordering::SeqCst);
        let looks = LOOKS.load(Ordering::SeqCst);
        while LOOKS.load(Ordering::SeqCst) < looks + 2 {
            pause(100);
        }
        alone(&mine, frame)?;
        FRAME.store(frame, Ordering::SeqCst);
        pause(3000);
        Ok(())
    };
    let enough = |made| made >= 300 && WINS.load(Ordering::SeqCst) >= 50;
    let outcome = against(map_and_unmap, round, enough);
    println!("{} pages given back, {} times mapped", rounds.get(), WINS.load(Ordering::SeqCst));
    outcome?;
    expect("our pages", call2(nr::MEMORY_OP, 3, addr(&domid)), before)?;
    theirs.close();
    mine.close();
    Ok(())
}

/// A fresh page is empty, and stays as it is written: nobody else has it mapped.
fn alone(mine: &Window, frame: u64) -> Outcome {
    let slot = mine.l1.mfn() << 12;
    expect("mapping it", mmu_update(slot, entry(frame, PRESENT | WRITE)), 0)?;
    memory::flush_local();
    expect("what is in it", probe::read(mine.va).map_or(-1, u64::cast_signed), 0)?;
    // What nobody maps writable can be a page table: its other uses have ended.
    expect("unmapping it", mmu_update(slot, 0), 0)?;
    expect("pinning it", mmuext(ext::PIN_L1, frame, 0), 0)?;
    expect("unpinning it", mmuext(ext::UNPIN, frame, 0), 0)
}
