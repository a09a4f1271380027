//! `physdev_op`: interrupts, ports and PCI devices, for dom0.

use super::table::operations;
use super::{Args, Call, Caller, Stop};
use crate::irq::{self, Source};
use crate::util::{low8, low16};
use abi::physdev::{
    Apic, Eoi, GetFreePirq, IRQSTAT_NEEDS_EOI, Irq, IrqStatusQuery, MapPirq, MapPirqType,
    PciDevice, PciDeviceAdd, PciMmcfgReserved, PhysdevCmd, SetIobitmap, SetIopl, SetupGsi,
    UnmapPirq,
};
use abi::{Errno, Pirq};
use core::sync::atomic::Ordering::Relaxed;
use machine::acpi::McfgEntry;
use machine::msi::{Msi, Msix};
use machine::pci::Sbdf;
use machine::{guest, ioapic};

/// `physdev_op(command, argument)`.
pub fn physdev_op(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, arg, ..] = *a.all();
    let command = PhysdevCmd(crate::util::low32(command));
    operations! { match physdev_op(command) {
        PhysdevCmd::EOI [EFAULT EINVAL] => {
            let e: Eoi = guest::read(arg)?;
            irq::eoi(caller.domain, Pirq(e.irq))?;
        },
        PhysdevCmd::IRQ_STATUS_QUERY [EFAULT EINVAL] => irq_status(arg)?,
        PhysdevCmd::SET_IOPL [EFAULT EINVAL] => {
            let s: SetIopl = guest::read(arg)?;
            if s.iopl > 3 {
                return Err(Errno::EINVAL.into());
            }
            caller.vcpu.iopl.store(low8(s.iopl.into()), Relaxed);
        },
        PhysdevCmd::SET_IOBITMAP [EFAULT EINVAL] => {
            let s: SetIobitmap = guest::read(arg)?;
            if s.nr_ports > 65_536 {
                return Err(Errno::EINVAL.into());
            }
            *caller.vcpu.io_bitmap.lock() = (s.bitmap.addr(), s.nr_ports);
        },
        _ [EPERM] => {
            super::need_privilege(caller)?;
            privileged(caller, command, arg)?;
        }
    } }
    Ok(0)
}

fn privileged(caller: &Caller, command: PhysdevCmd, arg: u64) -> Result<(), Stop> {
    operations! { match physdev_op(command) {
        PhysdevCmd::APIC_READ [EFAULT EINVAL] => apic_read(arg)?,
        // Lines are set up by their own calls; raw writes could aim interrupts anywhere.
        PhysdevCmd::APIC_WRITE [!ok EPERM] => return Err(Errno::EPERM.into()),
        PhysdevCmd::ALLOC_IRQ_VECTOR [EFAULT] => {
            let r: Irq = guest::read(arg)?;
            guest::write(arg, &Irq { vector: r.irq, ..r })?;
        },
        PhysdevCmd::SETUP_GSI [EFAULT EINVAL EEXIST ENOSPC ENOMEM] => {
            let s: SetupGsi = guest::read(arg)?;
            let gsi = u32::try_from(s.gsi).map_err(|_| Errno::EINVAL)?;
            irq::setup_gsi(gsi, s.triggering != 0, s.polarity != 0)?;
        },
        PhysdevCmd::MAP_PIRQ [EFAULT ESRCH EOPNOTSUPP EINVAL ENODEV EEXIST ENOSPC ENOMEM]
            => map_pirq(caller, arg)?,
        PhysdevCmd::UNMAP_PIRQ [EFAULT EINVAL EBUSY] => {
            let u: UnmapPirq = guest::read(arg)?;
            let pirq = u32::try_from(u.pirq).map_err(|_| Errno::EINVAL)?;
            irq::unmap(Pirq(pirq))?;
        },
        PhysdevCmd::GET_FREE_PIRQ [EFAULT ENOSPC] => {
            let mut g: GetFreePirq = guest::read(arg)?;
            g.pirq = irq::any_free_pirq().ok_or(Errno::ENOSPC)?.0;
            guest::write(arg, &g)?;
        },
        PhysdevCmd::PCI_DEVICE_ADD [EFAULT] => {
            let d: PciDeviceAdd = guest::read(arg)?;
            report(d.seg, d.bus, d.devfn, "add");
        },
        PhysdevCmd::PCI_DEVICE_REMOVE [EFAULT] => {
            let d: PciDevice = guest::read(arg)?;
            report(d.seg, d.bus, d.devfn, "remove");
        },
        PhysdevCmd::PCI_MMCFG_RESERVED [EFAULT ENODEV] => config_window(&guest::read(arg)?)?,
        _ [ENOSYS] => return Err(Errno::ENOSYS.into()),
    } }
    Ok(())
}

