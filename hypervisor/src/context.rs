//! A vCPU's whole state as the ABI's `vcpu_guest_context`.

use crate::frames::pages;
use crate::hypercall::Stop;
use crate::util::{index, low16, low32};
use crate::vcpu::{Trap, Vcpu};
use abi::pv::{
    TrapInfo, VGCF_FAILSAFE_DISABLES_EVENTS, VGCF_I387_VALID, VGCF_IN_KERNEL, VGCF_ONLINE,
    VGCF_SYSCALL_DISABLES_EVENTS, VcpuGuestContext,
};
use abi::{Errno, Mfn};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use machine::fpu::{Segments, is_canonical};
use machine::hot::{guest_code, guest_range};
use machine::regs::rflags;
use pages::{Budget, Kind, Level, Stop as PageStop};

/// CR0 as a guest has it: paging, write protection, numeric errors, protected mode.
const CR0: u64 = 0x8005_003b & !CR0_TS;
/// CR0.TS.
const CR0_TS: u64 = 8;

/// Sets the state of a vCPU that has not been set before.
pub fn set(v: &Arc<Vcpu>, c: &VcpuGuestContext) -> Result<(), Stop> {
    if v.initialised.load(Acquire) {
        return Err(Errno::EEXIST.into());
    }
    check(c)?;
    let mut budget = Budget::new(1 << 20);
    let l4 = Mfn(c.ctrlreg[3] >> 12);
    let kind = Kind::table(Level::L4);
    let stop = |s: PageStop| match s {
        PageStop::Again => Stop::Again,
        PageStop::Refused(r) => Stop::Error(r.errno()),
    };
    let kernel = pages().get_typed(l4, v.domain.id, kind, &mut budget).map_err(stop)?;
    let user_mfn = Mfn(c.ctrlreg[1] >> 12);
    let user = if c.ctrlreg[1] == 0 {
        Ok(None)
    } else {
        pages().get_typed(user_mfn, v.domain.id, kind, &mut budget).map(Some)
    };
    let user = match user {
        Ok(u) => u,
        Err(s) => {
            crate::mmu::put_base(v, Some(kernel), &mut budget);
            return Err(stop(s));
        }
    };
    let count = index(c.gdt_ents.div_ceil(512).min(14));
    let gdt = c.gdt_frames.get(..count).unwrap_or(&[]);
    if let Err(e) = crate::descriptor::install_gdt(v, gdt, low32(c.gdt_ents)) {
        crate::mmu::put_base(v, Some(kernel), &mut budget);
        crate::mmu::put_base(v, user, &mut budget);
        return Err(e);
    }
    let old = {
        let mut b = v.base.lock();
        let old = (b.kernel.replace(kernel), core::mem::replace(&mut b.user, user));
        v.hot.set_cr3_kernel(l4.0 << 12);
        v.hot.set_cr3_user(if c.ctrlreg[1] == 0 { 0 } else { user_mfn.0 << 12 });
        old
    };
    crate::mmu::put_base(v, old.0, &mut budget);
    crate::mmu::put_base(v, old.1, &mut budget);
    {
        let mut d = v.descriptors.lock();
        (d.ldt_base, d.ldt_entries) = (c.ldt_base, (c.ldt_ents & 0xffff) as u32);
    }
    registers(v, c);
    if v.id.0 == 0 {
        v.domain.assists.store(c.vm_assist & crate::hypercall::misc::KNOWN_ASSISTS, Relaxed);
    }
    v.initialised.store(true, Release);
    Ok(())
}

