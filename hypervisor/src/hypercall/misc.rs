//! The small hypercalls of PV guests: traps, stacks, segments, debug registers, timer, assists.

use super::table::operations;
use super::{Args, Call, Caller};
use crate::util::{index, low16, low32};
use crate::vcpu::{Trap, Vcpu};
use abi::pv::{SegmentBase, TrapInfo};
use abi::xen::VmassistCmd;
use abi::{Errno, xen};
use core::sync::atomic::Ordering::Relaxed;
use machine::fpu;
use machine::guest;
use machine::hot::guest_code;

/// `set_trap_table(traps)`: a list that ends with address 0; NULL clears the table.
pub fn set_trap_table(caller: &mut Caller, a: &mut Args) -> Call {
    let [list, ..] = *a.all();
    if list == 0 {
        caller.vcpu.traps.lock().fill(Trap::default());
        return Ok(0);
    }
    let mut at = list;
    // A vector may come twice, but no table needs more entries than there are vectors.
    for _ in 0..=256u32 {
        let t: TrapInfo = guest::read(at)?;
        if t.address == 0 {
            return Ok(0);
        }
        // One in the hypervisor's range ends the guest when it is used.
        if !fpu::is_canonical(t.address) {
            return Err(Errno::EINVAL.into());
        }
        let trap = Trap { address: t.address, cs: t.cs, flags: t.flags };
        if let Some(slot) = caller.vcpu.traps.lock().get_mut(usize::from(t.vector)) {
            *slot = trap;
        }
        at = at.wrapping_add(16);
    }
    Err(Errno::EINVAL.into())
}

/// `stack_switch(ss, sp)`.
pub fn stack_switch(caller: &mut Caller, a: &mut Args) -> Call {
    let [ss, sp, ..] = *a.all();
    caller.vcpu.kernel_ss.store(low16(ss | 3), Relaxed);
    caller.vcpu.hot.set_kernel_sp(sp);
    Ok(0)
}

/// `set_segment_base(which, base)`.
pub fn set_segment_base(_: &mut Caller, a: &mut Args) -> Call {
    let [which, base, ..] = *a.all();
    let which = low32(which);
    if SegmentBase(which) == SegmentBase::GS_USER_SEL {
        fpu::set_user_gs_selector(low16(base));
        return Ok(0);
    }
    if !fpu::is_canonical(base) {
        return Err(Errno::EINVAL.into());
    }
    match SegmentBase(which) {
        SegmentBase::FS => fpu::set_fs_base(base),
        SegmentBase::GS_USER => fpu::set_gs_base_other(base),
        SegmentBase::GS_KERNEL => fpu::set_gs_base(base),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// `fpu_taskswitch(set)`.
pub fn fpu_taskswitch(caller: &mut Caller, a: &mut Args) -> Call {
    let set = a.all()[0] & 0xffff_ffff != 0;
    caller.vcpu.task_switched.store(set, Relaxed);
    machine::cpu::set_task_switched(set);
    Ok(0)
}

/// `set_debugreg(register, value)`.
pub fn set_debugreg(caller: &mut Caller, a: &mut Args) -> Call {
    let [register, value, ..] = *a.all();
    set_debug_register(caller, register, value)?;
    Ok(0)
}

/// Which debug register a number means: 4 and 5 are 6 and 7, unless the guest has turned that off.
fn debug_register(v: &Vcpu, number: u64) -> Result<u64, Errno> {
    let aliases = v.cr4.load(Relaxed) & machine::cpu::cr4::DE == 0;
    match number {
        0..=3 | 6 | 7 => Ok(number),
        4 | 5 if aliases => Ok(number.wrapping_add(2)),
        _ => Err(Errno::ENODEV),
    }
}

/// Sets a debug register of the running vCPU.
pub fn set_debug_register(caller: &Caller, register: u64, value: u64) -> Result<(), Errno> {
    let register = debug_register(caller.vcpu, low32(register).into())?;
    let value = match register {
        0..=3 if guest_code(value) => value,
        6 => value & 0xffff_efff | 0xffff_0ff0,
        // No general detection, no I/O breakpoints (their length would be reserved).
        7 if value >> 32 == 0 => value & !(1 << 13) | 0x400,
        7 => return Err(Errno::EINVAL),
        _ => return Err(Errno::EPERM),
    };
    let mut d = caller.vcpu.debug.lock();
    if let Some(slot) = d.get_mut(index(register)) {
        *slot = value;
    }
    let [a, b, c, e, .., control] = *d;
    let enabled = control & 0xff != 0;
    if enabled || register == 7 {
        crate::cpus::this().debug_loaded.store(enabled, Relaxed);
        machine::cpu::load_debug_registers([a, b, c, e], control);
    }
    Ok(())
}

/// `get_debugreg(register)`.
pub fn get_debugreg(caller: &mut Caller, a: &mut Args) -> Call {
    let register = debug_register(caller.vcpu, low32(a.all()[0]).into())?;
    Ok(caller.vcpu.debug.lock().get(index(register)).copied().unwrap_or(0))
}

/// `set_timer_op(deadline)`: 0 stops the timer.
pub fn set_timer_op(caller: &mut Caller, a: &mut Args) -> Call {
    let deadline = a.all()[0];
    crate::timer::set_singleshot(caller.vcpu, if deadline == 0 { u64::MAX } else { deadline });
    Ok(0)
}

/// The modes of `vm_assist` that are known, one bit each.
pub const KNOWN_ASSISTS: u64 = 1 << xen::VMASST_TYPE_WRITABLE_PAGETABLES
    | 1 << xen::VMASST_TYPE_ARCHITECTURAL_IOPL
    | 1 << xen::VMASST_TYPE_RUNSTATE_UPDATE_FLAG;

/// `vm_assist(command, type)`.
pub fn vm_assist(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, kind, ..] = *a.all();
    let kind = u32::try_from(kind).ok().filter(|&k| k < 64).ok_or(Errno::EINVAL)?;
    if KNOWN_ASSISTS >> kind & 1 == 0 {
        return Err(Errno::EINVAL.into());
    }
    let bit = 1u64.wrapping_shl(kind);
    let command = low32(command);
    operations! { match vm_assist(VmassistCmd(command)) {
        VmassistCmd::ENABLE [] => caller.domain.assists.fetch_or(bit, Relaxed),
        VmassistCmd::DISABLE [] => caller.domain.assists.fetch_and(!bit, Relaxed),
        _ [ENOSYS] => return Err(Errno::ENOSYS.into()),
    } };
    Ok(0)
}
