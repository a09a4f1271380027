//! A guest's devices.

use std::fmt;

use super::Vdev;
use crate::Mac;

/// A virtual disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Name in the guest and number in the store.
    pub vdev: Vdev,
    /// Path in the backend's domain: absolute, or relative to `/dev`, or free text for
    /// a `script`. `None`: an empty drive.
    pub target: Option<String>,
    /// Format of the image.
    pub format: DiskFormat,
    /// What the guest may do.
    pub access: Access,
    /// A CD drive: read-only, removable.
    pub cdrom: bool,
    /// Domain of the backend by name or number; `None`: 0.
    pub backend: Option<String>,
    /// Which backend serves it; `None`: chosen by format and target.
    pub backend_type: Option<BackendType>,
    /// Script that prepares the target: a path, or a name in `/etc/xen/scripts`.
    pub script: Option<String>,
    /// The backend may use direct I/O on a file.
    pub direct_io_safe: bool,
    /// The backend offers discard; `None`: the default (yes).
    pub discard: Option<bool>,
    /// The frontend trusts the backend; `None`: the default (yes).
    pub trusted: Option<bool>,
    /// virtio only: the backend uses grants.
    pub grant_usage: Option<bool>,
}

impl Disk {
    /// A raw read-write disk of `target` seen as `vdev`.
    pub fn new(vdev: Vdev, target: &str) -> Self {
        Self {
            vdev,
            target: Some(target.to_owned()),
            format: DiskFormat::Raw,
            access: Access::ReadWrite,
            cdrom: false,
            backend: None,
            backend_type: None,
            script: None,
            direct_io_safe: false,
            discard: None,
            trusted: None,
            grant_usage: None,
        }
    }

    /// The target as an absolute path: what is relative is looked for in `/dev`.
    pub fn path(&self) -> Option<String> {
        let target = self.target.as_deref()?;
        if target.starts_with('/') || self.script.is_some() {
            Some(target.to_owned())
        } else {
            Some(format!("/dev/{target}"))
        }
    }
}

/// Format of a disk image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskFormat {
    /// Bytes as the guest sees them: a block device or a plain file.
    #[default]
    Raw,
    /// QEMU's first format.
    Qcow,
    /// QEMU's second format.
    Qcow2,
    /// Microsoft's virtual hard disk.
    Vhd,
    /// QEMU's enhanced disk.
    Qed,
    /// A drive without a medium.
    Empty,
}

impl DiskFormat {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Raw, Self::Qcow, Self::Qcow2, Self::Vhd, Self::Qed, Self::Empty];

    /// The name in the file and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow => "qcow",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Qed => "qed",
            Self::Empty => "empty",
        }
    }

    /// By name in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// What a guest may do with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Read (`r`, `ro`).
    ReadOnly,
    /// Read and write (`w`, `rw`); nobody else may write.
    #[default]
    ReadWrite,
    /// Read and write although others write too (`w!`).
    Shared,
}

impl Access {
    /// The guest may write.
    pub fn writable(self) -> bool {
        !matches!(self, Self::ReadOnly)
    }

    /// The `mode` node in the store: `r`, `w`, or `w!` which the block script knows.
    pub fn mode(self) -> &'static str {
        match self {
            Self::ReadOnly => "r",
            Self::ReadWrite => "w",
            Self::Shared => "w!",
        }
    }
}

/// Which backend serves a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendType {
    /// The kernel's blkback.
    Phy,
    /// The tap daemon.
    Tap,
    /// QEMU.
    Qdisk,
    /// A daemon of the user's own.
    Standalone,
}

impl BackendType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Phy, Self::Tap, Self::Qdisk, Self::Standalone];

    /// The name in the file and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Phy => "phy",
            Self::Tap => "tap",
            Self::Qdisk => "qdisk",
            Self::Standalone => "standalone",
        }
    }

    /// By name in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A virtual network interface; `None` everywhere: the defaults of `xl.conf`, then the built-in ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vif {
    /// Number of the interface; `None`: the lowest free one.
    pub devid: Option<u32>,
    /// Address; `None`: drawn from 00:16:3e.
    pub mac: Option<Mac>,
    /// Bridge that the backend is added to (`xenbr0`).
    pub bridge: Option<String>,
    /// Addresses that the script lets through, separated by spaces.
    pub ip: Option<String>,
    /// Hotplug script: a path, or a name in `/etc/xen/scripts` (`vif-bridge`).
    pub script: Option<String>,
    /// Name of the backend's interface instead of `vifDOMID.DEVID`.
    pub vifname: Option<String>,
    /// Upper limit of what the guest sends.
    pub rate: Option<Rate>,
    /// Emulated card (HVM).
    pub model: Option<String>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Domain of the backend by name or number; `None`: 0.
    pub backend: Option<String>,
    /// Outgoing interface for scripts that route.
    pub gatewaydev: Option<String>,
    /// VLANs, in the words of the script.
    pub vlan: Option<String>,
    /// The frontend trusts the backend; `None`: the default (yes).
    pub trusted: Option<bool>,
    /// Emulated or paravirtual; `None`: by the kind of guest.
    pub kind: Option<VifType>,
}

/// How an interface's backend joins domain 0's network, by the script's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VifWay {
    /// A port of a bridge (`vif-bridge`, or no script).
    Bridge,
    /// Routes to the guest's addresses (`vif-route`).
    Route,
    /// A network of its own, which domain 0 routes (`vif-nat`).
    Nat,
    /// What a script does.
    Script,
}

impl Vif {
    /// How it joins domain 0's network. The usual scripts are the tools' own work when they are named
    /// without a folder; a path has the script run.
    pub fn way(&self) -> VifWay {
        match self.script.as_deref() {
            None | Some("vif-bridge") => VifWay::Bridge,
            Some("vif-route") => VifWay::Route,
            Some("vif-nat") => VifWay::Nat,
            Some(_) => VifWay::Script,
        }
    }
}

/// Kind of network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VifType {
    /// Emulated card beside the paravirtual one.
    Ioemu,
    /// Paravirtual only.
    Vif,
}

impl VifType {
    /// The name in JSON.
    pub fn json_name(self) -> &'static str {
        match self {
            Self::Ioemu => "vif_ioemu",
            Self::Vif => "vif",
        }
    }
}

/// An upper limit of what a guest sends: `bytes` in each `interval_usecs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes in an interval.
    pub bytes: u64,
    /// Length of an interval, microseconds.
    pub interval_usecs: u32,
}

impl fmt::Display for Rate {
    /// As the store's `rate` node has it: `bytes,usecs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.bytes, self.interval_usecs)
    }
}

/// A virtual frame buffer; `None`: the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vfb {
    /// VNC server; default on.
    pub vnc: Option<bool>,
    /// Address that it listens on (127.0.0.1).
    pub vnc_listen: Option<String>,
    /// Display number: port 5900 and up.
    pub vnc_display: Option<u32>,
    /// The first free port from the display's on is taken.
    pub vnc_unused: Option<bool>,
    /// Password.
    pub vnc_password: Option<String>,
    /// SDL window; default off.
    pub sdl: Option<bool>,
    /// OpenGL in the SDL window.
    pub opengl: Option<bool>,
    /// X display of the SDL window.
    pub display: Option<String>,
    /// X authority file of the SDL window.
    pub xauthority: Option<String>,
    /// Keyboard layout.
    pub keymap: Option<String>,
}