/// Changes the registers of a vCPU that has its tables already, which must stay what they are.
pub fn change(v: &Arc<Vcpu>, c: &VcpuGuestContext) -> Result<(), Stop> {
    check(c)?;
    let same_tables =
        v.hot.cr3_kernel() == c.ctrlreg[3] && v.hot.cr3_user() & !0xfff == c.ctrlreg[1] & !0xfff;
    let same_descriptors = {
        let d = v.descriptors.lock();
        let gdt = d.gdt.iter().zip(c.gdt_frames);
        let mut gdt = gdt.take((c.gdt_ents.div_ceil(512) & 0xff) as usize);
        u64::from(d.gdt_entries) == c.gdt_ents
            && gdt.all(|(have, asked)| have.as_ref().is_some_and(|h| h.mfn().0 == asked))
            && d.ldt_base == c.ldt_base
            && u64::from(d.ldt_entries) == c.ldt_ents
    };
    if !same_tables || !same_descriptors {
        return Err(Errno::EOPNOTSUPP.into());
    }
    registers(v, c);
    Ok(())
}

/// Reads the state of a vCPU that does not run, into a context that is all zeroes.
pub fn get(v: &Vcpu, c: &mut VcpuGuestContext) {
    let in_kernel = v.hot.in_kernel();
    let flag = |on: bool, flag: u64| if on { flag } else { 0 };
    c.flags = VGCF_I387_VALID
        | flag(in_kernel, VGCF_IN_KERNEL)
        | flag(v.online.load(Acquire), VGCF_ONLINE)
        | flag(v.failsafe_masks.load(Relaxed), VGCF_FAILSAFE_DISABLES_EVENTS)
        | flag(v.hot.syscall_masks(), VGCF_SYSCALL_DISABLES_EVENTS);
    saved(v, in_kernel, c);
    for ((vector, slot), t) in (0u8..=255).zip(&mut c.trap_ctxt).zip(v.traps.lock().iter()) {
        *slot = TrapInfo { vector, flags: t.flags, cs: t.cs, address: t.address, ..*slot };
    }
    {
        let d = v.descriptors.lock();
        (c.ldt_base, c.ldt_ents) = (d.ldt_base, u64::from(d.ldt_entries));
        for (slot, page) in c.gdt_frames.iter_mut().zip(&d.gdt) {
            *slot = page.as_ref().map_or(0, |p| p.mfn().0);
        }
        c.gdt_ents = u64::from(d.gdt_entries);
    }
    c.kernel_ss = u64::from(v.kernel_ss.load(Relaxed));
    c.kernel_sp = v.hot.kernel_sp();
    c.ctrlreg[0] = CR0 | flag(v.task_switched.load(Relaxed), CR0_TS);
    c.ctrlreg[1] = v.hot.cr3_user();
    c.ctrlreg[3] = v.hot.cr3_kernel();
    c.ctrlreg[4] = v.cr4.load(Relaxed);
    c.debugreg = *v.debug.lock();
    c.event_callback_eip = v.event_callback.load(Relaxed);
    c.failsafe_callback_eip = v.failsafe_callback.load(Relaxed);
    c.syscall_callback_eip = v.hot.syscall_entry();
    c.vm_assist = v.domain.assists.load(Relaxed);
}

/// What is saved while the vCPU does not run.
fn saved(v: &Vcpu, in_kernel: bool, c: &mut VcpuGuestContext) {
    let s = v.saved.lock();
    let (r, u) = (&s.regs, &mut c.user_regs);
    (u.r15, u.r14, u.r13, u.r12) = (r.r15, r.r14, r.r13, r.r12);
    (u.rbp, u.rbx, u.r11, u.r10) = (r.rbp, r.rbx, r.r11, r.r10);
    (u.r9, u.r8, u.rax, u.rcx) = (r.r9, r.r8, r.rax, r.rcx);
    (u.rdx, u.rsi, u.rdi, u.rip) = (r.rdx, r.rsi, r.rdi, r.rip);
    u.rsp = r.rsp;
    (u.cs, u.ss) = ((r.cs & 0xffff) as u16, (r.ss & 0xffff) as u16);
    u.rflags = r.rflags & !rflags::IOPL | u64::from(v.iopl.load(Relaxed)) << 12;
    u.saved_upcall_mask = u8::from(v.events_masked());
    let g = &s.segments;
    (u.ds, u.es, u.fs, u.gs) = (g.ds, g.es, g.fs, g.gs);
    c.fs_base = g.fs_base;
    (c.gs_base_kernel, c.gs_base_user) =
        if in_kernel { (g.gs_base, g.gs_base_other) } else { (g.gs_base_other, g.gs_base) };
    for (to, from) in c.fpu_ctxt.iter_mut().zip(s.fpu.bytes()) {
        *to = *from;
    }
}

