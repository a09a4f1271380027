//! A machine that remembers what was done to it, and fails when told to.

use std::collections::BTreeMap;

use crate::{Fault, Machine, Reg, Segment, Size};

/// Something an instruction did besides registers and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    In(u16, Size),
    Out(u16, Size, u32),
    Interrupts(bool),
    Rdmsr(u32),
    Wrmsr(u32, u64),
    WriteCr(u8, u64),
    WriteDr(u8, u64),
    Wbinvd,
    Hlt,
    Invlpg(u64),
    Xsetbv(u32, u64),
}

/// The machine. All fields are public: tests set what they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fake {
    pub regs: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub bases: [u64; 2],
    /// Code at `code_at`, readable for `readable` bytes.
    pub code: Vec<u8>,
    pub code_at: u64,
    pub readable: usize,
    /// Bytes that were written; others have a value made from their address.
    pub memory: BTreeMap<u64, u8>,
    pub is_64: bool,
    pub kernel: bool,
    pub crs: [u64; 9],
    pub drs: [u64; 8],
    pub events: Vec<Event>,
    /// Writes at this address fault.
    pub read_only: Option<u64>,
    /// The hook call with this number (from 0) fails so.
    pub fail: Option<(usize, Fault)>,
    pub calls: usize,
    /// Another CPU writes this just before the next compare-and-exchange of eight bytes or less.
    pub interference: Vec<u64>,
}

pub const CODE: u64 = 0xffff_8880_0000_1000;

impl Fake {
    pub fn new(code: &[u8]) -> Self {
        Self {
            regs: [0; 16],
            rip: CODE,
            rflags: 0x202,
            bases: [0x7fff_0000_0000, 0xffff_8880_1230_0000],
            code: code.to_vec(),
            code_at: CODE,
            readable: usize::MAX,
            memory: BTreeMap::new(),
            is_64: true,
            kernel: true,
            crs: [0x8005_0033, 0, 0x1234, 0x5000, 0x660, 0, 0, 0, 3],
            drs: [1, 2, 3, 4, 5, 6, 0xffff_0ff0, 0x400],
            events: Vec::new(),
            read_only: None,
            fail: None,
            calls: 0,
            interference: Vec::new(),
        }
    }

    pub fn with(mut self, reg: Reg, value: u64) -> Self {
        self.regs[reg.index()] = value;
        self
    }

    pub fn get(&self, reg: Reg) -> u64 {
        self.regs[reg.index()]
    }

    pub fn byte(&self, addr: u64) -> u8 {
        let made = addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        self.memory.get(&addr).copied().unwrap_or(made as u8)
    }

    pub fn peek(&self, addr: u64, bytes: u64) -> u128 {
        (0..bytes).rev().fold(0, |sum, i| sum << 8 | u128::from(self.byte(addr.wrapping_add(i))))
    }

    pub fn poke(&mut self, addr: u64, bytes: u64, value: u128) {
        for i in 0..bytes {
            self.memory.insert(addr.wrapping_add(i), (value >> (8 * i)) as u8);
        }
    }

    /// How far RIP has come.
    pub fn advance(&self) -> u64 {
        self.rip.wrapping_sub(self.code_at)
    }

    fn call(&mut self) -> Result<(), Fault> {
        let number = self.calls;
        self.calls += 1;
        match self.fail {
            Some((at, fault)) if at == number => Err(fault),
            _ => Ok(()),
        }
    }

    fn check_write(&self, addr: u64) -> Result<(), Fault> {
        if self.read_only == Some(addr) { Err(Fault::page_fault(addr, 3)) } else { Ok(()) }
    }

    fn log(&mut self, event: Event) -> Result<(), Fault> {
        self.call()?;
        self.events.push(event);
        Ok(())
    }
}

impl Machine for Fake {
    fn reg(&self, reg: Reg) -> u64 {
        self.regs[reg.index()]
    }
    fn set_reg(&mut self, reg: Reg, value: u64) {
        self.regs[reg.index()] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.rip = rip;
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, rflags: u64) {
        self.rflags = rflags;
    }
    fn code_is_64(&self) -> bool {
        self.is_64
    }
    fn kernel_mode(&self) -> bool {
        self.kernel
    }
    fn segment_base(&mut self, segment: Segment) -> u64 {
        self.bases[segment as usize]
    }

