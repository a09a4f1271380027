//! Event channels: ports, bindings, two-level and FIFO delivery.
//!
//! One [`Events`] is one domain's table of ports. What changes bindings needs `&mut` [`Bindings`],
//! which the hypervisor keeps inside a lock of that domain; operations on two domains need both.
//! Sending needs neither: it reads a port's whole state as one word and then only does atomic
//! operations on the receiver's memory. With the FIFO ABI it also holds one or two queues of the
//! receiving vCPU for a few dozen instructions, so it must run with interrupts off.
//!
//! What a guest could have changed meanwhile is never believed: of guest memory only single bits
//! of single words matter, no link that a guest wrote is followed, retries are counted.
//!
//! Effects are returned, not done: a [`Raised`] says which vCPU to kick and whether pollers of
//! the port are to be looked at.
//!
//! The ABI is that of `public/event_channel.h` and of `struct vcpu_info` and `struct shared_info`
//! in `public/xen.h`.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod bind;
mod channel;
mod close;
mod deliver;
mod fifo;
mod memory;
mod poll;
mod send;
mod table;
#[cfg(test)]
mod tests;
mod two_level;
mod virq;

pub use channel::{Channel, PortCell, Priority, State};
pub use close::{Closed, NotClosed, Peer};
pub use deliver::Raised;
pub use fifo::{CONTROL_BLOCK_SIZE, FIFO_PORTS, LINK_BITS, Queue, WORDS_PER_PAGE};
pub use memory::{Private, Shared};
pub use poll::Poller;
pub use send::Target;
pub use table::{Bindings, Events, Status};
pub use two_level::TWO_LEVEL_PORTS;
pub use virq::{NR_VIRQS, Virq};
