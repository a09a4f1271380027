//! `public/hvm/*.h` and `arch-x86/hvm/start_info.h`: PVH start, hvm_op, dm_op.

use crate::GuestPtr;
use crate::layout::{consts, layouts, open_enum};

consts! { u32;
    /// [`HvmStartInfo::magic`].
    HVM_START_MAGIC = 0x336e_c578,
    /// [`HvmStartInfo::version`] that has a memory map.
    HVM_START_VERSION = 1,
    /// Memory map: RAM.
    HVM_MEMMAP_RAM = 1,
    /// Memory map: reserved.
    HVM_MEMMAP_RESERVED = 2,
    /// Memory map: ACPI tables.
    HVM_MEMMAP_ACPI = 3,
    /// Memory map: ACPI non-volatile.
    HVM_MEMMAP_NVS = 4,
    /// Memory map: bad.
    HVM_MEMMAP_UNUSABLE = 5,
    /// Memory map: turned off.
    HVM_MEMMAP_DISABLED = 6,
    /// Memory map: persistent.
    HVM_MEMMAP_PMEM = 7,
    /// How many parameters there are.
    HVM_NR_PARAMS = 39,
    /// Where the kind of [`HvmParam::CALLBACK_IRQ`]'s value starts.
    CALLBACK_IRQ_TYPE_SHIFT = 56,
    /// Kind of callback: a GSI.
    CALLBACK_TYPE_GSI = 0,
    /// Kind of callback: a PCI line.
    CALLBACK_TYPE_PCI_INTX = 1,
    /// Kind of callback: a vector.
    CALLBACK_TYPE_VECTOR = 2,
    /// [`VcpuHvmContext::mode`]: 32 bits.
    VCPU_HVM_MODE_32B = 0,
    /// [`VcpuHvmContext::mode`]: 64 bits.
    VCPU_HVM_MODE_64B = 1,
    /// [`DmIoRange::kind`]: ports.
    DM_IO_RANGE_PORT = 0,
    /// [`DmIoRange::kind`]: memory.
    DM_IO_RANGE_MEMORY = 1,
    /// [`DmIoRange::kind`]: a PCI function.
    DM_IO_RANGE_PCI = 2,
}

consts! { u16;
    /// [`DmGetIoreqServerInfo::flags`]: no frame numbers are wanted.
    DM_NO_GFNS = 1,
}

open_enum! {
    /// What an hvm_op call does.
    pub struct HvmCmd(u32) {
        /// [`HvmParamArg`].
        SET_PARAM = 0,
        /// [`HvmParamArg`].
        GET_PARAM = 1,
        /// Flushes all vCPUs' TLBs.
        FLUSH_TLBS = 5,
        /// A page table goes away.
        PAGETABLE_DYING = 9,
        /// Guest time.
        GET_TIME = 10,
        /// A trace record.
        XENTRACE = 11,
        /// Type of a page.
        GET_MEM_TYPE = 15,
        /// [`EvtchnUpcallVector`].
        SET_EVTCHN_UPCALL_VECTOR = 23,
        /// Asks the watcher.
        GUEST_REQUEST_VM_EVENT = 24,
        /// Alternative P2Ms.
        ALTP2M = 25,
    }
}

