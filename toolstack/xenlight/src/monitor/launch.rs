//! Starting a monitor.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::log;
use crate::Paths;

/// The program that is to watch: called with `args`, then the guest's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program; usually this one.
    pub program: PathBuf,
    /// Its arguments before the guest's number.
    pub args: Vec<String>,
}

impl Launch {
    /// This program, as `PROGRAM monitor --domid N`.
    ///
    /// # Errors
    /// This program's own path is not known.
    pub fn own() -> std::io::Result<Self> {
        let args = vec!["monitor".to_owned(), "--domid".to_owned()];
        Ok(Self { program: std::env::current_exe()?, args })
    }
}

/// Why nobody watches.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No log file.
    #[error("cannot open the log {} of the guest's monitor", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No process.
    #[error("cannot start the guest's monitor {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Starts a monitor for a guest and says its process. It makes itself a session of its own and outlives
/// this process; what it says goes to the guest's log.
///
/// # Errors
/// [`LaunchError`].
pub fn launch(paths: &Paths, launch: &Launch, domid: u16, name: &str) -> Result<u32, LaunchError> {
    let path = log::log_path(paths, name);
    let file = log::create(&path);
    let output = file.and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = output.map_err(|source| LaunchError::Log { path, source })?;
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).arg(domid.to_string()).current_dir("/");
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let child = command.spawn().map_err(|source| {
        let program = launch.program.clone();
        LaunchError::Start { program, source }
    })?;
    // It is not waited for: init is its parent when this process ends.
    Ok(child.id())
}
