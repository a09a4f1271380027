//! Network interfaces and bridges, by the kernel's socket ioctls.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Error, Result};
use crate::ioctl;

const GET_FLAGS: u32 = 0x8913;
const SET_FLAGS: u32 = 0x8914;
const GET_ADDRESS: u32 = 0x8915;
const GET_MTU: u32 = 0x8921;
const SET_MTU: u32 = 0x8922;
const SET_NAME: u32 = 0x8923;
const SET_HWADDR: u32 = 0x8924;
const BRIDGE_ADD_IF: u32 = 0x89a2;
const BRIDGE_DEL_IF: u32 = 0x89a3;
/// The interface is up.
const UP: u16 = 1;
/// The interface has no ARP.
const NOARP: u16 = 0x80;
/// Ethernet, as an address family.
const ETHERNET: u16 = 1;
/// IPv4, as an address family.
const INET: u16 = 2;
/// Bytes of a name with its zero.
const NAME: usize = 16;

/// The kernel's `struct ifreq`: a name and a union of 24 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    name: [u8; NAME],
    value: [u8; 24],
}

const _: () = assert!(size_of::<Request>() == 40);

/// The control socket for network interfaces.
#[derive(Debug)]
pub struct Interfaces(OwnedFd);

fn named(name: &str) -> Result<[u8; NAME]> {
    let mut bytes = [0; NAME];
    let whole = !name.is_empty() && name.len() < NAME && !name.contains(['\0', '/']);
    if !whole || name.chars().any(char::is_whitespace) {
        let (device, operation) = (name.to_owned(), "name of an interface, 1 to 15 characters");
        return Err(Error::Device { device, operation, errno: Errno::INVAL });
    }
    for (to, from) in bytes.iter_mut().zip(name.as_bytes()) {
        *to = *from;
    }
    Ok(bytes)
}

fn value(bytes: &[u8]) -> [u8; 24] {
    let mut value = [0; 24];
    for (to, from) in value.iter_mut().zip(bytes) {
        *to = *from;
    }
    value
}

