//! Interrupts: the hypervisor's own, and those that go on to a guest as PIRQs.
//!
//! A level-triggered line is masked at its I/O APIC when it fires and unmasked by the guest's
//! `PHYSDEVOP_eoi`; edges and messages need no answer.

use crate::cpus;
use crate::domain::Domain;
use abi::{Errno, Mfn, Pirq};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::Release};
use machine::apic::{self, Vectors};
use machine::ioapic::{self, Line};
use machine::lock::Lock;
use machine::msi::{Message, Msi, Msix};

/// Interrupts between CPUs.
pub const VECTOR_KICK: u8 = 0xfb;
const VECTOR_TIMER: u8 = 0xfa;
const VECTOR_SERIAL: u8 = 0xf0;
const VECTOR_ERROR: u8 = 0xfe;
const VECTOR_SPURIOUS: u8 = 0xff;
/// Vectors that devices get.
const FIRST_DEVICE_VECTOR: u8 = 0x30;
const LAST_DEVICE_VECTOR: u8 = 0xef;
/// PIRQs of dom0: GSIs first, then messages.
pub const DOM0_PIRQS: u32 = 256;

/// Where an interrupt comes from.
#[derive(Clone, Copy)]
pub enum Source {
    /// An I/O APIC's input.
    Gsi(Line),
    /// A device's message.
    Msi(Msi),
    /// One entry of a device's message table.
    MsiX(Msix, u16),
}

/// An interrupt that a guest may have.
struct Interrupt {
    vector: u8,
    source: Source,
    pirq: Pirq,
    /// Whose it is, while it is bound.
    bound: Option<Arc<Domain>>,
    /// It fired and waits for the guest's answer.
    waiting: bool,
}

static INTERRUPTS: Lock<alloc::vec::Vec<Interrupt>> = Lock::new(alloc::vec::Vec::new());

/// The line of the hypervisor's serial port, `u32::MAX` for none.
static SERIAL_LINE: AtomicU32 = AtomicU32::new(u32::MAX);

/// Whether a line is the hypervisor's own.
fn is_own_line(gsi: u32) -> bool {
    SERIAL_LINE.load(Relaxed) == gsi
}

/// An interrupt arrived.
pub fn handle(vector: u8) {
    match vector {
        VECTOR_TIMER => {
            cpus::this().deadline.store(u64::MAX, Release);
            cpus::this().timer_fired.store(true, Release);
        }
        VECTOR_KICK => machine::smp::serve(),
        VECTOR_SERIAL => crate::serial_input::receive(),
        VECTOR_ERROR => {
            let errors = apic::take_errors();
            crate::warning!("APIC error on CPU {}: {errors:#x}", machine::percpu::cpu_id());
        }
        VECTOR_SPURIOUS => return,
        FIRST_DEVICE_VECTOR..=LAST_DEVICE_VECTOR => device(vector),
        _ => crate::warning!("interrupt on vector {vector:#x}, which nobody has"),
    }
    apic::eoi();
}

fn device(vector: u8) {
    let (domain, pirq) = {
        let mut all = INTERRUPTS.lock();
        let Some(i) = all.iter_mut().find(|i| i.vector == vector) else { return };
        if let Source::Gsi(line) = i.source
            && line.level
        {
            ioapic::mask(line.gsi);
            i.waiting = true;
        }
        let Some(d) = i.bound.clone() else { return };
        (d, i.pirq)
    };
    if let Some(raised) = domain.events.raise_pirq(pirq) {
        crate::evtchn::follow_up(&domain, raised, None);
    }
}

fn free_vector(all: &[Interrupt]) -> Option<u8> {
    (FIRST_DEVICE_VECTOR..=LAST_DEVICE_VECTOR)
        .filter(|v| *v != 0x80 && *v != 0x82)
        .find(|v| all.iter().all(|i| i.vector != *v))
}

fn destination() -> u32 {
    cpus::get(0).apic_id.load(Relaxed)
}

/// `PHYSDEVOP_setup_gsi`: how a line is wired. The first word on it stands.
pub fn setup_gsi(gsi: u32, level: bool, active_low: bool) -> Result<(), Errno> {
    if !ioapic::exists(gsi) {
        return Err(Errno::EINVAL);
    }
    if is_own_line(gsi) {
        return Err(Errno::EEXIST);
    }
    let mut all = INTERRUPTS.lock();
    let line = Line { gsi, level, active_low };
    if all.iter().any(|i| matches!(i.source, Source::Gsi(l) if l.gsi == gsi)) {
        return Ok(());
    }
    add(&mut all, Source::Gsi(line), Pirq(gsi))?;
    Ok(())
}

