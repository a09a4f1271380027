//! `public/platform.h`: platform_op, dom0's way to the machine.

use crate::GuestPtr;
use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What a platform_op call does.
    pub struct PlatformCmd(u32) {
        /// [`SetTime32`].
        SETTIME32 = 17,
        /// [`AddMemtype`].
        ADD_MEMTYPE = 31,
        /// [`DelMemtype`].
        DEL_MEMTYPE = 32,
        /// [`ReadMemtype`].
        READ_MEMTYPE = 33,
        /// [`MicrocodeUpdate`].
        MICROCODE_UPDATE = 35,
        /// [`PlatformQuirk`].
        PLATFORM_QUIRK = 39,
        /// [`PcpuVersion`].
        GET_CPU_VERSION = 48,
        /// [`EfiRuntimeCall`].
        EFI_RUNTIME_CALL = 49,
        /// [`FirmwareInfo`].
        FIRMWARE_INFO = 50,
        /// [`EnterAcpiSleep`].
        ENTER_ACPI_SLEEP = 51,
        /// [`ChangeFreq`].
        CHANGE_FREQ = 52,
        /// [`GetIdletime`].
        GETIDLETIME = 53,
        /// [`SetProcessorPminfo`].
        SET_PROCESSOR_PMINFO = 54,
        /// [`PcpuInfo`].
        GET_CPUINFO = 55,
        /// [`CpuOl`].
        CPU_ONLINE = 56,
        /// [`CpuOl`].
        CPU_OFFLINE = 57,
        /// [`CpuHotadd`].
        CPU_HOTADD = 58,
        /// [`MemHotadd`].
        MEM_HOTADD = 59,
        /// [`CoreParking`].
        CORE_PARKING = 60,
        /// [`ResourceOp`].
        RESOURCE_OP = 61,
        /// [`SetTime64`].
        SETTIME64 = 62,
        /// [`Symdata`].
        GET_SYMBOL = 63,
        /// [`crate::xen::Dom0VgaConsoleInfo`].
        GET_DOM0_CONSOLE = 64,
        /// [`UcodeRevision`].
        GET_UCODE_REVISION = 65,
        /// [`MicrocodeUpdate2`].
        MICROCODE_UPDATE2 = 66,
    }
}

consts! { u32;
    /// What [`PlatformOp::interface_version`] must be.
    XENPF_INTERFACE_VERSION = 0x0300_0001,
    /// [`FirmwareInfo::kind`]: a disk.
    FW_DISK_INFO = 1,
    /// [`FirmwareInfo::kind`]: signature of a disk.
    FW_DISK_MBR_SIGNATURE = 2,
    /// [`FirmwareInfo::kind`]: monitor identity.
    FW_VBEDDC_INFO = 3,
    /// [`FirmwareInfo::kind`]: EFI.
    FW_EFI_INFO = 4,
    /// [`FirmwareInfo::kind`]: keyboard.
    FW_KBD_SHIFT_FLAGS = 5,
    /// [`FirmwareInfo::index`] of EFI: version.
    FW_EFI_VERSION = 0,
    /// [`FirmwareInfo::index`] of EFI: configuration tables.
    FW_EFI_CONFIG_TABLE = 1,
    /// [`FirmwareInfo::index`] of EFI: vendor.
    FW_EFI_VENDOR = 2,
    /// [`FirmwareInfo::index`] of EFI: memory.
    FW_EFI_MEM_INFO = 3,
    /// [`FirmwareInfo::index`] of EFI: version of the run-time services.
    FW_EFI_RT_VERSION = 4,
    /// [`FirmwareInfo::index`] of EFI: a device's ROM.
    FW_EFI_PCI_ROM = 5,
    /// [`FirmwareInfo::index`] of EFI: Apple's properties.
    FW_EFI_APPLE_PROPERTIES = 6,
    /// [`EnterAcpiSleep::flags`]: hardware-reduced ACPI.
    ACPI_SLEEP_EXTENDED = 1,
    /// [`SetProcessorPminfo::kind`]: idle states.
    PM_CX = 0,
    /// [`SetProcessorPminfo::kind`]: performance states.
    PM_PX = 1,
    /// [`SetProcessorPminfo::kind`]: throttling states.
    PM_TX = 2,
    /// [`SetProcessorPminfo::kind`]: capabilities of the OS.
    PM_PDC = 3,
    /// [`PcpuInfo::flags`]: on line.
    PCPU_FLAGS_ONLINE = 1,
    /// [`PcpuInfo::flags`]: no such CPU.
    PCPU_FLAGS_INVALID = 2,
    /// [`ResourceEntry::cmd`]: read an MSR.
    RESOURCE_OP_MSR_READ = 0,
    /// [`ResourceEntry::cmd`]: write an MSR.
    RESOURCE_OP_MSR_WRITE = 1,
    /// [`MicrocodeUpdate2::flags`]: even if not newer.
    UCODE_FORCE = 1,
}

