//! The journal's file: the state as it was, then what changed since; written anew when it has
//! grown.

use crate::journal::frames;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// First line of the file; the boot's number follows.
const MAGIC: &str = "ferroxen xenstored 1";
/// Bytes of changes that are always allowed to collect.
const GROWTH_MIN: u64 = 4 << 20;

/// The file.
pub struct StateFile {
    path: PathBuf,
    boot: String,
    file: File,
    /// Bytes of the state at its beginning.
    base: u64,
    size: u64,
}

/// What this boot of the machine is called; state of another is worth nothing.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Reads what a daemon of this boot left. `None` if there is nothing, or of another boot.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn load(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let head = format!("{MAGIC} {}\n", boot_id());
    Ok(bytes.strip_prefix(head.as_bytes()).map(<[u8]>::to_vec))
}

/// The bodies of the frames in what was loaded.
#[must_use]
pub fn bodies(loaded: &[u8]) -> Vec<&[u8]> {
    frames(loaded).0
}

fn create(path: &Path, boot: &str, state: &[u8]) -> io::Result<(File, u64)> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let head = format!("{MAGIC} {boot}\n");
    file.write_all(head.as_bytes())?;
    file.write_all(state)?;
    // From here on a daemon that starts finds the new one, whole.
    std::fs::rename(&new, path)?;
    Ok((file, (head.len() + state.len()) as u64))
}

impl StateFile {
    /// Begins a file with the state as it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: PathBuf, state: &[u8]) -> io::Result<Self> {
        let boot = boot_id();
        let (file, size) = create(&path, &boot, state)?;
        Ok(Self { path, boot, file, base: size, size })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// If it cannot be written; what was added of it does no harm.
    pub fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write_all(frame)?;
        self.size += frame.len() as u64;
        Ok(())
    }

    /// Whether it has grown so much that it is to be written anew.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.size > self.base * 4 + GROWTH_MIN
    }

    /// Writes it anew.
    ///
    /// # Errors
    /// If it cannot be written; the old one stays then.
    pub fn renew(&mut self, state: &[u8]) -> io::Result<()> {
        let (file, size) = create(&self.path, &self.boot, state)?;
        (self.file, self.base, self.size) = (file, size, size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Entry, Pending};

    #[test]
    fn what_was_appended_is_loaded_and_a_renewed_file_is_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut pending = Pending::default();
        let mut frame = |path: &'static str| {
            pending.add(&Entry::Remove { path });
            pending.frame()
        };
        let mut file = StateFile::create(path.clone(), &frame("/0")).unwrap();
        file.append(&frame("/1")).unwrap();
        let loaded = load(&path).unwrap().unwrap();
        assert_eq!(bodies(&loaded).len(), 2);
        file.renew(&frame("/2")).unwrap();
        file.append(&frame("/3")).unwrap();
        assert_eq!(bodies(&load(&path).unwrap().unwrap()).len(), 2);
        assert_eq!(load(&folder.path().join("none")).unwrap(), None);
        std::fs::write(&path, "of another boot").unwrap();
        assert_eq!(load(&path).unwrap(), None);
    }
}
