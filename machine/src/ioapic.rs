//! The I/O APICs, and how interrupt lines reach them.
//!
//! A line has a number of its own across all of them, the GSI. Registers are reached through an
//! index and a data window, so each access to one controller takes its lock. Intel 82093AA data
//! sheet.
//!
//! Ending a level-triggered interrupt: the local APIC's end of interrupt is broadcast and lets the
//! line be looked at again. If the guest that serves the line has not quieted it by then it comes
//! again at once; so mask it, end it locally, and unmask when the guest says it is done; or end it
//! locally only then.

use crate::acpi::{LineFlags, Madt};
use crate::lock::Lock;
use crate::mmio::Registers;
use crate::port::outb;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Controllers that can be driven.
pub const MAX_IOAPICS: usize = 16;
/// GSIs that can be driven.
pub const MAX_GSIS: usize = 512;
/// Interrupts of the ISA bus.
pub const ISA_IRQS: u8 = 16;

const INDEX: usize = 0x00;
const WINDOW: usize = 0x10;
const REG_ID: u8 = 0;
const REG_VERSION: u8 = 1;
/// Low word of the first pin's entry; the high word follows.
const REG_PINS: u8 = 0x10;

const ACTIVE_LOW: u32 = 1 << 13;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

/// One controller.
struct IoApic {
    registers: Lock<Option<Registers>>,
    /// Facts, set by [`init`].
    gsi_base: AtomicU32,
    pins: AtomicU32,
    phys: AtomicU32,
}

static IOAPICS: [IoApic; MAX_IOAPICS] = [const {
    IoApic {
        registers: Lock::new(None),
        gsi_base: AtomicU32::new(0),
        pins: AtomicU32::new(0),
        phys: AtomicU32::new(0),
    }
}; MAX_IOAPICS];
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The low word of each GSI's entry as it was last written, so that masking need not read it.
static SHADOW: [AtomicU32; MAX_GSIS] = [const { AtomicU32::new(MASKED) }; MAX_GSIS];
/// For each ISA interrupt its GSI, with flags as in an entry.
static ISA: [AtomicU32; ISA_IRQS as usize] =
    [const { AtomicU32::new(u32::MAX) }; ISA_IRQS as usize];

fn read_register(registers: &Registers, n: u8) -> u32 {
    registers.write32(INDEX, n.into());
    registers.read32(WINDOW)
}

fn write_register(registers: &Registers, n: u8, value: u32) {
    registers.write32(INDEX, n.into());
    registers.write32(WINDOW, value);
}

/// Register of `pin`'s low word.
fn pin_register(pin: u8) -> u8 {
    REG_PINS.wrapping_add(pin.wrapping_mul(2))
}

/// Maps all controllers, masks all their pins, and silences the 8259s, once, at boot. Returns how
/// many there are.
pub fn init(madt: &Madt) -> usize {
    if count() != 0 {
        return count();
    }
    silence_8259();
    for (slot, entry) in IOAPICS.iter().zip(madt.ioapics.iter()) {
        COUNT.fetch_add(1, Relaxed);
        // One that cannot be reached keeps its number, without pins.
        let Some(registers) = Registers::map(entry.addr.into(), 0x20) else { continue };
        let version = read_register(&registers, REG_VERSION);
        if version == u32::MAX {
            continue;
        }
        let pins = (version >> 16 & 0xff).wrapping_add(1).min(120);
        for pin in 0..u8::try_from(pins).unwrap_or(0) {
            write_register(&registers, pin_register(pin), MASKED);
            write_register(&registers, pin_register(pin).wrapping_add(1), 0);
        }
        slot.gsi_base.store(entry.gsi_base, Relaxed);
        slot.phys.store(entry.addr, Relaxed);
        slot.pins.store(pins, Relaxed);
        *slot.registers.lock() = Some(registers);
    }
    for (irq, slot) in (0..ISA_IRQS).zip(&ISA) {
        slot.store(pack(isa_route(madt, irq)), Relaxed);
    }
    COUNT.load(Relaxed)
}

