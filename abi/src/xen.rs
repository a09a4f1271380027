//! `public/xen.h`: hypercall numbers, page-table updates, the pages that hypervisor and guest
//! share, and the start-up information of PV domains.

use crate::layout::{consts, layouts, open_enum};
pub use crate::pv::{
    CpuUserRegs, FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_DS64, FLAT_RING3_SS64, IretContext,
    SegmentBase, TrapInfo, VcpuGuestContext,
};

open_enum! {
    /// A hypercall's number, in RAX.
    pub struct Hypercall(u32) {
        /// Virtual IDT.
        SET_TRAP_TABLE = 0,
        /// Page-table writes in batches.
        MMU_UPDATE = 1,
        /// Loads a GDT.
        SET_GDT = 2,
        /// Kernel stack for transitions to the kernel.
        STACK_SWITCH = 3,
        /// Entry points, old form.
        SET_CALLBACKS = 4,
        /// Virtual CR0.TS.
        FPU_TASKSWITCH = 5,
        /// Scheduling, before 3.1.
        SCHED_OP_COMPAT = 6,
        /// The machine, for dom0.
        PLATFORM_OP = 7,
        /// Writes a debug register.
        SET_DEBUGREG = 8,
        /// Reads a debug register.
        GET_DEBUGREG = 9,
        /// Writes one GDT or LDT entry.
        UPDATE_DESCRIPTOR = 10,
        /// Memory of domains.
        MEMORY_OP = 12,
        /// Several hypercalls in one.
        MULTICALL = 13,
        /// Writes the L1 entry of an address.
        UPDATE_VA_MAPPING = 14,
        /// One-shot timer.
        SET_TIMER_OP = 15,
        /// Event channels, before 3.2.
        EVENT_CHANNEL_OP_COMPAT = 16,
        /// Version and features.
        XEN_VERSION = 17,
        /// The hypervisor's console.
        CONSOLE_IO = 18,
        /// Physical devices, before 3.2.
        PHYSDEV_OP_COMPAT = 19,
        /// Grant tables.
        GRANT_TABLE_OP = 20,
        /// Modes of a domain.
        VM_ASSIST = 21,
        /// [`Self::UPDATE_VA_MAPPING`] with another domain's page.
        UPDATE_VA_MAPPING_OTHERDOMAIN = 22,
        /// Return from an event or exception.
        IRET = 23,
        /// vCPUs.
        VCPU_OP = 24,
        /// FS and GS bases.
        SET_SEGMENT_BASE = 25,
        /// Pinning, base pointers, TLB and cache flushes.
        MMUEXT_OP = 26,
        /// Security module.
        XSM_OP = 27,
        /// NMI callback.
        NMI_OP = 28,
        /// Scheduling.
        SCHED_OP = 29,
        /// Entry points.
        CALLBACK_OP = 30,
        /// Profiling.
        XENOPROF_OP = 31,
        /// Event channels.
        EVENT_CHANNEL_OP = 32,
        /// Physical devices and interrupts.
        PHYSDEV_OP = 33,
        /// HVM guests.
        HVM_OP = 34,
        /// Control of the host.
        SYSCTL = 35,
        /// Control of domains.
        DOMCTL = 36,
        /// Crash kernels.
        KEXEC_OP = 37,
        /// Transcendent memory; removed.
        TMEM_OP = 38,
        /// Messages between domains.
        ARGO_OP = 39,
        /// Virtual performance counters.
        XENPMU_OP = 40,
        /// Device models.
        DM_OP = 41,
        /// The hypervisor's file system.
        HYPFS_OP = 42,
        /// Machine checks (the first of the architecture's own numbers).
        MCA = 48,
        /// Continuation of a paging domctl; internal.
        PAGING_DOMCTL_CONT = 49,
    }
}

