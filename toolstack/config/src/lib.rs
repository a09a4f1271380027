//! Configuration files: `xl.cfg`, `xl.conf`, `cpupool.cfg` and the words in them, parsed and checked.
//!
//! [`parse`] makes a [`Document`] of a text and knows no key; [`validate`] makes a
//! [`DomainConfig`] of a document and touches nothing; [`check_host`] asks the host
//! whether what the configuration names is there. All three answer with [`Diagnostic`]s,
//! which [`report`] prints.

mod cpupool;
mod cpus;
mod device;
mod diagnostic;
mod document;
mod domain;
mod host;
mod json;
mod keys;
mod names;
mod parser;
mod similar;
mod source;
mod sxp;
mod validate;
mod xlconf;

pub use cpupool::{POOL_KEYS, PoolConfig, PoolCpus};
pub use cpus::{CpuList, CpuListError, CpuSet, HostCpus, MAX_CPU};
pub use device::{Grade, WordError};
pub use diagnostic::{Diagnostic, Errors, Severity, report};
pub use document::{Document, Setting, Value, ValueKind};
pub use domain::{
    Access, Action, BackendType, DeviceModel, Disk, DiskFormat, DomainConfig, Events, GrantVersion,
    Grants, Hvm, Kind, Pv, Pvh, Rate, TscMode, Vdev, Vfb, Vif, VifType, VifWay, Written,
};
pub use host::{Host, check_host};
pub use json::{JsonError, JsonForm, pretty};
pub use keys::{Form, Guests, HOST_KEYS, KEYS, Key, Status, key};
pub use names::{Mac, ParseMacError, ParseUuidError, Uuid};
pub use parser::{
    COMMAND_LINE, MAX_ERRORS, MAX_TEXT, parse, parse_bytes, parse_sources, parse_with_words,
};
pub use source::{Source, Span};
pub use validate::{Lax, Validated, validate};
pub use xlconf::{Autoballoon, DomidPolicy, OutputFormat, XlConf};
