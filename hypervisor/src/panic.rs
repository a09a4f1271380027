//! The hypervisor's own end: what it prints when it finds a defect of its own.

use crate::console;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use machine::regs::GuestRegs;
use machine::symbols::Place;

/// The machine ends: CPUs that are told by NMI halt.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// A state that the hypervisor's own logic rules out.
pub fn bug(what: &str) -> ! {
    panicked(format_args!("{what}"), None)
}

/// An exception in the hypervisor.
pub fn fatal(regs: &GuestRegs, cr2: u64) -> ! {
    panicked(
        format_args!(
            "FATAL TRAP: vector {} error {:#x} at {:#x}, cr2 {cr2:#x}",
            regs.vector, regs.error_code, regs.rip
        ),
        Some(regs),
    )
}

/// Prints why, the registers and who called, and stops or reboots.
pub fn panicked(why: core::fmt::Arguments<'_>, regs: Option<&GuestRegs>) -> ! {
    stop_others();
    console::panicking();
    crate::error!("");
    crate::error!("****************************************");
    crate::error!("Panic on CPU {}:", machine::percpu::cpu_id());
    crate::error!("{why}");
    crate::error!("****************************************");
    match regs {
        Some(r) => registers(r),
        None => control_registers(),
    }
    backtrace(
        regs.map_or_else(machine::backtrace::here, |r| machine::backtrace::from(r.rip, r.rbp)),
    );
    guest();
    if crate::options::options().noreboot {
        crate::error!("Manual reset required ('noreboot' specified)");
        crate::shutdown::halt()
    }
    crate::shutdown::reboot()
}

/// Prints the registers of a vCPU whose domain crashed.
pub fn crashed(domain: abi::DomId, vcpu: abi::VcpuId, regs: &GuestRegs) {
    crate::error!("Domain {domain} (vcpu#{vcpu}) crashed on cpu#{}:", machine::percpu::cpu_id());
    registers(regs);
}

/// A non-maskable interrupt: another CPU has panicked and stops this one; or the hardware reports
/// something, which is logged with where it found us.
pub fn nmi(regs: &GuestRegs) {
    if STOPPING.load(Relaxed) {
        machine::cpu::halt_forever();
    }
    crate::console::try_print(
        crate::console::Level::Error,
        format_args!("NMI on CPU {} at {:#x}", machine::percpu::cpu_id(), regs.rip),
    );
}

/// Stops all other CPUs, wherever they are.
pub fn stop_others() {
    if !STOPPING.swap(true, Relaxed) && crate::cpus::online().len() > 1 {
        machine::apic::send_nmi_to_others();
    }
}

/// Prints registers.
pub fn registers(r: &GuestRegs) {
    crate::error!("rip {:016x} rsp {:016x} rflags {:08x}", r.rip, r.rsp, r.rflags);
    crate::error!("rax {:016x} rbx {:016x} rcx {:016x}", r.rax, r.rbx, r.rcx);
    crate::error!("rdx {:016x} rsi {:016x} rdi {:016x}", r.rdx, r.rsi, r.rdi);
    crate::error!("rbp {:016x} r8  {:016x} r9  {:016x}", r.rbp, r.r8, r.r9);
    crate::error!("r10 {:016x} r11 {:016x} r12 {:016x}", r.r10, r.r11, r.r12);
    crate::error!("r13 {:016x} r14 {:016x} r15 {:016x}", r.r13, r.r14, r.r15);
    crate::error!("cs {:04x} ss {:04x} cr3 {:016x}", r.cs, r.ss, machine::cpu::read_cr3());
}

/// What a CPU has that no instruction of ours was interrupted on.
fn control_registers() {
    use machine::cpu;
    let (cr0, cr2, cr3, cr4) = (cpu::read_cr0(), cpu::read_cr2(), cpu::read_cr3(), cpu::read_cr4());
    crate::error!("cr0 {cr0:016x} cr2 {cr2:016x} cr3 {cr3:016x} cr4 {cr4:08x}");
}

/// Which guest this CPU served, and what it asked with. Whoever holds the lock may be what failed.
fn guest() {
    let cpu = crate::cpus::get(machine::percpu::cpu_id());
    let Some(loaded) = cpu.loaded.try_lock() else { return };
    if let Some(v) = loaded.as_ref() {
        crate::error!("Serving d{}v{}, which entered with:", v.domain.id, v.id);
        registers(&machine::percpu::entry_regs());
    }
}

fn backtrace(frames: machine::backtrace::Frames) {
    crate::error!("Call trace:");
    for address in frames {
        crate::error!("   {}", Place(address));
    }
}
