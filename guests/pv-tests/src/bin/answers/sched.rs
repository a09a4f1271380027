//! `sched_op`.

use crate::events::take_pending;
use crate::{NOBODY, NOWHERE, Test, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::{domctl, op};
use pv_runtime::events::{self, bind_ipi, close, send};
use pv_runtime::hypercall::{addr, call2, errno, nr, yield_now};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::probe::ticks;
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] =
    &[test("answers-sched", waits), test("answers-sched-shutdown", shutdowns)];

fn sched_op<T>(number: u64, argument: &T) -> i64 {
    call2(nr::SCHED_OP, number, addr(argument))
}

#[repr(C)]
struct Poll {
    ports: u64,
    count: u32,
    until: u64,
}

/// System time in nanoseconds, about: that of the last update, and what has passed since.
pub fn system_time() -> u64 {
    use core::sync::atomic::Ordering;
    let Some(shared) = events::shared_info() else { return 0 };
    // Version, time stamp, system time, factor and shift.
    let word = |n: usize| shared.vcpus[0].rest[n].load(Ordering::SeqCst);
    let (stamp, at, scale) = (word(2), word(3), word(4));
    let factor = scale & 0xffff_ffff;
    let shift = ((scale >> 32) & 0xff) as i8;
    let passed = ticks().wrapping_sub(stamp);
    let passed = if shift < 0 { passed >> -shift } else { passed << shift };
    at + ((u128::from(passed) * u128::from(factor)) >> 32) as u64
}

fn waits() -> Outcome {
    const POLL: &str = "sched_op.poll";
    let mut a = Answers::new();
    a.works("sched_op.yield", expect("yielding", yield_now(), 0));
    let (result, port) = bind_ipi(0);
    a.step(expect("a port", result, 0));
    let ports = [port];
    let poll = |count, ports: u64, until| sched_op(3, &Poll { ports, count, until });
    // With an event at once; without one when its time has come.
    a.step(expect("sending", send(port), 0));
    a.step(expect("with an event", poll(1, addr(&ports), 0), 0));
    a.step(holds("it is still pending", take_pending(port)));
    let until = system_time() + 20_000_000;
    let result = poll(1, addr(&ports), until);
    let now = system_time();
    a.works(POLL, expect("with a time", result, 0).and(holds("its time has come", now >= until)));
    a.refuses(POLL, call2(nr::SCHED_OP, 3, NOWHERE), errno::EFAULT);
    a.refuses(POLL, poll(1, NOWHERE, 1), errno::EFAULT);
    a.refuses(POLL, poll(129, addr(&ports), 1), errno::EINVAL);
    a.refuses(POLL, poll(1, addr(&0xffff_ffffu32), 1), errno::EINVAL);
    // Blocked until an event comes, with events let in.
    events::unmask_upcalls();
    let before = events::count().0;
    a.step(expect("sending", send(port), 0));
    a.step(expect("it came", events::count().0.into(), i64::from(before) + 1));
    let (result, timer) = events::bind_virq(0, 0);
    a.step(expect("the timer", result, 0));
    let until = system_time() + 20_000_000;
    a.step(expect("setting it", pv_runtime::hypercall::call2(nr::SET_TIMER_OP, until, 0), 0));
    let result = call2(nr::SCHED_OP, 1, 0);
    let came = expect("from where", events::count().1.into(), timer.into());
    let now = system_time();
    a.works(
        "sched_op.block",
        expect("blocking", result, 0).and(came).and(holds("its time has come", now >= until)),
    );
    events::mask_upcalls();
    for port in [port, timer] {
        a.step(expect("closing", close(port), 0));
    }
    for number in [8, 99] {
        a.refuses("sched_op", call2(nr::SCHED_OP, number, 0), errno::ENOSYS);
    }
    a.end()
}

/// Flags and code of a domain that has shut down, when it has.
fn shut_down(domid: u16) -> i64 {
    for _ in 0..100_000 {
        let flags = domctl(op::INFO, domid, &[]).1.u[0] >> 32;
        if flags & 4 != 0 {
            return (flags >> 16 & 0xff).cast_signed();
        }
        yield_now();
    }
    -1
}

fn shutdowns() -> Outcome {
    const SHUTDOWN: &str = "sched_op.shutdown";
    const CODE: &str = "sched_op.shutdown_code";
    const REMOTE: &str = "sched_op.remote_shutdown";
    let mut a = Answers::new();
    a.refuses(SHUTDOWN, call2(nr::SCHED_OP, 2, NOWHERE), errno::EFAULT);
    a.refuses(CODE, call2(nr::SCHED_OP, 5, NOWHERE), errno::EFAULT);
    a.refuses(REMOTE, call2(nr::SCHED_OP, 4, NOWHERE), errno::EFAULT);
    let mut puppet = Puppet::start()?;
    puppet.post_with(nr::SCHED_OP, [2, 0, 0, 0, 0], 1, &3u32);
    a.works(SHUTDOWN, expect("its code", shut_down(puppet.domid), 3));
    puppet.end()?;
    let mut puppet = Puppet::start()?;
    let result = puppet.call_with(nr::SCHED_OP, [5, 0, 0, 0, 0], 1, &mut 1u32);
    puppet.post_with(nr::SCHED_OP, [2, 0, 0, 0, 0], 1, &3u32);
    // The code that was given before counts.
    let code = expect("its code", shut_down(puppet.domid), 1);
    a.works(CODE, expect("setting", result, 0).and(code));
    puppet.end()?;
    let mut puppet = Puppet::start()?;
    let remote = |domid: u16, code: u32| sched_op(4, &[u32::from(domid), code]);
    a.refuses(REMOTE, remote(NOBODY, 3), errno::ESRCH);
    let mut words = [0u32, 3];
    let result = puppet.call_with(nr::SCHED_OP, [4, 0, 0, 0, 0], 1, &mut words);
    a.refuses(REMOTE, result, errno::EPERM);
    words[0] = NOBODY.into();
    let result = puppet.call_with(nr::SCHED_OP, [4, 0, 0, 0, 0], 1, &mut words);
    a.refuses(REMOTE, result, errno::ESRCH);
    // Codes that there are not are taken as they are.
    puppet.post_with(nr::SCHED_OP, [2, 0, 0, 0, 0], 1, &99u32);
    a.step(expect("an unknown code", shut_down(puppet.domid), 99));
    let other = Puppet::start()?;
    let result = remote(other.domid, 2);
    a.works(REMOTE, expect("asking", result, 0).and(expect("its code", shut_down(other.domid), 2)));
    other.end()?;
    puppet.end()?;
    a.end()
}
