//! `grant_table_op`: tables as a whole.

use crate::grants::bad_arguments;
use crate::{NOBODY, NOWHERE, Test, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::Limits;
use pv_runtime::grants::{self, grant, grant_v2, map, unmap};
use pv_runtime::hypercall::{DOMID_SELF, addr, addr_mut, call3, errno, nr};
use pv_runtime::memory::{self, window};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::{Puppet, View};

pub const TESTS: &[Test] =
    &[test("answers-grant-tables", tables), test("answers-grant-versions", versions)];

const OKAY: i16 = 0;
const GENERAL_ERROR: i16 = -1;
const BAD_DOMAIN: i16 = -2;
const BAD_VIRT_ADDR: i16 = -5;
const PERMISSION_DENIED: i16 = -8;

#[derive(Clone, Copy)]
#[repr(C)]
struct Setup {
    dom: u16,
    frames: u32,
    status: i16,
    list: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Size {
    dom: u16,
    frames: u32,
    most: u32,
    status: i16,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct StatusFrames {
    frames: u32,
    dom: u16,
    status: i16,
    list: u64,
}

fn with_status<T>(result: i64, op: &T, status: impl Fn(&T) -> i16) -> i16 {
    if result == 0 { status(op) } else { i16::try_from(result).unwrap_or(99) }
}

fn setup(dom: u16, frames: u32, list: u64) -> i16 {
    let mut op = Setup { dom, frames, status: 99, list };
    with_status(grants::op(2, &mut op), &op, |op| op.status)
}

/// One operation, of which a call makes exactly one.
fn single(a: &mut Answers, name: &'static str, op: u64) {
    bad_arguments(a, name, op);
    let page = memory::page();
    for count in [0, 2] {
        a.refuses(name, call3(nr::GRANT_TABLE_OP, op, page.va(), count), errno::EINVAL);
    }
}

fn tables() -> Outcome {
    const SETUP: &str = "grant_table_op.setup_table";
    const SIZE: &str = "grant_table_op.query_size";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let them = puppet.domid;
    let size = |dom| {
        let mut op = Size { dom, frames: 0, most: 0, status: 99 };
        let result = grants::op(6, &mut op);
        (with_status(result, &op, |op| op.status), op)
    };
    let mut frames = [0u64; 4];
    let status = setup(them, 3, addr_mut(&mut frames));
    let shows = match View::of(them, frames[2]) {
        Ok(view) => {
            view.close();
            Ok(())
        }
        Err(error) => expect("mapping it", error, 0),
    };
    a.works(SETUP, expect("the status", status.into(), OKAY.into()).and(shows));
    let (status, now) = size(them);
    let sizes = expect("frames", now.frames.into(), 3).and(expect("at most", now.most.into(), 4));
    a.works(SIZE, expect("the status", status.into(), OKAY.into()).and(sizes));
    a.status(SETUP, setup(NOBODY, 1, addr_mut(&mut frames)), BAD_DOMAIN);
    a.status(SETUP, setup(them, 5, addr_mut(&mut frames)), GENERAL_ERROR);
    a.status(SETUP, setup(them, 1, NOWHERE), BAD_VIRT_ADDR);
    a.status(SIZE, size(NOBODY).0, BAD_DOMAIN);
    let mut op = Setup { dom: 0, frames: 1, status: 99, list: puppet.data_va(1) };
    puppet.call_with(nr::GRANT_TABLE_OP, [2, 0, 1, 0, 0], 1, &mut op);
    a.status(SETUP, op.status, PERMISSION_DENIED);
    let mut op = Size { dom: 0, frames: 0, most: 0, status: 99 };
    puppet.call_with(nr::GRANT_TABLE_OP, [6, 0, 1, 0, 0], 1, &mut op);
    a.status(SIZE, op.status, PERMISSION_DENIED);
    single(&mut a, SETUP, 2);
    single(&mut a, SIZE, 6);
    puppet.end()?;
    a.end()
}

fn set_version(version: u32) -> (i64, u32) {
    let mut op = version;
    let result = grants::op(8, &mut op);
    (result, op)
}

fn versions() -> Outcome {
    const SET: &str = "grant_table_op.set_version";
    const GET: &str = "grant_table_op.get_version";
    const STATUS: &str = "grant_table_op.get_status_frames";
    let mut a = Answers::new();
    let mut puppet =
        Puppet::with(Limits { vcpus: 1, port: 1023, grant_frames: 4, grant_version: 1 })?;
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Version {
        dom: u16,
        version: u32,
    }
    let version = |dom| {
        let mut op = Version { dom, version: 99 };
        (grants::op(10, &mut op), op.version)
    };
    grants::install()?;
    let own = DOMID_SELF as u16;
    let page = memory::page();
    let window = window(300);
    // A grant in use.
    grant(9, 1, 0, page.mfn());
    let mapped = map(0, 9, 2, window.va);
    a.step(expect("mapping", mapped.status.into(), 0));
    a.refuses(SET, set_version(2).0, errno::EBUSY);
    a.step(expect("unmapping", unmap(mapped.handle, window.va).into(), 0));
    let set = set_version(2);
    let effect = expect("setting", set.0, 0).and(expect("the version", version(own).1.into(), 2));
    a.works(SET, effect);
    a.works(
        GET,
        expect("asking", version(own).0, 0).and(expect(
            "theirs",
            version(puppet.domid).1.into(),
            1,
        )),
    );
    let mut list = [0u64; 1];
    let status = |frames, dom, list| {
        let mut op = StatusFrames { frames, dom, status: 99, list };
        with_status(grants::op(9, &mut op), &op, |op| op.status)
    };
    let got = status(1, own, addr_mut(&mut list));
    let there = expect(
        "mapping it",
        {
            let wanted = memory::entry(list[0], memory::PRESENT | memory::WRITE);
            pv_runtime::hypercall::update_va_mapping(window.va, wanted, 2)
        },
        0,
    );
    a.works(STATUS, expect("the status", got.into(), OKAY.into()).and(there));
    a.step(expect("unmapping it", pv_runtime::hypercall::update_va_mapping(window.va, 0, 2), 0));
    a.status(STATUS, status(1, NOBODY, addr(&list)), BAD_DOMAIN);
    a.status(STATUS, status(1000, own, addr(&list)), GENERAL_ERROR);
    a.status(STATUS, status(1, own, NOWHERE), BAD_VIRT_ADDR);
    let mut op = StatusFrames { frames: 1, dom: 0, status: 99, list: puppet.data_va(1) };
    puppet.call_with(nr::GRANT_TABLE_OP, [9, 0, 1, 0, 0], 1, &mut op);
    a.status(STATUS, op.status, PERMISSION_DENIED);
    // A frame number that version 1 has no room for, in an entry that it would keep.
    grant_v2(1, 1, 0, 0, 1 << 40);
    a.refuses(SET, set_version(1).0, errno::ERANGE);
    grant_v2(1, 0, 0, 0, 0);
    let back = set_version(1);
    a.step(expect("going back", back.0, 0));
    for wrong in [0, 3, !0] {
        let (result, now) = set_version(wrong);
        a.refuses(SET, result, errno::EINVAL);
        a.step(holds("it is as it was", now == 1 || now == wrong));
    }
    let result = puppet.call_with(nr::GRANT_TABLE_OP, [8, 0, 1, 0, 0], 1, &mut 2u32);
    a.refuses(SET, result, errno::ENOSYS);
    a.refuses(GET, version(NOBODY).0, errno::ESRCH);
    let mut op = Version { dom: 0, version: 0 };
    let result = puppet.call_with(nr::GRANT_TABLE_OP, [10, 0, 1, 0, 0], 1, &mut op);
    a.refuses(GET, result, errno::EPERM);
    bad_arguments(&mut a, SET, 8);
    bad_arguments(&mut a, GET, 10);
    single(&mut a, STATUS, 9);
    window.close();
    puppet.end()?;
    a.end()
}
