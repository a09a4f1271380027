//! `public/memory.h`: memory_op.

use crate::GuestPtr;
use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What a memory_op call does: the low 6 bits of its first argument. The bits above say how far a
    /// continued call has come.
    pub struct MemoryCmd(u32) {
        /// [`MemoryReservation`].
        INCREASE_RESERVATION = 0,
        /// [`MemoryReservation`].
        DECREASE_RESERVATION = 1,
        /// The greatest MFN, returned.
        MAXIMUM_RAM_PAGE = 2,
        /// [`MemoryDomain`]; returns pages.
        CURRENT_RESERVATION = 3,
        /// [`MemoryDomain`]; returns pages.
        MAXIMUM_RESERVATION = 4,
        /// [`MachphysMfnList`].
        MACHPHYS_MFN_LIST = 5,
        /// [`MemoryReservation`].
        POPULATE_PHYSMAP = 6,
        /// [`AddToPhysmap`].
        ADD_TO_PHYSMAP = 7,
        /// [`MemoryMap`].
        MEMORY_MAP = 9,
        /// [`MemoryMap`]: the machine's.
        MACHINE_MEMORY_MAP = 10,
        /// [`MemoryExchange`].
        EXCHANGE = 11,
        /// [`MachphysMapping`].
        MACHPHYS_MAPPING = 12,
        /// [`ForeignMemoryMap`].
        SET_MEMORY_MAP = 13,
        /// [`MemoryDomain`]; returns the greatest GFN.
        MAXIMUM_GPFN = 14,
        /// [`RemoveFromPhysmap`].
        REMOVE_FROM_PHYSMAP = 15,
        /// [`PodTarget`].
        SET_POD_TARGET = 16,
        /// [`PodTarget`].
        GET_POD_TARGET = 17,
        /// Pages saved by sharing, returned.
        GET_SHARING_FREED_PAGES = 18,
        /// Pages shared, returned.
        GET_SHARING_SHARED_PAGES = 19,
        /// Paging of guests.
        PAGING_OP = 20,
        /// Access rights of pages.
        ACCESS_OP = 21,
        /// Sharing of pages.
        SHARING_OP = 22,
        /// [`AddToPhysmapBatch`].
        ADD_TO_PHYSMAP_BATCH = 23,
        /// [`MemoryReservation`]: sets pages aside for a domain.
        CLAIM_PAGES = 24,
        /// [`MachphysMfnList`] of 32-bit guests.
        MACHPHYS_COMPAT_MFN_LIST = 25,
        /// [`VnumaTopologyInfo`].
        GET_VNUMAINFO = 26,
        /// [`ReservedDeviceMemoryMap`].
        RESERVED_DEVICE_MEMORY_MAP = 27,
        /// [`AcquireResource`].
        ACQUIRE_RESOURCE = 28,
    }
}

consts! { u32;
    /// How many low bits of a memory_op's first argument are its [`MemoryCmd`].
    MEMOP_EXTENT_SHIFT = 6,
    /// Mask of those bits.
    MEMOP_CMD_MASK = (1 << MEMOP_EXTENT_SHIFT) - 1,
    /// `mem_flags`: low 8 bits, the address width (0: any).
    MEMF_ADDRESS_BITS_MASK = 0xff,
    /// `mem_flags`: where the node's number plus one starts (8 bits).
    MEMF_NODE_SHIFT = 8,
    /// `mem_flags`: populate on demand.
    MEMF_POPULATE_ON_DEMAND = 1 << 16,
    /// `mem_flags`: no other node.
    MEMF_EXACT_NODE_REQUEST = 1 << 17,
    /// `mem_flags`: the node is a virtual one.
    MEMF_VNODE = 1 << 18,
    /// Map space: the shared page.
    MAPSPACE_SHARED_INFO = 0,
    /// Map space: grant table frames.
    MAPSPACE_GRANT_TABLE = 1,
    /// Map space: own frames.
    MAPSPACE_GMFN = 2,
    /// Map space: a range of own frames.
    MAPSPACE_GMFN_RANGE = 3,
    /// Map space: another domain's frames (batch only).
    MAPSPACE_GMFN_FOREIGN = 4,
    /// Map space: device memory.
    MAPSPACE_DEV_MMIO = 5,
    /// Set in an index of [`MAPSPACE_GRANT_TABLE`]: status frames.
    MAPIDX_GRANT_TABLE_STATUS = 0x8000_0000,
    /// [`ReservedDeviceMemoryMap::flags`]: of all devices.
    RDM_ALL = 1,
    /// Grant table frames, by [`AcquireResource::id`].
    RESOURCE_GRANT_TABLE_ID_SHARED = 0,
    /// Grant status frames, by [`AcquireResource::id`].
    RESOURCE_GRANT_TABLE_ID_STATUS = 1,
    /// Type of an e820 entry: RAM.
    E820_RAM = 1,
    /// Type of an e820 entry: reserved.
    E820_RESERVED = 2,
    /// Type of an e820 entry: ACPI tables.
    E820_ACPI = 3,
    /// Type of an e820 entry: ACPI non-volatile.
    E820_NVS = 4,
    /// Type of an e820 entry: bad memory.
    E820_UNUSABLE = 5,
}

