//! What ends the domain: the test passes when the hypervisor says so and lives on.

use crate::{Test, test};
use pv_runtime::hypercall::{addr, call2, nr};
use pv_runtime::outcome::{Outcome, holds};
use pv_runtime::traps::{KERNEL_CS, KERNEL_SS, TrapInfo};
use pv_runtime::{hypercall, try_asm, user};

pub const TESTS: &[Test] = &[
    test("crash-asked-for", asked_for),
    test("crash-user-without-table", user_without_table),
    test("crash-handler-in-hypervisor", handler_in_hypervisor),
    test("crash-stack-in-hypervisor", stack_in_hypervisor),
    test("crash-no-handler", no_handler),
    test("crash-stack-unmapped", stack_unmapped),
];

fn survived() -> Outcome {
    holds("the domain was to end here", false)
}

/// SHUTDOWN_crash.
fn asked_for() -> Outcome {
    hypercall::shutdown(3);
    survived()
}

/// A return to user mode without a user page table.
fn user_without_table() -> Outcome {
    user::enter_without_space();
    survived()
}

fn set_handler(vector: u8, address: u64) {
    let table = [TrapInfo { vector, flags: 4, cs: KERNEL_CS, address }, TrapInfo::default()];
    call2(nr::SET_TRAP_TABLE, addr(&table), 0);
}

/// An exception handler among the hypervisor's own code: it faults there for ever, in the guest.
fn handler_in_hypervisor() -> Outcome {
    set_handler(14, 0xffff_82d0_4020_0000);
    set_handler(6, 0xffff_82d0_4020_0000);
    let _ = try_asm!("ud2");
    survived()
}

/// A kernel stack in the hypervisor's memory: the frame must not be written there.
fn stack_in_hypervisor() -> Outcome {
    let space = user::space();
    call2(nr::STACK_SWITCH, u64::from(KERNEL_SS), 0xffff_8300_0010_0000);
    space.load(&[0x0f, 0x0b]);
    let _ = space.run();
    survived()
}

/// An exception for which no handler was ever set.
fn no_handler() -> Outcome {
    set_handler(6, 0);
    call2(nr::SET_TRAP_TABLE, 0, 0);
    let _ = try_asm!("ud2");
    survived()
}

/// A kernel stack that is not mapped.
fn stack_unmapped() -> Outcome {
    let space = user::space();
    call2(nr::STACK_SWITCH, u64::from(KERNEL_SS), 0x7000_0000_0000);
    space.load(&[0x0f, 0x0b]);
    let _ = space.run();
    survived()
}
