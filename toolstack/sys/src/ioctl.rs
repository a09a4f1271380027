//! ioctl and mmap: the system calls that this package is about, each wrapped once.

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::{Error, Result};

/// Makes the number of a request without direction, as all Xen devices' are: `_IOC(_IOC_NONE, ...)`.
pub(crate) const fn request(kind: u8, number: u8, size: usize) -> u32 {
    (size as u32) << 16 | (kind as u32) << 8 | number as u32
}

/// Opens a device for reading and writing, closed on exec.
pub(crate) fn open(path: &str, extra: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | extra, Mode::empty())
        .map_err(|errno| Error::Open { path: Path::new(path).to_path_buf(), errno })
}

/// An ioctl whose argument is a structure that the kernel may change.
struct Exchange<'a, T> {
    opcode: u32,
    argument: &'a mut T,
}

// SAFETY: (1) `as_ptr` gives the address of a live, exclusively borrowed structure; (2) the output is the
// returned number alone; (3) what the request does with the structure is the caller's promise, see `call`.
unsafe impl<T> Ioctl for Exchange<'_, T> {
    type Output = i64;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        Opcode::from(self.opcode)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.argument).cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i64> {
        Ok(i64::from(out))
    }
}

/// An ioctl whose argument is a number.
struct Number {
    opcode: u32,
    value: usize,
}

// SAFETY: (1) the argument is a number that the request does not take as an address, which is the caller's
// promise, see `call_number`; (2) the output is the returned number alone.
unsafe impl Ioctl for Number {
    type Output = i64;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        Opcode::from(self.opcode)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.value)
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i64> {
        Ok(i64::from(out))
    }
}

/// Makes a request with a structure.
///
/// # Safety
/// `opcode` is a request of the device behind `fd` whose argument is a `T`, all of whose bit patterns are
/// valid; and every address within it is of memory that the request may use as it does.
pub(crate) unsafe fn call<T>(
    fd: impl AsFd,
    opcode: u32,
    argument: &mut T,
) -> std::result::Result<i64, Errno> {
    // SAFETY: the caller's promise is the very one that `ioctl` asks for.
    unsafe { rustix::ioctl::ioctl(fd, Exchange { opcode, argument }) }
}

/// Makes a request with a number.
///
/// # Safety
/// `opcode` is a request of the device behind `fd` whose argument is a number, not an address.
pub(crate) unsafe fn call_number(
    fd: impl AsFd,
    opcode: u32,
    value: usize,
) -> std::result::Result<i64, Errno> {
    // SAFETY: the caller's promise is the very one that `ioctl` asks for.
    unsafe { rustix::ioctl::ioctl(fd, Number { opcode, value }) }
}

/// Pages of this process's address space, unmapped when dropped. Not to be borrowed as Rust memory: what
/// is behind it may be changed by others.
#[derive(Debug)]
pub(crate) struct Pages {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the pages belong to the process, not to a thread, and this value alone unmaps them.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps `bytes` (a multiple of the page size, not 0) of a device.
    pub(crate) fn of_device(
        fd: impl AsFd,
        bytes: usize,
        protection: ProtFlags,
        offset: u64,
    ) -> std::result::Result<Self, Errno> {
        // SAFETY: the kernel chooses an address that nothing else uses, as the hint is null.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, offset)
        }?;
        Ok(Self { start: start.cast(), bytes })
    }

    /// Maps zeroed memory that stays resident and that a forked child does not get.
    pub(crate) fn locked(bytes: usize) -> std::result::Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::LOCKED | MapFlags::POPULATE;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that nothing else uses, as the hint is null.
        let start =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) }?;
        let pages = Self { start: start.cast(), bytes };
        // SAFETY: the range was just mapped, and DONTFORK does not change what is in it.
        unsafe { rustix::mm::madvise(start, bytes, rustix::mm::Advice::LinuxDontFork) }?;
        Ok(pages)
    }

    /// Maps zeroed private memory, all of it present.
    pub(crate) fn populated(bytes: usize) -> std::result::Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that nothing else uses, as the hint is null.
        let start =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) }?;
        Ok(Self { start: start.cast(), bytes })
    }

    /// The first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// How many bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: (1) the range is what a constructor mapped; (2) it is unmapped once, here; (3) no
        // reference into it outlives this value, as all are borrowed from it.
        let result = unsafe { rustix::mm::munmap(self.start.cast(), self.bytes) };
        debug_assert!(result.is_ok(), "munmap of a mapping of our own: {result:?}");
    }
}
