//! What is done on ways in and out, and in registers, about a CPU's speculation flaws.
//!
//! What is to be done is chosen elsewhere, from what the CPU says of itself; here it is put in
//! place. A register that the CPU turns out not to have is left alone, and what needs it is not done.

use crate::cpu::{msr, rdmsr, wrmsr, wrmsr_safe};
use crate::patch;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// EFER's bit for automatic IBRS.
const EFER_AUTO_IBRS: u64 = 1 << 21;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mitigations {
    /// SPEC_CTRL's value while the hypervisor runs; 0 where the register is left alone.
    pub spec_ctrl: u64,
    /// SPEC_CTRL is 0 while guests run.
    pub spec_ctrl_switched: bool,
    /// EFER's bit for automatic IBRS is set.
    pub auto_ibrs: bool,
    /// A prediction barrier on every entry from a guest.
    pub ibpb_entry: bool,
    /// A prediction barrier when another domain's vCPU is loaded.
    pub ibpb_switch: bool,
    /// VERW on every exit to a guest.
    pub verw: bool,
}

/// SPEC_CTRL's value, for entries and for CPUs that come later. Below 2^32.
static SPEC_CTRL: AtomicU64 = AtomicU64::new(0);
static AUTO_IBRS: AtomicBool = AtomicBool::new(false);
static IBPB_SWITCH: AtomicBool = AtomicBool::new(false);

/// VERW's operand: any writable data selector.
static VERW_SELECTOR: u16 = 0xe010;

/// Puts it in place. Once, on the first CPU, before others run and before the first guest does.
/// Returns what of it the CPU can do; nothing when the image has no room for it.
pub fn apply(mut m: Mitigations) -> Mitigations {
    if !patch::has_room() {
        return Mitigations::default();
    }
    // SAFETY: the bits of this register affect prediction only.
    if m.spec_ctrl != 0 && !unsafe { wrmsr_safe(msr::SPEC_CTRL, m.spec_ctrl) } {
        (m.spec_ctrl, m.spec_ctrl_switched) = (0, false);
    }
    // SAFETY: a command register; it forgets predictions.
    if (m.ibpb_entry || m.ibpb_switch) && !unsafe { wrmsr_safe(msr::PRED_CMD, 1) } {
        (m.ibpb_entry, m.ibpb_switch) = (false, false);
    }
    SPEC_CTRL.store(m.spec_ctrl, Relaxed);
    AUTO_IBRS.store(m.auto_ibrs, Relaxed);
    IBPB_SWITCH.store(m.ibpb_switch, Relaxed);
    let entry: Option<unsafe extern "C" fn()> = match (m.spec_ctrl_switched, m.ibpb_entry) {
        (true, true) => Some(entry_both),
        (true, false) => Some(entry_ibrs),
        (false, true) => Some(entry_ibpb),
        (false, false) => None,
    };
    let exit: Option<unsafe extern "C" fn()> = match (m.spec_ctrl_switched, m.verw) {
        (true, true) => Some(exit_both),
        (true, false) => Some(exit_ibrs),
        (false, true) => Some(exit_verw),
        (false, false) => None,
    };
    if let Some(routine) = entry {
        patch::call_everywhere(patch::ENTRY, routine);
    }
    if let Some(routine) = exit {
        patch::call_everywhere(patch::EXIT, routine);
    }
    init_cpu();
    m
}

/// Sets this CPU's registers as [`apply`] decided.
pub fn init_cpu() {
    let value = SPEC_CTRL.load(Relaxed);
    if value != 0 {
        // SAFETY: the bits affect prediction only; the first CPU has the register.
        unsafe { wrmsr(msr::SPEC_CTRL, value) };
    }
    if AUTO_IBRS.load(Relaxed) {
        // SAFETY: CPUID announces the bit, which affects prediction only.
        unsafe { wrmsr(msr::EFER, rdmsr(msr::EFER) | EFER_AUTO_IBRS) };
    }
}

/// Another domain's vCPU is about to run on this CPU: what the last one taught the predictors is
/// forgotten, where that is called for.
#[inline]
pub fn between_domains() {
    if IBPB_SWITCH.load(Relaxed) {
        // SAFETY: a command register; `apply` saw that the CPU has it.
        unsafe { wrmsr(msr::PRED_CMD, 1) };
    }
}

// The routines that ways in and out call. They keep all registers but the flags.

#[unsafe(naked)]
unsafe extern "C" fn entry_ibrs() {
    naked_asm!(
        "pushq %rax", "pushq %rcx", "pushq %rdx",
        "movl ${spec_ctrl}, %ecx", "movl {value}(%rip), %eax", "xorl %edx, %edx", "wrmsr",
        "popq %rdx", "popq %rcx", "popq %rax",
        "ret", "int3",
        spec_ctrl = const msr::SPEC_CTRL, value = sym SPEC_CTRL,
        options(att_syntax)
    )
}

#[unsafe(naked)]
unsafe extern "C" fn entry_ibpb() {
    naked_asm!(
        "pushq %rax", "pushq %rcx", "pushq %rdx",
        "movl ${pred_cmd}, %ecx", "movl $1, %eax", "xorl %edx, %edx", "wrmsr",
        "popq %rdx", "popq %rcx", "popq %rax",
        "ret", "int3",
        pred_cmd = const msr::PRED_CMD,
        options(att_syntax)
    )
}

#[unsafe(naked)]
unsafe extern "C" fn entry_both() {
    naked_asm!(
        "pushq %rax", "pushq %rcx", "pushq %rdx",
        "movl ${spec_ctrl}, %ecx", "movl {value}(%rip), %eax", "xorl %edx, %edx", "wrmsr",
        "movl ${pred_cmd}, %ecx", "movl $1, %eax", "wrmsr",
        "popq %rdx", "popq %rcx", "popq %rax",
        "ret", "int3",
        spec_ctrl = const msr::SPEC_CTRL, value = sym SPEC_CTRL, pred_cmd = const msr::PRED_CMD,
        options(att_syntax)
    )
}

#[unsafe(naked)]
unsafe extern "C" fn exit_verw() {
    naked_asm!("verw {sel}(%rip)", "ret", "int3", sel = sym VERW_SELECTOR, options(att_syntax))
}

#[unsafe(naked)]
unsafe extern "C" fn exit_ibrs() {
    naked_asm!(
        "pushq %rax", "pushq %rcx", "pushq %rdx",
        "movl ${spec_ctrl}, %ecx", "xorl %eax, %eax", "xorl %edx, %edx", "wrmsr",
        "popq %rdx", "popq %rcx", "popq %rax",
        "ret", "int3",
        spec_ctrl = const msr::SPEC_CTRL,
        options(att_syntax)
    )
}

#[unsafe(naked)]
unsafe extern "C" fn exit_both() {
    naked_asm!(
        "pushq %rax", "pushq %rcx", "pushq %rdx",
        "movl ${spec_ctrl}, %ecx", "xorl %eax, %eax", "xorl %edx, %edx", "wrmsr",
        "popq %rdx", "popq %rcx", "popq %rax",
        "verw {sel}(%rip)",
        "ret", "int3",
        spec_ctrl = const msr::SPEC_CTRL, sel = sym VERW_SELECTOR,
        options(att_syntax)
    )
}
