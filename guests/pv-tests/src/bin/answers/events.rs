//! `event_channel_op`, without what is particular to the FIFO ABI.

use crate::{NOBODY, NOWHERE, Test, test};
use core::sync::atomic::Ordering;
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::Limits;
use pv_runtime::events::{
    self, alloc_unbound, bind_interdomain, bind_ipi, bind_virq, close, op, send, unmask,
};
use pv_runtime::hypercall::{DOMID_SELF, call2, errno, nr};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] = &[
    test("answers-event-ports", ports),
    test("answers-event-interrupts", interrupts),
    test("answers-event-interdomain", interdomain),
    test("answers-event-reset", resets),
];

pub const BIND_PIRQ: u64 = 2;
const STATUS: u64 = 5;
const BIND_VCPU: u64 = 8;
const RESET: u64 = 10;
const NO_PORTS: [u32; 4] = [0, 3999, 0x2_0000, 0xffff_ffff];

/// Takes the pending bit of a port.
pub fn take_pending(port: u32) -> bool {
    let Some(shared) = events::shared_info() else { return false };
    let bit = 1 << (port % 64);
    let word = &shared.pending[port as usize / 64];
    word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
}

/// What `status` tells: the result, the kind of port, its CPU, what it is connected to.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Status {
    dom: u16,
    port: u32,
    kind: u32,
    vcpu: u32,
    u: [u32; 2],
}

fn status(dom: u16, port: u32) -> (i64, Status) {
    let mut status = Status { dom, port, kind: 99, vcpu: 99, u: [0; 2] };
    (op(STATUS, &mut status), status)
}

fn own() -> u16 {
    DOMID_SELF as u16
}

/// What every operation answers whose argument is nowhere.
fn nowhere(a: &mut Answers, name: &'static str, number: u64) {
    a.refuses(name, call2(nr::EVENT_CHANNEL_OP, number, NOWHERE), errno::EFAULT);
}

fn ports() -> Outcome {
    let mut a = Answers::new();
    let (result, port) = bind_ipi(0);
    a.step(expect("an interrupt to ourselves", result, 0));
    let result = send(port);
    a.works(
        "event_channel_op.send",
        expect("sending", result, 0).and(holds("it is pending", take_pending(port))),
    );
    // Masked, sent, and unmasked: that is when it comes.
    events::unmask_upcalls();
    let Some(shared) = events::shared_info() else { return holds("a shared page", false) };
    shared.mask[port as usize / 64].fetch_or(1 << (port % 64), Ordering::SeqCst);
    let before = events::count().0;
    a.step(expect("sending", send(port), 0));
    a.step(expect("none yet", events::count().0.into(), before.into()));
    let result = unmask(port);
    a.works(
        "event_channel_op.unmask",
        expect("unmasking", result, 0).and(expect(
            "one",
            events::count().0.into(),
            i64::from(before) + 1,
        )),
    );
    events::mask_upcalls();
    a.works(
        "event_channel_op.status",
        expect("asking", status(own(), port).0, 0).and(expect(
            "its kind",
            status(own(), port).1.kind.into(),
            5,
        )),
    );
    a.refuses("event_channel_op.status", status(NOBODY, port).0, errno::ESRCH);
    let (result, other) = alloc_unbound(NOBODY);
    a.works(
        "event_channel_op.alloc_unbound",
        expect("asking", result, 0).and({
            let now = status(own(), other).1;
            expect("its kind", now.kind.into(), 1).and(expect(
                "for whom",
                now.u[0].into(),
                NOBODY.into(),
            ))
        }),
    );
    let mut bind = [other, 0u32];
    a.works("event_channel_op.bind_vcpu", expect("binding", op(BIND_VCPU, &mut bind), 0));
    a.refuses("event_channel_op.bind_vcpu", op(BIND_VCPU, &mut [other, 99]), errno::ENOENT);
    a.refuses("event_channel_op.bind_vcpu", op(BIND_VCPU, &mut [port, 0]), errno::EINVAL);
    let result = close(other);
    let free = expect("its kind", status(own(), other).1.kind.into(), 0);
    a.works("event_channel_op.close", expect("closing", result, 0).and(free));
    a.refuses("event_channel_op.close", close(other), errno::EINVAL);
    a.step(expect("closing", close(port), 0));
    for port in NO_PORTS {
        a.refuses("event_channel_op.close", close(port), errno::EINVAL);
        a.refuses("event_channel_op.send", send(port), errno::EINVAL);
        a.refuses("event_channel_op.bind_vcpu", op(BIND_VCPU, &mut [port, 0]), errno::EINVAL);
    }
    for port in [0x2_0000, 0xffff_ffff] {
        a.refuses("event_channel_op.unmask", unmask(port), errno::EINVAL);
        a.refuses("event_channel_op.status", status(own(), port).0, errno::EINVAL);
    }
    for (number, name) in [
        (3, "event_channel_op.close"),
        (4, "event_channel_op.send"),
        (STATUS, "event_channel_op.status"),
        (6, "event_channel_op.alloc_unbound"),
        (BIND_VCPU, "event_channel_op.bind_vcpu"),
        (9, "event_channel_op.unmask"),
    ] {
        nowhere(&mut a, name, number);
    }
    for number in [15, 99] {
        a.refuses("event_channel_op", op(number, &mut 0u64), errno::ENOSYS);
    }
    a.end()
}