    fn fetch(&mut self, rip: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        let start = rip.wrapping_sub(self.code_at) as usize;
        if start >= self.readable {
            return Err(Fault::page_fault(rip, 0x14));
        }
        let len = buffer.len().min(self.readable - start);
        for (i, slot) in buffer[..len].iter_mut().enumerate() {
            *slot = self.code.get(start + i).copied().unwrap_or(0x90);
        }
        Ok(len)
    }
    fn read(&mut self, addr: u64, size: Size) -> Result<u64, Fault> {
        self.call()?;
        Ok(self.peek(addr, size.bytes()) as u64)
    }
    fn write(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Fault> {
        self.call()?;
        self.check_write(addr)?;
        assert_eq!(value & !size.mask(), 0, "a value wider than the write");
        self.poke(addr, size.bytes(), value.into());
        Ok(())
    }
    fn probe_write(&mut self, addr: u64, _size: Size) -> Result<(), Fault> {
        self.call()?;
        self.check_write(addr)
    }
    fn compare_exchange(
        &mut self,
        addr: u64,
        size: Size,
        old: u64,
        new: u64,
    ) -> Result<Result<(), u64>, Fault> {
        self.call()?;
        assert_eq!((old | new) & !size.mask(), 0, "values wider than the exchange");
        if let Some(value) = self.interference.pop() {
            self.poke(addr, size.bytes(), value.into());
        }
        let seen = self.peek(addr, size.bytes()) as u64;
        if seen != old {
            return Ok(Err(seen));
        }
        self.poke(addr, size.bytes(), new.into());
        Ok(Ok(()))
    }
    fn compare_exchange_16(
        &mut self,
        addr: u64,
        old: u128,
        new: u128,
    ) -> Result<Result<(), u128>, Fault> {
        self.call()?;
        assert_eq!(addr % 16, 0);
        let seen = self.peek(addr, 16);
        if seen != old {
            return Ok(Err(seen));
        }
        self.poke(addr, 16, new);
        Ok(Ok(()))
    }

    fn port_in(&mut self, port: u16, size: Size) -> Result<u32, Fault> {
        self.log(Event::In(port, size))?;
        Ok(0xa1b2_c3d4_u32.wrapping_add(self.events.len() as u32))
    }
    fn port_out(&mut self, port: u16, size: Size, value: u32) -> Result<(), Fault> {
        self.log(Event::Out(port, size, value))
    }
    fn set_interrupts(&mut self, enable: bool) -> Result<(), Fault> {
        self.log(Event::Interrupts(enable))
    }
    fn rdmsr(&mut self, msr: u32) -> Result<u64, Fault> {
        self.log(Event::Rdmsr(msr))?;
        Ok(0x1122_3344_5566_7788)
    }
    fn wrmsr(&mut self, msr: u32, value: u64) -> Result<(), Fault> {
        self.log(Event::Wrmsr(msr, value))
    }
    fn read_cr(&mut self, cr: u8) -> Result<u64, Fault> {
        self.call()?;
        Ok(self.crs[usize::from(cr)])
    }
    fn write_cr(&mut self, cr: u8, value: u64) -> Result<(), Fault> {
        self.log(Event::WriteCr(cr, value))
    }
    fn read_dr(&mut self, dr: u8) -> Result<u64, Fault> {
        self.call()?;
        Ok(self.drs[usize::from(dr)])
    }
    fn write_dr(&mut self, dr: u8, value: u64) -> Result<(), Fault> {
        self.log(Event::WriteDr(dr, value))
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> Result<[u32; 4], Fault> {
        self.call()?;
        Ok([leaf ^ 0xffff_0000, subleaf, 0xcccc_cccc, 0xdddd_dddd])
    }
    fn rdtsc(&mut self) -> Result<u64, Fault> {
        self.call()?;
        Ok(0x0123_4567_89ab_cdef)
    }
    fn tsc_aux(&mut self) -> Result<u32, Fault> {
        self.call()?;
        Ok(7)
    }
    fn rdpmc(&mut self, counter: u32) -> Result<u64, Fault> {
        self.call()?;
        Ok(u64::from(counter) | 5 << 32)
    }
    fn wbinvd(&mut self) -> Result<(), Fault> {
        self.log(Event::Wbinvd)
    }
    fn hlt(&mut self) -> Result<(), Fault> {
        self.log(Event::Hlt)
    }
    fn invlpg(&mut self, addr: u64) -> Result<(), Fault> {
        self.log(Event::Invlpg(addr))
    }
    fn xsetbv(&mut self, index: u32, value: u64) -> Result<(), Fault> {
        self.log(Event::Xsetbv(index, value))
    }
}
