//! Ports that a domain may name but does not own: what reads and writes of them do.

use crate::vcpu::Vcpu;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What dom0 last wrote to 0xcf8: configuration addresses go to the device only with the access.
static CONFIG_ADDRESS: AtomicU32 = AtomicU32::new(0);

/// Reads all ones where nothing may be read.
pub fn read(v: &Vcpu, port: u16, size: u8) -> u32 {
    let nothing = u32::MAX >> (32u32.wrapping_sub(u32::from(size).wrapping_mul(8)) & 31);
    if !v.domain.privileged {
        return nothing;
    }
    match port {
        0xcf8 if size == 4 => CONFIG_ADDRESS.load(Relaxed),
        0xcfc..=0xcff => config_read(port & 3, size),
        _ => nothing,
    }
}

/// Drops what may not be written.
pub fn write(v: &Vcpu, port: u16, size: u8, value: u32) {
    if !v.domain.privileged {
        return;
    }
    match port {
        0xcf8 if size == 4 => CONFIG_ADDRESS.store(value, Relaxed),
        0xcfc..=0xcff => {
            config_write(port & 3, size, value);
        }
        _ => {}
    }
}

/// The device and register that the address port names.
fn config_target(offset: u16) -> Option<(machine::pci::Sbdf, u16)> {
    let address = CONFIG_ADDRESS.load(Relaxed);
    let [reg, devfn, bus, flags] = address.to_le_bytes();
    let at = machine::pci::Sbdf::new(0, bus, devfn >> 3, devfn & 7);
    (flags & 0x80 != 0).then_some((at, u16::from(reg & 0xfc) | offset))
}

fn config_read(offset: u16, size: u8) -> u32 {
    use machine::pci;
    match (config_target(offset), size) {
        (Some((at, reg)), 1) => u32::from(pci::read8(at, reg)),
        (Some((at, reg)), 2) if reg & 1 == 0 => u32::from(pci::read16(at, reg)),
        (Some((at, reg)), 4) if reg & 3 == 0 => pci::read32(at, reg),
        (_, 1) => 0xff,
        (_, 2) => 0xffff,
        _ => u32::MAX,
    }
}

fn config_write(offset: u16, size: u8, value: u32) {
    use machine::pci;
    match (config_target(offset), size) {
        (Some((at, reg)), 1) => pci::write8(at, reg, (value & 0xff) as u8),
        (Some((at, reg)), 2) if reg & 1 == 0 => pci::write16(at, reg, (value & 0xffff) as u16),
        (Some((at, reg)), 4) if reg & 3 == 0 => pci::write32(at, reg, value),
        _ => {}
    }
}
