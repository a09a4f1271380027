//! Whether a guest is watched, and by whom.

use std::path::PathBuf;
use std::time::Duration;

use super::{Launch, LaunchError, launch, log};
use crate::lock::{Lock, LockError};
use crate::process::Process;
use crate::{Context, Paths, life};

/// Who watches a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A monitor of ours.
    Watched,
    /// The `xl` of Xen itself, by what its log says.
    Foreign {
        /// Its process.
        pid: u32,
    },
    /// Its monitor was killed.
    Killed,
    /// Nobody, and nobody was asked to.
    Nobody,
}

const PREFIX: &str = "monitor.";

/// The lock of a guest's monitor.
pub(super) fn lock_path(paths: &Paths, domid: u16) -> PathBuf {
    paths.run.join(format!("{PREFIX}{domid}"))
}

/// Forgets who watched an earlier guest of this number: whoever was killed left a file.
pub(crate) fn forget(paths: &Paths, domid: u16) {
    let _ = std::fs::remove_file(lock_path(paths, domid));
}

/// Who watches a guest.
pub fn status(paths: &Paths, domid: u16, name: &str) -> Status {
    let path = lock_path(paths, domid);
    if path.exists() {
        return match Lock::take(&path, Duration::ZERO) {
            Err(LockError::Held { .. }) => Status::Watched,
            _ => Status::Killed,
        };
    }
    let log = std::fs::read_to_string(log::log_path(paths, name)).unwrap_or_default();
    match foreign(&log, domid).and_then(Process::of) {
        Some(process) if process.name() == "xl" => Status::Foreign { pid: process.pid },
        _ => Status::Nobody,
    }
}

/// The process in the log's last line about this domain.
fn foreign(log: &str, domid: u16) -> Option<u32> {
    let mark = format!("(domid {domid}) to die [pid ");
    let line = log.lines().rev().find(|line| line.contains(&mark))?;
    line.rsplit_once("[pid ")?.1.strip_suffix(']')?.parse().ok()
}

/// A guest whose monitor was killed, and what came of starting a new one: its process.
pub type Adopted = (life::Domain, Result<u32, LaunchError>);

/// Starts monitors for guests whose monitor was killed.
///
/// # Errors
/// [`life::LifeError`] for the list of guests; a monitor that cannot be started is told with its guest.
pub fn adopt(cx: &mut Context, program: &Launch) -> Result<Vec<Adopted>, life::LifeError> {
    let mut started = Vec::new();
    for domain in life::names(cx)? {
        if domain.domid != 0 && status(&cx.paths, domain.domid, &domain.name) == Status::Killed {
            let result = launch(&cx.paths, program, domain.domid, &domain.name);
            started.push((domain, result.map(|launched| launched.pid)));
        }
    }
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_of_xens_own_monitor_is_in_its_log() {
        let log = "Waiting for domain c (domid 6) to die [pid 1438]\nDone. Rebooting now\n\
                   Waiting for domain c (domid 7) to die [pid 1439]\n";
        assert_eq!(foreign(log, 7), Some(1439));
        assert_eq!(foreign(log, 6), Some(1438));
        assert_eq!(foreign(log, 8), None);
    }

    #[test]
    fn a_lock_file_that_nobody_holds_is_of_a_killed_monitor() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        assert_eq!(status(&paths, 3, "web"), Status::Nobody);
        drop(Lock::take(&lock_path(&paths, 3), Duration::ZERO).unwrap());
        assert_eq!(status(&paths, 3, "web"), Status::Killed);
    }
}
