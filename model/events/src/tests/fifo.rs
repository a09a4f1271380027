//! Delivery by linked lists, with a guest that takes events off as Linux does.

use super::{Domain, Fake};
use crate::{Peer, Raised, Target};
use abi::{DomId, Errno, Port, VcpuId};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};

const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;
const BUSY: u32 = 1 << 28;
const LINK: u32 = (1 << 17) - 1;

/// A domain that uses the FIFO ABI and has an unmasked IPI port for each vCPU in turn.
fn domain(vcpus: u32, ports: u32) -> Domain {
    let mut d = Domain::new(1, vcpus as usize, 1 << 17, 2);
    for v in 0..vcpus {
        d.init_control(v).unwrap();
    }
    d.expand().unwrap();
    for n in 0..ports {
        // Waiting for itself and then connected, so that the port can move between vCPUs.
        let port = d.events.alloc_unbound(&mut d.lock, DomId(1)).unwrap();
        assert_eq!(port, Port(2 * n + 1));
        let bound = d.events.bind_interdomain(&mut d.lock, DomId(1), port, Peer::None);
        assert_eq!(bound.unwrap().0, Port(2 * n + 2));
        d.events.bind_vcpu(&mut d.lock, port, VcpuId(n % vcpus)).unwrap();
        d.memory().words[port.0 as usize].store(0, SeqCst);
    }
    d
}

/// Raises the `n`th receiving port of [`domain`].
fn send(d: &Domain, n: u32) -> Raised {
    match d.events.send(Port(2 * n + 2)).unwrap() {
        Target::Done(raised) => raised,
        Target::Remote(..) => unreachable!(),
    }
}

fn receiver(n: u32) -> u32 {
    2 * n + 1
}

/// One vCPU of a guest; each step is one that another CPU can come between.
#[derive(Default)]
struct Guest {
    vcpu: usize,
    heads: [u32; 16],
    ready: u32,
    awake: bool,
    taken: Option<u32>,
}

impl Guest {
    /// One step; returns the port whose handler runs.
    fn step(&mut self, memory: &Fake) -> Option<u32> {
        let v = &memory.vcpus[self.vcpu];
        if let Some(port) = self.taken.take() {
            let word = &memory.words[port as usize];
            let seen = word.load(SeqCst);
            let handled = seen & PENDING != 0 && seen & MASKED == 0;
            if handled {
                word.fetch_and(!PENDING, SeqCst);
            }
            self.ready |= v.ready.swap(0, SeqCst);
            return handled.then_some(port);
        }
        if self.ready == 0 {
            if v.upcall.swap(0, SeqCst) == 0 {
                self.awake = false;
            }
            self.ready = v.ready.swap(0, SeqCst);
            return None;
        }
        let queue = self.ready.trailing_zeros() as usize;
        let mut port = self.heads[queue];
        if port == 0 {
            port = v.heads[queue].load(SeqCst);
        }
        let old = memory.words[port as usize].fetch_and(!(LINKED | LINK), SeqCst);
        self.heads[queue] = old & LINK;
        if old & LINK == 0 {
            self.ready &= !(1 << queue);
        }
        self.taken = Some(port);
        None
    }
}

/// The guest's own unmasking: by itself if nothing is pending, else by hypercall.
fn guest_unmask(d: &Domain, port: u32) -> Raised {
    let word = &d.memory().words[port as usize];
    let mut old = word.load(SeqCst);
    loop {
        if old & MASKED == 0 {
            return Raised::NOTHING;
        }
        if old & PENDING != 0 {
            return d.events.unmask(Port(port)).unwrap();
        }
        old &= !BUSY;
        match word.compare_exchange(old, old & !MASKED, SeqCst, SeqCst) {
            Ok(_) => return Raised::NOTHING,
            Err(seen) => old = seen,
        }
    }
}

