//! Binding and closing, case by case, with the errors that guests see.

use super::Domain;
use crate::{NotClosed, Peer, Poller, Raised, State, Status, Target, Virq};
use abi::{DomId, Errno, Pirq, Port, VcpuId};

fn domain() -> Domain {
    Domain::new(1, 4, 1023, 2)
}

#[test]
fn ports_are_given_out_from_one_upwards_and_the_lowest_free_one_again() {
    let mut d = domain();
    for n in 1..=5 {
        assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(0)), Ok(Port(n)));
    }
    let _ = d.events.close(&mut d.lock, Port(4), Peer::None).unwrap();
    let _ = d.events.close(&mut d.lock, Port(2), Peer::None).unwrap();
    assert_eq!(d.events.bind_ipi(&mut d.lock, VcpuId(1)), Ok(Port(2)));
    assert_eq!(d.events.bind_ipi(&mut d.lock, VcpuId(1)), Ok(Port(4)));
    assert_eq!(d.events.bind_ipi(&mut d.lock, VcpuId(1)), Ok(Port(6)));
}

#[test]
#[cfg_attr(miri, ignore = "goes through all of 131,072 ports")]
fn the_limit_of_ports_holds_in_either_abi() {
    let mut d = Domain::new(1, 1, 3, 1);
    for _ in 0..3 {
        d.events.alloc_unbound(&mut d.lock, DomId(0)).unwrap();
    }
    assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(0)), Err(Errno::ENOSPC));
    let mut d = Domain::new(1, 1, u32::MAX, 1);
    for _ in 1..4096 {
        d.events.alloc_unbound(&mut d.lock, DomId(0)).unwrap();
    }
    assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(0)), Err(Errno::ENOSPC));
    d.init_control(0).unwrap();
    for n in 4096..(1 << 17) {
        assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(0)), Ok(Port(n)));
    }
    assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(0)), Err(Errno::ENOSPC));
}

#[test]
fn without_memory_for_ports_allocation_says_so() {
    let mut memory = super::Fake::new(1, 0);
    memory.bucket_limit = 1;
    let events = crate::Events::new(DomId(1), memory).unwrap();
    let mut lock = crate::Bindings::new(DomId(1), 1023);
    for _ in 1..256 {
        events.alloc_unbound(&mut lock, DomId(0)).unwrap();
    }
    assert_eq!(events.alloc_unbound(&mut lock, DomId(0)), Err(Errno::ENOMEM));
    let _ = events.close(&mut lock, Port(7), Peer::None).unwrap();
    assert_eq!(events.alloc_unbound(&mut lock, DomId(0)), Ok(Port(7)));
}

#[test]
fn a_dying_domain_binds_nothing_but_can_close() {
    let mut d = domain();
    let port = d.events.alloc_unbound(&mut d.lock, DomId(0)).unwrap();
    d.lock.set_dying();
    assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(0)), Err(Errno::EINVAL));
    assert!(d.events.close(&mut d.lock, port, Peer::None).is_ok());
}

#[test]
fn the_reserved_port_and_free_ports_cannot_be_closed_sent_or_moved() {
    let mut d = domain();
    for port in [Port(0), Port(5), Port(100_000), Port(u32::MAX)] {
        let refused = Err(NotClosed::Refused(Errno::EINVAL));
        assert_eq!(d.events.close(&mut d.lock, port, Peer::None), refused);
        assert_eq!(d.events.send(port), Err(Errno::EINVAL));
        assert_eq!(d.events.bind_vcpu(&mut d.lock, port, VcpuId(0)), Err(Errno::EINVAL));
    }
    assert_eq!(d.events.status(Port(0)).unwrap().status, 0);
    assert_eq!(d.events.status(Port(100_000)), Err(Errno::EINVAL));
    assert_eq!(d.events.unmask(Port(100_000)), Err(Errno::EINVAL));
}

