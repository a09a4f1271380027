//! `/dev/xen/privcmd`: the raw call, and the mapping of frames. Private to this package.

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::ProtFlags;

use abi::xen::Hypercall;

use crate::bounce::PAGE;
use crate::error::{Error, Result};
use crate::ioctl::{self, Pages, request};

/// Where the device is, the newer name first.
const DEVICES: [&str; 2] = ["/dev/xen/privcmd", "/proc/xen/privcmd"];
/// Frames in one mapping request: the kernel takes an int, and bounds what it allocates.
pub(crate) const MAX_FRAMES: usize = 1 << 24;

/// Which frames of a resource to map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resource {
    pub domid: u16,
    pub kind: u32,
    pub id: u32,
    pub first: u32,
    pub frames: usize,
}

/// What carries calls to the hypervisor: the kernel, or a recorder in tests.
pub(crate) trait Backend: Send {
    /// Makes a call. The addresses among the arguments are of buffers that this package made.
    fn hypercall(&self, op: Hypercall, args: [u64; 5]) -> std::result::Result<i64, Errno>;

    /// Maps frames of a domain; `errors` gets 0 or a negative error number for each.
    fn map_foreign(
        &self,
        domid: u16,
        protection: ProtFlags,
        frames: &[u64],
        errors: &mut [i32],
    ) -> std::result::Result<Pages, Errno>;

    /// Maps frames of a resource, for reading and writing.
    fn map_resource(&self, resource: &Resource) -> std::result::Result<Pages, Errno>;
}

/// The kernel's device.
#[derive(Debug)]
pub(crate) struct Privcmd(OwnedFd);

#[repr(C)]
struct HypercallRequest {
    op: u64,
    args: [u64; 5],
}

#[repr(C)]
struct MapBatchRequest {
    count: u32,
    domid: u16,
    _pad: u16,
    address: u64,
    frames: u64,
    errors: u64,
}

#[repr(C)]
struct MapResourceRequest {
    domid: u16,
    _pad: u16,
    kind: u32,
    id: u32,
    first: u32,
    count: u64,
    address: u64,
}

const HYPERCALL: u32 = request(b'P', 0, size_of::<HypercallRequest>());
const MAP_BATCH_V2: u32 = request(b'P', 4, size_of::<MapBatchRequest>());
const MAP_RESOURCE: u32 = request(b'P', 7, size_of::<MapResourceRequest>());

impl Privcmd {
    /// Opens the device.
    pub(crate) fn open() -> Result<Self> {
        let mut first = None;
        for path in DEVICES {
            match ioctl::open(path, OFlags::empty()) {
                Ok(fd) => return Ok(Self(fd)),
                // Without the newer device the older one may be there; any other failure is the answer.
                Err(e @ Error::Open { errno: Errno::NOENT | Errno::NXIO | Errno::NODEV, .. }) => {
                    first = first.or(Some(e));
                }
                Err(e) => return Err(e),
            }
        }
        Err(first.unwrap_or(Error::Answer { call: "open", what: "no device is known" }))
    }
}

impl Backend for Privcmd {
    fn hypercall(&self, op: Hypercall, args: [u64; 5]) -> std::result::Result<i64, Errno> {
        let mut argument = HypercallRequest { op: u64::from(op.0), args };
        // SAFETY: (1) the request and its structure belong to privcmd, and all bit patterns of the
        // structure are valid; (2) the addresses in `args` and in what they lead to are of `Bounce`s that
        // the callers in this package hold until the call is over.
        unsafe { ioctl::call(&self.0, HYPERCALL, &mut argument) }
    }

    fn map_foreign(
        &self,
        domid: u16,
        protection: ProtFlags,
        frames: &[u64],
        errors: &mut [i32],
    ) -> std::result::Result<Pages, Errno> {
        let count = frames.len();
        if count == 0 || count > MAX_FRAMES || errors.len() != count {
            return Err(Errno::INVAL);
        }
        let pages = Pages::of_device(&self.0, count.wrapping_mul(PAGE), protection, 0)?;
        let mut argument = MapBatchRequest {
            count: u32::try_from(count).map_err(|_| Errno::INVAL)?,
            domid,
            _pad: 0,
            address: pages.start().addr() as u64,
            frames: frames.as_ptr().addr() as u64,
            errors: errors.as_mut_ptr().expose_provenance() as u64,
        };
        // SAFETY: (1) the request and its structure belong to privcmd, and all bit patterns of the
        // structure are valid; (2) it changes what is behind `pages`, which is this device's mapping and
        // not yet anybody's, reads `frames` and writes `errors`, both of `count` entries.
        match unsafe { ioctl::call(&self.0, MAP_BATCH_V2, &mut argument) } {
            // With ENOENT the errors tell which frames are paged out.
            Ok(_) | Err(Errno::NOENT) => Ok(pages),
            Err(errno) => Err(errno),
        }
    }

    fn map_resource(&self, resource: &Resource) -> std::result::Result<Pages, Errno> {
        let bytes = resource.frames.checked_mul(PAGE).filter(|b| *b > 0).ok_or(Errno::INVAL)?;
        let pages = Pages::of_device(&self.0, bytes, ProtFlags::READ | ProtFlags::WRITE, 0)?;
        let mut argument = MapResourceRequest {
            domid: resource.domid,
            _pad: 0,
            kind: resource.kind,
            id: resource.id,
            first: resource.first,
            count: resource.frames as u64,
            address: pages.start().addr() as u64,
        };
        // SAFETY: (1) the request and its structure belong to privcmd, and all bit patterns of the
        // structure are valid; (2) it changes what is behind `pages`, which is this device's mapping and
        // not yet anybody's.
        unsafe { ioctl::call(&self.0, MAP_RESOURCE, &mut argument) }?;
        Ok(pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_are_those_of_the_kernels_headers() {
        // linux/xen/privcmd.h: size in bits 16 up, 'P' in bits 8 to 15.
        assert_eq!(HYPERCALL, 48 << 16 | 0x50 << 8);
        assert_eq!(MAP_BATCH_V2, 32 << 16 | 0x50 << 8 | 4);
        assert_eq!(MAP_RESOURCE, 32 << 16 | 0x50 << 8 | 7);
    }
}
