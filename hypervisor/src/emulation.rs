//! The running vCPU as the instruction emulator sees it.

use crate::mmu::{self, NotWritten};
use crate::util::{index, low8, low16, low32};
use crate::vcpu::Vcpu;
use abi::{Mfn, PAGE_SHIFT};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Relaxed, Release};
use emulate::{Fault, Machine, Reg, Segment, Size};
use machine::cpu::{self, msr};
use machine::desc::{FLAT_CS64, FLAT_USER_CS32};
use machine::regs::{GuestRegs, rflags};
use machine::{fpu, guest, port};

/// Bits of CR4 that a PV kernel may set as it likes.
const CR4_GUEST: u64 = cpu::cr4::TSD | cpu::cr4::DE | cpu::cr4::FSGSBASE | cpu::cr4::OSXSAVE;
/// CR0 as guests see it: PG, WP, NE, ET, MP, PE; AM.
const CR0_SHOWN: u64 = 0x8005_0033;
const CR0_TS: u64 = 8;

/// A vCPU and its registers.
pub struct Pv<'a> {
    v: &'a Arc<Vcpu>,
    regs: &'a mut GuestRegs,
    /// The page of an address that is known to map a page table, and that table.
    table: Option<(u64, Mfn)>,
}

impl<'a> Pv<'a> {
    /// The running vCPU.
    pub fn new(v: &'a Arc<Vcpu>, regs: &'a mut GuestRegs) -> Self {
        Pv { v, regs, table: None }
    }

    /// The same, when a write to `address` was found to hit a page table.
    pub fn with_table(self, address: u64, table: Mfn) -> Self {
        Pv { table: Some((address >> PAGE_SHIFT, table)), ..self }
    }

    /// Writes to a page table, if `addr` maps one.
    fn write_table(
        &self,
        addr: u64,
        size: Size,
        value: u64,
        expected: Option<u64>,
    ) -> Result<Result<(), u64>, NotWritten> {
        let known = self.table.filter(|&(page, _)| page == addr >> PAGE_SHIFT);
        let table = match known {
            Some((_, table)) => table,
            None => mmu::emulated_target(self.v, addr).ok_or(NotWritten::Refused)?,
        };
        mmu::emulated_write(self.v, table, addr, size.bytes(), value, expected)
    }

    fn slot(&mut self, reg: Reg) -> &mut u64 {
        let r = &mut *self.regs;
        match reg {
            Reg::Rax => &mut r.rax,
            Reg::Rcx => &mut r.rcx,
            Reg::Rdx => &mut r.rdx,
            Reg::Rbx => &mut r.rbx,
            Reg::Rsp => &mut r.rsp,
            Reg::Rbp => &mut r.rbp,
            Reg::Rsi => &mut r.rsi,
            Reg::Rdi => &mut r.rdi,
            Reg::R8 => &mut r.r8,
            Reg::R9 => &mut r.r9,
            Reg::R10 => &mut r.r10,
            Reg::R11 => &mut r.r11,
            Reg::R12 => &mut r.r12,
            Reg::R13 => &mut r.r13,
            Reg::R14 => &mut r.r14,
            Reg::R15 => &mut r.r15,
        }
    }

    /// The fault of an access to memory that did not work.
    fn bad(&self, addr: u64, write: bool) -> Fault {
        let error = u32::from(write) << 1 | u32::from(!self.v.in_kernel()) << 2;
        Fault::page_fault(addr, error)
    }

    /// Whether the virtual IOPL lets the running mode do I/O. A kernel counts as ring 1, or as
    /// ring 0 when it asked for the architecture's meaning.
    fn has_iopl(&self) -> bool {
        let level = match (self.v.in_kernel(), self.v.architectural_iopl()) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 3,
        };
        self.v.iopl.load(Relaxed) >= level
    }

    /// Reads memory of the guest's kernel, which the tables of user mode do not map.
    fn read_kernel(&self, at: u64, bytes: &mut [u8]) -> Result<(), guest::BadAddress> {
        if self.v.in_kernel() {
            return guest::read_bytes(at, bytes);
        }
        machine::paging::toggle_mode(self.v.hot);
        let outcome = guest::read_bytes(at, bytes);
        machine::paging::toggle_mode(self.v.hot);
        outcome
    }

    fn may_use_port(&self, port: u16, size: Size) -> bool {
        if self.has_iopl() {
            return true;
        }
        let (bitmap, count) = *self.v.io_bitmap.lock();
        let last = u32::from(port).wrapping_add(low32(size.bytes()));
        if bitmap == 0 || last > count {
            return false;
        }
        let mut bytes = [0u8; 2];
        let at = bitmap.wrapping_add(u64::from(port >> 3));
        if self.read_kernel(at, &mut bytes).is_err() {
            return false;
        }
        let mask = (1u32.wrapping_shl(low32(size.bytes()))).wrapping_sub(1);
        u32::from(u16::from_le_bytes(bytes)) >> (port & 7) & mask == 0
    }

    /// Whether the domain owns the ports (besides the guest's own rules).
    fn owns_ports(&self, port: u16, size: Size) -> bool {
        self.v.domain.permissions.lock().ports(port, low16(size.bytes()))
    }

    fn dom0(&self) -> bool {
        self.v.domain.privileged
    }
}

