//! Connecting ports: to another domain, to interrupts, to the domain itself.

use crate::channel::{Channel, PIRQ_LIMIT, PortCell, State};
use crate::close::Peer;
use crate::deliver::Raised;
use crate::memory::{Private, Shared};
use crate::table::{Bindings, Events};
use crate::virq::Virq;
use abi::{DomId, Errno, Pirq, Port, VcpuId};
use core::sync::atomic::Ordering;

impl<M: Private + Shared> Events<M> {
    /// `EVTCHNOP_alloc_unbound`: a port of this domain that waits for `remote`, which the caller
    /// has translated from `DOMID_SELF`.
    ///
    /// # Errors
    /// `ENOSPC`: the domain has no more ports. `ENOMEM`. `EINVAL`: it dies.
    pub fn alloc_unbound(&self, lock: &mut Bindings, remote: DomId) -> Result<Port, Errno> {
        let (port, cell) = self.free_port(lock)?;
        cell.store(Channel::new(State::Unbound(remote), VcpuId(0)));
        Ok(port)
    }

    /// `EVTCHNOP_bind_interdomain`: connects a new port of this domain with one of `remote` that
    /// waits for this domain. `remote` may be this domain; `peer` is then [`Peer::None`]. The new
    /// port is pending at once, for the sake of what was sent before there was a connection.
    ///
    /// # Errors
    /// As [`alloc_unbound`](Events::alloc_unbound), for this domain. `EINVAL`: `remote_port` does
    /// not exist or does not wait for this domain. `ESRCH`: `peer` is not `remote`.
    pub fn bind_interdomain(
        &self,
        lock: &mut Bindings,
        remote: DomId,
        remote_port: Port,
        peer: Peer<'_, M>,
    ) -> Result<(Port, Raised), Errno> {
        let (port, cell) = self.free_port(lock)?;
        let other = match peer {
            _ if remote == self.domain() => self,
            Peer::Other(other, other_lock) if other.domain() == remote => {
                other_lock.check(remote);
                other
            }
            Peer::Other(..) | Peer::None => return Err(Errno::ESRCH),
        };
        let remote_cell = other.cell(remote_port)?;
        let remote_channel = remote_cell.load();
        if remote_channel.state != State::Unbound(self.domain()) {
            return Err(Errno::EINVAL);
        }
        let channel = Channel::new(State::Interdomain(remote, remote_port), VcpuId(0));
        cell.store(channel);
        let state = State::Interdomain(self.domain(), port);
        remote_cell.store(Channel { state, ..remote_channel });
        Ok((port, self.set_pending(port, cell, channel)))
    }

    /// `EVTCHNOP_bind_virq`. Global VIRQs are bound on vCPU 0.
    ///
    /// # Errors
    /// `EINVAL`: no such VIRQ, or a global one on another vCPU. `ENOENT`: no such vCPU.
    /// `EEXIST`: bound already. And as [`alloc_unbound`](Events::alloc_unbound).
    pub fn bind_virq(&self, lock: &mut Bindings, virq: u32, vcpu: VcpuId) -> Result<Port, Errno> {
        let virq = Virq::new(virq).ok_or(Errno::EINVAL)?;
        if virq.is_global() && vcpu.0 != 0 {
            return Err(Errno::EINVAL);
        }
        let vcpu = self.existing_vcpu(vcpu)?;
        let slot = self.memory().virq(vcpu, virq).ok_or(Errno::ENOENT)?;
        if slot.load(Ordering::Acquire) != 0 {
            return Err(Errno::EEXIST);
        }
        let (port, cell) = self.free_port(lock)?;
        cell.store(Channel::new(State::Virq(virq.get()), vcpu));
        slot.store(port.0, Ordering::Release);
        Ok(port)
    }

    /// `EVTCHNOP_bind_ipi`.
    ///
    /// # Errors
    /// `ENOENT`: no such vCPU. And as [`alloc_unbound`](Events::alloc_unbound).
    pub fn bind_ipi(&self, lock: &mut Bindings, vcpu: VcpuId) -> Result<Port, Errno> {
        let vcpu = self.existing_vcpu(vcpu)?;
        let (port, cell) = self.free_port(lock)?;
        cell.store(Channel::new(State::Ipi, vcpu));
        Ok(port)
    }

    /// `EVTCHNOP_bind_pirq`, the part that is the domain's. The caller has checked permission
    /// (`EPERM`), then binds the real interrupt, and if that fails closes the port again.
    ///
    /// # Errors
    /// `EINVAL`: no such PIRQ. `EEXIST`: bound already. And as
    /// [`alloc_unbound`](Events::alloc_unbound).
    pub fn bind_pirq(&self, lock: &mut Bindings, pirq: Pirq) -> Result<Port, Errno> {
        let slot = self.memory().pirq(pirq).filter(|_| pirq.0 < PIRQ_LIMIT).ok_or(Errno::EINVAL)?;
        if slot.load(Ordering::Acquire) != 0 {
            return Err(Errno::EEXIST);
        }
        let (port, cell) = self.free_port(lock)?;
        cell.store(Channel::new(State::Pirq(pirq), VcpuId(0)));
        slot.store(port.0, Ordering::Release);
        Ok(port)
    }

    /// Undoes what the binding of a VIRQ or PIRQ noted outside of the port's cell.
    pub(crate) fn unnote(&self, cell: &PortCell) -> Option<Pirq> {
        let channel = cell.load();
        match channel.state {
            State::Virq(number) => {
                let virq = Virq::new(number)?;
                let vcpu = if virq.is_global() { VcpuId(0) } else { channel.vcpu };
                self.memory().virq(vcpu, virq)?.store(0, Ordering::Release);
                None
            }
            State::Pirq(pirq) => {
                self.memory().pirq(pirq)?.store(0, Ordering::Release);
                Some(pirq)
            }
            _ => None,
        }
    }
}
