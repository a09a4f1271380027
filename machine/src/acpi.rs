//! ACPI tables: where the processors, interrupt controllers, timers and buses are.
//!
//! Only static tables are read; AML is dom0's business, and with it the sleep states' values.
//! What the firmware says is not trusted further than its checksums: a bad table is one that is
//! not there, a bad entry ends or is left out of its list. Offsets are those of the ACPI
//! specification 6.5: RSDP 5.2.5, MADT 5.2.12, FADT 5.2.9; HPET and MCFG of their own documents.

use crate::mmio::{Bytes, Rom};
use crate::once::Once;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Longest table that is looked at.
const MAX_TABLE: usize = 1 << 20;
/// Bytes of a table's header.
const HEADER: usize = 36;

/// A list with room for `N`; what comes after that is dropped, and [`List::dropped`] counts it.
#[derive(Clone, Copy, Debug)]
pub struct List<T, const N: usize> {
    items: [T; N],
    count: usize,
    dropped: usize,
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    fn new() -> Self {
        List { items: [T::default(); N], count: 0, dropped: 0 }
    }

    fn push(&mut self, item: T) {
        match self.items.get_mut(self.count) {
            Some(slot) => {
                *slot = item;
                self.count = self.count.wrapping_add(1);
            }
            None => self.dropped = self.dropped.saturating_add(1),
        }
    }

    /// How many did not find room.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}

impl<T, const N: usize> core::ops::Deref for List<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.items.get(..self.count).unwrap_or(&[])
    }
}

/// A processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// Its local APIC's identifier.
    pub apic_id: u32,
    /// What the namespace calls it.
    pub processor_uid: u32,
    /// It can be started now.
    pub enabled: bool,
    /// It can be plugged in later.
    pub online_capable: bool,
    /// Described as an x2APIC.
    pub x2apic: bool,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoApicEntry {
    /// Identifier.
    pub id: u8,
    /// Physical address of its registers.
    pub addr: u32,
    /// The interrupt (GSI) of its first pin.
    pub gsi_base: u32,
}

/// Polarity and trigger mode of an interrupt line, each as the bus has it when `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineFlags {
    /// Active low (else high).
    pub active_low: Option<bool>,
    /// Level-triggered (else edge).
    pub level: Option<bool>,
}

impl LineFlags {
    /// MPS INTI flags: bits 0 and 1 polarity, 2 and 3 trigger; 1 high or edge, 3 low or level.
    fn from_mps(flags: u16) -> LineFlags {
        let decode = |v: u16| match v & 3 {
            1 => Some(false),
            3 => Some(true),
            _ => None,
        };
        LineFlags { active_low: decode(flags), level: decode(flags >> 2) }
    }
}

/// An ISA interrupt that is not where, or not as, it would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// ISA interrupt.
    pub source_irq: u8,
    /// The GSI that it arrives at.
    pub gsi: u32,
    /// How.
    pub flags: LineFlags,
}

/// A local APIC pin that NMIs are wired to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalNmi {
    /// The processor, `None` for all.
    pub processor_uid: Option<u32>,
    /// Pin: 0 or 1.
    pub lint: u8,
    /// How.
    pub flags: LineFlags,
}

/// Multiple APIC description table.
#[derive(Clone, Copy, Debug)]
pub struct Madt {
    /// Physical address of the local APICs.
    pub lapic_addr: u64,
    /// There are 8259 controllers to be silenced.
    pub has_8259: bool,
    /// Processors, the first one usually the one that boots.
    pub cpus: List<Processor, 128>,
    /// I/O APICs.
    pub ioapics: List<IoApicEntry, 16>,
    /// Exceptions for ISA interrupts.
    pub overrides: List<Override, 24>,
    /// NMI pins.
    pub nmis: List<LocalNmi, 16>,
}

/// A register somewhere, as FADT's 12-byte generic addresses say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenericAddress {
    /// 0 memory, 1 I/O ports, 2 PCI configuration space.
    pub space: u8,
    /// Bits.
    pub width: u8,
    /// Address in that space; 0 for a register that is not there.
    pub address: u64,
}

