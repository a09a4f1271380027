//! The making of domains.

use super::{Answer, Reply, alive, not_own, part, put_part, while_paused};
use crate::control::Settings;
use crate::domain::{self, Config, Domain};
use crate::hypercall::Caller;
use abi::arch_x86::X86_MISC_FLAGS_MAX;
use abi::domctl::{CDF_XS_DOMAIN, CreateDomain, Domctl, GRANT_VERSION_MASK, MaxVcpus};
use abi::{DomId, Errno, VcpuId};
use alloc::sync::Arc;

/// Grant table pages of a domain whose creator names no limit.
const DEFAULT_GRANT_FRAMES: u32 = 64;
/// Maptrack pages of a domain whose creator names no limit.
const DEFAULT_MAPTRACK_FRAMES: u32 = 1024;

/// `XEN_DOMCTL_createdomain`.
pub fn create(op: &mut Domctl) -> Answer {
    let c: CreateDomain = part(&op.u)?;
    check(&c)?;
    let wanted = DomId(op.domain);
    let id = if wanted.0 > 0 && wanted < DomId::FIRST_RESERVED {
        if domain::by_id(wanted).is_some() {
            return Err(Errno::EEXIST.into());
        }
        wanted
    } else {
        domain::free_id().ok_or(Errno::ENOMEM)?
    };
    let limit = |asked: i32, default: u32| u32::try_from(asked).unwrap_or(default);
    let d = Domain::create(&Config {
        id,
        privileged: false,
        handle: c.handle,
        max_vcpus: c.max_vcpus,
        max_event_port: c.max_evtchn_port,
        max_grant_frames: limit(c.max_grant_frames, DEFAULT_GRANT_FRAMES),
        max_maptrack_frames: limit(c.max_maptrack_frames, DEFAULT_MAPTRACK_FRAMES),
        max_grant_version: c.grant_opts & GRANT_VERSION_MASK,
        settings: Settings {
            flags: c.flags,
            ssidref: c.ssidref,
            emulation_flags: c.arch.emulation_flags,
            misc_flags: c.arch.misc_flags,
        },
    })?;
    op.domain = d.id.0;
    put_part(&mut op.u, &c);
    Ok(Reply::Changed)
}

/// Refuses what cannot be given: hardware virtualization, an IOMMU, performance counters, traces,
/// other CPU pools.
fn check(c: &CreateDomain) -> Result<(), Errno> {
    let version = c.grant_opts & GRANT_VERSION_MASK;
    let fits = c.flags & !CDF_XS_DOMAIN == 0
        && c.iommu_opts == 0
        && c.altp2m_opts == 0
        && c.vmtrace_size == 0
        && c.arch.emulation_flags == 0
        && c.arch.misc_flags & !X86_MISC_FLAGS_MAX == 0
        && c.grant_opts & !GRANT_VERSION_MASK == 0
        && (1..=2).contains(&version);
    if !fits {
        return Err(Errno::EINVAL);
    }
    if c.cpupool_id != 0 { Err(Errno::ESRCH) } else { Ok(()) }
}

/// `XEN_DOMCTL_max_vcpus`: makes the vCPUs that were announced at the domain's creation.
pub fn max_vcpus(caller: &Caller, d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let m: MaxVcpus = part(u)?;
    not_own(caller, d)?;
    alive(d)?;
    if m.max != d.max_vcpus() {
        return Err(Errno::EINVAL.into());
    }
    while_paused(d, || (0..m.max).try_for_each(|id| d.add_vcpu(VcpuId(id)).map(drop)))?;
    Ok(Reply::Nothing)
}
