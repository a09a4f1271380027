//! `event_channel_op`.

use super::table::operations;
use super::{Args, Call, Caller, Stop};
use crate::domain::{self, Domain};
use crate::event_memory::EventMemory;
use crate::evtchn::follow_up;
use crate::frames::pages;
use crate::util::{low8, low32};
use abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVcpu, BindVirq, EvtchnCmd, EvtchnStat,
    ExpandArray, InitControl, PortArg, Reset, SetPriority, Status,
};
use abi::{DomId, Errno, Mfn, Pirq, Port, VcpuId};
use alloc::sync::Arc;
use events::{Bindings, Closed, Events, NotClosed, Peer, State};
use machine::guest;
use pages::{Budget, Kind};

/// Ports closed in one go.
const RESET_BATCH: u32 = 64;

/// `event_channel_op(command, argument)`.
pub fn event_channel_op(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, arg, ..] = *a.all();
    let d = caller.domain;
    let command = low32(command);
    operations! { match event_channel_op(EvtchnCmd(command)) {
        EvtchnCmd::SEND [EFAULT EINVAL] => {
            let p: PortArg = guest::read(arg)?;
            crate::evtchn::send(d, Port(p.port))?;
        },
        EvtchnCmd::UNMASK [EFAULT EINVAL] => {
            let p: PortArg = guest::read(arg)?;
            let raised = d.events.unmask(Port(p.port))?;
            follow_up(d, raised, Some(Port(p.port)));
        },
        EvtchnCmd::ALLOC_UNBOUND [EFAULT EPERM ESRCH ENOSPC ENOMEM] => {
            let mut b: AllocUnbound = guest::read(arg)?;
            let owner = super::target(caller, b.dom)?;
            let remote = if b.remote_dom == DomId::SELF.0 { d.id.0 } else { b.remote_dom };
            let port = owner.events.alloc_unbound(&mut owner.bindings.lock(), DomId(remote))?;
            b.port = port.0;
            guest::write(arg, &b)?;
        },
        EvtchnCmd::BIND_INTERDOMAIN [EFAULT ESRCH EINVAL ENOSPC ENOMEM] => {
            let mut b: BindInterdomain = guest::read(arg)?;
            b.local_port = bind_interdomain(d, b.remote_dom, Port(b.remote_port))?.0;
            guest::write(arg, &b)?;
        },
        EvtchnCmd::BIND_VIRQ [EFAULT EPERM EINVAL ENOENT EEXIST ENOSPC ENOMEM] => {
            let mut b: BindVirq = guest::read(arg)?;
            b.port = bind_virq(d, b.virq.0, VcpuId(b.vcpu))?.0;
            guest::write(arg, &b)?;
        },
        EvtchnCmd::BIND_IPI [EFAULT ENOENT ENOSPC ENOMEM] => {
            let mut b: BindIpi = guest::read(arg)?;
            b.port = d.events.bind_ipi(&mut d.bindings.lock(), VcpuId(b.vcpu))?.0;
            guest::write(arg, &b)?;
        },
        EvtchnCmd::BIND_PIRQ [EFAULT EINVAL EEXIST EPERM EBUSY ENOSPC ENOMEM] => {
            let mut b: BindPirq = guest::read(arg)?;
            b.port = bind_pirq(d, Pirq(b.pirq), b.flags)?.0;
            guest::write(arg, &b)?;
        },
        EvtchnCmd::CLOSE [EFAULT EINVAL] => {
            let p: PortArg = guest::read(arg)?;
            close(d, Port(p.port))?;
        },
        EvtchnCmd::STATUS [EFAULT EPERM ESRCH EINVAL] => status(caller, arg)?,
        EvtchnCmd::BIND_VCPU [EFAULT EINVAL ENOENT] => {
            let b: BindVcpu = guest::read(arg)?;
            d.events.bind_vcpu(&mut d.bindings.lock(), Port(b.port), VcpuId(b.vcpu))?;
        },
        EvtchnCmd::SET_PRIORITY [EFAULT ENOSYS EINVAL] => {
            let s: SetPriority = guest::read(arg)?;
            d.events.set_priority(&mut d.bindings.lock(), Port(s.port), s.priority)?;
        },
        EvtchnCmd::INIT_CONTROL [EFAULT EINVAL ENOENT ENOMEM] => init_control(d, arg)?,
        EvtchnCmd::EXPAND_ARRAY [EFAULT EINVAL EOPNOTSUPP ENOSPC ENOMEM]
            => expand_array(d, &guest::read(arg)?)?,
        EvtchnCmd::RESET [EFAULT EPERM ESRCH] => {
            let r: Reset = guest::read(arg)?;
            let target = super::target(caller, r.dom)?;
            reset(&target)?;
        },
        _ [ENOSYS] => return Err(Errno::ENOSYS.into()),
    } }
    Ok(0)
}

