//! vCPUs as the tools see them: registers, times, affinities, and the rest of their state.

use super::{Answer, Reply, alive, not_own, part, put_part, while_paused};
use crate::cpus::{self, CpuSet};
use crate::domain::Domain;
use crate::hypercall::control::{element, read_bitmap, write_bitmap};
use crate::hypercall::{Caller, callback};
use crate::vcpu::{Run, Vcpu};
use abi::callback::CallbackType;
use abi::domctl::{
    ExtVcpuContext, GetVcpuInfo, NodeAffinity, VCPUAFFINITY_HARD, VCPUAFFINITY_SOFT, VcpuAffinity,
    VcpuContext, VcpuExtState, VcpuMsr, VcpuMsrs,
};
use abi::pv::{VGCF_ONLINE, VcpuGuestContext};
use abi::{Errno, VcpuId};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use machine::fpu::AREA_SIZE;
use machine::guest;
use zerocopy::{FromZeros, IntoBytes};

/// Bytes of [`ExtVcpuContext`].
const EXTENDED_SIZE: u32 = 64;
const _: () = assert!(size_of::<ExtVcpuContext>() == EXTENDED_SIZE as usize);
/// Bytes before the XSAVE area: XCR0 now, and all components that XCR0 ever had.
const STATE_HEADER: usize = 16;
/// MSRs set in one call at most.
const MAX_MSRS: u32 = 64;

fn find(d: &Domain, id: u32) -> Result<Arc<Vcpu>, Errno> {
    if id >= d.max_vcpus() {
        return Err(Errno::EINVAL);
    }
    d.vcpu(VcpuId(id)).ok_or(Errno::ESRCH)
}

/// `XEN_DOMCTL_setvcpucontext`.
pub fn set_context(caller: &Caller, d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let c: VcpuContext = part(u)?;
    not_own(caller, d)?;
    alive(d)?;
    let v = find(d, c.vcpu)?;
    if c.ctxt.is_null() {
        // Resetting a vCPU is for guests with hardware's help.
        return Err(Errno::EOPNOTSUPP.into());
    }
    let mut context = crate::util::boxed(1, |_| VcpuGuestContext::new_zeroed())?;
    let context = context.first_mut().ok_or(Errno::ENOMEM)?;
    guest::read_bytes(c.ctxt.addr(), context.as_mut_bytes())?;
    while_paused(d, || {
        if v.initialised.load(Acquire) {
            crate::context::change(&v, context)?;
        } else {
            crate::context::set(&v, context)?;
        }
        v.online.store(context.flags & VGCF_ONLINE != 0, Release);
        if c.vcpu == 0 {
            // Builders clear the shared page before this call, and a restored guest asks it for the
            // time at once.
            crate::time::init_wall_clock(d);
        }
        Ok(Reply::Nothing)
    })
}