open_enum! {
    /// A virtual interrupt.
    pub struct Virq(u32) {
        /// Timer, one for each vCPU.
        TIMER = 0,
        /// Asks the guest to dump its state; one for each vCPU.
        DEBUG = 1,
        /// Input on the emergency console; dom0.
        CONSOLE = 2,
        /// A domain changed state; the xenstore domain.
        DOM_EXC = 3,
        /// Trace buffer has data; dom0.
        TBUF = 4,
        /// A domain stopped for its debugger; dom0.
        DEBUGGER = 6,
        /// Profiling; one for each vCPU.
        XENOPROF = 7,
        /// The console ring has new text; dom0.
        CON_RING = 8,
        /// A physical CPU went on or off line; dom0.
        PCPU_STATE = 9,
        /// Memory event; dom0.
        MEM_EVENT = 10,
        /// Argo message.
        ARGO = 11,
        /// Memory is short; dom0.
        ENOMEM = 12,
        /// Performance counter overflow; one for each vCPU.
        XENPMU = 13,
        /// Machine check; first of eight numbers that are the architecture's.
        MCA = 16,
    }
}

consts! { usize;
    /// How many VIRQ numbers there are.
    NR_VIRQS = 24,
    /// vCPUs whose `vcpu_info` lies in the shared page.
    LEGACY_MAX_VCPUS = 32,
    /// Bytes of a start-up command line, with its end.
    MAX_GUEST_CMDLINE = 1024,
}

open_enum! {
    /// Low two bits of [`MmuUpdate::ptr`]: what to do.
    pub struct MmuCmd(u64) {
        /// Write a page-table entry.
        NORMAL_PT_UPDATE = 0,
        /// Write an entry of the machine-to-physical table.
        MACHPHYS_UPDATE = 1,
        /// Write a page-table entry, keeping the accessed and dirty bits that are there.
        PT_UPDATE_PRESERVE_AD = 2,
        /// Write a page-table entry whose frame number is the machine's even in a translated domain.
        PT_UPDATE_NO_TRANSLATE = 3,
    }
}

consts! { u64;
    /// The bits of [`MmuUpdate::ptr`] that are a [`MmuCmd`].
    MMU_CMD_MASK = 3,
}

open_enum! {
    /// What an [`MmuextOp`] asks for.
    pub struct MmuextCmd(u32) {
        /// Pin as L1.
        PIN_L1_TABLE = 0,
        /// Pin as L2.
        PIN_L2_TABLE = 1,
        /// Pin as L3.
        PIN_L3_TABLE = 2,
        /// Pin as L4.
        PIN_L4_TABLE = 3,
        /// Unpin.
        UNPIN_TABLE = 4,
        /// Kernel page tables of this vCPU.
        NEW_BASEPTR = 5,
        /// Flush this CPU's TLB.
        TLB_FLUSH_LOCAL = 6,
        /// Flush one address here.
        INVLPG_LOCAL = 7,
        /// Flush the TLBs of a set of vCPUs.
        TLB_FLUSH_MULTI = 8,
        /// Flush one address on a set of vCPUs.
        INVLPG_MULTI = 9,
        /// Flush all TLBs that this domain can have filled.
        TLB_FLUSH_ALL = 10,
        /// Flush one address on all of them.
        INVLPG_ALL = 11,
        /// Write back and invalidate this CPU's caches.
        FLUSH_CACHE = 12,
        /// Load an LDT: linear address and entries.
        SET_LDT = 13,
        /// User page tables of this vCPU.
        NEW_USER_BASEPTR = 15,
        /// Zero a page.
        CLEAR_PAGE = 16,
        /// Copy a page.
        COPY_PAGE = 17,
        /// Write back and invalidate all caches.
        FLUSH_CACHE_GLOBAL = 18,
        /// Allow a superpage.
        MARK_SUPER = 19,
        /// Take that back.
        UNMARK_SUPER = 20,
    }
}

consts! { u64;
    /// No flush.
    UVMF_NONE = 0,
    /// Flush TLBs.
    UVMF_TLB_FLUSH = 1,
    /// Flush the one address.
    UVMF_INVLPG = 2,
    /// Which of the two.
    UVMF_FLUSHTYPE_MASK = 3,
    /// Where: a pointer to a vCPU bitmap is added in.
    UVMF_MULTI = 0,
    /// Where: this CPU.
    UVMF_LOCAL = 0,
    /// Where: all CPUs.
    UVMF_ALL = 4,
}

