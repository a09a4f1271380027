//! Addresses and routes of network interfaces, by the kernel's rtnetlink (rtnetlink(7)).

use std::net::IpAddr;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Error, Result};
use crate::net::interface_index;

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
/// The message that answers every request.
const ERROR: u16 = 2;
/// Flags of a request: it is one, and wants an answer.
const REQUEST: u16 = 1 | 4;
/// What is there is kept, what is not is made.
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const TABLE_MAIN: u8 = 254;
/// Who made a route: an administrator.
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const KIND_UNICAST: u8 = 1;
/// Attributes of an address.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Attributes of a route.
const RTA_DESTINATION: u16 = 1;
const RTA_INTERFACE: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_SOURCE: u16 = 7;
const HEADER: usize = 16;
/// How long the kernel may take to answer.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// A block of addresses: an address and the length of its prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// An address of it.
    pub address: IpAddr,
    /// Bits that its addresses have in common: at most 32, or 128.
    pub prefix: u8,
}

impl Block {
    /// One address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// `ADDRESS` or `ADDRESS/PREFIX`.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().ok().map(Self::host);
        };
        let whole = Self::host(address.parse().ok()?);
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= whole.prefix)?;
        Some(Self { prefix, ..whole })
    }

    /// The block with the bits beyond its prefix cleared: what the kernel takes as a destination.
    #[must_use]
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                IpAddr::V4((u32::from(address) & mask).into())
            }
            IpAddr::V6(address) => {
                let mask =
                    u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        };
        Self { address, ..self }
    }
}

/// A route by an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: Block,
    /// The address that this host then speaks from.
    pub source: Option<IpAddr>,
    /// Which of several is taken: the least.
    pub metric: u32,
}

/// The socket for addresses and routes.
#[derive(Debug)]
pub struct Routes(OwnedFd);

impl Routes {
    /// Opens it.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn open() -> Result<Self> {
        let failed = |errno| device("rtnetlink", "socket", errno);
        // Its protocol is number 0, NETLINK_ROUTE.
        let kind = SocketType::RAW;
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, None).map_err(failed)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(LIMIT)).map_err(failed)?;
        Ok(Self(socket))
    }

    /// Gives an interface an address; that it has it already is no error.
    ///
    /// # Errors
    /// [`Error::Device`]: ENODEV, there is no such interface.
    pub fn add_address(&self, interface: &str, address: Block) -> Result<()> {
        let body = address_body(interface_index(interface)?, address);
        let made = self.ask(interface, "adding an address", NEW_ADDRESS, CREATE | EXCLUSIVE, &body);
        unless(made, Errno::EXIST)
    }

    /// Takes an address from an interface; that it has none is no error.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn remove_address(&self, interface: &str, address: Block) -> Result<()> {
        let body = address_body(interface_index(interface)?, address);
        let done = self.ask(interface, "removing an address", DELETE_ADDRESS, 0, &body);
        unless(done, Errno::ADDRNOTAVAIL)
    }

    /// Makes a route by an interface, which must be up; that it is there already is no error.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn add(&self, interface: &str, route: Route) -> Result<()> {
        let body = route_body(interface_index(interface)?, route);
        let made = self.ask(interface, "adding a route", NEW_ROUTE, CREATE | EXCLUSIVE, &body);
        unless(made, Errno::EXIST)
    }

    /// Removes a route; that there is none is no error.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn remove(&self, interface: &str, route: Route) -> Result<()> {
        let body = route_body(interface_index(interface)?, route);
        unless(self.ask(interface, "removing a route", DELETE_ROUTE, 0, &body), Errno::SRCH)
    }

    fn ask(
        &self,
        interface: &str,
        operation: &'static str,
        kind: u16,
        flags: u16,
        body: &[u8],
    ) -> Result<()> {
        let failed = |errno| device(interface, operation, errno);
        let request = message(kind, REQUEST | flags, body);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.0, &request, SendFlags::empty(), &kernel).map_err(failed)?;
        let mut answer = [0_u8; 8192];
        let (length, _) = rustix::net::recv(&self.0, answer.as_mut_slice(), RecvFlags::empty())
            .map_err(failed)?;
        match code(answer.get(..length).unwrap_or_default()) {
            Some(0) => Ok(()),
            Some(code) => Err(failed(Errno::from_raw_os_error(code.wrapping_neg()))),
            None => Err(failed(Errno::PROTO)),
        }
    }
}

