//! MOVS, STOS, LODS one iteration at a time; INS and OUTS many.

use crate::{
    Budget,
    alu::{DF, Flags},
    decode::{Insn, Repeat, check_access},
    fault::Fault,
    machine::{Machine, Reg, Size},
    operand::{finish, load, low_u16, low_u32, set_reg},
};

/// Is this one of MOVS, STOS, LODS?
#[inline]
pub const fn is_memory_string(opcode: u16) -> bool {
    matches!(opcode, 0xa4 | 0xa5 | 0xaa..=0xad)
}

/// Runs one iteration of MOVS, STOS or LODS; RIP moves on with the last.
pub fn memory_string<M: Machine>(m: &mut M, insn: &Insn) -> Result<(), Fault> {
    if insn.repeat != Repeat::None && count(m, insn) == 0 {
        finish(m, insn, Flags::NONE);
        return Ok(());
    }
    let size = insn.size();
    match insn.opcode {
        0xa4 | 0xa5 => {
            let source = source(m, insn, size)?;
            let destination = destination(m, insn, size)?;
            let value = load(m, source, size)?;
            m.write(destination, size, value)?;
            advance(m, insn, Reg::Rsi, size);
            advance(m, insn, Reg::Rdi, size);
        }
        0xaa | 0xab => {
            let destination = destination(m, insn, size)?;
            let value = m.reg(Reg::Rax) & size.mask();
            m.write(destination, size, value)?;
            advance(m, insn, Reg::Rdi, size);
        }
        0xac | 0xad => {
            let source = source(m, insn, size)?;
            let value = load(m, source, size)?;
            set_reg(m, Reg::Rax, size, value);
            advance(m, insn, Reg::Rsi, size);
        }
        _ => return Err(Fault::Unhandled),
    }
    if insn.repeat == Repeat::None || count_down(m, insn) == 0 {
        finish(m, insn, Flags::NONE);
    }
    Ok(())
}

/// Runs INS or OUTS, at most `budget` iterations of it.
pub fn port_string<M: Machine>(m: &mut M, insn: &Insn, budget: Budget) -> Result<(), Fault> {
    let size = match insn.size() {
        Size::Qword => Size::Dword,
        size => size,
    };
    if insn.repeat == Repeat::None {
        port_iteration(m, insn, size)?;
    } else {
        let mut left = budget.0;
        while count(m, insn) != 0 {
            left = left.checked_sub(1).ok_or(Fault::Retry)?;
            port_iteration(m, insn, size)?;
            count_down(m, insn);
        }
    }
    finish(m, insn, Flags::NONE);
    Ok(())
}

fn port_iteration<M: Machine>(m: &mut M, insn: &Insn, size: Size) -> Result<(), Fault> {
    let port = low_u16(m.reg(Reg::Rdx));
    if insn.opcode < 0x6e {
        let destination = destination(m, insn, size)?;
        // What is taken from a port cannot be put back.
        m.probe_write(destination, size)?;
        let value = u64::from(m.port_in(port, size)?) & size.mask();
        m.write(destination, size, value)?;
        advance(m, insn, Reg::Rdi, size);
    } else {
        let source = source(m, insn, size)?;
        let value = load(m, source, size)?;
        m.port_out(port, size, low_u32(value))?;
        advance(m, insn, Reg::Rsi, size);
    }
    Ok(())
}

/// The checked address of the source, which a segment prefix can move.
fn source<M: Machine>(m: &mut M, insn: &Insn, size: Size) -> Result<u64, Fault> {
    let offset = m.reg(Reg::Rsi) & insn.address_mask;
    check_access(insn.override_base(m).wrapping_add(offset), size)
}

/// The checked address of the destination, always in ES.
fn destination<M: Machine>(m: &M, insn: &Insn, size: Size) -> Result<u64, Fault> {
    check_access(m.reg(Reg::Rdi) & insn.address_mask, size)
}

/// RCX or ECX.
fn count<M: Machine>(m: &M, insn: &Insn) -> u64 {
    m.reg(Reg::Rcx) & insn.address_mask
}

/// Takes one from RCX or ECX and returns what is left.
fn count_down<M: Machine>(m: &mut M, insn: &Insn) -> u64 {
    let left = m.reg(Reg::Rcx).wrapping_sub(1) & insn.address_mask;
    m.set_reg(Reg::Rcx, left);
    left
}

/// Moves an index register on by one element, down when DF is set.
fn advance<M: Machine>(m: &mut M, insn: &Insn, reg: Reg, size: Size) {
    let step = if m.rflags() & DF == 0 { size.bytes() } else { 0_u64.wrapping_sub(size.bytes()) };
    let index = m.reg(reg).wrapping_add(step) & insn.address_mask;
    m.set_reg(reg, index);
}