open_enum! {
    /// What a console_io call does.
    pub struct ConsoleioCmd(u32) {
        /// Write text.
        WRITE = 0,
        /// Read input.
        READ = 1,
    }
}

open_enum! {
    /// What a vm_assist call does.
    pub struct VmassistCmd(u32) {
        /// Turn on.
        ENABLE = 0,
        /// Turn off.
        DISABLE = 1,
    }
}

consts! { u32;
    /// 4 GiB segments are emulated (32-bit guests).
    VMASST_TYPE_4GB_SEGMENTS = 0,
    /// Such emulation is told to the guest.
    VMASST_TYPE_4GB_SEGMENTS_NOTIFY = 1,
    /// Page tables seem writable: writes to them are emulated.
    VMASST_TYPE_WRITABLE_PAGETABLES = 2,
    /// PAE base pointers above 4 GiB.
    VMASST_TYPE_PAE_EXTENDED_CR3 = 3,
    /// IOPL as the architecture has it, rather than ring 1 as ring 0.
    VMASST_TYPE_ARCHITECTURAL_IOPL = 4,
    /// Runstate areas show that an update is under way.
    VMASST_TYPE_RUNSTATE_UPDATE_FLAG = 5,
    /// User page tables do not see the machine-to-physical table.
    VMASST_TYPE_M2P_STRICT = 32,
}

consts! { u8;
    /// [`VcpuTimeInfo::flags`]: the TSC is the same on all vCPUs.
    PVCLOCK_TSC_STABLE_BIT = 1,
    /// [`VcpuTimeInfo::flags`]: the guest has been stopped.
    PVCLOCK_GUEST_STOPPED = 2,
    /// Text mode 3.
    VGATYPE_TEXT_MODE_3 = 0x03,
    /// VESA linear frame buffer.
    VGATYPE_VESA_LFB = 0x23,
    /// EFI linear frame buffer.
    VGATYPE_EFI_LFB = 0x70,
}

consts! { u32;
    /// The domain may use privileged hypercalls.
    SIF_PRIVILEGED = 1 << 0,
    /// It is the first domain.
    SIF_INITDOMAIN = 1 << 1,
    /// `mod_start` is a list of multiboot modules.
    SIF_MULTIBOOT_MOD = 1 << 2,
    /// `mod_start` is a PFN.
    SIF_MOD_START_PFN = 1 << 3,
    /// The guest keeps a linear P2M list for the tools.
    SIF_VIRT_P2M_4TOOLS = 1 << 4,
    /// Power management options.
    SIF_PM_MASK = 0xff << 8,
}

/// What [`StartInfo::magic`] begins with; a zero byte follows.
pub const START_INFO_MAGIC: &[u8; 15] = b"xen-3.0-x86_64\0";
/// First address of the hypervisor's hole in each PV address space.
pub const HYPERVISOR_VIRT_START: u64 = 0xffff_8000_0000_0000;
/// First address after it.
pub const HYPERVISOR_VIRT_END: u64 = 0xffff_8800_0000_0000;
/// Where PV guests read the machine-to-physical table.
pub const MACH2PHYS_VIRT_START: u64 = 0xffff_8000_0000_0000;
/// First address after it.
pub const MACH2PHYS_VIRT_END: u64 = 0xffff_8040_0000_0000;
/// A machine-to-physical entry of a page that has no one owner's number.
pub const INVALID_M2P_ENTRY: u64 = !0;
/// A machine-to-physical entry of a shared page.
pub const SHARED_M2P_ENTRY: u64 = !1;

/// 16 bytes that name a domain for its users.
pub type DomainHandle = [u8; 16];