impl Interfaces {
    /// Opens a socket for its ioctls.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)
            .map(Self)
            .map_err(|errno| Error::Device {
                device: "network interfaces".to_owned(),
                operation: "socket",
                errno,
            })
    }

    fn request(
        &self,
        name: &str,
        operation: &'static str,
        opcode: u32,
        bytes: &[u8],
    ) -> Result<[u8; 24]> {
        let mut request = Request { name: named(name)?, value: value(bytes) };
        // SAFETY: all requests of this module take an `ifreq`, and none of them an address in it.
        unsafe { ioctl::call(&self.0, opcode, &mut request) }.map_err(|errno| Error::Device {
            device: name.to_owned(),
            operation,
            errno,
        })?;
        Ok(request.value)
    }

    fn flags(&self, name: &str) -> Result<u16> {
        let [a, b, ..] = self.request(name, "flags", GET_FLAGS, &[])?;
        Ok(u16::from_ne_bytes([a, b]))
    }

    fn set_flag(&self, name: &str, flag: u16, on: bool) -> Result<()> {
        let old = self.flags(name)?;
        let new = if on { old | flag } else { old & !flag };
        self.request(name, "set flags", SET_FLAGS, &new.to_ne_bytes()).map(drop)
    }

    /// Whether there is an interface of this name.
    ///
    /// # Errors
    /// [`Error::Device`], other than for there being none.
    pub fn exists(&self, name: &str) -> Result<bool> {
        match self.flags(name) {
            Ok(_) => Ok(true),
            Err(Error::Device { errno: Errno::NODEV, .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Brings an interface up or down.
    ///
    /// # Errors
    /// [`Error::Device`]: ENODEV, there is none of this name.
    pub fn set_up(&self, name: &str, up: bool) -> Result<()> {
        self.set_flag(name, UP, up)
    }

    /// Whether an interface is up.
    ///
    /// # Errors
    /// [`Error::Device`]: ENODEV, there is none of this name.
    pub fn is_up(&self, name: &str) -> Result<bool> {
        Ok(self.flags(name)? & UP != 0)
    }

    /// Turns an interface's ARP on or off.
    ///
    /// # Errors
    /// [`Error::Device`]: ENODEV, there is none of this name.
    pub fn set_arp(&self, name: &str, on: bool) -> Result<()> {
        self.set_flag(name, NOARP, !on)
    }

    /// Renames an interface, which must be down.
    ///
    /// # Errors
    /// [`Error::Device`]: EEXIST, the name is taken; EBUSY, it is up.
    pub fn rename(&self, name: &str, to: &str) -> Result<()> {
        self.request(name, "rename", SET_NAME, &named(to)?).map(drop)
    }

    /// An interface's first IPv4 address, if it has any.
    ///
    /// # Errors
    /// [`Error::Device`]: ENODEV, there is none of this name.
    pub fn address(&self, name: &str) -> Result<Option<std::net::Ipv4Addr>> {
        // A `sockaddr_in`: family, port, address.
        match self.request(name, "address", GET_ADDRESS, &INET.to_ne_bytes()) {
            Ok([_, _, _, _, a, b, c, d, ..]) => Ok(Some([a, b, c, d].into())),
            Err(Error::Device { errno: Errno::ADDRNOTAVAIL, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The greatest packet in bytes.
    ///
    /// # Errors
    /// [`Error::Device`]: ENODEV, there is none of this name.
    pub fn mtu(&self, name: &str) -> Result<u32> {
        let [a, b, c, d, ..] = self.request(name, "MTU", GET_MTU, &[])?;
        Ok(u32::from_ne_bytes([a, b, c, d]))
    }

    /// Sets it.
    ///
    /// # Errors
    /// [`Error::Device`]: EINVAL, the driver cannot.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        self.request(name, "set MTU", SET_MTU, &mtu.to_ne_bytes()).map(drop)
    }

    /// Sets an interface's Ethernet address.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn set_mac(&self, name: &str, mac: [u8; 6]) -> Result<()> {
        let mut bytes = [0; 8];
        let [a, b] = ETHERNET.to_ne_bytes();
        for (to, from) in bytes.iter_mut().zip([a, b].into_iter().chain(mac)) {
            *to = from;
        }
        self.request(name, "set address", SET_HWADDR, &bytes).map(drop)
    }

    /// Puts an interface on a bridge.
    ///
    /// # Errors
    /// [`Error::Device`]: EBUSY, it is on one already; EOPNOTSUPP, `bridge` is none.
    pub fn bridge_add(&self, bridge: &str, name: &str) -> Result<()> {
        let number = interface_index(name)?;
        self.request(bridge, "adding an interface", BRIDGE_ADD_IF, &number.to_ne_bytes()).map(drop)
    }

    /// Takes an interface off a bridge.
    ///
    /// # Errors
    /// [`Error::Device`]: EINVAL, it is not on this one.
    pub fn bridge_remove(&self, bridge: &str, name: &str) -> Result<()> {
        let number = interface_index(name)?;
        let operation = "removing an interface";
        self.request(bridge, operation, BRIDGE_DEL_IF, &number.to_ne_bytes()).map(drop)
    }
}

/// Whether there is a bridge of this name.
pub fn is_bridge(name: &str) -> bool {
    named(name).is_ok() && std::path::Path::new("/sys/class/net").join(name).join("bridge").is_dir()
}

/// The bridge that an interface is on.
pub fn bridge_of(name: &str) -> Option<String> {
    named(name).ok()?;
    let link = std::path::Path::new("/sys/class/net").join(name).join("brport/bridge");
    let target = std::fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

pub(crate) fn interface_index(name: &str) -> Result<i32> {
    named(name)?;
    let path = std::path::Path::new("/sys/class/net").join(name).join("ifindex");
    let number = std::fs::read_to_string(&path).ok().and_then(|t| t.trim().parse().ok());
    number.ok_or_else(|| Error::Device {
        device: name.to_owned(),
        operation: "number of an interface",
        errno: Errno::NODEV,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there_and_is_no_bridge() {
        let interfaces = Interfaces::open().unwrap();
        assert!(interfaces.exists("lo").unwrap());
        assert!(interfaces.mtu("lo").unwrap() >= 1500);
        assert!(!interfaces.exists("no-such-if").unwrap());
        assert!(interfaces.address("lo").unwrap().is_none_or(|address| address.is_loopback()));
        assert!(!is_bridge("lo"));
        assert_eq!(bridge_of("lo"), None);
        let e = interfaces.bridge_add("lo", "no-such-if").unwrap_err();
        assert_eq!(e.errno(), Some(Errno::NODEV));
    }

    #[test]
    fn a_name_that_the_kernel_would_cut_or_misread_is_refused() {
        let interfaces = Interfaces::open().unwrap();
        for name in ["", "sixteen-letters-", "a/b", "a b", "a\0b"] {
            assert_eq!(
                interfaces.exists(name).unwrap_err().errno(),
                Some(Errno::INVAL),
                "{name:?}"
            );
        }
    }
}
