//! A slow, plain model of the instructions of `memory`: decoded by iced-x86, computed bit by bit.
//! It shares no code with what it is compared to.

use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register,
};

use super::fake::Fake;
use crate::Exception;

/// What the processor would have made of an instruction.
#[derive(Debug)]
pub enum Expected {
    /// The state after it.
    State(Box<Fake>),
    /// An exception.
    Fault(Exception),
    /// Not valid, or not one that `memory` runs.
    No,
}

/// Decodes the code of `fake` at RIP.
pub fn decode(fake: &Fake) -> Instruction {
    let mut bytes = fake.code.clone();
    bytes.resize(15, 0x90);
    Decoder::with_ip(64, &bytes, fake.rip, DecoderOptions::NONE).decode()
}

/// Runs the instruction at RIP; `address_32` tells of a prefix 67.
pub fn run(fake: &Fake, address_32: bool) -> Expected {
    let insn = decode(fake);
    let mut model = Model { fake: fake.clone(), insn, address_32 };
    if insn.code() == Code::INVALID || !(0..insn.op_count()).any(|i| model.is_memory(i)) {
        return Expected::No;
    }
    match model.execute() {
        Ok(true) => {
            model.fake.rflags &= !(1 << 16);
            model.fake.rip = insn.next_ip();
            Expected::State(Box::new(model.fake))
        }
        Ok(false) => Expected::State(Box::new(model.fake)),
        Err(expected) => expected,
    }
}

struct Model {
    fake: Fake,
    insn: Instruction,
    address_32: bool,
}

const CF: u32 = 0;
const PF: u32 = 2;
const AF: u32 = 4;
const ZF: u32 = 6;
const SF: u32 = 7;
const OF: u32 = 11;

impl Model {
    fn is_memory(&self, op: u32) -> bool {
        !matches!(
            self.insn.op_kind(op),
            OpKind::Register
                | OpKind::Immediate8
                | OpKind::Immediate16
                | OpKind::Immediate32
                | OpKind::Immediate64
                | OpKind::Immediate8to16
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate32to64
                | OpKind::NearBranch16
                | OpKind::NearBranch32
                | OpKind::NearBranch64
        )
    }

    fn register(&self, register: Register) -> u64 {
        let full = self.fake.regs[register.full_register().number()];
        match (register, register.size()) {
            (Register::AH | Register::BH | Register::CH | Register::DH, _) => {
                self.fake.regs[register.number() - 4] >> 8 & 0xff
            }
            (_, 8) => full,
            (_, size) => full % (1 << (8 * size)),
        }
    }

    fn set_register(&mut self, register: Register, value: u64) {
        let slot = match register {
            Register::AH | Register::BH | Register::CH | Register::DH => register.number() - 4,
            _ => register.full_register().number(),
        };
        let mut bytes = self.fake.regs[slot].to_le_bytes();
        let new = value.to_le_bytes();
        match (register, register.size()) {
            (Register::AH | Register::BH | Register::CH | Register::DH, _) => bytes[1] = new[0],
            (_, 4) => {
                bytes = [0; 8];
                bytes[..4].copy_from_slice(&new[..4]);
            }
            (_, size) => bytes[..size].copy_from_slice(&new[..size]),
        }
        self.fake.regs[slot] = u64::from_le_bytes(bytes);
    }

    /// Width of the operand in bytes.
    fn width(&self, op: u32) -> u64 {
        match self.insn.op_kind(op) {
            OpKind::Register => self.insn.op_register(op).size() as u64,
            _ => self.insn.memory_size().size() as u64,
        }
    }

    fn segment(&self, register: Register) -> u64 {
        match register {
            Register::FS => self.fake.bases[0],
            Register::GS => self.fake.bases[1],
            _ => 0,
        }
    }

