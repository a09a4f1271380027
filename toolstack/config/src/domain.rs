//! What a guest is to be: plain data, every field checked by [`validate`](crate::validate).

mod devices;
mod vdev;

pub use devices::{Access, BackendType, Disk, DiskFormat, Rate, Vfb, Vif, VifType, VifWay};
pub use vdev::Vdev;

use crate::{CpuList, CpuListError, HostCpus, Uuid};

/// What a guest is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// Unique name; never empty, no slash.
    pub name: String,
    /// Fixed UUID; `None`: the creator draws one.
    pub uuid: Option<Uuid>,
    /// Kind of guest, with what only that kind has.
    pub kind: Kind,
    /// vCPUs online at start; at least 1, at most `max_vcpus`.
    pub vcpus: u32,
    /// vCPUs that the guest can ever have.
    pub max_vcpus: u32,
    /// Memory at start (the balloon's target), KiB.
    pub memory_kib: u64,
    /// Memory that the guest can balloon up to, KiB; at least `memory_kib`.
    pub max_memory_kib: u64,
    /// Hard affinity by vCPU; a list shorter than the vCPUs leaves the rest on all CPUs.
    /// Empty: every vCPU may run everywhere.
    pub hard_affinity: Vec<CpuList>,
    /// Preferred CPUs, in the same form.
    pub soft_affinity: Vec<CpuList>,
    /// Scheduler weight, 1 to 65535; `None`: the scheduler's default (256).
    pub weight: Option<u16>,
    /// Cap in percent of one CPU; `None` or 0: none.
    pub cap: Option<u16>,
    /// How the guest's TSC behaves.
    pub tsc_mode: TscMode,
    /// Name of the CPU pool; `None`: Pool-0.
    pub pool: Option<String>,
    /// What happens when the guest ends.
    pub events: Events,
    /// Virtual disks, in the order of the file.
    pub disks: Vec<Disk>,
    /// Virtual network interfaces, in the order of the file.
    pub vifs: Vec<Vif>,
    /// Virtual frame buffers.
    pub vfbs: Vec<Vfb>,
    /// Limits of the grant table.
    pub grants: Grants,
    /// Highest event-channel port; `None`: 1023, as libxl sets.
    pub max_event_channels: Option<u32>,
    /// The guest sees the host's memory map (PV).
    pub e820_host: Option<bool>,
    /// Save and migration are forbidden; `None`: not said, allowed.
    pub nomigrate: Option<bool>,
    /// The guest is a driver domain: xenstore is prepared for `xl devd` in it.
    /// `None`: not said, it is not.
    pub driver_domain: Option<bool>,
    /// Memory is claimed before it is populated (`claim_mode` of `xl.conf`).
    pub claim_mode: bool,
    /// Hotplug scripts are run by the tools, not by udev (`run_hotplug_scripts` of `xl.conf`).
    pub run_hotplug_scripts: bool,
    /// First name for disks attached to dom0 for a boot loader (`blkdev_start` of `xl.conf`).
    pub blkdev_start: Option<String>,
    /// Which program serves frame buffers and image formats, where one is needed.
    pub device_model: DeviceModel,
    /// Which keys the file had although they say what holds anyway.
    pub written: Written,
}

/// Keys that the file had although they say what holds anyway: `xl create -n` shows those only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// `vcpus`.
    pub vcpus: bool,
    /// `maxvcpus`.
    pub max_vcpus: bool,
    /// `memory` or `maxmem`.
    pub memory: bool,
    /// Something that keeps libxl from choosing NUMA nodes: `cpus` as a list, or `cpus_soft`.
    pub placement: bool,
    /// Not written but settled by `xl.conf`: `claim_mode` and `run_hotplug_scripts`. Only what
    /// libxl keeps of dom0 has neither.
    pub host: bool,
}

impl DomainConfig {
    /// What only PV guests have.
    pub fn pv(&self) -> Option<&Pv> {
        match &self.kind {
            Kind::Pv(pv) => Some(pv),
            Kind::Pvh(_) | Kind::Hvm(_) => None,
        }
    }

    /// Replaces lists of CPUs that depend on the host (`all`, `node:0`) by what they mean there.
    pub fn resolve_cpus(&mut self, host: &HostCpus) -> Result<(), CpuListError> {
        for list in self.hard_affinity.iter_mut().chain(&mut self.soft_affinity) {
            *list = CpuList::of(&list.resolve(host)?);
        }
        Ok(())
    }

    /// A PV guest of 1 vCPU with nothing but a name and memory (KiB); the defaults of every key.
    pub fn new_pv(name: &str, memory_kib: u64) -> Self {
        Self {
            name: name.to_owned(),
            uuid: None,
            kind: Kind::Pv(Pv::default()),
            vcpus: 1,
            max_vcpus: 1,
            memory_kib,
            max_memory_kib: memory_kib,
            hard_affinity: Vec::new(),
            soft_affinity: Vec::new(),
            weight: None,
            cap: None,
            tsc_mode: TscMode::Default,
            pool: None,
            events: Events::default(),
            disks: Vec::new(),
            vifs: Vec::new(),
            vfbs: Vec::new(),
            grants: Grants::default(),
            max_event_channels: None,
            e820_host: None,
            nomigrate: None,
            driver_domain: None,
            claim_mode: true,
            run_hotplug_scripts: true,
            blkdev_start: None,
            device_model: DeviceModel::default(),
            written: Written { memory: true, host: true, ..Written::default() },
        }
    }
}

