//! `public/sysctl.h`, interface version 0x15: control of the host. Numbers of all operations,
//! structures of those that `xl` needs.

use crate::GuestPtr;
use crate::arch_x86::{CpuidLeaf, MsrEntry};
use crate::layout::{consts, layouts, open_enum};
use crate::xen::{CtlBitmap, DomainHandle};

/// What [`Sysctl::interface_version`] must be.
pub const SYSCTL_INTERFACE_VERSION: u32 = 0x15;

open_enum! {
    /// What a sysctl call does.
    pub struct SysctlCmd(u32) {
        /// [`ReadConsole`].
        READCONSOLE = 1,
        /// [`TbufOp`].
        TBUF_OP = 2,
        /// [`PhysInfo`].
        PHYSINFO = 3,
        /// [`SchedId`].
        SCHED_ID = 4,
        /// [`PerfcOp`].
        PERFC_OP = 5,
        /// [`GetDomainInfoList`].
        GETDOMAININFOLIST = 6,
        /// [`DebugKeys`].
        DEBUG_KEYS = 7,
        /// [`GetCpuInfo`].
        GETCPUINFO = 8,
        /// [`AvailHeap`].
        AVAILHEAP = 9,
        /// Statistics of power management.
        GET_PMSTAT = 10,
        /// [`CpuHotplug`].
        CPU_HOTPLUG = 11,
        /// Power management.
        PM_OP = 12,
        /// [`PageOffline`].
        PAGE_OFFLINE_OP = 14,
        /// Statistics of locks.
        LOCKPROF_OP = 15,
        /// [`CpuTopoInfo`].
        CPUTOPOINFO = 16,
        /// [`NumaInfo`].
        NUMAINFO = 17,
        /// [`CpupoolOp`].
        CPUPOOL_OP = 18,
        /// [`SchedulerOp`].
        SCHEDULER_OP = 19,
        /// Coverage of the hypervisor.
        COVERAGE_OP = 20,
        /// Cache monitoring.
        PSR_CMT_OP = 21,
        /// [`PciTopoInfo`].
        PCITOPOINFO = 22,
        /// Cache allocation.
        PSR_ALLOC = 23,
        /// [`CpuLevellingCaps`].
        GET_CPU_LEVELLING_CAPS = 25,
        /// [`CpuFeatureset`].
        GET_CPU_FEATURESET = 26,
        /// Live patches.
        LIVEPATCH_OP = 27,
        /// [`CpuPolicy`].
        GET_CPU_POLICY = 29,
        /// Device-tree overlays (Arm).
        DT_OVERLAY = 30,
    }
}

