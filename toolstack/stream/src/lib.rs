//! The formats of saved guests, as data: reading and writing, nothing else.
//!
//! A file of `xl save` is, in this order: a [`file`] header with the guest's configuration, a
//! [`libxl`] stream (version 2), and inside it, after its LIBXC_CONTEXT record, a [`libxc`] stream
//! (version 3), which has the memory and the registers. [`elfcore`] is the other thing that a
//! guest is written to: a core for a debugger.
//!
//! Everything read is taken as hostile: lengths and counts are checked before room is made for
//! them, and an [`Error`] says at which byte and in which record the trouble is.

pub mod elfcore;
mod error;
pub mod file;
mod input;
pub mod libxc;
pub mod libxl;
mod output;

pub use error::{Error, Place, Problem};
pub use input::Input;
pub use output::Output;

/// Bytes of a guest's page.
pub const PAGE: usize = 4096;

/// Bytes that a record's body may have at most, in either stream (128 MiB, as Xen's tools take it).
pub const RECORD_MAX: u32 = 128 << 20;
