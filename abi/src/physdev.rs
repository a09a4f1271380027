//! `public/physdev.h`: physdev_op.

use crate::GuestPtr;
use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What a physdev_op call does.
    pub struct PhysdevCmd(u32) {
        /// Old: which interrupts need unmasking by a call.
        IRQ_UNMASK_NOTIFY = 4,
        /// [`IrqStatusQuery`].
        IRQ_STATUS_QUERY = 5,
        /// [`SetIopl`].
        SET_IOPL = 6,
        /// [`SetIobitmap`].
        SET_IOBITMAP = 7,
        /// [`Apic`].
        APIC_READ = 8,
        /// [`Apic`].
        APIC_WRITE = 9,
        /// [`Irq`].
        ALLOC_IRQ_VECTOR = 10,
        /// [`Irq`].
        FREE_IRQ_VECTOR = 11,
        /// [`Eoi`].
        EOI = 12,
        /// [`MapPirq`].
        MAP_PIRQ = 13,
        /// [`UnmapPirq`].
        UNMAP_PIRQ = 14,
        /// [`ManagePci`].
        MANAGE_PCI_ADD = 15,
        /// [`ManagePci`].
        MANAGE_PCI_REMOVE = 16,
        /// [`PirqEoiGmfn`]; also turns automatic unmasking off.
        PIRQ_EOI_GMFN_V1 = 17,
        /// [`ManagePci`].
        RESTORE_MSI = 19,
        /// [`ManagePciExt`].
        MANAGE_PCI_ADD_EXT = 20,
        /// [`SetupGsi`].
        SETUP_GSI = 21,
        /// [`GetFreePirq`].
        GET_FREE_PIRQ = 23,
        /// [`PciMmcfgReserved`].
        PCI_MMCFG_RESERVED = 24,
        /// [`PciDeviceAdd`].
        PCI_DEVICE_ADD = 25,
        /// [`PciDevice`].
        PCI_DEVICE_REMOVE = 26,
        /// [`PciDevice`].
        RESTORE_MSI_EXT = 27,
        /// [`PirqEoiGmfn`].
        PIRQ_EOI_GMFN_V2 = 28,
        /// [`DbgpOp`].
        DBGP_OP = 29,
        /// [`PciDevice`].
        PREPARE_MSIX = 30,
        /// [`PciDevice`].
        RELEASE_MSIX = 31,
        /// [`PciDeviceReset`].
        PCI_DEVICE_RESET = 32,
    }
}

open_enum! {
    /// What a physical interrupt is mapped from.
    pub struct MapPirqType(i32) {
        /// An MSI of a device in segment 0.
        MSI = 0,
        /// A GSI.
        GSI = 1,
        /// Nothing yet.
        UNKNOWN = 2,
        /// An MSI; the segment is in the upper half of `bus`.
        MSI_SEG = 3,
        /// Several MSIs.
        MULTI_MSI = 4,
    }
}

consts! { u32;
    /// [`IrqStatusQuery::flags`]: an end of interrupt is needed.
    IRQSTAT_NEEDS_EOI = 1 << 0,
    /// [`IrqStatusQuery::flags`]: others share it.
    IRQSTAT_SHARED = 1 << 1,
    /// [`PciMmcfgReserved::flags`]: firmware has reserved the range.
    PCI_MMCFG_RESERVED = 1,
    /// [`PciDeviceAdd::flags`]: an extended function.
    PCI_DEV_EXTFN = 1,
    /// [`PciDeviceAdd::flags`]: a virtual function of `physfn`.
    PCI_DEV_VIRTFN = 2,
    /// [`PciDeviceAdd::flags`]: a proximity domain follows the structure.
    PCI_DEV_PXM = 4,
    /// [`PciDeviceReset::flags`]: which reset.
    PCI_DEVICE_RESET_MASK = 3,
}

consts! { u8;
    /// [`DbgpOp::op`]: before a reset.
    DBGP_RESET_PREPARE = 1,
    /// [`DbgpOp::op`]: after it.
    DBGP_RESET_DONE = 2,
    /// [`DbgpOp::bus`]: not known.
    DBGP_BUS_UNKNOWN = 0,
    /// [`DbgpOp::bus`]: PCI.
    DBGP_BUS_PCI = 1,
}