consts! { u32;
    /// [`PhysInfo::capabilities`]: HVM.
    PHYSCAP_HVM = 1 << 0,
    /// [`PhysInfo::capabilities`]: PV.
    PHYSCAP_PV = 1 << 1,
    /// [`PhysInfo::capabilities`]: devices can be assigned.
    PHYSCAP_DIRECTIO = 1 << 2,
    /// [`PhysInfo::capabilities`]: nested paging.
    PHYSCAP_HAP = 1 << 3,
    /// [`PhysInfo::capabilities`]: shadow paging.
    PHYSCAP_SHADOW = 1 << 4,
    /// [`PhysInfo::capabilities`]: the IOMMU can share the P2M.
    PHYSCAP_IOMMU_HAP_PT_SHARE = 1 << 5,
    /// [`PhysInfo::capabilities`]: processor trace.
    PHYSCAP_VMTRACE = 1 << 6,
    /// [`PhysInfo::capabilities`]: performance counters.
    PHYSCAP_VPMU = 1 << 7,
    /// [`PhysInfo::capabilities`]: grant tables of version 1.
    PHYSCAP_GNTTAB_V1 = 1 << 8,
    /// [`PhysInfo::capabilities`]: grant tables of version 2.
    PHYSCAP_GNTTAB_V2 = 1 << 9,

    /// [`CpuHotplug::op`]: on line.
    CPU_HOTPLUG_ONLINE = 0,
    /// [`CpuHotplug::op`]: off line.
    CPU_HOTPLUG_OFFLINE = 1,
    /// [`CpuHotplug::op`]: second threads on line.
    CPU_HOTPLUG_SMT_ENABLE = 2,
    /// [`CpuHotplug::op`]: second threads off line.
    CPU_HOTPLUG_SMT_DISABLE = 3,

    /// Topology: no such core, socket or node.
    INVALID_ID = !0,
    /// Topology: no such device.
    INVALID_DEV = !1,
    /// Topology: no such distance.
    INVALID_NODE_DIST = !0,

    /// [`CpupoolOp::op`]: makes one.
    CPUPOOL_OP_CREATE = 1,
    /// [`CpupoolOp::op`]: removes it.
    CPUPOOL_OP_DESTROY = 2,
    /// [`CpupoolOp::op`]: what it is.
    CPUPOOL_OP_INFO = 3,
    /// [`CpupoolOp::op`]: gives it a CPU.
    CPUPOOL_OP_ADDCPU = 4,
    /// [`CpupoolOp::op`]: takes a CPU from it.
    CPUPOOL_OP_RMCPU = 5,
    /// [`CpupoolOp::op`]: moves a domain to it.
    CPUPOOL_OP_MOVEDOMAIN = 6,
    /// [`CpupoolOp::op`]: CPUs in no pool.
    CPUPOOL_OP_FREEINFO = 7,
    /// [`CpupoolOp`]: any pool or CPU.
    CPUPOOL_PAR_ANY = !0,

    /// [`SchedulerOp::cmd`]: set.
    SCHEDOP_PUTINFO = 0,
    /// [`SchedulerOp::cmd`]: get.
    SCHEDOP_GETINFO = 1,
    /// Greatest rate limit in microseconds.
    SCHED_RATELIMIT_MAX = 500_000,
    /// Least rate limit in microseconds, other than none.
    SCHED_RATELIMIT_MIN = 100,
    /// Greatest time slice of credit in milliseconds.
    CSCHED_TSLICE_MAX = 1000,
    /// Least time slice of credit in milliseconds.
    CSCHED_TSLICE_MIN = 1,
    /// Greatest migration delay of credit in microseconds.
    CSCHED_MGR_DLY_MAX_US = 100_000,

    /// [`CpuLevellingCaps::caps`]: CPUID can be made to fault.
    CPU_LEVELCAP_FAULTING = 1 << 0,
    /// [`CpuLevellingCaps::caps`]: leaf 1 ECX can be masked.
    CPU_LEVELCAP_ECX = 1 << 1,
    /// [`CpuLevellingCaps::caps`]: leaf 1 EDX can be masked.
    CPU_LEVELCAP_EDX = 1 << 2,
    /// [`CpuLevellingCaps::caps`]: leaf 0x80000001 ECX can be masked.
    CPU_LEVELCAP_EXTD_ECX = 1 << 3,
    /// [`CpuLevellingCaps::caps`]: leaf 0x80000001 EDX can be masked.
    CPU_LEVELCAP_EXTD_EDX = 1 << 4,
    /// [`CpuLevellingCaps::caps`]: leaf 13.1 EAX can be masked.
    CPU_LEVELCAP_XSAVE_EAX = 1 << 5,
    /// [`CpuLevellingCaps::caps`]: leaf 6 ECX can be masked.
    CPU_LEVELCAP_THERMAL_ECX = 1 << 6,
    /// [`CpuLevellingCaps::caps`]: leaf 7.0 EAX can be masked.
    CPU_LEVELCAP_L7S0_EAX = 1 << 7,
    /// [`CpuLevellingCaps::caps`]: leaf 7.0 EBX can be masked.
    CPU_LEVELCAP_L7S0_EBX = 1 << 8,
}