/// Fixed ACPI description table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fadt {
    /// The system control interrupt: an ISA interrupt or GSI.
    pub sci_irq: u16,
    /// Port to write [`Fadt::acpi_enable`] to; 0 for none.
    pub smi_cmd: u32,
    /// Value that turns ACPI mode on.
    pub acpi_enable: u8,
    /// Event registers.
    pub pm1a_evt: GenericAddress,
    /// Event registers, second block.
    pub pm1b_evt: GenericAddress,
    /// Control registers.
    pub pm1a_cnt: GenericAddress,
    /// Control registers, second block.
    pub pm1b_cnt: GenericAddress,
    /// Bytes of an event block.
    pub pm1_evt_len: u8,
    /// The power management timer.
    pub pm_timer: GenericAddress,
    /// It has 32 bits, else 24.
    pub pm_timer_32bit: bool,
    /// CMOS register of the century; 0 for none.
    pub century: u8,
    /// Fixed feature flags.
    pub flags: u32,
    /// IA-PC boot architecture flags: bit 0 legacy devices, bit 1 8042, bit 5 no CMOS clock.
    pub boot_flags: u16,
    /// Reset register, when the flags say that there is one.
    pub reset: Option<(GenericAddress, u8)>,
    /// Physical address of the FACS, 0 for none.
    pub facs: u64,
    /// Physical address of the DSDT.
    pub dsdt: u64,
}

/// A part of PCI configuration space in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct McfgEntry {
    /// Physical address of bus 0 (also when the first bus is another).
    pub base: u64,
    /// Segment.
    pub segment: u16,
    /// First bus.
    pub bus_start: u8,
    /// Last bus.
    pub bus_end: u8,
}

/// Where a table lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRange {
    /// Its four letters.
    pub signature: [u8; 4],
    /// Physical address.
    pub phys: u64,
    /// Bytes.
    pub len: u32,
}

/// What of the tables matters here.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// Physical address of the root pointer.
    pub rsdp: u64,
    /// Interrupt controllers.
    pub madt: Option<Madt>,
    /// Fixed hardware.
    pub fadt: Option<Fadt>,
    /// Physical address of the event timer's registers.
    pub hpet: Option<u64>,
    /// Memory-mapped configuration space.
    pub mcfg: List<McfgEntry, 8>,
    ranges: List<TableRange, 48>,
}

impl Tables {
    /// Every table that the root table lists, and those that the FADT adds.
    pub fn ranges(&self) -> &[TableRange] {
        &self.ranges
    }
}

static TABLES: Once<Tables> = Once::new();
/// Where the boot loader said that the root pointer is; 0 when it said nothing.
static HINT: AtomicU64 = AtomicU64::new(0);

/// Takes the boot loader's word for where the root pointer is (multiboot 2, PVH, EFI), before
/// [`tables`] is called first. If there is none, it is searched for nevertheless. Memory is read
/// there, never written, and believed only with the right checksums.
pub fn set_rsdp(phys: u64) {
    HINT.store(phys, Relaxed);
}

/// The tables, found and read at the first call; `None` on a machine without ACPI.
pub fn tables() -> Option<&'static Tables> {
    if TABLES.get().is_none() {
        TABLES.set(find_and_read()?);
    }
    TABLES.get()
}

/// Physical address of the root pointer.
pub fn rsdp_phys() -> Option<u64> {
    tables().map(|t| t.rsdp)
}

/// Where the root pointer says the root table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Root {
    phys: u64,
    /// Its entries have eight bytes (XSDT), else four (RSDT).
    wide: bool,
}

/// Reads a root pointer, whose bytes `b` are.
fn parse_rsdp(b: &(impl Bytes + ?Sized)) -> Option<Root> {
    if b.array::<8>(0)? != *b"RSD PTR " || !b.sums_to_zero(20) {
        return None;
    }
    if b.u8(15)? >= 2 {
        let len = usize::try_from(b.u32(20)?).ok()?;
        let xsdt = b.u64(24)?;
        if (36..=4096).contains(&len) && xsdt != 0 && b.sums_to_zero(len.min(b.len())) {
            return Some(Root { phys: xsdt, wide: true });
        }
    }
    Some(Root { phys: u64::from(b.u32(16)?), wide: false }).filter(|r| r.phys != 0)
}

/// A window of `inner` from `start` on.
struct Part<'a, B: ?Sized> {
    inner: &'a B,
    start: usize,
}

impl<B: Bytes + ?Sized> Bytes for Part<'_, B> {
    fn len(&self) -> usize {
        self.inner.len().saturating_sub(self.start)
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.inner.u8(self.start.checked_add(at)?)
    }
}

/// Looks for the root pointer in a piece of memory, on its 16-byte boundaries.
fn scan(area: &(impl Bytes + ?Sized)) -> Option<(usize, Root)> {
    let mut start = 0;
    while start < area.len() {
        if area.u8(start) == Some(b'R')
            && let Some(root) = parse_rsdp(&Part { inner: area, start })
        {
            return Some((start, root));
        }
        start = start.wrapping_add(16);
    }
    None
}