/// Kind of guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Paravirtual: its kernel is started as it is.
    Pv(Pv),
    /// Hardware-virtualized without device emulation. Parsed; refused by `validate`.
    Pvh(Pvh),
    /// Hardware-virtualized with a device model. Parsed; refused by `validate`.
    Hvm(Hvm),
}

/// What only PV guests have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pv {
    /// Path of the kernel image in dom0; `None` where a boot loader finds it.
    pub kernel: Option<String>,
    /// Path of the initial RAM disk in dom0.
    pub ramdisk: Option<String>,
    /// The kernel's command line: `cmdline`, or `root=` and `extra` joined.
    pub cmdline: Option<String>,
    /// Program that finds the kernel in the guest's disk (`pygrub`).
    pub bootloader: Option<String>,
    /// Its arguments.
    pub bootloader_args: Vec<String>,
    /// It runs without privileges; `None`: as `xl.conf` says.
    pub bootloader_restrict: Option<bool>,
    /// The user that it runs as then.
    pub bootloader_user: Option<String>,
}

/// What only PVH guests have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pvh {
    /// Path of the kernel image in dom0.
    pub kernel: Option<String>,
    /// Path of the initial RAM disk in dom0.
    pub ramdisk: Option<String>,
    /// The kernel's command line.
    pub cmdline: Option<String>,
}

/// What only HVM guests have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hvm {
    /// Boot order: letters of `cdn`.
    pub boot: Option<String>,
    /// Firmware by name or path.
    pub firmware: Option<String>,
}

/// How a guest's TSC behaves (`tsc_mode`; numbers are Xen's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TscMode {
    /// Native where that is safe, emulated otherwise (0).
    #[default]
    Default,
    /// Every RDTSC is emulated (1).
    AlwaysEmulate,
    /// RDTSC is never emulated (2).
    Native,
}

impl TscMode {
    /// Xen's number (`XEN_DOMCTL_settscinfo`).
    pub fn number(self) -> u32 {
        match self {
            Self::Default => 0,
            Self::AlwaysEmulate => 1,
            Self::Native => 2,
        }
    }

    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AlwaysEmulate => "always_emulate",
            Self::Native => "native",
        }
    }

    /// By name in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Default, Self::AlwaysEmulate, Self::Native]
            .into_iter()
            .find(|mode| mode.name() == name)
    }
}

/// What happens when a guest ends in one of five ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// It shut down.
    pub on_poweroff: Action,
    /// It asked for a reboot.
    pub on_reboot: Action,
    /// Its watchdog ran out.
    pub on_watchdog: Action,
    /// It crashed.
    pub on_crash: Action,
    /// It asked for a soft reset.
    pub on_soft_reset: Action,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_watchdog: Action::Destroy,
            on_crash: Action::Destroy,
            on_soft_reset: Action::SoftReset,
        }
    }
}

/// What to do with a guest that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Destroy it.
    Destroy,
    /// Destroy it and create it again.
    Restart,
    /// Keep it under another name and create it again.
    RenameRestart,
    /// Keep it for inspection.
    Preserve,
    /// Dump its memory, then destroy it.
    CoredumpDestroy,
    /// Dump its memory, then restart it.
    CoredumpRestart,
    /// Reset it in place.
    SoftReset,
}

impl Action {
    /// All of them, in the order of the manual page.
    pub const ALL: [Self; 7] = [
        Self::Destroy,
        Self::Restart,
        Self::RenameRestart,
        Self::Preserve,
        Self::CoredumpDestroy,
        Self::CoredumpRestart,
        Self::SoftReset,
    ];

    /// The name in `xl.cfg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Restart => "restart",
            Self::RenameRestart => "rename-restart",
            Self::Preserve => "preserve",
            Self::CoredumpDestroy => "coredump-destroy",
            Self::CoredumpRestart => "coredump-restart",
            Self::SoftReset => "soft-reset",
        }
    }

    /// By name in `xl.cfg`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// Limits of a guest's grant table; `None`: the host's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Frames of the grant table.
    pub max_frames: Option<u32>,
    /// Frames of the map-tracking table.
    pub max_maptrack_frames: Option<u32>,
    /// Highest version of the table's layout.
    pub max_version: Option<GrantVersion>,
}

/// Version of the grant table's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantVersion {
    /// Eight bytes an entry.
    V1,
    /// Sixteen bytes an entry.
    V2,
}

impl GrantVersion {
    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// The device model (QEMU) of a guest that needs one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceModel {
    /// Path of the program instead of the installed one.
    pub program: Option<String>,
    /// Arguments added (`device_model_args`).
    pub args: Vec<String>,
    /// Arguments added for PV guests only (`device_model_args_pv`).
    pub args_pv: Vec<String>,
    /// User that it runs as.
    pub user: Option<String>,
}
