//! `mmuext_op`.

use crate::{BEYOND, NOBODY, NOWHERE, Test, foreign_frame, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{DOMID_SELF, MmuExt, addr, call, errno, ext, mmuext, nr};
use pv_runtime::memory::{self, PRESENT, Page, USER, WRITE, entry, set_entry, table_with, window};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::probe;
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] = &[
    test("answers-mmuext-pins", pins),
    test("answers-mmuext-base", base_pointers),
    test("answers-mmuext-flushes", flushes),
    test("answers-mmuext-pages", pages),
    test("answers-mmuext-foreign", foreign),
];

const PINS: [(u32, &str); 4] = [
    (ext::PIN_L1, "mmuext_op.pin_l1_table"),
    (ext::PIN_L2, "mmuext_op.pin_l2_table"),
    (ext::PIN_L3, "mmuext_op.pin_l3_table"),
    (ext::PIN_L4, "mmuext_op.pin_l4_table"),
];
const UNPIN: &str = "mmuext_op.unpin_table";

/// Tables of each level over one page.
fn tables(page: &Page) -> [&'static Page; 4] {
    let below = |next: &Page| entry(next.mfn(), PRESENT | WRITE | USER);
    let l1 = table_with(&[(0, entry(page.mfn(), PRESENT | WRITE))]);
    let l2 = table_with(&[(0, below(l1))]);
    let l3 = table_with(&[(0, below(l2))]);
    [l1, l2, l3, table_with(&[(0, below(l3))])]
}

fn pins() -> Outcome {
    let mut a = Answers::new();
    let page = memory::page();
    let tables = tables(page);
    let junk = table_with(&[(0, entry(1 << 20, PRESENT | 1 << 7 | 1 << 51))]);
    for ((op, name), table) in PINS.into_iter().zip(tables) {
        let result = mmuext(op, table.mfn(), 0);
        // A pinned table cannot be had for writing, and can when it is unpinned.
        let refused = table.unprotect();
        let effect =
            expect("pinning", result, 0).and(expect("mapping it writable", refused, errno::EBUSY));
        a.works(name, effect);
        a.refuses(name, mmuext(op, table.mfn(), 0), errno::EINVAL);
        let other = if op == ext::PIN_L1 { ext::PIN_L2 } else { ext::PIN_L1 };
        a.refuses(PINS[other as usize].1, mmuext(other, table.mfn(), 0), errno::EINVAL);
        let result = mmuext(ext::UNPIN, table.mfn(), 0);
        let writable = table.unprotect();
        a.works(UNPIN, expect("unpinning", result, 0).and(expect("writable", writable, 0)));
        // Now it is an ordinary page that is mapped writable.
        a.refuses(name, mmuext(op, table.mfn(), 0), errno::EINVAL);
        a.step(expect("protecting", table.protect(), 0));
        for frame in [foreign_frame(), BEYOND, 0xfec00] {
            a.refuses(name, mmuext(op, frame, 0), errno::EINVAL);
        }
        // What only an L1 entry is told apart: I/O memory, and a page of somebody else's.
        let l1 = |wanted| if op == ext::PIN_L1 { wanted } else { errno::EINVAL };
        a.refuses(name, mmuext(op, junk.mfn(), 0), l1(errno::EPERM));
        let strange = table_with(&[(0, entry(foreign_frame(), PRESENT))]);
        a.refuses(name, mmuext(op, strange.mfn(), 0), l1(errno::EBUSY));
    }
    a.refuses(UNPIN, mmuext(ext::UNPIN, tables[0].mfn(), 0), errno::EINVAL);
    for frame in [foreign_frame(), BEYOND] {
        a.refuses(UNPIN, mmuext(ext::UNPIN, frame, 0), errno::EINVAL);
    }
    a.end()
}

/// A copy of the running top table, which can be loaded in its place.
fn another_top() -> &'static Page {
    let page = memory::page();
    for index in (0..512).filter(|index| !(256..272).contains(index)) {
        page.write(index, memory::walk((index as u64) << 39, 4).1);
    }
    assert!(page.protect() == 0, "a page is not to be protected");
    page
}