fn add(all: &mut alloc::vec::Vec<Interrupt>, source: Source, pirq: Pirq) -> Result<(), Errno> {
    let vector = free_vector(all).ok_or(Errno::ENOSPC)?;
    all.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    if let Source::Gsi(line) = source {
        ioapic::route(line, vector, destination(), true);
    }
    all.push(Interrupt { vector, source, pirq, bound: None, waiting: false });
    Ok(())
}

/// A PIRQ for a message of a device; `None`: any that is free.
pub fn map_message(source: Source, wanted: Option<Pirq>) -> Result<Pirq, Errno> {
    let mut all = INTERRUPTS.lock();
    let taken = |p: Pirq| all.iter().any(|i| i.pirq == p);
    let first = ioapic::gsi_count();
    let pirq = match wanted {
        Some(p) if p.0 >= DOM0_PIRQS => return Err(Errno::EINVAL),
        Some(p) if taken(p) => return Err(Errno::EEXIST),
        Some(p) => p,
        None => free_pirq(&all, first).ok_or(Errno::ENOSPC)?,
    };
    add(&mut all, source, pirq)?;
    Ok(pirq)
}

fn free_pirq(all: &[Interrupt], first: u32) -> Option<Pirq> {
    // From the top, as Linux expects GSIs at the bottom.
    (first.max(16)..DOM0_PIRQS).rev().map(Pirq).find(|p| all.iter().all(|i| i.pirq != *p))
}

/// A PIRQ that is free now.
pub fn any_free_pirq() -> Option<Pirq> {
    free_pirq(&INTERRUPTS.lock(), ioapic::gsi_count())
}

/// Lets go of a PIRQ.
pub fn unmap(pirq: Pirq) -> Result<(), Errno> {
    let mut all = INTERRUPTS.lock();
    let at = all.iter().position(|i| i.pirq == pirq).ok_or(Errno::EINVAL)?;
    let Some(i) = all.get(at) else { return Err(Errno::EINVAL) };
    if i.bound.is_some() {
        return Err(Errno::EBUSY);
    }
    match i.source {
        // Lines stay known.
        Source::Gsi(_) => return Ok(()),
        Source::Msi(m) => m.set_enabled(false),
        Source::MsiX(m, n) => {
            m.set_masked(n, true);
        }
    }
    all.swap_remove(at);
    Ok(())
}

/// Gives an interrupt to a domain.
pub fn bind(d: &Arc<Domain>, pirq: Pirq, _share: bool) -> Result<(), Errno> {
    if !d.privileged {
        return Err(Errno::EPERM);
    }
    if is_own_line(pirq.0) {
        return Err(Errno::EBUSY);
    }
    let mut all = INTERRUPTS.lock();
    if !all.iter().any(|i| i.pirq == pirq) && ioapic::exists(pirq.0) {
        // Never set up: an ISA interrupt as it is wired by default.
        let isa = u8::try_from(pirq.0).ok().and_then(ioapic::gsi_for_isa);
        let line = isa.filter(|l| l.gsi == pirq.0).unwrap_or(Line {
            gsi: pirq.0,
            level: pirq.0 >= 16,
            active_low: pirq.0 >= 16,
        });
        add(&mut all, Source::Gsi(line), pirq)?;
    }
    let i = all.iter_mut().find(|i| i.pirq == pirq).ok_or(Errno::EINVAL)?;
    if i.bound.is_some() {
        return Err(Errno::EBUSY);
    }
    i.bound = Some(d.clone());
    i.waiting = false;
    let message = Message::new(destination(), i.vector).ok_or(Errno::EINVAL)?;
    match i.source {
        Source::Gsi(line) => {
            ioapic::unmask(line.gsi);
        }
        Source::Msi(m) => {
            m.set(message);
            m.set_masked(false);
            m.set_enabled(true);
        }
        Source::MsiX(m, n) => {
            m.set(n, message);
            m.set_masked(n, false);
            m.set_enabled(true);
        }
    }
    Ok(())
}

/// Takes an interrupt from a domain.
pub fn unbind(_d: &Arc<Domain>, pirq: Pirq) {
    let mut all = INTERRUPTS.lock();
    let Some(i) = all.iter_mut().find(|i| i.pirq == pirq) else { return };
    match i.source {
        Source::Gsi(line) => {
            ioapic::mask(line.gsi);
        }
        Source::Msi(m) => m.set_enabled(false),
        Source::MsiX(m, n) => {
            m.set_masked(n, true);
        }
    }
    i.bound = None;
    i.waiting = false;
}

