//! `platform_op`: dom0's way to the machine.

mod cpus;
mod firmware;
mod memory_types;
mod power;

use super::table::operations;
use super::{Args, Call, Caller};
use abi::Errno;
use abi::platform::{PlatformCmd, PlatformOp, SetTime32, SetTime64, XENPF_INTERFACE_VERSION};
use machine::guest;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `platform_op(operation)`.
pub fn platform_op(caller: &mut Caller, a: &mut Args) -> Call {
    super::need_privilege(caller)?;
    let at = a.all()[0];
    let mut op: PlatformOp = guest::read(at)?;
    if op.interface_version != XENPF_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    operations! { match platform_op(op.cmd) {
        PlatformCmd::SETTIME64 [EINVAL] => {
            let t = part::<SetTime64>(&op)?;
            if t.mbz != 0 {
                return Err(Errno::EINVAL.into());
            }
            crate::time::set_wall_clock(t.secs, u64::from(t.nsecs), t.system_time);
        },
        PlatformCmd::SETTIME32 [] => {
            let t = part::<SetTime32>(&op)?;
            crate::time::set_wall_clock(u64::from(t.secs), u64::from(t.nsecs), t.system_time);
        },
        PlatformCmd::ENTER_ACPI_SLEEP [EOPNOTSUPP ENODEV] => power::enter_sleep(&part(&op)?)?,
        PlatformCmd::SET_PROCESSOR_PMINFO [ENOSYS EFAULT EINVAL]
            => power::processor_info(&part(&op)?)?,
        PlatformCmd::GET_CPUINFO [EFAULT] => answer(at, &mut op, cpus::info)?,
        PlatformCmd::GET_CPU_VERSION [EFAULT] => answer(at, &mut op, cpus::version)?,
        PlatformCmd::READ_MEMTYPE [EINVAL EFAULT] => answer(at, &mut op, memory_types::read)?,
        PlatformCmd::FIRMWARE_INFO [ESRCH ENOSYS EINVAL EFAULT]
            => answer(at, &mut op, firmware::info)?,
        PlatformCmd::GET_SYMBOL [ENOSYS ERANGE EFAULT] => answer(at, &mut op, firmware::symbol)?,
        _ [ENOSYS] => return Err(Errno::ENOSYS.into()),
    } }
    Ok(0)
}

/// The structure of the command.
fn part<T: FromBytes>(op: &PlatformOp) -> Result<T, Errno> {
    T::read_from_prefix(op.u.as_bytes()).map(|(t, _)| t).map_err(|_| Errno::EINVAL)
}

/// Runs a command that fills its structure, and hands that to the guest.
fn answer<T: FromBytes + IntoBytes + Immutable>(
    at: u64,
    op: &mut PlatformOp,
    f: impl FnOnce(&mut T) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut t = part::<T>(op)?;
    f(&mut t)?;
    if let Some(room) = op.u.as_mut_bytes().get_mut(..size_of::<T>()) {
        room.copy_from_slice(t.as_bytes());
    }
    guest::write(at, op).map_err(|_| Errno::EFAULT)
}