/// Initialises both 8259s to vectors that no exception has, and masks them.
fn silence_8259() {
    for (base, vector, wiring) in [(0x20u16, 0x20u8, 4u8), (0xa0, 0x28, 2)] {
        let data = base.wrapping_add(1);
        outb(data, 0xff);
        outb(base, 0x11);
        for word in [vector, wiring, 0x01, 0xff] {
            outb(data, word);
        }
    }
}

/// How an interrupt line is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub gsi: u32,
    /// Level-triggered, else edge.
    pub level: bool,
    /// Active low, else high.
    pub active_low: bool,
}

/// The line of an ISA interrupt: as the tables say, else of the same number, edge, active high.
fn isa_route(madt: &Madt, irq: u8) -> Line {
    let found = madt.overrides.iter().find(|o| o.source_irq == irq);
    let (gsi, flags) = found.map_or((irq.into(), LineFlags::default()), |o| (o.gsi, o.flags));
    let level = flags.level.unwrap_or(false);
    Line { gsi, level, active_low: flags.active_low.unwrap_or(false) }
}

/// GSI in bits 0 to 15, bit 30 active low, bit 31 level; a GSI that is out of range reads as all
/// ones.
fn pack(line: Line) -> u32 {
    if line.gsi > 0xffff {
        return u32::MAX;
    }
    line.gsi | u32::from(line.active_low) << 30 | u32::from(line.level) << 31
}

/// The line of an ISA interrupt (0 to 15).
pub fn gsi_for_isa(irq: u8) -> Option<Line> {
    let packed = ISA.get(usize::from(irq))?.load(Relaxed);
    (packed != u32::MAX).then_some(Line {
        gsi: packed & 0xffff,
        level: packed >> 31 != 0,
        active_low: packed >> 30 & 1 != 0,
    })
}

/// Number of controllers.
pub fn count() -> usize {
    COUNT.load(Relaxed).min(MAX_IOAPICS)
}

/// The first GSI above all that exist.
pub fn gsi_count() -> u32 {
    let end = |a: &IoApic| match a.pins.load(Relaxed) {
        0 => 0,
        pins => a.gsi_base.load(Relaxed).saturating_add(pins),
    };
    let limit = u32::try_from(MAX_GSIS).unwrap_or(0);
    IOAPICS.iter().map(end).max().unwrap_or(0).min(limit)
}

/// The controller and pin of a GSI, and its shadow.
#[inline]
fn find(gsi: u32) -> Option<(&'static IoApic, u8, &'static AtomicU32)> {
    let shadow = SHADOW.get(usize::try_from(gsi).ok()?)?;
    let apic = IOAPICS.iter().take(COUNT.load(Relaxed)).find(|a| {
        gsi.checked_sub(a.gsi_base.load(Relaxed)).is_some_and(|pin| pin < a.pins.load(Relaxed))
    })?;
    let pin = u8::try_from(gsi.wrapping_sub(apic.gsi_base.load(Relaxed))).ok()?;
    Some((apic, pin, shadow))
}

/// Whether there is such a line.
pub fn exists(gsi: u32) -> bool {
    find(gsi).is_some()
}

/// Sends a line's interrupts as `vector` (at least 0x10) to the CPU with APIC identifier `dest` (8
/// bits). `false`, and nothing is done, when there is no such line or CPU.
pub fn route(line: Line, vector: u8, dest: u32, masked: bool) -> bool {
    let Some((apic, pin, shadow)) = find(line.gsi) else { return false };
    if dest > 0xff || vector < 0x10 {
        return false;
    }
    let low = u32::from(vector)
        | if line.active_low { ACTIVE_LOW } else { 0 }
        | if line.level { LEVEL } else { 0 }
        | if masked { MASKED } else { 0 };
    let guard = apic.registers.lock();
    let Some(registers) = guard.as_ref() else { return false };
    let n = pin_register(pin);
    // Masked while its halves do not belong together.
    write_register(registers, n, low | MASKED);
    write_register(registers, n.wrapping_add(1), dest << 24);
    if !masked {
        write_register(registers, n, low);
    }
    shadow.store(low, Relaxed);
    true
}