fn base_pointers() -> Outcome {
    const KERNEL: &str = "mmuext_op.new_baseptr";
    const USER_MODE: &str = "mmuext_op.new_user_baseptr";
    let mut a = Answers::new();
    let (old, top) = (memory::top_table(), another_top());
    let result = mmuext(ext::NEW_BASEPTR, top.mfn(), 0);
    let held = top.unprotect();
    let back = mmuext(ext::NEW_BASEPTR, old, 0);
    let effect = expect("loading another top table", result, 0)
        .and(expect("mapping it writable", held, errno::EBUSY))
        .and(expect("going back", back, 0))
        .and_then(|()| expect("mapping it writable then", top.unprotect(), 0));
    a.works(KERNEL, effect);
    a.step(expect("protecting it", top.protect(), 0));
    let result = mmuext(ext::NEW_USER_BASEPTR, top.mfn(), 0);
    let held = top.unprotect();
    let none = mmuext(ext::NEW_USER_BASEPTR, 0, 0);
    let effect = expect("setting the user's top table", result, 0)
        .and(expect("mapping it writable", held, errno::EBUSY))
        .and(expect("setting none", none, 0))
        .and_then(|()| expect("mapping it writable then", top.unprotect(), 0));
    a.works(USER_MODE, effect);
    for (op, name) in [(ext::NEW_BASEPTR, KERNEL), (ext::NEW_USER_BASEPTR, USER_MODE)] {
        for frame in [foreign_frame(), BEYOND] {
            a.refuses(name, mmuext(op, frame, 0), errno::EINVAL);
        }
        // Mapped writable.
        a.refuses(name, mmuext(op, top.mfn(), 0), errno::EINVAL);
        let junk = table_with(&[(0, entry(foreign_frame(), PRESENT | USER))]);
        a.refuses(name, mmuext(op, junk.mfn(), 0), errno::EINVAL);
    }
    a.end()
}

fn flushes() -> Outcome {
    let mut a = Answers::new();
    let window = window(300);
    let page = memory::page();
    let cpus = u64::MAX;
    for (op, name, arg2) in [
        (ext::TLB_FLUSH_LOCAL, "mmuext_op.tlb_flush_local", 0),
        (ext::INVLPG_LOCAL, "mmuext_op.invlpg_local", 0),
        (ext::TLB_FLUSH_MULTI, "mmuext_op.tlb_flush_multi", addr(&cpus)),
        (ext::INVLPG_MULTI, "mmuext_op.invlpg_multi", addr(&cpus)),
        (ext::TLB_FLUSH_ALL, "mmuext_op.tlb_flush_all", 0),
        (ext::INVLPG_ALL, "mmuext_op.invlpg_all", 0),
    ] {
        a.step(expect("mapping", set_entry(window.l1, 0, entry(page.mfn(), PRESENT | WRITE)), 0));
        a.step(holds("it is mapped", probe::write(window.va, 1).is_ok()));
        a.step(expect("unmapping", set_entry(window.l1, 0, 0), 0));
        let result = mmuext(op, window.va, arg2);
        let gone = holds("the address faults", probe::read(window.va).is_err());
        a.works(name, expect("flushing", result, 0).and(gone));
    }
    for (op, name) in [
        (ext::TLB_FLUSH_MULTI, "mmuext_op.tlb_flush_multi"),
        (ext::INVLPG_MULTI, "mmuext_op.invlpg_multi"),
    ] {
        a.refuses(name, mmuext(op, window.va, NOWHERE), errno::EINVAL);
    }
    a.works("mmuext_op.flush_cache", expect("flushing", mmuext(ext::FLUSH_CACHE, 0, 0), 0));
    let global = mmuext(ext::FLUSH_CACHE_GLOBAL, 0, 0);
    a.works("mmuext_op.flush_cache_global", expect("flushing", global, 0));
    window.close();
    for op in [14, 21, 99] {
        a.refuses("mmuext_op", mmuext(op, 0, 0), errno::ENOSYS);
    }
    let op = MmuExt::default();
    let with = |list, count, done, domid| call(nr::MMUEXT_OP, [list, count, done, domid, 0]);
    a.refuses("mmuext_op", with(NOWHERE, 1, 0, DOMID_SELF), errno::EFAULT);
    let flush = MmuExt { cmd: ext::TLB_FLUSH_LOCAL, ..op };
    // What is done is done, though the count of it goes nowhere.
    a.step(expect("a count nowhere", with(addr(&flush), 1, NOWHERE, DOMID_SELF), 0));
    a.refuses("mmuext_op", with(addr(&op), 1, 0, NOBODY.into()), errno::ESRCH);
    a.end()
}