consts! { u16;
    /// [`AcquireResource::kind`]: pages of an ioreq server.
    RESOURCE_IOREQ_SERVER = 0,
    /// [`AcquireResource::kind`]: a grant table.
    RESOURCE_GRANT_TABLE = 1,
    /// [`AcquireResource::kind`]: a vCPU's trace buffer.
    RESOURCE_VMTRACE_BUF = 2,
}

layouts! {
    /// Extents of pages to be given or taken.
    pub struct MemoryReservation("struct xen_memory_reservation"): 32 {
        /// Frame numbers of the extents.
        pub extent_start: GuestPtr<u64>,
        /// How many extents.
        pub nr_extents: u64,
        /// log2 of the pages in each.
        pub extent_order: u32,
        /// `MEMF_*`.
        pub mem_flags: u32,
        /// Whose.
        pub domid: u16,
        /// Padding.
        pub _pad: [u16; 3],
    }

    /// Gives pages back for others.
    pub struct MemoryExchange("struct xen_memory_exchange"): 72 {
        /// What is given.
        pub input("in"): MemoryReservation,
        /// What is wanted.
        pub output("out"): MemoryReservation,
        /// Extents of the input that were exchanged (in and out).
        pub nr_exchanged: u64,
    }

    /// Names a domain.
    pub struct MemoryDomain("struct xen_memory_domain"): 2 {
        /// It.
        pub domid: u16,
    }

    /// First frames of the 2 MiB parts of the machine-to-physical table.
    pub struct MachphysMfnList("struct xen_machphys_mfn_list"): 24 {
        /// Room.
        pub max_extents: u32,
        /// Padding.
        pub _pad0: u32,
        /// The frames.
        pub extent_start: GuestPtr<u64>,
        /// How many were written (out).
        pub nr_extents: u32,
        /// Padding.
        pub _pad1: u32,
    }

    /// Where the machine-to-physical table is.
    pub struct MachphysMapping("struct xen_machphys_mapping"): 24 {
        /// First address.
        pub v_start: u64,
        /// First address after it.
        pub v_end: u64,
        /// Greatest MFN in it.
        pub max_mfn: u64,
    }

    /// Puts a page into a translated domain's address space.
    pub struct AddToPhysmap("struct xen_add_to_physmap"): 24 {
        /// Whose.
        pub domid: u16,
        /// Pages ([`MAPSPACE_GMFN_RANGE`] only).
        pub size: u16,
        /// `MAPSPACE_*`.
        pub space: u32,
        /// Index in that space.
        pub idx: u64,
        /// Where to.
        pub gpfn: u64,
    }

    /// Puts several pages there.
    pub struct AddToPhysmapBatch("struct xen_add_to_physmap_batch"): 32 {
        /// Whose.
        pub domid: u16,
        /// `MAPSPACE_*`.
        pub space: u16,
        /// Pages.
        pub size: u16,
        /// The other domain, for [`MAPSPACE_GMFN_FOREIGN`]; else 0.
        pub foreign_domid("u.foreign_domid"): u16,
        /// Indexes.
        pub idxs: GuestPtr<u64>,
        /// Where to.
        pub gpfns: GuestPtr<u64>,
        /// Result of each.
        pub errs: GuestPtr<i32>,
    }

    /// Takes a page out of a translated domain's address space.
    pub struct RemoveFromPhysmap("struct xen_remove_from_physmap"): 16 {
        /// Whose.
        pub domid: u16,
        /// Padding.
        pub _pad: [u16; 3],
        /// Which.
        pub gpfn: u64,
    }

    /// Room for a memory map.
    pub struct MemoryMap("struct xen_memory_map"): 16 {
        /// Entries: room (in), written (out).
        pub nr_entries: u32,
        /// Padding.
        pub _pad: u32,
        /// The entries, 20 bytes each.
        pub buffer: GuestPtr<E820Entry>,
    }

    /// An entry of a memory map, in the form of the e820 BIOS call; packed.
    pub struct E820Entry(""): 20 {
        /// First address, low half.
        pub addr_low: u32,
        /// First address, high half.
        pub addr_high: u32,
        /// Bytes, low half.
        pub size_low: u32,
        /// Bytes, high half.
        pub size_high: u32,
        /// `E820_*`.
        pub kind: u32,
    }

    /// Sets a domain's memory map.
    pub struct ForeignMemoryMap("struct xen_foreign_memory_map"): 24 {
        /// Whose.
        pub domid: u16,
        /// Padding.
        pub _pad: [u16; 3],
        /// The map.
        pub map: MemoryMap,
    }

    /// Populate-on-demand target.
    pub struct PodTarget("struct xen_pod_target"): 40 {
        /// Wanted pages.
        pub target_pages: u64,
        /// Pages of the domain (out).
        pub tot_pages: u64,
        /// Of these, in the cache (out).
        pub pod_cache_pages: u64,
        /// Entries not yet populated (out).
        pub pod_entries: u64,
        /// Whose.
        pub domid: u16,
        /// Padding.
        pub _pad: [u16; 3],
    }

    /// Memory that a device needs at its address.
    pub struct ReservedDeviceMemory("struct xen_reserved_device_memory"): 16 {
        /// First frame.
        pub start_pfn: u64,
        /// Frames.
        pub nr_pages: u64,
    }

    /// Asks for such memory.
    pub struct ReservedDeviceMemoryMap("struct xen_reserved_device_memory_map"): 24 {
        /// [`RDM_ALL`].
        pub flags: u32,
        /// Entries: room (in), needed (out).
        pub nr_entries: u32,
        /// The entries.
        pub buffer: GuestPtr<ReservedDeviceMemory>,
        /// Of which device.
        pub dev("dev.pci"): crate::physdev::PciDevice,
        /// Padding.
        pub _pad: u32,
    }

    /// Asks for the frames of a resource, for mapping.
    pub struct AcquireResource("struct xen_mem_acquire_resource"): 32 {
        /// Whose.
        pub domid: u16,
        /// `RESOURCE_*`.
        pub kind("type"): u16,
        /// Which of that kind.
        pub id: u32,
        /// Frames: wanted (in), or size of the resource (out, when the list is null and this is 0).
        pub nr_frames: u32,
        /// Must be 0.
        pub pad: u32,
        /// First frame within the resource.
        pub frame: u64,
        /// The frames: GFNs to map at (translated callers) or MFNs (out).
        pub frame_list: GuestPtr<u64>,
    }

    /// A range of a virtual NUMA node.
    pub struct Vmemrange("struct xen_vmemrange"): 24 {
        /// First address.
        pub start: u64,
        /// First address after it.
        pub end: u64,
        /// Must be 0.
        pub flags: u32,
        /// The node.
        pub nid: u32,
    }

    /// Virtual NUMA topology.
    pub struct VnumaTopologyInfo("struct xen_vnuma_topology_info"): 40 {
        /// Whose.
        pub domid: u16,
        /// Must be 0.
        pub pad: u16,
        /// Nodes: room (in), number (out).
        pub nr_vnodes: u32,
        /// vCPUs: room (in), number (out).
        pub nr_vcpus: u32,
        /// Ranges: room (in), number (out).
        pub nr_vmemranges: u32,
        /// Distances between nodes.
        pub vdistance: GuestPtr<u32>,
        /// Node of each vCPU.
        pub vcpu_to_vnode: GuestPtr<u32>,
        /// The ranges.
        pub vmemrange: GuestPtr<Vmemrange>,
    }
}