    /// The linear address of a memory operand, `distance` bytes on.
    fn address(&self, op: u32, distance: i128, width: u64) -> Result<u64, Expected> {
        let mut segment = 0;
        let offset = self.insn.virtual_address(op, 0, |register, _, _| {
            if register.is_segment_register() {
                return Some(0);
            }
            Some(self.register(register))
        });
        if self.insn.memory_segment().is_segment_register()
            && !matches!(
                self.insn.op_kind(op),
                OpKind::MemoryESRDI | OpKind::MemoryESEDI | OpKind::MemoryESDI
            )
        {
            segment = self.segment(self.insn.memory_segment());
        }
        let modulus: i128 = if self.address_32 { 1 << 32 } else { 1 << 64 };
        let offset = (i128::from(offset.unwrap()) + distance).rem_euclid(modulus);
        let first = (offset + i128::from(segment)) % (1 << 64);
        let canonical =
            |addr: i128| addr < (1 << 47) || ((1 << 64) - (1 << 47)..1 << 64).contains(&addr);
        let last = first + i128::from(width) - 1;
        if canonical(first) && canonical(last) {
            return Ok(first as u64);
        }
        let stack = matches!(self.insn.op_kind(op), OpKind::Memory)
            && matches!(
                self.insn.memory_base(),
                Register::RSP | Register::RBP | Register::ESP | Register::EBP
            )
            && !matches!(self.insn.memory_segment(), Register::FS | Register::GS);
        Err(Expected::Fault(if stack { Exception::SS } else { Exception::GP }))
    }

    fn load(&self, op: u32) -> Result<u64, Expected> {
        match self.insn.op_kind(op) {
            OpKind::Register => Ok(self.register(self.insn.op_register(op))),
            _ if self.is_memory(op) => {
                let width = self.width(op);
                Ok(self.fake.peek(self.address(op, 0, width)?, width) as u64)
            }
            _ => Ok(self.insn.immediate(op)),
        }
    }

    fn store(&mut self, op: u32, value: u64) -> Result<(), Expected> {
        if self.insn.op_kind(op) == OpKind::Register {
            self.set_register(self.insn.op_register(op), value);
            return Ok(());
        }
        let width = self.width(op);
        let address = self.address(op, 0, width)?;
        self.fake.poke(address, width, value.into());
        Ok(())
    }

    fn flag(&self, flag: u32) -> bool {
        self.fake.rflags >> flag & 1 == 1
    }

    fn set_flag(&mut self, flag: u32, value: bool) {
        self.fake.rflags = self.fake.rflags & !(1 << flag) | u64::from(value) << flag;
    }

    /// Adds bit by bit; returns the sum and sets all six flags, as for ADD.
    fn add(&mut self, a: u64, b: u64, carry: bool, width: u64) -> u64 {
        let bits = 8 * width;
        let (mut carry, mut previous, mut sum) = (carry, false, 0_u64);
        for i in 0..bits {
            let (x, y) = (a >> i & 1, b >> i & 1);
            let total = x + y + u64::from(carry);
            previous = carry;
            sum |= (total & 1) << i;
            carry = total > 1;
            if i == 3 {
                self.set_flag(AF, carry);
            }
        }
        self.set_flag(CF, carry);
        self.set_flag(OF, carry != previous);
        self.result_flags(sum, width);
        sum
    }

    fn result_flags(&mut self, result: u64, width: u64) {
        self.set_flag(ZF, (0..8 * width).all(|i| result >> i & 1 == 0));
        self.set_flag(SF, result >> (8 * width - 1) & 1 == 1);
        self.set_flag(PF, (0..8).filter(|i| result >> i & 1 == 1).count() % 2 == 0);
    }

    /// Subtracts by adding the complement.
    fn sub(&mut self, a: u64, b: u64, borrow: bool, width: u64) -> u64 {
        let result = self.add(a, !b, !borrow, width);
        let (carry, half) = (self.flag(CF), self.flag(AF));
        self.set_flag(CF, !carry);
        self.set_flag(AF, !half);
        result
    }

    fn logic(&mut self, result: u64, width: u64) -> u64 {
        for flag in [CF, OF, AF] {
            self.set_flag(flag, false);
        }
        self.result_flags(result, width);
        result
    }

