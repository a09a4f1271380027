//! `domctl`: domains made, paused, resumed and ended, and the calls that are none.

use crate::{DOM0, NOBODY, NOWHERE, Request, Test, test, two, words};
use core::sync::atomic::Ordering;
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::{domctl, op};
use pv_runtime::events::{self, bind_interdomain, close};
use pv_runtime::hypercall::{call2, errno, nr, yield_now};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] = &[
    test("control-domctl", calls),
    test("control-create", create),
    test("control-pause", pause),
    test("control-suspend", suspend),
];

const PAUSE: u32 = 3;
const UNPAUSE: u32 = 4;
const RESUME: u32 = 27;
const SUBSCRIBE: u32 = 29;
/// Bits of a domain's flags.
const SHUTDOWN: u64 = 1 << 2;
const PAUSED: u64 = 1 << 3;
/// A domain that the test makes, of which nothing else knows.
const ANY_DOMID: u16 = 4711;

/// The flags of a domain.
pub fn flags(domid: u16) -> u64 {
    domctl(op::INFO, domid, &[]).1.u[0] >> 32
}

fn calls() -> Outcome {
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    a.refuses("domctl", call2(nr::DOMCTL, NOWHERE, 0), errno::EFAULT);
    for version in [0, 0x16, 0x18] {
        let mut request = Request::new(op::INFO, version, &[]);
        a.refuses("domctl", request.call(nr::DOMCTL), errno::EACCES);
    }
    for command in [PAUSE, UNPAUSE, op::DESTROY, op::MAX_MEM] {
        a.refuses("domctl", domctl(command, NOBODY, &[]).0, errno::ESRCH);
    }
    for command in [0, 999] {
        a.refuses("domctl", domctl(command, puppet.domid, &[]).0, errno::ENOSYS);
    }
    a.refuses("domctl.set_llc_colors", domctl(89, puppet.domid, &[]).0, errno::EOPNOTSUPP);
    for (number, version) in [(nr::DOMCTL, 0x17), (crate::nr::SYSCTL, 0x15)] {
        let name = if number == nr::DOMCTL { "domctl" } else { "sysctl" };
        let mut request = Request::new(3, version, &[]);
        a.refuses(name, puppet.call_with(number, [0; 5], 0, &mut request), errno::EPERM);
    }
    puppet.end()?;
    a.end()
}

/// The structure that a domain is created with.
fn wish() -> [u32; 17] {
    let mut wish = [0; 17];
    wish[0] = 5;
    wish[1..5].copy_from_slice(&[0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d]);
    // vCPUs, ports, frames of the grant and the map table, greatest version.
    wish[7..12].copy_from_slice(&[2, 1023, 4, 4, 1]);
    wish
}

fn create() -> Outcome {
    const NAME: &str = "domctl.createdomain";
    const INFO: &str = "domctl.getdomaininfo";
    const MAX_VCPUS: &str = "domctl.max_vcpus";
    let mut a = Answers::new();
    let make = |domid: u16, wish: &[u32]| domctl(op::CREATE, domid, &words(wish));
    let spoilt = |index: usize, value: u32| {
        let mut wish = wish();
        wish[index] = value;
        make(0, &wish).0
    };
    let (result, _) = make(ANY_DOMID, &wish());
    let (asked, info) = domctl(op::INFO, ANY_DOMID, &[]);
    let handle = [info.u[9] >> 32, info.u[10] & 0xffff_ffff];
    let effect = expect("creating", result, 0)
        .and(expect("asking", asked, 0))
        .and(expect("its number", info.domid.into(), ANY_DOMID.into()))
        .and(holds("paused", info.u[0] >> 32 & PAUSED != 0))
        .and(expect("pages", info.u[1].cast_signed(), 0));
    a.works(NAME, effect);
    let seen = expect("its label", (info.u[9] & 0xffff_ffff).cast_signed(), 5)
        .and(holds("its handle", handle == [0x0403_0201, 0x0807_0605]))
        .and(expect("no vCPU", (info.u[8] >> 32).cast_signed(), 0xffff_ffff));
    a.works(INFO, seen);
    a.refuses(NAME, make(ANY_DOMID, &wish()).0, errno::EEXIST);
    // Unknown flags, an IOMMU's options without one, no vCPU, no version of grants.
    for (index, value) in [(5, 1 << 20), (6, 1), (7, 0), (11, 0), (11, 3), (11, 0x10)] {
        a.refuses(NAME, spoilt(index, value), errno::EINVAL);
    }
    a.refuses(NAME, spoilt(14, 77), errno::ESRCH);
    a.refuses(INFO, domctl(op::INFO, 0x7ff0, &[]).0, errno::EINVAL);
    a.refuses(INFO, domctl(op::INFO, NOBODY, &[]).0, errno::ESRCH);
    let vcpus = |domid, count: u64| domctl(op::MAX_VCPUS, domid, &[count]).0;
    a.refuses(MAX_VCPUS, vcpus(ANY_DOMID, 1), errno::EINVAL);
    a.refuses(MAX_VCPUS, vcpus(ANY_DOMID, 3), errno::EINVAL);
    a.refuses(MAX_VCPUS, vcpus(DOM0, 1), errno::EINVAL);
    let made = expect("making two", vcpus(ANY_DOMID, 2), 0);
    let last = domctl(op::INFO, ANY_DOMID, &[]).1.u[8] >> 32;
    a.works(MAX_VCPUS, made.and(expect("the last one", last.cast_signed(), 1)));
    let result = domctl(op::DESTROY, ANY_DOMID, &[]).0;
    let gone = expect("asking", domctl(op::INFO, ANY_DOMID, &[]).0, errno::ESRCH);
    a.works("domctl.destroydomain", expect("destroying", result, 0).and(gone));
    a.refuses("domctl.destroydomain", domctl(op::DESTROY, DOM0, &[]).0, errno::EINVAL);
    a.end()
}