/// `XEN_DOMCTL_getvcpucontext`.
pub fn get_context(caller: &Caller, d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let c: VcpuContext = part(u)?;
    not_own(caller, d)?;
    let v = find(d, c.vcpu)?;
    if !v.initialised.load(Acquire) {
        return Err(Errno::ENODATA.into());
    }
    let mut context = crate::util::boxed(1, |_| VcpuGuestContext::new_zeroed())?;
    let context = context.first_mut().ok_or(Errno::ENOMEM)?;
    while_paused(d, || crate::context::get(&v, context));
    guest::write_bytes(c.ctxt.addr(), context.as_bytes())?;
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_getvcpuinfo`.
pub fn info(d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    let mut i: GetVcpuInfo = part(u)?;
    let v = find(d, i.vcpu)?;
    i.online = u8::from(v.online.load(Acquire));
    i.blocked = u8::from(v.blocked.load(Acquire));
    i.running = u8::from(v.run() == Run::Running);
    i.cpu_time = super::info::cpu_time(&v);
    i.cpu = u32::try_from(v.cpu.load(Relaxed)).unwrap_or(0);
    put_part(u, &i);
    Ok(Reply::Changed)
}

/// `XEN_DOMCTL_setvcpuaffinity`: what was asked for is cut down to the CPUs that there are, and
/// the rest reported.
pub fn set_affinity(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let a: VcpuAffinity = part(u)?;
    let v = find(d, a.vcpu)?;
    if a.flags & (VCPUAFFINITY_HARD | VCPUAFFINITY_SOFT) == 0
        || a.flags & !(VCPUAFFINITY_HARD | VCPUAFFINITY_SOFT) != 0
    {
        return Err(Errno::EINVAL.into());
    }
    if a.flags & VCPUAFFINITY_HARD != 0 {
        let hard = CpuSet::from_bits(read_bitmap(&a.cpumap_hard)?);
        if hard.and(cpus::online()).is_empty() {
            return Err(Errno::EINVAL.into());
        }
        let (_, soft) = crate::schedule::affinity(&v);
        crate::schedule::set_affinity(&v, hard, soft)?;
        write_bitmap(&a.cpumap_hard, hard.and(cpus::online()).bits())?;
    }
    if a.flags & VCPUAFFINITY_SOFT != 0 {
        let soft = CpuSet::from_bits(read_bitmap(&a.cpumap_soft)?);
        let (hard, _) = crate::schedule::affinity(&v);
        crate::schedule::set_affinity(&v, hard, soft)?;
        write_bitmap(&a.cpumap_soft, soft.and(hard).and(cpus::online()).bits())?;
    }
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_getvcpuaffinity`, of the CPUs that there can be.
pub fn get_affinity(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let a: VcpuAffinity = part(u)?;
    let v = find(d, a.vcpu)?;
    let (hard, soft) = crate::schedule::affinity(&v);
    let there = u64::MAX.checked_shr(cpus::online().bits().leading_zeros()).unwrap_or(0);
    if a.flags & VCPUAFFINITY_HARD != 0 {
        write_bitmap(&a.cpumap_hard, hard.bits() & there)?;
    }
    if a.flags & VCPUAFFINITY_SOFT != 0 {
        write_bitmap(&a.cpumap_soft, soft.bits() & there)?;
    }
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_setnodeaffinity`: the machine is one node, so it must be among those named.
pub fn set_nodes(u: &[u64; 16]) -> Answer {
    let n: NodeAffinity = part(u)?;
    if read_bitmap(&n.nodemap)? & 1 == 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_getnodeaffinity`.
pub fn get_nodes(u: &[u64; 16]) -> Answer {
    let n: NodeAffinity = part(u)?;
    write_bitmap(&n.nodemap, 1)?;
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_get_ext_vcpucontext`: entry points of 32-bit system calls. There are no
/// machine-check banks.
pub fn get_extended(d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    let asked: ExtVcpuContext = part(u)?;
    let v = find(d, asked.vcpu)?;
    let mut e = ExtVcpuContext::new_zeroed();
    e.vcpu = asked.vcpu;
    e.size = EXTENDED_SIZE;
    let [sysenter, syscall32, _] = &v.other_callbacks;
    e.sysenter_callback_eip = sysenter.load(Relaxed);
    e.syscall32_callback_eip = syscall32.load(Relaxed);
    put_part(u, &e);
    Ok(Reply::Changed)
}

/// `XEN_DOMCTL_set_ext_vcpucontext`.
pub fn set_extended(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let e: ExtVcpuContext = part(u)?;
    let v = find(d, e.vcpu)?;
    // Older savers leave the machine-check state out.
    const WITHOUT_MCE: u32 = 32;
    if e.size != WITHOUT_MCE && e.size != EXTENDED_SIZE {
        return Err(Errno::EINVAL.into());
    }
    callback::set(&v, CallbackType::SYSENTER, e.sysenter_callback_eip, false)?;
    callback::set(&v, CallbackType::SYSCALL32, e.syscall32_callback_eip, false)?;
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_getvcpuextstate`: XCR0, and the state that XSAVE saves. Asked with size 0, how much
/// that is.
pub fn get_state(d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    let mut s: VcpuExtState = part(u)?;
    let v = find(d, s.vcpu)?;
    let components = machine::fpu::xcr0_supported();
    let xcr0 = v.xcr0.load(Relaxed);
    let accumulated = xcr0 | 3;
    let area = crate::policy::policies().host.xstate_size(accumulated) as usize;
    let size = area.min(AREA_SIZE).wrapping_add(STATE_HEADER) as u64;
    if components == 0 {
        s.size = 0;
    } else if s.size == 0 && s.xfeature_mask == 0 {
        s.size = size;
    } else {
        if s.size != size || s.xfeature_mask != components {
            return Err(Errno::EINVAL.into());
        }
        while_paused(d, || {
            let saved = v.saved.lock();
            let bytes = saved.fpu.bytes().get(..area.min(AREA_SIZE)).unwrap_or(&[]);
            guest::write(s.buffer.addr(), &[xcr0, accumulated])?;
            guest::write_bytes(s.buffer.addr().wrapping_add(STATE_HEADER as u64), bytes)
        })?;
    }
    s.xfeature_mask = components;
    put_part(u, &s);
    Ok(Reply::Changed)
}

/// `XEN_DOMCTL_setvcpuextstate`.
pub fn set_state(caller: &Caller, d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let s: VcpuExtState = part(u)?;
    not_own(caller, d)?;
    alive(d)?;
    let v = find(d, s.vcpu)?;
    let components = machine::fpu::xcr0_supported();
    let len = usize::try_from(s.size).ok().and_then(|n| n.checked_sub(STATE_HEADER));
    let len = len.filter(|&n| n <= AREA_SIZE).ok_or(Errno::EINVAL)?;
    let [xcr0, accumulated]: [u64; 2] = guest::read(s.buffer.addr())?;
    let fits = components != 0
        && s.xfeature_mask & !components == 0
        && machine::fpu::is_valid_xcr0(xcr0)
        && xcr0 & !accumulated == 0
        && accumulated & !components == 0;
    // The legacy region and the header are there at least.
    if !fits || len != 0 && len < 576 {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = crate::util::boxed(AREA_SIZE, |_| 0u8)?;
    let part = bytes.get_mut(..len).ok_or(Errno::EINVAL)?;
    guest::read_bytes(s.buffer.addr().wrapping_add(STATE_HEADER as u64), part)?;
    while_paused(d, || {
        v.xcr0.store(xcr0, Relaxed);
        if len == 0 || v.saved.lock().fpu.set_extended(&bytes, accumulated) {
            Ok(Reply::Nothing)
        } else {
            Err(Errno::EINVAL.into())
        }
    })
}

/// `XEN_DOMCTL_get_vcpu_msrs`: none has a value that would have to move.
pub fn get_msrs(d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    let mut m: VcpuMsrs = part(u)?;
    find(d, m.vcpu)?;
    m.msr_count = 0;
    put_part(u, &m);
    Ok(Reply::Changed)
}

/// `XEN_DOMCTL_set_vcpu_msrs`: takes what the guest could have written here. Which one was refused
/// is told in the structure.
pub fn set_msrs(d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    let m: VcpuMsrs = part(u)?;
    let v = find(d, m.vcpu)?;
    if m.msr_count > MAX_MSRS {
        return Err(Errno::EINVAL.into());
    }
    for i in 0..m.msr_count {
        let msr: VcpuMsr = guest::read(element(m.msrs, u64::from(i)))?;
        if msr.reserved != 0 || !crate::msr::write(&v, msr.index, msr.value) {
            put_part(u, &VcpuMsrs { msr_count: i, ..m });
            return Ok(Reply::Refused(Errno::EINVAL));
        }
    }
    Ok(Reply::Nothing)
}