fn pages() -> Outcome {
    let mut a = Answers::new();
    let (one, two) = (memory::page(), memory::page());
    one.write(7, 0x1111);
    let result = mmuext(ext::COPY_PAGE, two.mfn(), one.mfn());
    let copied = expect("what is there", two.read(7).cast_signed(), 0x1111);
    a.works("mmuext_op.copy_page", expect("copying", result, 0).and(copied));
    let result = mmuext(ext::CLEAR_PAGE, two.mfn(), 0);
    let cleared = expect("what is there", two.read(7).cast_signed(), 0);
    a.works("mmuext_op.clear_page", expect("clearing", result, 0).and(cleared));
    for frame in [memory::top_table(), foreign_frame(), BEYOND] {
        a.refuses("mmuext_op.clear_page", mmuext(ext::CLEAR_PAGE, frame, 0), errno::EINVAL);
        a.refuses("mmuext_op.copy_page", mmuext(ext::COPY_PAGE, frame, one.mfn()), errno::EINVAL);
    }
    for frame in [foreign_frame(), BEYOND] {
        a.refuses("mmuext_op.copy_page", mmuext(ext::COPY_PAGE, one.mfn(), frame), errno::EINVAL);
    }
    a.end()
}

fn foreign() -> Outcome {
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let theirs: u64 = puppet.domid.into();
    let on = |cmd, arg1, arg2, domid: u64| {
        let op = MmuExt { cmd, arg1, arg2 };
        call(nr::MMUEXT_OP, [addr(&op), 1, 0, domid, 0])
    };
    // What is for one's own address space only.
    for op in [
        ext::NEW_BASEPTR,
        ext::NEW_USER_BASEPTR,
        ext::TLB_FLUSH_LOCAL,
        ext::INVLPG_LOCAL,
        ext::TLB_FLUSH_MULTI,
        ext::INVLPG_MULTI,
        ext::TLB_FLUSH_ALL,
        ext::INVLPG_ALL,
        ext::FLUSH_CACHE,
        ext::FLUSH_CACHE_GLOBAL,
        ext::SET_LDT,
    ] {
        a.refuses("mmuext_op", on(op, 0, 0, theirs), errno::EPERM);
    }
    puppet.data(1).write(9, 5);
    a.step(expect("clearing its page", on(ext::CLEAR_PAGE, puppet.data_frame(1), 0, theirs), 0));
    a.step(expect("its page", puppet.data(1).read(9).cast_signed(), 0));
    a.refuses(PINS[3].1, on(ext::PIN_L4, memory::top_table(), 0, theirs), errno::EINVAL);
    a.refuses(UNPIN, on(ext::UNPIN, memory::top_table(), 0, theirs), errno::EINVAL);
    // What it may not do itself.
    let mut from = |cmd, arg1, domid: u64| {
        let mut op = MmuExt { cmd, arg1, arg2: 0 };
        puppet.call_with(nr::MMUEXT_OP, [0, 1, 0, domid, 0], 0, &mut op)
    };
    a.refuses("mmuext_op", from(ext::TLB_FLUSH_LOCAL, 0, 0), errno::EPERM);
    a.refuses("mmuext_op", from(ext::TLB_FLUSH_LOCAL, 0, NOBODY.into()), errno::ESRCH);
    a.refuses("mmuext_op.flush_cache", from(ext::FLUSH_CACHE, 0, DOMID_SELF), errno::EACCES);
    let global = from(ext::FLUSH_CACHE_GLOBAL, 0, DOMID_SELF);
    a.refuses("mmuext_op.flush_cache_global", global, errno::EACCES);
    puppet.end()?;
    a.end()
}
