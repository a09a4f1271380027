//! The memory that the model works on, the hypervisor's and the guest's.

use crate::channel::{PortCell, Priority};
use crate::fifo::Queue;
use crate::virq::Virq;
use abi::{Errno, Pirq, Port, VcpuId};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// A domain's event-channel memory that the guest does not see.
///
/// The answers stay the same for as long as the domain lives, except that ports are added.
pub trait Private {
    /// The cell of a port; `None` beyond what has been grown.
    fn port(&self, port: Port) -> Option<&PortCell>;
    /// Makes room for more ports, right behind those there are. Runs under the domain's event
    /// lock, beside readers of [`port`](Private::port).
    ///
    /// # Errors
    /// `ENOMEM`.
    fn grow(&self) -> Result<(), Errno>;
    /// How many vCPUs the domain can have; ids are below it, and it is at most 2^16.
    fn vcpus(&self) -> u32;
    /// The port that a virtual interrupt of a vCPU is bound to, 0 for none. Global ones are
    /// kept with vCPU 0. `None`: no such vCPU.
    fn virq(&self, vcpu: VcpuId, virq: Virq) -> Option<&AtomicU32>;
    /// The port that a PIRQ is bound to, 0 for none. `None`: no such PIRQ.
    fn pirq(&self, pirq: Pirq) -> Option<&AtomicU32>;
    /// A FIFO queue of a vCPU. `None`: no such vCPU.
    fn queue(&self, vcpu: VcpuId, priority: Priority) -> Option<&Queue>;
}

/// A domain's event-channel memory that the guest reads and writes at any time.
///
/// `None` where the guest has not (yet) supplied it. A view stays valid, as memory, for as long
/// as the borrow lives, whatever the guest registers meanwhile.
pub trait Shared {
    /// `shared_info.evtchn_pending[index]`, index below 64.
    fn pending(&self, index: u32) -> Option<&AtomicU64>;
    /// `shared_info.evtchn_mask[index]`, index below 64.
    fn mask(&self, index: u32) -> Option<&AtomicU64>;
    /// `vcpu_info.evtchn_upcall_pending`.
    fn upcall_pending(&self, vcpu: VcpuId) -> Option<&AtomicU8>;
    /// `vcpu_info.evtchn_pending_sel`.
    fn pending_sel(&self, vcpu: VcpuId) -> Option<&AtomicU64>;
    /// The port's word in the pages given to `EVTCHNOP_expand_array`: page port / 1024, word
    /// port mod 1024.
    fn event_word(&self, port: Port) -> Option<&AtomicU32>;
    /// The ready word, at offset 0 of the vCPU's FIFO control block.
    fn ready(&self, vcpu: VcpuId) -> Option<&AtomicU32>;
    /// A queue's head, at offset 8 + 4 x priority of the vCPU's FIFO control block.
    fn head(&self, vcpu: VcpuId, priority: Priority) -> Option<&AtomicU32>;
}
