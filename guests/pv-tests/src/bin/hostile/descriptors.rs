//! Descriptor tables, trap tables, callbacks, segment bases, debug registers.

use crate::{Test, foreign_frame, refused, test};
use pv_runtime::hypercall::{addr, call2, errno, ext, mmuext, nr};
use pv_runtime::memory::{self, Page};
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::traps::{KERNEL_CS, TrapInfo, register_callback};
use pv_runtime::{probe, try_asm};

pub const TESTS: &[Test] = &[
    test("gdt-bad-frames", gdt_bad_frames),
    test("gdt-bad-descriptors", gdt_bad_descriptors),
    test("gdt-written-while-loaded", gdt_written_while_loaded),
    test("ldt-bad-ranges", ldt_bad_ranges),
    test("trap-table-misuse", trap_table_misuse),
    test("callback-misuse", callback_misuse),
    test("segment-base-misuse", segment_base_misuse),
    test("debug-register-misuse", debug_register_misuse),
];

const NONCANONICAL: u64 = 0x0000_8000_0000_0000;

fn set_gdt(frames: &[u64], entries: u64) -> i64 {
    call2(nr::SET_GDT, addr(frames), entries)
}

fn gdt_bad_frames() -> Outcome {
    let table = memory::empty_table();
    let writable = memory::page();
    let many = [table.mfn(); 16];
    for entries in [7169, 0xffff, 0xffff_ffff] {
        expect("too many entries", set_gdt(&many, entries), errno::EINVAL)?;
    }
    for frame in [foreign_frame(), 1 << 39, !0, memory::top_table(), writable.mfn()] {
        expect("such a frame", set_gdt(&[frame], 512), errno::EINVAL)?;
        expect("behind a good one", set_gdt(&[table.mfn(), frame], 1024), errno::EINVAL)?;
    }
    // Had a reference been left behind, it could not become a page table.
    expect("pinning the good one", mmuext(ext::PIN_L1, table.mfn(), 0), 0)?;
    expect("unpinning it", mmuext(ext::UNPIN, table.mfn(), 0), 0)?;
    expect("no frames at all", set_gdt(&many, 0), 0)
}

/// A page with one descriptor in it.
fn page_with(descriptor: u64) -> &'static Page {
    let page = memory::page();
    page.write(5, descriptor);
    let protected = page.protect();
    assert!(protected == 0);
    page
}

/// System descriptors and gates would reach around the hypervisor.
fn gdt_bad_descriptors() -> Outcome {
    for (descriptor, what) in [
        (0x0000_8900_0000_0067, "an available TSS"),
        (0x0000_8b00_0000_0067, "a busy TSS"),
        (0x0000_8200_0000_ffff, "an LDT"),
        (0x0000_ec00_e030_1000, "a call gate"),
        (0x0000_ee00_e030_1000, "an interrupt gate"),
    ] {
        let page = page_with(descriptor);
        expect(what, set_gdt(&[page.mfn()], 512), errno::EINVAL)?;
        expect("the page is ours again", page.unprotect(), 0)?;
    }
    Ok(())
}

/// A loaded table is read-only; entries are changed one by one, checked. Descriptors of ring 0
/// are refused or lifted out of ring 0.
fn gdt_written_while_loaded() -> Outcome {
    let table = memory::page();
    expect("protecting it", table.protect(), 0)?;
    expect("loading it", set_gdt(&[table.mfn()], 512), 0)?;
    refused("making it writable", table.unprotect())?;
    let update =
        |index: u64, value| call2(nr::UPDATE_DESCRIPTOR, (table.mfn() << 12) + index * 8, value);
    let user_code = 0x00af_fb00_0000_ffff;
    expect("a user code segment", update(5, user_code), 0)?;
    expect("a call gate", update(6, 0x0000_ec00_e030_1000), errno::EINVAL)?;
    let ring_0 = update(7, 0x00af_9b00_0000_ffff);
    let privilege = (table.read(7) >> 45) & 3;
    holds("no segment of ring 0", ring_0 < 0 || privilege != 0)?;
    let update_at = |ma| call2(nr::UPDATE_DESCRIPTOR, ma, user_code);
    expect("not at 8 bytes", update_at((table.mfn() << 12) + 4), errno::EINVAL)?;
    expect("a foreign page", update_at(foreign_frame() << 12), errno::EINVAL)?;
    expect("beyond memory", update_at(1 << 51), errno::EINVAL)?;
    expect("in a page table", update_at(memory::top_table() << 12), errno::EINVAL)?;
    expect("unloading it", set_gdt(&[], 0), 0)?;
    expect("making it writable", table.unprotect(), 0)
}