#[test]
fn only_the_domain_that_is_waited_for_can_connect() {
    let (mut a, mut b, mut c) =
        (Domain::new(1, 1, 9, 0), Domain::new(2, 1, 9, 0), Domain::new(3, 1, 9, 0));
    let waiting = a.events.alloc_unbound(&mut a.lock, DomId(2)).unwrap();
    let bind = |from: &mut Domain, to: &mut Domain, port| {
        let peer = Peer::Other(&to.events, &mut to.lock);
        from.events.bind_interdomain(&mut from.lock, DomId(1), port, peer).map(|(p, _)| p)
    };
    assert_eq!(bind(&mut c, &mut a, waiting), Err(Errno::EINVAL));
    assert_eq!(bind(&mut b, &mut a, Port(8)), Err(Errno::EINVAL));
    assert_eq!(bind(&mut b, &mut a, Port(0)), Err(Errno::EINVAL));
    assert_eq!(bind(&mut b, &mut c, waiting), Err(Errno::ESRCH));
    let port = bind(&mut b, &mut a, waiting).unwrap();
    assert_eq!(bind(&mut b, &mut a, waiting), Err(Errno::EINVAL), "connected already");
    assert_eq!(b.events.is_pending(port), Ok(true), "what was sent before is not missed");
    assert_eq!(a.events.is_pending(waiting), Ok(false));
    let state = State::Interdomain(DomId(2), port);
    assert_eq!(a.events.status(waiting), Ok(Status { status: 2, vcpu: VcpuId(0), state }));
    assert_eq!(a.events.send(waiting), Ok(Target::Remote(DomId(2), port)));
}

#[test]
fn closing_one_end_lets_the_other_wait_again_and_drops_events_on_their_way() {
    let (mut a, mut b) = (Domain::new(1, 1, 9, 0), Domain::new(2, 1, 9, 0));
    let waiting = a.events.alloc_unbound(&mut a.lock, DomId(2)).unwrap();
    let peer = Peer::Other(&a.events, &mut a.lock);
    let (port, _) = b.events.bind_interdomain(&mut b.lock, DomId(1), waiting, peer).unwrap();
    let needs = Err(NotClosed::Needs(DomId(1)));
    assert_eq!(b.events.close(&mut b.lock, port, Peer::None), needs);
    let mut c = Domain::new(3, 1, 9, 0);
    let wrong = Peer::Other(&c.events, &mut c.lock);
    assert_eq!(b.events.close(&mut b.lock, port, wrong), needs);
    let right = Peer::Other(&a.events, &mut a.lock);
    let _ = b.events.close(&mut b.lock, port, right).unwrap();
    assert_eq!(a.events.status(waiting).unwrap().state, State::Unbound(DomId(2)));
    assert_eq!(a.events.send(waiting), Ok(Target::Done(Raised::NOTHING)));
    assert_eq!(a.events.notify(waiting, DomId(2), port), Raised::NOTHING);
    assert_eq!(b.events.is_pending(port), Ok(false), "a new use starts clean");
}

#[test]
fn a_domain_can_be_connected_with_itself() {
    let mut d = domain();
    let one = d.events.alloc_unbound(&mut d.lock, DomId(1)).unwrap();
    let (two, raised) = d.events.bind_interdomain(&mut d.lock, DomId(1), one, Peer::None).unwrap();
    assert_eq!(raised, Raised { kick: Some(VcpuId(0)), newly_pending: true });
    let sent = d.events.send(two).unwrap();
    assert_eq!(sent, Target::Done(Raised { kick: None, newly_pending: true }));
    assert_eq!(d.events.is_pending(one), Ok(true));
    let _ = d.events.close(&mut d.lock, two, Peer::None).unwrap();
    assert_eq!(d.events.status(one).unwrap().state, State::Unbound(DomId(1)));
}

#[test]
fn virqs_are_bound_once_each_and_global_ones_on_vcpu_0() {
    let mut d = domain();
    let mut bind = |virq: u32, vcpu| d.events.bind_virq(&mut d.lock, virq, VcpuId(vcpu));
    assert_eq!(bind(24, 0), Err(Errno::EINVAL));
    assert_eq!(bind(0, 4), Err(Errno::ENOENT));
    assert_eq!(bind(3, 1), Err(Errno::EINVAL));
    assert_eq!(bind(3, 9), Err(Errno::EINVAL));
    let timers = [bind(0, 0).unwrap(), bind(0, 3).unwrap()];
    let exc = bind(3, 0).unwrap();
    assert_eq!(bind(0, 3), Err(Errno::EEXIST));
    assert_eq!(bind(3, 0), Err(Errno::EEXIST));
    assert_eq!(d.events.bind_vcpu(&mut d.lock, timers[1], VcpuId(0)), Err(Errno::EINVAL));
    assert_eq!(d.events.bind_vcpu(&mut d.lock, exc, VcpuId(4)), Err(Errno::ENOENT));
    assert_eq!(d.events.bind_vcpu(&mut d.lock, exc, VcpuId(2)), Ok(None));
    let kick = d.events.raise_virq(VcpuId(3), Virq::DOM_EXC).kick;
    assert_eq!(kick, Some(VcpuId(2)));
    assert_eq!(d.events.raise_virq(VcpuId(3), Virq::TIMER).kick, Some(VcpuId(3)));
    assert_eq!(d.events.raise_virq(VcpuId(1), Virq::TIMER), Raised::NOTHING);
    assert_eq!(d.events.send(exc), Err(Errno::EINVAL), "guests cannot raise it themselves");
    let _ = d.events.close(&mut d.lock, exc, Peer::None).unwrap();
    assert_eq!(d.events.raise_virq(VcpuId(0), Virq::DOM_EXC), Raised::NOTHING);
    assert!(d.events.bind_virq(&mut d.lock, 3, VcpuId(0)).is_ok());
}

