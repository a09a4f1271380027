//! x86 instruction execution over register and memory traits.
//!
//! For PV guests, whose kernel runs in ring 3 with page tables that it cannot write. Three entry
//! points, one for each fault that leads here:
//!
//! - [`privileged`]: `#GP` on an instruction that needs ring 0;
//! - [`ud_prefix`]: `#UD` on the forced-emulation prefix;
//! - [`memory`]: `#PF` on memory that the guest reaches only through the hypervisor.
//!
//! Each runs one instruction of 64-bit code, whole or not at all. The world is a [`Machine`],
//! a static generic; nothing here is called through a pointer and nothing is allocated.
//!
//! An instruction is fetched once, decoded (`decode`) into values that are executed without looking
//! at its bytes again, so a guest that rewrites its code meanwhile gains nothing. The tables cover
//! only what is executed; the general decoder `iced-x86` is the tests' second opinion on them.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod alu;
mod code;
mod decode;
mod fault;
mod hot;
mod machine;
mod memory;
mod operand;
mod privileged;
mod string;
#[cfg(test)]
mod tests;

pub use code::MAX_LENGTH;
pub use fault::{Exception, Fault, Outcome};
pub use machine::{Machine, Reg, Segment, Size};

/// How many iterations of REP INS or REP OUTS a call may run before it returns
/// [`Outcome::Retry`], with the registers as after those iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub u32);

/// Runs the instruction that raised `#GP`: port I/O, control, debug and model-specific registers,
/// CPUID, the time-stamp counter, HLT, CLI and STI, cache and TLB upkeep, and what UMIP forbids.
///
/// Permission to a port, and CLI and STI, are the machine's to check; HLT, MOV CRn and DRn, CLTS,
/// LMSW, RDMSR, WRMSR, INVD, WBINVD, INVLPG and XSETBV give `#GP(0)` outside
/// [`Machine::kernel_mode`]. In other than 64-bit code only CPUID, RDTSC and RDTSCP are known.
#[inline]
pub fn privileged<M: Machine>(m: &mut M, budget: Budget) -> Outcome {
    privileged::run(m, budget).into()
}

/// Runs the instruction that raised `#UD` if it is CPUID behind `0f 0b 78 65 6e`.
#[inline]
pub fn ud_prefix<M: Machine>(m: &mut M) -> Outcome {
    privileged::run_forced(m).into()
}

/// Runs the instruction that raised `#PF`, with every access to its memory operand done by the
/// machine: MOV, XCHG, CMPXCHG, CMPXCHG8B and 16B, XADD, the arithmetic and logic of opcodes 00 to
/// 3f and 80 to 83, TEST, INC, DEC, NOT, NEG, BT and its family, SETcc, CMOVcc, MOVZX, MOVSX, MOVNTI,
/// MOVBE, and one iteration of MOVS, STOS or LODS.
///
/// After one iteration of a repeated string instruction RIP stays until the count is used up, so
/// the guest runs the rest itself or comes back. The caller's memory functions decide what is
/// allowed; this does not look at privilege.
#[inline]
pub fn memory<M: Machine>(m: &mut M) -> Outcome {
    memory::run(m).into()
}
