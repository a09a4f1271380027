//! A domain's settings: scheduling, name, clocks, ports and interrupts of its control.

use super::{Answer, Reply, alive, not_own, part, put_part, while_paused};
use crate::domain::{Domain, VIRQ_HANDLERS};
use crate::hypercall::Caller;
use abi::domctl::{
    SCHEDOP_GETINFO, SCHEDOP_PUTINFO, SchedCredit2, SchedulerOp, SetDebugging, SetDomainHandle,
    SetTimeOffset, SetVirqHandler, Subscribe, TscInfo,
};
use abi::{Errno, Port};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Relaxed, Release};
use zerocopy::{FromBytes, IntoBytes};

/// A cap that means "as it is".
const CAP_UNCHANGED: u16 = u16::MAX;

/// `XEN_DOMCTL_scheduler_op`: weight and cap.
pub fn scheduler(d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    let mut s: SchedulerOp = part(u)?;
    if s.sched_id != crate::hypercall::sysctl::SCHEDULER {
        return Err(Errno::EINVAL.into());
    }
    match s.cmd {
        SCHEDOP_PUTINFO => {
            let (p, _) =
                SchedCredit2::read_from_prefix(s.u.as_bytes()).map_err(|_| Errno::EINVAL)?;
            let cap = if p.cap == CAP_UNCHANGED { crate::schedule::params(d).1 } else { p.cap };
            crate::schedule::set_params(d, u32::from(p.weight), cap)?;
            Ok(Reply::Nothing)
        }
        SCHEDOP_GETINFO => {
            let (weight, cap) = crate::schedule::params(d);
            let p = SchedCredit2 { weight, cap };
            if let Some(to) = s.u.as_mut_bytes().get_mut(..size_of::<SchedCredit2>()) {
                to.copy_from_slice(p.as_bytes());
            }
            put_part(u, &s);
            Ok(Reply::Changed)
        }
        // credit2 has no parameters of single vCPUs.
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `XEN_DOMCTL_setdomainhandle`.
pub fn handle(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    *d.handle.lock() = part::<SetDomainHandle>(u)?.handle;
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_setdebugging`.
pub fn debugging(caller: &Caller, d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    not_own(caller, d)?;
    let enable = part::<SetDebugging>(u)?.enable != 0;
    while_paused(d, || d.debugger.store(enable, Relaxed));
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_settimeoffset`: seconds that the guest's wall clock is ahead of the machine's.
pub fn time_offset(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let s: SetTimeOffset = part(u)?;
    alive(d)?;
    d.time_offset.store(s.time_offset_seconds.cast_unsigned(), Relaxed);
    crate::time::init_wall_clock(d);
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_subscribe`: a port of the domain's that tells of its suspend.
pub fn subscribe(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let port = Port(part::<Subscribe>(u)?.port);
    if port.0 != 0 && d.events.channel(port).is_none() {
        return Err(Errno::EINVAL.into());
    }
    d.control.suspend_port.store(port.0, Release);
    Ok(Reply::Nothing)
}

fn host_khz() -> u32 {
    machine::clock::get().map_or(0, |c| c.tsc_khz())
}

/// `XEN_DOMCTL_gettscinfo`.
pub fn get_tsc(d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    let info = TscInfo {
        tsc_mode: d.tsc_mode.load(Relaxed),
        gtsc_khz: host_khz(),
        incarnation: d.tsc_incarnation.load(Relaxed),
        pad: 0,
        elapsed_nsec: crate::time::now(),
    };
    put_part(u, &info);
    Ok(Reply::Changed)
}

/// Modes of [`TscInfo`]: emulate when needed, always, never.
const TSC_MODE_DEFAULT: u32 = 0;
const TSC_MODE_NEVER: u32 = 2;

/// `XEN_DOMCTL_settscinfo`. The guest reads the CPU's own counter: modes that need another rate
/// are refused.
pub fn set_tsc(caller: &Caller, d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    not_own(caller, d)?;
    let t: TscInfo = part(u)?;
    let same_rate = t.gtsc_khz == 0 || t.gtsc_khz == host_khz();
    match t.tsc_mode {
        TSC_MODE_NEVER => {}
        TSC_MODE_DEFAULT if same_rate => {}
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    d.tsc_mode.store(t.tsc_mode, Relaxed);
    // The caller names the one before; a domain that nobody set is in none.
    d.tsc_incarnation.store(t.incarnation.wrapping_add(1), Relaxed);
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_set_virq_handler`: the domain gets one of the machine's virtual interrupts.
pub fn virq_handler(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let s: SetVirqHandler = part(u)?;
    if !crate::hypercall::event_channel::is_machine_virq(s.virq) {
        return Err(Errno::EINVAL.into());
    }
    let slot = VIRQ_HANDLERS.get(s.virq as usize).ok_or(Errno::EINVAL)?;
    slot.store(u32::from(d.id.0), Release);
    Ok(Reply::Nothing)
}
