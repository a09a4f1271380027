//! The kernel and ramdisk files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use builder::codec::Codec;
use builder::elf::Elf;
use builder::image::{ImageError, Payload};
use builder::kernel::Kernel;
use sys::Buffer;

use crate::life;

use super::BuildError;
use super::cache::{self, Cache, CacheError, Key};

/// A kernel larger than this, packed or not, is none.
const MAX_KERNEL: u64 = 1 << 30;
/// A ramdisk larger than this fits no domain that could be asked for.
const MAX_RAMDISK: u64 = 1 << 40;

/// A kernel's ELF file in memory.
#[derive(Debug)]
pub(super) struct KernelImage {
    path: PathBuf,
    elf: Buffer,
    /// Where in `elf` the ELF file is.
    range: std::ops::Range<usize>,
}

/// Opens a regular file that is not empty.
fn open(what: &'static str, path: &Path, max: u64) -> Result<(File, u64), BuildError> {
    let failed = |source| BuildError::Read { what, path: path.to_path_buf(), source };
    let wrong = |why: String| BuildError::File { what, path: path.to_path_buf(), why };
    // A FIFO would block when opened; what is not a file is refused before.
    let seen = std::fs::metadata(path).map_err(failed)?;
    if !seen.is_file() {
        let kind = if seen.is_dir() { "is a directory" } else { "is not a regular file" };
        return Err(wrong(kind.to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    match size {
        0 => Err(wrong("is empty".to_owned())),
        n if n > max => Err(wrong(format!("is {n} bytes, more than any can be"))),
        _ => Ok((file, size)),
    }
}

impl KernelImage {
    /// Reads a kernel and unpacks it, if it was not kept unpacked in `folder` already; then it is.
    /// Says in `notes` what came of that.
    pub(super) fn load(
        path: &Path,
        folder: Option<&Path>,
        notes: &mut Vec<String>,
    ) -> Result<Self, BuildError> {
        let (mut file, size) = open("kernel", path, MAX_KERNEL)?;
        // A file that does not say what it is has no place in the cache.
        let kept = folder.and_then(|folder| Some((folder, Key::of(&file).ok()?)));
        if let Some((folder, key)) = kept
            && let Some(elf) = found(folder, &key, notes)
        {
            let range = 0..elf.bytes().len();
            return Ok(Self { path: path.to_path_buf(), elf, range });
        }
        let memory = |source| BuildError::Read {
            what: "kernel",
            path: path.to_path_buf(),
            source: std::io::Error::other(source),
        };
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let mut packed = Buffer::zeroed(length).map_err(memory)?;
        file.read_exact(packed.bytes_mut()).map_err(|source| BuildError::Read {
            what: "kernel",
            path: path.to_path_buf(),
            source,
        })?;
        let bad = |source| BuildError::Image { path: path.to_path_buf(), source };
        let path = path.to_path_buf();
        let payload = find(packed.bytes()).map_err(bad)?;
        if let Payload::Elf(elf) = payload {
            // It lies within what was read; where, is all that is kept.
            let start = elf.as_ptr().addr().saturating_sub(packed.bytes().as_ptr().addr());
            let range = start..start.saturating_add(elf.len());
            return Ok(Self { path, elf: packed, range });
        }
        let unpacked = payload.buffer_size();
        if unpacked > MAX_KERNEL {
            let why = format!("says it unpacks to {unpacked} bytes, more than any kernel");
            return Err(BuildError::File { what: "kernel", path, why });
        }
        let mut elf =
            Buffer::zeroed(usize::try_from(unpacked).unwrap_or(usize::MAX)).map_err(memory)?;
        let length = payload.unpack(elf.bytes_mut()).map_err(bad)?.len();
        if let Some((folder, key)) = kept {
            let unpacked = elf.bytes().get(..length).unwrap_or_default();
            notes.push(match keep(folder, &file, &key, unpacked) {
                Ok(()) => format!("{} is kept unpacked in {}", path.display(), folder.display()),
                Err(e) => format!("{} is not kept unpacked: {}", path.display(), life::chain(&e)),
            });
        }
        Ok(Self { path, elf, range: 0..length })
    }

    /// The ELF file, checked.
    pub(super) fn elf(&self) -> Result<Elf<'_>, BuildError> {
        let bytes = self.elf.bytes().get(self.range.clone()).unwrap_or_default();
        Elf::parse(bytes).map_err(|source| BuildError::Elf { path: self.path.clone(), source })
    }

    /// What it says of itself.
    pub(super) fn kernel(&self) -> Result<Kernel, BuildError> {
        Kernel::read(&self.elf()?)
            .map_err(|source| BuildError::NotXen { path: self.path.clone(), source })
    }
}

/// The unpacked kernel, if it was kept and can be used.
fn found(folder: &Path, key: &Key, notes: &mut Vec<String>) -> Option<Buffer> {
    let cache = Cache::open(folder);
    match cache.and_then(|cache| cache.map_or(Ok(None), |cache| cache.find(key))) {
        Ok(Some((elf, place))) => {
            notes.push(format!("the unpacked kernel comes from {}", place.display()));
            Some(elf)
        }
        Ok(None) => None,
        Err(error) => {
            notes.push(format!("a kept kernel is not used: {}", life::chain(&error)));
            None
        }
    }
}

/// Keeps what was unpacked, if the file that was read is still what the key stands for.
fn keep(folder: &Path, file: &File, key: &Key, unpacked: &[u8]) -> Result<(), CacheError> {
    if Key::of(file).ok() != Some(*key) {
        return Err(CacheError::Changed);
    }
    cache::keep(folder, key, unpacked, SystemTime::now())
}

/// What a kernel file holds; besides what `Payload` knows, a whole file compressed by gzip.
fn find(file: &[u8]) -> Result<Payload<'_>, ImageError> {
    match Payload::find(file) {
        Err(ImageError::Unrecognised(_)) if Codec::detect(file) == Some(Codec::Gzip) => {
            // RFC 1952: the last four bytes are the unpacked size.
            let size = file.last_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
            Ok(Payload::Compressed { codec: Codec::Gzip, data: file, size: u64::from(size) })
        }
        other => other,
    }
}

/// The ramdisk file, open.
#[derive(Debug)]
pub(super) struct Ramdisk {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Ramdisk {
    /// Opens it.
    pub(super) fn open(path: &Path) -> Result<Self, BuildError> {
        let (file, size) = open("ramdisk", path, MAX_RAMDISK)?;
        Ok(Self { path: path.to_path_buf(), file, size })
    }

    /// Bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Why it could not be read.
    pub(super) fn failed(&self, source: std::io::Error) -> BuildError {
        BuildError::Read { what: "ramdisk", path: self.path.clone(), source }
    }
}
