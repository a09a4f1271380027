//! `platform_op`: dom0's way to the machine.

use super::{Args, Call, Caller};
use crate::cpus;
use abi::Errno;
use abi::platform::{
    EnterAcpiSleep, PCPU_FLAGS_INVALID, PCPU_FLAGS_ONLINE, PcpuInfo, PlatformCmd, PlatformOp,
    SetTime32, SetTime64, XENPF_INTERFACE_VERSION,
};
use core::sync::atomic::Ordering::Relaxed;
use machine::{guest, port};
use zerocopy::{FromBytes, IntoBytes};

/// `platform_op(operation)`.
pub fn platform_op(caller: &mut Caller, a: &mut Args) -> Call {
    super::need_privilege(caller)?;
    let at = a.all()[0];
    let mut op: PlatformOp = guest::read(at)?;
    if op.interface_version != XENPF_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    match op.cmd {
        PlatformCmd::SETTIME64 => {
            let t = part::<SetTime64>(&op)?;
            if t.mbz != 0 {
                return Err(Errno::EINVAL.into());
            }
            crate::time::set_wall_clock(t.secs, u64::from(t.nsecs), t.system_time);
        }
        PlatformCmd::SETTIME32 => {
            let t = part::<SetTime32>(&op)?;
            crate::time::set_wall_clock(u64::from(t.secs), u64::from(t.nsecs), t.system_time);
        }
        PlatformCmd::ENTER_ACPI_SLEEP => {
            enter_sleep(&part::<EnterAcpiSleep>(&op)?)?;
        }
        PlatformCmd::GET_CPUINFO => {
            let mut info = part::<PcpuInfo>(&op)?;
            cpu_info(&mut info);
            if let Some(b) = op.u.as_mut_bytes().get_mut(..info.as_bytes().len()) {
                b.copy_from_slice(info.as_bytes());
            }
            guest::write(at, &op)?;
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

fn part<T: FromBytes>(op: &PlatformOp) -> Result<T, Errno> {
    T::read_from_prefix(op.u.as_bytes()).map(|(t, _)| t).map_err(|_| Errno::EINVAL)
}

fn cpu_info(info: &mut PcpuInfo) {
    let madt = machine::acpi::tables().and_then(|t| t.madt.as_ref());
    let count = madt.map_or(1, |m| m.cpus.len());
    info.max_present = u32::try_from(count).unwrap_or(1).saturating_sub(1);
    let processor = madt.and_then(|m| m.cpus.get(info.xen_cpuid as usize));
    match processor {
        Some(p) => {
            let runs =
                cpus::online().iter().any(|c| cpus::get(c).apic_id.load(Relaxed) == p.apic_id);
            info.flags = if runs { PCPU_FLAGS_ONLINE } else { 0 };
            info.apic_id = p.apic_id;
            info.acpi_id = p.processor_uid;
        }
        None => {
            info.flags = PCPU_FLAGS_INVALID;
            info.apic_id = u32::MAX;
            info.acpi_id = u32::MAX;
        }
    }
}

/// Sleep type bits and the enable bit of the PM1 control registers.
const SLEEP_ENABLE: u16 = 1 << 13;

/// Powers off (S5); other states are not offered.
fn enter_sleep(s: &EnterAcpiSleep) -> Result<(), Errno> {
    if s.sleep_state != 5 || s.flags != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let fadt = machine::acpi::tables().and_then(|t| t.fadt.as_ref()).ok_or(Errno::ENODEV)?;
    crate::info!("Preparing system for ACPI S5 state.");
    crate::info!("Entering ACPI S5 state.");
    let io_port =
        |g: &machine::acpi::GenericAddress| u16::try_from(g.address).ok().filter(|&p| p != 0);
    for (register, value) in [(&fadt.pm1a_cnt, s.val_a), (&fadt.pm1b_cnt, s.val_b)] {
        if let Some(p) = io_port(register) {
            port::outw(p, value | SLEEP_ENABLE);
        }
    }
    // The machine should be off by now.
    crate::shutdown::halt()
}