open_enum! {
    /// A parameter of an HVM domain.
    pub struct HvmParam(u32) {
        /// How events are delivered.
        CALLBACK_IRQ = 0,
        /// Frame of the xenstore ring.
        STORE_PFN = 1,
        /// Its port.
        STORE_EVTCHN = 2,
        /// PAE.
        PAE_ENABLED = 4,
        /// Frame of ioreqs.
        IOREQ_PFN = 5,
        /// Frame of buffered ioreqs.
        BUFIOREQ_PFN = 6,
        /// Enlightenments.
        VIRIDIAN = 9,
        /// Missed ticks.
        TIMER_MODE = 10,
        /// HPET.
        HPET_ENABLED = 11,
        /// Frame of an identity page table.
        IDENT_PT = 12,
        /// Device model's domain.
        DM_DOMAIN = 13,
        /// ACPI S-state.
        ACPI_S_STATE = 14,
        /// TSS for real mode.
        VM86_TSS = 15,
        /// Alignment of timers.
        VPT_ALIGN = 16,
        /// Frame of the console ring.
        CONSOLE_PFN = 17,
        /// Its port.
        CONSOLE_EVTCHN = 18,
        /// Where ACPI's ports are.
        ACPI_IOPORTS_LOCATION = 19,
        /// Nested virtualization.
        NESTEDHVM = 24,
        /// Port of buffered ioreqs.
        BUFIOREQ_EVTCHN = 26,
        /// Ring of paging events.
        PAGING_RING_PFN = 27,
        /// Ring of monitor events.
        MONITOR_RING_PFN = 28,
        /// Ring of sharing events.
        SHARING_RING_PFN = 29,
        /// What a triple fault means.
        TRIPLE_FAULT_REASON = 31,
        /// First frame for ioreq servers.
        IOREQ_SERVER_PFN = 32,
        /// How many.
        NR_IOREQ_SERVER_PAGES = 33,
        /// Address of the generation identity.
        VM_GENERATION_ID_ADDR = 34,
        /// Alternative P2Ms.
        ALTP2M = 35,
        /// Width of the x87 instruction pointer.
        X87_FIP_WIDTH = 36,
        /// TSS for real mode, with size.
        VM86_TSS_SIZED = 37,
        /// Machine check capabilities.
        MCA_CAP = 38,
    }
}

open_enum! {
    /// What a dm_op call does.
    pub struct DmCmd(u32) {
        /// [`DmCreateIoreqServer`].
        CREATE_IOREQ_SERVER = 1,
        /// [`DmGetIoreqServerInfo`].
        GET_IOREQ_SERVER_INFO = 2,
        /// [`DmIoRange`].
        MAP_IO_RANGE_TO_IOREQ_SERVER = 3,
        /// [`DmIoRange`].
        UNMAP_IO_RANGE_FROM_IOREQ_SERVER = 4,
        /// [`DmSetIoreqServerState`].
        SET_IOREQ_SERVER_STATE = 5,
        /// [`DmDestroyIoreqServer`].
        DESTROY_IOREQ_SERVER = 6,
        /// [`DmTrackDirtyVram`].
        TRACK_DIRTY_VRAM = 7,
        /// [`DmSetPciIntxLevel`].
        SET_PCI_INTX_LEVEL = 8,
        /// [`DmSetIsaIrqLevel`].
        SET_ISA_IRQ_LEVEL = 9,
        /// [`DmSetPciLinkRoute`].
        SET_PCI_LINK_ROUTE = 10,
        /// [`DmModifiedMemory`].
        MODIFIED_MEMORY = 11,
        /// [`DmSetMemType`].
        SET_MEM_TYPE = 12,
        /// [`DmInjectEvent`].
        INJECT_EVENT = 13,
        /// [`DmInjectMsi`].
        INJECT_MSI = 14,
        /// [`DmMapMemType`].
        MAP_MEM_TYPE_TO_IOREQ_SERVER = 15,
        /// [`DmRemoteShutdown`].
        REMOTE_SHUTDOWN = 16,
        /// [`DmRelocateMemory`].
        RELOCATE_MEMORY = 17,
        /// [`DmPinMemoryCacheattr`].
        PIN_MEMORY_CACHEATTR = 18,
        /// Arm.
        SET_IRQ_LEVEL = 19,
        /// [`DmNrVcpus`].
        NR_VCPUS = 20,
    }
}

