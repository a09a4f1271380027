//! `set_gdt`, `update_descriptor`, and the LDT of `mmuext_op`.

use crate::{BEYOND, NOWHERE, Test, foreign_frame, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{addr, call2, errno, ext, mmuext, nr};
use pv_runtime::memory;
use pv_runtime::outcome::{expect, holds};
use pv_runtime::try_asm;

pub const TESTS: &[Test] = &[test("answers-descriptors", descriptors)];

/// A data segment of ring 3.
const DATA: u64 = 0x00cf_f300_0000_ffff;

/// Whether the selector can be loaded.
fn loads(selector: u16) -> bool {
    let loaded = try_asm!("mov es, {s:x}", s = in(reg) selector).is_ok();
    let _ = try_asm!("mov es, {s:x}", s = in(reg) 0u16);
    loaded
}

fn descriptors() -> Outcome {
    const GDT: &str = "set_gdt";
    const LDT: &str = "mmuext_op.set_ldt";
    const UPDATE: &str = "update_descriptor";
    let mut a = Answers::new();
    let set_gdt = |frames: &[u64], entries| call2(nr::SET_GDT, addr(frames), entries);
    let table = memory::page();
    table.write(5, DATA);
    a.step(expect("protecting it", table.protect(), 0));
    let result = set_gdt(&[table.mfn()], 512);
    let works =
        holds("its selector loads", loads(5 << 3 | 3)).and(holds("another", !loads(6 << 3 | 3)));
    let held = expect("mapping it writable", table.unprotect(), errno::EBUSY);
    a.works(GDT, expect("loading", result, 0).and(works).and(held));
    let update = |address, value| call2(nr::UPDATE_DESCRIPTOR, address, value);
    let at = |index: u64| (table.mfn() << 12) + index * 8;
    let result = update(at(6), DATA);
    a.works(
        UPDATE,
        expect("updating", result, 0).and(holds("its selector loads", loads(6 << 3 | 3))),
    );
    for (address, value) in [
        (at(7) + 4, DATA),
        (at(7), 0x0000_ec00_e030_1000),
        (at(7), 0x0000_8900_0000_0067),
        (foreign_frame() << 12, DATA),
        (BEYOND << 12, DATA),
        (memory::top_table() << 12, DATA),
    ] {
        a.refuses(UPDATE, update(address, value), errno::EINVAL);
    }
    a.step(expect("unloading it", set_gdt(&[], 0), 0));
    a.step(expect("mapping it writable", table.unprotect(), 0));
    a.refuses(GDT, set_gdt(&[table.mfn()], 512), errno::EINVAL);
    a.step(expect("protecting it", table.protect(), 0));
    a.refuses(GDT, call2(nr::SET_GDT, NOWHERE, 512), errno::EFAULT);
    a.refuses(GDT, set_gdt(&[table.mfn()], 7169), errno::EINVAL);
    for frame in [foreign_frame(), BEYOND, memory::top_table()] {
        a.refuses(GDT, set_gdt(&[frame], 512), errno::EINVAL);
    }
    let result = mmuext(ext::SET_LDT, table.va(), 8);
    // The table's selectors have bit 2 set.
    let works = holds("its selector loads", loads(5 << 3 | 7))
        .and(holds("one behind its end", !loads(9 << 3 | 7)));
    a.works(LDT, expect("loading", result, 0).and(works));
    for (address, entries) in
        [(table.va() + 8, 1), (table.va(), 8193), (1 << 47, 8), (0xffff_8300_0000_0000, 8)]
    {
        a.refuses(LDT, mmuext(ext::SET_LDT, address, entries), errno::EINVAL);
    }
    a.step(expect("unloading it", mmuext(ext::SET_LDT, 0, 0), 0));
    a.step(expect("mapping it writable", table.unprotect(), 0));
    a.end()
}
