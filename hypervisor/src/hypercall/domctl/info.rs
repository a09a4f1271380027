//! What a domain is and does.

use super::{Answer, Reply, put_part};
use crate::domain::{self, Domain, Life, SHUT_DOWN};
use crate::vcpu::{Run, Vcpu};
use abi::arch_x86::ArchDomainConfig;
use abi::domctl::{
    CDF_XS_DOMAIN, DOMINF_BLOCKED, DOMINF_DEBUGGED, DOMINF_DYING, DOMINF_PAUSED, DOMINF_RUNNING,
    DOMINF_SHUTDOWN, DOMINF_SHUTDOWNMASK, DOMINF_SHUTDOWNSHIFT, DOMINF_XS_DOMAIN, Domctl,
    GetDomainInfo, INVALID_MAX_VCPU_ID,
};
use abi::{DomId, Errno};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use zerocopy::FromZeros;

/// `XEN_DOMCTL_getdomaininfo`: of the first domain from the given number on.
pub(super) fn get(op: &mut Domctl) -> Answer {
    if DomId(op.domain) >= DomId::FIRST_RESERVED {
        return Err(Errno::EINVAL.into());
    }
    let d = domain::next_from(DomId(op.domain)).ok_or(Errno::ESRCH)?;
    op.domain = d.id.0;
    put_part(&mut op.u, &of(&d));
    Ok(Reply::Changed)
}

/// Nanoseconds that a vCPU has run.
pub fn cpu_time(v: &Vcpu) -> u64 {
    let [running, ..] = crate::time::runstate_info(v).time;
    running
}

/// A domain's description.
pub fn of(d: &Domain) -> GetDomainInfo {
    let mut info = GetDomainInfo::new_zeroed();
    info.domain = d.id.0;
    info.flags = flags(d);
    info.max_vcpu_id = INVALID_MAX_VCPU_ID;
    let mut blocked = DOMINF_BLOCKED;
    for v in d.vcpus() {
        info.max_vcpu_id = v.id.0;
        info.cpu_time = info.cpu_time.wrapping_add(cpu_time(&v));
        if v.online.load(Acquire) {
            info.nr_online_vcpus = info.nr_online_vcpus.wrapping_add(1);
            if !v.blocked.load(Acquire) {
                blocked = 0;
            }
            if v.run() == Run::Running {
                info.flags |= DOMINF_RUNNING;
            }
        }
    }
    info.flags |= blocked;
    {
        let m = d.memory.lock();
        info.tot_pages = m.list.len();
        info.max_pages = m.max;
        info.outstanding_pages = m.claimed;
    }
    info.shared_info_frame = d.shared_info.0;
    info.ssidref = d.control.settings.ssidref;
    info.handle = *d.handle.lock();
    info.gpaddr_bits = crate::policy::policies().raw.physical_address_bits().to_le_bytes()[0];
    info.arch_config = ArchDomainConfig {
        emulation_flags: d.control.settings.emulation_flags,
        misc_flags: d.control.settings.misc_flags,
    };
    info
}

fn flags(d: &Domain) -> u32 {
    let mut flags = 0;
    let shutdown = d.shutdown.load(Acquire);
    if shutdown & SHUT_DOWN != 0 {
        flags |= DOMINF_SHUTDOWN | (shutdown & DOMINF_SHUTDOWNMASK) << DOMINF_SHUTDOWNSHIFT;
    }
    if d.life() == Life::Dead {
        flags |= DOMINF_DYING;
    }
    if d.controller_pauses.load(Relaxed) != 0 {
        flags |= DOMINF_PAUSED;
    }
    if d.debugger.load(Relaxed) {
        flags |= DOMINF_DEBUGGED;
    }
    if d.control.settings.flags & CDF_XS_DOMAIN != 0 {
        flags |= DOMINF_XS_DOMAIN;
    }
    flags
}