#[test]
fn a_pirq_is_bound_once_and_named_when_it_is_closed_or_moved() {
    let mut d = domain();
    assert_eq!(d.events.bind_pirq(&mut d.lock, Pirq(16)), Err(Errno::EINVAL));
    let port = d.events.bind_pirq(&mut d.lock, Pirq(9)).unwrap();
    assert_eq!(d.events.bind_pirq(&mut d.lock, Pirq(9)), Err(Errno::EEXIST));
    assert_eq!(d.events.port_of_pirq(Pirq(9)), Some(port));
    assert_eq!(d.events.bind_vcpu(&mut d.lock, port, VcpuId(1)), Ok(Some(Pirq(9))));
    assert_eq!(d.events.raise_pirq(Pirq(9)).unwrap().kick, Some(VcpuId(1)));
    assert_eq!(d.events.raise_pirq(Pirq(8)), None);
    let closed = d.events.close(&mut d.lock, port, Peer::None).unwrap();
    assert_eq!(closed.pirq, Some(Pirq(9)));
    assert_eq!(d.events.raise_pirq(Pirq(9)), None);
}

#[test]
fn ipis_go_to_the_vcpu_they_were_bound_to_for_good() {
    let mut d = domain();
    assert_eq!(d.events.bind_ipi(&mut d.lock, VcpuId(4)), Err(Errno::ENOENT));
    let port = d.events.bind_ipi(&mut d.lock, VcpuId(3)).unwrap();
    assert_eq!(d.events.bind_vcpu(&mut d.lock, port, VcpuId(0)), Err(Errno::EINVAL));
    let raised = Raised { kick: Some(VcpuId(3)), newly_pending: true };
    assert_eq!(d.events.send(port), Ok(Target::Done(raised)));
    assert_eq!(d.events.send(port), Ok(Target::Done(Raised::NOTHING)));
}

#[test]
fn a_reset_walks_over_every_open_port_within_its_limit() {
    let mut d = domain();
    for _ in 0..300 {
        d.events.alloc_unbound(&mut d.lock, DomId(0)).unwrap();
    }
    let (mut from, mut calls) = (Port(0), 0);
    loop {
        calls += 1;
        match d.events.next_open(from, 10) {
            Ok(Some(port)) => {
                let _ = d.events.close(&mut d.lock, port, Peer::None).unwrap();
                from = port;
            }
            Ok(None) => break,
            Err(next) => from = next,
        }
    }
    assert!(calls > 300);
    assert_eq!(d.events.next_open(Port(0), 100_000), Ok(None));
}

#[test]
fn a_poller_is_woken_once_by_what_it_waits_for() {
    let poller = Poller::new();
    assert!(!poller.wakes(Port(3)));
    poller.arm(Some(Port(3)));
    assert!(!poller.wakes(Port(4)));
    assert!(poller.wakes(Port(3)));
    assert!(!poller.wakes(Port(3)));
    poller.arm(None);
    assert!(poller.wakes(Port(8)));
    poller.arm(Some(Port(0)));
    assert!(poller.disarm());
    assert!(!poller.wakes(Port(0)));
}

#[test]
fn polling_finds_the_first_pending_port_or_the_first_bad_one() {
    let mut d = domain();
    let a = d.events.bind_ipi(&mut d.lock, VcpuId(0)).unwrap();
    let b = d.events.bind_ipi(&mut d.lock, VcpuId(0)).unwrap();
    assert_eq!(d.events.first_pending([a, b]), Ok(None));
    let _ = d.events.send(b);
    assert_eq!(d.events.first_pending([a, b, Port(9999)]), Ok(Some(b)));
    assert_eq!(d.events.first_pending([a, Port(9999), b]), Err(Errno::EINVAL));
}
