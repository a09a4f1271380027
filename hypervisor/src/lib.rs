//! The Ferroxen hypervisor: joins the models to the machine. No `unsafe`.
//!
//! A hypercall's way: `machine::entry` -> [`Ferroxen`] -> [`hypercall`]'s table -> one handler -> a
//! model -> the machine; then [`schedule::exit`] and back to the guest.
#![no_std]

extern crate alloc;

pub mod bounce;
pub mod claims;
pub mod console;
pub mod context;
pub mod control;
pub mod cpus;
pub mod debug_keys;
pub mod descriptor;
pub mod dom0;
pub mod domain;
pub mod emulation;
pub mod event_memory;
pub mod evtchn;
pub mod flush;
pub mod frames;
pub mod grant;
pub mod hypercall;
pub mod irq;
pub mod mitigations;
pub mod mmu;
pub mod msr;
pub mod options;
pub mod panic;
pub mod permission;
pub mod policy;
pub mod ports;
pub mod schedule;
pub mod serial_input;
pub mod shutdown;
pub mod start;
pub mod switch;
pub mod teardown;
pub mod time;
pub mod timer;
pub mod traps;
pub mod units;
pub mod util;
pub mod vcpu;

use machine::entry::Kernel;
use machine::regs::GuestRegs;

/// The program, as the machine calls it.
pub struct Ferroxen;

impl Kernel for Ferroxen {
    fn start(cpu: u32) -> ! {
        start::start(cpu)
    }
    fn hypercall(regs: &mut GuestRegs) {
        hypercall::enter(regs);
    }
    fn exception(regs: &mut GuestRegs, cr2: u64) {
        traps::exception(regs, cr2);
    }
    fn syscall(regs: &mut GuestRegs) {
        if let Some(v) = cpus::current() {
            bounce::syscall(&v, regs);
        }
    }
    fn interrupt(vector: u8, _from_guest: bool) {
        irq::handle(vector);
    }
    fn exit(regs: &mut GuestRegs) {
        schedule::exit(regs);
    }
    fn nmi(regs: &GuestRegs) {
        panic::nmi(regs);
    }
    fn fatal(regs: &GuestRegs, cr2: u64) -> ! {
        panic::fatal(regs, cr2)
    }
}

#[panic_handler]
fn on_panic(info: &core::panic::PanicInfo) -> ! {
    panic::panicked(format_args!("{info}"), None)
}