open_enum! {
    /// An EFI run-time service, [`EfiRuntimeCall::function`].
    pub struct EfiFunction(u32) {
        /// Clock.
        GET_TIME = 1,
        /// Sets the clock.
        SET_TIME = 2,
        /// Alarm.
        GET_WAKEUP_TIME = 3,
        /// Sets the alarm.
        SET_WAKEUP_TIME = 4,
        /// A number that never comes again.
        GET_NEXT_HIGH_MONOTONIC_COUNT = 5,
        /// A variable.
        GET_VARIABLE = 6,
        /// Sets a variable.
        SET_VARIABLE = 7,
        /// The variable after this.
        GET_NEXT_VARIABLE_NAME = 8,
        /// Room for variables.
        QUERY_VARIABLE_INFO = 9,
        /// Whether a capsule is accepted.
        QUERY_CAPSULE_CAPABILITIES = 10,
        /// Gives a capsule.
        UPDATE_CAPSULE = 11,
    }
}

layouts! {
    /// Argument of the hypercall.
    pub struct PlatformOp("struct xen_platform_op"): 136 {
        /// What to do.
        pub cmd: PlatformCmd,
        /// [`XENPF_INTERFACE_VERSION`].
        pub interface_version: u32,
        /// The command's structure, from the start.
        pub u: [u64; 16],
    }

    /// Sets the wall clock, 32-bit seconds.
    pub struct SetTime32("struct xenpf_settime32"): 16 {
        /// Seconds.
        pub secs: u32,
        /// Nanoseconds.
        pub nsecs: u32,
        /// System time at which this holds.
        pub system_time: u64,
    }

    /// Sets the wall clock.
    pub struct SetTime64("struct xenpf_settime64"): 24 {
        /// Seconds.
        pub secs: u64,
        /// Nanoseconds.
        pub nsecs: u32,
        /// Must be 0.
        pub mbz: u32,
        /// System time at which this holds.
        pub system_time: u64,
    }

    /// Adds a memory type range.
    pub struct AddMemtype("struct xenpf_add_memtype"): 32 {
        /// First frame.
        pub mfn: u64,
        /// Frames.
        pub nr_mfns: u64,
        /// Type.
        pub kind("type"): u32,
        /// For removal (out).
        pub handle: u32,
        /// Register (out).
        pub reg: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// Removes a memory type range.
    pub struct DelMemtype("struct xenpf_del_memtype"): 8 {
        /// Which.
        pub handle: u32,
        /// Register.
        pub reg: u32,
    }

    /// Reads a memory type range.
    pub struct ReadMemtype("struct xenpf_read_memtype"): 32 {
        /// Register.
        pub reg: u32,
        /// Padding.
        pub _pad0: u32,
        /// First frame (out).
        pub mfn: u64,
        /// Frames (out); 0 if unused.
        pub nr_mfns: u64,
        /// Type (out).
        pub kind("type"): u32,
        /// Padding.
        pub _pad1: u32,
    }

    /// Loads microcode.
    pub struct MicrocodeUpdate("struct xenpf_microcode_update"): 16 {
        /// The file.
        pub data: GuestPtr<u8>,
        /// Its bytes.
        pub length: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// Loads microcode, with a choice.
    pub struct MicrocodeUpdate2("struct xenpf_microcode_update2"): 16 {
        /// [`UCODE_FORCE`].
        pub flags: u32,
        /// Bytes.
        pub length: u32,
        /// The file.
        pub data: GuestPtr<u8>,
    }

    /// A quirk of the machine.
    pub struct PlatformQuirk("struct xenpf_platform_quirk"): 4 {
        /// Which.
        pub quirk_id: u32,
    }

    /// A clock reading of EFI.
    pub struct EfiTime("struct xenpf_efi_time"): 16 {
        /// Year.
        pub year: u16,
        /// Month, from 1.
        pub month: u8,
        /// Day, from 1.
        pub day: u8,
        /// Hour.
        pub hour: u8,
        /// Minute.
        pub min: u8,
        /// Second.
        pub sec: u8,
        /// Padding.
        pub _pad0: u8,
        /// Nanosecond.
        pub ns: u32,
        /// Minutes from UTC; 2047 for unknown.
        pub tz: i16,
        /// Daylight saving.
        pub daylight: u8,
        /// Padding.
        pub _pad1: u8,
    }

    /// A GUID.
    pub struct EfiGuid("struct xenpf_efi_guid"): 16 {
        /// First part.
        pub data1: u32,
        /// Second part.
        pub data2: u16,
        /// Third part.
        pub data3: u16,
        /// Last part.
        pub data4: [u8; 8],
    }

    /// Calls an EFI run-time service.
    pub struct EfiRuntimeCall("struct xenpf_efi_runtime_call"): 56 {
        /// Which.
        pub function: EfiFunction,
        /// Flags or a small result.
        pub misc: u32,
        /// EFI's status (out).
        pub status: u64,
        /// The service's structure.
        pub u: [u64; 5],
    }

    /// [`EfiRuntimeCall::u`] of get_time.
    pub struct EfiGetTime(""): 24 {
        /// The time (out).
        pub time: EfiTime,
        /// Resolution (out).
        pub resolution: u32,
        /// Accuracy (out).
        pub accuracy: u32,
    }

    /// [`EfiRuntimeCall::u`] of get_variable and set_variable.
    pub struct EfiVariable(""): 40 {
        /// Name, in 16-bit units.
        pub name: GuestPtr<u16>,
        /// Bytes.
        pub size: u64,
        /// Contents.
        pub data: GuestPtr<u8>,
        /// Vendor.
        pub vendor_guid: EfiGuid,
    }

    /// [`EfiRuntimeCall::u`] of get_next_variable_name.
    pub struct EfiNextVariable(""): 32 {
        /// Bytes of room (in), of the name (out).
        pub size: u64,
        /// Name, in 16-bit units.
        pub name: GuestPtr<u16>,
        /// Vendor.
        pub vendor_guid: EfiGuid,
    }

    /// [`EfiRuntimeCall::u`] of query_variable_info.
    pub struct EfiVariableInfo(""): 32 {
        /// Kind of variables.
        pub attr: u32,
        /// Padding.
        pub _pad: u32,
        /// Bytes of store (out).
        pub max_store_size: u64,
        /// Bytes left (out).
        pub remain_store_size: u64,
        /// Bytes of one variable at most (out).
        pub max_size: u64,
    }

    /// What the firmware said.
    pub struct FirmwareInfo("struct xenpf_firmware_info"): 40 {
        /// `FW_*`.
        pub kind("type"): u32,
        /// Which of that kind.
        pub index: u32,
        /// The kind's structure; for the keyboard one byte of shift flags.
        pub u: [u64; 4],
    }

    /// [`FirmwareInfo::u`] of a disk.
    pub struct FwDiskInfo(""): 16 {
        /// BIOS number.
        pub device: u8,
        /// Version of the disk extensions.
        pub version: u8,
        /// Their functions.
        pub interface_support: u16,
        /// Old geometry: greatest cylinder.
        pub legacy_max_cylinder: u16,
        /// Old geometry: greatest head.
        pub legacy_max_head: u8,
        /// Old geometry: sectors.
        pub legacy_sectors_per_track: u8,
        /// Room for the extensions' parameters; its first 16 bits are its size.
        pub edd_params: GuestPtr<u8>,
    }

    /// [`FirmwareInfo::u`] of a disk's signature.
    pub struct FwDiskMbrSignature(""): 8 {
        /// BIOS number (out).
        pub device: u8,
        /// Padding.
        pub _pad: [u8; 3],
        /// Signature (out).
        pub mbr_signature: u32,
    }

    /// [`FirmwareInfo::u`] of the monitor.
    pub struct FwVbeddcInfo(""): 16 {
        /// Capabilities (out).
        pub capabilities: u8,
        /// Seconds for a transfer (out).
        pub edid_transfer_time: u8,
        /// Padding.
        pub _pad: [u8; 6],
        /// Room for 128 bytes.
        pub edid: GuestPtr<u8>,
    }

    /// [`FirmwareInfo::u`] of EFI's configuration tables.
    pub struct FwEfiConfigTable(""): 16 {
        /// Physical address (out).
        pub addr: u64,
        /// Entries (out).
        pub nent: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// [`FirmwareInfo::u`] of EFI's vendor.
    pub struct FwEfiVendor(""): 16 {
        /// Revision (out).
        pub revision: u32,
        /// Bytes of room (in), needed (out).
        pub bufsz: u32,
        /// Name, in 16-bit units.
        pub name: GuestPtr<u16>,
    }

    /// [`FirmwareInfo::u`] of EFI's memory.
    pub struct FwEfiMemInfo(""): 32 {
        /// Physical address (in: any within; out: first).
        pub addr: u64,
        /// Bytes (out).
        pub size: u64,
        /// Attributes (out).
        pub attr: u64,
        /// Type (out).
        pub kind: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// Puts the machine to sleep or off.
    pub struct EnterAcpiSleep("struct xenpf_enter_acpi_sleep"): 12 {
        /// PM1a control, or the sleep control value.
        pub val_a: u16,
        /// PM1b control, or the sleep type.
        pub val_b: u16,
        /// S-state.
        pub sleep_state: u32,
        /// [`ACPI_SLEEP_EXTENDED`].
        pub flags: u32,
    }

    /// A CPU's frequency has changed.
    pub struct ChangeFreq("struct xenpf_change_freq"): 16 {
        /// Must be 0.
        pub flags: u32,
        /// Which CPU.
        pub cpu: u32,
        /// Hertz.
        pub freq: u64,
    }

    /// Time that CPUs were idle.
    pub struct GetIdletime("struct xenpf_getidletime"): 32 {
        /// Which CPUs (in: asked; out: on line).
        pub cpumap_bitmap: GuestPtr<u8>,
        /// Bits of it.
        pub cpumap_nr_cpus: u32,
        /// Padding.
        pub _pad: u32,
        /// Nanoseconds of each (out).
        pub idletime: GuestPtr<u64>,
        /// System time (out).
        pub now: u64,
    }

    /// Power states of a CPU, from ACPI.
    pub struct SetProcessorPminfo("struct xenpf_set_processor_pminfo"): 112 {
        /// ACPI id.
        pub id: u32,
        /// `PM_*`.
        pub kind("type"): u32,
        /// The kind's structure; for [`PM_PDC`] the address of its words.
        pub u: [u64; 13],
    }

    /// Which physical CPUs there are.
    pub struct PcpuInfo("struct xenpf_pcpuinfo"): 20 {
        /// Which.
        pub xen_cpuid: u32,
        /// Greatest present (out).
        pub max_present: u32,
        /// `PCPU_FLAGS_*` (out).
        pub flags: u32,
        /// APIC id (out).
        pub apic_id: u32,
        /// ACPI id (out).
        pub acpi_id: u32,
    }

    /// Kind of a physical CPU.
    pub struct PcpuVersion("struct xenpf_pcpu_version"): 32 {
        /// Which.
        pub xen_cpuid: u32,
        /// Greatest present (out).
        pub max_present: u32,
        /// Vendor (out).
        pub vendor_id: [u8; 12],
        /// Family (out).
        pub family: u32,
        /// Model (out).
        pub model: u32,
        /// Stepping (out).
        pub stepping: u32,
    }

    /// A CPU to be taken on or off line.
    pub struct CpuOl("struct xenpf_cpu_ol"): 4 {
        /// Which.
        pub cpuid: u32,
    }

    /// A new CPU.
    pub struct CpuHotadd("struct xenpf_cpu_hotadd"): 12 {
        /// APIC id.
        pub apic_id: u32,
        /// ACPI id.
        pub acpi_id: u32,
        /// Proximity domain.
        pub pxm: u32,
    }

    /// New memory.
    pub struct MemHotadd("struct xenpf_mem_hotadd"): 24 {
        /// First frame.
        pub spfn: u64,
        /// First frame after it.
        pub epfn: u64,
        /// Proximity domain.
        pub pxm: u32,
        /// Flags.
        pub flags: u32,
    }

    /// How many CPUs shall be idle.
    pub struct CoreParking("struct xenpf_core_parking"): 8 {
        /// 1: set, 2: get.
        pub kind("type"): u32,
        /// How many.
        pub idle_nums: u32,
    }

    /// One access of [`ResourceOp`].
    pub struct ResourceEntry("struct xenpf_resource_entry"): 24 {
        /// `RESOURCE_OP_*` (in), result (out, signed).
        pub cmd("u.cmd"): u32,
        /// Must be 0.
        pub rsvd: u32,
        /// MSR.
        pub idx: u64,
        /// Value.
        pub val: u64,
    }

    /// Accesses on one CPU.
    pub struct ResourceOp("struct xenpf_resource_op"): 16 {
        /// How many.
        pub nr_entries: u32,
        /// Which CPU.
        pub cpu: u32,
        /// The accesses.
        pub entries: GuestPtr<ResourceEntry>,
    }

    /// A symbol of the hypervisor.
    pub struct Symdata("struct xenpf_symdata"): 32 {
        /// Bytes of room (in), needed (out).
        pub namelen: u32,
        /// Which (in), the next (out).
        pub symnum: u32,
        /// Its name.
        pub name: GuestPtr<u8>,
        /// Its address (out).
        pub address: u64,
        /// Its letter, as nm prints it (out).
        pub kind("type"): u8,
        /// Padding.
        pub _pad: [u8; 7],
    }

    /// Microcode of a CPU.
    pub struct UcodeRevision("struct xenpf_ucode_revision"): 16 {
        /// Which CPU.
        pub cpu: u32,
        /// Its signature (out).
        pub signature: u32,
        /// Its platform flags (out).
        pub pf: u32,
        /// Revision (out).
        pub revision: u32,
    }
}