fn check(c: &VcpuGuestContext) -> Result<(), Errno> {
    let code = |a: u64| a == 0 || guest_code(a);
    let callbacks = [c.event_callback_eip, c.failsafe_callback_eip, c.syscall_callback_eip];
    let ok = callbacks.iter().all(|&a| code(a))
        && guest_code(c.user_regs.rip)
        && c.trap_ctxt.iter().all(|t| code(t.address))
        && c.gdt_ents <= 7168
        && c.ldt_ents <= 8192
        && [c.fs_base, c.gs_base_kernel, c.gs_base_user].iter().all(|&b| is_canonical(b))
        && c.ctrlreg[3] & 0xfff == 0
        && c.ldt_base & 0xfff == 0
        && guest_range(c.ldt_base, c.ldt_ents.saturating_mul(8));
    if ok { Ok(()) } else { Err(Errno::EINVAL) }
}

fn registers(v: &Arc<Vcpu>, c: &VcpuGuestContext) {
    let u = &c.user_regs;
    let in_kernel = c.flags & VGCF_IN_KERNEL != 0;
    v.hot.set_kernel_mode(in_kernel);
    {
        let mut s = v.saved.lock();
        let r = &mut s.regs;
        (r.r15, r.r14, r.r13, r.r12) = (u.r15, u.r14, u.r13, u.r12);
        (r.rbp, r.rbx, r.r11, r.r10) = (u.rbp, u.rbx, u.r11, u.r10);
        (r.r9, r.r8, r.rax, r.rcx) = (u.r9, u.r8, u.rax, u.rcx);
        (r.rdx, r.rsi, r.rdi, r.rip) = (u.rdx, u.rsi, u.rdi, u.rip);
        r.vector = 0;
        r.cs = u64::from(u.cs | 3);
        r.ss = u64::from(u.ss | 3);
        r.rsp = u.rsp;
        r.rflags = u.rflags & !(rflags::IOPL | rflags::VM) | rflags::IF;
        let (here, other) = if in_kernel {
            (c.gs_base_kernel, c.gs_base_user)
        } else {
            (c.gs_base_user, c.gs_base_kernel)
        };
        s.segments = Segments {
            ds: u.ds,
            es: u.es,
            fs: u.fs,
            gs: u.gs,
            fs_base: c.fs_base,
            gs_base: here,
            gs_base_other: other,
        };
        if c.flags & VGCF_I387_VALID != 0 {
            s.fpu.set_legacy(&c.fpu_ctxt);
        }
    }
    {
        let mut traps = v.traps.lock();
        for (slot, t) in traps.iter_mut().zip(&c.trap_ctxt) {
            *slot = Trap { address: t.address, cs: t.cs, flags: t.flags };
        }
    }
    // The privilege for I/O is the guest's own notion; it comes in its flags.
    v.iopl.store(((u.rflags & rflags::IOPL) >> 12) as u8, Relaxed);
    v.event_callback.store(c.event_callback_eip, Relaxed);
    v.failsafe_callback.store(c.failsafe_callback_eip, Relaxed);
    v.failsafe_masks.store(c.flags & VGCF_FAILSAFE_DISABLES_EVENTS != 0, Relaxed);
    v.hot.set_syscall_entry(c.syscall_callback_eip, c.flags & VGCF_SYSCALL_DISABLES_EVENTS != 0);
    v.kernel_ss.store(low16(c.kernel_ss | 3), Relaxed);
    v.hot.set_kernel_sp(c.kernel_sp);
    v.cr4.store(c.ctrlreg[4], Relaxed);
    v.task_switched.store(c.ctrlreg[0] & CR0_TS != 0, Relaxed);
    v.iopl.store((u.rflags >> 12 & 3) as u8, Relaxed);
    crate::time::set_clock(v);
}
