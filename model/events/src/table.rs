//! A domain's table of ports: allocation, enquiry, small changes.

use crate::channel::{Channel, PortCell, Priority, State};
use crate::deliver::Raised;
use crate::fifo::FIFO_PORTS;
use crate::memory::{Private, Shared};
use crate::two_level::TWO_LEVEL_PORTS;
use crate::virq::Virq;
use abi::{DomId, Errno, Pirq, Port, VcpuId};
use core::sync::atomic::{AtomicBool, Ordering};

/// One domain's event channels, as everybody may use them at the same time.
pub struct Events<M> {
    domain: DomId,
    fifo: AtomicBool,
    memory: M,
}

/// What only changes of bindings need; the hypervisor keeps it inside the domain's event lock, so
/// that `&mut Bindings` is the proof of holding it.
#[derive(Debug)]
pub struct Bindings {
    domain: DomId,
    /// The highest port that the domain may have.
    max_port: u32,
    /// All ports below are in use.
    lowest_free: u32,
    pub(crate) array_pages: u32,
    dying: bool,
}

impl Bindings {
    /// For a domain that may have ports up to `max_port`.
    pub const fn new(domain: DomId, max_port: u32) -> Bindings {
        Bindings { domain, max_port, lowest_free: 1, array_pages: 0, dying: false }
    }

    /// From now on nothing is bound any more (`EINVAL`), only closed.
    pub fn set_dying(&mut self) {
        self.dying = true;
    }

    /// The pages of event words that were accepted, less than 129.
    pub fn array_pages(&self) -> u32 {
        self.array_pages
    }

    pub(crate) fn check(&self, domain: DomId) {
        debug_assert!(self.domain == domain, "the lock of another domain");
    }

    pub(crate) fn freed(&mut self, port: Port) {
        self.lowest_free = self.lowest_free.min(port.0);
    }
}

/// What `EVTCHNOP_status` tells; numbers as in `EVTCHNSTAT_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// Closed 0, unbound 1, interdomain 2, pirq 3, virq 4, ipi 5.
    pub status: u32,
    /// Whom the port's events are told.
    pub vcpu: VcpuId,
    /// The port's state, for the part that depends on it.
    pub state: State,
}

impl<M: Private + Shared> Events<M> {
    /// The table of a new domain, whose memory is zeroed. Port 0 is taken out of use.
    ///
    /// # Errors
    /// `ENOMEM`: not even the first ports could be had.
    pub fn new(domain: DomId, memory: M) -> Result<Events<M>, Errno> {
        if memory.port(Port(0)).is_none() {
            memory.grow()?;
        }
        let zero = memory.port(Port(0)).ok_or(Errno::ENOMEM)?;
        zero.store(Channel::new(State::Reserved, VcpuId(0)));
        Ok(Events { domain, fifo: AtomicBool::new(false), memory })
    }

    /// Whose it is.
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// The memory, as given to [`new`](Events::new).
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Whether the guest has switched to the FIFO ABI.
    #[inline]
    pub fn is_fifo(&self) -> bool {
        self.fifo.load(Ordering::Acquire)
    }

    pub(crate) fn switch_abi(&self, fifo: bool) {
        self.fifo.store(fifo, Ordering::SeqCst);
    }

    /// The cell of a port that a guest named.
    #[inline]
    pub(crate) fn cell(&self, port: Port) -> Result<&PortCell, Errno> {
        self.memory.port(port).ok_or(Errno::EINVAL)
    }

    /// The state of a port; `None` if there is no such port.
    pub fn channel(&self, port: Port) -> Option<Channel> {
        self.memory.port(port).map(PortCell::load)
    }

    /// The lowest port that is free, and out of every list of the guest's.
    pub(crate) fn free_port(&self, lock: &mut Bindings) -> Result<(Port, &PortCell), Errno> {
        lock.check(self.domain);
        if lock.dying {
            return Err(Errno::EINVAL);
        }
        let abi_ports = if self.is_fifo() { FIFO_PORTS } else { TWO_LEVEL_PORTS };
        let end = lock.max_port.saturating_add(1).min(abi_ports);
        let mut still_linked = None;
        for number in lock.lowest_free..end {
            let port = Port(number);
            let cell = match self.memory.port(port) {
                Some(cell) => cell,
                None => {
                    self.memory.grow()?;
                    self.memory.port(port).ok_or(Errno::ENOMEM)?
                }
            };
            if !cell.is_free() {
                continue;
            }
            if self.is_fifo() && self.fifo_is_linked(port) {
                still_linked = still_linked.or(Some(number));
                continue;
            }
            lock.lowest_free = still_linked.unwrap_or(number);
            // A sender that was late for the port's last use may have raised it.
            self.clear_pending(port, cell);
            return Ok((port, cell));
        }
        Err(Errno::ENOSPC)
    }

