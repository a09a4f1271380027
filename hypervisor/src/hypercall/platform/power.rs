//! Power: sleep states, and what dom0's ACPI interpreter found out about processors.

use abi::Errno;
use abi::platform::{EnterAcpiSleep, PM_PDC, SetProcessorPminfo};
use machine::{guest, port};

/// Sleep type bits and the enable bit of the PM1 control registers.
const SLEEP_ENABLE: u16 = 1 << 13;

/// Powers off (S5); other states are not offered.
pub(super) fn enter_sleep(s: &EnterAcpiSleep) -> Result<(), Errno> {
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

/// Revision of the `_PDC` buffer that is understood (ACPI 3.0, 8.4.1).
const PDC_REVISION: u32 = 1;
/// Abilities that concern power, performance and throttling states, for `_PDC`'s first word: of
/// these an operating system may claim what it does itself. All others are the hypervisor's.
const PDC_OWN: u32 = 0x1 | 0x20 | 0x800 // performance
    | 0x2 | 0x10 | 0x40 | 0x100 | 0x200 // power
    | 0x4 | 0x80 // throttling
    | 0x8; // different C1 states for each processor

/// `set_processor_pminfo`. The hypervisor drives no frequencies and enters no state deeper than HLT,
/// so that tables of states have no taker; dom0's abilities are limited to those that it may use.
pub(super) fn processor_info(p: &SetProcessorPminfo) -> Result<(), Errno> {
    if p.kind != PM_PDC {
        return Err(Errno::ENOSYS);
    }
    let [at, ..] = p.u;
    let [revision, count, abilities]: [u32; 3] = guest::read(at).map_err(|_| Errno::EFAULT)?;
    if revision != PDC_REVISION || count == 0 {
        return Err(Errno::EINVAL);
    }
    guest::write(at.wrapping_add(8), &(abilities & PDC_OWN)).map_err(|_| Errno::EFAULT)
}
