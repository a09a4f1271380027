//! `public/domctl.h`, interface version 0x17: control of domains. Numbers of all operations, structures
//! of those that concern PV, PVH and HVM guests on x86.

use crate::GuestPtr;
use crate::arch_x86::{ArchDomainConfig, CpuidLeaf, MsrEntry};
use crate::layout::{consts, layouts, open_enum};
use crate::xen::{CtlBitmap, DomainHandle, VcpuGuestContext};

/// What [`Domctl::interface_version`] must be.
pub const DOMCTL_INTERFACE_VERSION: u32 = 0x17;

open_enum! {
    /// What a domctl call does.
    pub struct DomctlCmd(u32) {
        /// [`CreateDomain`].
        CREATEDOMAIN = 1,
        /// Ends a domain.
        DESTROYDOMAIN = 2,
        /// Stops it from running.
        PAUSEDOMAIN = 3,
        /// Lets it run again.
        UNPAUSEDOMAIN = 4,
        /// [`GetDomainInfo`].
        GETDOMAININFO = 5,
        /// [`VcpuAffinity`].
        SETVCPUAFFINITY = 9,
        /// [`ShadowOp`].
        SHADOW_OP = 10,
        /// [`MaxMem`].
        MAX_MEM = 11,
        /// [`VcpuContext`].
        SETVCPUCONTEXT = 12,
        /// [`VcpuContext`].
        GETVCPUCONTEXT = 13,
        /// [`GetVcpuInfo`].
        GETVCPUINFO = 14,
        /// [`MaxVcpus`].
        MAX_VCPUS = 15,
        /// [`SchedulerOp`].
        SCHEDULER_OP = 16,
        /// [`SetDomainHandle`].
        SETDOMAINHANDLE = 17,
        /// [`SetDebugging`].
        SETDEBUGGING = 18,
        /// [`IrqPermission`].
        IRQ_PERMISSION = 19,
        /// [`IomemPermission`].
        IOMEM_PERMISSION = 20,
        /// [`IoportPermission`].
        IOPORT_PERMISSION = 21,
        /// [`HypercallInit`].
        HYPERCALL_INIT = 22,
        /// Continuation of a soft reset; internal.
        SOFT_RESET_CONT = 23,
        /// [`SetTimeOffset`].
        SETTIMEOFFSET = 24,
        /// [`VcpuAffinity`].
        GETVCPUAFFINITY = 25,
        /// Obsolete.
        REAL_MODE_AREA = 26,
        /// Lets a domain go on after a suspend that was not completed.
        RESUMEDOMAIN = 27,
        /// [`SendTrigger`].
        SENDTRIGGER = 28,
        /// [`Subscribe`].
        SUBSCRIBE = 29,
        /// [`HvmContext`].
        GETHVMCONTEXT = 33,
        /// [`HvmContext`].
        SETHVMCONTEXT = 34,
        /// [`AddressSize`].
        SET_ADDRESS_SIZE = 35,
        /// [`AddressSize`].
        GET_ADDRESS_SIZE = 36,
        /// [`AssignDevice`].
        ASSIGN_DEVICE = 37,
        /// [`BindPtIrq`].
        BIND_PT_IRQ = 38,
        /// [`MemoryMapping`].
        MEMORY_MAPPING = 39,
        /// [`IoportMapping`].
        IOPORT_MAPPING = 40,
        /// [`ExtVcpuContext`].
        SET_EXT_VCPUCONTEXT = 42,
        /// [`ExtVcpuContext`].
        GET_EXT_VCPUCONTEXT = 43,
        /// Obsolete.
        SET_OPT_FEATURE = 44,
        /// [`AssignDevice`].
        TEST_ASSIGN_DEVICE = 45,
        /// [`SetTarget`].
        SET_TARGET = 46,
        /// [`AssignDevice`].
        DEASSIGN_DEVICE = 47,
        /// [`BindPtIrq`].
        UNBIND_PT_IRQ = 48,
        /// [`GetDeviceGroup`].
        GET_DEVICE_GROUP = 50,
        /// [`DebugOp`].
        DEBUG_OP = 54,
        /// [`HvmContextPartial`].
        GETHVMCONTEXT_PARTIAL = 55,
        /// Rings of memory events.
        VM_EVENT_OP = 56,
        /// Sharing of memory.
        MEM_SHARING_OP = 57,
        /// [`TscInfo`].
        GETTSCINFO = 59,
        /// [`TscInfo`].
        SETTSCINFO = 60,
        /// [`GetPageFrameInfo3`].
        GETPAGEFRAMEINFO3 = 61,
        /// [`VcpuExtState`].
        SETVCPUEXTSTATE = 62,
        /// [`VcpuExtState`].
        GETVCPUEXTSTATE = 63,
        /// Memory events must have a listener.
        SET_ACCESS_REQUIRED = 64,
        /// Compares P2M and M2P.
        AUDIT_P2M = 65,
        /// [`SetVirqHandler`].
        SET_VIRQ_HANDLER = 66,
        /// Marks a page as broken.
        SET_BROKEN_PAGE_P2M = 67,
        /// [`NodeAffinity`].
        SETNODEAFFINITY = 68,
        /// [`NodeAffinity`].
        GETNODEAFFINITY = 69,
        /// [`CacheFlush`].
        CACHEFLUSH = 71,
        /// [`VcpuMsrs`].
        GET_VCPU_MSRS = 72,
        /// [`VcpuMsrs`].
        SET_VCPU_MSRS = 73,
        /// [`Vnuma`].
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
        /// [`CpuPolicy`].
        GET_CPU_POLICY = 82,
        /// [`CpuPolicy`].
        SET_CPU_POLICY = 83,
        /// Processor trace.
        VMTRACE_OP = 84,
        /// [`PagingMempool`].
        GET_PAGING_MEMPOOL_SIZE = 85,
        /// [`PagingMempool`].
        SET_PAGING_MEMPOOL_SIZE = 86,
        /// Device-tree overlays (Arm).
        DT_OVERLAY = 87,
        /// [`GsiPermission`].
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
    /// [`CreateDomain::flags`]: translated, with hardware's help.
    CDF_HVM = 1 << 0,
    /// [`CreateDomain::flags`]: nested paging.
    CDF_HAP = 1 << 1,
    /// [`CreateDomain::flags`]: memory is checked over a sleep of the host.
    CDF_S3_INTEGRITY = 1 << 2,
    /// [`CreateDomain::flags`]: no out-of-sync shadows.
    CDF_OOS_OFF = 1 << 3,
    /// [`CreateDomain::flags`]: the xenstore domain.
    CDF_XS_DOMAIN = 1 << 4,
    /// [`CreateDomain::flags`]: devices may be assigned.
    CDF_IOMMU = 1 << 5,
    /// [`CreateDomain::flags`]: nested virtualization.
    CDF_NESTED_VIRT = 1 << 6,
    /// [`CreateDomain::flags`]: performance counters.
    CDF_VPMU = 1 << 7,
    /// [`CreateDomain::flags`]: all of them.
    CDF_ALL = 0xff,
    /// [`CreateDomain::iommu_opts`]: own tables.
    IOMMU_NO_SHAREPT = 1 << 0,
    /// [`CreateDomain::grant_opts`]: greatest version.
    GRANT_VERSION_MASK = 0xf,
    /// [`CreateDomain::altp2m_opts`]: mode.
    ALTP2M_MODE_MASK = 0x3,

    /// [`GetDomainInfo::flags`]: being destroyed.
    DOMINF_DYING = 1 << 0,
    /// [`GetDomainInfo::flags`]: translated.
    DOMINF_HVM_GUEST = 1 << 1,
    /// [`GetDomainInfo::flags`]: has stopped; the reason is in bits 16 to 23.
    DOMINF_SHUTDOWN = 1 << 2,
    /// [`GetDomainInfo::flags`]: paused by a control operation.
    DOMINF_PAUSED = 1 << 3,
    /// [`GetDomainInfo::flags`]: all vCPUs wait.
    DOMINF_BLOCKED = 1 << 4,
    /// [`GetDomainInfo::flags`]: a vCPU runs.
    DOMINF_RUNNING = 1 << 5,
    /// [`GetDomainInfo::flags`]: has a debugger.
    DOMINF_DEBUGGED = 1 << 6,
    /// [`GetDomainInfo::flags`]: the xenstore domain.
    DOMINF_XS_DOMAIN = 1 << 7,
    /// [`GetDomainInfo::flags`]: nested paging.
    DOMINF_HAP = 1 << 8,
    /// [`GetDomainInfo::flags`]: mask of the reason, after the shift.
    DOMINF_SHUTDOWNMASK = 255,
    /// [`GetDomainInfo::flags`]: where the reason starts.
    DOMINF_SHUTDOWNSHIFT = 16,
    /// [`GetDomainInfo::max_vcpu_id`] of a domain without vCPUs.
    INVALID_MAX_VCPU_ID = !0,

    /// Page types of [`GetPageFrameInfo3`]: where they start.
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

    /// [`ShadowOp::op`]: off.
    SHADOW_OP_OFF = 0,
    /// [`ShadowOp::op`]: on, for tests.
    SHADOW_OP_ENABLE_TEST = 1,
    /// [`ShadowOp::op`]: log dirty pages.
    SHADOW_OP_ENABLE_LOGDIRTY = 2,
    /// [`ShadowOp::op`]: read and clear the log.
    SHADOW_OP_CLEAN = 11,
    /// [`ShadowOp::op`]: read the log.
    SHADOW_OP_PEEK = 12,
    /// [`ShadowOp::op`]: memory for tables.
    SHADOW_OP_GET_ALLOCATION = 30,
    /// [`ShadowOp::op`]: sets that.
    SHADOW_OP_SET_ALLOCATION = 31,
    /// [`ShadowOp::op`]: on, with `mode`.
    SHADOW_OP_ENABLE = 32,
    /// [`ShadowOp::mode`] of a clean: the guest no longer runs.
    SHADOW_LOGDIRTY_FINAL = 1,

    /// [`VcpuAffinity::flags`]: hard.
    VCPUAFFINITY_HARD = 1 << 0,
    /// [`VcpuAffinity::flags`]: soft.
    VCPUAFFINITY_SOFT = 1 << 1,
    /// [`VcpuAffinity::flags`]: undoes an override.
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
    /// [`SchedulerOp::cmd`]: set a domain's.
    SCHEDOP_PUTINFO = 0,
    /// [`SchedulerOp::cmd`]: get a domain's.
    SCHEDOP_GETINFO = 1,
    /// [`SchedulerOp::cmd`]: set some vCPUs'.
    SCHEDOP_PUTVCPUINFO = 2,
    /// [`SchedulerOp::cmd`]: get some vCPUs'.
    SCHEDOP_GETVCPUINFO = 3,
    /// [`SchedRtds::flags`]: may have time that is left over.
    SCHEDRT_EXTRA = 1,

    /// [`SendTrigger::trigger`]: NMI.
    SENDTRIGGER_NMI = 0,
    /// [`SendTrigger::trigger`]: reset.
    SENDTRIGGER_RESET = 1,
    /// [`SendTrigger::trigger`]: INIT.
    SENDTRIGGER_INIT = 2,
    /// [`SendTrigger::trigger`]: power button.
    SENDTRIGGER_POWER = 3,
    /// [`SendTrigger::trigger`]: sleep button.
    SENDTRIGGER_SLEEP = 4,
    /// [`AssignDevice::dev`]: a PCI device.
    DEV_PCI = 0,
    /// [`AssignDevice::dev`]: a device-tree device.
    DEV_DT = 1,
    /// [`AssignDevice::flags`]: conflicts over its memory are tolerated.
    DEV_RDM_RELAXED = 1,
    /// [`GsiPermission::flags`]: allow (else revoke).
    GSI_GRANT = 1,
    /// [`CpuPolicy`] and others: no such leaf, subleaf or MSR.
    CPUID_INPUT_UNUSED = !0,
    /// [`BindPtIrq::irq_type`]: PCI line.
    PT_IRQ_TYPE_PCI = 0,
    /// [`BindPtIrq::irq_type`]: ISA.
    PT_IRQ_TYPE_ISA = 1,
    /// [`BindPtIrq::irq_type`]: MSI.
    PT_IRQ_TYPE_MSI = 2,
    /// [`BindPtIrq::irq_type`]: MSI to be shown as a line.
    PT_IRQ_TYPE_MSI_TRANSLATE = 3,
    /// [`BindPtIrq::irq_type`]: SPI (Arm).
    PT_IRQ_TYPE_SPI = 4,
}

layouts! {
    /// Argument of the hypercall.
    pub struct Domctl("struct xen_domctl"): 144 {
        /// What to do.
        pub cmd: DomctlCmd,
        /// [`DOMCTL_INTERFACE_VERSION`].
        pub interface_version: u32,
        /// Which domain (for a creation: wanted, out: given).
        pub domain: u16,
        /// Padding.
        pub _pad: [u16; 3],
        /// The command's structure, from the start.
        pub u: [u64; 16],
    }

    /// What a new domain is.
    pub struct CreateDomain("struct xen_domctl_createdomain"): 68 {
        /// Security label.
        pub ssidref: u32,
        /// Its name for users.
        pub handle: DomainHandle,
        /// `CDF_*`.
        pub flags: u32,
        /// [`IOMMU_NO_SHAREPT`].
        pub iommu_opts: u32,
        /// vCPUs at most.
        pub max_vcpus: u32,
        /// Greatest event channel port.
        pub max_evtchn_port: u32,
        /// Grant frames at most; negative for the default.
        pub max_grant_frames: i32,
        /// Maptrack frames at most; negative for the default.
        pub max_maptrack_frames: i32,
        /// Greatest grant version.
        pub grant_opts: u32,
        /// Mode of alternative P2Ms.
        pub altp2m_opts: u32,
        /// Bytes of a vCPU's trace buffer.
        pub vmtrace_size: u32,
        /// CPU pool.
        pub cpupool_id: u32,
        /// x86 configuration.
        pub arch: ArchDomainConfig,
    }

    /// What a domain is and does.
    pub struct GetDomainInfo("struct xen_domctl_getdomaininfo"): 112 {
        /// Its number: the first from the asked one up (out).
        pub domain: u16,
        /// Padding.
        pub pad1: u16,
        /// `DOMINF_*`.
        pub flags: u32,
        /// Pages.
        pub tot_pages: u64,
        /// Pages at most.
        pub max_pages: u64,
        /// Pages claimed and not yet given.
        pub outstanding_pages: u64,
        /// Pages shared.
        pub shr_pages: u64,
        /// Pages paged out.
        pub paged_pages: u64,
        /// Guest frame of the shared page.
        pub shared_info_frame: u64,
        /// CPU time of all vCPUs in nanoseconds.
        pub cpu_time: u64,
        /// vCPUs on line.
        pub nr_online_vcpus: u32,
        /// Greatest vCPU number.
        pub max_vcpu_id: u32,
        /// Security label.
        pub ssidref: u32,
        /// Its name for users.
        pub handle: DomainHandle,
        /// CPU pool.
        pub cpupool: u32,
        /// Bits of a guest-physical address.
        pub gpaddr_bits: u8,
        /// Padding.
        pub pad2: [u8; 7],
        /// x86 configuration.
        pub arch_config: ArchDomainConfig,
    }

    /// Types of pages.
    pub struct GetPageFrameInfo3("struct xen_domctl_getpageframeinfo3"): 16 {
        /// How many.
        pub num: u64,
        /// Frames (in), `PFINFO_*` (out).
        pub array: GuestPtr<u64>,
    }

    /// What [`ShadowOp`] counted.
    pub struct ShadowOpStats("struct xen_domctl_shadow_op_stats"): 8 {
        /// Faults.
        pub fault_count: u32,
        /// Dirty pages.
        pub dirty_count: u32,
    }

    /// Shadow or nested paging.
    pub struct ShadowOp("struct xen_domctl_shadow_op"): 40 {
        /// `SHADOW_OP_*`.
        pub op: u32,
        /// Its mode.
        pub mode: u32,
        /// MiB of memory.
        pub mb: u32,
        /// Padding.
        pub _pad: u32,
        /// The log, a bit for each page.
        pub dirty_bitmap: GuestPtr<u8>,
        /// Pages: room (in), written (out).
        pub pages: u64,
        /// Counts (out).
        pub stats: ShadowOpStats,
    }

    /// Memory limit.
    pub struct MaxMem("struct xen_domctl_max_mem"): 8 {
        /// KiB.
        pub max_memkb: u64,
    }

    /// A vCPU's registers.
    pub struct VcpuContext("struct xen_domctl_vcpucontext"): 16 {
        /// Which.
        pub vcpu: u32,
        /// Padding.
        pub _pad: u32,
        /// They; null on a set resets the vCPU.
        pub ctxt: GuestPtr<VcpuGuestContext>,
    }

    /// What a vCPU does.
    pub struct GetVcpuInfo("struct xen_domctl_getvcpuinfo"): 24 {
        /// Which.
        pub vcpu: u32,
        /// Is on line (out).
        pub online: u8,
        /// Waits (out).
        pub blocked: u8,
        /// Runs (out).
        pub running: u8,
        /// Padding.
        pub _pad0: u8,
        /// CPU time in nanoseconds (out).
        pub cpu_time: u64,
        /// Where (out).
        pub cpu: u32,
        /// Padding.
        pub _pad1: u32,
    }

    /// Nodes for a domain's memory.
    pub struct NodeAffinity("struct xen_domctl_nodeaffinity"): 16 {
        /// They.
        pub nodemap: CtlBitmap,
    }

    /// CPUs for a vCPU.
    pub struct VcpuAffinity("struct xen_domctl_vcpuaffinity"): 40 {
        /// Which.
        pub vcpu: u32,
        /// `VCPUAFFINITY_*`.
        pub flags: u32,
        /// Where it may run; out: where it can.
        pub cpumap_hard: CtlBitmap,
        /// Where it should run; out: where it will.
        pub cpumap_soft: CtlBitmap,
    }

    /// vCPUs of a domain.
    pub struct MaxVcpus("struct xen_domctl_max_vcpus"): 4 {
        /// How many.
        pub max: u32,
    }

    /// Parameters of credit.
    pub struct SchedCredit("struct xen_domctl_sched_credit"): 4 {
        /// Weight; 0 leaves it.
        pub weight: u16,
        /// Cap in percent; 65535 leaves it.
        pub cap: u16,
    }

    /// Parameters of credit2.
    pub struct SchedCredit2("struct xen_domctl_sched_credit2"): 4 {
        /// Weight; 0 leaves it.
        pub weight: u16,
        /// Cap in percent; 65535 leaves it.
        pub cap: u16,
    }

    /// Parameters of the real-time scheduler.
    pub struct SchedRtds("struct xen_domctl_sched_rtds"): 12 {
        /// Period in microseconds.
        pub period: u32,
        /// Time in it.
        pub budget: u32,
        /// [`SCHEDRT_EXTRA`].
        pub flags: u32,
    }

    /// Parameters of one vCPU.
    pub struct SchedParamVcpu("struct xen_domctl_schedparam_vcpu"): 16 {
        /// The scheduler's structure.
        pub u: [u32; 3],
        /// Which vCPU.
        pub vcpuid: u32,
    }

    /// Parameters for the scheduler.
    pub struct SchedulerOp("struct xen_domctl_scheduler_op"): 24 {
        /// `SCHEDULER_*`.
        pub sched_id: u32,
        /// `SCHEDOP_*`.
        pub cmd: u32,
        /// The scheduler's structure, or [`SchedulerOpVcpus`].
        pub u: [u64; 2],
    }

    /// [`SchedulerOp::u`] of the vCPU commands.
    pub struct SchedulerOpVcpus(""): 16 {
        /// The parameters.
        pub vcpus: GuestPtr<SchedParamVcpu>,
        /// How many (in), how many done (out).
        pub nr_vcpus: u32,
        /// Padding.
        pub padding: u32,
    }

    /// A domain's name for users.
    pub struct SetDomainHandle("struct xen_domctl_setdomainhandle"): 16 {
        /// It.
        pub handle: DomainHandle,
    }

    /// A debugger is attached.
    pub struct SetDebugging("struct xen_domctl_setdebugging"): 1 {
        /// Whether.
        pub enable: u8,
    }

    /// Right to an interrupt.
    pub struct IrqPermission("struct xen_domctl_irq_permission"): 8 {
        /// Which PIRQ of the caller.
        pub pirq: u32,
        /// Allow or not.
        pub allow_access: u8,
        /// Padding.
        pub pad: [u8; 3],
    }

    /// Right to a GSI.
    pub struct GsiPermission("struct xen_domctl_gsi_permission"): 8 {
        /// Which.
        pub gsi: u32,
        /// [`GSI_GRANT`].
        pub flags: u32,
    }

    /// Right to device memory.
    pub struct IomemPermission("struct xen_domctl_iomem_permission"): 24 {
        /// First frame.
        pub first_mfn: u64,
        /// Frames.
        pub nr_mfns: u64,
        /// Allow or not.
        pub allow_access: u8,
        /// Padding.
        pub _pad: [u8; 7],
    }

    /// Right to I/O ports.
    pub struct IoportPermission("struct xen_domctl_ioport_permission"): 12 {
        /// First port.
        pub first_port: u32,
        /// Ports.
        pub nr_ports: u32,
        /// Allow or not.
        pub allow_access: u8,
        /// Padding.
        pub _pad: [u8; 3],
    }

    /// Fills a page with hypercall stubs.
    pub struct HypercallInit("struct xen_domctl_hypercall_init"): 8 {
        /// Guest frame.
        pub gmfn: u64,
    }

    /// Offset of the wall clock.
    pub struct SetTimeOffset("struct xen_domctl_settimeoffset"): 8 {
        /// Seconds.
        pub time_offset_seconds: i64,
    }

    /// State of an HVM guest.
    pub struct HvmContext("struct xen_domctl_hvmcontext"): 16 {
        /// Bytes.
        pub size: u32,
        /// Padding.
        pub _pad: u32,
        /// The records; null asks for the size.
        pub buffer: GuestPtr<u8>,
    }

    /// One record of that state.
    pub struct HvmContextPartial("struct xen_domctl_hvmcontext_partial"): 24 {
        /// Kind.
        pub kind("type"): u32,
        /// Which, of several.
        pub instance: u32,
        /// Bytes.
        pub bufsz: u64,
        /// The record.
        pub buffer: GuestPtr<u8>,
    }

    /// Width of a PV guest.
    pub struct AddressSize("struct xen_domctl_address_size"): 4 {
        /// 32 or 64.
        pub size: u32,
    }

    /// A button or signal.
    pub struct SendTrigger("struct xen_domctl_sendtrigger"): 8 {
        /// `SENDTRIGGER_*`.
        pub trigger: u32,
        /// To which vCPU.
        pub vcpu: u32,
    }

    /// A device to be given.
    pub struct AssignDevice("struct xen_domctl_assign_device"): 24 {
        /// [`DEV_PCI`] or [`DEV_DT`].
        pub dev: u32,
        /// [`DEV_RDM_RELAXED`].
        pub flags: u32,
        /// PCI: segment, bus, device and function in the first 32 bits.
        pub u: [u64; 2],
    }

    /// Devices that go together.
    pub struct GetDeviceGroup("struct xen_domctl_get_device_group"): 24 {
        /// One of them.
        pub machine_sbdf: u32,
        /// Room.
        pub max_sdevs: u32,
        /// How many (out).
        pub num_sdevs: u32,
        /// Padding.
        pub _pad: u32,
        /// They (out).
        pub sdev_array: GuestPtr<u32>,
    }

    /// Passes a device's interrupt to a guest.
    pub struct BindPtIrq("struct xen_domctl_bind_pt_irq"): 24 {
        /// The PIRQ.
        pub machine_irq: u32,
        /// `PT_IRQ_TYPE_*`.
        pub irq_type: u32,
        /// ISA: a byte. PCI: bus, device and line, a byte each. MSI: vector (a byte), flags in the
        /// second 32 bits, address of its table entry.
        pub u: [u64; 2],
    }

    /// Device memory in a guest.
    pub struct MemoryMapping("struct xen_domctl_memory_mapping"): 32 {
        /// First guest frame.
        pub first_gfn: u64,
        /// First machine frame.
        pub first_mfn: u64,
        /// Frames.
        pub nr_mfns: u64,
        /// 1: add, 0: remove.
        pub add_mapping: u32,
        /// Must be 0.
        pub padding: u32,
    }

    /// I/O ports in a guest.
    pub struct IoportMapping("struct xen_domctl_ioport_mapping"): 16 {
        /// First port in the guest.
        pub first_gport: u32,
        /// First port of the machine.
        pub first_mport: u32,
        /// Ports.
        pub nr_ports: u32,
        /// 1: add, 0: remove.
        pub add_mapping: u32,
    }

    /// More of a PV vCPU's state.
    pub struct ExtVcpuContext("struct xen_domctl_ext_vcpucontext"): 64 {
        /// Which.
        pub vcpu: u32,
        /// Bytes of what follows (in for a set, out for a get).
        pub size: u32,
        /// 32-bit SYSCALL entry point.
        pub syscall32_callback_eip: u64,
        /// SYSENTER entry point.
        pub sysenter_callback_eip: u64,
        /// Its selector (32-bit guests).
        pub syscall32_callback_cs: u16,
        /// Its selector (32-bit guests).
        pub sysenter_callback_cs: u16,
        /// Enters with events masked.
        pub syscall32_disables_events: u8,
        /// Enters with events masked.
        pub sysenter_disables_events: u8,
        /// Padding.
        pub _pad: u16,
        /// Machine checks: capabilities, control of banks 0 and 1, extended control.
        pub vmce: [u64; 4],
    }

    /// A domain that this one serves.
    pub struct SetTarget("struct xen_domctl_set_target"): 2 {
        /// It.
        pub target: u16,
    }

    /// A domain's CPU policy.
    pub struct CpuPolicy("struct xen_domctl_cpu_policy"): 40 {
        /// Leaves: room or number (in), number (out).
        pub nr_leaves: u32,
        /// MSRs: room or number (in), number (out).
        pub nr_msrs: u32,
        /// The leaves.
        pub leaves: GuestPtr<CpuidLeaf>,
        /// The MSRs.
        pub msrs: GuestPtr<MsrEntry>,
        /// The leaf at fault, or all ones (out).
        pub err_leaf: u32,
        /// The subleaf at fault, or all ones (out).
        pub err_subleaf: u32,
        /// The MSR at fault, or all ones (out).
        pub err_msr: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// A port to be told of a suspend.
    pub struct Subscribe("struct xen_domctl_subscribe"): 4 {
        /// It.
        pub port: u32,
    }

    /// Single steps of an HVM vCPU.
    pub struct DebugOp("struct xen_domctl_debug_op"): 8 {
        /// 0: off, 1: on.
        pub op: u32,
        /// Which.
        pub vcpu: u32,
    }

    /// A domain's TSC.
    pub struct TscInfo("struct xen_domctl_tsc_info"): 24 {
        /// How it works.
        pub tsc_mode: u32,
        /// kHz.
        pub gtsc_khz: u32,
        /// How often it was restored.
        pub incarnation: u32,
        /// Padding.
        pub pad: u32,
        /// Nanoseconds since its start.
        pub elapsed_nsec: u64,
    }

    /// Which VIRQ's handler the domain is.
    pub struct SetVirqHandler("struct xen_domctl_set_virq_handler"): 4 {
        /// It.
        pub virq: u32,
    }

    /// A vCPU's extended state.
    pub struct VcpuExtState("struct xen_domctl_vcpuextstate"): 32 {
        /// Which.
        pub vcpu: u32,
        /// Padding.
        pub _pad: u32,
        /// Components: XCR0 ever used (out) or of the CPU.
        pub xfeature_mask: u64,
        /// Bytes.
        pub size: u64,
        /// XCR0, XCR0 accumulated, XSAVE area.
        pub buffer: GuestPtr<u64>,
    }

    /// Caches to be written back.
    pub struct CacheFlush("struct xen_domctl_cacheflush"): 16 {
        /// First frame.
        pub start_pfn: u64,
        /// Frames.
        pub nr_pfns: u64,
    }

    /// Memory for page tables.
    pub struct PagingMempool("struct xen_domctl_paging_mempool"): 8 {
        /// Bytes.
        pub size: u64,
    }

    /// One MSR.
    pub struct VcpuMsr("struct xen_domctl_vcpu_msr"): 16 {
        /// Which.
        pub index: u32,
        /// Must be 0.
        pub reserved: u32,
        /// Value.
        pub value: u64,
    }

    /// A vCPU's MSRs.
    pub struct VcpuMsrs("struct xen_domctl_vcpu_msrs"): 16 {
        /// Which.
        pub vcpu: u32,
        /// How many: room or number (in), number (out).
        pub msr_count: u32,
        /// They; null asks for the number.
        pub msrs: GuestPtr<VcpuMsr>,
    }

    /// Virtual NUMA topology.
    pub struct Vnuma("struct xen_domctl_vnuma"): 48 {
        /// Nodes.
        pub nr_vnodes: u32,
        /// Ranges.
        pub nr_vmemranges: u32,
        /// vCPUs.
        pub nr_vcpus: u32,
        /// Must be 0.
        pub pad: u32,
        /// Distances.
        pub vdistance: GuestPtr<u32>,
        /// Node of each vCPU.
        pub vcpu_to_vnode: GuestPtr<u32>,
        /// Physical node of each node.
        pub vnode_to_pnode: GuestPtr<u32>,
        /// The ranges.
        pub vmemrange: GuestPtr<crate::memory::Vmemrange>,
    }
}