    fn holds(&self) -> bool {
        let flag = |f| self.flag(f);
        match self.insn.condition_code() {
            ConditionCode::o => flag(OF),
            ConditionCode::no => !flag(OF),
            ConditionCode::b => flag(CF),
            ConditionCode::ae => !flag(CF),
            ConditionCode::e => flag(ZF),
            ConditionCode::ne => !flag(ZF),
            ConditionCode::be => flag(CF) || flag(ZF),
            ConditionCode::a => !flag(CF) && !flag(ZF),
            ConditionCode::s => flag(SF),
            ConditionCode::ns => !flag(SF),
            ConditionCode::p => flag(PF),
            ConditionCode::np => !flag(PF),
            ConditionCode::l => flag(SF) != flag(OF),
            ConditionCode::ge => flag(SF) == flag(OF),
            ConditionCode::le => flag(ZF) || flag(SF) != flag(OF),
            ConditionCode::g => !flag(ZF) && flag(SF) == flag(OF),
            ConditionCode::None => unreachable!(),
        }
    }

    /// True when RIP moves on.
    fn execute(&mut self) -> Result<bool, Expected> {
        use Mnemonic::*;
        let width = self.width(0);
        let mask = if width >= 8 { u64::MAX } else { (1 << (8 * width)) - 1 };
        match self.insn.mnemonic() {
            Mov | Movnti => {
                let value = self.load(1)?;
                self.store(0, value & mask)?;
            }
            Movzx => {
                let value = self.load(1)?;
                self.store(0, value)?;
            }
            Movsx | Movsxd => {
                let value = self.load(1)?;
                let value = match self.width_of_memory() {
                    1 => i64::from(value as u8 as i8),
                    2 => i64::from(value as u16 as i16),
                    _ => i64::from(value as u32 as i32),
                };
                self.store(0, value as u64 & mask)?;
            }
            Movbe => {
                let value = self.load(1)?.to_le_bytes();
                let mut swapped = [0; 8];
                for i in 0..width as usize {
                    swapped[i] = value[width as usize - 1 - i];
                }
                self.store(0, u64::from_le_bytes(swapped))?;
            }
            Cmovo | Cmovno | Cmovb | Cmovae | Cmove | Cmovne | Cmovbe | Cmova | Cmovs | Cmovns
            | Cmovp | Cmovnp | Cmovl | Cmovge | Cmovle | Cmovg => {
                let value =
                    if self.holds() { self.load(1)? } else { self.load(1).and(self.load(0))? };
                self.store(0, value)?;
            }
            Seto | Setno | Setb | Setae | Sete | Setne | Setbe | Seta | Sets | Setns | Setp
            | Setnp | Setl | Setge | Setle | Setg => {
                let value = self.holds().into();
                self.store(0, value)?;
            }
            Movsb | Movsw | Movsd | Movsq | Stosb | Stosw | Stosd | Stosq | Lodsb | Lodsw
            | Lodsd | Lodsq => return self.string(),
            Cmpxchg8b | Cmpxchg16b => self.compare_exchange_wide()?,
            Bt | Bts | Btr | Btc => self.bit_test()?,
            _ => return self.arithmetic(width, mask),
        }
        Ok(true)
    }

    fn width_of_memory(&self) -> u64 {
        self.insn.memory_size().size() as u64
    }

    fn arithmetic(&mut self, width: u64, mask: u64) -> Result<bool, Expected> {
        use Mnemonic::*;
        if !matches!(
            self.insn.mnemonic(),
            Add | Adc
                | Sub
                | Sbb
                | And
                | Or
                | Xor
                | Cmp
                | Test
                | Inc
                | Dec
                | Neg
                | Not
                | Xchg
                | Xadd
                | Cmpxchg
        ) {
            return Err(Expected::No);
        }
        let a = self.load(0)?;
        let b = if self.insn.op_count() > 1 { self.load(1)? & mask } else { 0 };
        let carry = self.flag(CF);
        let result = match self.insn.mnemonic() {
            Add => self.add(a, b, false, width),
            Adc => self.add(a, b, carry, width),
            Sub => self.sub(a, b, false, width),
            Sbb => self.sub(a, b, carry, width),
            And => self.logic(a & b, width),
            Or => self.logic(a | b, width),
            Xor => self.logic(a ^ b, width),
            Cmp => {
                self.sub(a, b, false, width);
                return Ok(true);
            }
            Test => {
                self.logic(a & b, width);
                return Ok(true);
            }
            Inc | Dec => {
                let inc = self.insn.mnemonic() == Inc;
                let sum =
                    if inc { self.add(a, 1, false, width) } else { self.sub(a, 1, false, width) };
                self.set_flag(CF, carry);
                sum
            }
            Neg => self.sub(0, a, false, width),
            Not => !a & mask,
            Xchg => {
                // Memory is the first or the second operand, a register the other.
                self.store(0, b)?;
                a
            }
            Xadd => self.add(a, b, false, width),
            _ => {
                let expected = self.fake.regs[0] & mask;
                self.sub(expected, a, false, width);
                if expected == a {
                    self.store(0, b)?;
                } else {
                    let rax = self.fake.regs[0];
                    self.fake.regs[0] = if width == 4 { a } else { rax & !mask | a };
                }
                return Ok(true);
            }
        };
        match self.insn.mnemonic() {
            Xchg => self.store(1, result)?,
            Xadd => {
                self.store(0, result)?;
                self.store(1, a)?;
            }
            _ => self.store(0, result)?,
        }
        Ok(true)
    }

