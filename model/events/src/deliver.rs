//! Making a port pending, by whichever ABI the domain uses.

use crate::channel::{Channel, PortCell};
use crate::memory::{Private, Shared};
use crate::table::Events;
use abi::{Port, VcpuId};
use core::sync::atomic::Ordering;

/// What the hypervisor has to do after an event was raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "a vCPU that is not kicked sleeps through its event"]
pub struct Raised {
    /// The vCPU whose upcall became pending: it is to be woken, or interrupted if it runs.
    pub kick: Option<VcpuId>,
    /// The port became pending just now: vCPUs that poll for it are to be woken.
    pub newly_pending: bool,
}

impl Raised {
    /// Nothing is to be done.
    pub const NOTHING: Raised = Raised { kick: None, newly_pending: false };
}

impl<M: Private + Shared> Events<M> {
    /// Raises the port's event.
    #[inline]
    pub(crate) fn set_pending(&self, port: Port, cell: &PortCell, channel: Channel) -> Raised {
        if self.is_fifo() {
            self.fifo_set_pending(port, cell, channel)
        } else {
            self.two_level_set_pending(port, channel.vcpu)
        }
    }

    /// Takes back an event that the guest has not seen.
    pub(crate) fn clear_pending(&self, port: Port, cell: &PortCell) {
        if self.is_fifo() {
            self.fifo_clear_pending(port, cell);
        } else {
            self.two_level_clear_pending(port);
        }
    }

    pub(crate) fn unmask_port(&self, port: Port, cell: &PortCell, channel: Channel) -> Raised {
        if self.is_fifo() {
            self.fifo_unmask(port, cell, channel)
        } else {
            self.two_level_unmask(port, channel.vcpu)
        }
    }

    pub(crate) fn port_is_pending(&self, port: Port, cell: &PortCell) -> bool {
        if self.is_fifo() {
            self.fifo_is_pending(port, cell)
        } else {
            self.two_level_is_pending(port)
        }
    }

    /// Makes the vCPU's upcall pending; returns the vCPU if it was not.
    #[inline]
    pub(crate) fn mark_upcall(&self, vcpu: VcpuId) -> Option<VcpuId> {
        let flag = self.memory().upcall_pending(vcpu)?;
        (flag.swap(1, Ordering::SeqCst) == 0).then_some(vcpu)
    }
}
