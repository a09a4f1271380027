//! The kernel's Xen devices and the hypervisor's calls, with a safe face: the userland's only `unsafe`.
//!
//! [`Xen`] makes hypercalls and maps other domains' memory; [`EventChannels`] and [`Grants`] are what a
//! back end needs; [`store`] is dom0's own xenstore page; [`loopdev`], [`net`] and [`route`] are what
//! devices of guests need of the kernel.
//!
//! A hypercall takes addresses inside structures, and the kernel reads and writes through them. So the raw
//! call is private: each typed call makes its own buffers, fills in their addresses and copies results
//! out. Memory that somebody else can change while it is read (a [`Mapping`]) is never borrowed: it is
//! copied, or seen through atomics.
//!
//! What this does not and cannot rule out: dom0 may ask the hypervisor for things that hurt dom0 itself, such
//! as mapping or giving away a frame of its own that a process uses. As with `/proc/self/mem`, that is a
//! right of the privileged user, not a matter of Rust's types.

mod bounce;
mod buffer;
mod copy;
mod error;
mod ioctl;
mod mapping;
mod raw;

mod cpu_policy;
mod cpupool;
mod domain;
mod domctl;
mod event;
mod evtchn;
mod foreign;
mod gntdev;
mod grant_op;
pub mod loopdev;
mod memory;
mod mmuext;
pub mod net;
pub mod route;
mod sched;
pub mod store;
mod sysctl;
mod topology;
mod vcpu;
mod version;
mod xen;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;

pub use bounce::PAGE;
pub use buffer::Buffer;
pub use cpu_policy::Policy;
pub use cpupool::CpuPool;
pub use domain::{CreateDomain, DomainInfo};
pub use domctl::{PageType, TscInfo};
pub use error::{Error, Result};
pub use event::PortStatus;
pub use evtchn::EventChannels;
pub use foreign::{Present, Protection};
pub use gntdev::{GrantMapping, Grants};
pub use mapping::Mapping;
pub use memory::{ReservationFlags, Span};
pub use rustix::io::Errno;
pub use sched::{Credit, Credit2, Credit2Global, CreditGlobal, Scheduler, VcpuCredit};
pub use sysctl::{ConsoleChunk, PhysInfo};
pub use topology::{CpuMap, CpuTopology, NumaInfo, NumaNode};
pub use vcpu::{Affinity, VcpuInfo};
pub use version::{CompileInfo, VersionInfo};
pub use xen::Xen;

pub use abi::domctl::{ExtVcpuContext, VcpuMsr};
pub use abi::memory::E820Entry;
pub use abi::sched::ShutdownReason;
pub use abi::sysctl::PolicyIndex;
pub use abi::xen::{VcpuGuestContext, Virq};
