//! Instructions that fault because a PV guest's kernel runs in ring 3 (`#GP`), and those behind the
//! forced-emulation prefix (`#UD`).

use crate::{
    Budget,
    alu::Flags,
    code::Code,
    decode::{Insn, Repeat, decode, is_canonical},
    fault::Fault,
    hot,
    machine::{Machine, Reg, Size},
    operand::{edx_eax, finish, get, low_half, low_u16, low_u32, set, set_edx_eax, set_reg},
    string,
};

/// The prefix `ud2; .ascii "xen"` that asks for the next instruction to be emulated (Xen's public
/// header `arch-x86/xen.h`, `XEN_EMULATE_PREFIX`).
const FORCED: [u8; 5] = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
/// CPUID.
const CPUID: [u8; 2] = [0x0f, 0xa2];
/// RDTSC.
const RDTSC: [u8; 2] = [0x0f, 0x31];
/// RDTSCP.
const RDTSCP: [u8; 3] = [0x0f, 0x01, 0xf9];

/// What SGDT stores under UMIP: an address that no guest has anything at. LDTR, TR and the limits
/// read as 0.
const GDT_BASE: u64 = 0xffff_ffff_fffe_0000;
/// What SIDT stores under UMIP.
const IDT_BASE: u64 = 0xffff_ffff_ffff_0000;

/// CR0.TS.
const CR0_TS: u64 = 1 << 3;
/// The bits of CR0 that LMSW writes.
const CR0_LMSW: u64 = 0xf;
/// CR0.PE, which LMSW can set but not clear.
const CR0_PE: u64 = 1;

/// Runs the instruction at RIP.
#[inline]
pub fn run<M: Machine>(m: &mut M, budget: Budget) -> Result<(), Fault> {
    if !m.code_is_64() {
        return compatibility(m);
    }
    let code = Code::fetch(m)?;
    match hot::of_privileged(m, &code) {
        Some(result) => result,
        None => general(m, code, budget),
    }
}

/// Decodes and runs any instruction of the set.
#[inline(never)]
pub fn general<M: Machine>(m: &mut M, code: Code, budget: Budget) -> Result<(), Fault> {
    let insn = decode(m, code)?;
    if insn.lock {
        return Err(Fault::Unhandled);
    }
    match insn.opcode {
        0x6c..=0x6f => return string::port_string(m, &insn, budget),
        0xe4..=0xe7 | 0xec..=0xef => decoded_port(m, &insn)?,
        0xfa | 0xfb => m.set_interrupts(insn.opcode == 0xfb)?,
        0x100 | 0x101 => descriptor_group(m, &insn)?,
        0x131 => rdtsc(m)?,
        0x133 => {
            let value = m.rdpmc(low_half(m, Reg::Rcx))?;
            set_edx_eax(m, value);
        }
        0x1a2 => cpuid(m)?,
        _ => kernel_only(m, &insn)?,
    }
    finish(m, &insn, Flags::NONE);
    Ok(())
}

/// Instructions that even the virtual kernel mode is needed for.
#[inline]
fn kernel_only<M: Machine>(m: &mut M, insn: &Insn) -> Result<(), Fault> {
    if !matches!(insn.opcode, 0xf4 | 0x106 | 0x108 | 0x109 | 0x120..=0x123 | 0x130 | 0x132) {
        return Err(Fault::Unhandled);
    }
    require_kernel(m)?;
    match insn.opcode {
        0x130 => wrmsr(m),
        0x132 => rdmsr(m),
        0x120 | 0x122 => control_register(m, insn),
        0x121 | 0x123 => debug_register(m, insn),
        0x106 => {
            let cr0 = m.read_cr(0)?;
            m.write_cr(0, cr0 & !CR0_TS)
        }
        0x108 | 0x109 => m.wbinvd(),
        _ => m.hlt(),
    }
}

#[inline]
fn require_kernel<M: Machine>(m: &M) -> Result<(), Fault> {
    if m.kernel_mode() { Ok(()) } else { Err(Fault::GP) }
}

/// WRMSR's effect.
#[inline]
pub fn wrmsr<M: Machine>(m: &mut M) -> Result<(), Fault> {
    require_kernel(m)?;
    m.wrmsr(low_half(m, Reg::Rcx), edx_eax(m))
}

