//! A second virtual CPU, and races with it.

use crate::{Test, test};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use pv_runtime::events::domid;
use pv_runtime::grants;
use pv_runtime::hypercall::{addr, errno, ext, mmu_update, mmuext, yield_now};
use pv_runtime::memory::{self, PRESENT, USER, WRITE, entry, window};
use pv_runtime::outcome::{Failure, Outcome, expect, holds};
use pv_runtime::smp::{self, vcpu_op};

pub const TESTS: &[Test] = &[
    test("vcpu-misuse", misuse),
    test("vcpu-bad-context", bad_context),
    test("race-pin-against-map", race_pin_against_map),
    test("race-link-against-unlink", race_link_against_unlink),
    test("race-unmap-handle", race_unmap_handle),
    test("race-unmap-for-devices", race_unmap_for_devices),
];

fn misuse() -> Outcome {
    expect("initialising a running CPU", vcpu_op(0, 0, addr(smp::context(0))), errno::EEXIST)?;
    for vcpu in [99, 0x1_0000, 0xffff_ffff] {
        expect("starting none", vcpu_op(1, vcpu, 0), errno::ENOENT)?;
        expect("asking for none", vcpu_op(3, vcpu, 0), errno::ENOENT)?;
    }
    expect("we are up", vcpu_op(3, 0, 0), 1)?;
    expect("a number that is none", vcpu_op(99, 0, 0), errno::ENOSYS)?;
    #[repr(C)]
    struct Place {
        mfn: u64,
        offset: u32,
        rest: u32,
    }
    let page = memory::page();
    let place = |mfn, offset| vcpu_op(10, 0, addr(&Place { mfn, offset, rest: 0 }));
    expect("state across a page's end", place(page.mfn(), 4096 - 8), errno::ENXIO)?;
    expect("state in a page table", place(memory::top_table(), 0), errno::EACCES)?;
    expect("state beyond memory", place(1 << 39, 0), errno::EINVAL)
}

/// A context is checked before a CPU runs with it. Needs a second CPU that was never started.
fn bad_context() -> Outcome {
    let page = memory::page();
    let initialise = |context: &smp::Context| vcpu_op(0, 1, addr(context));
    let context = smp::context(0xffff_ffff_8010_0000);
    context.control[3] = page.mfn() << 12;
    expect("a top table that is none", initialise(context), errno::EINVAL)?;
    let context = smp::context(0xffff_ffff_8010_0000);
    context.control[3] = 1 << 51;
    expect("a top table beyond memory", initialise(context), errno::EINVAL)?;
    let context = smp::context(0xffff_ffff_8010_0000);
    context.gdt_entries = 512;
    context.gdt_frames[0] = memory::top_table();
    expect("a descriptor table that is none", initialise(context), errno::EINVAL)?;
    let context = smp::context(0xffff_ffff_8010_0000);
    context.gdt_entries = 10_000;
    expect("too many descriptors", initialise(context), errno::EINVAL)?;
    let context = smp::context(0x0000_8000_0000_0000);
    expect("code that cannot be", initialise(context), errno::EINVAL)?;
    expect("starting it so", vcpu_op(1, 1, 0), errno::EINVAL)
}

static STOP: AtomicBool = AtomicBool::new(false);
static TARGET: AtomicU64 = AtomicU64::new(0);
static SLOT: AtomicU64 = AtomicU64::new(0);
static WINS: AtomicU32 = AtomicU32::new(0);

const ROUNDS: u32 = 150;

fn against(work: fn()) -> Outcome {
    STOP.store(false, Ordering::SeqCst);
    WINS.store(0, Ordering::SeqCst);
    smp::start(work).map_err(|got| Failure { what: "starting a second CPU", got, wanted: 0 })
}

fn finish() {
    STOP.store(true, Ordering::SeqCst);
    while !smp::idle() {
        yield_now();
    }
}

/// The target is mapped writable. Set after the mapping and cleared before it goes, so that
/// whoever has the target pinned must find it clear.
static MAPPED: AtomicBool = AtomicBool::new(false);
static BOTH: AtomicU32 = AtomicU32::new(0);

fn pin_and_unpin() {
    while !STOP.load(Ordering::SeqCst) {
        let frame = TARGET.load(Ordering::SeqCst);
        if mmuext(ext::PIN_L1, frame, 0) == 0 {
            WINS.fetch_add(1, Ordering::SeqCst);
            if MAPPED.load(Ordering::SeqCst) {
                BOTH.fetch_add(1, Ordering::SeqCst);
            }
            mmuext(ext::UNPIN, frame, 0);
        }
        for _ in 0..100 {
            core::hint::spin_loop();
        }
    }
}

