//! Xen's public interface as Rust types: numbers and layouts, no logic.
//!
//! Every number here is of Xen 4.20's public headers; sizes are asserted at compile time and
//! compared with the C headers by `tests/`.
#![cfg_attr(not(test), no_std)]

pub mod errno;
pub mod ids;

pub use errno::Errno;
pub use ids::*;