/// `PHYSDEVOP_eoi`: the guest has handled it.
///
/// # Errors
/// `EINVAL`: it is no interrupt of this domain's.
pub fn eoi(d: &Arc<Domain>, pirq: Pirq) -> Result<(), Errno> {
    let mut all = INTERRUPTS.lock();
    // One that nobody has bound is dom0's, as all are that it has set up.
    let is_its =
        |i: &Interrupt| i.bound.as_ref().map_or(d.privileged, |owner| Arc::ptr_eq(owner, d));
    let i = all.iter_mut().find(|i| i.pirq == pirq && is_its(i)).ok_or(Errno::EINVAL)?;
    if let (true, Source::Gsi(line)) = (i.waiting, i.source) {
        i.waiting = false;
        if i.bound.is_some() {
            ioapic::unmask(line.gsi);
        }
    }
    Ok(())
}

/// Whether the guest must answer this interrupt.
pub fn needs_eoi(pirq: Pirq) -> bool {
    let all = INTERRUPTS.lock();
    let line = all.iter().find(|i| i.pirq == pirq).map(|i| i.source);
    matches!(line, Some(Source::Gsi(l)) if l.level)
}

/// What dom0 may do with a frame of I/O memory: not the local APIC; the I/O APICs, the event
/// timer and the message tables only to look at.
pub fn dom0_memory(mfn: Mfn) -> pages::Access {
    let tables = machine::acpi::tables();
    let madt = tables.and_then(|t| t.madt.as_ref());
    if madt.is_some_and(|m| m.lapic_addr >> 12 == mfn.0) {
        return pages::Access::None;
    }
    let ioapic = madt.is_some_and(|m| m.ioapics.iter().any(|i| u64::from(i.addr) >> 12 == mfn.0));
    let hpet = tables.and_then(|t| t.hpet).is_some_and(|h| h >> 12 == mfn.0);
    let table = INTERRUPTS.lock().iter().any(|i| match i.source {
        Source::MsiX(m, _) => {
            let first = m.table_phys() >> 12;
            let last =
                m.table_phys().wrapping_add(u64::from(m.entries()) << 4).wrapping_sub(1) >> 12;
            (first..=last).contains(&mfn.0)
        }
        _ => false,
    });
    if ioapic || hpet || table { pages::Access::ReadOnly } else { pages::Access::ReadWrite }
}

/// Ports that only the hypervisor uses: interrupt controllers, interval timer, its serial port,
/// the configuration address.
pub fn is_own_port(port: u16) -> bool {
    let serial = crate::options::options().console_port();
    matches!(port, 0x20 | 0x21 | 0xa0 | 0xa1 | 0x40..=0x43 | 0xcf8..=0xcff)
        || serial.is_some_and(|base| (base..base.saturating_add(8)).contains(&port))
}

/// Turns on the interrupts of this CPU.
pub fn init_cpu(cpu: usize) {
    let vectors = Vectors { spurious: VECTOR_SPURIOUS, timer: VECTOR_TIMER, error: VECTOR_ERROR };
    apic::init_this_cpu(vectors);
    cpus::get(cpu).apic_id.store(apic::id(), Relaxed);
}

/// Finds the interrupt controllers. `false` without them.
#[inline(never)]
pub fn init() -> bool {
    if !apic::init(crate::options::options().x2apic) {
        return false;
    }
    init_cpu(0);
    let Some(madt) = machine::acpi::tables().and_then(|t| t.madt.as_ref()) else { return false };
    let count = ioapic::init(madt);
    crate::info!(
        "{} I/O APIC(s), {} GSIs; local APIC by {}",
        count,
        ioapic::gsi_count(),
        if apic::is_x2apic() { "MSR (x2APIC)" } else { "memory" }
    );
    if let Some(t) = machine::acpi::tables() {
        machine::pci::init(&t.mcfg);
    }
    true
}

/// Lets the serial port interrupt.
pub fn init_serial() {
    let com = &crate::options::options().com1;
    if crate::options::options().console_port().is_none() || com.irq == 0 {
        return;
    }
    if let Some(line) = ioapic::gsi_for_isa(com.irq) {
        SERIAL_LINE.store(line.gsi, Relaxed);
        ioapic::route(line, VECTOR_SERIAL, destination(), false);
        crate::console::enable_input();
    }
}
