//! Exceptions in guests' code: emulated, or handed to the guest's kernel.

use crate::bounce;
use crate::cpus;
use crate::emulation::Pv;
use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use emulate::{Budget, Outcome};
use machine::regs::GuestRegs;

/// REP INS/OUTS iterations in one go.
const STRING_BUDGET: u32 = 1024;
const PF_PRESENT: u64 = 1;
const PF_WRITE: u64 = 2;

/// A guest's code raised `regs.vector`.
pub fn exception(regs: &mut GuestRegs, cr2: u64) {
    let Some(v) = cpus::current() else { return };
    match regs.vector {
        14 => page_fault(&v, regs, cr2),
        13 => general_protection(&v, regs),
        6 => {
            let outcome = emulate::ud_prefix(&mut Pv::new(&v, regs));
            settle(&v, regs, outcome, 6, None);
        }
        7 => {
            machine::cpu::set_task_switched(false);
            if v.task_switched.swap(false, Relaxed) {
                bounce::exception(&v, regs, 7, None);
            }
        }
        1 => debug(&v, regs),
        GuestRegs::IRET_FAULT => bounce::failsafe(&v, regs),
        vector => {
            let error = matches!(vector, 10 | 11 | 12 | 17 | 21).then_some(regs.error_code);
            bounce::exception(&v, regs, (vector & 31) as u8, error);
        }
    }
}

/// Does what an emulated instruction came to.
fn settle(v: &Arc<Vcpu>, regs: &mut GuestRegs, outcome: Outcome, vector: u8, error: Option<u64>) {
    match outcome {
        Outcome::Done | Outcome::Retry => regs.vector = 0,
        Outcome::NotOurs => bounce::exception(v, regs, vector, error),
        Outcome::Inject(e) => match e.cr2 {
            Some(address) => {
                bounce::page_fault(v, regs, address, u64::from(e.error.unwrap_or(0)));
            }
            None => bounce::exception(v, regs, e.vector, e.error.map(u64::from)),
        },
    }
}

fn debug(v: &Arc<Vcpu>, regs: &mut GuestRegs) {
    let dr6 = machine::cpu::read_dr(6);
    machine::cpu::clear_dr6_status();
    if let Some(slot) = v.debug.lock().get_mut(6) {
        *slot |= dr6 & 0xf00f;
    }
    bounce::exception(v, regs, 1, None);
}

fn general_protection(v: &Arc<Vcpu>, regs: &mut GuestRegs) {
    let error = regs.error_code;
    // INT n through a gate that ring 3 may not use: the guest's own table decides.
    if error & 7 == 2 {
        let vector = (error >> 3 & 0xff) as u8;
        let trap = v.traps.lock().get(usize::from(vector)).copied().unwrap_or_default();
        let dpl = trap.flags & 3;
        // The guest's kernel counts as privilege 1 or better, its user mode as 3.
        if trap.address != 0 && (v.in_kernel() || dpl == 3) {
            regs.rip = regs.rip.wrapping_add(2);
            return bounce::exception(v, regs, vector, None);
        }
    } else if error == 0 {
        let outcome = emulate::privileged(&mut Pv::new(v, regs), Budget(STRING_BUDGET));
        return settle(v, regs, outcome, 13, Some(0));
    }
    bounce::exception(v, regs, 13, Some(error));
}

fn page_fault(v: &Arc<Vcpu>, regs: &mut GuestRegs, address: u64) {
    let error = regs.error_code;
    let write_to_present = error & (PF_PRESENT | PF_WRITE) == PF_PRESENT | PF_WRITE;
    if v.in_kernel()
        && write_to_present
        && let Some(table) = crate::mmu::emulated_table(v, address)
    {
        let mut machine = Pv::new(v, regs).with_table(address, table);
        let outcome = emulate::memory(&mut machine);
        if outcome != Outcome::NotOurs {
            return settle(v, regs, outcome, 14, None);
        }
    }
    if error & PF_PRESENT == 0 && crate::descriptor::fault(v, address) {
        regs.vector = 0;
        return;
    }
    bounce::page_fault(v, regs, address, error);
}

/// Delivers a pending NMI, if the kernel has a handler and is not in one; says whether it did.
#[inline(never)]
pub fn nmi(v: &Arc<Vcpu>, regs: &mut GuestRegs) -> bool {
    let has_handler = v.traps.lock().get(2).is_some_and(|t| t.address != 0);
    if !has_handler || v.events_masked() || !v.nmi_pending.swap(false, Relaxed) {
        return false;
    }
    bounce::exception(v, regs, 2, None);
    true
}
