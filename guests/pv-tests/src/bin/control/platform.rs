//! `platform_op`: dom0's way to the machine.

use crate::{NOWHERE, Request, Test, nr, test, two};
use core::sync::atomic::Ordering;
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::events;
use pv_runtime::hypercall::{addr, addr_mut, call2, errno};
use pv_runtime::memory;
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] = &[
    test("control-platform", calls),
    test("control-wall-clock", wall_clock),
    test("control-firmware", firmware),
];

const VERSION: u32 = 0x0300_0001;

fn ask(command: u32, words: &[u64]) -> (i64, [u64; 16]) {
    let mut request = Request::new(command, VERSION, words);
    (request.call(nr::PLATFORM), request.u)
}

/// The same from memory that cannot be written to, where no answer has a place.
pub fn from_read_only(number: u64, command: u32, version: u32, words: &[u64]) -> i64 {
    let page = memory::page();
    page.write(0, two(command, version));
    words.iter().enumerate().for_each(|(index, &word)| page.write(1 + index, word));
    assert!(page.protect() == 0, "a page cannot be made read-only");
    let result = call2(number, page.va(), 0);
    assert!(page.unprotect() == 0, "a page cannot be made writable");
    result
}

fn refuses_read_only(a: &mut Answers, name: &'static str, command: u32, words: &[u64]) {
    let result = from_read_only(nr::PLATFORM, command, VERSION, words);
    a.refuses(name, result, errno::EFAULT);
}

fn calls() -> Outcome {
    const SLEEP: &str = "platform_op.enter_acpi_sleep";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    a.refuses("platform_op", call2(nr::PLATFORM, NOWHERE, 0), errno::EFAULT);
    for version in [0, VERSION - 1, VERSION + 1] {
        a.refuses("platform_op", Request::new(50, version, &[]).call(nr::PLATFORM), errno::EACCES);
    }
    for command in [0, 38, 999] {
        a.refuses("platform_op", ask(command, &[]).0, errno::ENOSYS);
    }
    let mut request = Request::new(50, VERSION, &[]);
    a.refuses("platform_op", puppet.call_with(nr::PLATFORM, [0; 5], 0, &mut request), errno::EPERM);
    // Other states than power off, and the form for reduced hardware.
    for words in [[two(0, 3), 0], [two(0, 4), 0], [two(0, 5), 1]] {
        a.refuses(SLEEP, ask(51, &words).0, errno::EOPNOTSUPP);
    }
    puppet.end()?;
    a.end()
}

/// Seconds of the wall clock at the start, as the shared page tells them.
fn seconds() -> u64 {
    events::shared_info().map_or(0, |shared| shared.wall_clock[1].load(Ordering::SeqCst).into())
}

fn wall_clock() -> Outcome {
    const SET: &str = "platform_op.settime64";
    const OLD: &str = "platform_op.settime32";
    let mut a = Answers::new();
    let before = seconds();
    // At system time 0 it was, or is to have been, that second.
    let result = ask(62, &[2_000_000_000, two(5, 0), 0]).0;
    a.works(SET, expect("setting", result, 0).and(expect("then", seconds() as i64, 2_000_000_000)));
    a.refuses(SET, ask(62, &[2_000_000_000, two(5, 1), 0]).0, errno::EINVAL);
    let result = ask(17, &[two(before as u32, 0), 0]).0;
    let back = expect("then", seconds() as i64, before as i64);
    a.works(OLD, expect("setting", result, 0).and(back).and(holds("a time", before > 1 << 30)));
    a.end()
}

fn firmware() -> Outcome {
    let mut a = Answers::new();

    const CPU: &str = "platform_op.get_cpuinfo";
    let (result, u) = ask(55, &[0, 0, 0]);
    let seen = expect("asking", result, 0)
        .and(expect("the last one", (u[0] >> 32).cast_signed(), 0))
        .and(expect("on line", (u[1] & 0xffff_ffff).cast_signed(), 1))
        .and(expect("none", (ask(55, &[77]).1[1] & 0xffff_ffff).cast_signed(), 2));
    a.works(CPU, seen);
    refuses_read_only(&mut a, CPU, 55, &[0]);

    const KIND: &str = "platform_op.get_cpu_version";
    let (result, u) = ask(48, &[0, 0, 0, 0, 0]);
    let leaf = core::arch::x86_64::__cpuid(0);
    let maker = two(leaf.ebx, leaf.edx) == u[1] && u64::from(leaf.ecx) == u[2] & 0xffff_ffff;
    a.works(KIND, expect("asking", result, 0).and(holds("the maker", maker)));
    refuses_read_only(&mut a, KIND, 48, &[0]);

    const RANGE: &str = "platform_op.read_memtype";
    let (result, u) = ask(33, &[0, !0, !0, !0]);
    let seen = expect("asking", result, 0).and(holds("an answer", u[2] != !0));
    a.works(RANGE, seen);
    a.refuses(RANGE, ask(33, &[99]).0, errno::EINVAL);
    refuses_read_only(&mut a, RANGE, 33, &[0]);

    const FIRMWARE: &str = "platform_op.firmware_info";
    let (result, u) = ask(50, &[two(5, 0), !0]);
    a.works(FIRMWARE, expect("asking for shifts", result, 0).and(holds("an answer", u[1] != !0)));
    for kind in [1, 2, 3] {
        a.refuses(FIRMWARE, ask(50, &[two(kind, 0)]).0, errno::ESRCH);
    }
    a.refuses(FIRMWARE, ask(50, &[two(5, 1)]).0, errno::ESRCH);
    a.refuses(FIRMWARE, ask(50, &[two(4, 0)]).0, errno::ENOSYS);
    a.refuses(FIRMWARE, ask(50, &[two(99, 0)]).0, errno::EINVAL);
    refuses_read_only(&mut a, FIRMWARE, 50, &[two(5, 0)]);

    const SYMBOL: &str = "platform_op.get_symbol";
    let mut name = [0u8; 256];
    let (result, u) = ask(63, &[two(256, 10), addr_mut(&mut name), 0, 0]);
    let length = (u[0] & 0xffff_ffff) as usize;
    let named = length > 1 && name[..length - 1].iter().all(|byte| byte.is_ascii_graphic());
    let seen = expect("asking", result, 0)
        .and(expect("the next one", (u[0] >> 32).cast_signed(), 11))
        .and(holds("its address", u[2] >= 0xffff_82d0_0000_0000))
        .and(holds("its name", named));
    a.works(SYMBOL, seen);
    a.refuses(SYMBOL, ask(63, &[two(256, !0), addr_mut(&mut name), 0, 0]).0, errno::ERANGE);
    a.refuses(SYMBOL, ask(63, &[two(256, 10), NOWHERE, 0, 0]).0, errno::EFAULT);

    const POWER: &str = "platform_op.set_processor_pminfo";
    const PDC: u32 = 3;
    // Revision, how many words, abilities: all; and what is left of them.
    let mut abilities = [1u32, 1, !0];
    let result = ask(54, &[two(0, PDC), addr_mut(&mut abilities)]).0;
    let left = abilities[2];
    let seen = expect("telling", result, 0).and(holds("fewer", left != !0 && left != 0));
    a.works(POWER, seen);
    a.refuses(POWER, ask(54, &[two(0, 1), addr(&abilities)]).0, errno::ENOSYS);
    a.refuses(POWER, ask(54, &[two(0, PDC), NOWHERE]).0, errno::EFAULT);
    a.refuses(POWER, ask(54, &[two(0, PDC), addr(&[2u32, 1, 0])]).0, errno::EINVAL);
    a.end()
}
