//! The lock that serialises creations: the file that `xl.conf` names, locked as Xen's `xl` locks it (a
//! POSIX record lock on the whole file), so that both keep out of each other's way.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::process::Process;

/// How long a creation waits for others by default.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A lock that is held; released when dropped, or by the kernel when the holder ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be opened.
    #[error("cannot open the lock file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refuses.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else holds it all the time.
    #[error("{} is held by {holder} for more than {} s: another guest is being created", path.display(), limit.as_secs())]
    Held {
        /// The file.
        path: PathBuf,
        /// Who, as far as can be told.
        holder: String,
        /// How long was waited.
        limit: Duration,
    },
}

impl Lock {
    /// Takes the lock, waiting up to `limit`.
    ///
    /// # Errors
    /// [`LockError`]; [`LockError::Held`] names the holder.
    pub fn take(path: &Path, limit: Duration) -> Result<Self, LockError> {
        let open = |source| LockError::Open { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(open)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(open)?;
        let locked = crate::wait::poll(limit, || {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Some(Ok(())),
                Err(Errno::AGAIN | Errno::ACCESS | Errno::INTR) => None,
                Err(errno) => Some(Err(errno)),
            }
        });
        match locked {
            Some(Ok(())) => {
                // Only for whoever wants to know the holder: that it cannot be said is no failure.
                let _ = say_holder(&mut file);
                Ok(Self { _file: file })
            }
            Some(Err(errno)) => {
                Err(LockError::Lock { path: path.to_owned(), source: errno.into() })
            }
            None => {
                let holder = holder(&mut file);
                Err(LockError::Held { path: path.to_owned(), holder, limit })
            }
        }
    }
}

fn say_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// The holder as the file says: its process and name, if it still runs.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(32).read_to_string(&mut text));
    let process = read.ok().and_then(|_| text.trim().parse().ok()).and_then(Process::of);
    match process {
        Some(process) => format!("process {} ({})", process.pid, process.name()),
        None => "a process that does not say its number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_can_be_taken_again_after_it_was_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/xl");
        drop(Lock::take(&path, Duration::ZERO).unwrap());
        let lock = Lock::take(&path, Duration::ZERO).unwrap();
        let said = std::fs::read_to_string(&path).unwrap();
        assert_eq!(said.trim(), std::process::id().to_string());
        drop(lock);
    }

    #[test]
    fn a_lock_file_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = Lock::take(&dir.path().join("file/xl"), Duration::ZERO).unwrap_err();
        assert!(error.to_string().ends_with("file/xl"), "{error}");
    }
}