open_enum! {
    /// Which set of [`CpuFeatureset`].
    pub struct FeaturesetIndex(u32) {
        /// What the CPU says.
        RAW = 0,
        /// What the hypervisor uses of it.
        HOST = 1,
        /// What PV guests get.
        PV = 2,
        /// What HVM guests get.
        HVM = 3,
        /// What PV guests may get.
        PV_MAX = 4,
        /// What HVM guests may get.
        HVM_MAX = 5,
    }
}

open_enum! {
    /// Which policy of [`CpuPolicy`].
    pub struct PolicyIndex(u32) {
        /// What the CPU says.
        RAW = 0,
        /// What the hypervisor uses of it.
        HOST = 1,
        /// What PV guests may get.
        PV_MAX = 2,
        /// What HVM guests may get.
        HVM_MAX = 3,
        /// What PV guests get.
        PV_DEFAULT = 4,
        /// What HVM guests get.
        HVM_DEFAULT = 5,
    }
}

layouts! {
    /// Argument of the hypercall.
    pub struct Sysctl("struct xen_sysctl"): 136 {
        /// What to do.
        pub cmd: SysctlCmd,
        /// [`SYSCTL_INTERFACE_VERSION`].
        pub interface_version: u32,
        /// The command's structure, from the start.
        pub u: [u64; 16],
    }

    /// Text of the console ring.
    pub struct ReadConsole("struct xen_sysctl_readconsole"): 24 {
        /// Forgets what is read.
        pub clear: u8,
        /// Reads on from `index`.
        pub incremental: u8,
        /// Padding.
        pub pad0: u8,
        /// Padding.
        pub pad1: u8,
        /// First byte (in), the byte after the last (out).
        pub index: u32,
        /// The text.
        pub buffer: GuestPtr<u8>,
        /// Bytes: room (in), written (out).
        pub count: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// Trace buffers.
    pub struct TbufOp("struct xen_sysctl_tbuf_op"): 48 {
        /// Get info 0, set CPU mask 1, set event mask 2, set size 3, enable 4, disable 5.
        pub cmd: u32,
        /// Padding.
        pub _pad0: u32,
        /// CPUs.
        pub cpu_mask: CtlBitmap,
        /// Events.
        pub evt_mask: u32,
        /// Padding.
        pub _pad1: u32,
        /// Frame of the buffers' description (out).
        pub buffer_mfn: u64,
        /// Pages for each CPU.
        pub size: u32,
        /// Padding.
        pub _pad2: u32,
    }

    /// What the host is.
    pub struct PhysInfo("struct xen_sysctl_physinfo"): 112 {
        /// Threads of a core.
        pub threads_per_core: u32,
        /// Cores of a socket.
        pub cores_per_socket: u32,
        /// CPUs on line.
        pub nr_cpus: u32,
        /// Greatest CPU number.
        pub max_cpu_id: u32,
        /// Nodes on line.
        pub nr_nodes: u32,
        /// Greatest node number.
        pub max_node_id: u32,
        /// TSC frequency.
        pub cpu_khz: u32,
        /// `PHYSCAP_*`.
        pub capabilities: u32,
        /// The architecture's own.
        pub arch_capabilities: u32,
        /// Padding.
        pub pad: u32,
        /// Pages.
        pub total_pages: u64,
        /// Free pages.
        pub free_pages: u64,
        /// Pages to be scrubbed.
        pub scrub_pages: u64,
        /// Pages claimed and not yet given.
        pub outstanding_pages: u64,
        /// Greatest frame.
        pub max_mfn: u64,
        /// Feature words: leaf 1 EDX, 0x80000001 EDX, -, -, leaf 1 ECX, -, 0x80000001 ECX, leaf 7 EBX.
        pub hw_cap: [u32; 8],
    }

    /// The scheduler.
    pub struct SchedId("struct xen_sysctl_sched_id"): 4 {
        /// Its number (out).
        pub sched_id: u32,
    }

    /// Name of a counter.
    pub struct PerfcDesc("struct xen_sysctl_perfc_desc"): 84 {
        /// It, ended by a zero byte.
        pub name: [u8; 80],
        /// Values of it.
        pub nr_vals: u32,
    }

    /// Counters.
    pub struct PerfcOp("struct xen_sysctl_perfc_op"): 32 {
        /// Reset 1, query 2.
        pub cmd: u32,
        /// Counters (out).
        pub nr_counters: u32,
        /// Values (out).
        pub nr_vals: u32,
        /// Padding.
        pub _pad: u32,
        /// Names (out).
        pub desc: GuestPtr<PerfcDesc>,
        /// Values (out).
        pub val: GuestPtr<u32>,
    }

    /// What several domains are and do.
    pub struct GetDomainInfoList("struct xen_sysctl_getdomaininfolist"): 24 {
        /// From which number up.
        pub first_domain: u16,
        /// Padding.
        pub _pad0: u16,
        /// Room.
        pub max_domains: u32,
        /// They (out).
        pub buffer: GuestPtr<crate::domctl::GetDomainInfo>,
        /// How many (out).
        pub num_domains: u32,
        /// Padding.
        pub _pad1: u32,
    }

    /// Debug keys, as if typed.
    pub struct DebugKeys("struct xen_sysctl_debug_keys"): 16 {
        /// They.
        pub keys: GuestPtr<u8>,
        /// How many.
        pub nr_keys: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// One CPU of [`GetCpuInfo`].
    pub struct CpuInfo("struct xen_sysctl_cpuinfo"): 8 {
        /// Nanoseconds that it was idle.
        pub idletime: u64,
    }

    /// What CPUs did.
    pub struct GetCpuInfo("struct xen_sysctl_getcpuinfo"): 24 {
        /// Room.
        pub max_cpus: u32,
        /// Padding.
        pub _pad0: u32,
        /// They (out).
        pub info: GuestPtr<CpuInfo>,
        /// How many (out).
        pub nr_cpus: u32,
        /// Padding.
        pub _pad1: u32,
    }

    /// Free memory.
    pub struct AvailHeap("struct xen_sysctl_availheap"): 24 {
        /// Least address width; 0 for none.
        pub min_bitwidth: u32,
        /// Greatest address width; 0 for none.
        pub max_bitwidth: u32,
        /// Node; -1 for all.
        pub node: i32,
        /// Padding.
        pub _pad: u32,
        /// Bytes (out).
        pub avail_bytes: u64,
    }

    /// A CPU to be taken on or off line.
    pub struct CpuHotplug("struct xen_sysctl_cpu_hotplug"): 8 {
        /// Which.
        pub cpu: u32,
        /// `CPU_HOTPLUG_*`.
        pub op: u32,
    }

    /// Pages to be taken out of use.
    pub struct PageOffline("struct xen_sysctl_page_offline_op"): 24 {
        /// Off 1, on 2, query 3.
        pub cmd: u32,
        /// First frame.
        pub start: u32,
        /// Last frame.
        pub end: u32,
        /// Padding.
        pub _pad: u32,
        /// State of each (out).
        pub status: GuestPtr<u32>,
    }

    /// Where a CPU is.
    pub struct CpuTopo("struct xen_sysctl_cputopo"): 12 {
        /// Core.
        pub core: u32,
        /// Socket.
        pub socket: u32,
        /// Node.
        pub node: u32,
    }

    /// Where CPUs are.
    pub struct CpuTopoInfo("struct xen_sysctl_cputopoinfo"): 16 {
        /// Room (in), CPUs (out).
        pub num_cpus: u32,
        /// Padding.
        pub _pad: u32,
        /// They; null asks for the number.
        pub cputopo: GuestPtr<CpuTopo>,
    }

    /// Memory of a node.
    pub struct MemInfo("struct xen_sysctl_meminfo"): 16 {
        /// Bytes.
        pub memsize: u64,
        /// Free bytes.
        pub memfree: u64,
    }

    /// What nodes there are.
    pub struct NumaInfo("struct xen_sysctl_numainfo"): 24 {
        /// Room (in), nodes (out).
        pub num_nodes: u32,
        /// Padding.
        pub _pad: u32,
        /// Memory of each.
        pub meminfo: GuestPtr<MemInfo>,
        /// Distances, row by row.
        pub distance: GuestPtr<u32>,
    }

    /// CPU pools.
    pub struct CpupoolOp("struct xen_sysctl_cpupool_op"): 40 {
        /// `CPUPOOL_OP_*`.
        pub op: u32,
        /// Which (in and out).
        pub cpupool_id: u32,
        /// Its scheduler.
        pub sched_id: u32,
        /// A domain.
        pub domid: u32,
        /// A CPU.
        pub cpu: u32,
        /// Domains in it (out).
        pub n_dom: u32,
        /// CPUs in it (out).
        pub cpumap: CtlBitmap,
    }

    /// Slot of [`Arinc653Schedule`].
    pub struct Arinc653Entry(""): 32 {
        /// Domain.
        pub dom_handle: DomainHandle,
        /// vCPU.
        pub vcpu_id: u32,
        /// Padding.
        pub _pad: u32,
        /// Nanoseconds.
        pub runtime: u64,
    }

    /// Schedule of ARINC 653.
    pub struct Arinc653Schedule("struct xen_sysctl_arinc653_schedule"): 2064 {
        /// Nanoseconds of a round.
        pub major_frame: u64,
        /// Slots in use.
        pub num_sched_entries: u8,
        /// Padding.
        pub _pad: [u8; 7],
        /// The slots.
        pub sched_entries: [Arinc653Entry; 64],
    }

    /// Credit's own parameters.
    pub struct CreditSchedule("struct xen_sysctl_credit_schedule"): 12 {
        /// Time slice in milliseconds.
        pub tslice_ms: u32,
        /// Rate limit in microseconds.
        pub ratelimit_us: u32,
        /// Migration delay in microseconds.
        pub vcpu_migr_delay_us: u32,
    }

    /// Credit2's own parameters.
    pub struct Credit2Schedule("struct xen_sysctl_credit2_schedule"): 4 {
        /// Rate limit in microseconds.
        pub ratelimit_us: u32,
    }

    /// A scheduler's own parameters.
    pub struct SchedulerOp("struct xen_sysctl_scheduler_op"): 32 {
        /// Of which pool.
        pub cpupool_id: u32,
        /// Which scheduler.
        pub sched_id: u32,
        /// `SCHEDOP_*`.
        pub cmd: u32,
        /// Padding.
        pub _pad: u32,
        /// The scheduler's structure (ARINC 653: the address of it).
        pub u: [u64; 2],
    }

    /// Where devices are.
    pub struct PciTopoInfo("struct xen_sysctl_pcitopoinfo"): 24 {
        /// Devices asked for (in), answered (out).
        pub num_devs: u32,
        /// Padding.
        pub _pad: u32,
        /// They.
        pub devs: GuestPtr<crate::physdev::PciDevice>,
        /// Node of each (out).
        pub nodes: GuestPtr<u32>,
    }

    /// What CPUID masking there is.
    pub struct CpuLevellingCaps("struct xen_sysctl_cpu_levelling_caps"): 4 {
        /// `CPU_LEVELCAP_*` (out).
        pub caps: u32,
    }

    /// Feature words.
    pub struct CpuFeatureset("struct xen_sysctl_cpu_featureset"): 16 {
        /// Which set.
        pub index: FeaturesetIndex,
        /// Room (in), words (out).
        pub nr_features: u32,
        /// They; null asks for the number.
        pub features: GuestPtr<u32>,
    }

    /// A CPU policy of the host.
    pub struct CpuPolicy("struct xen_sysctl_cpu_policy"): 32 {
        /// Which.
        pub index: PolicyIndex,
        /// Leaves: room (in), number (out).
        pub nr_leaves: u32,
        /// MSRs: room (in), number (out).
        pub nr_msrs: u32,
        /// Must be 0.
        pub _rsvd: u32,
        /// The leaves; null asks for the numbers.
        pub leaves: GuestPtr<CpuidLeaf>,
        /// The MSRs; null asks for the numbers.
        pub msrs: GuestPtr<MsrEntry>,
    }
}