/// Changes one bit of a pin's low word.
#[inline]
fn set_masked(gsi: u32, masked: bool) -> bool {
    let Some((apic, pin, shadow)) = find(gsi) else { return false };
    let guard = apic.registers.lock();
    let Some(registers) = guard.as_ref() else { return false };
    let old = shadow.load(Relaxed);
    let new = if masked { old | MASKED } else { old & !MASKED };
    if new != old {
        write_register(registers, pin_register(pin), new);
        shadow.store(new, Relaxed);
    }
    true
}

/// Holds a line's interrupts back: a level is remembered by the device, an edge is lost. `false`
/// when there is no such line.
#[inline]
pub fn mask(gsi: u32) -> bool {
    set_masked(gsi, true)
}

/// Lets a line's interrupts through again; only for lines that [`route`] was called for.
#[inline]
pub fn unmask(gsi: u32) -> bool {
    let routed = SHADOW
        .get(usize::try_from(gsi).unwrap_or(usize::MAX))
        .is_some_and(|s| s.load(Relaxed) & 0xff >= 0x10);
    routed && set_masked(gsi, false)
}

/// Sends a routed line to another CPU. What is in flight still arrives at the old one.
pub fn retarget(gsi: u32, dest: u32) -> bool {
    let Some((apic, pin, _)) = find(gsi) else { return false };
    let guard = apic.registers.lock();
    match guard.as_ref() {
        Some(registers) if dest <= 0xff => {
            write_register(registers, pin_register(pin).wrapping_add(1), dest << 24);
            true
        }
        _ => false,
    }
}

/// Masks every line: before another kernel takes over.
pub fn mask_all() {
    for gsi in 0..gsi_count() {
        mask(gsi);
    }
}

/// The controller whose registers are at `phys`.
pub fn index_at(phys: u64) -> Option<usize> {
    IOAPICS
        .iter()
        .take(count())
        .position(|a| a.pins.load(Relaxed) != 0 && u64::from(a.phys.load(Relaxed)) == phys)
}

/// Reads a register of controller `index` as dom0 may: identifier, version, arbitration, and the
/// pins' entries.
pub fn read(index: usize, register: u8) -> Option<u32> {
    let apic = IOAPICS.get(index)?;
    let pins = apic.pins.load(Relaxed);
    let last = u32::from(REG_PINS).saturating_add(pins.saturating_mul(2));
    let known = register <= 2 || (u32::from(REG_PINS)..last).contains(&register.into());
    let guard = apic.registers.lock();
    guard.as_ref().filter(|_| known).map(|r| read_register(r, register))
}

/// Identifier of controller `index`, as its register has it.
pub fn id(index: usize) -> Option<u8> {
    u8::try_from(read(index, REG_ID)? >> 24 & 0xff).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_their_packing() {
        for gsi in [0, 1, 255, 0xffff] {
            for (level, active_low) in [(false, false), (true, false), (false, true)] {
                let line = Line { gsi, level, active_low };
                ISA[3].store(pack(line), Relaxed);
                assert_eq!(gsi_for_isa(3), Some(line));
            }
        }
        ISA[3].store(pack(Line { gsi: 0x1_0000, level: false, active_low: false }), Relaxed);
        assert_eq!(gsi_for_isa(3), None);
        assert_eq!(gsi_for_isa(16), None);
    }

    #[test]
    fn a_line_belongs_to_the_controller_whose_range_holds_it() {
        for (apic, (base, pins)) in IOAPICS.iter().zip([(0, 24), (24, 0), (32, 8)]) {
            apic.gsi_base.store(base, Relaxed);
            apic.pins.store(pins, Relaxed);
        }
        COUNT.store(3, Relaxed);
        assert_eq!(find(0).map(|f| f.1), Some(0));
        assert_eq!(find(23).map(|f| f.1), Some(23));
        assert_eq!(find(24).map(|f| f.1), None);
        assert_eq!(find(39).map(|f| f.1), Some(7));
        assert_eq!(find(40).map(|f| f.1), None);
        assert_eq!(find(u32::MAX).map(|f| f.1), None);
        assert_eq!(gsi_count(), 40);
        // No registers behind them: nothing pretends to have worked.
        assert!(!route(Line { gsi: 3, level: false, active_low: false }, 0x40, 0, true));
        assert!(!unmask(3));
        assert_eq!(read(0, 1), None);
    }
}
