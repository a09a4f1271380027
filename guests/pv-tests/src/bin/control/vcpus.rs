//! `domctl`: vCPUs, where they run and may run.

use crate::{DOM0, NOWHERE, Test, test, two};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::{domctl, op};
use pv_runtime::hypercall::{addr, addr_mut, errno, nr};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::{BASE, Puppet};
use pv_runtime::smp;

pub const TESTS: &[Test] =
    &[test("control-vcpu-context", contexts), test("control-affinity", affinities)];

const PAUSE: u32 = 3;
const UNPAUSE: u32 = 4;
const GET_CONTEXT: u32 = 13;
const GET_INFO: u32 = 14;
/// A domain with two vCPUs announced and none made.
const EMPTY: u16 = 4712;

/// Makes the domain whose vCPUs are not there yet.
pub fn make_empty() -> Outcome {
    let mut wish = [0; 17];
    wish[7..12].copy_from_slice(&[2, 1023, 4, 4, 1]);
    expect("creating", domctl(op::CREATE, EMPTY, &crate::words(&wish)).0, 0)
}

/// That domain's number.
pub const fn empty() -> u16 {
    EMPTY
}

fn contexts() -> Outcome {
    const SET: &str = "domctl.setvcpucontext";
    const GET: &str = "domctl.getvcpucontext";
    const INFO: &str = "domctl.getvcpuinfo";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let id = puppet.domid;
    make_empty()?;
    let context = smp::context(BASE);
    let at = addr(context);
    let ask = |cmd, domid, vcpu: u64, at| domctl(cmd, domid, &[vcpu, at]).0;

    a.step(expect("a call", puppet.call(nr::XEN_VERSION, [7, 0, 0, 0, 0]), 4096));
    a.step(expect("pausing", domctl(PAUSE, id, &[]).0, 0));
    let result = ask(GET_CONTEXT, id, 0, at);
    // It is in its loop of code, on its own tables.
    let (rip, top) = (context.rip, context.control[3] >> 12);
    let seen = holds("where it is", (BASE + 4 * 4096..BASE + 5 * 4096).contains(&rip))
        .and(holds("its tables", top == puppet.frames[0]));
    a.works(GET, expect("asking", result, 0).and(seen));
    // The same with another register, and the call that waits there shows that it runs on.
    context.registers[12] = 0x4711;
    let kept = context.registers[12];
    let result = ask(op::SET_CONTEXT, id, 0, at);
    a.step(expect("asking again", ask(GET_CONTEXT, id, 0, at), 0));
    let changed = expect("the register", context.registers[12].cast_signed(), kept.cast_signed());
    a.step(expect("unpausing", domctl(UNPAUSE, id, &[]).0, 0));
    let runs = expect("a call", puppet.call(nr::XEN_VERSION, [7, 0, 0, 0, 0]), 4096);
    a.works(SET, expect("setting", result, 0).and(changed).and(runs));

    a.refuses(SET, ask(op::SET_CONTEXT, id, 0, 0), errno::EOPNOTSUPP);
    for (cmd, name) in [(op::SET_CONTEXT, SET), (GET_CONTEXT, GET)] {
        a.refuses(name, ask(cmd, id, 0, NOWHERE), errno::EFAULT);
        a.refuses(name, ask(cmd, id, 99, at), errno::EINVAL);
        a.refuses(name, ask(cmd, DOM0, 0, at), errno::EINVAL);
        a.refuses(name, ask(cmd, EMPTY, 1, at), errno::ESRCH);
    }
    a.step(expect("making vCPUs", domctl(op::MAX_VCPUS, EMPTY, &[2]).0, 0));
    a.refuses(GET, ask(GET_CONTEXT, EMPTY, 0, at), errno::ENODATA);
    let bad = smp::context(1 << 47);
    a.refuses(SET, ask(op::SET_CONTEXT, EMPTY, 0, addr(bad)), errno::EINVAL);

    let (result, info) = domctl(GET_INFO, id, &[0]);
    let seen = expect("asking", result, 0)
        .and(expect("on line", (info.u[0] >> 32 & 0xff).cast_signed(), 1))
        .and(holds("its time", info.u[1] > 0));
    a.works(INFO, seen);
    a.refuses(INFO, domctl(GET_INFO, id, &[1]).0, errno::EINVAL);
    a.step(expect("ending it", domctl(op::DESTROY, EMPTY, &[]).0, 0));
    make_empty()?;
    a.refuses(INFO, domctl(GET_INFO, EMPTY, &[1]).0, errno::ESRCH);
    a.step(expect("ending it", domctl(op::DESTROY, EMPTY, &[]).0, 0));
    puppet.end()?;
    a.end()
}

