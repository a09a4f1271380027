//! `set_trap_table`, `set_callbacks`, `callback_op`, and `iret`.

use crate::{NOWHERE, Test, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::events::{self, bind_ipi, close, send};
use pv_runtime::hypercall::{addr, call2, call3, errno, nr};
use pv_runtime::outcome::{Failure, expect, holds};
use pv_runtime::traps::{self, KERNEL_CS, TrapInfo};
use pv_runtime::{try_asm, user};

pub const TESTS: &[Test] = &[test("answers-callbacks", callbacks), test("answers-iret", irets)];

/// An address that none can be.
const NO_ADDRESS: u64 = 1 << 47;

#[repr(C)]
struct Callback {
    kind: u16,
    flags: u16,
    address: u64,
}

/// An event comes when one is sent.
fn event_comes() -> Outcome {
    let (result, port) = bind_ipi(0);
    expect("a port", result, 0)?;
    events::unmask_upcalls();
    let before = events::count().0;
    let sent = send(port);
    let after = events::count().0;
    events::mask_upcalls();
    expect("closing", close(port), 0)?;
    expect("sending", sent, 0)?;
    expect("events", after.into(), i64::from(before) + 1)
}

/// A breakpoint comes to its handler.
fn trap_comes(wanted: bool) -> Outcome {
    let trap = try_asm!("int3");
    expect(
        "its vector",
        trap.err().map_or(-1, |trap| trap.vector.cast_signed()),
        if wanted { 3 } else { -1 },
    )
}

fn callbacks() -> Outcome {
    const TRAPS: &str = "set_trap_table";
    const SET: &str = "set_callbacks";
    const REGISTER: &str = "callback_op.register";
    const UNREGISTER: &str = "callback_op.unregister";
    let mut a = Answers::new();
    let info = |vector, address| TrapInfo { vector, flags: 3 | 4, cs: KERNEL_CS, address };
    let end = TrapInfo::default();
    let handler = traps::stub(3).unwrap_or(0);
    let set = |table: &[TrapInfo]| call2(nr::SET_TRAP_TABLE, addr(table), 0);
    let result = set(&[info(3, handler), end]);
    a.works(TRAPS, expect("setting", result, 0).and(trap_comes(true)));
    a.refuses(TRAPS, call2(nr::SET_TRAP_TABLE, NOWHERE, 0), errno::EFAULT);
    a.refuses(TRAPS, set(&[info(3, NO_ADDRESS), end]), errno::EINVAL);
    a.step(expect("setting", set(&[info(3, handler), end]), 0));
    let [event, failsafe] = [256, 257].map(|vector| traps::stub(vector).unwrap_or(0));
    let result = call3(nr::SET_CALLBACKS, event, failsafe, 0);
    a.works(SET, expect("setting", result, 0).and(event_comes()));
    // Xen says nothing of these, and goes by the old ones.
    for bad in [[NO_ADDRESS, failsafe, 0], [event, NO_ADDRESS, 0], [event, failsafe, NO_ADDRESS]] {
        a.refuses(SET, call3(nr::SET_CALLBACKS, bad[0], bad[1], bad[2]), errno::EINVAL);
    }
    let register =
        |kind, address| call2(nr::CALLBACK_OP, 0, addr(&Callback { kind, flags: 0, address }));
    let unregister = |kind: u16| call2(nr::CALLBACK_OP, 1, addr(&[kind, 0]));
    let result = register(0, event);
    a.works(REGISTER, expect("registering", result, 0).and(event_comes()));
    a.step(expect("the failsafe one", register(1, failsafe), 0));
    a.refuses(REGISTER, call2(nr::CALLBACK_OP, 0, NOWHERE), errno::EFAULT);
    for kind in [0, 1, 2] {
        a.refuses(REGISTER, register(kind, NO_ADDRESS), errno::EINVAL);
    }
    for kind in [3, 6, 99] {
        a.refuses(REGISTER, register(kind, event), errno::ENOSYS);
        a.refuses(UNREGISTER, unregister(kind), errno::ENOSYS);
    }
    // An NMI has a handler from its registration on, and none from there on.
    a.step(expect("registering", register(4, traps::stub(2).unwrap_or(0)), 0));
    let result = unregister(4);
    a.works(UNREGISTER, expect("unregistering", result, 0));
    a.refuses(UNREGISTER, call2(nr::CALLBACK_OP, 1, NOWHERE), errno::EFAULT);
    for kind in [0, 1, 2] {
        a.refuses(UNREGISTER, unregister(kind), errno::EINVAL);
    }
    for number in [2, 99] {
        a.refuses("callback_op", call2(nr::CALLBACK_OP, number, 0), errno::ENOSYS);
    }
    a.end()
}

/// To user mode and back, with the two ways of returning from its system calls.
fn irets() -> Outcome {
    let mut a = Answers::new();
    let space = user::space();
    for full in [false, true] {
        space.load_loop(full, 20);
        let ran = space.run().map_err(|trap| Failure {
            what: "an exception in user mode",
            got: trap.vector.cast_signed(),
            wanted: -1,
        });
        a.works("iret", ran);
    }
    // What user mode does wrong comes to the kernel, from where it did it.
    space.load(&[0x0f, 0x0b]);
    let trap = space.run().err();
    let vector = trap.map_or(-1, |trap| trap.vector.cast_signed());
    a.step(expect("its vector", vector, 6));
    a.step(holds("its place", trap.is_some_and(|trap| trap.rip == user::CODE)));
    a.end()
}
