//! Entering a guest's kernel: events, exceptions, system calls, and the return from them.
//!
//! The frame on the kernel's stack, low address first: rcx, r11, \[error code,\] rip, cs, rflags,
//! rsp, ss; a failsafe entry has ds, es, fs, gs between r11 and rip. cs carries the event mask as it
//! was in bits 32 to 39, and its privilege bits are clear when the kernel itself was interrupted,
//! by which Linux tells one from the other.

use crate::vcpu::Vcpu;
use abi::pv::{IretContext, VGCF_IN_SYSCALL};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use machine::desc::{FLAT_CS64, FLAT_USER_SS};
use machine::guest;
use machine::hot::guest_code;
use machine::regs::{GuestRegs, rflags};

/// How a kernel is entered.
struct Entry {
    /// Where.
    address: u64,
    /// Whether events are masked from there on.
    mask: bool,
    /// What lies between r11 and rip.
    extra: Extra,
}

/// What lies between r11 and rip of a frame.
enum Extra {
    Nothing,
    /// An error code.
    Error(u64),
    /// ds, es, fs, gs.
    Selectors([u64; 4]),
}

/// Puts words below the stack pointer; says where they lie then.
#[inline]
fn push<const N: usize>(sp: u64, words: &[u64; N]) -> Result<u64, guest::BadAddress> {
    let to = (sp & !15).wrapping_sub(size_of::<[u64; N]>() as u64);
    guest::write(to, words).map(|()| to)
}

/// Enters the kernel. A kernel whose stack cannot take the frame has crashed.
fn enter(v: &Arc<Vcpu>, regs: &mut GuestRegs, entry: &Entry) {
    if entry.address == 0 || !guest_code(entry.address) {
        return v.domain.crash(
            v.id,
            regs,
            format_args!(
                "no handler for vector {} at {:#x} (error {:#x})",
                regs.vector, regs.rip, regs.error_code
            ),
        );
    }
    let from_kernel = v.in_kernel();
    let sp = if from_kernel {
        regs.rsp
    } else {
        machine::paging::toggle_mode(v.hot);
        v.hot.kernel_sp()
    };
    let masked = v.events_masked();
    let cs = if from_kernel { regs.cs & !3 } else { regs.cs };
    let flags = if masked { regs.rflags & !rflags::IF } else { regs.rflags | rflags::IF };
    let iopl = u64::from(v.iopl.load(Relaxed)) << 12;
    let (rcx, r11, rip, rsp, ss) = (regs.rcx, regs.r11, regs.rip, regs.rsp, regs.ss);
    let cs = cs & 0xffff | u64::from(masked) << 32;
    let flags = flags & !rflags::IOPL | if v.architectural_iopl() { iopl } else { 0 };
    let pushed = match entry.extra {
        Extra::Nothing => push(sp, &[rcx, r11, rip, cs, flags, rsp, ss]),
        Extra::Error(code) => push(sp, &[rcx, r11, code, rip, cs, flags, rsp, ss]),
        Extra::Selectors([ds, es, fs, gs]) => {
            push(sp, &[rcx, r11, ds, es, fs, gs, rip, cs, flags, rsp, ss])
        }
    };
    let Ok(to) = pushed else {
        return v.domain.crash(
            v.id,
            regs,
            format_args!(
                "the kernel's stack at {sp:#x} cannot take a frame (vector {}, rip {:#x})",
                regs.vector, regs.rip
            ),
        );
    };
    if entry.mask {
        v.mask_events(true);
    }
    regs.rip = entry.address;
    regs.cs = u64::from(FLAT_CS64);
    regs.ss = u64::from(FLAT_USER_SS);
    regs.rsp = to;
    regs.rflags = regs.rflags & !rflags::CLEARED_ON_ENTRY | rflags::IF;
    // The handler takes rcx and r11 from the frame: SYSRET may clobber them.
    regs.vector = GuestRegs::SYSCALL;
}

/// Tells the kernel of pending events.
pub fn event(v: &Arc<Vcpu>, regs: &mut GuestRegs) {
    let address = v.event_callback.load(Relaxed);
    enter(v, regs, &Entry { address, mask: true, extra: Extra::Nothing });
}

/// Bounces a system call of user mode to the kernel.
pub fn syscall(v: &Arc<Vcpu>, regs: &mut GuestRegs) {
    regs.rcx = regs.rip;
    regs.r11 = regs.rflags;
    let entry = Entry {
        address: v.hot.syscall_entry(),
        mask: v.hot.syscall_masks(),
        extra: Extra::Nothing,
    };
    // The short path may have changed to kernel mode already.
    if v.in_kernel() {
        machine::paging::toggle_mode(v.hot);
    }
    enter(v, regs, &entry);
}

/// Raises an exception in the guest.
pub fn exception(v: &Arc<Vcpu>, regs: &mut GuestRegs, vector: u8, error: Option<u64>) {
    let trap = v.traps.lock().get(usize::from(vector)).copied().unwrap_or_default();
    regs.vector = u64::from(vector);
    regs.error_code = error.unwrap_or(0);
    let entry = Entry {
        address: trap.address,
        mask: trap.flags & 4 != 0,
        extra: error.map_or(Extra::Nothing, Extra::Error),
    };
    enter(v, regs, &entry);
}

/// Raises a page fault.
pub fn page_fault(v: &Arc<Vcpu>, regs: &mut GuestRegs, address: u64, error: u64) {
    if let Some(w) = v.hot.vcpu_info().get(2) {
        w.store(address, Relaxed);
    }
    // The guest's kernel runs in ring 3, but does not think so.
    let error = if v.in_kernel() { error & !4 } else { error | 4 };
    exception(v, regs, 14, Some(error));
}

/// The guest could not be entered with the registers that it asked for.
pub fn failsafe(v: &Arc<Vcpu>, regs: &mut GuestRegs) {
    let s = machine::fpu::save_segments();
    let selectors = [s.ds, s.es, s.fs, s.gs].map(u64::from);
    let entry = Entry {
        address: v.failsafe_callback.load(Relaxed),
        mask: v.failsafe_masks.load(Relaxed),
        extra: Extra::Selectors(selectors),
    };
    enter(v, regs, &entry);
}

/// `iret` (hypercall 23), for the cases that the entry code's short path leaves.
pub fn iret(v: &Arc<Vcpu>, regs: &mut GuestRegs) {
    let Ok(frame) = guest::read::<IretContext>(regs.rsp) else {
        return v.domain.crash(
            v.id,
            regs,
            format_args!("iret with a bad stack at {:#x}", regs.rsp),
        );
    };
    if frame.cs & 3 == 3 {
        if v.hot.cr3_user() == 0 {
            return v.domain.crash(
                v.id,
                regs,
                format_args!("iret to user mode without user page tables"),
            );
        }
        machine::paging::toggle_mode(v.hot);
    }
    regs.rip = frame.rip;
    regs.cs = frame.cs & 0xffff | 3;
    regs.rflags = frame.rflags & !(rflags::IOPL | rflags::VM) | rflags::IF;
    regs.rsp = frame.rsp;
    regs.ss = frame.ss & 0xffff | 3;
    regs.rax = frame.rax;
    if frame.flags & VGCF_IN_SYSCALL == 0 || regs.cs == u64::from(machine::desc::FLAT_USER_CS32) {
        regs.vector = 0;
        regs.r11 = frame.r11;
        regs.rcx = frame.rcx;
    } else {
        regs.vector = GuestRegs::SYSCALL;
    }
    v.mask_events(frame.rflags & rflags::IF == 0);
}
