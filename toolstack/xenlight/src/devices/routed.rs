//! Interfaces that domain 0 routes instead of bridging: what the scripts `vif-route` and `vif-nat` do.
//!
//! Routed: the backend's end has domain 0's own address (`gatewaydev`'s) and a route to each address of
//! the guest; domain 0 answers ARP for others (`proxy_arp`). NAT: guest and backend's end are a network of
//! their own, 10.A.B.N and 10.A.B.(N + 127) for domain A * 256 + B, unless `ip` says otherwise. Forwarding
//! is turned on for the backend's end, which is gone with the guest; that of the other interfaces
//! (`net.ipv4.ip_forward`), packet filters, address translation and DHCP are the administrator's, as they
//! are with the scripts of 4.20 in Debian.

use std::net::{IpAddr, Ipv4Addr};

use sys::net::Interfaces;
use sys::route::{Block, Route, Routes};
use xl_config::{Vif, VifWay};

use super::DeviceError;
use super::network::failed;
use crate::{Context, Paths};

/// The interface whose address is used where none is named.
const GATEWAY: &str = "eth0";
/// Of several routes to an address: emulated cards have 1.
const METRIC: u32 = 2;
/// From the guest's address to the backend's, in the last byte.
const ROUTER: u8 = 127;

/// What an interface gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Routing {
    /// The address of the backend's end.
    own: Ipv4Addr,
    /// What lies behind it.
    guest: Vec<Block>,
}

impl Routing {
    /// What an interface's words ask for; changes nothing.
    ///
    /// # Errors
    /// [`DeviceError::NoGateway`], [`DeviceError::Ip`].
    pub fn of(
        cx: &Context,
        vif: &Vif,
        domid: u16,
        devid: u32,
        device: &str,
    ) -> Result<Self, DeviceError> {
        let words = vif.ip.as_deref().unwrap_or_default();
        let blocks = words.split([' ', ',']).filter(|word| !word.is_empty()).map(|word| {
            Block::parse(word).ok_or_else(|| DeviceError::Ip {
                device: device.to_owned(),
                ip: word.to_owned(),
                wanted: "address (10.0.0.5) or block of addresses (10.0.0.0/24)",
            })
        });
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        if vif.way() == VifWay::Nat {
            return nat(&blocks, domid, devid).ok_or_else(|| DeviceError::Ip {
                device: device.to_owned(),
                ip: words.to_owned(),
                wanted: "one IPv4 address whose last byte is 1 to 127",
            });
        }
        Ok(Self { own: gateway(cx, vif.gatewaydev.as_deref(), device)?, guest: blocks })
    }
}

/// The addresses of a network of its own.
fn nat(blocks: &[Block], domid: u16, devid: u32) -> Option<Routing> {
    let guest = match blocks {
        [] => {
            let [high, low] = domid.to_be_bytes();
            // A hundred interfaces are more than the backend has.
            let number = u8::try_from(devid).ok()?.checked_add(1)?;
            Ipv4Addr::new(10, high, low, number)
        }
        [Block { address: IpAddr::V4(address), .. }] => *address,
        _ => return None,
    };
    let [a, b, c, d] = guest.octets();
    let router = d.checked_add(ROUTER).filter(|last| d > 0 && *last < 255)?;
    let guest = vec![Block::host(guest.into())];
    Some(Routing { own: Ipv4Addr::new(a, b, c, router), guest })
}

/// The address of the interface that leads outside: the one that is named, else eth0, else the one of
/// the default route.
fn gateway(cx: &Context, named: Option<&str>, device: &str) -> Result<Ipv4Addr, DeviceError> {
    let net = Interfaces::open().map_err(failed(device, "opening the network's socket"))?;
    let of = |name: &str| net.address(name).ok().flatten();
    let found = match named {
        Some(name) => of(name),
        None => of(GATEWAY).or_else(|| {
            let table = std::fs::read_to_string(cx.paths.proc.join("net/route")).ok()?;
            of(default_interface(&table)?)
        }),
    };
    found.ok_or_else(|| DeviceError::NoGateway {
        device: device.to_owned(),
        gateway: named.unwrap_or(GATEWAY).to_owned(),
    })
}

