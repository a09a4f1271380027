//! Message-signalled interrupts of PCI devices: MSI and MSI-X.
//!
//! A message is a write to the local APICs' address range; the registers that hold it are in
//! configuration space (MSI) or in a table in one of the device's BARs (MSI-X). PCI Local Bus 3.0,
//! 6.8.

use crate::lock::Lock;
use crate::mmio::Registers;
use crate::pci::{self, COMMAND, COMMAND_NO_INTX, Sbdf};

const CAP_MSI: u8 = 0x05;
const CAP_MSIX: u8 = 0x11;
/// Message control is 2 after the capability's start.
const CONTROL: u16 = 2;

const MSI_ENABLE: u16 = 1;
const MSI_VECTORS: u16 = 7 << 4;
const MSI_WIDE: u16 = 1 << 7;
const MSI_MASKABLE: u16 = 1 << 8;

const MSIX_SIZE: u16 = 0x7ff;
const MSIX_MASK_ALL: u16 = 1 << 14;
const MSIX_ENABLE: u16 = 1 << 15;
/// Bytes of a table entry: address low, high, data, control.
const ENTRY: usize = 16;
const ENTRY_MASKED: u32 = 1;

/// What a device writes where to interrupt a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Physical address.
    pub address: u64,
    /// Data.
    pub data: u32,
}

impl Message {
    /// Interrupt `vector` (at least 0x10), edge-triggered, at the CPU with APIC identifier `dest`;
    /// `None` when no message can say that: identifiers have 8 bits there.
    pub fn new(dest: u32, vector: u8) -> Option<Message> {
        let address = 0xfee0_0000 | u64::from(dest) << 12;
        (dest < 0xff && vector >= 0x10).then_some(Message { address, data: vector.into() })
    }
}

/// A device's MSI registers. Of several messages only the first is used.
#[derive(Clone, Copy, Debug)]
pub struct Msi {
    at: Sbdf,
    cap: u16,
    wide: bool,
    maskable: bool,
}

impl Msi {
    /// Those of the device at `at`, if it has any.
    pub fn find(at: Sbdf) -> Option<Msi> {
        let cap = pci::capability(at, CAP_MSI)?;
        let control = pci::read16(at, cap.wrapping_add(CONTROL));
        // The longest form has 24 bytes.
        (control != 0xffff && cap <= 0xe8).then_some(Msi {
            at,
            cap,
            wide: control & MSI_WIDE != 0,
            maskable: control & MSI_MASKABLE != 0,
        })
    }

    fn reg(&self, offset: u16) -> u16 {
        self.cap.wrapping_add(offset)
    }

    /// Registers of data and mask.
    fn data_and_mask(&self) -> (u16, u16) {
        if self.wide { (self.reg(12), self.reg(16)) } else { (self.reg(8), self.reg(12)) }
    }

    /// Whether [`Msi::set_masked`] works.
    pub fn is_maskable(&self) -> bool {
        self.maskable
    }

    /// Sets the message. While it changes the device is masked or, if it cannot be, disabled.
    pub fn set(&self, message: Message) {
        let control = self.reg(CONTROL);
        let old = pci::read16(self.at, control);
        let (data, mask) = self.data_and_mask();
        let old_mask = if self.maskable { pci::read32(self.at, mask) } else { 0 };
        if self.maskable {
            pci::write32(self.at, mask, old_mask | 1);
        } else {
            pci::write16(self.at, control, old & !(MSI_ENABLE | MSI_VECTORS));
        }
        let [low, high] = halves(message.address);
        pci::write32(self.at, self.reg(4), low);
        if self.wide {
            pci::write32(self.at, self.reg(8), high);
        }
        pci::write16(self.at, data, (message.data & 0xffff) as u16);
        pci::write16(self.at, control, old & !MSI_VECTORS);
        if self.maskable {
            pci::write32(self.at, mask, old_mask);
        }
    }

    /// Holds messages back, or lets them through. `false` when the device has no mask.
    pub fn set_masked(&self, masked: bool) -> bool {
        if !self.maskable {
            return false;
        }
        let (_, mask) = self.data_and_mask();
        let old = pci::read32(self.at, mask);
        pci::write32(self.at, mask, if masked { old | 1 } else { old & !1 });
        true
    }

    /// Makes the device use MSI instead of its interrupt pin, or the other way round.
    pub fn set_enabled(&self, on: bool) {
        switch_pin(self.at, !on);
        let (clear, set) = if on { (MSI_VECTORS, MSI_ENABLE) } else { (MSI_ENABLE, 0) };
        pci::modify16(self.at, self.reg(CONTROL), clear, set);
    }
}

fn halves(address: u64) -> [u32; 2] {
    [(address & 0xffff_ffff) as u32, (address >> 32) as u32]
}

/// Allows or forbids a device its interrupt pin.
fn switch_pin(at: Sbdf, on: bool) {
    let (clear, set) = if on { (COMMAND_NO_INTX, 0) } else { (0, COMMAND_NO_INTX) };
    pci::modify16(at, COMMAND, clear, set);
}

