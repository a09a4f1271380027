//! From bytes to an instruction: prefixes, opcode, ModRM, SIB, displacement, immediate, for 64-bit
//! code (Intel SDM vol. 2, chapter 2 and appendix A). Only opcodes that some entry point executes
//! are known here; any other is `Unhandled` at its opcode byte.

use crate::{
    code::Code,
    fault::Fault,
    machine::{Machine, Reg, Segment, Size},
};

/// Opcodes of the `0f` map are this plus the byte.
pub const MAP_0F: u16 = 0x100;
/// Opcodes of the `0f 38` map are this plus the byte.
pub const MAP_0F38: u16 = 0x200;

/// The REX.W bit: 64-bit operands.
const REX_W: u8 = 8;
/// The REX.R bit: high bit of the register operand.
const REX_R: u8 = 4;
/// The REX.X bit: high bit of the index register.
const REX_X: u8 = 2;
/// The REX.B bit: high bit of the base or register.
const REX_B: u8 = 1;

/// A repeat prefix. Both repeat INS, OUTS, MOVS, STOS and LODS; elsewhere they pick opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// None.
    None,
    /// F2.
    F2,
    /// F3.
    F3,
}

/// A memory operand, before it is checked.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The effective address, not yet cut to the address size.
    offset: u64,
    /// What FS or GS adds.
    base: u64,
    /// Based on RSP or RBP, so in the stack segment if no other is named: faults are `#SS`.
    stack: bool,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug)]
pub struct Insn {
    /// Opcode byte, plus [`MAP_0F`] or [`MAP_0F38`].
    pub opcode: u16,
    /// The ModRM byte, 0 where the opcode has none.
    pub modrm: u8,
    rex: u8,
    /// F2 or F3, the last of them.
    pub repeat: Repeat,
    /// F0.
    pub lock: bool,
    /// 66.
    pub operand16: bool,
    /// 67 cuts effective addresses, counters and indexes to this.
    pub address_mask: u64,
    segment: Option<Segment>,
    place: Place,
    /// The immediate, sign-extended; or the 64-bit offset of opcodes a0 to a3.
    pub imm: u64,
    /// Where the next instruction begins; canonical.
    pub next_rip: u64,
}

/// What a byte in an opcode's place is, or what follows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Shape {
    /// ModRM follows.
    Modrm,
    /// ModRM and 8-bit immediate.
    ModrmImm8,
    /// ModRM and an immediate of operand size, at most 32 bits.
    ModrmImm,
    /// ModRM and, when its register field is 0 or 1, an 8-bit immediate (opcode f6).
    Group3Byte,
    /// The same with an immediate of operand size, at most 32 bits (opcode f7).
    Group3,
    /// Nothing follows.
    Bare,
    /// An 8-bit immediate.
    Imm8,
    /// A 64-bit offset (32-bit with 67).
    Offset,
    /// ModRM that always names registers (MOV to and from CRn and DRn).
    Registers,
    /// Not an opcode but a REX prefix.
    Rex,
    /// Another prefix.
    Prefix,
    /// The opcode is in another map.
    Escape,
    /// Nothing that is executed here.
    Unknown,
}

/// What this opcode (or prefix, or escape) is.
const fn classify(opcode: u16) -> Shape {
    match opcode {
        0x040..=0x04f => Shape::Rex,
        0x026 | 0x02e | 0x036 | 0x03e | 0x064..=0x067 | 0x0f0 | 0x0f2 | 0x0f3 => Shape::Prefix,
        0x00f | 0x138 => Shape::Escape,
        0x000..=0x03f if opcode & 7 < 4 => Shape::Modrm,
        0x063 | 0x084..=0x08b => Shape::Modrm,
        0x06c..=0x06f | 0x0a4 | 0x0a5 | 0x0aa..=0x0ad => Shape::Bare,
        0x080 | 0x083 | 0x0c6 => Shape::ModrmImm8,
        0x081 | 0x0c7 => Shape::ModrmImm,
        0x0a0..=0x0a3 => Shape::Offset,
        0x0e4..=0x0e7 => Shape::Imm8,
        0x0ec..=0x0ef | 0x0f4 | 0x0fa | 0x0fb => Shape::Bare,
        0x0f6 => Shape::Group3Byte,
        0x0f7 => Shape::Group3,
        0x0fe | 0x0ff => Shape::Modrm,
        0x100 | 0x101 => Shape::Modrm,
        0x106 | 0x108 | 0x109 | 0x130..=0x133 | 0x1a2 => Shape::Bare,
        0x120..=0x123 => Shape::Registers,
        0x140..=0x14f | 0x190..=0x19f => Shape::Modrm,
        0x1a3 | 0x1ab | 0x1b0 | 0x1b1 | 0x1b3 | 0x1b6 | 0x1b7 | 0x1bb => Shape::Modrm,
        0x1ba => Shape::ModrmImm8,
        0x1be | 0x1bf | 0x1c0 | 0x1c1 | 0x1c3 | 0x1c7 | 0x2f0 | 0x2f1 => Shape::Modrm,
        _ => Shape::Unknown,
    }
}