/// The interface of the default route in the kernel's table.
fn default_interface(table: &str) -> Option<&str> {
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let interface = words.next()?;
        (words.next()? == "00000000").then_some(interface)
    })
}

/// Brings an interface, which is down, into domain 0's network.
///
/// # Errors
/// [`DeviceError::Kernel`], [`DeviceError::Switch`].
pub(super) fn join(
    paths: &Paths,
    net: &Interfaces,
    routing: &Routing,
    interface: &str,
    device: &str,
) -> Result<(), DeviceError> {
    let routes = Routes::open().map_err(failed(device, "opening the socket for routes"))?;
    let own = IpAddr::V4(routing.own);
    net.set_arp(interface, true).map_err(failed(device, "turning its ARP on"))?;
    routes
        .add_address(interface, Block::host(own))
        .map_err(failed(device, "giving its interface an address"))?;
    net.set_up(interface, true).map_err(failed(device, "bringing its interface up"))?;
    for to in &routing.guest {
        let source = to.address.is_ipv4().then_some(own);
        routes
            .add(interface, Route { to: *to, source, metric: METRIC })
            .map_err(failed(device, "making a route to the guest"))?;
    }
    switch(paths, device, &format!("ipv4/conf/{interface}/proxy_arp"))?;
    switch(paths, device, &format!("ipv4/conf/{interface}/forwarding"))?;
    if routing.guest.iter().any(|block| block.address.is_ipv6()) {
        switch(paths, device, &format!("ipv6/conf/{interface}/proxy_ndp"))?;
    }
    Ok(())
}

fn switch(paths: &Paths, device: &str, name: &str) -> Result<(), DeviceError> {
    let path = paths.proc.join("sys/net").join(name);
    std::fs::write(&path, "1\n").map_err(|source| {
        let device = device.to_owned();
        DeviceError::Switch { device, path, source }
    })
}

/// Takes address and routes from an interface, should it still be there: routes go when it is down.
pub(super) fn leave(interface: &str) {
    let (Ok(net), Ok(routes)) = (Interfaces::open(), Routes::open()) else { return };
    // It may go at any moment: its backend has closed.
    let _ = net.set_up(interface, false);
    if let Ok(Some(address)) = net.address(interface) {
        let _ = routes.remove_address(interface, Block::host(address.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(ip: &[&str], domid: u16, devid: u32) -> Option<(String, String)> {
        let blocks: Vec<_> = ip.iter().filter_map(|text| Block::parse(text)).collect();
        let found = nat(&blocks, domid, devid)?;
        Some((found.own.to_string(), found.guest[0].address.to_string()))
    }

    #[test]
    fn a_network_of_its_own_is_numbered_as_the_script_does_it() {
        let pair = |own: &str, guest: &str| Some((own.to_owned(), guest.to_owned()));
        assert_eq!(routing(&[], 5, 0), pair("10.0.5.128", "10.0.5.1"));
        assert_eq!(routing(&[], 0x1234, 2), pair("10.18.52.130", "10.18.52.3"));
        assert_eq!(routing(&["192.168.7.9/24"], 5, 0), pair("192.168.7.136", "192.168.7.9"));
        assert_eq!(routing(&["192.168.7.200"], 5, 0), None);
        assert_eq!(routing(&["10.0.0.1", "10.0.0.2"], 5, 0), None);
        assert_eq!(routing(&["fd00::1"], 5, 0), None);
    }

    #[test]
    fn the_default_route_names_its_interface() {
        let table =
            "Iface\tDestination\tGateway\nxenbr0\t0001A8C0\t00000000\nlan\t00000000\t0100A8C0\n";
        assert_eq!(default_interface(table), Some("lan"));
        assert_eq!(default_interface("Iface\tDestination\n"), None);
    }
}
