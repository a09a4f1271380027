//! The page and port by which dom0's own kernel speaks to xenstored.

use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::mm::ProtFlags;

use crate::bounce::PAGE;
use crate::error::{Error, Result};
use crate::ioctl::{self, Pages, request};
use crate::mapping::Mapping;

const PAGE_FILE: &str = "/proc/xen/xsd_kva";
const PORT_FILE: &str = "/proc/xen/xsd_port";
const BACKEND: &str = "/dev/xen/xenbus_backend";
const BACKEND_EVTCHN: u32 = request(b'B', 0, 0);

/// The port of dom0's kernel, to be bound as an interdomain one of domain 0.
///
/// # Errors
/// [`Error::Open`], [`Error::Device`].
pub fn port() -> Result<u32> {
    match std::fs::read_to_string(PORT_FILE) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| Error::Answer { call: PORT_FILE, what: "not a port number" }),
        Err(_) => {
            let device = ioctl::open(BACKEND, OFlags::empty())?;
            // SAFETY: the request is xenbus_backend's, and takes no argument.
            let port = unsafe { ioctl::call_number(&device, BACKEND_EVTCHN, 0) }
                .map_err(|errno| backend_failed("event channel", errno))?;
            u32::try_from(port)
                .map_err(|_| Error::Answer { call: BACKEND, what: "not a port number" })
        }
    }
}

fn backend_failed(operation: &'static str, errno: rustix::io::Errno) -> Error {
    Error::Device { device: BACKEND.to_owned(), operation, errno }
}

/// The page of dom0's kernel: its xenstore ring.
///
/// # Errors
/// [`Error::Open`], [`Error::Device`].
pub fn page() -> Result<Mapping> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let (device, path): (OwnedFd, _) = match ioctl::open(PAGE_FILE, OFlags::empty()) {
        Ok(file) => (file, PAGE_FILE),
        Err(first) => match ioctl::open(BACKEND, OFlags::empty()) {
            Ok(device) => (device, BACKEND),
            Err(_) => return Err(first),
        },
    };
    let pages = Pages::of_device(&device, PAGE, protection, 0).map_err(|errno| Error::Device {
        device: path.to_owned(),
        operation: "mapping dom0's xenstore page",
        errno,
    })?;
    Ok(Mapping::new(pages, true))
}

/// Whether this is the control domain (`/proc/xen/capabilities` has `control_d`), or `None` without
/// that file: not on Xen, or xenfs is not mounted.
pub fn is_control_domain() -> Option<bool> {
    let text = std::fs::read_to_string(Path::new("/proc/xen/capabilities")).ok()?;
    Some(text.split_whitespace().any(|word| word == "control_d"))
}
