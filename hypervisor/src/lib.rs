//! The Ferroxen hypervisor: joins the models to the machine. No `unsafe`.
#![no_std]

use machine::entry::Kernel;
use machine::regs::GuestRegs;

/// The program.
pub struct Ferroxen;

impl Kernel for Ferroxen {
    fn start(_cpu: u32) -> ! {
        for b in b"Ferroxen starts\n" {
            machine::port::outb(0x3f8, *b);
        }
        machine::cpu::halt_forever()
    }
    fn hypercall(_regs: &mut GuestRegs) {}
    fn exception(_regs: &mut GuestRegs, _cr2: u64) {}
    fn syscall(_regs: &mut GuestRegs) {}
    fn interrupt(_vector: u8, _from_guest: bool) {}
    fn exit(_regs: &mut GuestRegs) {}
    fn nmi(_regs: &GuestRegs) {}
    fn fatal(_regs: &GuestRegs, _cr2: u64) -> ! {
        machine::cpu::halt_forever()
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    for b in b"panic\n" {
        machine::port::outb(0x3f8, *b);
    }
    machine::cpu::halt_forever()
}
