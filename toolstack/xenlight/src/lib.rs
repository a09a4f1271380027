//! A domain's life as a library.
//!
//! [`Context`] holds the connections; every operation takes it. One module a subject:
//!
//! | module | what |
//! |---|---|
//! | [`build`] | a PV domain from a kernel file: memory, start, first registers |
//! | [`create`] | a guest from a [`xl_config::DomainConfig`], whole or not at all |
//! | [`devices`] | disks, network interfaces, consoles: attach, detach, list |
//! | [`hotplug`] | the handler in the backend's domain, and scripts |
//! | [`life`] | shutdown, reboot, destroy, pause, rename, lookup |
//! | [`monitor`] | the watcher of one guest, and what it does when the guest ends |
//! | [`memory`], [`cpus`] | what changes while a guest runs |
//! | [`cleanup`] | what killed tools left behind |
//! | [`userdata`] | the stored configuration of a running guest |
//! | [`save`], [`restore`] | a guest to a file and back |
//! | [`dump`] | a guest's memory for a debugger |
//! | [`tree`] | a guest's nodes in the store, as data |

pub mod build;
pub mod cleanup;
mod context;
pub mod cpus;
pub mod create;
pub mod devices;
pub mod dump;
mod grants;
pub mod hotplug;
pub mod journal;
pub mod life;
pub mod lock;
pub mod memory;
pub mod monitor;
pub mod process;
pub mod restore;
pub mod save;
pub mod tree;
pub mod userdata;
pub mod wait;

pub use context::{Context, ContextError, Paths};
