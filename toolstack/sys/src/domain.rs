//! What a domain is, in plain terms.

use abi::arch_x86::ArchDomainConfig;
use abi::domctl::{self, GetDomainInfo};
use abi::sched::ShutdownReason;

/// What a domain is and does, at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its number.
    pub domid: u16,
    /// Its 16-byte name for users (UUID).
    pub handle: [u8; 16],
    /// Is being destroyed; pages of it may still be held by others.
    pub dying: bool,
    /// Is translated: HVM or PVH.
    pub hvm: bool,
    /// Uses nested paging.
    pub hap: bool,
    /// Has stopped, for this reason.
    pub shutdown: Option<ShutdownReason>,
    /// Is paused by a control operation.
    pub paused: bool,
    /// All vCPUs wait.
    pub blocked: bool,
    /// A vCPU runs.
    pub running: bool,
    /// Has a debugger.
    pub debugged: bool,
    /// Is the xenstore domain.
    pub xenstore: bool,
    /// Pages that it has.
    pub pages: u64,
    /// Pages that it may have.
    pub max_pages: u64,
    /// Pages claimed for it and not yet given.
    pub outstanding_pages: u64,
    /// Pages shared.
    pub shared_pages: u64,
    /// Pages paged out.
    pub paged_pages: u64,
    /// Guest frame of the page that it shares with the hypervisor (machine frame for PV).
    pub shared_info_frame: u64,
    /// CPU time of all vCPUs in nanoseconds.
    pub cpu_time_ns: u64,
    /// vCPUs on line.
    pub online_vcpus: u32,
    /// Greatest vCPU number; `None` while it has no vCPUs.
    pub max_vcpu_id: Option<u32>,
    /// Security label.
    pub ssidref: u32,
    /// CPU pool.
    pub cpupool: u32,
    /// Bits of a guest-physical address.
    pub gpaddr_bits: u8,
    /// `X86_EMU_*`.
    pub emulation_flags: u32,
    /// `X86_MSR_RELAXED` and the like.
    pub misc_flags: u32,
}

impl DomainInfo {
    pub(crate) fn of(info: &GetDomainInfo) -> Self {
        let has = |flag| info.flags & flag != 0;
        let reason = info.flags >> domctl::DOMINF_SHUTDOWNSHIFT & domctl::DOMINF_SHUTDOWNMASK;
        Self {
            domid: info.domain,
            handle: info.handle,
            dying: has(domctl::DOMINF_DYING),
            hvm: has(domctl::DOMINF_HVM_GUEST),
            hap: has(domctl::DOMINF_HAP),
            shutdown: has(domctl::DOMINF_SHUTDOWN).then_some(ShutdownReason(reason)),
            paused: has(domctl::DOMINF_PAUSED),
            blocked: has(domctl::DOMINF_BLOCKED),
            running: has(domctl::DOMINF_RUNNING),
            debugged: has(domctl::DOMINF_DEBUGGED),
            xenstore: has(domctl::DOMINF_XS_DOMAIN),
            pages: info.tot_pages,
            max_pages: info.max_pages,
            outstanding_pages: info.outstanding_pages,
            shared_pages: info.shr_pages,
            paged_pages: info.paged_pages,
            shared_info_frame: info.shared_info_frame,
            cpu_time_ns: info.cpu_time,
            online_vcpus: info.nr_online_vcpus,
            max_vcpu_id: Some(info.max_vcpu_id).filter(|n| *n != domctl::INVALID_MAX_VCPU_ID),
            ssidref: info.ssidref,
            cpupool: info.cpupool,
            gpaddr_bits: info.gpaddr_bits,
            emulation_flags: info.arch_config.emulation_flags,
            misc_flags: info.arch_config.misc_flags,
        }
    }

    /// Whether it has stopped because it failed.
    pub fn crashed(&self) -> bool {
        self.shutdown == Some(ShutdownReason::CRASH)
    }

    /// vCPUs, on line or not.
    pub fn vcpus(&self) -> u32 {
        self.max_vcpu_id.map_or(0, |n| n.saturating_add(1))
    }
}

/// What a new domain is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateDomain {
    /// Its number; `None` lets the hypervisor choose.
    pub domid: Option<u16>,
    /// Its 16-byte name for users (UUID).
    pub handle: [u8; 16],
    /// Security label.
    pub ssidref: u32,
    /// `CDF_*` of [`abi::domctl`]; 0 for a PV guest.
    pub flags: u32,
    /// `IOMMU_*` of [`abi::domctl`].
    pub iommu_opts: u32,
    /// vCPUs at most; at least 1.
    pub max_vcpus: u32,
    /// Greatest event channel port.
    pub max_evtchn_port: u32,
    /// Frames of the grant table at most; `None` for the hypervisor's default.
    pub max_grant_frames: Option<u32>,
    /// Frames of the maptrack table at most; `None` for the hypervisor's default.
    pub max_maptrack_frames: Option<u32>,
    /// Greatest grant table version: 1 or 2.
    pub max_grant_version: u32,
    /// Bytes of each vCPU's trace buffer.
    pub vmtrace_bytes: u32,
    /// CPU pool.
    pub cpupool: u32,
    /// `X86_EMU_*` of [`abi::arch_x86`]; 0 for a PV guest.
    pub emulation_flags: u32,
    /// Unknown MSRs read as 0 rather than fault.
    pub msr_relaxed: bool,
}

impl Default for CreateDomain {
    /// A PV guest with one vCPU, as `xl` makes it.
    fn default() -> Self {
        Self {
            domid: None,
            handle: [0; 16],
            ssidref: 0,
            flags: 0,
            iommu_opts: 0,
            max_vcpus: 1,
            max_evtchn_port: 1023,
            max_grant_frames: None,
            max_maptrack_frames: None,
            max_grant_version: 2,
            vmtrace_bytes: 0,
            cpupool: 0,
            emulation_flags: 0,
            msr_relaxed: false,
        }
    }
}

impl CreateDomain {
    pub(crate) fn layout(&self) -> domctl::CreateDomain {
        let limit =
            |frames: Option<u32>| frames.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX));
        domctl::CreateDomain {
            ssidref: self.ssidref,
            handle: self.handle,
            flags: self.flags,
            iommu_opts: self.iommu_opts,
            max_vcpus: self.max_vcpus,
            max_evtchn_port: self.max_evtchn_port,
            max_grant_frames: limit(self.max_grant_frames),
            max_maptrack_frames: limit(self.max_maptrack_frames),
            grant_opts: self.max_grant_version & domctl::GRANT_VERSION_MASK,
            altp2m_opts: 0,
            vmtrace_size: self.vmtrace_bytes,
            cpupool_id: self.cpupool,
            arch: ArchDomainConfig {
                emulation_flags: self.emulation_flags,
                misc_flags: if self.msr_relaxed { abi::arch_x86::X86_MSR_RELAXED } else { 0 },
            },
        }
    }
}
