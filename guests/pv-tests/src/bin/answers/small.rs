//! `stack_switch`, `fpu_taskswitch`, `set_debugreg`, `get_debugreg`, `set_segment_base`, and
//! numbers that are no hypercall.

use crate::{Test, test};
use core::arch::asm;
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{call2, call3, errno, nr};
use pv_runtime::memory;
use pv_runtime::outcome::{Failure, expect};
use pv_runtime::traps::KERNEL_SS;
use pv_runtime::{probe, try_asm, user};

pub const TESTS: &[Test] = &[
    test("answers-segment-base", segment_bases),
    test("answers-debug-registers", debug_registers),
    test("answers-task-switches", task_switches),
    test("answers-unknown", unknown),
];

/// Reads 8 bytes through FS or GS.
fn read_by(fs: bool) -> i64 {
    let mut value: u64 = 0;
    let outcome = if fs {
        try_asm!("mov {value}, fs:[8]", value = inout(reg) value)
    } else {
        try_asm!("mov {value}, gs:[8]", value = inout(reg) value)
    };
    outcome.map_or(-1, |()| value.cast_signed())
}

fn segment_bases() -> Outcome {
    const NAME: &str = "set_segment_base";
    let mut a = Answers::new();
    let page = memory::page();
    page.write(1, 0x5e6);
    let set = |which, base| call2(nr::SET_SEGMENT_BASE, which, base);
    let result = set(0, page.va());
    a.works(NAME, expect("FS", result, 0).and(expect("what is read", read_by(true), 0x5e6)));
    let result = set(2, page.va());
    a.works(NAME, expect("GS", result, 0).and(expect("what is read", read_by(false), 0x5e6)));
    a.step(expect("the user's GS", set(1, page.va()), 0));
    a.step(expect("its selector", set(3, 0), 0));
    for which in [0, 1, 2] {
        a.refuses(NAME, set(which, 1 << 47), errno::EINVAL);
    }
    for which in [4, 99] {
        a.refuses(NAME, set(which, 0), errno::EINVAL);
    }
    a.end()
}

fn debug_registers() -> Outcome {
    const SET: &str = "set_debugreg";
    const GET: &str = "get_debugreg";
    let mut a = Answers::new();
    let page = memory::page();
    let set = |register, value| call2(nr::SET_DEBUGREG, register, value);
    let get = |register| call2(nr::GET_DEBUGREG, register, 0);
    // A write to 8 bytes at the page's start, by register 0, traps once it is enabled.
    let results = [set(0, page.va()), set(7, 0x9_0001)];
    let value = expect("register 0", get(0), page.va().cast_signed());
    let trap = probe::write(page.va(), 1);
    let off = set(7, 0);
    let quiet = probe::write(page.va(), 1);
    let vector = trap.err().map_or(-1, |trap| trap.vector.cast_signed());
    let effect = expect("setting the address", results[0], 0)
        .and(expect("enabling", results[1], 0))
        .and(expect("the exception", vector, 1))
        .and(expect("disabling", off, 0))
        .and(expect("then", i64::from(quiet.is_err()), 0));
    a.works(SET, effect);
    a.works(GET, value);
    for (register, value, wanted) in [
        (0, 1 << 47, errno::EPERM),
        (3, 0xffff_8300_0000_0000, errno::EPERM),
        (7, 1 << 32, errno::EINVAL),
        (8, 0, errno::ENODEV),
        (99, 0, errno::ENODEV),
    ] {
        a.refuses(SET, set(register, value), wanted);
    }
    // 4 and 5 are other names of 6 and 7.
    a.step(expect("register 5", get(5), get(7)));
    a.step(expect("register 4", get(4), get(6)));
    for register in [8, 99] {
        a.refuses(GET, get(register), errno::ENODEV);
    }
    a.end()
}

fn task_switches() -> Outcome {
    let mut a = Answers::new();
    // With the flag set, an instruction of the FPU faults.
    let result = call2(nr::FPU_TASKSWITCH, 1, 0);
    let trap = try_asm!("fninit");
    let _ = call2(nr::FPU_TASKSWITCH, 0, 0);
    let none = try_asm!("fninit");
    let vector = trap.err().map_or(-1, |trap| trap.vector.cast_signed());
    let effect = expect("setting", result, 0).and(expect("the exception", vector, 7)).and(expect(
        "then",
        i64::from(none.is_err()),
        0,
    ));
    a.works("fpu_taskswitch", effect);
    // User mode's call comes in on the stack that was set: its way back lies there.
    let space = user::space();
    space.load_loop(true, 1);
    let stack = memory::page();
    let result = call2(nr::STACK_SWITCH, u64::from(KERNEL_SS), stack.va() + 4096);
    let ran = space.run().map_err(|trap| Failure {
        what: "an exception in user mode",
        got: trap.vector.cast_signed(),
        wanted: -1,
    });
    let used = expect(
        "the user's stack segment",
        (stack.read(511) & 0xffff).cast_signed(),
        KERNEL_SS.into(),
    );
    a.works("stack_switch", expect("setting", result, 0).and(ran).and(used));
    // SAFETY: it sets the control word that programs start with.
    unsafe { asm!("fninit", options(nomem, nostack)) };
    a.end()
}

fn unknown() -> Outcome {
    let mut a = Answers::new();
    for number in [11, 38, 43, 47, 50, 55, 56, 63, 64, 1000, 0xffff_ffff, 1 << 32, !0] {
        a.refuses("hypercall", call2(number, 0, 0), errno::ENOSYS);
    }
    a.refuses("memory_op", call2(nr::MEMORY_OP, 0x3f, 0), errno::ENOSYS);
    // Subordinate numbers have 32 bits, whatever stands above them in the register.
    let high = 1 << 32;
    let version = call2(nr::XEN_VERSION, 0, 0);
    a.step(expect("with more bits", call2(nr::XEN_VERSION, high, 0), version));
    a.step(expect("with more bits", call2(nr::SCHED_OP, high, 0), 0));
    a.step(expect("with more bits", call3(nr::VCPU_OP, high | 3, high, 0), 1));
    // There the bits above say how far the call has come.
    a.step(expect("with more bits", call2(nr::MEMORY_OP, high | 2, 0), errno::EINVAL));
    a.end()
}
