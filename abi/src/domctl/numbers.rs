//! Numbers of `public/domctl.h`.

use crate::layout::{consts, open_enum};

/// What [`Domctl::interface_version`](super::Domctl::interface_version) must be.
pub const DOMCTL_INTERFACE_VERSION: u32 = 0x17;

open_enum! {
    /// What a domctl call does.
    pub struct DomctlCmd(u32) {
        /// [`CreateDomain`](super::CreateDomain).
        CREATEDOMAIN = 1,
        /// Ends a domain.
        DESTROYDOMAIN = 2,
        /// Stops it from running.
        PAUSEDOMAIN = 3,
        /// Lets it run again.
        UNPAUSEDOMAIN = 4,
        /// [`GetDomainInfo`](super::GetDomainInfo).
        GETDOMAININFO = 5,
        /// [`VcpuAffinity`](super::VcpuAffinity).
        SETVCPUAFFINITY = 9,
        /// [`ShadowOp`](super::ShadowOp).
        SHADOW_OP = 10,
        /// [`MaxMem`](super::MaxMem).
        MAX_MEM = 11,
        /// [`VcpuContext`](super::VcpuContext).
        SETVCPUCONTEXT = 12,
        /// [`VcpuContext`](super::VcpuContext).
        GETVCPUCONTEXT = 13,
        /// [`GetVcpuInfo`](super::GetVcpuInfo).
        GETVCPUINFO = 14,
        /// [`MaxVcpus`](super::MaxVcpus).
        MAX_VCPUS = 15,
        /// [`SchedulerOp`](super::SchedulerOp).
        SCHEDULER_OP = 16,
        /// [`SetDomainHandle`](super::SetDomainHandle).
        SETDOMAINHANDLE = 17,
        /// [`SetDebugging`](super::SetDebugging).
        SETDEBUGGING = 18,
        /// [`IrqPermission`](super::IrqPermission).
        IRQ_PERMISSION = 19,
        /// [`IomemPermission`](super::IomemPermission).
        IOMEM_PERMISSION = 20,
        /// [`IoportPermission`](super::IoportPermission).
        IOPORT_PERMISSION = 21,
        /// [`HypercallInit`](super::HypercallInit).
        HYPERCALL_INIT = 22,
        /// Continuation of a soft reset; internal.
        SOFT_RESET_CONT = 23,
        /// [`SetTimeOffset`](super::SetTimeOffset).
        SETTIMEOFFSET = 24,
        /// [`VcpuAffinity`](super::VcpuAffinity).
        GETVCPUAFFINITY = 25,
        /// Obsolete.
        REAL_MODE_AREA = 26,
        /// Lets a domain go on after a suspend that was not completed.
        RESUMEDOMAIN = 27,
        /// [`SendTrigger`](super::SendTrigger).
        SENDTRIGGER = 28,
        /// [`Subscribe`](super::Subscribe).
        SUBSCRIBE = 29,
        /// [`HvmContext`](super::HvmContext).
        GETHVMCONTEXT = 33,
        /// [`HvmContext`](super::HvmContext).
        SETHVMCONTEXT = 34,
        /// [`AddressSize`](super::AddressSize).
        SET_ADDRESS_SIZE = 35,
        /// [`AddressSize`](super::AddressSize).
        GET_ADDRESS_SIZE = 36,
        /// [`AssignDevice`](super::AssignDevice).
        ASSIGN_DEVICE = 37,
        /// [`BindPtIrq`](super::BindPtIrq).
        BIND_PT_IRQ = 38,
        /// [`MemoryMapping`](super::MemoryMapping).
        MEMORY_MAPPING = 39,
        /// [`IoportMapping`](super::IoportMapping).
        IOPORT_MAPPING = 40,
        /// [`ExtVcpuContext`](super::ExtVcpuContext).
        SET_EXT_VCPUCONTEXT = 42,
        /// [`ExtVcpuContext`](super::ExtVcpuContext).
        GET_EXT_VCPUCONTEXT = 43,
        /// Obsolete.
        SET_OPT_FEATURE = 44,
        /// [`AssignDevice`](super::AssignDevice).
        TEST_ASSIGN_DEVICE = 45,
        /// [`SetTarget`](super::SetTarget).
        SET_TARGET = 46,
        /// [`AssignDevice`](super::AssignDevice).
        DEASSIGN_DEVICE = 47,
        /// [`BindPtIrq`](super::BindPtIrq).
        UNBIND_PT_IRQ = 48,
        /// [`GetDeviceGroup`](super::GetDeviceGroup).
        GET_DEVICE_GROUP = 50,
        /// [`DebugOp`](super::DebugOp).
        DEBUG_OP = 54,
        /// [`HvmContextPartial`](super::HvmContextPartial).
        GETHVMCONTEXT_PARTIAL = 55,
        /// Rings of memory events.
        VM_EVENT_OP = 56,
        /// Sharing of memory.
        MEM_SHARING_OP = 57,
        /// [`TscInfo`](super::TscInfo).
        GETTSCINFO = 59,
        /// [`TscInfo`](super::TscInfo).
        SETTSCINFO = 60,
        /// [`GetPageFrameInfo3`](super::GetPageFrameInfo3).
        GETPAGEFRAMEINFO3 = 61,
        /// [`VcpuExtState`](super::VcpuExtState).
        SETVCPUEXTSTATE = 62,
        /// [`VcpuExtState`](super::VcpuExtState).
        GETVCPUEXTSTATE = 63,
        /// Memory events must have a listener.
        SET_ACCESS_REQUIRED = 64,
        /// Compares P2M and M2P.
        AUDIT_P2M = 65,
        /// [`SetVirqHandler`](super::SetVirqHandler).
        SET_VIRQ_HANDLER = 66,
        /// Marks a page as broken.
        SET_BROKEN_PAGE_P2M = 67,
        /// [`NodeAffinity`](super::NodeAffinity).
        SETNODEAFFINITY = 68,
        /// [`NodeAffinity`](super::NodeAffinity).
        GETNODEAFFINITY = 69,
        /// [`CacheFlush`](super::CacheFlush).
        CACHEFLUSH = 71,
        /// [`VcpuMsrs`](super::VcpuMsrs).
        GET_VCPU_MSRS = 72,
        /// [`VcpuMsrs`](super::VcpuMsrs).
        SET_VCPU_MSRS = 73,
        /// [`Vnuma`](super::Vnuma).
        SETVNUMAINFO = 74,
        /// Cache monitoring.
        PSR_CMT_OP = 75,
        /// Events of a guest to be watched.
        MONITOR_OP = 77,
        /// Cache allocation.
        PSR_ALLOC = 78,
        /// Starts a domain again with its memory kept.
        SOFT_RESET = 79,
        /// Serial port (Arm).
        VUART_OP = 81,
        /// [`CpuPolicy`](super::CpuPolicy).
        GET_CPU_POLICY = 82,
        /// [`CpuPolicy`](super::CpuPolicy).
        SET_CPU_POLICY = 83,
        /// Processor trace.
        VMTRACE_OP = 84,
        /// [`PagingMempool`](super::PagingMempool).
        GET_PAGING_MEMPOOL_SIZE = 85,
        /// [`PagingMempool`](super::PagingMempool).
        SET_PAGING_MEMPOOL_SIZE = 86,
        /// Device-tree overlays (Arm).
        DT_OVERLAY = 87,
        /// [`GsiPermission`](super::GsiPermission).
        GSI_PERMISSION = 88,
        /// Cache colours.
        SET_LLC_COLORS = 89,
        /// Debugger: memory.
        GDBSX_GUESTMEMIO = 1000,
        /// Debugger: stops a vCPU.
        GDBSX_PAUSEVCPU = 1001,
        /// Debugger: lets it run.
        GDBSX_UNPAUSEVCPU = 1002,
        /// Debugger: state.
        GDBSX_DOMSTATUS = 1003,
    }
}

