//! The machine below: rings of domains and their event channels, or none of that.

use crate::restore::RingState;
use crate::ring::{Page, Ring};
use crate::server::{DomainState, Platform, Server};
use crate::watch::Connection;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use sys::{EventChannels, GrantMapping, Grants, Mapping, Protection, Virq, Xen};
use xenstore::Errno;

/// The grant by which each domain gives its ring.
const GRANT_XENSTORE: u32 = 1;

/// A domain's page, however it is mapped.
pub enum DomainPage {
    /// By its grant.
    Grant(GrantMapping),
    /// By its frame, or dom0's own.
    Frame(Mapping),
}

impl DomainPage {
    fn mapping(&self) -> &Mapping {
        match self {
            Self::Grant(mapping) => mapping,
            Self::Frame(mapping) => mapping,
        }
    }
}

// Every offset is one of the ring's layout, and so within a page.
impl Page for DomainPage {
    fn read(&self, offset: usize, to: &mut [u8]) {
        let done = self.mapping().read(offset, to);
        debug_assert!(done);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        let done = self.mapping().write(offset, from);
        debug_assert!(done);
    }

    fn load(&self, offset: usize) -> u32 {
        self.mapping().atomic_u32(offset).map_or(0, |word| word.load(Ordering::SeqCst))
    }

    fn store(&self, offset: usize, value: u32) {
        if let Some(word) = self.mapping().atomic_u32(offset) {
            word.store(value, Ordering::SeqCst);
        }
    }
}

/// Devices of a dom0 on Xen.
pub struct Machine {
    xen: Xen,
    events: EventChannels,
    grants: Grants,
    domain_exception: u32,
    /// Rings by domain.
    pub rings: BTreeMap<u16, Ring<DomainPage>>,
    by_port: HashMap<u32, u16>,
    /// Connected, but not yet with a client.
    fresh: Vec<(u16, DomainPage, u32)>,
}

/// What an event was for.
pub enum Event {
    /// A domain ended or changed.
    Domains,
    /// A domain did something with its ring.
    Ring(u16),
}

impl Machine {
    /// Opens the devices, and asks to be told of domains that end.
    ///
    /// # Errors
    /// Which device, and why.
    pub fn open() -> Result<Self, sys::Error> {
        let events = EventChannels::open()?;
        let domain_exception = events.bind_virq(Virq::DOM_EXC)?;
        Ok(Self {
            xen: Xen::open()?,
            grants: Grants::open()?,
            events,
            domain_exception,
            rings: BTreeMap::new(),
            by_port: HashMap::new(),
            fresh: Vec::new(),
        })
    }

    /// The descriptor to wait on.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }

    /// What happened since the last call.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn events(&mut self) -> Result<Vec<Event>, sys::Error> {
        let ports = self.events.pending()?;
        let mut events = Vec::new();
        for port in ports {
            self.events.unmask(port)?;
            if port == self.domain_exception {
                events.push(Event::Domains);
            } else if let Some(domid) = self.by_port.get(&port) {
                events.push(Event::Ring(*domid));
            }
        }
        Ok(events)
    }

    /// Gives rings that were connected their clients.
    pub fn adopt(&mut self, server: &Server) -> Vec<u16> {
        let mut adopted = Vec::new();
        for (domid, page, port) in std::mem::take(&mut self.fresh) {
            if let Some(domain) = server.domains.get(&domid) {
                self.rings.insert(domid, Ring::new(page, domain.connection, port));
                adopted.push(domid);
            }
        }
        adopted
    }

    /// Takes rings up where the journal says, and gives the clients what had not reached them.
    pub fn restore(&mut self, server: &mut Server, states: &[(u16, RingState)]) {
        for (domid, state) in states {
            let Some(ring) = self.rings.get_mut(domid) else { continue };
            let rest = ring.restore(state);
            if let Some(client) = server.clients.get_mut(&ring.connection)
                && !rest.is_empty()
            {
                client.outbox.restore(rest);
                server.ready.insert(ring.connection);
            }
        }
    }

    /// Tells a domain that its ring has news.
    pub fn notify(&self, domid: u16) {
        if let Some(ring) = self.rings.get(&domid) {
            // A domain that is gone is found gone by its own event.
            let _ = self.events.notify(ring.port);
        }
    }

    /// The domain of a ring's client.
    #[must_use]
    pub fn domain_of(&self, connection: Connection) -> Option<u16> {
        let found = self.rings.iter().find(|(_, ring)| ring.connection == connection);
        found.map(|(domid, _)| *domid)
    }

    fn map(&self, domid: u16, gfn: u64) -> Result<DomainPage, sys::Error> {
        if domid == 0 {
            return sys::store::page().map(DomainPage::Frame);
        }
        match self.grants.map_one(domid, GRANT_XENSTORE) {
            Ok(mapping) => Ok(DomainPage::Grant(mapping)),
            Err(_) => {
                let mapped = self.xen.map_foreign(domid, &[gfn], Protection::ReadWrite);
                mapped.map(DomainPage::Frame)
            }
        }
    }
}

impl Platform for Machine {
    fn connect(&mut self, domid: u16, gfn: u64, port: u32) -> Result<(), Errno> {
        let remote =
            if domid == 0 { sys::store::port().map_err(|_| Errno::Invalid)? } else { port };
        if let Some(ring) = self.rings.get_mut(&domid) {
            // The same ring with a new channel. The old one may be closed already.
            let _ = self.events.unbind(ring.port);
            self.by_port.remove(&ring.port);
            let local = self.events.bind_interdomain(domid, remote);
            ring.port = local.map_err(|_| Errno::Invalid)?;
            self.by_port.insert(ring.port, domid);
            return Ok(());
        }
        let page = self.map(domid, gfn).map_err(|_| Errno::Invalid)?;
        let local = self.events.bind_interdomain(domid, remote).map_err(|_| Errno::Invalid)?;
        self.by_port.insert(local, domid);
        self.fresh.push((domid, page, local));
        Ok(())
    }

    fn disconnect(&mut self, domid: u16) {
        if let Some(ring) = self.rings.remove(&domid) {
            self.by_port.remove(&ring.port);
            let _ = self.events.unbind(ring.port);
        }
    }

    fn state(&mut self, domid: u16) -> Option<DomainState> {
        match self.xen.domain_info(domid) {
            Ok(info) => info
                .map(|info| DomainState { shutdown: info.shutdown.is_some(), dying: info.dying }),
            // Rather keep a dead domain than take a living one's store away.
            Err(_) => Some(DomainState::default()),
        }
    }
}

/// No hypervisor: sockets only.
pub struct Host;

impl Platform for Host {
    fn connect(&mut self, _: u16, _: u64, _: u32) -> Result<(), Errno> {
        Err(Errno::Invalid)
    }

    fn disconnect(&mut self, _: u16) {}

    fn state(&mut self, _: u16) -> Option<DomainState> {
        Some(DomainState::default())
    }
}
