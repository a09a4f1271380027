//! Instructions that touch memory which the guest cannot touch itself: page tables, trapped device
//! registers. The memory operand goes through the [`Machine`], whatever kind of access it is.

use crate::{
    alu::{self, Alu, Flags, ZF},
    code::Code,
    decode::{Insn, Repeat, decode},
    fault::Fault,
    hot,
    machine::{Machine, Reg, Size},
    operand::{edx_eax, finish, get, load, low_half, modify, set, set_edx_eax, set_reg},
    string,
};

/// Runs the instruction at RIP.
#[inline]
pub fn run<M: Machine>(m: &mut M) -> Result<(), Fault> {
    if !m.code_is_64() {
        return Err(Fault::Unhandled);
    }
    let code = Code::fetch(m)?;
    match hot::of_memory(m, &code) {
        Some(result) => result,
        None => general(m, code),
    }
}

/// Decodes and runs any instruction of the set.
#[inline(never)]
pub fn general<M: Machine>(m: &mut M, code: Code) -> Result<(), Fault> {
    let insn = decode(m, code)?;
    if insn.lock && !may_be_locked(&insn) {
        return Err(Fault::UD);
    }
    if string::is_memory_string(insn.opcode) {
        return string::memory_string(m, &insn);
    }
    let flags = match insn.opcode {
        0xa0..=0xa3 => offset_move(m, &insn)?,
        _ if !insn.is_memory() => return Err(Fault::Unhandled),
        0x00..=0xff => one_byte(m, &insn)?,
        _ => two_byte(m, &insn)?,
    };
    finish(m, &insn, flags);
    Ok(())
}

/// May this instruction have a LOCK prefix? Only some that modify memory (Intel SDM vol. 2, LOCK).
#[inline]
const fn may_be_locked(insn: &Insn) -> bool {
    let group = insn.reg_field();
    insn.is_memory()
        && match insn.opcode {
            // All but CMP, with memory first.
            0x00..=0x37 => insn.opcode & 7 < 2,
            0x80 | 0x81 | 0x83 => group != 7,
            0x86 | 0x87 | 0x1ab | 0x1b3 | 0x1bb | 0x1b0 | 0x1b1 | 0x1c0 | 0x1c1 => true,
            0xf6 | 0xf7 => group == 2 || group == 3,
            0xfe | 0xff => group < 2,
            0x1ba => group > 4,
            0x1c7 => group == 1,
            _ => false,
        }
}

/// MOV of a register to memory.
#[inline]
fn store<M: Machine>(m: &mut M, insn: &Insn, size: Size) -> Result<(), Fault> {
    let value = get(m, insn, insn.reg_number(), size);
    m.write(insn.address(size)?, size, value)
}

/// MOV between the accumulator and an absolute address.
fn offset_move<M: Machine>(m: &mut M, insn: &Insn) -> Result<Flags, Fault> {
    let size = insn.size();
    let addr = insn.address_plus(insn.imm, size)?;
    if insn.opcode < 0xa2 {
        let value = load(m, addr, size)?;
        set_reg(m, Reg::Rax, size, value);
    } else {
        let value = m.reg(Reg::Rax) & size.mask();
        m.write(addr, size, value)?;
    }
    Ok(Flags::NONE)
}

/// Opcodes without an escape byte, with a memory operand.
#[inline]
fn one_byte<M: Machine>(m: &mut M, insn: &Insn) -> Result<Flags, Fault> {
    let size = insn.size();
    match insn.opcode {
        0x88 | 0x89 => store(m, insn, size)?,
        0x8a | 0x8b => {
            let value = load(m, insn.address(size)?, size)?;
            set(m, insn, insn.reg_number(), size, value);
        }
        0xc6 | 0xc7 if insn.reg_field() == 0 => {
            m.write(insn.address(size)?, size, insn.imm & size.mask())?;
        }
        0x86 | 0x87 => {
            let value = get(m, insn, insn.reg_number(), size);
            let old = m.exchange(insn.address(size)?, size, value)?;
            set(m, insn, insn.reg_number(), size, old);
        }
        0x63 => {
            let from = if insn.wide() { Size::Dword } else { insn.full_size() };
            let value = from.sign_extend(load(m, insn.address(from)?, from)?);
            set(m, insn, insn.reg_number(), insn.full_size(), value);
        }
        0x84 | 0x85 => {
            let value = get(m, insn, insn.reg_number(), size);
            return test(m, insn, size, value);
        }
        0x00..=0x3f => return two_operands(m, insn, size),
        0x80 | 0x81 | 0x83 => {
            let operation = Alu::from_low_bits(insn.reg_field());
            return apply_to_memory(m, insn, size, operation, insn.imm);
        }
        0xf6 | 0xf7 | 0xfe | 0xff => return one_operand(m, insn, size),
        _ => return Err(Fault::Unhandled),
    }
    Ok(Flags::NONE)
}