    fn compare_exchange_wide(&mut self) -> Result<(), Expected> {
        let half = self.width_of_memory() / 2;
        let address = match self.address(0, 0, 2 * half) {
            Ok(address) if half == 8 && address % 16 != 0 => {
                return Err(Expected::Fault(Exception::GP));
            }
            other => other?,
        };
        let cut = |value: u64| u128::from(if half == 4 { value & 0xffff_ffff } else { value });
        let pair = |high: usize, low: usize| {
            cut(self.fake.regs[high]) << (8 * half) | cut(self.fake.regs[low])
        };
        let (expected, new, seen) = (pair(2, 0), pair(1, 3), self.fake.peek(address, 2 * half));
        self.set_flag(ZF, expected == seen);
        if expected == seen {
            self.fake.poke(address, 2 * half, new);
        } else {
            self.fake.regs[0] = cut(seen as u64) as u64;
            self.fake.regs[2] = cut((seen >> (8 * half)) as u64) as u64;
        }
        Ok(())
    }

    fn bit_test(&mut self) -> Result<(), Expected> {
        let width = self.width(0);
        let bits = i128::from(8 * width);
        let number = match self.insn.op_kind(1) {
            OpKind::Register => {
                let value = self.load(1)?;
                match width {
                    2 => i128::from(value as u16 as i16),
                    4 => i128::from(value as u32 as i32),
                    _ => i128::from(value as i64),
                }
            }
            _ => i128::from(self.load(1)?) % bits,
        };
        let address = self.address(0, number.div_euclid(bits) * i128::from(width), width)?;
        let bit = 1_u128 << number.rem_euclid(bits);
        let old = self.fake.peek(address, width);
        let was = old & bit != 0;
        self.set_flag(CF, was);
        let new = match self.insn.mnemonic() {
            Mnemonic::Bts => old | bit,
            Mnemonic::Btr => old & !bit,
            Mnemonic::Btc if was => old - bit,
            Mnemonic::Btc => old + bit,
            _ => return Ok(()),
        };
        self.fake.poke(address, width, new);
        Ok(())
    }

    /// One iteration; true when it was the last.
    fn string(&mut self) -> Result<bool, Expected> {
        let repeat = self.insn.has_rep_prefix() || self.insn.has_repne_prefix();
        let counter = if self.address_32 { Register::ECX } else { Register::RCX };
        if repeat && self.register(counter) == 0 {
            return Ok(true);
        }
        // A bad source faults before a bad destination: the same exception.
        let value = self.load(1)?;
        self.store(0, value)?;
        let down = self.flag(10);
        for op in 0..2 {
            let register = match self.insn.op_kind(op) {
                OpKind::MemoryESRDI => Register::RDI,
                OpKind::MemoryESEDI => Register::EDI,
                OpKind::MemorySegRSI => Register::RSI,
                OpKind::MemorySegESI => Register::ESI,
                _ => continue,
            };
            let index = self.register(register);
            let step = self.width_of_memory();
            let moved = if down { index.wrapping_sub(step) } else { index.wrapping_add(step) };
            self.set_register(register, moved);
        }
        if !repeat {
            return Ok(true);
        }
        let left = self.register(counter) - 1;
        self.set_register(counter, left);
        Ok(left == 0)
    }
}
