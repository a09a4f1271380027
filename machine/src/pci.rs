//! PCI configuration space.
//!
//! The first 256 bytes of segment 0 go through ports 0xcf8 and 0xcfc, which every machine has; the
//! rest through memory where the MCFG table says. Registers that are out of reach read as all ones
//! and take no writes, like those of a device that is not there.

use crate::acpi::{List, McfgEntry};
use crate::lock::Lock;
use crate::mmio::Registers;
use crate::once::Once;
use crate::port::{inb, inl, inw, outb, outl, outw};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Command register and its bits.
pub const COMMAND: u16 = 0x04;
/// The device answers to its memory.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// The device may not use its interrupt pin.
pub const COMMAND_NO_INTX: u16 = 1 << 10;
const STATUS: u16 = 0x06;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const HEADER_TYPE: u16 = 0x0e;
const BARS: u16 = 0x10;
const CAPABILITIES: u16 = 0x34;
/// More 4-byte capabilities do not fit between 0x40 and 0x100.
const MAX_CAPABILITIES: u32 = 48;
const MAX_EXTENDED: u32 = 480;

/// A function of a device: segment in bits 16 to 31, bus 8 to 15, device 3 to 7, function 0 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sbdf(pub u32);

impl Sbdf {
    /// From its parts; of `device` 5 bits count, of `function` 3.
    pub fn new(segment: u16, bus: u8, device: u8, function: u8) -> Sbdf {
        let devfn = device << 3 | function & 7;
        Sbdf(u32::from(segment) << 16 | u32::from(bus) << 8 | u32::from(devfn))
    }

    /// Segment.
    pub fn segment(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Bus.
    pub fn bus(self) -> u8 {
        (self.0 >> 8 & 0xff) as u8
    }

    /// Device (5 bits) and function (3 bits).
    pub fn devfn(self) -> u8 {
        (self.0 & 0xff) as u8
    }
}

impl core::fmt::Display for Sbdf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (devfn, bus) = (self.devfn(), self.bus());
        write!(f, "{:04x}:{bus:02x}:{:02x}.{}", self.segment(), devfn >> 3, devfn & 7)
    }
}

/// Port access is two steps.
static PORTS: Lock<()> = Lock::new(());
static MCFG: Once<List<McfgEntry, 8>> = Once::new();
/// Buses in memory that were used so far: a MiB each is mapped at its first use.
static WINDOWS: Lock<Windows> = Lock::new(Windows { of: [[None; 256]; SEGMENTS] });
const SEGMENTS: usize = 4;
static NO_PORTS: AtomicBool = AtomicBool::new(false);

struct Windows {
    of: [[Option<Registers>; 256]; SEGMENTS],
}

/// Makes known what the MCFG table says. Up to 4 of its entries can be used.
pub fn init(mcfg: &List<McfgEntry, 8>) {
    MCFG.set(*mcfg);
    // Ports are there unless the index does not hold what is written.
    let _guard = PORTS.lock();
    outl(0xcf8, 0x8000_0000);
    NO_PORTS.store(inl(0xcf8) != 0x8000_0000, Relaxed);
}

/// The registers of a bus in memory.
fn window(segment: u16, bus: u8) -> Option<Registers> {
    let holds = |m: &&McfgEntry| m.segment == segment && (m.bus_start..=m.bus_end).contains(&bus);
    let mcfg = MCFG.get()?;
    let n = mcfg.iter().position(|m| holds(&m))?;
    let phys = mcfg.get(n)?.base.checked_add(u64::from(bus) << 20)?;
    let mut windows = WINDOWS.lock();
    let slot = windows.of.get_mut(n)?.get_mut(usize::from(bus))?;
    if slot.is_none() {
        *slot = Registers::map(phys, 1 << 20);
    }
    *slot
}

/// How a register is reached.
enum Way {
    /// What goes to 0xcf8, and the data port.
    Ports(u32, u16),
    /// Registers of the bus, and the offset there.
    Memory(Registers, usize),
}

/// The way to `reg`, which must be aligned to its width of `bytes`.
fn way(at: Sbdf, reg: u16, bytes: u16) -> Option<Way> {
    if reg >= 4096 || reg & bytes.wrapping_sub(1) != 0 {
        return None;
    }
    if at.segment() == 0 && reg < 256 && !NO_PORTS.load(Relaxed) {
        return Some(Way::Ports(port_index(at, reg), 0xcfc | reg & 3));
    }
    let offset = usize::from(at.devfn()) << 12 | usize::from(reg);
    Some(Way::Memory(window(at.segment(), at.bus())?, offset))
}

