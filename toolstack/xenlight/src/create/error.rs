//! Why a guest could not be created.

use std::time::Duration;

use xl_config::Uuid;

use crate::build::BuildError;
use crate::cpus::CpuError;
use crate::devices::DeviceError;
use crate::journal::JournalError;
use crate::life::{LifeError, chain};
use crate::lock::LockError;
use crate::monitor::LaunchError;
use crate::restore;
use crate::userdata::UserdataError;

/// Why a guest could not be created. Nothing is left of it, except where [`CreateError::Left`] says so.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The toolstack cannot do this yet.
    #[error("{what} is not implemented")]
    NotImplemented {
        /// The key with its value.
        what: String,
    },
    /// No kernel is named.
    #[error(
        "the configuration names no kernel: kernel=\"/boot/vmlinuz\" is what a PV guest starts from"
    )]
    NoKernel,
    /// Other creations are under way, or the lock cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal cannot be written.
    #[error("cannot write down that a guest is being created")]
    Journal(#[from] JournalError),
    /// The name is in use, or no name.
    #[error(transparent)]
    Name(#[from] LifeError),
    /// Another guest has the UUID.
    #[error("the uuid {uuid} is in use: domain {domid} has it")]
    UuidInUse {
        /// The UUID.
        uuid: Uuid,
        /// Who has it.
        domid: u16,
    },
    /// There is not so much memory.
    #[error(
        "not enough memory: the guest needs {} MiB ({} MiB and what Xen keeps for it), {} MiB are \
         free{}", needed_kib.div_ceil(1024), memory_kib / 1024, free_kib / 1024, dom0.sentence()
    )]
    NoMemory {
        /// What the guest is to have.
        memory_kib: u64,
        /// What must be free.
        needed_kib: u64,
        /// What is free.
        free_kib: u64,
        /// What was done about domain 0.
        dom0: Dom0,
    },
    /// The hypervisor failed.
    #[error("the hypervisor failed")]
    Xen(#[source] sys::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] xenstore::Error),
    /// No random numbers.
    #[error("cannot draw a UUID from /dev/urandom")]
    Random(#[source] std::io::Error),
    /// The domain could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The saved guest could not be read.
    #[error(transparent)]
    Restore(#[from] restore::Error),
    /// A device could not be made.
    #[error(transparent)]
    Device(Box<DeviceError>),
    /// Its CPUs could not be set.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// Its configuration could not be stored.
    #[error(transparent)]
    Userdata(#[from] UserdataError),
    /// Nobody can be made to watch it.
    #[error(transparent)]
    Monitor(#[from] LaunchError),
    /// It did not start.
    #[error("domain {domid}: starting it failed")]
    Start {
        /// Its number.
        domid: u16,
        /// Why.
        #[source]
        source: sys::Error,
    },
    /// It failed, and not all could be taken back.
    #[error("{}; moreover, not all of domain {domid} could be taken back: {left}", chain(why))]
    Left {
        /// Its number.
        domid: u16,
        /// What failed first.
        why: Box<CreateError>,
        /// What is left, and why.
        left: String,
    },
}

impl From<DeviceError> for CreateError {
    fn from(error: DeviceError) -> Self {
        Self::Device(Box::new(error))
    }
}

/// What was done about domain 0's memory before giving up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dom0 {
    /// Nothing: `autoballoon` is off, or "auto" and the hypervisor was started with `dom0_mem`.
    Fixed {
        /// What domain 0 has, KiB.
        has_kib: u64,
    },
    /// It would be too small then.
    TooSmall {
        /// What domain 0 has, KiB.
        has_kib: u64,
        /// What it must keep, KiB.
        least_kib: u64,
    },
    /// It was asked, and did not give enough in time.
    Slow {
        /// How long was waited.
        limit: Duration,
    },
}

impl Dom0 {
    fn sentence(&self) -> String {
        match self {
            Self::Fixed { has_kib } => format!(
                "; domain 0 keeps its {} MiB (`xl mem-set 0 SIZE` makes it smaller, or autoballoon=\"on\" in xl.conf)",
                has_kib / 1024
            ),
            Self::TooSmall { has_kib, least_kib } => format!(
                "; domain 0 has {} MiB and must keep {} MiB",
                has_kib / 1024,
                least_kib / 1024
            ),
            Self::Slow { limit } => {
                format!("; domain 0 did not give enough up within {} s", limit.as_secs())
            }
        }
    }
}
