//! An entry of the cache: a page that says what it is, then the unpacked kernel.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use builder::codec::xxhash::xxh64;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Where in an entry the kernel begins: a page of its own is easily read in large pieces.
pub(super) const START: u64 = sys::PAGE as u64;
/// With it every entry begins; the number is the version of the layout.
const MAGIC: [u8; 16] = *b"Ferroxen elf \0\0\x01";

/// Which file, and in which state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(in crate::build) struct Key {
    device: u64,
    inode: u64,
    size: u64,
    /// Last change of the contents: seconds and nanoseconds.
    modified: [i64; 2],
    /// Last change of anything, which nobody can set.
    changed: [i64; 2],
}

impl Key {
    /// What an open file says of itself.
    pub(in crate::build) fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: [found.mtime(), found.mtime_nsec()],
            changed: [found.ctime(), found.ctime_nsec()],
        })
    }

    /// The entry's name: the next kernel in this file takes its place.
    pub(super) fn name(&self) -> String {
        format!("{:x}-{:x}{}", self.device, self.inode, super::SUFFIX)
    }

    /// When the file was last changed, since 1970.
    pub(super) fn changed(&self) -> Duration {
        Duration::from_secs(self.changed[0].try_into().unwrap_or(0))
    }
}

/// What an entry begins with.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    magic: [u8; 16],
    /// Of which kernel it is.
    pub(super) key: Key,
    /// Bytes of the unpacked kernel.
    pub(super) length: u64,
    /// Their checksum.
    sum: u64,
    /// The checksum of all fields above.
    own_sum: u64,
}

impl Header {
    pub(super) fn new(key: Key, elf: &[u8]) -> Self {
        let (length, sum) = (elf.len() as u64, xxh64(elf));
        let header = Self { magic: MAGIC, key, length, sum, own_sum: 0 };
        Self { own_sum: header.fields(), ..header }
    }

    fn fields(&self) -> u64 {
        xxh64(Self { own_sum: 0, ..*self }.as_bytes())
    }

    /// What a file begins with; `None` if it is not this.
    pub(super) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut header = <Self as FromZeros>::new_zeroed();
        match file.read_exact_at(header.as_mut_bytes(), 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let good = header.magic == MAGIC && header.own_sum == header.fields();
        Ok(good.then_some(header))
    }

    /// Writes it.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        file.write_all_at(self.as_bytes(), 0)
    }

    /// Whether these are the bytes that it was written for.
    pub(super) fn proves(&self, elf: &[u8]) -> bool {
        self.length == elf.len() as u64 && self.sum == xxh64(elf)
    }
}
