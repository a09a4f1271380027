//! Unpacked kernels of earlier creations, kept in a folder: unpacking is most of what a creation costs.
//!
//! An entry is used only if its kernel is the same file, unchanged, by what the open file says of itself:
//! device, inode, size, times of its last change. The folder and what is in it must be this user's own,
//! closed to all others, as a guest's kernel comes from there. A checksum over everything proves that an entry is whole:
//! after a loss of power a file may have its name, but not its contents.
//!
//! Nothing here fails a creation: what cannot be used is unpacked, what cannot be kept is not, and a
//! [`CacheError`] says why, for whoever asked to be told more.

mod entry;
#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sys::Buffer;

pub(super) use entry::Key;
use entry::{Header, START};

/// Entries at most; what was not used for longest goes first.
const MAX_ENTRIES: usize = 8;
/// Bytes of all entries at most.
const MAX_BYTES: u64 = 512 << 20;
/// Bytes that stay free in the file system: room for what matters more, such as saved guests and stored
/// configurations. A small one, as in memory, keeps no kernels thus.
const RESERVE: u64 = 256 << 20;
/// Names that are looked at in the folder.
const MAX_NAMES: usize = 1000;
/// A file that was changed this shortly before may change again without another time: file systems
/// count in steps of up to two seconds.
const SETTLED: Duration = Duration::from_secs(5);
/// An entry that is being written; only the holder of the folder's lock does.
const INCOMING: &str = ".incoming";
/// How the names of entries end.
const SUFFIX: &str = ".kernel";

/// Why an entry was not used or not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    /// The system says no.
    #[error("cannot {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Somebody else's.
    #[error("{} belongs to user {owner}, not to user {wanted}", path.display())]
    Owner { path: PathBuf, owner: u32, wanted: u32 },
    /// Others may read or change it.
    #[error("{} has mode {mode:04o}, not {wanted:04o}", path.display())]
    Mode { path: PathBuf, mode: u32, wanted: u32 },
    /// It is not what this program writes.
    #[error("{} {why}", path.display())]
    Damaged { path: PathBuf, why: &'static str },
    /// The kernel may still be being written.
    #[error("it was changed less than {} s ago", SETTLED.as_secs())]
    Young,
    /// The kernel changed while it was read.
    #[error("it changed while it was read")]
    Changed,
    /// Another creation writes an entry.
    #[error("another creation is writing to {}", path.display())]
    Busy { path: PathBuf },
    /// It is too large for the limits.
    #[error("{bytes} bytes are more than the {MAX_BYTES} that are kept")]
    Large { bytes: u64 },
    /// The file system is nearly full.
    #[error("{} has {free} bytes left, fewer than the entry and {RESERVE}", path.display())]
    Full { path: PathBuf, free: u64 },
}

/// The folder, open and seen to be this user's alone.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    folder: OwnedFd,
}

