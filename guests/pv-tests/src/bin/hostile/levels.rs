//! Tables at the wrong level, pins, base pointers.

use crate::{Test, foreign_frame, refused, test};
use pv_runtime::hypercall::{errno, ext, mmuext};
use pv_runtime::memory::{self, PRESENT, USER, WRITE, entry, set_entry, window};
use pv_runtime::outcome::{Outcome, expect};

pub const TESTS: &[Test] = &[
    test("level-confusion", level_confusion),
    test("pin-wrong-level", pin_wrong_level),
    test("pin-twice", pin_twice),
    test("pin-foreign", pin_foreign),
    test("unpin-in-use", unpin_in_use),
    test("base-pointer-to-anything", base_pointer_to_anything),
    test("user-table-in-use", user_table_in_use),
    test("clear-and-copy-pages", clear_and_copy_pages),
];

const TABLE: u64 = PRESENT | WRITE | USER;

/// A table in use at one level is not taken at another.
fn level_confusion() -> Outcome {
    let window = window(300);
    let (l1, l2, l3) = (window.l1.mfn(), window.l2.mfn(), window.l3.mfn());
    for (table, frame, what) in [
        (window.l3, l1, "L3 names an L1 table"),
        (window.l3, l3, "L3 names itself, writable"),
        (window.l2, l3, "L2 names an L3 table"),
        (window.l2, l2, "L2 names itself, writable"),
        (window.l2, memory::top_table(), "L2 names the top table"),
        (window.l3, memory::top_table(), "L3 names the top table"),
    ] {
        expect(what, set_entry(table, 7, entry(frame, TABLE)), errno::EINVAL)?;
    }
    window.close();
    Ok(())
}

/// A pin names the level that the table has.
fn pin_wrong_level() -> Outcome {
    let window = window(300);
    for (level, frame, what) in [
        (ext::PIN_L2, window.l1.mfn(), "an L1 table pinned as L2"),
        (ext::PIN_L1, window.l2.mfn(), "an L2 table pinned as L1"),
        (ext::PIN_L4, window.l3.mfn(), "an L3 table pinned as L4"),
        (ext::PIN_L3, memory::top_table(), "the top table pinned as L3"),
        (ext::PIN_L1, memory::page().mfn(), "a writable page pinned as L1"),
        (ext::PIN_L4, memory::page().mfn(), "a writable page pinned as L4"),
    ] {
        expect(what, mmuext(level, frame, 0), errno::EINVAL)?;
    }
    window.close();
    Ok(())
}

/// There is one pin, which is given back once.
fn pin_twice() -> Outcome {
    let table = memory::empty_table();
    expect("unpinning what is not pinned", mmuext(ext::UNPIN, table.mfn(), 0), errno::EINVAL)?;
    for _ in 0..3 {
        expect("a pin", mmuext(ext::PIN_L1, table.mfn(), 0), 0)?;
        expect("a second pin", mmuext(ext::PIN_L1, table.mfn(), 0), errno::EINVAL)?;
        refused("a pinned table is not writable", table.unprotect())?;
        expect("an unpin", mmuext(ext::UNPIN, table.mfn(), 0), 0)?;
        expect("a second unpin", mmuext(ext::UNPIN, table.mfn(), 0), errno::EINVAL)?;
    }
    expect("it is writable again", table.unprotect(), 0)
}

/// Pins are for one's own pages.
fn pin_foreign() -> Outcome {
    for frame in [foreign_frame(), 1 << 39, !0] {
        expect("pinning it", mmuext(ext::PIN_L1, frame, 0), errno::EINVAL)?;
        expect("unpinning it", mmuext(ext::UNPIN, frame, 0), errno::EINVAL)?;
    }
    expect("no such operation", mmuext(99, 0, 0), errno::ENOSYS)
}

/// Unpinning a table that is also linked leaves it a table.
fn unpin_in_use() -> Outcome {
    let window = window(300);
    expect("pinning a linked table", mmuext(ext::PIN_L1, window.l1.mfn(), 0), 0)?;
    expect("unpinning it", mmuext(ext::UNPIN, window.l1.mfn(), 0), 0)?;
    refused("it is still a table", window.l1.unprotect())?;
    window.close();
    Ok(())
}

/// Only top tables become base pointers, and a refusal leaves the old one.
fn base_pointer_to_anything() -> Outcome {
    let window = window(300);
    for frame in
        [memory::page().mfn(), window.l1.mfn(), window.l3.mfn(), foreign_frame(), 1 << 39, !0]
    {
        refused("a new base pointer", mmuext(ext::NEW_BASEPTR, frame, 0))?;
        refused("a new user base pointer", mmuext(ext::NEW_USER_BASEPTR, frame, 0))?;
    }
    expect("the old base pointer", mmuext(ext::NEW_BASEPTR, memory::top_table(), 0), 0)?;
    window.close();
    Ok(())
}

/// A user table stays a table while it is the user base pointer, pinned or not.
fn user_table_in_use() -> Outcome {
    let table = memory::empty_table();
    expect("pinning it", mmuext(ext::PIN_L4, table.mfn(), 0), 0)?;
    expect("using it", mmuext(ext::NEW_USER_BASEPTR, table.mfn(), 0), 0)?;
    expect("unpinning it", mmuext(ext::UNPIN, table.mfn(), 0), 0)?;
    refused("it is still a table", table.unprotect())?;
    expect("leaving it", mmuext(ext::NEW_USER_BASEPTR, 0, 0), 0)?;
    expect("it is writable again", table.unprotect(), 0)
}

/// The hypervisor clears and copies writable pages only.
fn clear_and_copy_pages() -> Outcome {
    let window = window(300);
    let (from, to) = (memory::page(), memory::page());
    from.write(3, 77);
    expect("copying a page", mmuext(ext::COPY_PAGE, to.mfn(), from.mfn()), 0)?;
    expect("the copy", to.read(3) as i64, 77)?;
    expect("clearing a page", mmuext(ext::CLEAR_PAGE, to.mfn(), 0), 0)?;
    expect("the cleared page", to.read(3) as i64, 0)?;
    for frame in [window.l1.mfn(), foreign_frame(), 1 << 39] {
        expect("clearing it", mmuext(ext::CLEAR_PAGE, frame, 0), errno::EINVAL)?;
        expect("copying to it", mmuext(ext::COPY_PAGE, frame, from.mfn()), errno::EINVAL)?;
    }
    expect(
        "copying from abroad",
        mmuext(ext::COPY_PAGE, to.mfn(), foreign_frame()),
        errno::EINVAL,
    )?;
    window.close();
    Ok(())
}