/// Whether a virtual interrupt is the machine's, not a vCPU's.
pub fn is_machine_virq(virq: u32) -> bool {
    matches!(virq, 2..=4 | 6 | 8..=12)
}

fn bind_virq(d: &Arc<Domain>, virq: u32, vcpu: VcpuId) -> Result<Port, Errno> {
    // Those of the machine are for whoever was made their handler. Xen lets others bind them, to
    // whom they never come.
    if is_machine_virq(virq) {
        let handler = domain::VIRQ_HANDLERS
            .get(virq as usize)
            .map_or(0, |h| h.load(core::sync::atomic::Ordering::Relaxed));
        if u32::from(d.id.0) != handler && !d.privileged {
            return Err(Errno::EPERM);
        }
    }
    d.events.bind_virq(&mut d.bindings.lock(), virq, vcpu)
}

/// Locks two domains' bindings in the order of their ids.
fn with_both<R>(
    a: &Arc<Domain>,
    b: &Arc<Domain>,
    f: impl FnOnce(&mut Bindings, &mut Bindings) -> R,
) -> R {
    if a.id.0 < b.id.0 {
        let mut la = a.bindings.lock();
        let mut lb = b.bindings.lock();
        f(&mut la, &mut lb)
    } else {
        let mut lb = b.bindings.lock();
        let mut la = a.bindings.lock();
        f(&mut la, &mut lb)
    }
}

/// Connects a port.
pub fn bind_interdomain(d: &Arc<Domain>, remote: u16, port: Port) -> Result<Port, Errno> {
    let remote = if remote == DomId::SELF.0 { d.id } else { DomId(remote) };
    let (port, raised) = if remote == d.id {
        d.events.bind_interdomain(&mut d.bindings.lock(), remote, port, Peer::None)?
    } else {
        let other = domain::by_id(remote).ok_or(Errno::ESRCH)?;
        with_both(d, &other, |mine, theirs| {
            d.events.bind_interdomain(mine, remote, port, Peer::Other(&other.events, theirs))
        })?
    };
    follow_up(d, raised, Some(port));
    Ok(port)
}

fn bind_pirq(d: &Arc<Domain>, pirq: Pirq, flags: u32) -> Result<Port, Errno> {
    let port = d.events.bind_pirq(&mut d.bindings.lock(), pirq)?;
    if let Err(e) = crate::irq::bind(d, pirq, flags & abi::event_channel::BIND_PIRQ_WILL_SHARE != 0)
    {
        // Nobody else knows the port yet; closing it cannot need another domain.
        let _ = d.events.close(&mut d.bindings.lock(), port, Peer::None);
        return Err(e);
    }
    Ok(port)
}

/// Closes a port, whatever it is connected to.
pub fn close(d: &Arc<Domain>, port: Port) -> Result<(), Errno> {
    // The other end may change while its lock is being taken: once more then.
    for _ in 0..64u32 {
        let first = d.events.close(&mut d.bindings.lock(), port, Peer::None);
        let needs = match first {
            Ok(closed) => return after_close(d, closed),
            Err(NotClosed::Refused(e)) => return Err(e),
            Err(NotClosed::Needs(id)) => id,
        };
        let Some(other) = domain::by_id(needs) else { return Err(Errno::EINVAL) };
        let second = with_both(d, &other, |mine: &mut Bindings, theirs: &mut Bindings| {
            close_with(&d.events, mine, port, &other.events, theirs)
        });
        match second {
            Ok(closed) => return after_close(d, closed),
            Err(NotClosed::Refused(e)) => return Err(e),
            Err(NotClosed::Needs(_)) => {}
        }
    }
    Err(Errno::EAGAIN)
}

