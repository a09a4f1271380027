//! Xen's public interface as Rust types: numbers and layouts, no logic.
//!
//! Every number here is of Xen 4.20's public headers; sizes are asserted at compile time and
//! compared with the C headers by `tests/`. Structures are plain data (`zerocopy`), numbers that a
//! guest supplies are open sets, and where C has a union there is an array of words with one typed
//! structure for each use of it.
#![cfg_attr(not(test), no_std)]

pub mod arch_x86;
pub mod callback;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod grant_table;
pub mod hvm;
pub mod ids;
pub mod io;
pub mod layout;
pub mod mca;
pub mod memory;
pub mod nmi;
pub mod physdev;
pub mod platform;
pub mod pv;
pub mod sched;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod xen;

pub use errno::Errno;
pub use ids::*;
pub use layout::GuestPtr;