impl Machine for Pv<'_> {
    fn reg(&self, reg: Reg) -> u64 {
        let r = &*self.regs;
        match reg {
            Reg::Rax => r.rax,
            Reg::Rcx => r.rcx,
            Reg::Rdx => r.rdx,
            Reg::Rbx => r.rbx,
            Reg::Rsp => r.rsp,
            Reg::Rbp => r.rbp,
            Reg::Rsi => r.rsi,
            Reg::Rdi => r.rdi,
            Reg::R8 => r.r8,
            Reg::R9 => r.r9,
            Reg::R10 => r.r10,
            Reg::R11 => r.r11,
            Reg::R12 => r.r12,
            Reg::R13 => r.r13,
            Reg::R14 => r.r14,
            Reg::R15 => r.r15,
        }
    }
    fn set_reg(&mut self, reg: Reg, value: u64) {
        *self.slot(reg) = value;
    }
    fn rip(&self) -> u64 {
        self.regs.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.regs.rip = rip;
    }
    fn rflags(&self) -> u64 {
        self.regs.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        let keep = rflags::IF | rflags::IOPL | rflags::VM;
        self.regs.rflags = value & !keep | self.regs.rflags & keep;
    }
    fn code_is_64(&self) -> bool {
        // Guests' own descriptors may be 64-bit code too; flat 32-bit code is the one that is not.
        self.regs.cs == u64::from(FLAT_CS64)
            || self.regs.cs != u64::from(FLAT_USER_CS32)
                && machine::desc::is_long_code(machine::percpu::cpu_id(), self.regs.cs)
    }
    fn kernel_mode(&self) -> bool {
        self.v.in_kernel()
    }
    fn segment_base(&mut self, segment: Segment) -> u64 {
        let [fs, gs, _] = fpu::bases();
        match segment {
            Segment::Fs => fs,
            Segment::Gs => gs,
        }
    }
    fn fetch(&mut self, rip: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        match guest::read_some(rip, buffer) {
            0 if !fpu::is_canonical(rip) => Err(Fault::GP),
            0 => Err(self.bad(rip, false)),
            n => Ok(n),
        }
    }
    fn read(&mut self, addr: u64, size: Size) -> Result<u64, Fault> {
        let mut bytes = [0u8; 8];
        let part = bytes.get_mut(..index(size.bytes())).ok_or(Fault::Unhandled)?;
        guest::read_bytes(addr, part).map_err(|_| self.bad(addr, false))?;
        Ok(u64::from_le_bytes(bytes))
    }
    fn write(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Fault> {
        match self.write_table(addr, size, value, None) {
            Ok(_) => Ok(()),
            Err(NotWritten::Retry) => Err(Fault::Retry),
            Err(NotWritten::Refused) => self.write_plain(addr, size, value),
        }
    }
    fn probe_write(&mut self, addr: u64, size: Size) -> Result<(), Fault> {
        // A compare-and-exchange of what is there with itself writes nothing new.
        let seen = self.read(addr, size)?;
        guest::compare_exchange(addr, low8(size.bytes()), seen, seen)
            .map(|_| ())
            .map_err(|_| self.bad(addr, true))
    }
    fn compare_exchange(
        &mut self,
        addr: u64,
        size: Size,
        old: u64,
        new: u64,
    ) -> Result<Result<(), u64>, Fault> {
        match self.write_table(addr, size, new, Some(old)) {
            Ok(r) => Ok(r),
            Err(NotWritten::Retry) => Err(Fault::Retry),
            Err(NotWritten::Refused) => guest::compare_exchange(addr, low8(size.bytes()), old, new)
                .map_err(|_| self.bad(addr, true)),
        }
    }
    fn compare_exchange_16(
        &mut self,
        _addr: u64,
        _old: u128,
        _new: u128,
    ) -> Result<Result<(), u128>, Fault> {
        // No entry is 16 bytes long: a guest gets the fault that it raised.
        Err(Fault::Unhandled)
    }
    fn port_in(&mut self, port: u16, size: Size) -> Result<u32, Fault> {
        if !self.may_use_port(port, size) {
            return Err(Fault::GP);
        }
        Ok(if self.owns_ports(port, size) {
            match size {
                Size::Byte => u32::from(port::inb(port)),
                Size::Word => u32::from(port::inw(port)),
                _ => port::inl(port),
            }
        } else {
            crate::ports::read(self.v, port, low8(size.bytes()))
        })
    }
    fn port_out(&mut self, port: u16, size: Size, value: u32) -> Result<(), Fault> {
        if !self.may_use_port(port, size) {
            return Err(Fault::GP);
        }
        if self.owns_ports(port, size) {
            match size {
                Size::Byte => port::outb(port, (value & 0xff) as u8),
                Size::Word => port::outw(port, (value & 0xffff) as u16),
                _ => port::outl(port, value),
            }
        } else {
            crate::ports::write(self.v, port, low8(size.bytes()), value);
        }
        Ok(())
    }
    fn set_interrupts(&mut self, _enable: bool) -> Result<(), Fault> {
        // PV kernels mask events instead; the instruction itself does nothing.
        if self.has_iopl() { Ok(()) } else { Err(Fault::GP) }
    }
    fn rdmsr(&mut self, index: u32) -> Result<u64, Fault> {
        let [fs, gs, other] = fpu::bases();
        crate::msr::read(self.v, index, [fs, gs, other]).ok_or(Fault::GP)
    }
    fn wrmsr(&mut self, index: u32, value: u64) -> Result<(), Fault> {
        let canonical = fpu::is_canonical(value);
        match index {
            msr::FS_BASE if canonical => fpu::set_fs_base(value),
            msr::GS_BASE if canonical => fpu::set_gs_base(value),
            msr::KERNEL_GS_BASE if canonical => fpu::set_gs_base_other(value),
            _ if crate::msr::write(self.v, index, value) => {}
            _ => return Err(Fault::GP),
        }
        Ok(())
    }
    fn read_cr(&mut self, cr: u8) -> Result<u64, Fault> {
        Ok(match cr {
            0 => CR0_SHOWN | if self.v.task_switched.load(Relaxed) { CR0_TS } else { 0 },
            2 => self.v.hot.vcpu_info().get(2).map_or(0, |w| w.load(Relaxed)),
            3 => self.v.hot.cr3_kernel(),
            4 => {
                let fixed = cpu::cr4::PAE | cpu::cr4::OSFXSR | cpu::cr4::OSXMMEXCPT;
                self.v.cr4.load(Relaxed) & CR4_GUEST | fixed | cpu::read_cr4() & cpu::cr4::FSGSBASE
            }
            _ => 0,
        })
    }
    fn write_cr(&mut self, cr: u8, value: u64) -> Result<(), Fault> {
        match cr {
            // Only TS can be changed.
            0 => {
                let set = value & CR0_TS != 0;
                self.v.task_switched.store(set, Relaxed);
                cpu::set_task_switched(set);
            }
            2 => {
                if let Some(w) = self.v.hot.vcpu_info().get(2) {
                    w.store(value, Relaxed);
                }
            }
            4 => self.v.cr4.store(value & CR4_GUEST, Relaxed),
            // Page tables change by hypercall; there is no task priority.
            _ => return Err(Fault::GP),
        }
        Ok(())
    }
    fn read_dr(&mut self, dr: u8) -> Result<u64, Fault> {
        Ok(self.v.debug.lock().get(usize::from(dr)).copied().unwrap_or(0))
    }
    fn write_dr(&mut self, dr: u8, value: u64) -> Result<(), Fault> {
        let caller = crate::hypercall::Caller { vcpu: self.v, domain: &self.v.domain, regs: None };
        crate::hypercall::misc::set_debug_register(&caller, u64::from(dr), value)
            .map_err(|_| Fault::GP)
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> Result<[u32; 4], Fault> {
        Ok(crate::policy::cpuid(self.v, leaf, subleaf))
    }
    fn rdtsc(&mut self) -> Result<u64, Fault> {
        Ok(cpu::rdtsc())
    }
    fn tsc_aux(&mut self) -> Result<u32, Fault> {
        Ok(self.v.id.0)
    }
    fn rdpmc(&mut self, _counter: u32) -> Result<u64, Fault> {
        Err(Fault::GP)
    }
    fn wbinvd(&mut self) -> Result<(), Fault> {
        if self.dom0() {
            cpu::wbinvd();
        }
        Ok(())
    }
    fn hlt(&mut self) -> Result<(), Fault> {
        self.v.blocked.store(true, core::sync::atomic::Ordering::SeqCst);
        if self.v.event_pending() {
            self.v.blocked.store(false, Release);
        }
        Ok(())
    }
    fn invlpg(&mut self, _addr: u64) -> Result<(), Fault> {
        // A PV kernel flushes by hypercall.
        Err(Fault::GP)
    }
    fn xsetbv(&mut self, index: u32, value: u64) -> Result<(), Fault> {
        if index != 0 || !fpu::set_xcr0(value) {
            return Err(Fault::GP);
        }
        self.v.xcr0.store(value, Relaxed);
        Ok(())
    }
}

impl Pv<'_> {
    fn write_plain(&self, addr: u64, size: Size, value: u64) -> Result<(), Fault> {
        let bytes = value.to_le_bytes();
        let part = bytes.get(..index(size.bytes())).ok_or(Fault::Unhandled)?;
        guest::write_bytes(addr, part).map_err(|_| self.bad(addr, true))
    }
}