/// [`classify`] of every opcode, so that it costs one load.
static SHAPES: [Shape; 0x300] = {
    let mut table = [Shape::Unknown; 0x300];
    let mut rest = table.as_mut_slice();
    let mut opcode: u16 = 0;
    while let [head, tail @ ..] = rest {
        *head = classify(opcode);
        opcode = opcode.wrapping_add(1);
        rest = tail;
    }
    table
};

#[inline(always)]
fn shape(opcode: u16) -> Shape {
    SHAPES.get(usize::from(opcode)).copied().unwrap_or(Shape::Unknown)
}

/// Decodes the instruction at RIP. Nothing is changed, whatever comes of it.
#[inline(always)]
pub fn decode<M: Machine>(m: &mut M, mut code: Code) -> Result<Insn, Fault> {
    let mut insn = Insn {
        opcode: 0,
        modrm: 0,
        rex: 0,
        repeat: Repeat::None,
        lock: false,
        operand16: false,
        address_mask: u64::MAX,
        segment: None,
        place: Place { offset: 0, base: 0, stack: false },
        imm: 0,
        next_rip: 0,
    };
    let mut rip_relative = false;
    let shape = opcode(&mut insn, &mut code);
    if shape < Shape::Bare {
        insn.modrm = code.byte();
        if insn.is_memory() {
            rip_relative = address(m, &mut insn, &mut code);
        }
    }
    if shape != Shape::Modrm && shape != Shape::Bare {
        rest(&mut insn, &mut code, shape);
    }
    if code.exhausted() {
        return Err(code.ran_out(m));
    }
    if shape == Shape::Unknown {
        return Err(Fault::Unhandled);
    }
    insn.next_rip = m.rip().wrapping_add(code.position());
    if !is_canonical(insn.next_rip) {
        // The processor would finish and then fault; RIP must never be set to such an address.
        return Err(Fault::GP);
    }
    if rip_relative {
        insn.place.offset = insn.place.offset.wrapping_add(insn.next_rip);
    }
    if insn.segment.is_some() {
        insn.place.base = insn.override_base(m);
    }
    Ok(insn)
}

/// Reads prefixes and opcode into `insn` and returns what follows.
#[inline(always)]
fn opcode(insn: &mut Insn, code: &mut Code) -> Shape {
    loop {
        let byte = code.byte();
        insn.opcode = u16::from(byte);
        let mut found = shape(insn.opcode);
        if found == Shape::Rex {
            insn.rex = byte;
            continue;
        }
        if found == Shape::Prefix {
            prefix(insn, byte);
            // REX counts only directly before the opcode.
            insn.rex = 0;
            continue;
        }
        if found == Shape::Escape {
            insn.opcode = MAP_0F | u16::from(code.byte());
            found = shape(insn.opcode);
            if found == Shape::Escape {
                insn.opcode = MAP_0F38 | u16::from(code.byte());
                found = shape(insn.opcode);
            }
        }
        return found;
    }
}

/// Notes a prefix other than REX.
#[inline(always)]
fn prefix(insn: &mut Insn, byte: u8) {
    match byte {
        0xf0 => insn.lock = true,
        0x66 => insn.operand16 = true,
        0x64 => insn.segment = Some(Segment::Fs),
        0x65 => insn.segment = Some(Segment::Gs),
        0x67 => insn.address_mask = Size::Dword.mask(),
        0xf2 => insn.repeat = Repeat::F2,
        0xf3 => insn.repeat = Repeat::F3,
        // ES, CS, SS and DS mean nothing in 64-bit mode, and do not undo FS or GS.
        _ => {}
    }
}

/// Reads what comes after the opcode besides ModRM and what belongs to it.
#[inline]
fn rest(insn: &mut Insn, code: &mut Code, shape: Shape) {
    let immediate = insn.reg_field() < 2;
    insn.imm = match shape {
        Shape::ModrmImm => insn.imm_of_operand_size(code),
        Shape::Imm8 | Shape::ModrmImm8 => imm8(code),
        Shape::Group3Byte if immediate => imm8(code),
        Shape::Group3 if immediate => insn.imm_of_operand_size(code),
        Shape::Offset if insn.address_mask == u64::MAX => code.qword(),
        Shape::Offset => u64::from(code.dword()),
        Shape::Registers => {
            insn.modrm = code.byte();
            0
        }
        _ => 0,
    };
}

#[inline(always)]
const fn imm8(code: &mut Code) -> u64 {
    Size::Byte.sign_extend(code.byte() as u64)
}

#[inline(always)]
const fn imm32(code: &mut Code) -> u64 {
    Size::Dword.sign_extend(code.dword() as u64)
}

