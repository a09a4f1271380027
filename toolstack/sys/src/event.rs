//! event_channel_op and sched_op, for another domain.

use zerocopy::FromZeros;

use abi::event_channel::{AllocUnbound, EvtchnCmd, EvtchnStat, Reset, Status};
use abi::sched::{RemoteShutdown, SchedCmd, ShutdownReason};
use abi::xen::Hypercall;

use crate::error::Result;
use crate::xen::{Call, Xen};

/// What a port is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortStatus {
    /// Nothing; free.
    Closed,
    /// Waits for this domain to bind.
    Unbound {
        /// Who may bind.
        remote: u16,
    },
    /// Another domain's port.
    Interdomain {
        /// Whose.
        remote: u16,
        /// Which.
        port: u32,
    },
    /// A physical interrupt.
    Pirq(u32),
    /// A virtual interrupt.
    Virq(u32),
    /// The domain's own vCPUs.
    Ipi,
    /// Something that is not known here.
    Other(u32),
}

impl Xen {
    /// Makes a port of `domid` that `remote` may bind to, and says its number.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall): ENOSPC, there is no free port.
    pub fn alloc_unbound(&self, domid: u16, remote: u16) -> Result<u32> {
        let mut argument = AllocUnbound { dom: domid, remote_dom: remote, port: 0 };
        let call = Call::of("event_channel_op alloc_unbound", domid);
        let cmd = u64::from(EvtchnCmd::ALLOC_UNBOUND.0);
        self.call_with(call, Hypercall::EVENT_CHANNEL_OP, cmd, &mut argument)?;
        Ok(argument.port)
    }

    /// What a port of a domain is bound to, and which of its vCPUs is told.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall): EINVAL, there is no such port.
    pub fn port_status(&self, domid: u16, port: u32) -> Result<(PortStatus, u32)> {
        let mut s = Status { dom: domid, port, ..Status::new_zeroed() };
        let call = Call::of("event_channel_op status", domid);
        let cmd = u64::from(EvtchnCmd::STATUS.0);
        self.call_with(call, Hypercall::EVENT_CHANNEL_OP, cmd, &mut s)?;
        let [first, second] = s.u;
        let remote = (first & 0xffff) as u16;
        let status = match s.status {
            EvtchnStat::CLOSED => PortStatus::Closed,
            EvtchnStat::UNBOUND => PortStatus::Unbound { remote },
            EvtchnStat::INTERDOMAIN => PortStatus::Interdomain { remote, port: second },
            EvtchnStat::PIRQ => PortStatus::Pirq(first),
            EvtchnStat::VIRQ => PortStatus::Virq(first),
            EvtchnStat::IPI => PortStatus::Ipi,
            EvtchnStat(other) => PortStatus::Other(other),
        };
        Ok((status, s.vcpu))
    }

    /// Closes all ports of a domain.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn reset_ports(&self, domid: u16) -> Result<()> {
        let mut argument = Reset { dom: domid };
        let call = Call::of("event_channel_op reset", domid);
        let cmd = u64::from(EvtchnCmd::RESET.0);
        self.call_with(call, Hypercall::EVENT_CHANNEL_OP, cmd, &mut argument).map(drop)
    }

    /// Stops another domain, as if it had shut itself down for that reason.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn remote_shutdown(&self, domid: u16, reason: ShutdownReason) -> Result<()> {
        let mut argument = RemoteShutdown { domain_id: domid, _pad: 0, reason };
        let call = Call::of("sched_op remote_shutdown", domid);
        let cmd = u64::from(SchedCmd::REMOTE_SHUTDOWN.0);
        self.call_with(call, Hypercall::SCHED_OP, cmd, &mut argument).map(drop)
    }
}