fn find_rsdp() -> Option<(u64, Root)> {
    let hint = HINT.load(Relaxed);
    if hint != 0
        && let Some(root) = Rom::map(hint, 36).and_then(|b| parse_rsdp(&b))
    {
        return Some((hint, root));
    }
    // The BIOS data area holds the EBDA's segment at 0x40e.
    let ebda = Rom::map(0x40e, 2).and_then(|b| b.u16(0)).map_or(0, |s| u64::from(s) << 4);
    let areas = [(ebda, 0x400), (0xe_0000, 0x2_0000)];
    areas.into_iter().filter(|a| (0x400..0x10_0000).contains(&a.0)).find_map(|(phys, len)| {
        let (at, root) = scan(&Rom::map(phys, len)?)?;
        Some((phys.wrapping_add(u64::try_from(at).ok()?), root))
    })
}

/// Where the table that begins at `phys` lies.
fn range_of(phys: u64) -> Option<TableRange> {
    if phys == 0 {
        return None;
    }
    let head = Rom::map(phys, 8)?;
    let (signature, len) = (head.array::<4>(0)?, head.u32(4)?);
    (HEADER..=MAX_TABLE).contains(&usize::try_from(len).ok()?).then_some(TableRange {
        signature,
        phys,
        len,
    })
}

/// Maps a table that is to be read, if its sum is right.
fn map_table(range: &TableRange) -> Option<Rom> {
    let len = usize::try_from(range.len).ok()?;
    Rom::map(range.phys, len).filter(|table| table.sums_to_zero(len))
}

fn find_and_read() -> Option<Tables> {
    let (rsdp, root) = find_rsdp()?;
    let mut tables =
        Tables { rsdp, madt: None, fadt: None, hpet: None, mcfg: List::new(), ranges: List::new() };
    let range = range_of(root.phys)?;
    let list = map_table(&range)?;
    if range.signature != if root.wide { *b"XSDT" } else { *b"RSDT" } {
        return None;
    }
    tables.ranges.push(range);
    let step = if root.wide { 8 } else { 4 };
    for i in 0..48usize {
        let at = HEADER.wrapping_add(i.wrapping_mul(step));
        let phys = if root.wide { list.u64(at) } else { list.u32(at).map(u64::from) };
        let Some(phys) = phys else { break };
        if let Some(range) = range_of(phys) {
            // One that is bad reads as absent.
            let _ = tables.take(range);
        }
    }
    if let Some(f) = tables.fadt {
        for range in [f.dsdt, f.facs].into_iter().filter_map(range_of) {
            tables.ranges.push(range);
        }
    }
    Some(tables)
}

impl Tables {
    /// Takes over what one table says. Of two of a kind the first counts.
    fn take(&mut self, range: TableRange) -> Option<()> {
        self.ranges.push(range);
        match &range.signature {
            b"APIC" if self.madt.is_none() => self.madt = parse_madt(&map_table(&range)?),
            b"FACP" if self.fadt.is_none() => self.fadt = parse_fadt(&map_table(&range)?),
            b"HPET" if self.hpet.is_none() => self.hpet = parse_hpet(&map_table(&range)?),
            b"MCFG" if self.mcfg.is_empty() => self.mcfg = parse_mcfg(&map_table(&range)?),
            _ => {}
        }
        Some(())
    }
}

fn parse_madt(b: &(impl Bytes + ?Sized)) -> Option<Madt> {
    let mut madt = Madt {
        lapic_addr: u64::from(b.u32(36)?),
        has_8259: b.u32(40)? & 1 != 0,
        cpus: List::new(),
        ioapics: List::new(),
        overrides: List::new(),
        nmis: List::new(),
    };
    let mut start = 44usize;
    while let (Some(kind), Some(len)) = (b.u8(start), b.u8(start.wrapping_add(1))) {
        if len < 2 || start.wrapping_add(usize::from(len)) > b.len() {
            break;
        }
        // An entry too short for its kind is left out.
        let _ = madt.take(kind, len, &Part { inner: b, start });
        start = start.wrapping_add(usize::from(len));
    }
    Some(madt)
}

impl Madt {
    /// Adds a processor unless it was there: some firmware lists those with small identifiers
    /// both ways.
    fn add(&mut self, cpu: Processor) {
        if !self.cpus.iter().any(|c| c.apic_id == cpu.apic_id) {
            self.cpus.push(cpu);
        }
    }

