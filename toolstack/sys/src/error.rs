//! What can go wrong between a tool, its kernel and the hypervisor.

use std::path::PathBuf;

use rustix::io::Errno;

/// Result of this package.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request to the kernel or the hypervisor failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A device or file could not be opened.
    #[error("cannot open {}: {errno}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// A device refused a request.
    #[error("{device}: {operation}: {errno}")]
    Device {
        /// Which device, interface or file.
        device: String,
        /// What was asked of it.
        operation: &'static str,
        /// Why not.
        errno: Errno,
    },
    /// The hypervisor refused a call.
    #[error("hypercall {call}{}: {errno}{}", of(*domid), hint(call, *errno))]
    Hypercall {
        /// Family and operation, as in "domctl max_mem".
        call: &'static str,
        /// The domain it was about.
        domid: Option<u16>,
        /// Why not.
        errno: Errno,
    },
    /// A call kept asking to be made again.
    #[error("hypercall {call}{} was not done after {seconds} s", of(*domid))]
    Unfinished {
        /// Family and operation.
        call: &'static str,
        /// The domain it was about.
        domid: Option<u16>,
        /// How long it was tried.
        seconds: u64,
    },
    /// A page of another domain could not be mapped.
    #[error("cannot map frame {frame:#x} of domain {domid}: {errno}")]
    Map {
        /// Whose.
        domid: u16,
        /// The first frame that could not be mapped.
        frame: u64,
        /// Why.
        errno: Errno,
    },
    /// Fewer extents of memory were given than asked for.
    #[error("domain {domid}: only {done} of {wanted} extents of {pages} pages")]
    Extents {
        /// Whose.
        domid: u16,
        /// How many it has now.
        done: u64,
        /// How many were asked for.
        wanted: u64,
        /// Pages in each.
        pages: u64,
    },
    /// A grant operation failed.
    #[error("grant_table_op {operation} of domain {domid}: {}", grant_status(*status))]
    Grant {
        /// Which.
        operation: &'static str,
        /// Whose table.
        domid: u16,
        /// `GNTST_*`.
        status: i16,
    },
    /// The hypervisor does not accept a CPU policy.
    #[error("domain {domid}: CPU policy refused at {}: {errno}", policy_place(*leaf, *subleaf, *msr))]
    CpuPolicy {
        /// Whose.
        domid: u16,
        /// The leaf at fault, if it is a leaf.
        leaf: Option<u32>,
        /// Its subleaf.
        subleaf: Option<u32>,
        /// The MSR at fault, if it is one.
        msr: Option<u32>,
        /// Why.
        errno: Errno,
    },
    /// An answer makes no sense.
    #[error("{call}: {what}")]
    Answer {
        /// Which call.
        call: &'static str,
        /// What is wrong with its answer.
        what: &'static str,
    },
    /// An argument cannot be right.
    #[error("{call}: {what}: {value}")]
    Argument {
        /// Which call.
        call: &'static str,
        /// What it is.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

impl Error {
    /// The error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { errno, .. }
            | Self::Device { errno, .. }
            | Self::Hypercall { errno, .. }
            | Self::Map { errno, .. }
            | Self::CpuPolicy { errno, .. } => Some(*errno),
            Self::Unfinished { .. }
            | Self::Extents { .. }
            | Self::Grant { .. }
            | Self::Answer { .. }
            | Self::Argument { .. } => None,
        }
    }

    /// Whether the kernel has no Xen devices: it does not run on Xen, or lacks the module `xen_privcmd`
    /// or `xen_evtchn`.
    pub fn not_on_xen(&self) -> bool {
        match self {
            Self::Open { path, errno } => {
                matches!(*errno, Errno::NOENT | Errno::NODEV | Errno::NXIO)
                    && (path.starts_with("/dev/xen") || path.starts_with("/proc/xen"))
            }
            Self::Hypercall { errno, .. } => *errno == Errno::NOSYS,
            _ => false,
        }
    }

    /// Whether the user (or this domain) may not do it.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(Errno::ACCESS | Errno::PERM))
    }

    /// Whether there is no such domain.
    pub fn no_such_domain(&self) -> bool {
        matches!(self, Self::Hypercall { errno: Errno::SRCH, .. })
    }

    /// Whether the hypervisor does not have the call.
    pub fn not_implemented(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOSYS | Errno::OPNOTSUPP))
    }
}

fn of(domid: Option<u16>) -> String {
    domid.map(|d| format!(" for domain {d}")).unwrap_or_default()
}

/// A wrong interface version is told by the same number as a lack of rights.
fn hint(call: &str, errno: Errno) -> &'static str {
    let versioned = call.starts_with("domctl") || call.starts_with("sysctl");
    if versioned && errno == Errno::ACCESS {
        " (or the hypervisor is not of the version 4.20 that these tools are for)"
    } else {
        ""
    }
}

fn grant_status(status: i16) -> String {
    match abi::grant_table::GrantStatus(status).name() {
        Some(name) => name.to_ascii_lowercase().replace('_', " "),
        None => format!("status {status}"),
    }
}

fn policy_place(leaf: Option<u32>, subleaf: Option<u32>, msr: Option<u32>) -> String {
    match (leaf, subleaf, msr) {
        (Some(leaf), Some(sub), _) => format!("CPUID leaf {leaf:#x}.{sub:#x}"),
        (Some(leaf), None, _) => format!("CPUID leaf {leaf:#x}"),
        (None, _, Some(msr)) => format!("MSR {msr:#x}"),
        (None, _, None) => "no particular place".to_owned(),
    }
}
