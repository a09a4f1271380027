//! The console daemon `xenconsoled` and its client `xenconsole`.
//!
//! A PV guest writes its console into a ring in a page that it shares. The daemon moves bytes between that
//! ring and a pseudo terminal, whose path it writes into the store; the client connects the user's terminal
//! with that one.

pub mod backlog;
pub mod chain;
pub mod client;
pub mod daemon;
#[cfg(test)]
mod fake;
pub mod getopt;
pub mod link;
pub mod localtime;
pub mod logfile;
pub mod pty;
pub mod rate;
pub mod ring;