layouts! {
    /// One write of [`Hypercall::MMU_UPDATE`].
    pub struct MmuUpdate("struct mmu_update"): 16 {
        /// Machine address, with the command in its low two bits.
        pub ptr: u64,
        /// New contents.
        pub val: u64,
    }

    /// One operation of [`Hypercall::MMUEXT_OP`].
    pub struct MmuextOp("struct mmuext_op"): 24 {
        /// What to do.
        pub cmd: MmuextCmd,
        /// Padding.
        pub _pad: u32,
        /// An MFN or a linear address.
        pub arg1: u64,
        /// An entry count (32 bits), the address of a vCPU bitmap, or a source MFN.
        pub arg2: u64,
    }

    /// One call of [`Hypercall::MULTICALL`].
    pub struct MulticallEntry("struct multicall_entry"): 64 {
        /// Hypercall number.
        pub op: u64,
        /// What it returned.
        pub result: u64,
        /// Its arguments; the sixth is not used.
        pub args: [u64; 6],
    }

    /// A vCPU's clock parameters.
    pub struct VcpuTimeInfo("struct vcpu_time_info"): 32 {
        /// Odd while the rest is being changed.
        pub version: u32,
        /// Padding.
        pub _pad0: u32,
        /// TSC at the last update.
        pub tsc_timestamp: u64,
        /// Nanoseconds since the host's start at the last update.
        pub system_time: u64,
        /// Nanoseconds of a shifted tick, times 2^32.
        pub tsc_to_system_mul: u32,
        /// Left shift of a tick count before multiplication; negative shifts right.
        pub tsc_shift: i8,
        /// `PVCLOCK_*`.
        pub flags: u8,
        /// Padding.
        pub _pad1: [u8; 2],
    }

    /// The architecture's part of [`VcpuInfo`].
    pub struct ArchVcpuInfo("struct arch_vcpu_info"): 16 {
        /// Address of the last page fault.
        pub cr2: u64,
        /// Padding.
        pub pad: u64,
    }

    /// What a vCPU shares with the hypervisor.
    pub struct VcpuInfo("struct vcpu_info"): 64 {
        /// An event is pending.
        pub evtchn_upcall_pending: u8,
        /// Events are not delivered (PV's interrupt flag, inverted).
        pub evtchn_upcall_mask: u8,
        /// Padding.
        pub _pad: [u8; 6],
        /// Which words of the pending bitmap have bits set.
        pub evtchn_pending_sel: u64,
        /// The architecture's part.
        pub arch: ArchVcpuInfo,
        /// Clock parameters.
        pub time: VcpuTimeInfo,
    }

    /// The architecture's part of [`SharedInfo`].
    pub struct ArchSharedInfo("struct arch_shared_info"): 48 {
        /// Number of PFNs in the guest's P2M.
        pub max_pfn: u64,
        /// MFN of the list of lists of P2M frames; all ones when the linear list is used.
        pub pfn_to_mfn_frame_list_list: u64,
        /// Why the last NMI came.
        pub nmi_reason: u64,
        /// Page tables that map the linear P2M; 0 when unused.
        pub p2m_cr3: u64,
        /// Virtual address of the linear P2M.
        pub p2m_vaddr: u64,
        /// Odd while the P2M's mapping is being changed.
        pub p2m_generation: u64,
    }

    /// The page that a domain shares with the hypervisor.
    pub struct SharedInfo("struct shared_info"): 3136 {
        /// One for each of the first vCPUs.
        pub vcpu_info: [VcpuInfo; 32],
        /// Pending bits of the two-level event channels.
        pub evtchn_pending: [u64; 64],
        /// Their mask bits.
        pub evtchn_mask: [u64; 64],
        /// Odd while the wall clock is being changed.
        pub wc_version: u32,
        /// Wall clock at the start of system time: seconds, low half.
        pub wc_sec: u32,
        /// And nanoseconds.
        pub wc_nsec: u32,
        /// Seconds, high half.
        pub wc_sec_hi: u32,
        /// The architecture's part.
        pub arch: ArchSharedInfo,
    }

    /// [`StartInfo::console`] of a domain other than the first.
    pub struct StartInfoConsoleDomU(""): 16 {
        /// MFN of the console ring.
        pub mfn: u64,
        /// Its event channel.
        pub evtchn: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// [`StartInfo::console`] of the first domain.
    pub struct StartInfoConsoleDom0(""): 16 {
        /// Offset of [`Dom0VgaConsoleInfo`] from the start of this page; 0 for none.
        pub info_off: u32,
        /// Its size.
        pub info_size: u32,
        /// Padding.
        pub _pad: [u32; 2],
    }

    /// What a PV domain finds at its start, at the address in RSI.
    pub struct StartInfo("struct start_info"): 1168 {
        /// [`START_INFO_MAGIC`], filled up with zeros.
        pub magic: [u8; 32],
        /// Pages of the domain.
        pub nr_pages: u64,
        /// Machine address of [`SharedInfo`].
        pub shared_info: u64,
        /// `SIF_*`.
        pub flags: u32,
        /// Padding.
        pub _pad0: u32,
        /// MFN of the xenstore ring.
        pub store_mfn: u64,
        /// Its event channel.
        pub store_evtchn: u32,
        /// Padding.
        pub _pad1: u32,
        /// [`StartInfoConsoleDomU`] or [`StartInfoConsoleDom0`].
        pub console: [u64; 2],
        /// Virtual address of the L4.
        pub pt_base: u64,
        /// Frames of the boot page tables.
        pub nr_pt_frames: u64,
        /// Virtual address of the P2M list.
        pub mfn_list: u64,
        /// Virtual address (or PFN, see [`SIF_MOD_START_PFN`]) of the module; 0 for none.
        pub mod_start: u64,
        /// Its size in bytes.
        pub mod_len: u64,
        /// Command line, ended by a zero byte.
        pub cmd_line: [u8; 1024],
        /// First PFN of the P2M list, when it lies outside the kernel's mapping.
        pub first_p2m_pfn: u64,
        /// Frames of the P2M list.
        pub nr_p2m_frames: u64,
    }

    /// A module, where [`SIF_MULTIBOOT_MOD`] is set.
    pub struct MultibootModList("struct xen_multiboot_mod_list"): 16 {
        /// First address.
        pub mod_start: u32,
        /// Last address.
        pub mod_end: u32,
        /// Address of its command line.
        pub cmdline: u32,
        /// Padding.
        pub pad: u32,
    }

    /// The frame buffer that dom0 may use.
    pub struct Dom0VgaConsoleInfo("struct dom0_vga_console_info"): 40 {
        /// `VGATYPE_*`.
        pub video_type: u8,
        /// Padding.
        pub _pad: [u8; 3],
        /// [`VgaTextMode3`] (first 10 bytes) or [`VgaVesaLfb`].
        pub u: [u32; 9],
    }

    /// [`Dom0VgaConsoleInfo::u`] for text mode.
    pub struct VgaTextMode3(""): 10 {
        /// Scan lines of a character.
        pub font_height: u16,
        /// Cursor column.
        pub cursor_x: u16,
        /// Cursor line.
        pub cursor_y: u16,
        /// Lines.
        pub rows: u16,
        /// Columns.
        pub columns: u16,
    }

    /// [`Dom0VgaConsoleInfo::u`] for linear frame buffers.
    pub struct VgaVesaLfb(""): 36 {
        /// Pixels in a line.
        pub width: u16,
        /// Lines.
        pub height: u16,
        /// Bytes in a line.
        pub bytes_per_line: u16,
        /// Bits in a pixel.
        pub bits_per_pixel: u16,
        /// Physical address, low half.
        pub lfb_base: u32,
        /// Size in 64 KiB units.
        pub lfb_size: u32,
        /// Red: lowest bit.
        pub red_pos: u8,
        /// Red: bits.
        pub red_size: u8,
        /// Green: lowest bit.
        pub green_pos: u8,
        /// Green: bits.
        pub green_size: u8,
        /// Blue: lowest bit.
        pub blue_pos: u8,
        /// Blue: bits.
        pub blue_size: u8,
        /// Reserved: lowest bit.
        pub rsvd_pos: u8,
        /// Reserved: bits.
        pub rsvd_size: u8,
        /// VESA capabilities.
        pub gbl_caps: u32,
        /// VESA mode attributes.
        pub mode_attrs: u16,
        /// Padding.
        pub pad: u16,
        /// Physical address, high half.
        pub ext_lfb_base: u32,
    }

    /// A bitmap in the caller's memory (control operations).
    pub struct CtlBitmap("struct xenctl_bitmap"): 16 {
        /// The bits, lowest first in each byte.
        pub bitmap: crate::GuestPtr<u8>,
        /// How many.
        pub nr_bits: u32,
        /// Padding.
        pub _pad: u32,
    }
}
