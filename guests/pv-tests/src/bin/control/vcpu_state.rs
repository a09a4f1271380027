//! `domctl`: what of a vCPU's state is not in its context.

use crate::vcpus::{empty, make_empty};
use crate::{DOM0, NOWHERE, Test, test, two};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::{domctl, op};
use pv_runtime::hypercall::{addr, errno};
use pv_runtime::memory;
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] =
    &[test("control-vcpu-extended", extended), test("control-vcpu-state", state)];

fn extended() -> Outcome {
    const SET: &str = "domctl.set_ext_vcpucontext";
    const GET: &str = "domctl.get_ext_vcpucontext";
    const SET_MSRS: &str = "domctl.set_vcpu_msrs";
    const GET_MSRS: &str = "domctl.get_vcpu_msrs";
    /// Of the structure with all that there is in it.
    const SIZE: u32 = 64;
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    let id = puppet.domid;
    make_empty()?;
    let ask = |cmd, domid, words: &[u64]| domctl(cmd, domid, words);
    let (call32, sysenter) = (0xffff_ffff_8000_1000, 0xffff_ffff_8000_2000);
    let result = ask(42, id, &[two(0, SIZE), call32, sysenter]).0;
    let (asked, got) = ask(43, id, &[two(0, 0)]);
    let seen = expect("asking", asked, 0)
        .and(expect("its size", (got.u[0] >> 32).cast_signed(), SIZE.into()))
        .and(holds("the entries", got.u[1] == call32 && got.u[2] == sysenter));
    a.works(SET, expect("setting", result, 0).and(seen));
    a.works(GET, seen);
    a.refuses(SET, ask(42, id, &[two(0, 7)]).0, errno::EINVAL);
    a.refuses(SET, ask(42, id, &[two(0, SIZE), 1 << 47]).0, errno::EINVAL);
    for (cmd, name) in [(42, SET), (43, GET), (73, SET_MSRS), (72, GET_MSRS)] {
        a.refuses(name, ask(cmd, id, &[two(9, SIZE)]).0, errno::EINVAL);
        a.refuses(name, ask(cmd, empty(), &[two(1, SIZE)]).0, errno::ESRCH);
    }

    // One of the MSRs that a guest may write: its own number in TSC_AUX. Number, zero, value.
    const TSC_AUX: u64 = 0xc000_0103;
    let set = |msrs: &[[u64; 2]]| ask(73, id, &[two(0, msrs.len() as u32), addr(msrs)]);
    a.works(SET_MSRS, expect("setting", set(&[[TSC_AUX, 0]]).0, 0));
    let (result, got) = set(&[[TSC_AUX, 0], [0x7fff_0000, 1]]);
    a.refuses(SET_MSRS, result, errno::EINVAL);
    a.step(expect("which it was", (got.u[0] >> 32).cast_signed(), 1));
    a.refuses(SET_MSRS, set(&[[TSC_AUX | 1 << 32, 0]]).0, errno::EINVAL);
    a.refuses(SET_MSRS, ask(73, id, &[two(0, 1), NOWHERE]).0, errno::EFAULT);
    let (result, got) = ask(72, id, &[two(0, 8), NOWHERE]);
    let none = expect("how many", (got.u[0] >> 32).cast_signed(), 0);
    a.works(GET_MSRS, expect("asking", result, 0).and(none));
    a.step(expect("ending it", domctl(op::DESTROY, empty(), &[]).0, 0));
    puppet.end()?;
    a.end()
}

fn state() -> Outcome {
    const SET: &str = "domctl.setvcpuextstate";
    const GET: &str = "domctl.getvcpuextstate";
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    let id = puppet.domid;
    make_empty()?;
    // Pausing: the state is not to change under us.
    a.step(expect("pausing", domctl(3, id, &[]).0, 0));
    let (result, got) = domctl(63, id, &[0, 0, 0, 0]);
    let (mask, size) = (got.u[1], got.u[2]);
    a.step(expect("asking for its size", result, 0));
    a.step(holds("a size", (592..4096).contains(&size) && mask & 3 == 3));
    let page = memory::page();
    let ask = |cmd, size, at| domctl(cmd, id, &[0, mask, size, at]).0;
    a.step(expect("asking", ask(63, size, page.va()), 0));
    // Behind XCR0 and what it was: the legacy region, with XMM0 at byte 160, and in the header at
    // byte 512 which parts are in use.
    page.write(2 + 20, 0x1122_3344_5566_7788);
    page.write(2 + 64, page.read(2 + 64) | 3);
    let result = ask(62, size, page.va());
    page.write(2 + 20, 0);
    let asked = ask(63, size, page.va());
    let seen = expect("asking", asked, 0)
        .and(holds("the register", page.read(2 + 20) == 0x1122_3344_5566_7788))
        .and(holds("which parts there are", page.read(0) & 1 == 1));
    a.works(SET, expect("setting", result, 0).and(seen));
    a.works(GET, seen);
    a.refuses(GET, ask(63, size + 8, page.va()), errno::EINVAL);
    a.refuses(SET, ask(62, 8, page.va()), errno::EINVAL);
    a.refuses(SET, ask(62, 1 << 20, page.va()), errno::EINVAL);
    for (cmd, name) in [(62, SET), (63, GET)] {
        a.refuses(name, ask(cmd, size, NOWHERE), errno::EFAULT);
        a.refuses(name, domctl(cmd, id, &[9, mask, size, page.va()]).0, errno::EINVAL);
        a.refuses(name, domctl(cmd, empty(), &[1, mask, size, page.va()]).0, errno::ESRCH);
    }
    // x87 is always there: an XCR0 without it is none.
    page.write(0, 2);
    a.refuses(SET, ask(62, size, page.va()), errno::EINVAL);
    a.refuses(SET, domctl(62, DOM0, &[0, mask, size, page.va()]).0, errno::EINVAL);
    a.step(expect("ending it", domctl(op::DESTROY, empty(), &[]).0, 0));
    a.step(expect("unpausing", domctl(4, id, &[]).0, 0));
    puppet.end()?;
    a.end()
}