consts! { u32;
    /// [`CreateDomain::flags`](super::CreateDomain::flags): translated, with hardware's help.
    CDF_HVM = 1 << 0,
    /// [`CreateDomain::flags`](super::CreateDomain::flags): nested paging.
    CDF_HAP = 1 << 1,
    /// [`CreateDomain::flags`](super::CreateDomain::flags): memory is checked over a sleep of the host.
    CDF_S3_INTEGRITY = 1 << 2,
    /// [`CreateDomain::flags`](super::CreateDomain::flags): no out-of-sync shadows.
    CDF_OOS_OFF = 1 << 3,
    /// [`CreateDomain::flags`](super::CreateDomain::flags): the xenstore domain.
    CDF_XS_DOMAIN = 1 << 4,
    /// [`CreateDomain::flags`](super::CreateDomain::flags): devices may be assigned.
    CDF_IOMMU = 1 << 5,
    /// [`CreateDomain::flags`](super::CreateDomain::flags): nested virtualization.
    CDF_NESTED_VIRT = 1 << 6,
    /// [`CreateDomain::flags`](super::CreateDomain::flags): performance counters.
    CDF_VPMU = 1 << 7,
    /// [`CreateDomain::flags`](super::CreateDomain::flags): all of them.
    CDF_ALL = 0xff,
    /// [`CreateDomain::iommu_opts`](super::CreateDomain::iommu_opts): own tables.
    IOMMU_NO_SHAREPT = 1 << 0,
    /// [`CreateDomain::grant_opts`](super::CreateDomain::grant_opts): greatest version.
    GRANT_VERSION_MASK = 0xf,
    /// [`CreateDomain::altp2m_opts`](super::CreateDomain::altp2m_opts): mode.
    ALTP2M_MODE_MASK = 0x3,

    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): being destroyed.
    DOMINF_DYING = 1 << 0,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): translated.
    DOMINF_HVM_GUEST = 1 << 1,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): has stopped; the reason is in bits 16 to 23.
    DOMINF_SHUTDOWN = 1 << 2,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): paused by a control operation.
    DOMINF_PAUSED = 1 << 3,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): all vCPUs wait.
    DOMINF_BLOCKED = 1 << 4,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): a vCPU runs.
    DOMINF_RUNNING = 1 << 5,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): has a debugger.
    DOMINF_DEBUGGED = 1 << 6,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): the xenstore domain.
    DOMINF_XS_DOMAIN = 1 << 7,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): nested paging.
    DOMINF_HAP = 1 << 8,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): mask of the reason, after the shift.
    DOMINF_SHUTDOWNMASK = 255,
    /// [`GetDomainInfo::flags`](super::GetDomainInfo::flags): where the reason starts.
    DOMINF_SHUTDOWNSHIFT = 16,
    /// [`GetDomainInfo::max_vcpu_id`](super::GetDomainInfo::max_vcpu_id) of a domain without vCPUs.
    INVALID_MAX_VCPU_ID = !0,

    /// Page types of [`GetPageFrameInfo3`](super::GetPageFrameInfo3): where they start.
    PFINFO_LTAB_SHIFT = 28,
    /// An ordinary page.
    PFINFO_NOTAB = 0,
    /// An L1.
    PFINFO_L1TAB = 1 << 28,
    /// An L2.
    PFINFO_L2TAB = 2 << 28,
    /// An L3.
    PFINFO_L3TAB = 3 << 28,
    /// An L4.
    PFINFO_L4TAB = 4 << 28,
    /// Which table.
    PFINFO_LTABTYPE_MASK = 7 << 28,
    /// Added: pinned.
    PFINFO_LPINTAB = 1 << 31,
    /// No such page.
    PFINFO_XTAB = 0xf << 28,
    /// Allocated, without contents to be saved.
    PFINFO_XALLOC = 0xe << 28,
    /// Broken.
    PFINFO_BROKEN = 0xd << 28,
    /// All type bits.
    PFINFO_LTAB_MASK = 0xf << 28,

    /// [`ShadowOp::op`](super::ShadowOp::op): off.
    SHADOW_OP_OFF = 0,
    /// [`ShadowOp::op`](super::ShadowOp::op): on, for tests.
    SHADOW_OP_ENABLE_TEST = 1,
    /// [`ShadowOp::op`](super::ShadowOp::op): log dirty pages.
    SHADOW_OP_ENABLE_LOGDIRTY = 2,
    /// [`ShadowOp::op`](super::ShadowOp::op): read and clear the log.
    SHADOW_OP_CLEAN = 11,
    /// [`ShadowOp::op`](super::ShadowOp::op): read the log.
    SHADOW_OP_PEEK = 12,
    /// [`ShadowOp::op`](super::ShadowOp::op): memory for tables.
    SHADOW_OP_GET_ALLOCATION = 30,
    /// [`ShadowOp::op`](super::ShadowOp::op): sets that.
    SHADOW_OP_SET_ALLOCATION = 31,
    /// [`ShadowOp::op`](super::ShadowOp::op): on, with `mode`.
    SHADOW_OP_ENABLE = 32,
    /// [`ShadowOp::mode`](super::ShadowOp::mode) of a clean: the guest no longer runs.
    SHADOW_LOGDIRTY_FINAL = 1,

    /// [`VcpuAffinity::flags`](super::VcpuAffinity::flags): hard.
    VCPUAFFINITY_HARD = 1 << 0,
    /// [`VcpuAffinity::flags`](super::VcpuAffinity::flags): soft.
    VCPUAFFINITY_SOFT = 1 << 1,
    /// [`VcpuAffinity::flags`](super::VcpuAffinity::flags): undoes an override.
    VCPUAFFINITY_FORCE = 1 << 2,

    /// Scheduler number: credit.
    SCHEDULER_CREDIT = 5,
    /// Scheduler number: credit2.
    SCHEDULER_CREDIT2 = 6,
    /// Scheduler number: ARINC 653.
    SCHEDULER_ARINC653 = 7,
    /// Scheduler number: real time.
    SCHEDULER_RTDS = 8,
    /// Scheduler number: null.
    SCHEDULER_NULL = 9,
    /// [`SchedulerOp::cmd`](super::SchedulerOp::cmd): set a domain's.
    SCHEDOP_PUTINFO = 0,
    /// [`SchedulerOp::cmd`](super::SchedulerOp::cmd): get a domain's.
    SCHEDOP_GETINFO = 1,
    /// [`SchedulerOp::cmd`](super::SchedulerOp::cmd): set some vCPUs'.
    SCHEDOP_PUTVCPUINFO = 2,
    /// [`SchedulerOp::cmd`](super::SchedulerOp::cmd): get some vCPUs'.
    SCHEDOP_GETVCPUINFO = 3,
    /// [`SchedRtds::flags`](super::SchedRtds::flags): may have time that is left over.
    SCHEDRT_EXTRA = 1,

    /// [`SendTrigger::trigger`](super::SendTrigger::trigger): NMI.
    SENDTRIGGER_NMI = 0,
    /// [`SendTrigger::trigger`](super::SendTrigger::trigger): reset.
    SENDTRIGGER_RESET = 1,
    /// [`SendTrigger::trigger`](super::SendTrigger::trigger): INIT.
    SENDTRIGGER_INIT = 2,
    /// [`SendTrigger::trigger`](super::SendTrigger::trigger): power button.
    SENDTRIGGER_POWER = 3,
    /// [`SendTrigger::trigger`](super::SendTrigger::trigger): sleep button.
    SENDTRIGGER_SLEEP = 4,
    /// [`AssignDevice::dev`](super::AssignDevice::dev): a PCI device.
    DEV_PCI = 0,
    /// [`AssignDevice::dev`](super::AssignDevice::dev): a device-tree device.
    DEV_DT = 1,
    /// [`AssignDevice::flags`](super::AssignDevice::flags): conflicts over its memory are tolerated.
    DEV_RDM_RELAXED = 1,
    /// [`GsiPermission::flags`](super::GsiPermission::flags): allow (else revoke).
    GSI_GRANT = 1,
    /// [`CpuPolicy`](super::CpuPolicy) and others: no such leaf, subleaf or MSR.
    CPUID_INPUT_UNUSED = !0,
    /// [`BindPtIrq::irq_type`](super::BindPtIrq::irq_type): PCI line.
    PT_IRQ_TYPE_PCI = 0,
    /// [`BindPtIrq::irq_type`](super::BindPtIrq::irq_type): ISA.
    PT_IRQ_TYPE_ISA = 1,
    /// [`BindPtIrq::irq_type`](super::BindPtIrq::irq_type): MSI.
    PT_IRQ_TYPE_MSI = 2,
    /// [`BindPtIrq::irq_type`](super::BindPtIrq::irq_type): MSI to be shown as a line.
    PT_IRQ_TYPE_MSI_TRANSLATE = 3,
    /// [`BindPtIrq::irq_type`](super::BindPtIrq::irq_type): SPI (Arm).
    PT_IRQ_TYPE_SPI = 4,
}
