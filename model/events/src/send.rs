//! Raising events: the guest's own, another's, and interrupts. No lock of the table is taken.

use crate::channel::State;
use crate::deliver::Raised;
use crate::memory::{Private, Shared};
use crate::table::Events;
use crate::virq::Virq;
use abi::{DomId, Errno, Pirq, Port, VcpuId};
use core::sync::atomic::Ordering;

/// Where a sent event goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Target {
    /// It was for this domain, or for nobody: only this is left to do.
    Done(Raised),
    /// To that domain: call its [`Events::notify`].
    Remote(DomId, Port),
}

impl<M: Private + Shared> Events<M> {
    /// `EVTCHNOP_send`.
    ///
    /// A port that nobody is connected to swallows events.
    ///
    /// # Errors
    /// `EINVAL`: no such port, closed, or an interrupt's.
    #[inline]
    pub fn send(&self, port: Port) -> Result<Target, Errno> {
        let cell = self.cell(port)?;
        let channel = cell.load();
        match channel.state {
            State::Interdomain(dom, remote) if dom == self.domain() => {
                Ok(Target::Done(self.notify(remote, dom, port)))
            }
            State::Interdomain(dom, remote) => Ok(Target::Remote(dom, remote)),
            State::Ipi => Ok(Target::Done(self.set_pending(port, cell, channel))),
            State::Unbound(_) => Ok(Target::Done(Raised::NOTHING)),
            State::Free | State::Reserved | State::Pirq(_) | State::Virq(_) => Err(Errno::EINVAL),
        }
    }

    /// Raises `port`, if it is still connected to `from_port` of `from`; if not, the connection
    /// was closed while the event was on its way, and it is dropped.
    #[inline]
    pub fn notify(&self, port: Port, from: DomId, from_port: Port) -> Raised {
        let Some(cell) = self.memory().port(port) else { return Raised::NOTHING };
        let channel = cell.load();
        if channel.state != State::Interdomain(from, from_port) {
            return Raised::NOTHING;
        }
        self.set_pending(port, cell, channel)
    }

    /// Raises a virtual interrupt; `vcpu` is ignored for global ones. Nothing if it is not bound.
    pub fn raise_virq(&self, vcpu: VcpuId, virq: Virq) -> Raised {
        let vcpu = if virq.is_global() { VcpuId(0) } else { vcpu };
        let Some(slot) = self.memory().virq(vcpu, virq) else { return Raised::NOTHING };
        self.raise_bound(Port(slot.load(Ordering::Acquire)), State::Virq(virq.get()))
    }

    /// Raises a physical interrupt. `None` if the guest has not bound it.
    pub fn raise_pirq(&self, pirq: Pirq) -> Option<Raised> {
        let port = Port(self.memory().pirq(pirq)?.load(Ordering::Acquire));
        (port.0 != 0).then(|| self.raise_bound(port, State::Pirq(pirq)))
    }

    fn raise_bound(&self, port: Port, as_state: State) -> Raised {
        let Some(cell) = self.memory().port(port) else { return Raised::NOTHING };
        let channel = cell.load();
        if channel.state != as_state {
            return Raised::NOTHING;
        }
        self.set_pending(port, cell, channel)
    }

    /// The port that a PIRQ is bound to, if it is.
    pub fn port_of_pirq(&self, pirq: Pirq) -> Option<Port> {
        let port = self.memory().pirq(pirq)?.load(Ordering::Acquire);
        (port != 0).then_some(Port(port))
    }
}