/// Works out a memory operand; true when the address of the next instruction is to be added.
#[inline(always)]
fn address<M: Machine>(m: &M, insn: &mut Insn, code: &mut Code) -> bool {
    let mode = insn.modrm >> 6;
    let mut base_field = insn.modrm & 7;
    let mut offset = 0;
    let has_sib = base_field == 4;
    if has_sib {
        let sib = code.byte();
        base_field = sib & 7;
        let index = (sib >> 3) & 7 | (insn.rex & REX_X) << 2;
        // Index 4 means none; with REX.X it is R12.
        if index != 4 {
            offset = m.reg(Reg::from_low_bits(index)).wrapping_shl(u32::from(sib >> 6));
        }
    }
    if mode == 0 && base_field == 5 {
        // No base: an absolute address, or without SIB one that counts from the next instruction.
        insn.place.offset = offset.wrapping_add(imm32(code));
        return !has_sib;
    }
    let base = base_field | (insn.rex & REX_B) << 3;
    insn.place.stack = base & 0xe == 4;
    offset = offset.wrapping_add(m.reg(Reg::from_low_bits(base)));
    if mode == 1 {
        offset = offset.wrapping_add(imm8(code));
    } else if mode == 2 {
        offset = offset.wrapping_add(imm32(code));
    }
    insn.place.offset = offset;
    false
}

/// Is this a 48-bit canonical address? Guests here never have 57-bit ones.
#[inline]
pub const fn is_canonical(addr: u64) -> bool {
    addr.wrapping_add(1 << 47) >> 48 == 0
}

impl Insn {
    /// Does the ModRM byte name memory?
    #[inline]
    pub const fn is_memory(&self) -> bool {
        self.modrm < 0xc0
    }

    /// The middle field of ModRM, 0 to 7: part of the opcode, for groups.
    #[inline]
    pub const fn reg_field(&self) -> u8 {
        (self.modrm >> 3) & 7
    }

    /// The number of the register operand, 0 to 15.
    #[inline]
    pub const fn reg_number(&self) -> u8 {
        (self.modrm >> 3) & 7 | (self.rex & REX_R) << 1
    }

    /// The number of the register that the other operand is when it is not memory, 0 to 15.
    #[inline]
    pub const fn rm_number(&self) -> u8 {
        self.modrm & 7 | (self.rex & REX_B) << 3
    }

    /// Is there a REX prefix? Then byte registers 4 to 7 are SPL to DIL, else AH to BH.
    #[inline]
    pub const fn has_rex(&self) -> bool {
        self.rex != 0
    }

    /// Is REX.W set?
    #[inline]
    pub const fn wide(&self) -> bool {
        self.rex & REX_W != 0
    }

    /// The operand size of opcodes that have no byte form: 8, 4 or 2 bytes.
    #[inline]
    pub const fn full_size(&self) -> Size {
        if self.wide() {
            Size::Qword
        } else if self.operand16 {
            Size::Word
        } else {
            Size::Dword
        }
    }

    /// The operand size of opcodes whose lowest bit tells bytes (0) from larger operands (1).
    #[inline]
    pub const fn size(&self) -> Size {
        if self.opcode & 1 == 0 { Size::Byte } else { self.full_size() }
    }

    const fn imm_of_operand_size(&self, code: &mut Code) -> u64 {
        match self.full_size() {
            Size::Word => Size::Word.sign_extend(code.word() as u64),
            _ => imm32(code),
        }
    }

    /// The base of the overriding segment, 0 without one.
    #[inline]
    pub fn override_base<M: Machine>(&self, m: &mut M) -> u64 {
        self.segment.map_or(0, |segment| m.segment_base(segment))
    }

    /// The linear address of the memory operand.
    #[inline]
    pub fn address(&self, size: Size) -> Result<u64, Fault> {
        self.address_plus(0, size)
    }

    /// The linear address `distance` bytes from the memory operand.
    ///
    /// # Errors
    /// `#GP(0)` or `#SS(0)` when the access would touch a non-canonical address.
    #[inline]
    pub fn address_plus(&self, distance: u64, size: Size) -> Result<u64, Fault> {
        let addr = self.unchecked_address(distance);
        match check_access(addr, size) {
            Err(_) if self.place.stack && self.segment.is_none() => Err(Fault::SS),
            result => result,
        }
    }

    /// The linear address `distance` bytes from the memory operand, possibly not canonical.
    #[inline]
    pub const fn unchecked_address(&self, distance: u64) -> u64 {
        let offset = self.place.offset.wrapping_add(distance) & self.address_mask;
        self.place.base.wrapping_add(offset)
    }
}

/// Returns `addr` when an access of this size lies within canonical addresses.
///
/// # Errors
/// `#GP(0)` otherwise. An access that wraps round the end of the address space is refused too: no
/// guest does it, and nobody below has to think of it.
#[inline]
pub fn check_access(addr: u64, size: Size) -> Result<u64, Fault> {
    let last = addr.wrapping_add(size.bytes().wrapping_sub(1));
    if is_canonical(addr) && is_canonical(last) && last >= addr { Ok(addr) } else { Err(Fault::GP) }
}