fn interrupts() -> Outcome {
    const VIRQ: &str = "event_channel_op.bind_virq";
    const IPI: &str = "event_channel_op.bind_ipi";
    const PIRQ: &str = "event_channel_op.bind_pirq";
    let mut a = Answers::new();
    let (result, port) = bind_virq(1, 0);
    let now = status(own(), port).1;
    a.works(
        VIRQ,
        expect("binding", result, 0).and(expect("its kind", now.kind.into(), 4)).and(expect(
            "which",
            now.u[0].into(),
            1,
        )),
    );
    a.refuses(VIRQ, bind_virq(1, 0).0, errno::EEXIST);
    a.refuses("event_channel_op.send", send(port), errno::EINVAL);
    a.step(expect("closing", close(port), 0));
    a.refuses(VIRQ, bind_virq(24, 0).0, errno::EINVAL);
    a.refuses(VIRQ, bind_virq(2, 1).0, errno::EINVAL);
    a.refuses(VIRQ, bind_virq(0, 99).0, errno::ENOENT);
    nowhere(&mut a, VIRQ, 1);
    let (result, port) = bind_ipi(0);
    let kind = expect("its kind", status(own(), port).1.kind.into(), 5);
    a.works(IPI, expect("binding", result, 0).and(kind));
    a.step(expect("closing", close(port), 0));
    a.refuses(IPI, bind_ipi(99).0, errno::ENOENT);
    nowhere(&mut a, IPI, 7);
    let pirq = |pirq: u32, flags: u32| {
        let mut bind = [pirq, flags, 0];
        (op(BIND_PIRQ, &mut bind), bind[2])
    };
    // The clock's, which nobody else has. Under Xen it is announced first.
    for (op, words) in [(21u64, [8u64, 0, 0, 0]), (13, [1 << 32 | DOMID_SELF, 8 | 8 << 32, 0, 0])] {
        let mut words = words;
        let result = call2(nr::PHYSDEV_OP, op, pv_runtime::hypercall::addr_mut(&mut words));
        a.step(holds("announcing it", result >= 0));
    }
    let (result, port) = pirq(8, 0);
    let now = status(own(), port).1;
    let kind = expect("its kind", now.kind.into(), 3).and(expect("which", now.u[0].into(), 8));
    a.works(PIRQ, expect("binding", result, 0).and(kind));
    a.refuses(PIRQ, pirq(8, 0).0, errno::EEXIST);
    a.step(expect("closing", close(port), 0));
    a.refuses(PIRQ, pirq(0xffff_ffff, 0).0, errno::EINVAL);
    // The serial line's, which the hypervisor keeps. (Xen: EPERM, as it has not been announced.)
    a.refuses(PIRQ, pirq(4, 0).0, errno::EBUSY);
    nowhere(&mut a, PIRQ, BIND_PIRQ);
    let mut puppet = Puppet::start()?;
    let mut bind = [8u32, 0, 0];
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [BIND_PIRQ, 0, 0, 0, 0], 1, &mut bind);
    a.refuses(PIRQ, result, errno::EPERM);
    // The machine's: Xen lets it be bound, though it never comes.
    let mut bind = [2u32, 0, 0];
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [1, 0, 0, 0, 0], 1, &mut bind);
    a.refuses(VIRQ, result, errno::EPERM);
    puppet.end()?;
    a.end()
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Unbound {
    dom: u16,
    remote: u16,
    port: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Interdomain {
    remote: u16,
    remote_port: u32,
    port: u32,
}

fn interdomain() -> Outcome {
    const BIND: &str = "event_channel_op.bind_interdomain";
    let mut a = Answers::new();
    let mut puppet = Puppet::with(Limits { vcpus: 1, port: 7, grant_frames: 4, grant_version: 2 })?;
    let them = puppet.domid;
    let theirs = |puppet: &mut Puppet, number: u64, dom: u16, remote: u16| {
        let mut op = Unbound { dom, remote, port: 0 };
        let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [number, 0, 0, 0, 0], 1, &mut op);
        (result, op.port)
    };
    let (result, remote) = theirs(&mut puppet, 6, own(), 0);
    a.step(expect("a port of theirs for us", result, 0));
    let (result, port) = bind_interdomain(them, remote);
    let now = status(own(), port).1;
    let kind = expect("its kind", now.kind.into(), 2)
        .and(expect("whose", now.u[0].into(), them.into()))
        .and(expect("which", now.u[1].into(), remote.into()));
    // It is pending at once; then each event is one that was sent.
    take_pending(port);
    let result_of_send =
        puppet.call_with(nr::EVENT_CHANNEL_OP, [4, 0, 0, 0, 0], 1, &mut { remote });
    let came = holds("what they sent came", take_pending(port));
    a.works(
        BIND,
        expect("binding", result, 0)
            .and(kind)
            .and(expect("their sending", result_of_send, 0))
            .and(came),
    );
    a.refuses(BIND, bind_interdomain(them, remote).0, errno::EINVAL);
    a.refuses(BIND, bind_interdomain(them, 0xffff_ffff).0, errno::EINVAL);
    a.refuses(BIND, bind_interdomain(NOBODY, 1).0, errno::ESRCH);
    nowhere(&mut a, BIND, 0);
    // dom0 makes a port in their table.
    let mut ours = Unbound { dom: them, remote: 0, port: 0 };
    a.step(expect("a port for them", op(6, &mut ours), 0));
    a.step(expect("its kind", status(them, ours.port).1.kind.into(), 1));
    a.refuses(
        "event_channel_op.alloc_unbound",
        op(6, &mut Unbound { dom: NOBODY, ..ours }),
        errno::ESRCH,
    );
    a.refuses("event_channel_op.alloc_unbound", theirs(&mut puppet, 6, 0, own()).0, errno::EPERM);
    a.refuses(
        "event_channel_op.alloc_unbound",
        theirs(&mut puppet, 6, NOBODY, own()).0,
        errno::ESRCH,
    );
    let mut asked = Status { dom: 0, port: 1, kind: 0, vcpu: 0, u: [0; 2] };
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [STATUS, 0, 0, 0, 0], 1, &mut asked);
    a.refuses("event_channel_op.status", result, errno::EPERM);
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [RESET, 0, 0, 0, 0], 1, &mut { 0u16 });
    a.refuses("event_channel_op.reset", result, errno::EPERM);
    // Port 7 is their last.
    while theirs(&mut puppet, 6, own(), own()).0 == 0 {}
    a.refuses(
        "event_channel_op.alloc_unbound",
        theirs(&mut puppet, 6, own(), own()).0,
        errno::ENOSPC,
    );
    let mut bind = Interdomain { remote: own(), remote_port: 1, port: 0 };
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [0, 0, 0, 0, 0], 1, &mut bind);
    a.refuses(BIND, result, errno::ENOSPC);
    let mut words = [0u32; 3];
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [7, 0, 0, 0, 0], 1, &mut words);
    a.refuses("event_channel_op.bind_ipi", result, errno::ENOSPC);
    words = [1, 0, 0];
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [1, 0, 0, 0, 0], 1, &mut words);
    a.refuses("event_channel_op.bind_virq", result, errno::ENOSPC);
    // Their end leaves ours waiting for them.
    puppet.end()?;
    a.step(expect("closing", close(port), 0));
    a.end()
}

fn resets() -> Outcome {
    const NAME: &str = "event_channel_op.reset";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let mut ours = Unbound { dom: puppet.domid, remote: 0, port: 0 };
    a.step(expect("a port of theirs", op(6, &mut ours), 0));
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [RESET, 0, 0, 0, 0], 1, &mut { own() });
    let kind = expect("its kind", status(puppet.domid, ours.port).1.kind.into(), 0);
    a.works(NAME, expect("resetting", result, 0).and(kind));
    a.refuses(NAME, op(RESET, &mut { NOBODY }), errno::ESRCH);
    nowhere(&mut a, NAME, RESET);
    puppet.end()?;
    a.end()
}
