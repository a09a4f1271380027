//! Starting a monitor.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

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

/// A monitor that was started.
#[derive(Debug)]
pub struct Launched {
    /// Its process.
    pub pid: u32,
    /// Its standard input is the other end; it closes that when it watches ([`watching`]).
    closed: OwnedFd,
}

impl Launched {
    /// Waits until it watches, or has ended; false if it does neither for as long as `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).ok();
        loop {
            match poll(&mut [PollFd::new(&self.closed, PollFlags::IN)], limit.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

/// Says that this process watches, to whoever started it as a monitor: by closing its standard input, of
/// which it has no use.
pub fn watching() {
    if let Ok(null) = std::fs::File::open("/dev/null") {
        // Whoever waits does so for a limited time.
        let _ = rustix::stdio::dup2_stdin(&null);
    }
}

/// Starts a monitor for a guest. It makes itself a session of its own and outlives this process; what it
/// says goes to the guest's log.
///
/// # Errors
/// [`LaunchError`].
pub fn launch(
    paths: &Paths,
    launch: &Launch,
    domid: u16,
    name: &str,
) -> Result<Launched, LaunchError> {
    let path = log::log_path(paths, name);
    let file = log::create(&path);
    let output = file.and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = output.map_err(|source| LaunchError::Log { path, source })?;
    let start = |source| LaunchError::Start { program: launch.program.clone(), source };
    let (closed, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| start(errno.into()))?;
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).arg(domid.to_string()).current_dir("/");
    command.stdin(theirs).stdout(out).stderr(err);
    // Its end is not waited for: init is its parent when this process ends.
    let pid = command.spawn().map_err(start)?.id();
    Ok(Launched { pid, closed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str) -> Launched {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let args = vec!["-c".to_owned(), script.to_owned()];
        launch(&paths, &Launch { program: "/bin/sh".into(), args }, 7, "web").unwrap()
    }

    fn end(launched: &Launched) {
        let pid = rustix::process::Pid::from_raw(launched.pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    #[test]
    fn a_monitor_is_waited_for_until_it_watches() {
        let watches = started("exec 0</dev/null; exec sleep 600");
        assert!(watches.wait(Duration::from_secs(60)));
        end(&watches);
    }

    #[test]
    fn a_monitor_that_has_ended_is_not_waited_for() {
        assert!(started("exit 1").wait(Duration::from_secs(60)));
    }

    #[test]
    fn a_monitor_that_does_not_come_to_watch_is_waited_for_no_longer_than_the_limit() {
        let idle = started("exec sleep 600");
        assert!(!idle.wait(Duration::from_millis(1)));
        end(&idle);
    }
}