fn port_index(at: Sbdf, reg: u16) -> u32 {
    0x8000_0000 | (at.0 & 0xffff) << 8 | u32::from(reg & 0xfc)
}

/// Reads one byte at `reg` (below 4096).
pub fn read8(at: Sbdf, reg: u16) -> u8 {
    match way(at, reg, 1) {
        Some(Way::Ports(index, data)) => {
            let _guard = PORTS.lock();
            outl(0xcf8, index);
            inb(data)
        }
        Some(Way::Memory(registers, offset)) => registers.read8(offset),
        None => !0,
    }
}

/// Reads two bytes at `reg` (even, below 4096).
pub fn read16(at: Sbdf, reg: u16) -> u16 {
    match way(at, reg, 2) {
        Some(Way::Ports(index, data)) => {
            let _guard = PORTS.lock();
            outl(0xcf8, index);
            inw(data)
        }
        Some(Way::Memory(registers, offset)) => registers.read16(offset),
        None => !0,
    }
}

/// Reads four bytes at `reg` (a multiple of 4, below 4096).
pub fn read32(at: Sbdf, reg: u16) -> u32 {
    match way(at, reg, 4) {
        Some(Way::Ports(index, data)) => {
            let _guard = PORTS.lock();
            outl(0xcf8, index);
            inl(data)
        }
        Some(Way::Memory(registers, offset)) => registers.read32(offset),
        None => !0,
    }
}

/// Writes one byte at `reg` (below 4096).
pub fn write8(at: Sbdf, reg: u16, value: u8) {
    match way(at, reg, 1) {
        Some(Way::Ports(index, data)) => {
            let _guard = PORTS.lock();
            outl(0xcf8, index);
            outb(data, value);
        }
        Some(Way::Memory(registers, offset)) => registers.write8(offset, value),
        None => {}
    }
}

/// Writes two bytes at `reg` (even, below 4096).
pub fn write16(at: Sbdf, reg: u16, value: u16) {
    match way(at, reg, 2) {
        Some(Way::Ports(index, data)) => {
            let _guard = PORTS.lock();
            outl(0xcf8, index);
            outw(data, value);
        }
        Some(Way::Memory(registers, offset)) => registers.write16(offset, value),
        None => {}
    }
}

/// Writes four bytes at `reg` (a multiple of 4, below 4096).
pub fn write32(at: Sbdf, reg: u16, value: u32) {
    match way(at, reg, 4) {
        Some(Way::Ports(index, data)) => {
            let _guard = PORTS.lock();
            outl(0xcf8, index);
            outl(data, value);
        }
        Some(Way::Memory(registers, offset)) => registers.write32(offset, value),
        None => {}
    }
}

/// Changes bits of a 16-bit register.
pub fn modify16(at: Sbdf, reg: u16, clear: u16, set: u16) {
    let old = read16(at, reg);
    let new = old & !clear | set;
    if new != old {
        write16(at, reg, new);
    }
}

/// Whether a device answers.
pub fn exists(at: Sbdf) -> bool {
    !matches!(read16(at, 0), 0 | 0xffff)
}

/// Where capability `id` of a device lies (MSI 0x05, MSI-X 0x11).
pub fn capability(at: Sbdf, id: u8) -> Option<u16> {
    find_capability(id, |reg| read16(at, reg))
}

/// [`capability`] over the device's 16-bit registers.
fn find_capability(id: u8, read: impl Fn(u16) -> u16) -> Option<u16> {
    let status = read(STATUS);
    if status == 0xffff || status & STATUS_CAPABILITIES == 0 {
        return None;
    }
    let mut reg = read(CAPABILITIES) & 0xfc;
    for _ in 0..MAX_CAPABILITIES {
        if reg < 0x40 {
            return None;
        }
        let [this, next] = read(reg).to_le_bytes();
        match this {
            0xff => return None,
            this if this == id => return Some(reg),
            _ => reg = u16::from(next) & 0xfc,
        }
    }
    None
}