    pub(crate) fn existing_vcpu(&self, vcpu: VcpuId) -> Result<VcpuId, Errno> {
        if vcpu.0 < self.memory.vcpus() { Ok(vcpu) } else { Err(Errno::ENOENT) }
    }

    /// `EVTCHNOP_status`.
    ///
    /// # Errors
    /// `EINVAL`: no such port.
    pub fn status(&self, port: Port) -> Result<Status, Errno> {
        let Channel { state, vcpu, .. } = self.cell(port)?.load();
        let status = match state {
            State::Free | State::Reserved => 0,
            State::Unbound(_) => 1,
            State::Interdomain(..) => 2,
            State::Pirq(_) => 3,
            State::Virq(_) => 4,
            State::Ipi => 5,
        };
        Ok(Status { status, vcpu, state })
    }

    /// `EVTCHNOP_bind_vcpu`: events of the port are told `vcpu` from now on. Returns the PIRQ whose
    /// real interrupt had better follow, if it is one.
    ///
    /// # Errors
    /// `ENOENT`: no such vCPU. `EINVAL`: no such port, not in use, or bound to its vCPU for good
    /// (IPIs and per-vCPU VIRQs).
    pub fn bind_vcpu(
        &self,
        lock: &mut Bindings,
        port: Port,
        vcpu: VcpuId,
    ) -> Result<Option<Pirq>, Errno> {
        lock.check(self.domain);
        let vcpu = self.existing_vcpu(vcpu)?;
        let cell = self.cell(port)?;
        let channel = cell.load();
        let pirq = match channel.state {
            State::Free | State::Reserved | State::Ipi => return Err(Errno::EINVAL),
            State::Virq(n) if Virq::new(n).is_none_or(|v| !v.is_global()) => {
                return Err(Errno::EINVAL);
            }
            State::Pirq(pirq) => Some(pirq),
            State::Virq(_) | State::Unbound(_) | State::Interdomain(..) => None,
        };
        cell.store(Channel { vcpu, ..channel });
        Ok(pirq)
    }

    /// `EVTCHNOP_set_priority`.
    ///
    /// # Errors
    /// `EINVAL`: no such port, or priority above 15. `ENOSYS`: not with the two-level ABI.
    pub fn set_priority(
        &self,
        lock: &mut Bindings,
        port: Port,
        priority: u32,
    ) -> Result<(), Errno> {
        lock.check(self.domain);
        let cell = self.cell(port)?;
        if !self.is_fifo() {
            return Err(Errno::ENOSYS);
        }
        let priority = Priority::new(priority).ok_or(Errno::EINVAL)?;
        cell.store(Channel { priority, ..cell.load() });
        Ok(())
    }

    /// `EVTCHNOP_unmask`: unmasks the port and delivers what is pending.
    ///
    /// # Errors
    /// `EINVAL`: no such port.
    pub fn unmask(&self, port: Port) -> Result<Raised, Errno> {
        let cell = self.cell(port)?;
        Ok(self.unmask_port(port, cell, cell.load()))
    }

    /// Whether the port's event waits for the guest; what `SCHEDOP_poll` asks.
    ///
    /// # Errors
    /// `EINVAL`: no such port.
    pub fn is_pending(&self, port: Port) -> Result<bool, Errno> {
        Ok(self.port_is_pending(port, self.cell(port)?))
    }

    /// The first of some ports that is pending; what `SCHEDOP_poll` asks, for 128 ports at most.
    ///
    /// # Errors
    /// `EINVAL`: there is no such port, and none before it is pending.
    pub fn first_pending(
        &self,
        ports: impl IntoIterator<Item = Port>,
    ) -> Result<Option<Port>, Errno> {
        for port in ports {
            if self.is_pending(port)? {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }
}
