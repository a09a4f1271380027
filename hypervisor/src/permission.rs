//! What of the machine a domain may touch: I/O memory, ports, interrupts.

use crate::irq;
use abi::Mfn;
use alloc::vec::Vec;
use pages::Access;

/// An inclusive range.
type Range = (u64, u64);

/// A domain's permissions.
pub struct Permissions {
    all: bool,
    memory: Vec<Range>,
    ports: Vec<Range>,
    interrupts: Vec<Range>,
}

impl Permissions {
    /// Everything but the hypervisor's own devices for dom0, nothing for others.
    pub fn new(privileged: bool) -> Self {
        Permissions { all: privileged, memory: Vec::new(), ports: Vec::new(), interrupts: Vec::new() }
    }

    /// What may be done with a frame of I/O memory.
    pub fn memory(&self, mfn: Mfn) -> Access {
        if self.all {
            irq::dom0_memory(mfn)
        } else if contains(&self.memory, mfn.0) {
            Access::ReadWrite
        } else {
            Access::None
        }
    }

    /// Whether `count` ports from `port` on may be used.
    pub fn ports(&self, port: u16, count: u16) -> bool {
        let last = port.saturating_add(count.saturating_sub(1));
        (port..=last).all(|p| match self.all {
            true => !irq::is_own_port(p),
            false => contains(&self.ports, u64::from(p)),
        })
    }

    /// Whether an interrupt may be bound.
    pub fn interrupt(&self, gsi: u32) -> bool {
        self.all || contains(&self.interrupts, u64::from(gsi))
    }
}

fn contains(ranges: &[Range], value: u64) -> bool {
    ranges.iter().any(|&(first, last)| first <= value && value <= last)
}