/// One CPU maps a page writable while another makes it a page table: never both at once.
fn race_pin_against_map() -> Outcome {
    let window = window(300);
    let page = memory::page();
    expect("protecting it", page.protect(), 0)?;
    TARGET.store(page.mfn(), Ordering::SeqCst);
    BOTH.store(0, Ordering::SeqCst);
    let slot = window.l1.mfn() << 12;
    against(pin_and_unpin)?;
    let mut mapped = 0;
    // As often as it takes for each to have won once: which does is the machine's luck.
    for round in 0..ROUNDS * 100 {
        if round >= ROUNDS && mapped > 0 && WINS.load(Ordering::SeqCst) > 0 {
            break;
        }
        if mmu_update(slot, entry(page.mfn(), PRESENT | WRITE)) == 0 {
            mapped += 1;
            MAPPED.store(true, Ordering::SeqCst);
            for _ in 0..1000 {
                core::hint::spin_loop();
            }
            MAPPED.store(false, Ordering::SeqCst);
            mmu_update(slot, 0);
        }
    }
    finish();
    expect("writable and a page table at once", i64::from(BOTH.load(Ordering::SeqCst)), 0)?;
    holds("it was mapped at times", mapped > 0)?;
    expect("it is an ordinary page again", page.unprotect(), 0)?;
    window.close();
    Ok(())
}

fn link_and_unlink() {
    while !STOP.load(Ordering::SeqCst) {
        let slot = SLOT.load(Ordering::SeqCst) + 8;
        let frame = TARGET.load(Ordering::SeqCst);
        if mmu_update(slot, entry(frame, PRESENT | WRITE | USER)) == 0 {
            WINS.fetch_add(1, Ordering::SeqCst);
        }
        mmu_update(slot, 0);
    }
}

/// Two CPUs validate and give up the same table at the same time; its counts come out even.
fn race_link_against_unlink() -> Outcome {
    // In tables of their own, as changes of one table exclude each other.
    let (window, other) = (window(300), window(301));
    let data = memory::page();
    let table = memory::table_with(&[
        (0, entry(data.mfn(), PRESENT | WRITE)),
        (511, entry(data.mfn(), PRESENT | WRITE)),
    ]);
    TARGET.store(table.mfn(), Ordering::SeqCst);
    SLOT.store(other.l2.mfn() << 12, Ordering::SeqCst);
    against(link_and_unlink)?;
    let slot = (window.l2.mfn() << 12) + 16;
    for _ in 0..ROUNDS * 4 {
        mmu_update(slot, entry(table.mfn(), PRESENT | WRITE | USER));
        mmu_update(slot, 0);
    }
    finish();
    expect("flushing", mmuext(ext::TLB_FLUSH_ALL, 0, 0), 0)?;
    expect("the table is an ordinary page again", table.unprotect(), 0)?;
    // No reference of the table's entries is left: the page can become a table itself.
    expect("protecting the page", data.protect(), 0)?;
    expect("pinning it", mmuext(ext::PIN_L1, data.mfn(), 0), 0)?;
    expect("unpinning it", mmuext(ext::UNPIN, data.mfn(), 0), 0)?;
    window.close();
    other.close();
    Ok(())
}

static HANDLE: AtomicU64 = AtomicU64::new(!0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
static BUS: AtomicU64 = AtomicU64::new(0);

/// Unmaps a handle as it was mapped; whether that succeeded.
fn unmap(handle: u32) -> bool {
    let host_addr = ADDRESS.load(Ordering::SeqCst);
    let bus_addr = BUS.load(Ordering::SeqCst);
    let mut op = [grants::Unmap { host_addr, bus_addr, handle, status: 99 }];
    grants::batch(1, &mut op) == 0 && op[0].status == 0
}

fn unmap_whatever() {
    while !STOP.load(Ordering::SeqCst) {
        let handle = HANDLE.load(Ordering::SeqCst);
        if let Ok(handle) = u32::try_from(handle)
            && unmap(handle)
        {
            WINS.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Two CPUs unmap the same grant handle: one of them succeeds, each time.
fn race_unmap_handle() -> Outcome {
    let window = window(300);
    race_unmap(2, window.va, memory::page(), ROUNDS)?;
    window.close();
    Ok(())
}

/// The same where no page-table entry tells that the other was there before.
fn race_unmap_for_devices() -> Outcome {
    race_unmap(1, 0, memory::page(), ROUNDS * 20)
}

fn race_unmap(flags: u32, va: u64, page: &memory::Page, rounds: u32) -> Outcome {
    grants::install()?;
    grants::grant(9, 1, domid(), page.mfn());
    ADDRESS.store(va, Ordering::SeqCst);
    BUS.store(if flags & 1 != 0 { page.mfn() << 12 } else { 0 }, Ordering::SeqCst);
    HANDLE.store(!0, Ordering::SeqCst);
    against(unmap_whatever)?;
    let mut wins = 0;
    let mut failure = Ok(());
    for _ in 0..rounds {
        let mapped = grants::map(domid(), 9, flags, va);
        failure = failure.and(expect("mapping", i64::from(mapped.status), 0));
        HANDLE.store(u64::from(mapped.handle), Ordering::SeqCst);
        if unmap(mapped.handle) {
            wins += 1;
        }
        HANDLE.store(!0, Ordering::SeqCst);
        // The other CPU may still be unmapping.
        while grants::flags(9) != 1 {
            yield_now();
        }
        if failure.is_err() {
            break;
        }
    }
    finish();
    failure?;
    let others = WINS.load(Ordering::SeqCst);
    expect("each was unmapped once", i64::from(wins + others), i64::from(rounds))
}
