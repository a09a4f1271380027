//! Loop devices: files as block devices.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ioctl;

const CONTROL: &str = "/dev/loop-control";
const CLR_FD: u32 = 0x4c01;
const GET_STATUS64: u32 = 0x4c05;
const CONFIGURE: u32 = 0x4c0a;
const CTL_GET_FREE: u32 = 0x4c82;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;
/// How often another process may take the free device before we do.
const ATTEMPTS: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232);
const _: () = assert!(size_of::<Config>() == 304);

impl Info {
    fn new() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// How a file is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Writes are refused.
    pub read_only: bool,
    /// The device goes when its last opener does.
    pub autoclear: bool,
    /// The host's page cache is not used, if the file system can do without.
    pub direct_io: bool,
}

/// What a loop device is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Device number of the file system that the file is on, in the kernel's encoding (as `st_dev`).
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
    /// First byte of the file.
    pub offset: u64,
    /// Bytes; 0 for all.
    pub size_limit: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// The device goes when its last opener does.
    pub autoclear: bool,
    /// The file's name, cut at 63 bytes. `/sys/block/loopN/loop/backing_file` has it whole.
    pub name: PathBuf,
}

fn failed(device: &Path, operation: &'static str, errno: Errno) -> Error {
    Error::Device { device: device.display().to_string(), operation, errno }
}

fn open(path: &Path, read_only: bool) -> Result<OwnedFd> {
    let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
    rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::Open { path: path.to_path_buf(), errno })
}

/// Attaches a file to a free loop device, and says which.
///
/// # Errors
/// [`Error::Open`] for the file or `/dev/loop-control` (no module `loop`), [`Error::Device`].
pub fn attach(file: &Path, options: Options) -> Result<PathBuf> {
    let backing = open(file, options.read_only)?;
    let control = open(Path::new(CONTROL), false)?;
    for _ in 0..ATTEMPTS {
        // SAFETY: the request is loop-control's, and takes no argument.
        let number = unsafe { ioctl::call_number(&control, CTL_GET_FREE, 0) }
            .map_err(|errno| failed(Path::new(CONTROL), "finding a free device", errno))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open(&path, options.read_only)?;
        match configure(&device, &backing, file, options) {
            Ok(()) => return Ok(path),
            // Somebody else took it in between.
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(failed(&path, "attaching a file", errno)),
        }
    }
    Err(failed(Path::new(CONTROL), "finding a free device", Errno::BUSY))
}

fn configure(
    device: &OwnedFd,
    backing: &OwnedFd,
    file: &Path,
    options: Options,
) -> std::result::Result<(), Errno> {
    let mut config = Config { fd: 0, block_size: 0, info: Info::new(), reserved: [0; 8] };
    config.fd = u32::try_from(backing.as_raw_fd()).map_err(|_| Errno::BADF)?;
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    config.info.flags = flag(options.read_only, READ_ONLY)
        | flag(options.autoclear, AUTOCLEAR)
        | flag(options.direct_io, DIRECT_IO);
    // The last byte stays zero.
    let name = config.info.file_name.iter_mut().take(63);
    for (to, from) in name.zip(file.as_os_str().as_bytes()) {
        *to = *from;
    }
    // SAFETY: the request and its structure are the loop driver's.
    unsafe { ioctl::call(device, CONFIGURE, &mut config) }.map(drop)
}

/// Detaches a loop device from its file; if it is in use, once it no longer is.
///
/// # Errors
/// [`Error::Open`], [`Error::Device`]: ENXIO, it is not attached.
pub fn detach(device: &Path) -> Result<()> {
    let fd = open(device, true)?;
    // SAFETY: the request is the loop driver's, and takes no argument.
    unsafe { ioctl::call_number(&fd, CLR_FD, 0) }
        .map(drop)
        .map_err(|errno| failed(device, "detaching", errno))
}

/// What a loop device is attached to; `None` if to nothing.
///
/// # Errors
/// [`Error::Open`], [`Error::Device`].
pub fn status(device: &Path) -> Result<Option<Status>> {
    let fd = open(device, true)?;
    let mut info = Info::new();
    // SAFETY: the request and its structure are the loop driver's.
    match unsafe { ioctl::call(fd.as_fd(), GET_STATUS64, &mut info) } {
        Ok(_) => {}
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(failed(device, "status", errno)),
    }
    let name = info.file_name.split(|b| *b == 0).next().unwrap_or_default();
    Ok(Some(Status {
        device: info.device,
        inode: info.inode,
        offset: info.offset,
        size_limit: info.size_limit,
        read_only: info.flags & READ_ONLY != 0,
        autoclear: info.flags & AUTOCLEAR != 0,
        name: PathBuf::from(OsStr::from_bytes(name)),
    }))
}