/// Opcodes 00 to 3f: memory and a register, in either order.
fn two_operands<M: Machine>(m: &mut M, insn: &Insn, size: Size) -> Result<Flags, Fault> {
    let [number, _] = (insn.opcode >> 3).to_le_bytes();
    let operation = Alu::from_low_bits(number);
    let register = get(m, insn, insn.reg_number(), size);
    if insn.opcode & 2 == 0 {
        return apply_to_memory(m, insn, size, operation, register);
    }
    let value = load(m, insn.address(size)?, size)?;
    let (result, flags) = operation.apply(register, value, m.rflags(), size);
    if operation != Alu::Cmp {
        set(m, insn, insn.reg_number(), size, result);
    }
    Ok(flags)
}

/// `memory = memory op value`, or for CMP the flags alone.
fn apply_to_memory<M: Machine>(
    m: &mut M,
    insn: &Insn,
    size: Size,
    operation: Alu,
    value: u64,
) -> Result<Flags, Fault> {
    let addr = insn.address(size)?;
    let rflags = m.rflags();
    if operation == Alu::Cmp {
        let memory = load(m, addr, size)?;
        return Ok(operation.apply(memory, value, rflags, size).1);
    }
    Ok(modify(m, addr, size, |old| operation.apply(old, value, rflags, size))?.1)
}

/// The flags of `memory & value`.
fn test<M: Machine>(m: &mut M, insn: &Insn, size: Size, value: u64) -> Result<Flags, Fault> {
    let memory = load(m, insn.address(size)?, size)?;
    Ok(alu::logic(memory & value, size).1)
}

/// Opcodes f6, f7 (TEST, NOT, NEG) and fe, ff (INC, DEC).
fn one_operand<M: Machine>(m: &mut M, insn: &Insn, size: Size) -> Result<Flags, Fault> {
    let second_group = insn.opcode >= 0xfe;
    let group = insn.reg_field();
    if !second_group && group < 2 {
        return test(m, insn, size, insn.imm);
    }
    let known = if second_group { group < 2 } else { group < 4 };
    if !known {
        return Err(Fault::Unhandled);
    }
    let addr = insn.address(size)?;
    let change = |old: u64| match (second_group, group) {
        (true, 0) => alu::without_carry(alu::add(old, 1, 0, size)),
        (true, _) => alu::without_carry(alu::sub(old, 1, 0, size)),
        (false, 2) => (!old, Flags::NONE),
        (false, _) => alu::sub(0, old, 0, size),
    };
    Ok(modify(m, addr, size, change)?.1)
}

/// Opcodes after 0f or 0f 38, with a memory operand.
#[inline]
fn two_byte<M: Machine>(m: &mut M, insn: &Insn) -> Result<Flags, Fault> {
    let size = insn.size();
    match insn.opcode {
        0x1b0 | 0x1b1 => return compare_exchange(m, insn, size),
        0x1c0 | 0x1c1 => {
            let addend = get(m, insn, insn.reg_number(), size);
            let sum = |old| alu::add(old, addend, 0, size);
            let (old, flags) = modify(m, insn.address(size)?, size, sum)?;
            set(m, insn, insn.reg_number(), size, old);
            return Ok(flags);
        }
        0x1a3 | 0x1ab | 0x1b3 | 0x1bb | 0x1ba => return bit_test(m, insn),
        0x1c7 if insn.reg_field() == 1 && insn.wide() => return compare_exchange_16(m, insn),
        0x1c7 if insn.reg_field() == 1 => return compare_exchange_8(m, insn),
        0x1c3 if insn.repeat == Repeat::None && !insn.operand16 => {
            store(m, insn, insn.full_size())?;
        }
        0x190..=0x19f => {
            let [code, _] = insn.opcode.to_le_bytes();
            let value = u64::from(alu::condition(code, m.rflags()));
            m.write(insn.address(Size::Byte)?, Size::Byte, value)?;
        }
        _ => two_byte_load(m, insn)?,
    }
    Ok(Flags::NONE)
}

/// MOVZX, MOVSX, CMOVcc and MOVBE.
fn two_byte_load<M: Machine>(m: &mut M, insn: &Insn) -> Result<(), Fault> {
    let size = insn.full_size();
    let from = if insn.opcode & 1 == 0 { Size::Byte } else { Size::Word };
    let value = match insn.opcode {
        0x1b6 | 0x1b7 => load(m, insn.address(from)?, from)?,
        0x1be | 0x1bf => from.sign_extend(load(m, insn.address(from)?, from)?),
        0x140..=0x14f => {
            // Memory is read and a 32-bit register's upper half cleared even when nothing moves.
            let [code, _] = insn.opcode.to_le_bytes();
            let value = load(m, insn.address(size)?, size)?;
            let holds = alu::condition(code, m.rflags());
            if holds { value } else { get(m, insn, insn.reg_number(), size) }
        }
        0x2f0 if insn.repeat == Repeat::None => swap(load(m, insn.address(size)?, size)?, size),
        0x2f1 if insn.repeat == Repeat::None => {
            let value = swap(get(m, insn, insn.reg_number(), size), size);
            return m.write(insn.address(size)?, size, value);
        }
        _ => return Err(Fault::Unhandled),
    };
    set(m, insn, insn.reg_number(), size, value);
    Ok(())
}