impl Cache {
    /// Opens the folder; `None` if there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, CacheError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(folder) => File::from(folder),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("open", path)(errno.into())),
        };
        let found = folder.metadata().map_err(failed("look at", path))?;
        own(path, &found, 0o700, user())?;
        Ok(Some(Self { path: path.to_owned(), folder: folder.into() }))
    }

    /// Opens the folder, made if there is none.
    fn make(path: &Path) -> Result<Self, CacheError> {
        let making = failed("make", path);
        if let Some(parent) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o755).create(parent).map_err(&making)?;
        }
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(making(errno.into())),
        }
        Self::open(path)?.ok_or_else(|| making(io::ErrorKind::NotFound.into()))
    }

    /// The unpacked kernel of this key, and where it was; `None` if there is none.
    pub(super) fn find(&self, key: &Key) -> Result<Option<(Buffer, PathBuf)>, CacheError> {
        let name = key.name();
        let path = self.path.join(&name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.folder, &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("open", &path)(errno.into())),
        };
        let found = file.metadata().map_err(failed("look at", &path))?;
        let damaged = |why| CacheError::Damaged { path: path.clone(), why };
        if !found.is_file() {
            return Err(damaged("is not a file"));
        }
        own(&path, &found, 0o600, user())?;
        let header = Header::read(&file).map_err(failed("read", &path))?;
        let header = header.ok_or_else(|| damaged("does not begin as an unpacked kernel does"))?;
        if header.key != *key {
            // Of a file that was there before: replaced by the next that is kept.
            return Ok(None);
        }
        if header.length > MAX_BYTES || found.len() != START.saturating_add(header.length) {
            return Err(damaged("is not as long as it says"));
        }
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let reading = failed("read", &path);
        let mut elf = Buffer::zeroed(length).map_err(|e| reading(io::Error::other(e)))?;
        file.read_exact_at(elf.bytes_mut(), START).map_err(&reading)?;
        if !header.proves(elf.bytes()) {
            return Err(damaged("is not what was written: its checksum is another"));
        }
        // When it was last used; a folder that cannot be written says when it was made.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some((elf, path)))
    }

    /// Only one process writes at a time; others go without rather than wait.
    fn lock(&self) -> Result<(), CacheError> {
        match rustix::fs::flock(&self.folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(()),
            Err(Errno::AGAIN) => Err(CacheError::Busy { path: self.path.clone() }),
            Err(errno) => Err(failed("lock", &self.path)(errno.into())),
        }
    }

    /// The entries: when each was last used, its size and name.
    fn entries(&self) -> io::Result<Vec<(SystemTime, u64, String)>> {
        let mut all = Vec::new();
        for found in Dir::read_from(&self.folder)?.take(MAX_NAMES) {
            let name = found?.file_name().to_string_lossy().into_owned();
            if !name.ends_with(SUFFIX) {
                continue;
            }
            let path = self.path.join(&name);
            if let Ok(found) = path.symlink_metadata() {
                all.push((found.modified()?, found.len(), name));
            }
        }
        Ok(all)
    }

    /// Drops entries until there is room for `name` of `bytes`, which replaces its namesake.
    fn make_room(&self, name: &str, bytes: u64) -> Result<(), CacheError> {
        let listing = failed("list", &self.path);
        let mut all = self.entries().map_err(&listing)?;
        all.retain(|(_, _, other)| other != name);
        all.sort_unstable();
        let mut count = all.len();
        let mut total: u64 = all.iter().map(|(_, size, _)| size).sum();
        for (_, size, oldest) in all {
            if count < MAX_ENTRIES && total.saturating_add(bytes) <= MAX_BYTES {
                break;
            }
            self.remove(&oldest).map_err(failed("remove", &self.path.join(&oldest)))?;
            count = count.saturating_sub(1);
            total = total.saturating_sub(size);
        }
        let system = rustix::fs::fstatvfs(&self.folder).map_err(|errno| listing(errno.into()))?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < bytes.saturating_add(RESERVE) {
            return Err(CacheError::Full { path: self.path.clone(), free });
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes an entry under its name at once: nobody sees half of it.
    fn write(&self, header: &Header, elf: &[u8]) -> Result<(), CacheError> {
        let path = self.path.join(INCOMING);
        let writing = failed("write", &path);
        // What a killed tool left.
        self.remove(INCOMING).map_err(&writing)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.folder, INCOMING, flags, mode);
        let file = File::from(file.map_err(|errno| writing(errno.into()))?);
        // Not waited for until it is on the disk: the checksum finds out.
        let written =
            header.write(&file).and_then(|()| file.write_all_at(elf, START)).and_then(|()| {
                Ok(rustix::fs::renameat(&self.folder, INCOMING, &self.folder, header.key.name())?)
            });
        written.map_err(|source| {
            let _ = self.remove(INCOMING);
            writing(source)
        })
    }
}

/// Keeps the unpacked kernel `elf` of `key` in `folder`.
pub(super) fn keep(
    folder: &Path,
    key: &Key,
    elf: &[u8],
    now: SystemTime,
) -> Result<(), CacheError> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if key.changed().saturating_add(SETTLED) > now {
        return Err(CacheError::Young);
    }
    let bytes = START.saturating_add(elf.len() as u64);
    if bytes > MAX_BYTES {
        return Err(CacheError::Large { bytes });
    }
    let cache = Cache::make(folder)?;
    cache.lock()?;
    cache.make_room(&key.name(), bytes)?;
    cache.write(&Header::new(*key, elf), elf)
}

/// Nobody but this user may have a hand in what a guest's kernel is.
fn own(path: &Path, found: &Metadata, wanted: u32, user: u32) -> Result<(), CacheError> {
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if owner != user {
        return Err(CacheError::Owner { path: path.to_owned(), owner, wanted: user });
    }
    if mode != wanted {
        return Err(CacheError::Mode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> CacheError + use<> {
    let path = path.to_owned();
    move |source| CacheError::Io { what, path: path.clone(), source }
}