/// Where extended capability `id` of a PCI Express device lies, from 0x100 on.
pub fn extended_capability(at: Sbdf, id: u16) -> Option<u16> {
    let mut reg = 0x100u16;
    for _ in 0..MAX_EXTENDED {
        let head = read32(at, reg);
        if reg < 0x100 || head == 0 || head == u32::MAX {
            return None;
        }
        if head & 0xffff == u32::from(id) {
            return Some(reg);
        }
        reg = u16::try_from(head >> 20 & 0xffc).ok()?;
    }
    None
}

/// Physical address in memory BAR `n` (0 to 5; 0 and 1 of a bridge), `None` for one of ports, one
/// that is not set, or while the device does not answer to its memory.
pub fn memory_bar(at: Sbdf, n: u8) -> Option<u64> {
    let bars: u8 = match read8(at, HEADER_TYPE) & 0x7f {
        0 => 6,
        1 => 2,
        _ => return None,
    };
    let command = read16(at, COMMAND);
    if n >= bars || command == 0xffff || command & COMMAND_MEMORY == 0 {
        return None;
    }
    let reg = BARS.wrapping_add(u16::from(n).wrapping_mul(4));
    let low = read32(at, reg);
    let next = n.wrapping_add(1) < bars;
    decode_bar(low, || next.then(|| read32(at, reg.wrapping_add(4))))
}

/// The address in a BAR; `high` reads the next one, if there is one.
fn decode_bar(low: u32, high: impl FnOnce() -> Option<u32>) -> Option<u64> {
    let base = u64::from(low & !0xf);
    let address = match low & 7 {
        0 => base,
        4 => base | u64::from(high()?) << 32,
        _ => return None,
    };
    (low != u32::MAX && address != 0).then_some(address)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn functions_are_named_and_addressed_by_their_parts() {
        let f = Sbdf::new(0x12, 0x34, 0x1f, 7);
        assert_eq!((f.segment(), f.bus(), f.devfn()), (0x12, 0x34, 0xff));
        assert_eq!(f.to_string(), "0012:34:1f.7");
        assert_eq!(port_index(f, 0x43), 0x8034_ff40);
    }

    #[test]
    fn registers_beyond_the_end_or_misaligned_have_no_way() {
        let f = Sbdf::new(0, 0, 1, 0);
        assert!(way(f, 4096, 1).is_none());
        assert!(way(f, 0x41, 2).is_none());
        assert!(way(f, 0x42, 4).is_none());
        assert!(matches!(way(f, 0x42, 2), Some(Way::Ports(0x8000_0840, 0xcfe))));
        assert!(way(f, 0x100, 4).is_none(), "without an MCFG table");
    }

    fn device(caps: &[(u16, u8, u8)]) -> impl Fn(u16) -> u16 {
        let mut space = [0u16; 128];
        space[3] = STATUS_CAPABILITIES;
        space[26] = caps.first().map_or(0, |c| c.0);
        for &(at, id, next) in caps {
            space[usize::from(at) / 2] = u16::from_le_bytes([id, next]);
        }
        move |reg| space[usize::from(reg) / 2]
    }

    #[test]
    fn capabilities_are_found_along_their_chain() {
        let d = device(&[(0x40, 1, 0x50), (0x50, 5, 0x63), (0x60, 0x11, 0)]);
        assert_eq!(find_capability(5, &d), Some(0x50));
        assert_eq!(find_capability(0x11, &d), Some(0x60));
        assert_eq!(find_capability(9, &d), None);
    }

    #[test]
    fn chains_that_loop_or_leave_or_never_were_end_the_search() {
        assert_eq!(find_capability(9, device(&[(0x40, 1, 0x40)])), None);
        assert_eq!(find_capability(9, device(&[(0x40, 1, 0x04)])), None);
        assert_eq!(find_capability(9, |_| 0xffff), None);
        assert_eq!(find_capability(9, |_| 0), None);
    }

    #[test]
    fn only_memory_bars_that_are_set_have_an_address() {
        assert_eq!(decode_bar(0xfebc_0008, || None), Some(0xfebc_0000));
        assert_eq!(decode_bar(0xfebc_000c, || Some(3)), Some(0x3_febc_0000));
        assert_eq!(decode_bar(0xfebc_0004, || None), None);
        assert_eq!(decode_bar(0xc001, || None), None);
        assert_eq!(decode_bar(0, || None), None);
        assert_eq!(decode_bar(u32::MAX, || None), None);
    }
}
