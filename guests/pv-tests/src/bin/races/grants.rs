//! A grant table that changes its layout while its grants are mapped.

use crate::{Test, WINS, against, stopped, test};
use core::sync::atomic::{AtomicU64, Ordering};
use pv_runtime::grants::{self, Map, map, unmap};
use pv_runtime::hypercall::{errno, ext, mmuext};
use pv_runtime::memory::{self, window};
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::println;

pub const TESTS: &[Test] = &[test("race-version-against-map", version_against_map)];

static ADDRESS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicU64 = AtomicU64::new(0);

/// Maps and unmaps grant 3, which keeps its meaning when the layout changes.
fn map_and_unmap() {
    let va = ADDRESS.load(Ordering::SeqCst);
    while !stopped() {
        let Map { status, handle, .. } = map(0, 3, 2, va);
        if status == 0 {
            WINS.fetch_add(1, Ordering::SeqCst);
            if unmap(handle, va) != 0 {
                HELD.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// The first eight entries keep their meaning from one layout to the other, mapped or not; after
/// all that nothing is left of the mappings.
fn version_against_map() -> Outcome {
    grants::install()?;
    let window = window(300);
    let page = memory::page();
    grants::grant(3, 1, 0, page.mfn());
    ADDRESS.store(window.va, Ordering::SeqCst);
    let mut version = 1u32;
    let changes = core::cell::Cell::new(0u32);
    let round = || {
        let mut wanted = 3 - version;
        match grants::op(8, &mut wanted) {
            0 => {
                version = wanted;
                changes.set(changes.get() + 1);
                Ok(())
            }
            got => expect("changing the version", got, errno::EBUSY),
        }
    };
    let enough = |made| made >= 500 && changes.get() >= 50 && WINS.load(Ordering::SeqCst) >= 50;
    let outcome = against(map_and_unmap, round, enough);
    println!("{} changes, {} mappings", changes.get(), WINS.load(Ordering::SeqCst));
    outcome?;
    holds("both came about", changes.get() > 0 && WINS.load(Ordering::SeqCst) > 0)?;
    expect("mappings that did not end", HELD.load(Ordering::SeqCst).cast_signed(), 0)?;
    if version == 2 {
        let back = grants::op(8, &mut 1u32);
        expect("going back to version 1", back, 0)?;
    }
    expect("the entry", grants::flags(3).into(), 1)?;
    // No reference is left: the page can be a page table.
    page.protect();
    expect("pinning the page", mmuext(ext::PIN_L1, page.mfn(), 0), 0)?;
    expect("unpinning it", mmuext(ext::UNPIN, page.mfn(), 0), 0)?;
    window.close();
    Ok(())
}