#[test]
fn events_are_linked_in_the_order_they_came() {
    let d = domain(1, 3);
    assert_eq!(send(&d, 1), Raised { kick: Some(VcpuId(0)), newly_pending: true });
    assert_eq!(send(&d, 0), Raised { kick: None, newly_pending: true });
    assert_eq!(send(&d, 2), Raised { kick: None, newly_pending: true });
    assert_eq!(send(&d, 0), Raised::NOTHING);
    let m = d.memory();
    assert_eq!(m.vcpus[0].ready.load(SeqCst), 1 << 7);
    assert_eq!(m.vcpus[0].heads[7].load(SeqCst), receiver(1));
    let word = |n| m.words[receiver(n) as usize].load(SeqCst);
    assert_eq!(word(1), PENDING | LINKED | receiver(0));
    assert_eq!(word(0), PENDING | LINKED | receiver(2));
    assert_eq!(word(2), PENDING | LINKED);
}

#[test]
fn a_masked_event_is_pending_but_in_no_list_until_it_is_unmasked() {
    let d = domain(1, 1);
    let word = &d.memory().words[receiver(0) as usize];
    word.store(MASKED, SeqCst);
    assert_eq!(send(&d, 0), Raised { kick: None, newly_pending: true });
    assert_eq!(word.load(SeqCst), MASKED | PENDING);
    assert_eq!(d.memory().vcpus[0].ready.load(SeqCst), 0);
    let raised = Raised { kick: Some(VcpuId(0)), newly_pending: false };
    assert_eq!(d.events.unmask(Port(receiver(0))), Ok(raised));
    assert_eq!(word.load(SeqCst), PENDING | LINKED);
}

#[test]
fn a_changed_priority_takes_effect_at_the_next_event() {
    let mut d = domain(1, 1);
    let port = Port(receiver(0));
    assert_eq!(d.events.set_priority(&mut d.lock, port, 16), Err(Errno::EINVAL));
    assert_eq!(d.events.set_priority(&mut d.lock, Port(99_999), 1), Err(Errno::EINVAL));
    assert_eq!(d.events.set_priority(&mut d.lock, port, 15), Ok(()));
    let _ = send(&d, 0);
    assert_eq!(d.memory().vcpus[0].ready.load(SeqCst), 1 << 15);
    let mut two_level = Domain::new(1, 1, 9, 0);
    let refused = two_level.events.set_priority(&mut two_level.lock, Port(1), 3);
    assert_eq!(refused, Err(Errno::ENOSYS));
}

#[test]
fn control_blocks_and_pages_are_checked() {
    let mut d = Domain::new(1, 1, 1 << 17, 0);
    assert_eq!(d.expand(), Err(Errno::EOPNOTSUPP));
    let mut init = |vcpu, offset, install: Result<(), Errno>| {
        d.events.init_control(&mut d.lock, VcpuId(vcpu), offset, || install)
    };
    assert_eq!(init(1, 0, Ok(())), Err(Errno::ENOENT));
    for offset in [4, 4092, 4032, 4096, u32::MAX, u32::MAX - 7] {
        assert_eq!(init(0, offset, Ok(())), Err(Errno::EINVAL));
    }
    assert_eq!(init(0, 0, Err(Errno::EFAULT)), Err(Errno::EFAULT));
    assert!(!d.events.is_fifo(), "a refused page changes nothing");
    let installed = d.events.init_control(&mut d.lock, VcpuId(0), 4024, || Ok(()));
    assert_eq!(installed, Ok(()));
    assert!(d.events.is_fifo());
    d.memory().vcpus[0].has_block.store(true, SeqCst);
    assert_eq!(d.init_control(0), Err(Errno::EINVAL));
    for page in 0..128 {
        let added = d.events.expand_array(
            &mut d.lock,
            |p| {
                assert_eq!(p, page);
                Ok(())
            },
            |_, _| (),
        );
        assert_eq!(added, Ok(()));
    }
    let more = d.events.expand_array(&mut d.lock, |_| Ok(()), |_, _| ());
    assert_eq!(more, Err(Errno::ENOSPC));
}