/// Reverses the bytes of a value of this width.
const fn swap(value: u64, size: Size) -> u64 {
    value.swap_bytes() >> (64_u32.wrapping_sub(size.bits()) & 63)
}

/// CMPXCHG.
#[inline]
fn compare_exchange<M: Machine>(m: &mut M, insn: &Insn, size: Size) -> Result<Flags, Fault> {
    let expected = m.reg(Reg::Rax) & size.mask();
    let new = get(m, insn, insn.reg_number(), size);
    let seen = match m.compare_exchange(insn.address(size)?, size, expected, new)? {
        Ok(()) => expected,
        Err(seen) => seen & size.mask(),
    };
    let flags = alu::sub(expected, seen, 0, size).1;
    if flags.value & ZF == 0 {
        set_reg(m, Reg::Rax, size, seen);
    }
    Ok(flags)
}

/// ZF alone, as CMPXCHG8B and CMPXCHG16B set it.
const fn zero_flag(set: bool) -> Flags {
    Flags { mask: ZF, value: if set { ZF } else { 0 } }
}

/// CMPXCHG8B.
fn compare_exchange_8<M: Machine>(m: &mut M, insn: &Insn) -> Result<Flags, Fault> {
    let addr = insn.address(Size::Qword)?;
    let expected = edx_eax(m);
    let new = u64::from(low_half(m, Reg::Rcx)) << 32 | u64::from(low_half(m, Reg::Rbx));
    let outcome = m.compare_exchange(addr, Size::Qword, expected, new)?;
    if let Err(seen) = outcome {
        set_edx_eax(m, seen);
    }
    Ok(zero_flag(outcome.is_ok()))
}

/// CMPXCHG16B.
fn compare_exchange_16<M: Machine>(m: &mut M, insn: &Insn) -> Result<Flags, Fault> {
    let addr = insn.address(Size::Qword)?;
    if addr & 15 != 0 {
        return Err(Fault::GP);
    }
    let pair = |high, low| u128::from(m.reg(high)) << 64 | u128::from(m.reg(low));
    let (expected, new) = (pair(Reg::Rdx, Reg::Rax), pair(Reg::Rcx, Reg::Rbx));
    let outcome = m.compare_exchange_16(addr, expected, new)?;
    if let Err(seen) = outcome {
        let [low, high] = halves(seen);
        m.set_reg(Reg::Rax, low);
        m.set_reg(Reg::Rdx, high);
    }
    Ok(zero_flag(outcome.is_ok()))
}

/// The low and the high half.
fn halves(value: u128) -> [u64; 2] {
    let mut low = [0; 8];
    let mut high = [0; 8];
    let bytes = value.to_le_bytes();
    let (first, second) = bytes.split_at(8);
    low.copy_from_slice(first);
    high.copy_from_slice(second);
    [u64::from_le_bytes(low), u64::from_le_bytes(high)]
}

/// BT, BTS, BTR and BTC. With the bit's number in a register it counts from the operand's address
/// in both directions.
fn bit_test<M: Machine>(m: &mut M, insn: &Insn) -> Result<Flags, Fault> {
    let size = insn.full_size();
    let within = u64::from(size.bits()).wrapping_sub(1);
    let (operation, number, distance) = if insn.opcode == 0x1ba {
        if insn.reg_field() < 4 {
            return Err(Fault::Unhandled);
        }
        (insn.reg_field() & 3, insn.imm, 0)
    } else {
        let number = size.sign_extend(get(m, insn, insn.reg_number(), size));
        let [operation, _] = (insn.opcode >> 3).to_le_bytes();
        // Arithmetic: a negative number reaches below the address.
        let bytes = (number.cast_signed() >> 3).cast_unsigned() & !(within >> 3);
        (operation & 3, number, bytes)
    };
    let addr = insn.address_plus(distance, size)?;
    let bit = 1_u64.wrapping_shl(u32::from((number & within).to_le_bytes()[0]));
    if operation == 0 {
        let memory = load(m, addr, size)?;
        return Ok(alu::bit_operation(0, memory, bit).1);
    }
    Ok(modify(m, addr, size, |old| alu::bit_operation(operation, old, bit))?.1)
}
