//! Running, pausing and ending domains.

use super::{Answer, Reply, not_own, part};
use crate::domain::{Domain, Life};
use crate::hypercall::{Caller, Stop};
use abi::domctl::{SENDTRIGGER_NMI, SENDTRIGGER_POWER, SENDTRIGGER_SLEEP, SendTrigger};
use abi::{Errno, VcpuId};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// Pauses by tools that a domain counts.
const MAX_PAUSES: u32 = i32::MAX.cast_unsigned();

/// `XEN_DOMCTL_pausedomain`.
pub fn pause(caller: &Caller, d: &Arc<Domain>) -> Answer {
    not_own(caller, d)?;
    let more = |n: u32| (n < MAX_PAUSES).then(|| n.wrapping_add(1));
    d.controller_pauses.fetch_update(AcqRel, Acquire, more).map_err(|_| Errno::EOVERFLOW)?;
    d.pause();
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_unpausedomain`.
pub fn unpause(d: &Arc<Domain>) -> Answer {
    let less = |n: u32| n.checked_sub(1);
    d.controller_pauses.fetch_update(AcqRel, Acquire, less).map_err(|_| Errno::EINVAL)?;
    d.unpause();
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_resumedomain`.
pub fn resume(caller: &Caller, d: &Arc<Domain>) -> Answer {
    not_own(caller, d)?;
    d.resume();
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_sendtrigger`: an NMI for one of its vCPUs. PV guests have no buttons.
pub fn trigger(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let t: SendTrigger = part(u)?;
    let v = d.vcpu(VcpuId(t.vcpu)).ok_or(Errno::ESRCH)?;
    match t.trigger {
        SENDTRIGGER_NMI => {}
        SENDTRIGGER_POWER | SENDTRIGGER_SLEEP => return Err(Errno::EINVAL.into()),
        _ => return Err(Errno::ENOSYS.into()),
    }
    v.nmi_pending.store(true, Release);
    crate::schedule::kick(&v);
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_destroydomain`: made again until everything is given back.
pub fn destroy(caller: &Caller, d: &Arc<Domain>) -> Answer {
    not_own(caller, d)?;
    if d.life() != Life::Dead && !crate::teardown::advance(d) {
        return Err(Stop::Again);
    }
    Ok(Reply::Nothing)
}