#[test]
fn what_was_pending_before_the_switch_is_delivered_after_it() {
    let mut d = Domain::new(1, 1, 1 << 17, 1);
    let early = d.events.bind_ipi(&mut d.lock, VcpuId(0)).unwrap();
    let late = d.events.bind_ipi(&mut d.lock, VcpuId(0)).unwrap();
    let _ = d.events.send(early);
    d.memory().vcpus[0].upcall.store(0, SeqCst);
    d.init_control(0).unwrap();
    assert_eq!(d.events.is_pending(early), Ok(true));
    let raised = Raised { kick: None, newly_pending: true };
    assert_eq!(d.events.send(late), Ok(Target::Done(raised)), "its word is not there yet");
    assert_eq!(d.events.send(late), Ok(Target::Done(Raised::NOTHING)));
    let ports: Vec<Port> = d.expand().unwrap().into_iter().map(|(port, _)| port).collect();
    assert_eq!(ports, [early, late]);
    assert_eq!(d.memory().words[early.0 as usize].load(SeqCst), PENDING | MASKED);
    assert_eq!(d.events.unmask(early).unwrap().kick, Some(VcpuId(0)));
    assert_eq!(d.events.unmask(late).unwrap().kick, None);
}

#[test]
fn a_closed_port_is_not_used_again_while_it_is_in_a_list() {
    let mut d = domain(1, 1);
    let _ = send(&d, 0);
    let _ = d.events.close(&mut d.lock, Port(receiver(0)), Peer::None).unwrap();
    assert_eq!(d.events.is_pending(Port(receiver(0))), Ok(false));
    assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(2)), Ok(Port(3)));
    let mut guest = Guest { awake: true, ..Guest::default() };
    while guest.awake {
        assert_eq!(guest.step(d.memory()), None);
    }
    assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(2)), Ok(Port(receiver(0))));
}

#[test]
fn after_a_reset_the_lists_start_empty() {
    let mut d = domain(1, 2);
    let _ = send(&d, 0);
    while let Ok(Some(port)) = d.events.next_open(Port(0), 10_000) {
        let _ = d.events.close(&mut d.lock, port, Peer::None).unwrap();
    }
    d.events.back_to_two_level(&mut d.lock);
    assert!(!d.events.is_fifo());
    d.memory().pages.store(0, SeqCst);
    d.memory().vcpus[0].has_block.store(false, SeqCst);
    d.memory().vcpus[0].upcall.store(0, SeqCst);
    d.init_control(0).unwrap();
    d.expand().unwrap();
    let port = d.events.bind_ipi(&mut d.lock, VcpuId(0)).unwrap();
    d.memory().words[port.0 as usize].store(0, SeqCst);
    d.memory().vcpus[0].ready.store(0, SeqCst);
    let raised = Raised { kick: Some(VcpuId(0)), newly_pending: true };
    assert_eq!(d.events.send(port), Ok(Target::Done(raised)));
    assert_eq!(d.memory().vcpus[0].heads[7].load(SeqCst), port.0);
}

#[derive(Clone, Debug)]
enum Op {
    Send(u32),
    Guest(usize),
    Mask(u32),
    Unmask(u32),
    Move(u32, u32),
    Priority(u32, u32),
}

