//! Disconnecting ports.

use crate::channel::{Channel, State};
use crate::memory::{Private, Shared};
use crate::table::{Bindings, Events};
use abi::{DomId, Errno, Pirq, Port};

/// The other domain of an operation on two.
pub enum Peer<'a, M> {
    /// None is needed, or none is known yet.
    None,
    /// This one, its lock held as well.
    Other(&'a Events<M>, &'a mut Bindings),
}

/// What is left to do after a port was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Closed {
    /// The real interrupt to unbind.
    pub pirq: Option<Pirq>,
}

/// Why a port was not closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotClosed {
    /// For the caller: there is no such port, or nothing to close.
    Refused(Errno),
    /// It is connected to a port of this domain, whose lock is needed too. Take both and ask again:
    /// by then it may be another.
    Needs(DomId),
}

impl<M: Private + Shared> Events<M> {
    /// `EVTCHNOP_close`. The other end of a connection waits for this domain again.
    ///
    /// First try it with [`Peer::None`]; a connection to another domain answers
    /// [`NotClosed::Needs`].
    ///
    /// # Errors
    /// [`NotClosed`]; its errno is `EINVAL`.
    pub fn close(
        &self,
        lock: &mut Bindings,
        port: Port,
        peer: Peer<'_, M>,
    ) -> Result<Closed, NotClosed> {
        lock.check(self.domain());
        let cell = self.cell(port).map_err(NotClosed::Refused)?;
        match cell.load().state {
            State::Free | State::Reserved => return Err(NotClosed::Refused(Errno::EINVAL)),
            State::Interdomain(dom, remote_port) => match peer {
                _ if dom == self.domain() => self.disconnect(remote_port, self.domain(), port),
                Peer::Other(other, other_lock) if other.domain() == dom => {
                    other_lock.check(dom);
                    other.disconnect(remote_port, self.domain(), port);
                }
                Peer::Other(..) | Peer::None => return Err(NotClosed::Needs(dom)),
            },
            _ => {}
        }
        let pirq = self.unnote(cell);
        cell.store(Channel::FREE);
        self.clear_pending(port, cell);
        lock.freed(port);
        Ok(Closed { pirq })
    }

    /// Makes an end of a connection wait again for the domain that left it.
    fn disconnect(&self, port: Port, dom: DomId, remote_port: Port) {
        let Some(cell) = self.memory().port(port) else { return };
        let channel = cell.load();
        if channel.state == State::Interdomain(dom, remote_port) {
            cell.store(Channel { state: State::Unbound(dom), ..channel });
        }
    }

    /// The first port from `from` on that [`close`](Events::close) would take: what
    /// `EVTCHNOP_reset` and the end of a domain walk over. Looks at no more than `limit` ports:
    /// `Err` is where to go on.
    ///
    /// # Errors
    /// The port to continue from, when `limit` ran out.
    pub fn next_open(&self, from: Port, limit: u32) -> Result<Option<Port>, Port> {
        let end = from.0.saturating_add(limit);
        for port in (from.0..end).map(Port) {
            let Some(cell) = self.memory().port(port) else { return Ok(None) };
            if !matches!(cell.load().state, State::Free | State::Reserved) {
                return Ok(Some(port));
            }
        }
        Err(Port(end))
    }
}
