//! Registers as operands of any width, and read-modify-write of memory.

use crate::{
    alu::{Flags, RF},
    decode::Insn,
    fault::Fault,
    machine::{Machine, Reg, Size},
};

/// How often a read-modify-write is tried before the guest is made to run the instruction again.
const ATTEMPTS: u32 = 8;

/// The value of register `number` (0 to 15) at this width.
#[inline]
pub fn get<M: Machine>(m: &M, insn: &Insn, number: u8, size: Size) -> u64 {
    if size == Size::Byte && is_high_byte(insn, number) {
        return (m.reg(Reg::from_low_bits(number & 3)) >> 8) & 0xff;
    }
    m.reg(Reg::from_low_bits(number)) & size.mask()
}

/// Sets register `number` (0 to 15) at this width: 32 bits clear the upper half, fewer leave it.
#[inline]
pub fn set<M: Machine>(m: &mut M, insn: &Insn, number: u8, size: Size, value: u64) {
    if size == Size::Byte && is_high_byte(insn, number) {
        let reg = Reg::from_low_bits(number & 3);
        let merged = m.reg(reg) & !0xff00 | (value & 0xff) << 8;
        return m.set_reg(reg, merged);
    }
    set_reg(m, Reg::from_low_bits(number), size, value);
}

/// Sets a register at this width, where AH to BH cannot be meant.
#[inline]
pub fn set_reg<M: Machine>(m: &mut M, reg: Reg, size: Size, value: u64) {
    let value = value & size.mask();
    match size {
        Size::Qword | Size::Dword => m.set_reg(reg, value),
        Size::Word | Size::Byte => {
            let merged = m.reg(reg) & !size.mask() | value;
            m.set_reg(reg, merged);
        }
    }
}

/// AH, CH, DH, BH: byte registers 4 to 7 without REX.
#[inline]
const fn is_high_byte(insn: &Insn, number: u8) -> bool {
    !insn.has_rex() && number & 0xc == 4
}

/// The low 32 bits of a register.
#[inline]
pub fn low_half<M: Machine>(m: &M, reg: Reg) -> u32 {
    low_u32(m.reg(reg))
}

/// The low 32 bits.
#[inline]
pub const fn low_u32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The low 16 bits.
#[inline]
pub const fn low_u16(value: u64) -> u16 {
    let [a, b, ..] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// EDX:EAX.
#[inline]
pub fn edx_eax<M: Machine>(m: &M) -> u64 {
    u64::from(low_half(m, Reg::Rdx)) << 32 | u64::from(low_half(m, Reg::Rax))
}

/// Sets EDX:EAX, which clears the upper halves.
#[inline]
pub fn set_edx_eax<M: Machine>(m: &mut M, value: u64) {
    m.set_reg(Reg::Rax, value & Size::Dword.mask());
    m.set_reg(Reg::Rdx, value >> 32);
}

/// Reads memory, with the bits above the width cleared.
#[inline]
pub fn load<M: Machine>(m: &mut M, addr: u64, size: Size) -> Result<u64, Fault> {
    Ok(m.read(addr, size)? & size.mask())
}

/// Replaces what is at `addr` by the first half of `change` of it, atomically; returns the old
/// value and the second half.
#[inline]
pub fn modify<M: Machine + ?Sized, T>(
    m: &mut M,
    addr: u64,
    size: Size,
    change: impl Fn(u64) -> (u64, T),
) -> Result<(u64, T), Fault> {
    let mut old = m.read(addr, size)? & size.mask();
    for _ in 0..ATTEMPTS {
        let (new, rest) = change(old);
        match m.compare_exchange(addr, size, old, new & size.mask())? {
            Ok(()) => return Ok((old, rest)),
            Err(seen) => old = seen & size.mask(),
        }
    }
    Err(Fault::Retry)
}

/// Goes on to the next instruction, with these flags.
#[inline]
pub fn finish<M: Machine>(m: &mut M, insn: &Insn, flags: Flags) {
    finish_at(m, insn.next_rip, flags);
}

/// Goes on to the instruction at `rip`, with these flags.
#[inline(always)]
pub fn finish_at<M: Machine>(m: &mut M, rip: u64, flags: Flags) {
    let before = m.rflags();
    // A fault sets RF in the saved flags; completing an instruction clears it.
    let after = before & !(flags.mask | RF) | flags.value;
    if after != before {
        m.set_rflags(after);
    }
    m.set_rip(rip);
}
