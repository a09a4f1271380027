//! `set_timer_op`, and the timers of `vcpu_op`.

use crate::events::take_pending;
use crate::sched::system_time;
use crate::{NOWHERE, Test, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::events::{bind_virq, close};
use pv_runtime::hypercall::{addr, call2, errno, nr};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::smp::vcpu_op;

pub const TESTS: &[Test] = &[test("answers-timers", timers)];

const MILLISECOND: u64 = 1_000_000;

/// Whether the timer's event comes before a time.
fn comes(port: u32, until: u64) -> bool {
    while system_time() < until {
        if take_pending(port) {
            return true;
        }
        let _ = pv_runtime::hypercall::yield_now();
    }
    take_pending(port)
}

#[repr(C)]
struct Once {
    at: u64,
    flags: u32,
}

fn timers() -> Outcome {
    const SET: &str = "vcpu_op.set_singleshot_timer";
    const STOP: &str = "vcpu_op.stop_singleshot_timer";
    const REPEAT: &str = "vcpu_op.set_periodic_timer";
    const END: &str = "vcpu_op.stop_periodic_timer";
    let mut a = Answers::new();
    // Xen starts domains with a timer that repeats.
    a.step(expect("stopping", vcpu_op(7, 0, 0), 0));
    let (result, port) = bind_virq(0, 0);
    a.step(expect("the timer", result, 0));
    take_pending(port);
    let soon = || system_time() + 10 * MILLISECOND;
    let late = || system_time() + 1000 * MILLISECOND;
    let at = soon();
    let result = call2(nr::SET_TIMER_OP, at, 0);
    let came = comes(port, late());
    let when = holds("not before its time", system_time() + MILLISECOND >= at);
    a.works("set_timer_op", expect("setting", result, 0).and(holds("it came", came)).and(when));
    a.step(expect("setting", call2(nr::SET_TIMER_OP, soon() + 10 * MILLISECOND, 0), 0));
    a.step(expect("stopping", call2(nr::SET_TIMER_OP, 0, 0), 0));
    a.step(holds("it did not come", !comes(port, system_time() + 50 * MILLISECOND)));
    let once = |at, flags| vcpu_op(8, 0, addr(&Once { at, flags }));
    let result = once(soon(), 0);
    a.works(SET, expect("setting", result, 0).and(holds("it came", comes(port, late()))));
    a.step(expect("setting", once(soon() + 10 * MILLISECOND, 0), 0));
    let result = vcpu_op(9, 0, 0);
    let quiet = holds("it did not come", !comes(port, system_time() + 50 * MILLISECOND));
    a.works(STOP, expect("stopping", result, 0).and(quiet));
    // The wish that its time be to come need not be heard: it comes at once.
    a.step(expect("setting", once(1, 1), 0));
    a.step(holds("it came", comes(port, late())));
    a.refuses(SET, vcpu_op(8, 0, NOWHERE), errno::EFAULT);
    let period = |ns: u64| vcpu_op(6, 0, addr(&ns));
    let result = period(5 * MILLISECOND);
    let thrice = holds("it came thrice", (0..3).all(|_| comes(port, late())));
    a.works(REPEAT, expect("setting", result, 0).and(thrice));
    let result = vcpu_op(7, 0, 0);
    take_pending(port);
    let quiet = holds("it did not come", !comes(port, system_time() + 50 * MILLISECOND));
    a.works(END, expect("stopping", result, 0).and(quiet));
    for ns in [0, MILLISECOND / 2, !0] {
        a.refuses(REPEAT, period(ns), errno::EINVAL);
    }
    a.refuses(REPEAT, vcpu_op(6, 0, NOWHERE), errno::EFAULT);
    a.step(expect("closing", close(port), 0));
    a.end()
}
