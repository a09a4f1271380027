//! Event channels: ports that are not there, things bound twice, delivery.

use crate::{Test, refused, test};
use core::sync::atomic::Ordering;
use pv_runtime::events::{self, bind_interdomain, bind_ipi, bind_virq, close, domid, send, unmask};
use pv_runtime::hypercall::errno;
use pv_runtime::outcome::{Outcome, expect, holds};
use pv_runtime::start;

pub const TESTS: &[Test] = &[
    test("events-bad-ports", bad_ports),
    test("events-bad-bindings", bad_bindings),
    test("events-bound-twice", bound_twice),
    test("events-delivery", delivery),
    test("events-forged-pending", forged_pending),
    test("events-exhaustion", exhaustion),
];

const NO_PORTS: [u32; 6] = [0, 4000, 4096, 0x1_ffff, 0x2_0000, 0xffff_ffff];

fn bad_ports() -> Outcome {
    for port in NO_PORTS {
        expect("closing", close(port), errno::EINVAL)?;
        expect("sending", send(port), errno::EINVAL)?;
        let mut bind = [port, 0];
        expect("binding to a CPU", events::op(8, &mut bind), errno::EINVAL)?;
    }
    for port in [0x2_0000, 0xffff_ffff] {
        expect("unmasking", unmask(port), errno::EINVAL)?;
    }
    expect("a number that is none", events::op(99, &mut 0u64), errno::ENOSYS)
}

fn bad_bindings() -> Outcome {
    expect("a virtual interrupt that is none", bind_virq(24, 0).0, errno::EINVAL)?;
    expect("a far one", bind_virq(0xffff_ffff, 0).0, errno::EINVAL)?;
    expect("the timer of no CPU", bind_virq(0, 99).0, errno::ENOENT)?;
    // A guest may have no global one at all.
    let elsewhere = if start::privileged() { errno::EINVAL } else { errno::EPERM };
    expect("a global one on another CPU", bind_virq(2, 99).0, elsewhere)?;
    expect("an interrupt to no CPU", bind_ipi(99).0, errno::ENOENT)?;
    expect("a far CPU", bind_ipi(0xffff_ffff).0, errno::ENOENT)?;
    expect("a domain that is none", bind_interdomain(77, 1).0, errno::ESRCH)?;
    for port in NO_PORTS {
        expect("a remote port that is none", bind_interdomain(domid(), port).0, errno::EINVAL)?;
    }
    let mut pirq = [0xffff_ffffu32, 0, 0];
    refused("a physical interrupt that is none", events::op(2, &mut pirq))
}

fn bound_twice() -> Outcome {
    let (result, timer) = bind_virq(0, 0);
    expect("the timer", result, 0)?;
    expect("the timer again", bind_virq(0, 0).0, errno::EEXIST)?;
    let (result, port) = events::alloc_unbound(domid());
    expect("a channel to ourselves", result, 0)?;
    let (result, other) = bind_interdomain(domid(), port);
    expect("binding to it", result, 0)?;
    expect("binding to it again", bind_interdomain(domid(), port).0, errno::EINVAL)?;
    expect("closing one end", close(other), 0)?;
    let (result, other) = bind_interdomain(domid(), port);
    expect("binding to it once more", result, 0)?;
    for port in [timer, port, other] {
        expect("closing", close(port), 0)?;
        expect("closing again", close(port), errno::EINVAL)?;
    }
    Ok(())
}

fn delivery() -> Outcome {
    let (result, port) = bind_ipi(0);
    expect("an interrupt to ourselves", result, 0)?;
    expect("unmasking", unmask(port), 0)?;
    events::unmask_upcalls();
    let before = events::count().0;
    for _ in 0..10 {
        expect("sending", send(port), 0)?;
    }
    let (after, last) = events::count();
    expect("how many came", i64::from(after - before), 10)?;
    expect("from where", i64::from(last), i64::from(port))?;
    events::mask_upcalls();
    for _ in 0..10 {
        expect("sending", send(port), 0)?;
    }
    expect("none comes while masked", i64::from(events::count().0 - after), 0)?;
    events::unmask_upcalls();
    expect("one comes for all", i64::from(events::count().0 - after), 1)?;
    events::mask_upcalls();
    expect("closing", close(port), 0)
}

/// Pending and mask bits are the guest's to scribble on; the hypervisor copes.
fn forged_pending() -> Outcome {
    let shared = events::shared_info();
    let Some(shared) = shared else { return holds("there is a shared page", false) };
    let (result, port) = bind_ipi(0);
    expect("an interrupt to ourselves", result, 0)?;
    for word in shared.pending.iter().chain(&shared.mask) {
        word.store(!0, Ordering::SeqCst);
    }
    shared.vcpus[0].pending_sel.store(!0, Ordering::SeqCst);
    for forged in [1, port, 77, 4095] {
        let _ = send(forged);
        let _ = unmask(forged);
    }
    for word in shared.pending.iter().chain(&shared.mask) {
        word.store(0, Ordering::SeqCst);
    }
    events::mask_given();
    shared.vcpus[0].pending_sel.store(0, Ordering::SeqCst);
    shared.vcpus[0].upcall_pending.store(0, Ordering::SeqCst);
    events::unmask_upcalls();
    let before = events::count().0;
    expect("sending", send(port), 0)?;
    expect("it comes", i64::from(events::count().0 - before), 1)?;
    events::mask_upcalls();
    expect("closing", close(port), 0)
}

/// All ports can be taken, none beyond, and all come back.
fn exhaustion() -> Outcome {
    let mut last = 0;
    let mut taken = 0;
    loop {
        match events::alloc_unbound(domid()) {
            (0, port) => {
                taken += 1;
                last = port;
            }
            (result, _) => {
                expect("no more ports", result, errno::ENOSPC)?;
                break;
            }
        }
        holds("there is an end", taken <= 4096)?;
    }
    // The toolstack allows a guest fewer than there can be.
    let wanted = if start::privileged() { 4095 } else { 1023 };
    expect("the last port", i64::from(last), wanted)?;
    for port in 1..4096 {
        // Some were there before; those have not been taken.
        if !start::given_ports().contains(&port) && close(port) == 0 {
            taken -= 1;
        }
    }
    expect("all came back", taken, 0)?;
    let (result, port) = events::alloc_unbound(domid());
    expect("a port", result, 0)?;
    expect("closing it", close(port), 0)
}
