//! What can go wrong with devices.

use std::path::PathBuf;
use std::time::Duration;

use super::State;
use crate::hotplug::ScriptError;
use crate::journal::JournalError;
use crate::lock::LockError;
use crate::userdata::UserdataError;

/// Why a device could not be attached, detached or listed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] xenstore::Error),
    /// Guests are being created all the time.
    #[error(transparent)]
    Lock(Box<LockError>),
    /// What is under way cannot be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It is done, but the stored configuration does not know.
    #[error("{device} was {what}, but a restart of the guest will not know of it")]
    Userdata {
        /// The device.
        device: String,
        /// "attached" or "detached".
        what: &'static str,
        /// Why.
        #[source]
        source: Box<UserdataError>,
    },
    /// The hypervisor or the kernel failed.
    #[error("{device}: {what} failed")]
    Kernel {
        /// The device.
        device: String,
        /// What was to be done.
        what: &'static str,
        /// Why not.
        #[source]
        source: sys::Error,
    },
    /// There is no such image or device.
    #[error("disk {vdev}: cannot use {}", path.display())]
    Image {
        /// Name in the guest.
        vdev: String,
        /// The image or device.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Neither file nor block device.
    #[error("disk {vdev}: {} is {what}, and neither a plain file nor a block device", path.display())]
    NoImage {
        /// Name in the guest.
        vdev: String,
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file may only be read.
    #[error("disk {vdev}: {} is read-only and cannot be given to a guest read-write; say \"r\" for the disk's access", path.display())]
    ReadOnly {
        /// Name in the guest.
        vdev: String,
        /// The path.
        path: PathBuf,
    },
    /// Somebody else uses it in a way that does not go together.
    #[error("disk {vdev}: {} is in use: {user}{}", path.display(), if *write { "; \"w!\" as the disk's access shares it all the same" } else { "; it can be read by others if that one has it with \"w!\"" })]
    InUse {
        /// Name in the guest.
        vdev: String,
        /// The image or device.
        path: PathBuf,
        /// Who uses it, and how.
        user: String,
        /// It was wanted for writing.
        write: bool,
    },
    /// The toolstack cannot do this yet.
    #[error("{device}: {what} is not implemented")]
    NotImplemented {
        /// The device.
        device: String,
        /// What.
        what: String,
    },
    /// The guest has a device of this number already.
    #[error("domain {domid} has a device {device} already")]
    Exists {
        /// The guest.
        domid: u16,
        /// The device.
        device: String,
    },
    /// There is no such device.
    #[error("domain {domid} has no device {device}; it has {}", list(has))]
    Missing {
        /// The guest.
        domid: u16,
        /// What was asked for.
        device: String,
        /// What there is.
        has: Vec<String>,
    },
    /// Not the name of a disk.
    #[error("\"{0}\" is no disk's name or number; examples: xvdb, sda1, 51728")]
    Vdev(String),
    /// The domain that is to serve the device cannot be found.
    #[error("the backend's domain \"{name}\" cannot be found")]
    BackendDomain {
        /// As the configuration names it.
        name: String,
        /// Why.
        #[source]
        source: Box<crate::life::LifeError>,
    },
    /// The backend did not get where it should in time.
    #[error("{device}: the backend {path} {} after {} s; {} was expected{}", state.map_or("is not there".to_owned(), |s| format!("is {} ({})", s.name(), s.0)), limit.as_secs(), wanted.name(), why.as_ref().map(|w| format!(": {w}")).unwrap_or_default())]
    Backend {
        /// The device.
        device: String,
        /// The backend's directory in the store.
        path: String,
        /// Its state at the end.
        state: Option<State>,
        /// The state that was waited for.
        wanted: State,
        /// How long was waited.
        limit: Duration,
        /// What the kernel or the script said.
        why: Option<String>,
    },
    /// The guest does not let go.
    #[error("{device}: the guest did not release it within {} s (its end is {}); -f forces it", limit.as_secs(), state.map_or("gone", State::name))]
    Busy {
        /// The device.
        device: String,
        /// State of the guest's end.
        state: Option<State>,
        /// How long was waited.
        limit: Duration,
    },
    /// The bridge is not there.
    #[error("{device}: there is no bridge {bridge} in domain 0; bridges: {}", list(bridges))]
    NoBridge {
        /// The interface.
        device: String,
        /// The bridge that is wanted.
        bridge: String,
        /// Those there are.
        bridges: Vec<String>,
    },
    /// The interface whose address routed guests see is not there, or has none.
    #[error(
        "{device}: {gateway} has no IPv4 address for the guest to see; name an interface that has one with gatewaydev="
    )]
    NoGateway {
        /// The interface.
        device: String,
        /// What was looked at.
        gateway: String,
    },
    /// Not an address of a routed guest.
    #[error("{device}: \"{ip}\" is no {wanted}")]
    Ip {
        /// The interface.
        device: String,
        /// The word.
        ip: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A switch of the kernel's cannot be set.
    #[error("{device}: cannot write {}", path.display())]
    Switch {
        /// The interface.
        device: String,
        /// The switch.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The backend's interface did not appear.
    #[error("{device}: the backend made no interface {interface} within {} s: is the module xen-netback loaded?", limit.as_secs())]
    NoInterface {
        /// The device.
        device: String,
        /// The kernel's name.
        interface: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The name that the interface shall have is taken.
    #[error("{device}: cannot rename {interface} to {name}: an interface of that name exists")]
    NameTaken {
        /// The device.
        device: String,
        /// The kernel's name.
        interface: String,
        /// The wanted name.
        name: String,
    },
    /// A script failed.
    #[error("{device}: hotplug failed{}", said.as_ref().map(|w| format!(" ({w})")).unwrap_or_default())]
    Script {
        /// The device.
        device: String,
        /// What it wrote into the store as its error.
        said: Option<String>,
        /// How it ended.
        #[source]
        source: Box<ScriptError>,
    },
    /// A script did not do what the backend needs.
    #[error("{device}: hotplug script {} ended well, but wrote no {node}", script.display())]
    ScriptSilent {
        /// The device.
        device: String,
        /// The script.
        script: PathBuf,
        /// The node that is missing.
        node: &'static str,
    },
}

impl From<LockError> for DeviceError {
    fn from(error: LockError) -> Self {
        Self::Lock(Box::new(error))
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
