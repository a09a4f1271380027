//! `/dev/xen/evtchn`: this domain's event channels.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use abi::xen::Virq;

use crate::error::{Error, Result};
use crate::ioctl::{self, request};

const DEVICE: &str = "/dev/xen/evtchn";
const BIND_VIRQ: u32 = request(b'E', 0, 4);
const BIND_INTERDOMAIN: u32 = request(b'E', 1, 8);
const BIND_UNBOUND_PORT: u32 = request(b'E', 2, 4);
const UNBIND: u32 = request(b'E', 3, 4);
const NOTIFY: u32 = request(b'E', 4, 4);

#[repr(C)]
struct Interdomain {
    remote_domain: u32,
    remote_port: u32,
}

/// Event channels of this domain, bound by this process. Closed when dropped.
///
/// A port that was read is masked until [`unmask`](Self::unmask).
#[derive(Debug)]
pub struct EventChannels(OwnedFd);

impl EventChannels {
    /// Opens `/dev/xen/evtchn`, non-blocking.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open() -> Result<Self> {
        ioctl::open(DEVICE, OFlags::NONBLOCK).map(Self)
    }

    fn request(&self, what: &'static str, opcode: u32, mut port: u32) -> Result<u32> {
        // SAFETY: the request is evtchn's, and its structure is one 32-bit number.
        let answer = unsafe { ioctl::call(&self.0, opcode, &mut port) };
        self.answer(what, answer)
    }

    fn answer(&self, what: &'static str, answer: std::result::Result<i64, Errno>) -> Result<u32> {
        let failed = |errno| Error::Device { device: DEVICE.to_owned(), operation: what, errno };
        let port = answer.map_err(failed)?;
        u32::try_from(port).map_err(|_| failed(Errno::OVERFLOW))
    }

    /// Binds a virtual interrupt, and says its port.
    ///
    /// # Errors
    /// [`Error::Device`]: EEXIST, somebody else has it.
    pub fn bind_virq(&self, virq: Virq) -> Result<u32> {
        self.request("bind_virq", BIND_VIRQ, virq.0)
    }

    /// Binds another domain's unbound port, and says the port of ours.
    ///
    /// # Errors
    /// [`Error::Device`]: EINVAL, it is not unbound, or not for us.
    pub fn bind_interdomain(&self, domid: u16, port: u32) -> Result<u32> {
        let mut argument = Interdomain { remote_domain: u32::from(domid), remote_port: port };
        // SAFETY: the request and its structure of two 32-bit numbers are evtchn's.
        let answer = unsafe { ioctl::call(&self.0, BIND_INTERDOMAIN, &mut argument) };
        self.answer("bind_interdomain", answer)
    }

    /// Makes a port that a domain may bind to.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn bind_unbound_port(&self, domid: u16) -> Result<u32> {
        self.request("bind_unbound_port", BIND_UNBOUND_PORT, u32::from(domid))
    }

    /// Closes a port.
    ///
    /// # Errors
    /// [`Error::Device`]: ENOTCONN, it is not ours.
    pub fn unbind(&self, port: u32) -> Result<()> {
        self.request("unbind", UNBIND, port).map(drop)
    }

    /// Sends an event to the other side.
    ///
    /// # Errors
    /// [`Error::Device`]: ENOTCONN, the port is not ours.
    pub fn notify(&self, port: u32) -> Result<()> {
        self.request("notify", NOTIFY, port).map(drop)
    }

    /// Ports with events, at most 128 at a time; they stay masked until [`unmask`](Self::unmask). Empty
    /// if there are none.
    ///
    /// # Errors
    /// [`Error::Device`]: EFBIG, events were lost as more ports than the kernel's ring has had some.
    pub fn pending(&self) -> Result<Vec<u32>> {
        let mut bytes = [0u8; 512];
        match rustix::io::read(&self.0, &mut bytes) {
            Ok(count) => {
                let ports = bytes.get(..count).unwrap_or_default().as_chunks::<4>().0;
                Ok(ports.iter().map(|p| u32::from_ne_bytes(*p)).collect())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Vec::new()),
            Err(errno) => {
                Err(Error::Device { device: DEVICE.to_owned(), operation: "read", errno })
            }
        }
    }

    /// Lets a port that was read have events again.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn unmask(&self, port: u32) -> Result<()> {
        rustix::io::write(&self.0, &port.to_ne_bytes()).map(drop).map_err(|errno| Error::Device {
            device: DEVICE.to_owned(),
            operation: "write",
            errno,
        })
    }
}

impl AsFd for EventChannels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::os::fd::AsRawFd for EventChannels {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}