    fn take(&mut self, kind: u8, len: u8, e: &impl Bytes) -> Option<()> {
        let long_enough = |n: u8| (len >= n).then_some(());
        let uid = |uid: u32, all: u32| (uid != all).then_some(uid);
        match kind {
            0 => {
                long_enough(8)?;
                let id = e.u8(3)?;
                let cpu = processor(id.into(), e.u8(2)?.into(), e.u32(4)?, false);
                // 255 addresses everybody.
                if id != 0xff {
                    self.add(cpu);
                }
            }
            1 => {
                long_enough(12)?;
                let (id, addr, gsi_base) = (e.u8(2)?, e.u32(4)?, e.u32(8)?);
                self.ioapics.push(IoApicEntry { id, addr, gsi_base });
            }
            2 => {
                long_enough(10)?;
                let flags = LineFlags::from_mps(e.u16(8)?);
                // Bus 0 is ISA; there is no other.
                if e.u8(2)? == 0 {
                    self.overrides.push(Override { source_irq: e.u8(3)?, gsi: e.u32(4)?, flags });
                }
            }
            4 => {
                long_enough(6)?;
                let flags = LineFlags::from_mps(e.u16(3)?);
                let processor_uid = uid(e.u8(2)?.into(), 0xff);
                self.nmis.push(LocalNmi { processor_uid, lint: e.u8(5)? & 1, flags });
            }
            5 => {
                long_enough(12)?;
                self.lapic_addr = e.u64(4)?;
            }
            9 => {
                long_enough(16)?;
                let id = e.u32(4)?;
                if id != u32::MAX {
                    self.add(processor(id, e.u32(12)?, e.u32(8)?, true));
                }
            }
            10 => {
                long_enough(12)?;
                let flags = LineFlags::from_mps(e.u16(2)?);
                let processor_uid = uid(e.u32(4)?, u32::MAX);
                self.nmis.push(LocalNmi { processor_uid, lint: e.u8(8)? & 1, flags });
            }
            _ => {}
        }
        Some(())
    }
}

fn processor(apic_id: u32, processor_uid: u32, flags: u32, x2apic: bool) -> Processor {
    let (enabled, online_capable) = (flags & 1 != 0, flags & 2 != 0);
    Processor { apic_id, processor_uid, enabled, online_capable, x2apic }
}

fn parse_hpet(b: &(impl Bytes + ?Sized)) -> Option<u64> {
    let block = generic_address(b, 40)?;
    (block.space == 0 && block.address != 0).then_some(block.address)
}

fn parse_mcfg(b: &(impl Bytes + ?Sized)) -> List<McfgEntry, 8> {
    let mut list = List::new();
    // An entry of 16 bytes, from 44 on.
    for start in (44..b.len().saturating_sub(15)).step_by(16).take(64) {
        let e = Part { inner: b, start };
        let (Some(base), Some(segment), Some([bus_start, bus_end])) =
            (e.u64(0), e.u16(8), e.array::<2>(10))
        else {
            break;
        };
        if bus_start <= bus_end && base != 0 && base & 0xf_ffff == 0 {
            list.push(McfgEntry { base, segment, bus_start, bus_end });
        }
    }
    list
}

/// A generic address: space, bit width, bit offset, access size, address.
fn generic_address(b: &(impl Bytes + ?Sized), at: usize) -> Option<GenericAddress> {
    let [space, width, ..] = b.array::<4>(at)?;
    let address = b.u64(at.checked_add(4)?)?;
    Some(GenericAddress { space, width, address })
}

fn parse_fadt(b: &(impl Bytes + ?Sized)) -> Option<Fadt> {
    // Revision 1 ends at 116; what later revisions add reads as absent.
    let extended = |at: usize| generic_address(b, at).filter(|g| g.address != 0);
    let port = |at: usize, bytes: u8| {
        let address = u64::from(b.u32(at).unwrap_or(0));
        GenericAddress { space: 1, width: bytes.wrapping_mul(8), address }
    };
    let wide = |at: usize, narrow: usize| {
        b.u64(at).filter(|&a| a != 0).unwrap_or_else(|| b.u32(narrow).map_or(0, u64::from))
    };
    let (event, control) = (b.u8(88)?, b.u8(89)?);
    let flags = b.u32(112)?;
    let reset = extended(116).filter(|_| flags & 1 << 10 != 0).zip(b.u8(128));
    Some(Fadt {
        sci_irq: b.u16(46)?,
        smi_cmd: b.u32(48)?,
        acpi_enable: b.u8(52)?,
        pm1a_evt: extended(148).unwrap_or(port(56, event)),
        pm1b_evt: extended(160).unwrap_or(port(60, event)),
        pm1a_cnt: extended(172).unwrap_or(port(64, control)),
        pm1b_cnt: extended(184).unwrap_or(port(68, control)),
        pm1_evt_len: event,
        pm_timer: extended(208).unwrap_or(port(76, 4)),
        pm_timer_32bit: flags & 1 << 8 != 0,
        century: b.u8(108)?,
        boot_flags: b.u16(109)?,
        flags,
        reset,
        facs: wide(132, 36),
        dsdt: wide(140, 40),
    })
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]
#[path = "acpi_tests.rs"]
mod tests;
