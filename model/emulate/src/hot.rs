//! The forms that guests run most, recognised by their first bytes and run without general
//! decoding: 64-bit MOV, XCHG and CMPXCHG of a page-table entry at a base register with or without
//! a displacement; IN and OUT through DX without prefix; RDMSR, WRMSR, CPUID.
//!
//! Each function returns `None`, with nothing done, for whatever is not such a form or would fault
//! by itself: then the general path is to have it, which alone knows what a guest gets wrong.

use crate::{
    alu::{self, Flags},
    code::Code,
    decode::{check_access, is_canonical},
    fault::Fault,
    machine::{Machine, Reg, Size},
    operand, privileged,
};

/// What a hot form of `memory` does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Store,
    StoreImmediate,
    Exchange,
    CompareExchange,
}

/// REX with W.
#[inline(always)]
const fn is_wide(byte: u8) -> bool {
    byte & 0xf8 == 0x48
}

/// The form, its REX prefix, how many bytes come before ModRM, and the bytes from there.
#[inline(always)]
fn form(window: u128) -> Option<(Form, u8, u64, u128)> {
    let [first, second, third, fourth, ..] = window.to_le_bytes();
    if is_wide(first) {
        let form = match second {
            0x89 => Form::Store,
            0x87 => Form::Exchange,
            0xc7 => Form::StoreImmediate,
            0x0f if third == 0xb1 => return Some((Form::CompareExchange, first, 3, window >> 24)),
            _ => return None,
        };
        return Some((form, first, 2, window >> 16));
    }
    if first == 0xf0 && is_wide(second) && third == 0x0f && fourth == 0xb1 {
        return Some((Form::CompareExchange, second, 4, window >> 32));
    }
    None
}

/// Runs a hot form of `memory`.
#[inline(always)]
pub fn of_memory<M: Machine>(m: &mut M, code: &Code) -> Option<Result<(), Fault>> {
    let (form, rex, before, rest) = form(code.whole()?)?;
    let [modrm, ..] = rest.to_le_bytes();
    let (mode, base) = (modrm >> 6, modrm & 7);
    // SIB, RIP-relative and register operands are for the general path.
    if mode == 3 || base == 4 || (mode == 0 && base == 5) {
        return None;
    }
    let base = m.reg(Reg::from_low_bits(base | (rex & 1) << 3));
    let (displacement, length, rest) = match mode {
        0 => (0, 1, rest >> 8),
        1 => (Size::Byte.sign_extend(low(rest >> 8)), 2, rest >> 16),
        _ => (Size::Dword.sign_extend(low(rest >> 8)), 5, rest >> 40),
    };
    let addr = check_access(base.wrapping_add(displacement), Size::Qword).ok()?;
    let mut next = m.rip().wrapping_add(before).wrapping_add(length);
    if form == Form::StoreImmediate {
        if modrm & 0x38 != 0 {
            return None;
        }
        next = next.wrapping_add(4);
    }
    if !is_canonical(next) {
        return None;
    }
    let reg = Reg::from_low_bits((modrm >> 3) & 7 | (rex & 4) << 1);
    Some(effect(m, form, addr, reg, rest, next))
}

#[inline(always)]
fn effect<M: Machine>(
    m: &mut M,
    form: Form,
    addr: u64,
    reg: Reg,
    rest: u128,
    next: u64,
) -> Result<(), Fault> {
    let flags = match form {
        Form::Store => {
            let value = m.reg(reg);
            m.write(addr, Size::Qword, value)?;
            Flags::NONE
        }
        Form::StoreImmediate => {
            m.write(addr, Size::Qword, Size::Dword.sign_extend(low(rest)))?;
            Flags::NONE
        }
        Form::Exchange => {
            let value = m.reg(reg);
            let old = m.exchange(addr, Size::Qword, value)?;
            m.set_reg(reg, old);
            Flags::NONE
        }
        Form::CompareExchange => {
            let expected = m.reg(Reg::Rax);
            let new = m.reg(reg);
            match m.compare_exchange(addr, Size::Qword, expected, new)? {
                Ok(()) => alu::EQUAL,
                Err(seen) => {
                    m.set_reg(Reg::Rax, seen);
                    alu::sub(expected, seen, 0, Size::Qword).1
                }
            }
        }
    };
    operand::finish_at(m, next, flags);
    Ok(())
}

/// The low 64 bits.
#[inline(always)]
const fn low(value: u128) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = value.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Runs a hot form of `privileged`.
#[inline(always)]
pub fn of_privileged<M: Machine>(m: &mut M, code: &Code) -> Option<Result<(), Fault>> {
    let [first, second, ..] = code.whole()?.to_le_bytes();
    let is_port = first & 0xfc == 0xec;
    if !is_port && first != 0x0f {
        return None;
    }
    let next = m.rip().wrapping_add(if is_port { 1 } else { 2 });
    if !is_canonical(next) {
        return None;
    }
    let result = if is_port {
        let size = if first & 1 == 0 { Size::Byte } else { Size::Dword };
        let port = operand::low_u16(m.reg(Reg::Rdx));
        privileged::port(m, first & 2 != 0, port, size)
    } else {
        match second {
            0x30 => privileged::wrmsr(m),
            0x32 => privileged::rdmsr(m),
            0xa2 => privileged::cpuid(m),
            _ => return None,
        }
    };
    if result.is_ok() {
        operand::finish_at(m, next, Flags::NONE);
    }
    Some(result)
}
