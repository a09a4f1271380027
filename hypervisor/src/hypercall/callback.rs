//! `callback_op` and its older form: where a guest's kernel is entered.

use super::table::operations;
use super::{Args, Call, Caller};
use crate::util::low32;
use crate::vcpu::Vcpu;
use abi::Errno;
use abi::callback::{
    CALLBACKF_MASK_EVENTS, CallbackCmd, CallbackRegister, CallbackType, CallbackUnregister,
};
use core::sync::atomic::Ordering::Relaxed;
use machine::guest;
use machine::hot::guest_code;

/// `callback_op(command, argument)`.
pub fn callback_op(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, arg, ..] = *a.all();
    let command = low32(command);
    operations! { match callback_op(CallbackCmd(command)) {
        CallbackCmd::REGISTER [EFAULT EINVAL ENOSYS] => register(caller, arg),
        CallbackCmd::UNREGISTER [EFAULT EINVAL ENOSYS] => unregister(caller, arg),
        _ [ENOSYS] => Err(Errno::ENOSYS.into()),
    } }
}

fn register(caller: &Caller, arg: u64) -> Call {
    let r: CallbackRegister = guest::read(arg)?;
    let masks = r.flags & CALLBACKF_MASK_EVENTS != 0;
    set(caller.vcpu, r.kind, r.address, masks)?;
    Ok(0)
}

fn unregister(caller: &Caller, arg: u64) -> Call {
    let r: CallbackUnregister = guest::read(arg)?;
    match r.kind {
        CallbackType::NMI => set(caller.vcpu, r.kind, 0, false)?,
        CallbackType::EVENT | CallbackType::FAILSAFE | CallbackType::SYSCALL => {
            return Err(Errno::EINVAL.into());
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

/// `set_callbacks(event, failsafe, syscall)`. Xen says nothing of an address that is refused.
pub fn set_callbacks(caller: &mut Caller, a: &mut Args) -> Call {
    let [event, failsafe, syscall, ..] = *a.all();
    set(caller.vcpu, CallbackType::EVENT, event, true)?;
    set(caller.vcpu, CallbackType::FAILSAFE, failsafe, false)?;
    set(caller.vcpu, CallbackType::SYSCALL, syscall, false)?;
    Ok(0)
}

/// Sets an entry point; refused when it is no address that a guest can run at.
pub fn set(v: &Vcpu, kind: CallbackType, address: u64, masks: bool) -> Result<(), Errno> {
    if address != 0 && !guest_code(address) {
        return Err(Errno::EINVAL);
    }
    let other = |i: usize| {
        if let Some(slot) = v.other_callbacks.get(i) {
            slot.store(address, Relaxed);
        }
    };
    match kind {
        CallbackType::EVENT => v.event_callback.store(address, Relaxed),
        CallbackType::FAILSAFE => {
            v.failsafe_callback.store(address, Relaxed);
            v.failsafe_masks.store(masks, Relaxed);
        }
        CallbackType::SYSCALL => {
            v.hot.set_syscall_entry(address, masks);
        }
        CallbackType::NMI => {
            if let Some(t) = v.traps.lock().get_mut(2) {
                t.address = address;
                t.flags = 4;
            }
        }
        CallbackType::SYSENTER => other(0),
        CallbackType::SYSCALL32 => other(1),
        _ => return Err(Errno::ENOSYS),
    }
    Ok(())
}
