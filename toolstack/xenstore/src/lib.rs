//! xenstore: the wire protocol, shared by clients and the daemon, and the client.
//!
//! [`Client`] speaks to the daemon over its socket or through the kernel's device; [`Access`] is
//! what can be done to nodes, inside a [`Transaction`] and outside. Every wait has a limit.

mod access;
mod client;
mod connection;
mod error;
mod permissions;
mod transaction;
pub mod wire;

pub use access::Access;
pub use client::{Client, Event};
pub use error::{Errno, Error, Result};
pub use permissions::{Permission, Rights};
pub use transaction::Transaction;
pub use wire::MessageType;
