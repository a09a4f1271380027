//! What of the machine a domain may touch.

use super::{Answer, Reply, part};
use crate::domain::Domain;
use abi::Errno;
use abi::domctl::{GSI_GRANT, GsiPermission, IomemPermission, IoportPermission, IrqPermission};
use alloc::sync::Arc;

/// Greatest frame number that an x86 machine can have, plus one.
const MAX_MFN: u64 = 1 << 40;
const PORTS: u64 = 1 << 16;

/// `XEN_DOMCTL_irq_permission`.
pub fn interrupt(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let p: IrqPermission = part(u)?;
    if p.pirq >= crate::irq::DOM0_PIRQS {
        return Err(Errno::EINVAL.into());
    }
    d.permissions.lock().set_interrupt(p.pirq, p.allow_access != 0)?;
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_gsi_permission`.
pub fn gsi(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let p: GsiPermission = part(u)?;
    if p.flags & !GSI_GRANT != 0 || !machine::ioapic::exists(p.gsi) {
        return Err(Errno::EINVAL.into());
    }
    d.permissions.lock().set_interrupt(p.gsi, p.flags & GSI_GRANT != 0)?;
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_iomem_permission`.
pub fn memory(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let p: IomemPermission = part(u)?;
    let last = last_of(p.first_mfn, p.nr_mfns, MAX_MFN)?;
    d.permissions.lock().set_memory((p.first_mfn, last), p.allow_access != 0)?;
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_ioport_permission`.
pub fn ports(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let p: IoportPermission = part(u)?;
    if p.nr_ports == 0 {
        return Ok(Reply::Nothing);
    }
    let last = last_of(u64::from(p.first_port), u64::from(p.nr_ports), PORTS)?;
    d.permissions.lock().set_ports((u64::from(p.first_port), last), p.allow_access != 0)?;
    Ok(Reply::Nothing)
}

/// The last of `count` numbers from `first` on, all below `end`.
fn last_of(first: u64, count: u64, end: u64) -> Result<u64, Errno> {
    let last = first.checked_add(count.checked_sub(1).ok_or(Errno::EINVAL)?);
    last.filter(|&l| l < end).ok_or(Errno::EINVAL)
}