fn affinities() -> Outcome {
    const SET: &str = "domctl.setvcpuaffinity";
    const GET: &str = "domctl.getvcpuaffinity";
    const NODES: &str = "domctl.setnodeaffinity";
    const WHICH_NODES: &str = "domctl.getnodeaffinity";
    const HARD: u32 = 1;
    const SOFT: u32 = 2;
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    let id = puppet.domid;
    make_empty()?;
    // A bitmap is its address and its bits, in the upper half of nothing.
    let ask = |cmd, domid, vcpu, flags, hard: u64, soft: u64, bits: u64| {
        domctl(cmd, domid, &[two(vcpu, flags), hard, bits, soft, bits]).0
    };
    // Before anybody sets it: all CPUs that there are, and there are not 63.
    let mut all = 0u64;
    let asked = ask(25, id, 0, HARD, addr_mut(&mut all), NOWHERE, 64);
    let few = holds("CPUs that there are", all & 1 != 0 && all >> 62 == 0);
    a.step(expect("asking", asked, 0).and(few));
    let (mut hard, mut soft) = (1u64, 1u64);
    let result = ask(9, id, 0, HARD | SOFT, addr_mut(&mut hard), addr_mut(&mut soft), 64);
    let effective = expect("the CPUs that it may have", hard.cast_signed(), 1).and(expect(
        "and had better",
        soft.cast_signed(),
        1,
    ));
    let (mut hard, mut soft) = (!0u64, !0u64);
    let asked = ask(25, id, 0, HARD | SOFT, addr_mut(&mut hard), addr_mut(&mut soft), 64);
    let seen = expect("asking", asked, 0)
        .and(expect("which it may", hard.cast_signed(), 1))
        .and(expect("which better", soft.cast_signed(), 1));
    a.works(SET, expect("setting", result, 0).and(effective).and(seen));
    a.works(GET, seen);
    let at = addr_mut(&mut hard);
    for (cmd, name) in [(9, SET), (25, GET)] {
        a.refuses(name, ask(cmd, id, 99, HARD, at, at, 64), errno::EINVAL);
        a.refuses(name, ask(cmd, EMPTY, 1, HARD, at, at, 64), errno::ESRCH);
        a.refuses(name, ask(cmd, id, 0, HARD, NOWHERE, at, 64), errno::EFAULT);
        a.refuses(name, ask(cmd, id, 0, HARD, at, at, 1 << 20), errno::E2BIG);
    }
    a.refuses(SET, ask(9, id, 0, 0, at, at, 64), errno::EINVAL);
    let mut none = 0u64;
    a.refuses(SET, ask(9, id, 0, HARD, addr_mut(&mut none), at, 64), errno::EINVAL);

    let mut nodes = 1u64;
    let result = domctl(68, id, &[addr(&nodes), 64]).0;
    a.step(expect("setting", result, 0));
    nodes = 0;
    let asked = domctl(69, id, &[addr_mut(&mut nodes), 64]).0;
    let seen = expect("asking", asked, 0).and(expect("the node", nodes.cast_signed(), 1));
    a.works(NODES, expect("setting", result, 0).and(seen));
    a.works(WHICH_NODES, seen);
    a.refuses(NODES, domctl(68, id, &[addr(&2u64), 64]).0, errno::EINVAL);
    for (cmd, name) in [(68, NODES), (69, WHICH_NODES)] {
        a.refuses(name, domctl(cmd, id, &[NOWHERE, 64]).0, errno::EFAULT);
        a.refuses(name, domctl(cmd, id, &[addr_mut(&mut nodes), 1 << 20]).0, errno::E2BIG);
    }
    a.step(expect("ending it", domctl(op::DESTROY, EMPTY, &[]).0, 0));
    puppet.end()?;
    a.end()
}
