//! What of the machine a domain may touch: I/O memory, ports, interrupts.

use crate::irq;
use abi::{Errno, Mfn};
use alloc::vec::Vec;
use pages::Access;

/// An inclusive range.
pub type Range = (u64, u64);

/// Ranges of one sort that a domain may be given.
const MAX_RANGES: usize = 1024;

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
        Permissions {
            all: privileged,
            memory: Vec::new(),
            ports: Vec::new(),
            interrupts: Vec::new(),
        }
    }

    /// What may be done with a frame of I/O memory. What the hypervisor keeps to itself nobody
    /// gets.
    pub fn memory(&self, mfn: Mfn) -> Access {
        if self.all || contains(&self.memory, mfn.0) { irq::dom0_memory(mfn) } else { Access::None }
    }

    /// Whether `count` ports from `port` on may be used.
    pub fn ports(&self, port: u16, count: u16) -> bool {
        let last = port.saturating_add(count.saturating_sub(1));
        let allowed = |p: u16| self.all || contains(&self.ports, u64::from(p));
        (port..=last).all(|p| allowed(p) && !irq::is_own_port(p))
    }

    /// Whether an interrupt may be bound.
    pub fn interrupt(&self, gsi: u32) -> bool {
        self.all || contains(&self.interrupts, u64::from(gsi))
    }

    /// Gives or takes I/O memory. dom0's cannot be taken.
    pub fn set_memory(&mut self, range: Range, allow: bool) -> Result<(), Errno> {
        set(&mut self.memory, range, allow)
    }

    /// Gives or takes ports.
    pub fn set_ports(&mut self, range: Range, allow: bool) -> Result<(), Errno> {
        set(&mut self.ports, range, allow)
    }

    /// Gives or takes an interrupt.
    pub fn set_interrupt(&mut self, gsi: u32, allow: bool) -> Result<(), Errno> {
        let n = u64::from(gsi);
        set(&mut self.interrupts, (n, n), allow)
    }

    /// Takes everything.
    pub fn clear(&mut self) {
        *self = Permissions::new(false);
    }
}

fn contains(ranges: &[Range], value: u64) -> bool {
    ranges.iter().any(|&(first, last)| first <= value && value <= last)
}

/// Puts a range into a list of ranges, or takes it out; parts of others that remain stay.
fn set(ranges: &mut Vec<Range>, (first, last): Range, allow: bool) -> Result<(), Errno> {
    // What lies within the range goes; what reaches beyond it is cut, into two at most.
    if ranges.len() >= MAX_RANGES {
        return Err(Errno::ENOSPC);
    }
    ranges.try_reserve(3).map_err(|_| Errno::ENOMEM)?;
    let mut beyond = [None; 2];
    ranges.retain_mut(|r| {
        if r.1 < first || last < r.0 {
            return true;
        }
        if r.0 < first && last < r.1 {
            beyond = [Some((r.0, first.wrapping_sub(1))), Some((last.wrapping_add(1), r.1))];
            return false;
        }
        if r.0 < first {
            r.1 = first.wrapping_sub(1);
            return true;
        }
        if last < r.1 {
            r.0 = last.wrapping_add(1);
            return true;
        }
        false
    });
    ranges.extend(beyond.into_iter().flatten());
    if allow {
        ranges.push((first, last));
    }
    Ok(())
}