layouts! {
    /// End of interrupt.
    pub struct Eoi("struct physdev_eoi"): 4 {
        /// The PIRQ.
        pub irq: u32,
    }

    /// A page with a bit for each PIRQ that needs an end of interrupt.
    pub struct PirqEoiGmfn("struct physdev_pirq_eoi_gmfn"): 8 {
        /// Its frame.
        pub gmfn: u64,
    }

    /// What an interrupt needs.
    pub struct IrqStatusQuery("struct physdev_irq_status_query"): 8 {
        /// The PIRQ.
        pub irq: u32,
        /// `IRQSTAT_*` (out).
        pub flags: u32,
    }

    /// Virtual I/O privilege level.
    pub struct SetIopl("struct physdev_set_iopl"): 4 {
        /// 0 to 3.
        pub iopl: u32,
    }

    /// I/O permission bitmap.
    pub struct SetIobitmap("struct physdev_set_iobitmap"): 16 {
        /// The bits; a set bit forbids.
        pub bitmap: GuestPtr<u8>,
        /// How many ports.
        pub nr_ports: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// A register of an I/O APIC.
    pub struct Apic("struct physdev_apic"): 16 {
        /// Physical address of the I/O APIC.
        pub apic_physbase: u64,
        /// Register.
        pub reg: u32,
        /// Value (in or out).
        pub value: u32,
    }

    /// An interrupt's vector.
    pub struct Irq("struct physdev_irq"): 8 {
        /// The interrupt.
        pub irq: u32,
        /// The vector (out).
        pub vector: u32,
    }

    /// Maps an interrupt to a PIRQ.
    pub struct MapPirq("struct physdev_map_pirq"): 40 {
        /// Whose.
        pub domid: u16,
        /// Padding.
        pub _pad0: u16,
        /// From what.
        pub kind("type"): MapPirqType,
        /// GSI, or for MSI negative or a vector.
        pub index: i32,
        /// The PIRQ, or negative for any (in and out).
        pub pirq: i32,
        /// Bus (and segment).
        pub bus: i32,
        /// Device and function.
        pub devfn: i32,
        /// MSI-X entry, or number of MSIs.
        pub entry_nr: i32,
        /// Padding.
        pub _pad1: u32,
        /// Physical address of the MSI-X table; 0 for MSI.
        pub table_base: u64,
    }

    /// Undoes that.
    pub struct UnmapPirq("struct physdev_unmap_pirq"): 8 {
        /// Whose.
        pub domid: u16,
        /// Padding.
        pub _pad: u16,
        /// Which.
        pub pirq: i32,
    }

    /// A device of segment 0.
    pub struct ManagePci("struct physdev_manage_pci"): 2 {
        /// Bus.
        pub bus: u8,
        /// Device and function.
        pub devfn: u8,
    }

    /// A device of segment 0, perhaps a virtual function.
    pub struct ManagePciExt("struct physdev_manage_pci_ext"): 16 {
        /// Bus.
        pub bus: u8,
        /// Device and function.
        pub devfn: u8,
        /// Padding.
        pub _pad0: u16,
        /// An extended function.
        pub is_extfn: u32,
        /// A virtual function.
        pub is_virtfn: u32,
        /// Of which physical function.
        pub physfn: ManagePci,
        /// Padding.
        pub _pad1: u16,
    }

    /// Triggering of a GSI.
    pub struct SetupGsi("struct physdev_setup_gsi"): 8 {
        /// The GSI.
        pub gsi: i32,
        /// 1: level, 0: edge.
        pub triggering: u8,
        /// 1: low, 0: high.
        pub polarity: u8,
        /// Padding.
        pub _pad: u16,
    }

    /// A free PIRQ.
    pub struct GetFreePirq("struct physdev_get_free_pirq"): 8 {
        /// For what.
        pub kind("type"): MapPirqType,
        /// It (out).
        pub pirq: u32,
    }

    /// A range of PCI Express configuration space.
    pub struct PciMmcfgReserved("struct physdev_pci_mmcfg_reserved"): 16 {
        /// Physical address.
        pub address: u64,
        /// Segment.
        pub segment: u16,
        /// First bus.
        pub start_bus: u8,
        /// Last bus.
        pub end_bus: u8,
        /// [`PCI_MMCFG_RESERVED`].
        pub flags: u32,
    }

    /// A device has come; a proximity domain may follow.
    pub struct PciDeviceAdd("struct physdev_pci_device_add"): 12 {
        /// Segment.
        pub seg: u16,
        /// Bus.
        pub bus: u8,
        /// Device and function.
        pub devfn: u8,
        /// `PCI_DEV_*`.
        pub flags: u32,
        /// Physical function of a virtual one.
        pub physfn: ManagePci,
        /// Padding.
        pub _pad: u16,
    }

    /// A PCI device.
    pub struct PciDevice("struct physdev_pci_device"): 4 {
        /// Segment.
        pub seg: u16,
        /// Bus.
        pub bus: u8,
        /// Device and function.
        pub devfn: u8,
    }

    /// A device was reset.
    pub struct PciDeviceReset("struct pci_device_reset"): 8 {
        /// It.
        pub dev: PciDevice,
        /// How: cold 0, warm 1, hot 2, function-level 3.
        pub flags: u32,
    }

    /// The controller of the EHCI debug port is reset.
    pub struct DbgpOp("struct physdev_dbgp_op"): 6 {
        /// `DBGP_RESET_*`.
        pub op: u8,
        /// `DBGP_BUS_*`.
        pub bus: u8,
        /// Which.
        pub pci("u.pci"): PciDevice,
    }
}