fn pause() -> Outcome {
    const NAME: &str = "domctl.pausedomain";
    const AGAIN: &str = "domctl.unpausedomain";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let domid = puppet.domid;
    a.step(expect("a call", puppet.call(nr::XEN_VERSION, [0; 5]) >> 16, 4));
    let result = domctl(PAUSE, domid, &[]).0;
    puppet.post(nr::XEN_VERSION, [7, 0, 0, 0, 0]);
    (0..50).for_each(|_| {
        let _ = yield_now();
    });
    let still = holds("it stands still", !puppet.has_answered());
    let marked = holds("it is marked", flags(domid) & PAUSED != 0);
    a.works(NAME, expect("pausing", result, 0).and(still).and(marked));
    let result = domctl(UNPAUSE, domid, &[]).0;
    let goes_on = expect("its call", puppet.answer(), 4096);
    a.works(AGAIN, expect("unpausing", result, 0).and(goes_on));
    a.refuses(AGAIN, domctl(UNPAUSE, domid, &[]).0, errno::EINVAL);
    a.refuses(NAME, domctl(PAUSE, DOM0, &[]).0, errno::EINVAL);
    puppet.end()?;
    a.end()
}

/// A domain suspends, tells the port that was named, and is resumed.
fn suspend() -> Outcome {
    const NAME: &str = "domctl.subscribe";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let domid = puppet.domid;
    let mut unbound = two(0x7ff0, 0);
    let got = puppet.call_with(nr::EVENT_CHANNEL_OP, [6, 0, 0, 0, 0], 1, &mut unbound);
    a.step(expect("a port for us", got, 0));
    let (bound, port) = bind_interdomain(domid, (unbound >> 32) as u32);
    a.step(expect("binding to it", bound, 0));
    let result = domctl(SUBSCRIBE, domid, &[unbound >> 32]).0;
    let pending = |port: u32| {
        let word = |s: &events::SharedInfo| s.pending[port as usize / 64].load(Ordering::SeqCst);
        events::shared_info().map_or(0, word) >> (port % 64) & 1
    };
    // Binding raised it once.
    if let Some(shared) = events::shared_info() {
        shared.pending[port as usize / 64].fetch_and(!(1 << (port % 64)), Ordering::SeqCst);
    }
    puppet.post_with(nr::SCHED_OP, [2, 0, 0, 0, 0], 1, &2u32);
    for _ in 0..1000 {
        if flags(domid) & SHUTDOWN != 0 {
            break;
        }
        yield_now();
    }
    let stopped = holds("it is marked", flags(domid) & SHUTDOWN != 0);
    let told = expect("the port", pending(port).cast_signed(), 1);
    a.works(NAME, expect("subscribing", result, 0).and(stopped).and(told));
    a.refuses(NAME, domctl(SUBSCRIBE, domid, &[900]).0, errno::EINVAL);
    let result = domctl(RESUME, domid, &[]).0;
    let goes_on = expect("its call", puppet.answer(), 0)
        .and(holds("no mark", flags(domid) & SHUTDOWN == 0))
        .and(expect("another", puppet.call(nr::XEN_VERSION, [7, 0, 0, 0, 0]), 4096));
    a.works("domctl.resumedomain", expect("resuming", result, 0).and(goes_on));
    a.refuses("domctl.resumedomain", domctl(RESUME, DOM0, &[]).0, errno::EINVAL);
    a.step(expect("closing", close(port), 0));
    puppet.end()?;
    a.end()
}
