//! `/dev/xen/gntdev`: mapping other domains' grants.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::ProtFlags;

use crate::bounce::PAGE;
use crate::error::{Error, Result};
use crate::foreign::Protection;
use crate::ioctl::{self, Pages, request};
use crate::mapping::Mapping;

const DEVICE: &str = "/dev/xen/gntdev";
const MAP_GRANT_REF: u32 = request(b'G', 0, size_of::<MapHead>());
const UNMAP_GRANT_REF: u32 = request(b'G', 1, size_of::<Unmap>());
const SET_UNMAP_NOTIFY: u32 = request(b'G', 7, size_of::<UnmapNotify>());
/// Clear a byte.
const CLEAR_BYTE: u32 = 1;
/// Send an event.
const SEND_EVENT: u32 = 2;
/// Grants in one mapping.
const MAX_REFS: usize = 256;

/// The kernel's structure with its one-entry list, whose size is in the request's number.
#[repr(C)]
struct MapHead {
    count: u32,
    _pad: u32,
    index: u64,
    refs: [GrantRef; 1],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct GrantRef {
    domid: u32,
    gref: u32,
}

#[repr(C)]
struct Map {
    count: u32,
    _pad: u32,
    index: u64,
    refs: [GrantRef; MAX_REFS],
}

#[repr(C)]
struct Unmap {
    index: u64,
    count: u32,
    _pad: u32,
}

#[repr(C)]
struct UnmapNotify {
    index: u64,
    action: u32,
    port: u32,
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Device { device: DEVICE.to_owned(), operation, errno }
}

/// The kernel's device for grants.
#[derive(Debug)]
pub struct Grants(Arc<OwnedFd>);

/// Mapped grants. Given back when dropped.
#[derive(Debug)]
pub struct GrantMapping {
    // Dropped in this order: the kernel gives grants back when both are gone.
    mapping: Mapping,
    lease: Lease,
}

/// Grants that the kernel's device holds for a mapping.
#[derive(Debug)]
struct Lease {
    device: Arc<OwnedFd>,
    index: u64,
    count: u32,
}

impl Grants {
    /// Opens `/dev/xen/gntdev`.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open() -> Result<Self> {
        ioctl::open(DEVICE, OFlags::empty()).map(|fd| Self(Arc::new(fd)))
    }

    /// Maps grants of a domain, one page after the other: 1 to 256 of them.
    ///
    /// # Errors
    /// [`Error::Argument`] for their number, [`Error::Device`] if one is not granted.
    pub fn map(&self, domid: u16, refs: &[u32], protection: Protection) -> Result<GrantMapping> {
        let call = "gntdev map";
        if refs.is_empty() || refs.len() > MAX_REFS {
            let value = refs.len() as u64;
            return Err(Error::Argument { call, what: "number of grants", value });
        }
        let mut argument = Map {
            count: u32::try_from(refs.len()).unwrap_or(0),
            _pad: 0,
            index: 0,
            refs: [GrantRef { domid: u32::from(domid), gref: 0 }; MAX_REFS],
        };
        for (to, gref) in argument.refs.iter_mut().zip(refs) {
            to.gref = *gref;
        }
        // SAFETY: the request is gntdev's; its structure has `count` entries, which `Map` has room for.
        unsafe { ioctl::call(&*self.0, MAP_GRANT_REF, &mut argument) }.map_err(failed("map"))?;
        let lease =
            Lease { device: Arc::clone(&self.0), index: argument.index, count: argument.count };
        let writable = protection == Protection::ReadWrite;
        let flags = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let bytes = refs.len().saturating_mul(PAGE);
        let pages = Pages::of_device(&*self.0, bytes, flags, argument.index)
            .map_err(failed("mapping a grant"))?;
        Ok(GrantMapping { mapping: Mapping::new(pages, writable), lease })
    }

    /// Maps one grant of a domain for reading and writing.
    ///
    /// # Errors
    /// [`Error::Device`] if it is not granted.
    pub fn map_one(&self, domid: u16, gref: u32) -> Result<GrantMapping> {
        self.map(domid, &[gref], Protection::ReadWrite)
    }
}

impl GrantMapping {
    /// Lets the kernel clear a byte of the mapping and send an event when it is unmapped, also if this
    /// process dies.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn notify_on_unmap(&self, clear: Option<usize>, port: Option<u32>) -> Result<()> {
        let clearing = if clear.is_some() { CLEAR_BYTE } else { 0 };
        let sending = if port.is_some() { SEND_EVENT } else { 0 };
        let offset = clear.unwrap_or(0);
        if offset >= (self.lease.count as usize).saturating_mul(PAGE) {
            let value = offset as u64;
            return Err(Error::Argument { call: "gntdev unmap notify", what: "offset", value });
        }
        let mut argument = UnmapNotify {
            index: self.lease.index.wrapping_add(offset as u64),
            action: clearing | sending,
            port: port.unwrap_or(0),
        };
        // SAFETY: the request and its structure are gntdev's; the byte is of this very mapping.
        unsafe { ioctl::call(&*self.lease.device, SET_UNMAP_NOTIFY, &mut argument) }
            .map(drop)
            .map_err(failed("unmap notify"))
    }
}

impl std::ops::Deref for GrantMapping {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.mapping
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut argument = Unmap { index: self.index, count: self.count, _pad: 0 };
        // SAFETY: the request and its structure are gntdev's; the pages are unmapped already, as
        // they are dropped first.
        let result = unsafe { ioctl::call(&*self.device, UNMAP_GRANT_REF, &mut argument) };
        debug_assert!(result.is_ok(), "unmap of grants of our own: {result:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_are_those_of_the_kernels_headers() {
        assert_eq!(MAP_GRANT_REF, 24 << 16 | 0x47 << 8);
        assert_eq!(UNMAP_GRANT_REF, 16 << 16 | 0x47 << 8 | 1);
        assert_eq!(SET_UNMAP_NOTIFY, 16 << 16 | 0x47 << 8 | 7);
    }
}