fn irq_status(arg: u64) -> Result<(), Stop> {
    let mut q: IrqStatusQuery = guest::read(arg)?;
    if q.irq >= irq::DOM0_PIRQS {
        return Err(Errno::EINVAL.into());
    }
    q.flags = if irq::needs_eoi(Pirq(q.irq)) { IRQSTAT_NEEDS_EOI } else { 0 };
    guest::write(arg, &q)?;
    Ok(())
}

/// dom0 knows a window of configuration space. All that the firmware tells of are used already.
fn config_window(window: &PciMmcfgReserved) -> Result<(), Errno> {
    let tables = machine::acpi::tables().ok_or(Errno::ENODEV)?;
    let known = |m: &McfgEntry| m.base == window.address && m.segment == window.segment;
    if tables.mcfg.iter().any(known) { Ok(()) } else { Err(Errno::ENODEV) }
}

fn apic_read(arg: u64) -> Result<(), Stop> {
    let mut r: Apic = guest::read(arg)?;
    let index = ioapic::index_at(r.apic_physbase).ok_or(Errno::EINVAL)?;
    let register = u8::try_from(r.reg).map_err(|_| Errno::EINVAL)?;
    r.value = ioapic::read(index, register).ok_or(Errno::EINVAL)?;
    guest::write(arg, &r)?;
    Ok(())
}

fn report(segment: u16, bus: u8, devfn: u8, what: &str) {
    crate::info!("PCI {what} device {segment:04x}:{bus:02x}:{:02x}.{}", devfn >> 3, devfn & 7);
}

fn map_pirq(caller: &Caller, arg: u64) -> Result<(), Stop> {
    let mut m: MapPirq = guest::read(arg)?;
    if super::target(caller, m.domid)?.id != caller.domain.id {
        // Passing devices through needs an IOMMU, which is not driven yet.
        return Err(Errno::EOPNOTSUPP.into());
    }
    let wanted = u32::try_from(m.pirq).ok().map(Pirq);
    let pirq = match m.kind {
        MapPirqType::GSI => {
            let gsi = u32::try_from(m.index).map_err(|_| Errno::EINVAL)?;
            if !ioapic::exists(gsi) || wanted.is_some_and(|p| p.0 != gsi) {
                return Err(Errno::EINVAL.into());
            }
            Pirq(gsi)
        }
        MapPirqType::MSI | MapPirqType::MSI_SEG => irq::map_message(message(&m)?, wanted)?,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    m.pirq = pirq.0.cast_signed();
    guest::write(arg, &m)?;
    Ok(())
}

/// The message source that a request names.
fn message(m: &MapPirq) -> Result<Source, Errno> {
    let bus = u64::from(m.bus.cast_unsigned());
    let devfn = low8(m.devfn.cast_unsigned().into());
    let at = Sbdf::new(low16(bus >> 16), low8(bus), devfn >> 3, devfn & 7);
    if m.table_base == 0 {
        return Ok(Source::Msi(Msi::find(at).ok_or(Errno::ENODEV)?));
    }
    let table = Msix::find(at).ok_or(Errno::ENODEV)?;
    let entry = u16::try_from(m.entry_nr).map_err(|_| Errno::EINVAL)?;
    if entry >= table.entries() {
        return Err(Errno::EINVAL);
    }
    Ok(Source::MsiX(table, entry))
}
