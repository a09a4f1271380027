//! `memory_op`: what domains and the machine have.

use crate::reservations::pages_of;
use crate::{NOBODY, NOWHERE, Test, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::{domctl, op};
use pv_runtime::hypercall::{DOMID_SELF, addr, addr_mut, call2, errno, nr};
use pv_runtime::memory::{self, M2P};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::{Puppet, View};

pub const TESTS: &[Test] = &[
    test("answers-memory-sizes", sizes),
    test("answers-memory-maps", maps),
    test("answers-machphys", machphys),
    test("answers-acquire-resource", acquire_resource),
];

const RAM_PAGE: u64 = 2;
const CURRENT: u64 = 3;
const MAXIMUM: u64 = 4;
const MFN_LIST: u64 = 5;
const MEMORY_MAP: u64 = 9;
const MACHINE_MAP: u64 = 10;
const MAPPING: u64 = 12;
const SET_MAP: u64 = 13;
const GPFN: u64 = 14;
const VNUMA: u64 = 26;
const ACQUIRE: u64 = 28;

fn memory_op<T>(op: u64, argument: &mut T) -> i64 {
    call2(nr::MEMORY_OP, op, addr_mut(argument))
}

fn sizes() -> Outcome {
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let own = DOMID_SELF as u16;
    let info = domctl(op::INFO, puppet.domid, &[]).1;
    let pages = expect("pages", pages_of(puppet.domid), info.u[1].cast_signed());
    a.works("memory_op.current_reservation", pages);
    let itself = puppet.call_with(nr::MEMORY_OP, [CURRENT, 0, 0, 0, 0], 1, &mut { own });
    a.step(expect("what it says itself", itself, info.u[1].cast_signed()));
    let limit = memory_op(MAXIMUM, &mut { puppet.domid });
    let wanted =
        expect("its limit", limit, info.u[2].cast_signed()).and(expect("pages", limit, 256));
    a.works("memory_op.maximum_reservation", wanted);
    // The number that the guest keeps in the page that it shares, less one.
    let shared = pv_runtime::domctl::shared_info(puppet.domid).unwrap_or(0);
    if let Ok(view) = View::of(puppet.domid, shared) {
        view.page().write(386, 0x4711);
        view.close();
    }
    let greatest = memory_op(GPFN, &mut { puppet.domid });
    a.works("memory_op.maximum_gpfn", expect("the greatest", greatest, 0x4710));
    for (op, name) in [
        (CURRENT, "memory_op.current_reservation"),
        (MAXIMUM, "memory_op.maximum_reservation"),
        (GPFN, "memory_op.maximum_gpfn"),
    ] {
        a.refuses(name, call2(nr::MEMORY_OP, op, NOWHERE), errno::EFAULT);
        a.refuses(name, memory_op(op, &mut { NOBODY }), errno::ESRCH);
        let mut from =
            |domid: u16| puppet.call_with(nr::MEMORY_OP, [op, 0, 0, 0, 0], 1, &mut { domid });
        a.refuses(name, from(0), errno::EPERM);
        a.refuses(name, from(NOBODY), errno::ESRCH);
    }
    let ram = call2(nr::MEMORY_OP, RAM_PAGE, 0);
    let own_frame = memory::page().mfn().cast_signed();
    a.works("memory_op.maximum_ram_page", holds("above ours", ram > own_frame && ram < 1 << 24));
    for op in [8, 0x3f] {
        a.refuses("memory_op", call2(nr::MEMORY_OP, op, 0), errno::ENOSYS);
    }
    puppet.end()?;
    a.end()
}

/// An entry of a memory map: first byte, bytes, type.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[repr(C, packed(4))]
struct Range {
    first: u64,
    bytes: u64,
    kind: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Map {
    count: u32,
    list: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ForeignMap {
    domid: u16,
    map: Map,
}

fn maps() -> Outcome {
    const OWN: &str = "memory_op.memory_map";
    const MACHINE: &str = "memory_op.machine_memory_map";
    const SET: &str = "memory_op.set_memory_map";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let mut ranges = [Range::default(); 64];
    let mut map = Map { count: 64, list: addr_mut(&mut ranges) };
    let result = memory_op(MACHINE_MAP, &mut map);
    let first = ranges[0];
    let low = holds("memory from 0 on", { first.first } == 0 && { first.kind } == 1);
    a.works(MACHINE, expect("asking", result, 0).and(low).and(holds("several", map.count > 3)));
    a.refuses(MACHINE, call2(nr::MEMORY_OP, MACHINE_MAP, NOWHERE), errno::EFAULT);
    a.refuses(
        MACHINE,
        memory_op(MACHINE_MAP, &mut Map { count: 64, list: NOWHERE }),
        errno::EFAULT,
    );
    let mut theirs = Map { count: 0, list: 0 };
    let result = puppet.call_with(nr::MEMORY_OP, [MACHINE_MAP, 0, 0, 0, 0], 1, &mut theirs);
    a.refuses(MACHINE, result, errno::EPERM);
    a.refuses(OWN, memory_op(MEMORY_MAP, &mut map), errno::ENOSYS);
    let list = [
        Range { first: 0x1000, bytes: 0x2000, kind: 1 },
        Range { first: 0x9000, bytes: 1, kind: 2 },
    ];
    let set = |domid, count, list| {
        memory_op(SET_MAP, &mut ForeignMap { domid, map: Map { count, list } })
    };
    let result = set(puppet.domid, 2, addr(&list));
    let place = puppet.data_va(1);
    let mut theirs = Map { count: 64, list: place };
    let got = puppet.call_with(nr::MEMORY_OP, [MEMORY_MAP, 0, 0, 0, 0], 1, &mut theirs);
    let words: [u64; 3] = core::array::from_fn(|word| puppet.data(1).read(word));
    let seen = expect("asking", got, 0)
        .and(expect("how many", theirs.count.into(), 2))
        .and(expect("the first", words[0].cast_signed(), 0x1000))
        .and(expect("its bytes", words[1].cast_signed(), 0x2000))
        .and(expect("its type", (words[2] & 0xffff_ffff).cast_signed(), 1));
    a.works(SET, expect("setting", result, 0));
    a.works(OWN, seen);
    let mut bad = Map { count: 64, list: NOWHERE };
    let got = puppet.call_with(nr::MEMORY_OP, [MEMORY_MAP, 0, 0, 0, 0], 1, &mut bad);
    a.refuses(OWN, got, errno::EFAULT);
    a.refuses(OWN, puppet.call(nr::MEMORY_OP, [MEMORY_MAP, NOWHERE, 0, 0, 0]), errno::EFAULT);
    a.refuses(SET, call2(nr::MEMORY_OP, SET_MAP, NOWHERE), errno::EFAULT);
    a.refuses(SET, set(puppet.domid, 2, NOWHERE), errno::EFAULT);
    a.refuses(SET, set(NOBODY, 2, addr(&list)), errno::ESRCH);
    a.refuses(SET, set(puppet.domid, 100_000, addr(&list)), errno::EINVAL);
    let mut own = ForeignMap { domid: 0, map: Map { count: 0, list: 0 } };
    let got = puppet.call_with(nr::MEMORY_OP, [SET_MAP, 0, 0, 0, 0], 1, &mut own);
    a.refuses(SET, got, errno::EPERM);
    puppet.end()?;
    a.end()
}

fn machphys() -> Outcome {
    const LIST: &str = "memory_op.machphys_mfn_list";
    const PLACE: &str = "memory_op.machphys_mapping";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let mut place = [0u64; 3];
    let result = memory_op(MAPPING, &mut place);
    let start = expect("where it starts", place[0].cast_signed(), M2P.cast_signed());
    let own = holds("its end is above our frames", place[2] > memory::page().mfn());
    a.works(PLACE, expect("asking", result, 0).and(start).and(own));
    a.refuses(PLACE, call2(nr::MEMORY_OP, MAPPING, NOWHERE), errno::EFAULT);
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct List {
        room: u32,
        list: u64,
        count: u32,
    }
    let mut frames = [0u64; 4];
    let mut list = List { room: 4, list: addr_mut(&mut frames), count: 0 };
    let result = memory_op(MFN_LIST, &mut list);
    // The first of them holds the numbers of the first frames.
    let same = match View::of(0x7ff2, frames[0]) {
        Ok(view) => {
            view.close();
            Ok(())
        }
        // For reading only.
        Err(_) => reads_as_the_table(frames[0]),
    };
    a.works(
        LIST,
        expect("asking", result, 0).and(expect("how many", list.count.into(), 4)).and(same),
    );
    a.refuses(LIST, call2(nr::MEMORY_OP, MFN_LIST, NOWHERE), errno::EFAULT);
    list.list = NOWHERE;
    a.refuses(LIST, memory_op(MFN_LIST, &mut list), errno::EFAULT);
    // Xen tells anybody; we make the table mappable thereby, and tell those who may map it.
    let result = puppet.call_with(nr::MEMORY_OP, [MFN_LIST, 0, 0, 0, 0], 1, &mut list);
    a.refuses(LIST, result, errno::EPERM);
    // Nobody has virtual NUMA nodes.
    let mut vnuma = [u64::from(puppet.domid), 0, 0, 0, 0];
    a.refuses("memory_op.get_vnumainfo", memory_op(VNUMA, &mut vnuma), errno::EOPNOTSUPP);
    puppet.end()?;
    a.end()
}

/// Maps a frame of the hypervisor's table and compares it with the table itself.
fn reads_as_the_table(frame: u64) -> Outcome {
    let page = memory::page();
    let wanted = memory::entry(frame, memory::PRESENT);
    let args = [page.va(), wanted, 2, 0x7ff2, 0];
    let result = pv_runtime::hypercall::call(nr::UPDATE_VA_MAPPING_OTHERDOMAIN, args);
    expect("mapping the table", result, 0)?;
    for index in 0..512 {
        let seen = page.read(index);
        expect("an entry", seen.cast_signed(), memory::mfn_to_pfn(index as u64).cast_signed())?;
    }
    expect("unmapping it", page.unprotect(), 0)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Resource {
    domid: u16,
    kind: u16,
    id: u32,
    count: u32,
    pad: u32,
    first: u64,
    list: u64,
}

fn acquire_resource() -> Outcome {
    const NAME: &str = "memory_op.acquire_resource";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let size =
        Resource { domid: puppet.domid, kind: 1, id: 0, count: 0, pad: 0, first: 0, list: 0 };
    let mut r = size;
    let result = memory_op(ACQUIRE, &mut r);
    a.step(expect("asking for the size", result, 0));
    a.step(expect("the size", r.count.into(), 4));
    let mut frames = [0u64; 2];
    let get = Resource { count: 2, list: addr_mut(&mut frames), ..size };
    let result = memory_op(ACQUIRE, &mut { get });
    let shows = match View::of(puppet.domid, frames[1]) {
        Ok(view) => {
            let empty = expect("an entry", view.page().read(0).cast_signed(), 0);
            view.close();
            empty
        }
        Err(error) => expect("mapping a frame of its grant table", error, 0),
    };
    a.works(NAME, expect("asking for frames", result, 0).and(shows));
    let with = |change: &dyn Fn(&mut Resource)| {
        let mut r = get;
        change(&mut r);
        memory_op(ACQUIRE, &mut r)
    };
    a.refuses(NAME, call2(nr::MEMORY_OP, ACQUIRE, NOWHERE), errno::EFAULT);
    a.refuses(NAME, with(&|r| r.list = NOWHERE), errno::EFAULT);
    a.refuses(NAME, with(&|r| r.pad = 1), errno::EINVAL);
    a.refuses(NAME, with(&|r| r.list = 0), errno::EINVAL);
    a.refuses(NAME, with(&|r| r.id = 2), errno::EINVAL);
    a.refuses(NAME, with(&|r| r.first = 3), errno::EINVAL);
    a.refuses(NAME, with(&|r| r.first = !0), errno::EINVAL);
    a.refuses(NAME, with(&|r| r.count = 0), errno::EINVAL);
    a.refuses(NAME, with(&|r| r.domid = NOBODY), errno::ESRCH);
    a.refuses(NAME, with(&|r| r.domid = 0), errno::EPERM);
    a.refuses(NAME, with(&|r| r.kind = 0), errno::EINVAL);
    a.refuses(NAME, with(&|r| r.kind = 9), errno::EINVAL);
    let mut own = Resource { domid: 0, ..size };
    let result = puppet.call_with(nr::MEMORY_OP, [ACQUIRE, 0, 0, 0, 0], 1, &mut own);
    a.refuses(NAME, result, errno::EPERM);
    puppet.end()?;
    a.end()
}