/// RDMSR's effect.
#[inline]
pub fn rdmsr<M: Machine>(m: &mut M) -> Result<(), Fault> {
    require_kernel(m)?;
    let value = m.rdmsr(low_half(m, Reg::Rcx))?;
    set_edx_eax(m, value);
    Ok(())
}

/// IN and OUT, with prefixes or an immediate port.
fn decoded_port<M: Machine>(m: &mut M, insn: &Insn) -> Result<(), Fault> {
    // There is no 64-bit form: REX.W only undoes 66.
    let size = match insn.size() {
        Size::Qword => Size::Dword,
        size => size,
    };
    let number = if insn.opcode < 0xe8 { insn.imm & 0xff } else { m.reg(Reg::Rdx) };
    port(m, insn.opcode & 2 != 0, low_u16(number), size)
}

/// The effect of IN, or with `out` of OUT; at most 32 bits.
#[inline]
pub fn port<M: Machine>(m: &mut M, out: bool, number: u16, size: Size) -> Result<(), Fault> {
    if out {
        let value = low_u32(m.reg(Reg::Rax) & size.mask());
        return m.port_out(number, size, value);
    }
    let value = m.port_in(number, size)?;
    set_reg(m, Reg::Rax, size, u64::from(value));
    Ok(())
}

/// MOV to and from CRn.
fn control_register<M: Machine>(m: &mut M, insn: &Insn) -> Result<(), Fault> {
    let cr = insn.reg_number();
    if !matches!(cr, 0 | 2 | 3 | 4 | 8) {
        return Err(Fault::UD);
    }
    let register = Reg::from_low_bits(insn.rm_number());
    if insn.opcode == 0x122 {
        let value = m.reg(register);
        return m.write_cr(cr, value);
    }
    let value = m.read_cr(cr)?;
    m.set_reg(register, value);
    Ok(())
}

/// MOV to and from DRn.
fn debug_register<M: Machine>(m: &mut M, insn: &Insn) -> Result<(), Fault> {
    let dr = insn.reg_number();
    if dr > 7 {
        return Err(Fault::UD);
    }
    let register = Reg::from_low_bits(insn.rm_number());
    if insn.opcode == 0x123 {
        let value = m.reg(register);
        return m.write_dr(dr, value);
    }
    let value = m.read_dr(dr)?;
    m.set_reg(register, value);
    Ok(())
}

/// Opcodes 0f 00 and 0f 01, whatever of them is emulated.
fn descriptor_group<M: Machine>(m: &mut M, insn: &Insn) -> Result<(), Fault> {
    match (insn.opcode, insn.reg_field(), insn.is_memory()) {
        (0x100, 0 | 1, _) => store_selector(m, insn, 0),
        (0x101, 4, _) => {
            let cr0 = m.read_cr(0)?;
            store_selector(m, insn, cr0)
        }
        (0x101, 6, _) => load_status_word(m, insn),
        (0x101, 0, true) => store_table(m, insn, GDT_BASE),
        (0x101, 1, true) => store_table(m, insn, IDT_BASE),
        (0x101, 7, true) => {
            require_kernel(m)?;
            // For a non-canonical address it does nothing.
            let addr = insn.unchecked_address(0);
            if is_canonical(addr) { m.invlpg(addr) } else { Ok(()) }
        }
        (0x101, 7, false) if insn.modrm == 0xf9 => rdtscp(m),
        (0x101, 2, false) if insn.modrm == 0xd1 => {
            if insn.repeat != Repeat::None || insn.operand16 {
                return Err(Fault::UD);
            }
            require_kernel(m)?;
            m.xsetbv(low_half(m, Reg::Rcx), edx_eax(m))
        }
        _ => Err(Fault::Unhandled),
    }
}

/// SLDT, STR, SMSW: 16 bits to memory, the operand size to a register.
fn store_selector<M: Machine>(m: &mut M, insn: &Insn, value: u64) -> Result<(), Fault> {
    if insn.is_memory() {
        return m.write(insn.address(Size::Word)?, Size::Word, value & 0xffff);
    }
    set(m, insn, insn.rm_number(), insn.full_size(), value);
    Ok(())
}

