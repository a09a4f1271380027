//! The xenstore daemon.
//!
//! What it knows and decides is a state machine without descriptors ([`server::Server`] and what it
//! is made of); [`ring`], [`socket`] and [`machine`] carry bytes; [`daemon`] is the loop over them.
//! All of the state is in a journal at any time, so that a daemon which is killed can be followed
//! by one that carries on.

pub mod control;
pub mod daemon;
pub mod domains;
pub mod journal;
pub mod log;
pub mod machine;
pub mod options;
pub mod outbox;
pub mod path;
pub mod payload;
pub mod quota;
pub mod requests;
pub mod restore;
pub mod rights;
pub mod ring;
pub mod server;
pub mod socket;
pub mod start;
pub mod state_file;
pub mod transaction;
pub mod tree;
pub mod view;
pub mod watch;
