//! Configuration files: `xl.cfg`, `xl.conf`, `cpupool.cfg` and the words in them, parsed and checked.
//!
//! [`parse`] makes a [`Document`] of a text and knows no key; [`validate`] makes a
//! [`DomainConfig`] of a document and touches nothing; [`check_host`] asks the host
//! whether what the configuration names is there. All three answer with [`Diagnostic`]s,
//! which [`report`] prints.

mod cpus;
mod diagnostic;
mod domain;
mod names;
mod xlconf;

pub use cpus::{CpuList, CpuListError, CpuSet, HostCpus, MAX_CPU};
pub use diagnostic::{Diagnostic, Errors, Severity, report};
pub use domain::{
    Access, Action, BackendType, DeviceModel, Disk, DiskFormat, DomainConfig, Events, GrantVersion,
    Grants, Hvm, Kind, Pv, Pvh, Rate, TscMode, Vdev, Vfb, Vif, VifType,
};
pub use names::{Mac, ParseMacError, ParseUuidError, Uuid};
pub use xlconf::{Autoballoon, DomidPolicy, OutputFormat, XlConf};
