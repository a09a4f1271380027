//! `vcpu_op`: vCPUs up and down, their timers and the areas that they share.

use super::table::operations;
use super::{Args, Call, Caller, Stop};
use crate::frames::pages;
use crate::time;
use crate::vcpu::Vcpu;
use abi::pv::VcpuGuestContext;
use abi::vcpu::{
    GetPhysid, RegisterArea, RegisterVcpuInfo, SSHOTTMR_FUTURE, SetPeriodicTimer,
    SetSingleshotTimer, VcpuCmd,
};
use abi::{Errno, Mfn, VcpuId};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use machine::guest;
use pages::{Budget, Kind};
use zerocopy::{FromZeros, IntoBytes};

/// Shortest period of a periodic timer, as Xen's.
const MIN_PERIOD: u64 = 1_000_000;

/// `vcpu_op(command, vcpu, argument)`.
pub fn vcpu_op(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, id, arg, ..] = *a.all();
    let id = VcpuId(u32::try_from(id).map_err(|_| Errno::ENOENT)?);
    let v = caller.domain.vcpu(id).ok_or(Errno::ENOENT)?;
    let command = u32::try_from(command).map_err(|_| Errno::ENOSYS)?;
    operations! { match vcpu_op(VcpuCmd(command)) {
        VcpuCmd::SET_SINGLESHOT_TIMER [EFAULT ETIME] => return set_singleshot(&v, arg),
        VcpuCmd::STOP_SINGLESHOT_TIMER [] => crate::timer::set_singleshot(&v, u64::MAX),
        VcpuCmd::SET_PERIODIC_TIMER [EFAULT EINVAL] => set_periodic(&v, &guest::read(arg)?)?,
        VcpuCmd::STOP_PERIODIC_TIMER [] => {
            v.period.store(0, Release);
            crate::timer::settle(&v);
        },
        VcpuCmd::INITIALISE [EFAULT EINVAL EEXIST ENOMEM] => initialise(&v, arg)?,
        VcpuCmd::UP [EINVAL] => {
            if !v.initialised.load(Acquire) {
                return Err(Errno::EINVAL.into());
            }
            v.online.store(true, Release);
            crate::schedule::wake(&v);
        },
        VcpuCmd::DOWN [] => {
            v.online.store(false, Release);
            crate::schedule::sleep_soon(&v);
        },
        VcpuCmd::IS_UP [] => return Ok(u64::from(v.online.load(Acquire))),
        VcpuCmd::GET_RUNSTATE_INFO [EFAULT] => guest::write(arg, &time::runstate_info(&v))?,
        VcpuCmd::REGISTER_RUNSTATE_MEMORY_AREA [EFAULT] => {
            let r: RegisterArea = guest::read(arg)?;
            v.runstate_area.store(r.addr, Relaxed);
            if v.id == caller.vcpu.id {
                guest::write(r.addr, &time::runstate_info(&v))?;
            }
        },
        VcpuCmd::REGISTER_VCPU_TIME_MEMORY_AREA [EFAULT] => {
            let r: RegisterArea = guest::read(arg)?;
            v.time_area.store(r.addr, Relaxed);
            if v.id == caller.vcpu.id {
                time::update_guest_areas(&v);
            }
        },
        VcpuCmd::REGISTER_VCPU_INFO [EFAULT EINVAL ENXIO EACCES]
            => register_info(&v, &guest::read(arg)?)?,
        VcpuCmd::SEND_NMI [] => {
            v.nmi_pending.store(true, Release);
            crate::schedule::kick(&v);
        },
        VcpuCmd::GET_PHYSID [EFAULT] => {
            // The vCPU's own number: nothing pins it to a CPU.
            let g = GetPhysid { phys_id: u64::from(v.id.0) << 32 | u64::from(v.id.0) };
            guest::write(arg, &g)?;
        },
        _ [ENOSYS] => return Err(Errno::ENOSYS.into()),
    } }
    Ok(0)
}

fn set_periodic(v: &Arc<Vcpu>, t: &SetPeriodicTimer) -> Result<(), Errno> {
    if t.period_ns < MIN_PERIOD || t.period_ns > 1 << 62 {
        return Err(Errno::EINVAL);
    }
    let first = time::now().saturating_add(t.period_ns);
    v.period_next.store(first, Release);
    v.period.store(t.period_ns, Release);
    crate::timer::settle(v);
    Ok(())
}

fn set_singleshot(v: &Arc<Vcpu>, arg: u64) -> Call {
    let t: SetSingleshotTimer = guest::read(arg)?;
    if t.flags & SSHOTTMR_FUTURE != 0 && t.timeout_abs_ns < time::now() {
        return Err(Errno::ETIME.into());
    }
    crate::timer::set_singleshot(v, t.timeout_abs_ns);
    Ok(0)
}

fn initialise(v: &Arc<Vcpu>, arg: u64) -> Result<(), Stop> {
    let mut context = crate::util::boxed(1, |_| VcpuGuestContext::new_zeroed())?;
    let context = context.first_mut().ok_or(Errno::ENOMEM)?;
    guest::read_bytes(arg, context.as_mut_bytes())?;
    crate::context::set(v, context)
}

/// Moves a vCPU's `vcpu_info` into a page of the guest's.
fn register_info(v: &Arc<Vcpu>, r: &RegisterVcpuInfo) -> Result<(), Stop> {
    let offset = r.offset as usize;
    if offset > 4096 - 64 {
        return Err(Errno::ENXIO.into());
    }
    if !offset.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let mut slot = v.info_frame.lock();
    if slot.is_some() {
        return Err(Errno::EINVAL.into());
    }
    let mfn = Mfn(r.mfn);
    let mut budget = Budget::new(16);
    let page = pages().get(mfn, v.domain.id).ok_or(Errno::EINVAL)?;
    let page = pages().upgrade(page, Kind::Writable, &mut budget).map_err(|(_, page)| {
        pages().put(page);
        Stop::Error(Errno::EACCES)
    })?;
    let new = machine::memory::view64::<8>(mfn, offset);
    if let (Some(new), Some(old)) = (new, v.domain.events.memory().info(v.id)) {
        for (to, from) in new.iter().zip(old) {
            to.store(from.load(Relaxed), Relaxed);
        }
    } else if let Some(new) = new {
        // A vCPU beyond the 32 of shared_info begins with events masked.
        new.iter().for_each(|w| w.store(0, Relaxed));
        new[0].store(0x0100, Relaxed);
    }
    v.domain.events.memory().set_info(v.id.0, mfn, offset);
    v.hot.set_vcpu_info(v.domain.events.memory().info(v.id));
    *slot = Some(page);
    drop(slot);
    time::set_clock(v);
    // Whatever was raised while the place changed is found now.
    if let Some(w) = v.hot.vcpu_info().get(1) {
        w.fetch_or(!0, AcqRel);
    }
    if let Some(w) = v.hot.vcpu_info().first() {
        w.fetch_or(1, AcqRel);
    }
    Ok(())
}