layouts! {
    /// What a PVH kernel finds at the address in EBX.
    pub struct HvmStartInfo("struct hvm_start_info"): 56 {
        /// [`HVM_START_MAGIC`].
        pub magic: u32,
        /// [`HVM_START_VERSION`].
        pub version: u32,
        /// `SIF_*`.
        pub flags: u32,
        /// Modules.
        pub nr_modules: u32,
        /// Address of [`HvmModlistEntry`]s.
        pub modlist_paddr: u64,
        /// Address of the command line.
        pub cmdline_paddr: u64,
        /// Address of ACPI's root pointer.
        pub rsdp_paddr: u64,
        /// Address of [`HvmMemmapEntry`]s.
        pub memmap_paddr: u64,
        /// How many.
        pub memmap_entries: u32,
        /// Must be 0.
        pub reserved: u32,
    }

    /// A module.
    pub struct HvmModlistEntry("struct hvm_modlist_entry"): 32 {
        /// Address.
        pub paddr: u64,
        /// Bytes.
        pub size: u64,
        /// Address of its command line.
        pub cmdline_paddr: u64,
        /// Must be 0.
        pub reserved: u64,
    }

    /// A range of the memory map.
    pub struct HvmMemmapEntry("struct hvm_memmap_table_entry"): 24 {
        /// First address.
        pub addr: u64,
        /// Bytes.
        pub size: u64,
        /// `HVM_MEMMAP_*`.
        pub kind("type"): u32,
        /// Must be 0.
        pub reserved: u32,
    }

    /// A parameter.
    pub struct HvmParamArg("struct xen_hvm_param"): 16 {
        /// Whose.
        pub domid: u16,
        /// Padding.
        pub pad: u16,
        /// Which.
        pub index: HvmParam,
        /// Value.
        pub value: u64,
    }

    /// Vector of a vCPU's upcalls.
    pub struct EvtchnUpcallVector("struct xen_hvm_evtchn_upcall_vector"): 8 {
        /// Which vCPU.
        pub vcpu: u32,
        /// Vector.
        pub vector: u8,
        /// Padding.
        pub _pad: [u8; 3],
    }

    /// First state of a 32-bit HVM vCPU.
    pub struct VcpuHvmX86_32("struct vcpu_hvm_x86_32"): 120 {
        /// EAX.
        pub eax: u32,
        /// ECX.
        pub ecx: u32,
        /// EDX.
        pub edx: u32,
        /// EBX.
        pub ebx: u32,
        /// ESP.
        pub esp: u32,
        /// EBP.
        pub ebp: u32,
        /// ESI.
        pub esi: u32,
        /// EDI.
        pub edi: u32,
        /// EIP.
        pub eip: u32,
        /// EFLAGS.
        pub eflags: u32,
        /// CR0.
        pub cr0: u32,
        /// CR3.
        pub cr3: u32,
        /// CR4.
        pub cr4: u32,
        /// Must be 0.
        pub pad1: u32,
        /// EFER.
        pub efer: u64,
        /// CS: base.
        pub cs_base: u32,
        /// DS: base.
        pub ds_base: u32,
        /// SS: base.
        pub ss_base: u32,
        /// ES: base.
        pub es_base: u32,
        /// TR: base.
        pub tr_base: u32,
        /// CS: limit.
        pub cs_limit: u32,
        /// DS: limit.
        pub ds_limit: u32,
        /// SS: limit.
        pub ss_limit: u32,
        /// ES: limit.
        pub es_limit: u32,
        /// TR: limit.
        pub tr_limit: u32,
        /// CS: access rights.
        pub cs_ar: u16,
        /// DS: access rights.
        pub ds_ar: u16,
        /// SS: access rights.
        pub ss_ar: u16,
        /// ES: access rights.
        pub es_ar: u16,
        /// TR: access rights.
        pub tr_ar: u16,
        /// Must be 0.
        pub pad2: [u16; 3],
    }

    /// First state of a 64-bit HVM vCPU.
    pub struct VcpuHvmX86_64("struct vcpu_hvm_x86_64"): 112 {
        /// RAX.
        pub rax: u64,
        /// RCX.
        pub rcx: u64,
        /// RDX.
        pub rdx: u64,
        /// RBX.
        pub rbx: u64,
        /// RSP.
        pub rsp: u64,
        /// RBP.
        pub rbp: u64,
        /// RSI.
        pub rsi: u64,
        /// RDI.
        pub rdi: u64,
        /// RIP.
        pub rip: u64,
        /// RFLAGS.
        pub rflags: u64,
        /// CR0.
        pub cr0: u64,
        /// CR3.
        pub cr3: u64,
        /// CR4.
        pub cr4: u64,
        /// EFER.
        pub efer: u64,
    }

    /// First state of an HVM vCPU.
    pub struct VcpuHvmContext("struct vcpu_hvm_context"): 128 {
        /// `VCPU_HVM_MODE_*`.
        pub mode: u32,
        /// Must be 0.
        pub pad: u32,
        /// [`VcpuHvmX86_32`] or [`VcpuHvmX86_64`].
        pub cpu_regs: [u64; 15],
    }

    /// A buffer of a dm_op call; the first holds [`DmOp`].
    pub struct DmOpBuf("struct xen_dm_op_buf"): 16 {
        /// Address.
        pub h: GuestPtr<u8>,
        /// Bytes.
        pub size: u64,
    }

    /// First buffer of the hypercall.
    pub struct DmOp("struct xen_dm_op"): 32 {
        /// What to do.
        pub op: DmCmd,
        /// Must be 0.
        pub pad: u32,
        /// The command's structure, from the start.
        pub u: [u64; 3],
    }

    /// A new ioreq server.
    pub struct DmCreateIoreqServer("struct xen_dm_op_create_ioreq_server"): 6 {
        /// Buffered requests: none 0, old form 1, atomic 2.
        pub handle_bufioreq: u8,
        /// Must be 0.
        pub pad: [u8; 3],
        /// Its number (out).
        pub id: u16,
    }

    /// Where its pages are.
    pub struct DmGetIoreqServerInfo("struct xen_dm_op_get_ioreq_server_info"): 24 {
        /// Which.
        pub id: u16,
        /// [`DM_NO_GFNS`].
        pub flags: u16,
        /// Port of buffered requests (out).
        pub bufioreq_port: u32,
        /// Frame of requests (out).
        pub ioreq_gfn: u64,
        /// Frame of buffered requests (out).
        pub bufioreq_gfn: u64,
    }

    /// What it serves.
    pub struct DmIoRange("struct xen_dm_op_ioreq_server_range"): 24 {
        /// Which.
        pub id: u16,
        /// Must be 0.
        pub pad: u16,
        /// `DM_IO_RANGE_*`.
        pub kind("type"): u32,
        /// First.
        pub start: u64,
        /// Last.
        pub end: u64,
    }

    /// On or off.
    pub struct DmSetIoreqServerState("struct xen_dm_op_set_ioreq_server_state"): 4 {
        /// Which.
        pub id: u16,
        /// Whether.
        pub enabled: u8,
        /// Must be 0.
        pub pad: u8,
    }

    /// Removal.
    pub struct DmDestroyIoreqServer("struct xen_dm_op_destroy_ioreq_server"): 4 {
        /// Which.
        pub id: u16,
        /// Must be 0.
        pub pad: u16,
    }

    /// Dirty pages of a frame buffer; the second buffer is the bitmap.
    pub struct DmTrackDirtyVram("struct xen_dm_op_track_dirty_vram"): 16 {
        /// Pages.
        pub nr: u32,
        /// Must be 0.
        pub pad: u32,
        /// First frame.
        pub first_pfn: u64,
    }

    /// A PCI line.
    pub struct DmSetPciIntxLevel("struct xen_dm_op_set_pci_intx_level"): 6 {
        /// Segment.
        pub domain: u16,
        /// Bus.
        pub bus: u8,
        /// Device.
        pub device: u8,
        /// Line.
        pub intx: u8,
        /// Level.
        pub level: u8,
    }

    /// An ISA line.
    pub struct DmSetIsaIrqLevel("struct xen_dm_op_set_isa_irq_level"): 2 {
        /// Which.
        pub isa_irq: u8,
        /// Level.
        pub level: u8,
    }

    /// Routing of a PCI line.
    pub struct DmSetPciLinkRoute("struct xen_dm_op_set_pci_link_route"): 2 {
        /// Link.
        pub link: u8,
        /// ISA line.
        pub isa_irq: u8,
    }

    /// The device model has written; the second buffer lists where.
    pub struct DmModifiedMemory("struct xen_dm_op_modified_memory"): 8 {
        /// Extents.
        pub nr_extents: u32,
        /// Progress; 0 at first.
        pub opaque: u32,
    }

    /// One extent of that.
    pub struct DmModifiedMemoryExtent("struct xen_dm_op_modified_memory_extent"): 16 {
        /// Pages.
        pub nr: u32,
        /// Must be 0.
        pub pad: u32,
        /// First frame.
        pub first_pfn: u64,
    }

    /// Types of pages.
    pub struct DmSetMemType("struct xen_dm_op_set_mem_type"): 16 {
        /// Pages.
        pub nr: u32,
        /// RAM 0, read-only 1, device 2, ioreq server's 4.
        pub mem_type: u16,
        /// Must be 0.
        pub pad: u16,
        /// First frame.
        pub first_pfn: u64,
    }

    /// An exception or interrupt.
    pub struct DmInjectEvent("struct xen_dm_op_inject_event"): 24 {
        /// Which vCPU.
        pub vcpuid: u32,
        /// Vector.
        pub vector: u8,
        /// Interrupt 0, NMI 2, exception 3, and instructions' 4 to 6.
        pub kind("type"): u8,
        /// Length of the instruction.
        pub insn_len: u8,
        /// Must be 0.
        pub pad0: u8,
        /// Error code, or all ones for none.
        pub error_code: u32,
        /// Must be 0.
        pub pad1: u32,
        /// Address of a page fault.
        pub cr2: u64,
    }

    /// An MSI.
    pub struct DmInjectMsi("struct xen_dm_op_inject_msi"): 16 {
        /// Data.
        pub data: u32,
        /// Must be 0.
        pub pad: u32,
        /// Address.
        pub addr: u64,
    }

    /// Pages whose accesses go to an ioreq server.
    pub struct DmMapMemType("struct xen_dm_op_map_mem_type_to_ioreq_server"): 16 {
        /// Which.
        pub id: u16,
        /// Type of page.
        pub kind("type"): u16,
        /// Reads 1, writes 2.
        pub flags: u32,
        /// Progress; 0 at first.
        pub opaque: u64,
    }

    /// Stops the guest.
    pub struct DmRemoteShutdown("struct xen_dm_op_remote_shutdown"): 4 {
        /// Why.
        pub reason: u32,
    }

    /// Moves pages.
    pub struct DmRelocateMemory("struct xen_dm_op_relocate_memory"): 24 {
        /// Pages.
        pub size: u32,
        /// Must be 0.
        pub pad: u32,
        /// From.
        pub src_gfn: u64,
        /// To.
        pub dst_gfn: u64,
    }

    /// Caching of a range.
    pub struct DmPinMemoryCacheattr("struct xen_dm_op_pin_memory_cacheattr"): 24 {
        /// First frame.
        pub start: u64,
        /// Last frame.
        pub end: u64,
        /// UC 0, WC 1, WT 4, WP 5, WB 6, UC- 7; all ones removes.
        pub kind("type"): u32,
        /// Must be 0.
        pub pad: u32,
    }

    /// vCPUs of the domain.
    pub struct DmNrVcpus("struct xen_dm_op_nr_vcpus"): 4 {
        /// How many (out).
        pub vcpus: u32,
    }
}
