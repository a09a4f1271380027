//! `sched_op`: yield, block, poll, shut down.

use super::table::operations;
use super::{Args, Call, Caller, Stop};
use crate::util::low32;
use abi::sched::{Poll, RemoteShutdown, SchedCmd, Shutdown, ShutdownReason};
use abi::{Errno, Port};
use core::sync::atomic::Ordering::{AcqRel, Release, SeqCst};
use machine::guest;

/// `sched_op(command, argument)`.
pub fn sched_op(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, arg, ..] = *a.all();
    let command = low32(command);
    operations! { match sched_op(SchedCmd(command)) {
        SchedCmd::YIELD [] => crate::schedule::yield_now(),
        SchedCmd::BLOCK [] => block(caller),
        SchedCmd::SHUTDOWN [EFAULT] => shutdown(caller, &guest::read(arg)?),
        SchedCmd::SHUTDOWN_CODE [EFAULT] => {
            let s: Shutdown = guest::read(arg)?;
            caller.domain.shutdown_code(s.reason.0);
        },
        SchedCmd::POLL [EFAULT EINVAL] => poll(caller, &guest::read(arg)?)?,
        SchedCmd::REMOTE_SHUTDOWN [EPERM EFAULT ESRCH] => remote_shutdown(caller, arg)?,
        _ [ENOSYS] => return Err(Errno::ENOSYS.into()),
    } }
    Ok(0)
}

fn shutdown(caller: &Caller, s: &Shutdown) {
    crate::info!("d{}v{} shuts down: {}", caller.domain.id, caller.vcpu.id, name(s.reason));
    if let (ShutdownReason::CRASH, Some(regs)) = (s.reason, caller.regs) {
        crate::panic::crashed(caller.domain.id, caller.vcpu.id, regs);
    }
    caller.domain.shut_down(s.reason.0);
}

fn remote_shutdown(caller: &Caller, arg: u64) -> Result<(), Stop> {
    let r: RemoteShutdown = guest::read(arg)?;
    let d = super::target(caller, r.domain_id)?;
    super::need_privilege(caller)?;
    d.shut_down(r.reason.0);
    Ok(())
}

fn name(reason: ShutdownReason) -> &'static str {
    reason.name().unwrap_or("?")
}

/// Waits for an event, with events unmasked.
fn block(caller: &Caller) {
    let v = caller.vcpu;
    v.mask_events(false);
    // Sequentially consistent: an event that came before the flag was set has not seen it, and is
    // seen here.
    v.blocked.store(true, SeqCst);
    if v.upcall_pending() {
        v.blocked.store(false, Release);
    }
}

/// Waits until one of some ports is pending, or a time.
fn poll(caller: &Caller, p: &Poll) -> Result<(), Stop> {
    let (v, d) = (caller.vcpu, caller.domain);
    if p.nr_ports > 128 {
        return Err(Errno::EINVAL.into());
    }
    let port_at = |i: u32| -> Result<Port, guest::BadAddress> {
        guest::read(p.ports.addr().wrapping_add(u64::from(i).wrapping_mul(4))).map(Port)
    };
    let only = if p.nr_ports == 1 { Some(port_at(0)?) } else { None };
    d.pollers.fetch_add(1, AcqRel);
    v.poller.arm(only);
    v.blocked.store(true, SeqCst);
    // An event that is masked, as all are while a kernel polls for a lock, is no answer.
    let answered = v.event_pending() || {
        let mut found = false;
        for i in 0..p.nr_ports {
            match port_at(i).map_err(|_| Errno::EFAULT).and_then(|p| d.events.is_pending(p)) {
                Ok(pending) => found |= pending,
                Err(e) => {
                    end_poll(caller);
                    return Err(e.into());
                }
            }
        }
        found
    };
    if answered {
        end_poll(caller);
    } else if p.timeout != 0 {
        v.poll_deadline.store(p.timeout, Release);
        crate::timer::settle(v);
    }
    // `pollers` only says that somebody may poll; it is lowered when the vCPU runs again.
    v.polls.store(!answered, Release);
    Ok(())
}

fn end_poll(caller: &Caller) {
    caller.vcpu.poller_done();
    caller.vcpu.blocked.store(false, Release);
    caller.domain.pollers.fetch_sub(1, AcqRel);
}
