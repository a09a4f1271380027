//! The real kernel and hypervisor.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use abi::grant_table::RESERVED_CONSOLE;
use sys::{EventChannels, GrantMapping, Grants, Mapping, Protection, Virq, Xen};

use super::platform::{Domain, Platform, Port};
use crate::ring;

/// A guest's page, mapped by grant or by frame.
#[derive(Debug)]
pub enum Page {
    /// By the grant that every guest has for it.
    Granted(GrantMapping),
    /// By its frame.
    Foreign(Mapping),
}

impl Page {
    fn mapping(&self) -> &Mapping {
        match self {
            Self::Granted(mapping) => mapping,
            Self::Foreign(mapping) => mapping,
        }
    }
}

impl ring::Page for Page {
    fn read(&self, offset: usize, to: &mut [u8]) {
        let within = self.mapping().read(offset, to);
        debug_assert!(within, "the ring's layout is within a page");
    }

    fn write(&self, offset: usize, from: &[u8]) {
        let within = self.mapping().write(offset, from);
        debug_assert!(within, "the ring's layout is within a page");
    }

    fn load(&self, offset: usize) -> u32 {
        self.mapping().atomic_u32(offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn store(&self, offset: usize, value: u32) {
        if let Some(word) = self.mapping().atomic_u32(offset) {
            word.store(value, Ordering::Release);
        }
    }
}

/// The devices that the daemon needs.
#[derive(Debug)]
pub struct Machine {
    xen: Xen,
    channels: EventChannels,
    /// Not there in a kernel without the module; guests' pages are mapped by frame then.
    grants: Option<Grants>,
    fired: VecDeque<u32>,
}

impl Machine {
    /// Opens them.
    ///
    /// # Errors
    /// The first that cannot be opened: not on Xen, a module is missing, or not root.
    pub fn open() -> Result<Self, sys::Error> {
        Ok(Self {
            xen: Xen::open()?,
            channels: EventChannels::open()?,
            grants: Grants::open().ok(),
            fired: VecDeque::new(),
        })
    }
}

impl Platform for Machine {
    type Page = Page;
    type Error = sys::Error;

    fn domains(&mut self) -> Result<Vec<Domain>, sys::Error> {
        let domains = self.xen.domains()?.into_iter().filter(|d| d.domid != 0);
        Ok(domains.map(|d| Domain { domid: d.domid, handle: d.handle, dying: d.dying }).collect())
    }

    fn map(&mut self, domid: u16, frame: u64) -> Result<Page, sys::Error> {
        let granted = self.grants.as_ref().map(|grants| grants.map_one(domid, RESERVED_CONSOLE));
        match granted {
            Some(Ok(mapping)) => Ok(Page::Granted(mapping)),
            _ => self.xen.map_foreign(domid, &[frame], Protection::ReadWrite).map(Page::Foreign),
        }
    }

    fn bind(&mut self, domid: u16, remote: u32) -> Result<Port, sys::Error> {
        self.channels.bind_interdomain(domid, remote).map(Port)
    }

    fn bind_hypervisor_log(&mut self) -> Result<Port, sys::Error> {
        self.channels.bind_virq(Virq::CON_RING).map(Port)
    }

    fn unbind(&mut self, port: Port) {
        self.fired.retain(|fired| *fired != port.0);
        // Fails only for a port that is closed already.
        let _ = self.channels.unbind(port.0);
    }

    fn notify(&mut self, port: Port) {
        // As above: the guest has gone then.
        let _ = self.channels.notify(port.0);
    }

    fn fired(&mut self) -> Result<Option<Port>, sys::Error> {
        if self.fired.is_empty() {
            self.fired.extend(self.channels.pending()?);
        }
        Ok(self.fired.pop_front().map(Port))
    }

    fn unmask(&mut self, port: Port) {
        let _ = self.channels.unmask(port.0);
    }

    fn events(&self) -> BorrowedFd<'_> {
        self.channels.as_fd()
    }

    fn hypervisor_log(&mut self, index: u32) -> Result<(Vec<u8>, u32), sys::Error> {
        let chunk = self.xen.read_console(Some(index), false)?;
        Ok((chunk.text, chunk.next))
    }
}