fn ldt_bad_ranges() -> Outcome {
    let page = memory::page();
    for (address, entries, what) in [
        (page.va() + 8, 1, "not at a page's start"),
        (page.va(), 8193, "too many entries"),
        (page.va(), !0, "far too many entries"),
        (NONCANONICAL, 512, "an address that does not exist"),
        (0xffff_8300_0000_0000, 512, "the hypervisor's address"),
        (0xffff_7fff_ffff_f000, 1024, "across the hypervisor's addresses"),
    ] {
        expect(what, mmuext(ext::SET_LDT, address, entries), errno::EINVAL)?;
    }
    expect("a writable page", mmuext(ext::SET_LDT, page.va(), 512), 0)?;
    // Its pages are checked when a selector is loaded: a writable page does not serve.
    let load = try_asm!("mov fs, {selector:e}", selector = in(reg) 0x0fu64);
    holds("a selector of a writable table", load.is_err())?;
    expect("none", mmuext(ext::SET_LDT, 0, 0), 0)
}

fn trap_table_misuse() -> Outcome {
    let one = |address, cs| {
        let table = [TrapInfo { vector: 0x90, flags: 3, cs, address }, TrapInfo::default()];
        call2(nr::SET_TRAP_TABLE, addr(&table), 0)
    };
    expect("a handler that cannot be", one(NONCANONICAL, KERNEL_CS), errno::EINVAL)?;
    expect(
        "a table of the hypervisor's",
        call2(nr::SET_TRAP_TABLE, 0xffff_8300_0000_0000, 0),
        errno::EFAULT,
    )?;
    expect(
        "a table that is not there",
        call2(nr::SET_TRAP_TABLE, 0x7000_0000_0000, 0),
        errno::EFAULT,
    )?;
    // The hypervisor's own code segments and the null selector are turned into the guest's, or
    // the way to the handler faults.
    let handler = pv_runtime::traps::stub(128).unwrap_or(0);
    for cs in [0, 0xe008, 0xe010, 0xffff] {
        expect("a strange code segment", one(handler, cs), 0)?;
        let trapped = try_asm!("int 0x90");
        let vector = trapped.err().map_or(-1, |trap| trap.vector as i64);
        holds("it came to our stub, or faulted", vector == 128 || vector == 13)?;
    }
    let empty = [TrapInfo { vector: 0x90, ..TrapInfo::default() }];
    expect("an empty table", call2(nr::SET_TRAP_TABLE, addr(&empty), 0), 0)
}

fn callback_misuse() -> Outcome {
    for kind in [0, 1, 2, 4, 5, 7] {
        expect("an address that cannot be", register_callback(kind, NONCANONICAL), errno::EINVAL)?;
    }
    expect("a type that is none", register_callback(99, 0), errno::ENOSYS)?;
    expect("a number that is none", call2(nr::CALLBACK_OP, 99, 0), errno::ENOSYS)?;
    expect("no argument", call2(nr::CALLBACK_OP, 0, 0), errno::EFAULT)
}

fn segment_base_misuse() -> Outcome {
    for which in 0..3 {
        let set = call2(nr::SET_SEGMENT_BASE, which, NONCANONICAL);
        expect("a base that cannot be", set, errno::EINVAL)?;
    }
    for which in [4, 99, 0xffff_ffff] {
        expect("a segment that is none", call2(nr::SET_SEGMENT_BASE, which, 0), errno::EINVAL)?;
    }
    Ok(())
}

fn debug_register_misuse() -> Outcome {
    let set = |register, value| call2(nr::SET_DEBUGREG, register, value);
    for register in 0..4 {
        refused("a breakpoint in the hypervisor", set(register, 0xffff_8300_0000_0000))?;
        refused("a breakpoint nowhere", set(register, NONCANONICAL))?;
    }
    for register in [8, 99, 0xffff_ffff] {
        refused("a register that is none", set(register, 0))?;
        let got = call2(nr::GET_DEBUGREG, register, 0);
        expect("reading one that is none", got, errno::ENODEV)?;
    }
    // A breakpoint on a page of ours works, once it is enabled.
    let page = memory::page();
    expect("a breakpoint", set(0, page.va()), 0)?;
    expect("enabling it for writes", set(7, 0x000d_0002), 0)?;
    let hit = probe::write(page.va(), 1);
    expect("disabling it", set(7, 0), 0)?;
    holds("it is hit", hit.is_err_and(|trap| trap.vector == 1))
}