/// SGDT and SIDT: a limit of 0 and the base, or nothing at all.
fn store_table<M: Machine>(m: &mut M, insn: &Insn, base: u64) -> Result<(), Fault> {
    let limit_addr = insn.address(Size::Word)?;
    let base_addr = insn.address_plus(2, Size::Qword)?;
    m.probe_write(limit_addr, Size::Word)?;
    m.probe_write(base_addr, Size::Qword)?;
    m.write(limit_addr, Size::Word, 0)?;
    m.write(base_addr, Size::Qword, base)
}

/// LMSW.
fn load_status_word<M: Machine>(m: &mut M, insn: &Insn) -> Result<(), Fault> {
    require_kernel(m)?;
    let word = if insn.is_memory() {
        m.read(insn.address(Size::Word)?, Size::Word)?
    } else {
        get(m, insn, insn.rm_number(), Size::Word)
    };
    let cr0 = m.read_cr(0)?;
    m.write_cr(0, cr0 & !(CR0_LMSW & !CR0_PE) | word & CR0_LMSW)
}

/// CPUID's effect.
#[inline]
pub fn cpuid<M: Machine>(m: &mut M) -> Result<(), Fault> {
    let [eax, ebx, ecx, edx] = m.cpuid(low_half(m, Reg::Rax), low_half(m, Reg::Rcx))?;
    m.set_reg(Reg::Rax, u64::from(eax));
    m.set_reg(Reg::Rbx, u64::from(ebx));
    m.set_reg(Reg::Rcx, u64::from(ecx));
    m.set_reg(Reg::Rdx, u64::from(edx));
    Ok(())
}

/// RDTSC's effect.
#[inline]
fn rdtsc<M: Machine>(m: &mut M) -> Result<(), Fault> {
    let value = m.rdtsc()?;
    set_edx_eax(m, value);
    Ok(())
}

/// RDTSCP's effect.
fn rdtscp<M: Machine>(m: &mut M) -> Result<(), Fault> {
    let aux = m.tsc_aux()?;
    rdtsc(m)?;
    m.set_reg(Reg::Rcx, u64::from(aux));
    Ok(())
}

/// In 32-bit user code only what a user may do and what is the same bytes there: CPUID (when it
/// faults), RDTSC and RDTSCP.
#[cold]
fn compatibility<M: Machine>(m: &mut M) -> Result<(), Fault> {
    let mut code = Code::fetch(m)?;
    let first = [code.byte(), code.byte()];
    if code.exhausted() {
        return Err(Fault::Unhandled);
    }
    match first {
        CPUID => cpuid(m)?,
        RDTSC => rdtsc(m)?,
        _ => {
            let [a, b] = first;
            if [a, b, code.byte()] != RDTSCP || code.exhausted() {
                return Err(Fault::Unhandled);
            }
            rdtscp(m)?;
        }
    }
    skip(m, code.position())
}

/// Runs what is behind the forced-emulation prefix: CPUID, from any mode and any code segment.
pub fn run_forced<M: Machine>(m: &mut M) -> Result<(), Fault> {
    let mut code = Code::fetch(m)?;
    let forced = FORCED.iter().all(|&byte| code.byte() == byte);
    if !forced || code.exhausted() {
        return Err(Fault::Unhandled);
    }
    let found = [code.byte(), code.byte()];
    if code.exhausted() {
        // The prefix was there, so what follows is meant to be fetched.
        return Err(code.ran_out(m));
    }
    if found != CPUID {
        return Err(Fault::Unhandled);
    }
    if !is_canonical(m.rip().wrapping_add(code.position())) {
        return Err(Fault::GP);
    }
    cpuid(m)?;
    skip(m, code.position())
}

/// Goes on `length` bytes, in whatever code segment.
fn skip<M: Machine>(m: &mut M, length: u64) -> Result<(), Fault> {
    let mut rip = m.rip().wrapping_add(length);
    if !m.code_is_64() {
        rip &= Size::Dword.mask();
    }
    let before = m.rflags();
    m.set_rflags(before & !crate::alu::RF);
    m.set_rip(rip);
    Ok(())
}