fn close_with(
    mine: &Events<EventMemory>,
    lock: &mut Bindings,
    port: Port,
    theirs: &Events<EventMemory>,
    their_lock: &mut Bindings,
) -> Result<Closed, NotClosed> {
    mine.close(lock, port, Peer::Other(theirs, their_lock))
}

fn after_close(d: &Arc<Domain>, closed: Closed) -> Result<(), Errno> {
    if let Some(pirq) = closed.pirq {
        crate::irq::unbind(d, pirq);
    }
    Ok(())
}

fn status(caller: &Caller, arg: u64) -> Result<(), Stop> {
    let mut s: Status = guest::read(arg)?;
    let d = super::target(caller, s.dom)?;
    let found = d.events.status(Port(s.port))?;
    s.status = EvtchnStat(found.status);
    s.vcpu = found.vcpu.0;
    s.u = match found.state {
        State::Unbound(dom) => [u32::from(dom.0), 0],
        State::Interdomain(dom, port) => [u32::from(dom.0), port.0],
        State::Pirq(pirq) => [pirq.0, 0],
        State::Virq(virq) => [virq, 0],
        _ => [0, 0],
    };
    guest::write(arg, &s)?;
    Ok(())
}

/// Holds a guest page for the FIFO ABI for as long as the domain lives.
fn hold(d: &Arc<Domain>, gfn: u64) -> Result<Mfn, Errno> {
    let mfn = Mfn(gfn);
    let mut budget = Budget::new(16);
    let page = pages().get_typed(mfn, d.id, Kind::Writable, &mut budget);
    let page = page.map_err(|_| Errno::EINVAL)?;
    let mut held = d.event_pages.lock();
    if held.try_reserve(1).is_err() {
        let _ = pages().put_typed(page, &mut budget);
        return Err(Errno::ENOMEM);
    }
    held.push(page);
    Ok(mfn)
}

fn init_control(d: &Arc<Domain>, arg: u64) -> Result<(), Stop> {
    let mut i: InitControl = guest::read(arg)?;
    let vcpu = VcpuId(i.vcpu);
    d.events.init_control(&mut d.bindings.lock(), vcpu, i.offset, || {
        let mfn = hold(d, i.control_gfn)?;
        d.events.memory().set_control(vcpu, mfn, i.offset as usize)
    })?;
    i.link_bits = low8(u64::from(abi::event_channel::FIFO_LINK_BITS));
    guest::write(arg, &i)?;
    Ok(())
}

fn expand_array(d: &Arc<Domain>, e: &ExpandArray) -> Result<(), Stop> {
    d.events.expand_array(
        &mut d.bindings.lock(),
        |page| {
            let mfn = hold(d, e.array_gfn)?;
            d.events.memory().set_words(page, mfn)
        },
        |port, raised| follow_up(d, raised, Some(port)),
    )?;
    Ok(())
}

/// Closes all ports, and goes back to the two-level ABI; `Again` when there are more.
pub fn reset(d: &Arc<Domain>) -> Result<(), Stop> {
    close_all(d)?;
    drop_fifo(d);
    Ok(())
}

/// Closes all ports; `Again` when there are more.
pub fn close_all(d: &Arc<Domain>) -> Result<(), Stop> {
    let mut from = Port(0);
    for _ in 0..RESET_BATCH {
        match d.events.next_open(from, 65_536) {
            Ok(Some(port)) => {
                close(d, port)?;
                from = port;
            }
            Ok(None) => return Ok(()),
            Err(next) => from = next,
        }
    }
    Err(Stop::Again)
}

/// Leaves the FIFO ABI, if the domain uses it: all ports are closed.
pub fn drop_fifo(d: &Arc<Domain>) {
    if d.events.is_fifo() {
        d.events.back_to_two_level(&mut d.bindings.lock());
        d.events.memory().drop_fifo();
    }
    release_pages(d);
}

/// Lets go of the FIFO ABI's pages, which no sender can be using any more.
pub fn release_pages(d: &Arc<Domain>) {
    let held = core::mem::take(&mut *d.event_pages.lock());
    for page in held {
        // A writable page's use has nothing to defer.
        let _ = pages().put_typed(page, &mut Budget::unlimited());
    }
}
