//! One client at a time for each domain, as two would share out what the guest writes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Where the locks are; the C client's are there too.
pub const DIRECTORY: &str = "/var/lock";
/// How often a lock file that its last holder removes meanwhile is opened anew.
const ATTEMPTS: usize = 100;

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("Could not open {}", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody has it.
    #[error("Could not lock {}: the console is attached already{}", .path.display(), by(holder.as_ref()))]
    Held {
        /// The file.
        path: PathBuf,
        /// Who has it, if that can be seen.
        holder: Option<Holder>,
    },
}

/// A process that has a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

fn by(holder: Option<&Holder>) -> String {
    holder.map(|h| format!(", by process {} ({})", h.pid, h.name)).unwrap_or_default()
}

/// A lock; given back when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes a domain's.
    ///
    /// # Errors
    /// [`Error::Held`] if another client has it.
    pub fn take(directory: &Path, domid: u16) -> Result<Self, Error> {
        let path = directory.join(format!("xenconsole.{domid}"));
        for _ in 0..ATTEMPTS {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(source) => return Err(Error::Open { path, source }),
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&file, &path) => return Ok(Self { _file: file, path }),
                // The last holder removed it between our opening and locking.
                Ok(()) | Err(Errno::INTR) => {}
                Err(_) => {
                    let holder = holder(&file);
                    return Err(Error::Held { path, holder });
                }
            }
        }
        Err(Error::Held { path, holder: None })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still locked, so that nobody removes another's.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let same =
        |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(opened), Ok(there)) => same(&opened, &there),
        _ => false,
    }
}

/// Who has a file's lock, by the kernel's list: `1: FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF`.
fn holder(file: &File) -> Option<Holder> {
    let inode = file.metadata().ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.nth(1)? == "FLOCK").then_some(())?;
        let pid = words.nth(2)?.parse().ok()?;
        let (_, number) = words.next()?.rsplit_once(':')?;
        (number.parse() == Ok(inode)).then_some(pid)
    })?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder { pid, name: name.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is_and_the_third_gets_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take(directory.path(), 5).unwrap();
        let error = Lock::take(directory.path(), 5).unwrap_err();
        let text = error.to_string();
        let Error::Held { holder: Some(holder), .. } = error else { panic!("{text}") };
        assert_eq!(holder.pid, std::process::id());
        assert!(text.contains(&format!("by process {}", holder.pid)), "{text}");
        Lock::take(directory.path(), 6).unwrap();
        drop(first);
        assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none());
        Lock::take(directory.path(), 5).unwrap();
    }
}
