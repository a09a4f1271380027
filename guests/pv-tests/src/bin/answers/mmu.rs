//! `mmu_update`, `update_va_mapping`, `update_va_mapping_otherdomain`.

use crate::{BEYOND, NOBODY, NOWHERE, Test, foreign_frame, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{
    DOMID_SELF, INVLPG_ALL, INVLPG_LOCAL, MmuUpdate, addr, call, errno, ext, mmu_update, mmuext,
    nr, update_va_mapping,
};
use pv_runtime::memory::{self, PRESENT, Page, USER, WRITE, Window, entry, window};
use pv_runtime::outcome::expect;
use pv_runtime::probe;
use pv_runtime::puppet::{Puppet, View};

pub const TESTS: &[Test] = &[
    test("answers-mmu-update", mmu_updates),
    test("answers-mmu-update-foreign", mmu_update_foreign),
    test("answers-va-mapping", va_mapping),
    test("answers-va-mapping-otherdomain", va_mapping_otherdomain),
];

/// The kinds of writes to page tables: their number and their name.
const WRITES: [(u64, &str); 3] = [
    (0, "mmu_update.normal_pt_update"),
    (2, "mmu_update.pt_update_preserve_ad"),
    (3, "mmu_update.pt_update_no_translate"),
];
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// The page of the interrupt controller that the hypervisor keeps to itself.
const LOCAL_APIC: u64 = 0xfee00;

/// What entries are answered with that may not be.
fn bad_entries() -> [(u64, i64); 4] {
    [
        (entry(foreign_frame(), PRESENT), errno::EBUSY),
        (entry(BEYOND, PRESENT), errno::EPERM),
        (entry(LOCAL_APIC, PRESENT), errno::EPERM),
        (entry(memory::top_table(), PRESENT | WRITE), errno::EBUSY),
    ]
}

/// Whether `set` maps a page where `va` is, and unmaps it.
fn maps(set: impl Fn(u64) -> i64, va: u64, page: &Page) -> Outcome {
    page.write(3, 0x1234);
    expect("mapping", set(entry(page.mfn(), PRESENT | WRITE)), 0)?;
    expect("what is read", probe::read(va + 24).map_or(-1, u64::cast_signed), 0x1234)?;
    expect("unmapping", set(0), 0)?;
    memory::flush_local();
    expect("reading it then", i64::from(probe::read(va).is_err()), 1)
}

fn mmu_updates() -> Outcome {
    let mut a = Answers::new();
    let window = window(300);
    let page = memory::page();
    let slot = window.l1.mfn() << 12;
    for (kind, name) in WRITES {
        a.works(name, maps(|value| mmu_update(slot | kind, value), window.va, page));
        for (value, wanted) in bad_entries() {
            a.refuses(name, mmu_update(slot | kind, value), wanted);
        }
        a.refuses(
            name,
            mmu_update(((window.l2.mfn() << 12) + 8) | kind, entry(page.mfn(), PRESENT | WRITE)),
            errno::EINVAL,
        );
        a.refuses(name, mmu_update(foreign_frame() << 12 | kind, 0), errno::EINVAL);
        a.refuses("mmu_update", mmu_update((slot + 4) | kind, 0), errno::ENOSYS);
    }
    a.works(WRITES[1].1, preserves(&window, page));
    a.works("mmu_update.machphys_update", sets_m2p(page));
    for frame in [foreign_frame(), BEYOND] {
        a.refuses("mmu_update.machphys_update", mmu_update(frame << 12 | 1, 5), errno::EINVAL);
    }
    let update = MmuUpdate { ptr: slot, val: 0 };
    let with = |list, count, done, domid| call(nr::MMU_UPDATE, [list, count, done, domid, 0]);
    a.refuses("mmu_update", with(NOWHERE, 1, 0, DOMID_SELF), errno::EFAULT);
    // What is done is done, though the count of it goes nowhere.
    a.step(expect("a count nowhere", with(addr(&update), 1, NOWHERE, DOMID_SELF), 0));
    a.refuses("mmu_update", with(addr(&update), 1, 0, NOBODY.into()), errno::ESRCH);
    let tables_of = |domid: u16| (u64::from(domid) + 1) << 16 | DOMID_SELF;
    a.refuses("mmu_update", with(addr(&update), 1, 0, tables_of(NOBODY)), errno::ESRCH);
    window.close();
    a.end()
}

/// Accessed and dirty stay when an entry is replaced in that way, and go otherwise.
fn preserves(window: &Window, page: &Page) -> Outcome {
    let slot = window.l1.mfn() << 12;
    for (kind, kept) in [(2, DIRTY | ACCESSED), (0, 0)] {
        expect("mapping", mmu_update(slot, entry(page.mfn(), PRESENT | WRITE)), 0)?;
        memory::flush_local();
        expect("writing", i64::from(probe::write(window.va, 1).is_ok()), 1)?;
        expect("again", mmu_update(slot | kind, entry(page.mfn(), PRESENT | WRITE)), 0)?;
        let bits = window.l1.read(0) & (DIRTY | ACCESSED);
        expect("bits", bits.cast_signed(), kept.cast_signed())?;
    }
    expect("unmapping", mmu_update(slot, 0), 0)
}

fn sets_m2p(page: &Page) -> Outcome {
    let mfn = page.mfn();
    let before = memory::mfn_to_pfn(mfn);
    expect("setting", mmu_update(mfn << 12 | 1, 0x4321), 0)?;
    expect("what is read", memory::mfn_to_pfn(mfn).cast_signed(), 0x4321)?;
    expect("setting it back", mmu_update(mfn << 12 | 1, before), 0)
}

/// What dom0 does to another domain, and what that may not do to others.
fn mmu_update_foreign() -> Outcome {
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let window = window(300);
    let page = memory::page();
    let theirs = entry(puppet.data_frame(1), PRESENT | WRITE);
    for (kind, name) in WRITES {
        puppet.data(1).write(0, 0x77 + kind);
        let update = MmuUpdate { ptr: window.l1.mfn() << 12 | kind, val: theirs };
        let result = call(nr::MMU_UPDATE, [addr(&update), 1, 0, puppet.domid.into(), 0]);
        let read = |_| {
            expect(
                "what is read",
                probe::read(window.va).map_or(-1, u64::cast_signed),
                0x77 + kind.cast_signed(),
            )
        };
        a.works(name, expect("mapping another's page", result, 0).and_then(read));
        mmu_update(window.l1.mfn() << 12, 0);
        memory::flush_local();
    }
    // Its page tables, changed from outside.
    let tables = (u64::from(puppet.domid) + 1) << 16 | u64::from(puppet.domid);
    let update = |val| {
        let update = MmuUpdate { ptr: puppet.entry_of(9), val };
        call(nr::MMU_UPDATE, [addr(&update), 1, 0, tables, 0])
    };
    let read_only = entry(puppet.data_frame(9), PRESENT);
    a.step(expect("changing its entry", update(read_only), 0));
    a.refuses(WRITES[0].1, update(entry(page.mfn(), PRESENT)), errno::EBUSY);
    // What it may do itself.
    let own = puppet.entry_of(9);
    let their_update = |puppet: &mut Puppet, ptr, val, domid: u64| {
        puppet.call_with(nr::MMU_UPDATE, [0, 1, 0, domid, 0], 0, &mut MmuUpdate { ptr, val })
    };
    let good = entry(puppet.data_frame(9), PRESENT | WRITE);
    a.step(expect("its own entry", their_update(&mut puppet, own, good, DOMID_SELF), 0));
    for (kind, name) in WRITES {
        let bad = entry(page.mfn(), PRESENT);
        a.refuses(name, their_update(&mut puppet, own | kind, bad, DOMID_SELF), errno::EBUSY);
        let io = entry(0xfed00, PRESENT);
        a.refuses(name, their_update(&mut puppet, own | kind, io, DOMID_SELF), errno::EPERM);
    }
    a.refuses("mmu_update", their_update(&mut puppet, own, 0, 0), errno::EPERM);
    // I/O memory that it has no right to; the frames of the hypervisor.
    let io = their_update(&mut puppet, own, entry(0xfed00, PRESENT), 0x7ff1);
    a.refuses(WRITES[0].1, io, errno::EPERM);
    a.refuses("mmu_update", their_update(&mut puppet, own, 0, 0x7ff2), errno::EPERM);
    a.refuses("mmu_update", their_update(&mut puppet, own, 0, NOBODY.into()), errno::ESRCH);
    let tables = (1 << 16) | DOMID_SELF;
    a.refuses("mmu_update", their_update(&mut puppet, own, 0, tables), errno::EPERM);
    window.close();
    puppet.end()?;
    a.end()
}

fn va_mapping() -> Outcome {
    const NAME: &str = "update_va_mapping";
    let mut a = Answers::new();
    let window = window(300);
    let page = memory::page();
    let set = |value| update_va_mapping(window.va, value, INVLPG_LOCAL);
    a.works(NAME, maps(set, window.va, page));
    for (value, wanted) in bad_entries() {
        a.refuses(NAME, set(value), wanted);
    }
    // No table there, the hypervisor's own, no address.
    for va in [NOWHERE, memory::M2P, 1 << 47] {
        a.refuses(NAME, update_va_mapping(va, 0, INVLPG_LOCAL), errno::EINVAL);
    }
    // A bitmap of CPUs that is nowhere: the entry is set all the same.
    let good = entry(page.mfn(), PRESENT | WRITE);
    a.refuses(NAME, update_va_mapping(window.va, good, 2 | NOWHERE), errno::EFAULT);
    a.step(expect(
        "the entry",
        memory::mfn_in(window.l1.read(0)).cast_signed(),
        page.mfn().cast_signed(),
    ));
    let all = u64::MAX;
    a.step(expect("a bitmap", update_va_mapping(window.va, 0, 1 | addr(&all)), 0));
    // A page table that another use holds cannot be had for writing.
    a.step(expect("protecting it", page.protect(), 0));
    a.step(expect("pinning it", mmuext(ext::PIN_L1, page.mfn(), 0), 0));
    a.refuses(NAME, set(good), errno::EBUSY);
    a.step(expect("unpinning it", mmuext(ext::UNPIN, page.mfn(), 0), 0));
    window.close();
    a.end()
}

fn va_mapping_otherdomain() -> Outcome {
    const NAME: &str = "update_va_mapping_otherdomain";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let page = memory::page();
    let set = |va, value, flags, domid: u16| {
        call(nr::UPDATE_VA_MAPPING_OTHERDOMAIN, [va, value, flags, domid.into(), 0])
    };
    puppet.data(1).write(5, 0x99);
    let shows = View::of(puppet.domid, puppet.data_frame(1));
    a.works(
        NAME,
        match &shows {
            Ok(view) => expect("what is read", view.page().read(5).cast_signed(), 0x99),
            Err(error) => expect("mapping another's page", *error, 0),
        },
    );
    if let Ok(view) = shows {
        view.close();
    }
    let own = entry(memory::page().mfn(), PRESENT | WRITE);
    let theirs = entry(puppet.data_frame(1), PRESENT | WRITE | USER);
    a.refuses(NAME, set(page.va(), theirs, INVLPG_ALL, NOBODY), errno::ESRCH);
    a.refuses(NAME, set(NOWHERE, theirs, INVLPG_ALL, puppet.domid), errno::EINVAL);
    a.refuses(NAME, set(page.va(), own, INVLPG_ALL, puppet.domid), errno::EBUSY);
    let table = entry(puppet.frames[0], PRESENT | WRITE);
    a.refuses(NAME, set(page.va(), table, INVLPG_ALL, puppet.domid), errno::EBUSY);
    a.refuses(
        NAME,
        set(page.va(), entry(LOCAL_APIC, PRESENT), INVLPG_ALL, puppet.domid),
        errno::EPERM,
    );
    a.refuses(NAME, set(page.va(), own, 2 | NOWHERE, DOMID_SELF as u16), errno::EFAULT);
    let va = puppet.data_va(9);
    let theirs_from_inside = puppet.call(nr::UPDATE_VA_MAPPING_OTHERDOMAIN, [va, own, 2, 0, 0]);
    a.refuses(NAME, theirs_from_inside, errno::EPERM);
    let result = puppet.call(nr::UPDATE_VA_MAPPING, [va, own, 2, 0, 0]);
    a.refuses("update_va_mapping", result, errno::EBUSY);
    puppet.end()?;
    a.end()
}