/// Tables mapped so far: mappings are for ever, so they are made once.
static TABLES: Lock<[Option<Mapped>; 128]> = Lock::new([None; 128]);

#[derive(Clone, Copy)]
struct Mapped {
    phys: u64,
    registers: Registers,
}

/// Maps a table; `None` too when there were 128 others.
fn map_table(phys: u64, len: usize) -> Option<Registers> {
    let mut tables = TABLES.lock();
    let known = tables.iter().flatten().find(|t| t.phys == phys && t.registers.len() == len);
    if let Some(known) = known {
        return Some(known.registers);
    }
    let free = tables.iter_mut().find(|t| t.is_none())?;
    let registers = Registers::map(phys, len)?;
    *free = Some(Mapped { phys, registers });
    Some(registers)
}

/// A device's MSI-X registers and table.
#[derive(Clone, Copy, Debug)]
pub struct Msix {
    at: Sbdf,
    cap: u16,
    phys: u64,
    entries: u16,
    table: Registers,
}

/// Where in its BAR a table lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    bar: u8,
    offset: u32,
    entries: u16,
}

impl Layout {
    /// From message control and the table register.
    fn decode(control: u16, table: u32) -> Option<Layout> {
        let bar = (table & 7) as u8;
        let entries = (control & MSIX_SIZE).wrapping_add(1);
        (control != 0xffff && bar < 6).then_some(Layout { bar, offset: table & !7, entries })
    }
}

impl Msix {
    /// Those of the device at `at`, if it has any, answers to its memory, and the table is not
    /// where RAM is. A virtual function's BARs are elsewhere: not found here.
    pub fn find(at: Sbdf) -> Option<Msix> {
        let cap = pci::capability(at, CAP_MSIX)?;
        let control = pci::read16(at, cap.wrapping_add(CONTROL));
        let layout = Layout::decode(control, pci::read32(at, cap.wrapping_add(4)))?;
        let phys = pci::memory_bar(at, layout.bar)?.checked_add(layout.offset.into())?;
        let table = map_table(phys, usize::from(layout.entries).wrapping_mul(ENTRY))?;
        Some(Msix { at, cap, phys, entries: layout.entries, table })
    }

    /// Entries of the table, at least 1.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// First physical byte of the table, which no guest may write.
    pub fn table_phys(&self) -> u64 {
        self.phys
    }

    fn entry(&self, n: u16) -> Option<usize> {
        (n < self.entries).then(|| usize::from(n).wrapping_mul(ENTRY))
    }

    /// Sets the message of entry `n`, which stays masked or not. `false` when there is no such one.
    pub fn set(&self, n: u16, message: Message) -> bool {
        let Some(entry) = self.entry(n) else { return false };
        let control_at = entry.wrapping_add(12);
        let control = self.table.read32(control_at);
        let [low, high] = halves(message.address);
        self.table.write32(control_at, control | ENTRY_MASKED);
        self.table.write32(entry, low);
        self.table.write32(entry.wrapping_add(4), high);
        self.table.write32(entry.wrapping_add(8), message.data);
        self.table.write32(control_at, control);
        self.flush(control_at);
        true
    }

    /// Holds entry `n`'s messages back, or lets them through. `false` when there is no such one.
    pub fn set_masked(&self, n: u16, masked: bool) -> bool {
        let Some(entry) = self.entry(n) else { return false };
        let at = entry.wrapping_add(12);
        let old = self.table.read32(at);
        let new = if masked { old | ENTRY_MASKED } else { old & !ENTRY_MASKED };
        if new != old {
            self.table.write32(at, new);
            self.flush(at);
        }
        true
    }

    /// Writes may be on their way until something is read.
    fn flush(&self, at: usize) {
        let _ = self.table.read32(at);
    }

    /// Makes the device use MSI-X instead of its interrupt pin, or the other way round. Entries are
    /// left as they are: after a reset of the device all are masked.
    pub fn set_enabled(&self, on: bool) {
        switch_pin(self.at, !on);
        let control = self.cap.wrapping_add(CONTROL);
        let (clear, set) = if on { (MSIX_MASK_ALL, MSIX_ENABLE) } else { (MSIX_ENABLE, 0) };
        pci::modify16(self.at, control, clear, set);
    }

    /// Masks all entries one by one.
    pub fn mask_all(&self) {
        for n in 0..self.entries {
            self.set_masked(n, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_cpu_and_vector_or_is_none() {
        let m = Message { address: 0xfee0_3000, data: 0x41 };
        assert_eq!(Message::new(3, 0x41), Some(m));
        assert_eq!(Message::new(3, 0x0f), None);
        assert_eq!(Message::new(255, 0x41), None, "that would be everybody");
        assert_eq!(Message::new(256, 0x41), None);
    }

    #[test]
    fn a_table_is_where_its_registers_say() {
        let layout = Layout { bar: 4, offset: 0x2000, entries: 8 };
        assert_eq!(Layout::decode(0x8007, 0x2004), Some(layout));
        assert_eq!(Layout::decode(0x07ff, 0).map(|l| l.entries), Some(2048));
        assert_eq!(Layout::decode(0, 6), None);
        assert_eq!(Layout::decode(0xffff, 0), None);
    }
}
