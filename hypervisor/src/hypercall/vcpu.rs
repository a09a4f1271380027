//! `vcpu_op`: vCPUs up and down, their timers and the areas that they share.

use super::table::operations;
use super::{Args, Call, Caller, Stop};
use crate::frames::pages;
use crate::time;
use crate::util::low32;
use crate::vcpu::Vcpu;
use abi::pv::VcpuGuestContext;
use abi::vcpu::{RegisterArea, RegisterVcpuInfo, SetPeriodicTimer, SetSingleshotTimer, VcpuCmd};
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
    let id = VcpuId(low32(id));
    let v = caller.domain.vcpu(id).ok_or(Errno::ENOENT)?;
    let command = low32(command);
    operations! { match vcpu_op(VcpuCmd(command)) {
        VcpuCmd::SET_SINGLESHOT_TIMER [EFAULT] => {
            // Not to set one whose time has come is a wish that need not be heard; it fires at once.
            let t: SetSingleshotTimer = guest::read(arg)?;
            crate::timer::set_singleshot(&v, t.timeout_abs_ns);
        },
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
            if v.id == caller.vcpu.id && r.addr != 0 {
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
        VcpuCmd::REGISTER_VCPU_INFO [EFAULT EINVAL ENXIO EBUSY EACCES]
            => register_info(&v, &guest::read(arg)?)?,
        VcpuCmd::SEND_NMI [] => {
            v.nmi_pending.store(true, Release);
            crate::schedule::kick(&v);
        },
        // Nothing pins a vCPU to a CPU for good.
        VcpuCmd::GET_PHYSID [!ok EINVAL] => return Err(Errno::EINVAL.into()),
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

fn initialise(v: &Arc<Vcpu>, arg: u64) -> Result<(), Stop> {
    let mut context = crate::util::boxed(1, |_| VcpuGuestContext::new_zeroed())?;
    let context = context.first_mut().ok_or(Errno::ENOMEM)?;
    guest::read_bytes(arg, context.as_mut_bytes())?;
    crate::context::set(v, context)
}

/// Moves a vCPU's `vcpu_info` into a page of the guest's.
fn register_info(v: &Arc<Vcpu>, r: &RegisterVcpuInfo) -> Result<(), Stop> {
    let offset = r.offset as usize;
    if offset > 4096 - 64 || !offset.is_multiple_of(8) {
        return Err(Errno::ENXIO.into());
    }
    let mut slot = v.info_frame.lock();
    if slot.is_some() {
        return Err(Errno::EBUSY.into());
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
