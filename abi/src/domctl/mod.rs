//! `public/domctl.h`, interface version 0x17: control of domains. Numbers of all operations, structures
//! of those that concern PV, PVH and HVM guests on x86.

mod numbers;

pub use numbers::*;

use crate::GuestPtr;
use crate::arch_x86::{ArchDomainConfig, CpuidLeaf, MsrEntry};
use crate::layout::layouts;
use crate::xen::{CtlBitmap, DomainHandle, VcpuGuestContext};

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