const PORTS: u32 = 5;
const VCPUS: u32 = 2;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..PORTS).prop_map(Op::Send),
        12 => (0..VCPUS as usize).prop_map(Op::Guest),
        1 => (0..PORTS).prop_map(Op::Mask),
        2 => (0..PORTS).prop_map(Op::Unmask),
        1 => (0..PORTS, 0..VCPUS).prop_map(|(a, b)| Op::Move(a, b)),
        1 => (0..PORTS, prop::sample::select(vec![0u32, 7, 15])).prop_map(|(a, b)| Op::Priority(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 400 }))]

    #[test]
    fn no_event_is_lost_whatever_comes_between_the_guests_steps(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 300 })
    ) {
        let mut d = domain(VCPUS, PORTS);
        let mut guests = [Guest::default(), Guest { vcpu: 1, ..Guest::default() }];
        let mut owed = BTreeSet::new();
        let wake = |guests: &mut [Guest], raised: Raised| {
            if let Some(v) = raised.kick {
                guests[v.0 as usize].awake = true;
            }
        };
        for op in ops {
            match op {
                Op::Send(n) => {
                    owed.insert(receiver(n));
                    wake(&mut guests, send(&d, n));
                }
                Op::Guest(v) if guests[v].awake => {
                    if let Some(port) = guests[v].step(d.memory()) {
                        prop_assert!(owed.remove(&port), "nobody raised {port}");
                    }
                }
                Op::Guest(_) => {}
                Op::Mask(n) => {
                    d.memory().words[receiver(n) as usize].fetch_or(MASKED, SeqCst);
                }
                Op::Unmask(n) => wake(&mut guests, guest_unmask(&d, receiver(n))),
                Op::Move(n, v) => {
                    d.events.bind_vcpu(&mut d.lock, Port(receiver(n)), VcpuId(v)).unwrap();
                }
                Op::Priority(n, p) => {
                    d.events.set_priority(&mut d.lock, Port(receiver(n)), p).unwrap();
                }
            }
        }
        for n in 0..PORTS {
            wake(&mut guests, guest_unmask(&d, receiver(n)));
        }
        let mut steps = 0;
        while let Some(guest) = guests.iter_mut().find(|g| g.awake) {
            if let Some(port) = guest.step(d.memory()) {
                prop_assert!(owed.remove(&port));
            }
            steps += 1;
            prop_assert!(steps < 1000, "a list that goes round");
        }
        prop_assert!(owed.is_empty(), "lost: {owed:?}");
    }
}

/// The guest's handler of an edge-triggered event: mask, acknowledge, handle, unmask.
fn handle(d: &Domain, port: u32, sent: &[AtomicU32], seen: &mut [u32]) {
    let word = &d.memory().words[port as usize];
    word.fetch_or(MASKED, SeqCst);
    word.fetch_and(!PENDING, SeqCst);
    seen[port as usize] = sent[port as usize].load(SeqCst);
    let _ = guest_unmask(d, port);
}

#[test]
fn no_event_is_lost_between_cpus_that_really_run_at_once() {
    const ROUNDS: u32 = 20_000;
    let d = domain(1, 4);
    let sent: Vec<AtomicU32> = (0..16).map(|_| AtomicU32::new(0)).collect();
    let mut seen = vec![0u32; 16];
    let finished = AtomicBool::new(false);
    std::thread::scope(|s| {
        let sender = |ports: [u32; 2]| {
            let (d, sent) = (&d, &sent);
            move || {
                for round in 1..=ROUNDS {
                    for n in ports {
                        sent[receiver(n) as usize].store(round, SeqCst);
                        let _ = send(d, n);
                    }
                }
            }
        };
        let consumer = s.spawn(|| {
            let mut guest = Guest::default();
            loop {
                let last = finished.load(SeqCst);
                guest.awake = true;
                while guest.awake {
                    if let Some(port) = guest.step(d.memory()) {
                        handle(&d, port, &sent, &mut seen);
                    }
                }
                if last {
                    return;
                }
            }
        });
        let senders = [s.spawn(sender([0, 1])), s.spawn(sender([2, 3]))];
        senders.into_iter().for_each(|t| t.join().unwrap());
        finished.store(true, SeqCst);
        consumer.join().unwrap();
    });
    for n in 0..4 {
        assert_eq!(seen[receiver(n) as usize], ROUNDS, "the last event of port {n}");
    }
}