fn device(device: &str, operation: &'static str, errno: Errno) -> Error {
    Error::Device { device: device.to_owned(), operation, errno }
}

fn unless(result: Result<()>, harmless: Errno) -> Result<()> {
    match result {
        Err(error) if error.errno() == Some(harmless) => Ok(()),
        other => other,
    }
}

/// `struct nlmsghdr` and what follows it.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER.saturating_add(body.len())).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence number and port: there is one request at a time, and the kernel knows the port.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// The code in the answer: 0, or a negative error number.
fn code(answer: &[u8]) -> Option<i32> {
    let kind = answer.get(4..6)?.try_into().ok().map(u16::from_ne_bytes)?;
    let code = answer.get(HEADER..HEADER + 4)?.try_into().ok().map(i32::from_ne_bytes)?;
    (kind == ERROR).then_some(code)
}

/// `struct rtattr` and its value; all values here are of whole words.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
}

fn family(address: IpAddr) -> u8 {
    // AF_INET and AF_INET6.
    if address.is_ipv4() { 2 } else { 10 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// `struct ifaddrmsg` with the address.
fn address_body(index: i32, of: Block) -> Vec<u8> {
    let mut body = vec![family(of.address), of.prefix, 0, SCOPE_UNIVERSE];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &octets(of.address));
    attribute(&mut body, IFA_ADDRESS, &octets(of.address));
    body
}

/// `struct rtmsg` with destination, interface, source and metric.
fn route_body(index: i32, route: Route) -> Vec<u8> {
    let to = route.to.network();
    let mut body = vec![family(to.address), to.prefix, 0, 0];
    body.extend([TABLE_MAIN, PROTOCOL_STATIC, SCOPE_LINK, KIND_UNICAST]);
    body.extend(0_u32.to_ne_bytes());
    attribute(&mut body, RTA_DESTINATION, &octets(to.address));
    attribute(&mut body, RTA_INTERFACE, &index.to_ne_bytes());
    attribute(&mut body, RTA_PRIORITY, &route.metric.to_ne_bytes());
    if let Some(source) = route.source {
        attribute(&mut body, RTA_SOURCE, &octets(source));
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_an_address_with_or_without_a_prefix() {
        let block = |text: &str| Block::parse(text).map(|b| (b.address.to_string(), b.prefix));
        assert_eq!(block("10.0.0.1"), Some(("10.0.0.1".to_owned(), 32)));
        assert_eq!(block("10.0.0.0/24"), Some(("10.0.0.0".to_owned(), 24)));
        assert_eq!(block("fd00::1"), Some(("fd00::1".to_owned(), 128)));
        for text in ["", "10.0.0", "10.0.0.1/33", "fd00::1/129", "10.0.0.1/", "eth0"] {
            assert_eq!(block(text), None, "{text}");
        }
    }

    #[test]
    fn bits_beyond_the_prefix_are_cleared() {
        let network = |text: &str| Block::parse(text).unwrap().network().address.to_string();
        assert_eq!(network("10.1.2.3/16"), "10.1.0.0");
        assert_eq!(network("10.1.2.3/0"), "0.0.0.0");
        assert_eq!(network("10.1.2.3"), "10.1.2.3");
        assert_eq!(network("fd00:1:2::3/32"), "fd00:1::");
    }

    #[test]
    fn a_request_has_the_kernels_layout() {
        let route = Route { to: Block::parse("10.0.5.1").unwrap(), source: None, metric: 2 };
        let body = route_body(7, route);
        assert_eq!(body.get(..8).unwrap(), [2, 32, 0, 0, 254, 4, 253, 1]);
        assert_eq!(body.len(), 12 + 3 * 8);
        let message = message(NEW_ROUTE, REQUEST, &body);
        let length = u32::from_ne_bytes(message[..4].try_into().unwrap());
        assert_eq!(length as usize, message.len());
    }

    #[test]
    fn an_answer_without_a_code_is_none() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = message(kind, 0, &code.to_ne_bytes());
            bytes.extend([0; 16]);
            bytes
        };
        assert_eq!(code(&answer(ERROR, 0)), Some(0));
        assert_eq!(code(&answer(ERROR, -17)), Some(-17));
        assert_eq!(code(&answer(NEW_ROUTE, 0)), None);
        assert_eq!(code(&[0; 7]), None);
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let routes = Routes::open().unwrap();
        let error =
            routes.add_address("no-such-if", Block::parse("10.0.0.1").unwrap()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NODEV));
    }
}
