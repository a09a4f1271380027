//! Three domains with the two-level ABI, beside a model that keeps everything as plain lists.

use super::Domain;
use crate::{NotClosed, Peer, Raised, State, Target, Virq};
use abi::{DomId, Errno, Pirq, Port, VcpuId};
use proptest::prelude::*;
use std::sync::atomic::Ordering::SeqCst;

const VCPUS: u32 = 2;
const MAX_PORT: u32 = 6;

#[derive(Clone, Debug)]
struct NaivePort {
    state: State,
    vcpu: u32,
    pending: bool,
    masked: bool,
}

#[derive(Clone, Debug)]
struct NaiveDomain {
    ports: Vec<NaivePort>,
    selected: [bool; VCPUS as usize],
    upcall: [bool; VCPUS as usize],
}

impl NaiveDomain {
    fn new() -> NaiveDomain {
        let port = NaivePort { state: State::Free, vcpu: 0, pending: false, masked: false };
        let mut ports = vec![port; MAX_PORT as usize + 1];
        ports[0].state = State::Reserved;
        NaiveDomain { ports, selected: [false; 2], upcall: [false; 2] }
    }

    fn free_port(&self) -> Result<usize, Errno> {
        self.ports.iter().position(|p| p.state == State::Free).ok_or(Errno::ENOSPC)
    }

    fn bind(&mut self, state: State, vcpu: u32) -> Result<u32, Errno> {
        let n = self.free_port()?;
        self.ports[n].state = state;
        self.ports[n].vcpu = vcpu;
        self.ports[n].pending = false;
        Ok(n as u32)
    }

    fn state(&self, port: u32) -> State {
        // Cells come in buckets, so ports above the limit exist and are free.
        self.ports.get(port as usize).map_or(State::Free, |p| p.state)
    }

    fn upcall(&mut self, vcpu: u32) -> Option<VcpuId> {
        let v = vcpu as usize;
        if self.selected[v] {
            return None;
        }
        self.selected[v] = true;
        let kick = !self.upcall[v];
        self.upcall[v] = true;
        kick.then_some(VcpuId(vcpu))
    }

    fn raise(&mut self, port: u32) -> Raised {
        let p = &mut self.ports[port as usize];
        if p.pending {
            return Raised::NOTHING;
        }
        p.pending = true;
        let (masked, vcpu) = (p.masked, p.vcpu);
        Raised { kick: if masked { None } else { self.upcall(vcpu) }, newly_pending: true }
    }

    fn unmask(&mut self, port: u32) -> Raised {
        let p = &mut self.ports[port as usize];
        let was = std::mem::replace(&mut p.masked, false);
        let (deliver, vcpu) = (was && p.pending, p.vcpu);
        Raised { kick: if deliver { self.upcall(vcpu) } else { None }, newly_pending: false }
    }

    fn virq_port(&self, virq: u32, vcpu: u32) -> Option<u32> {
        let global = !matches!(virq, 0 | 1 | 13);
        let is = |p: &NaivePort| p.state == State::Virq(virq) && (global || p.vcpu == vcpu);
        self.ports.iter().position(is).map(|n| n as u32)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(usize, u16),
    Bind(usize, usize, u32),
    Virq(usize, u32, u32),
    Ipi(usize, u32),
    Pirq(usize, u32),
    Close(usize, u32),
    Send(usize, u32),
    RaiseVirq(usize, u32, u32),
    RaisePirq(usize, u32),
    Move(usize, u32, u32),
    Mask(usize, u32),
    Unmask(usize, u32),
    Acknowledge(usize, u32),
    Upcall(usize, u32),
}

fn op() -> impl Strategy<Value = Op> {
    let d = || 0usize..3;
    let port = || 0..MAX_PORT + 2;
    let vcpu = || 0..VCPUS + 1;
    let virq = || prop::sample::select(vec![0u32, 1, 3, 8, 13, 23, 24]);
    let pirq = || 14u32..18;
    prop_oneof![
        3 => (d(), 0u16..3).prop_map(|(a, b)| Op::Alloc(a, b)),
        5 => (d(), d(), port()).prop_map(|(a, b, c)| Op::Bind(a, b, c)),
        1 => (d(), virq(), vcpu()).prop_map(|(a, b, c)| Op::Virq(a, b, c)),
        1 => (d(), vcpu()).prop_map(|(a, b)| Op::Ipi(a, b)),
        1 => (d(), pirq()).prop_map(|(a, b)| Op::Pirq(a, b)),
        4 => (d(), port()).prop_map(|(a, b)| Op::Close(a, b)),
        8 => (d(), port()).prop_map(|(a, b)| Op::Send(a, b)),
        2 => (d(), 0..VCPUS, virq()).prop_map(|(a, b, c)| Op::RaiseVirq(a, b, c)),
        1 => (d(), pirq()).prop_map(|(a, b)| Op::RaisePirq(a, b)),
        2 => (d(), port(), vcpu()).prop_map(|(a, b, c)| Op::Move(a, b, c)),
        2 => (d(), 0..=MAX_PORT).prop_map(|(a, b)| Op::Mask(a, b)),
        3 => (d(), 0..=MAX_PORT).prop_map(|(a, b)| Op::Unmask(a, b)),
        3 => (d(), 0..=MAX_PORT).prop_map(|(a, b)| Op::Acknowledge(a, b)),
        2 => (d(), 0..VCPUS).prop_map(|(a, b)| Op::Upcall(a, b)),
    ]
}

struct World {
    real: Vec<Domain>,
    naive: Vec<NaiveDomain>,
}

impl World {
    fn new() -> World {
        World {
            real: (0..3).map(|n| Domain::new(n, VCPUS as usize, MAX_PORT, 0)).collect(),
            naive: vec![NaiveDomain::new(); 3],
        }
    }

    fn bind_interdomain(&mut self, d: usize, r: usize, port: u32) {
        let remote = DomId(r as u16);
        let real = if d == r {
            let a = &mut self.real[d];
            a.events.bind_interdomain(&mut a.lock, remote, Port(port), Peer::None)
        } else {
            let [a, b] = self.real.get_disjoint_mut([d, r]).unwrap();
            let peer = Peer::Other(&b.events, &mut b.lock);
            a.events.bind_interdomain(&mut a.lock, remote, Port(port), peer)
        };
        let naive = self.naive[d].free_port().and_then(|_| {
            if self.naive[r].state(port) != State::Unbound(DomId(d as u16)) {
                return Err(Errno::EINVAL);
            }
            let n = self.naive[d].bind(State::Interdomain(remote, Port(port)), 0)?;
            self.naive[r].ports[port as usize].state = State::Interdomain(DomId(d as u16), Port(n));
            Ok((Port(n), self.naive[d].raise(n)))
        });
        assert_eq!(real, naive);
    }

    fn close(&mut self, d: usize, port: u32) {
        let a = &mut self.real[d];
        let mut real = a.events.close(&mut a.lock, Port(port), Peer::None);
        if let Err(NotClosed::Needs(dom)) = real {
            let [a, b] = self.real.get_disjoint_mut([d, usize::from(dom.0)]).unwrap();
            let peer = Peer::Other(&b.events, &mut b.lock);
            real = a.events.close(&mut a.lock, Port(port), peer);
        }
        let state = self.naive[d].state(port);
        let expected = match state {
            State::Free | State::Reserved => Err(NotClosed::Refused(Errno::EINVAL)),
            State::Pirq(pirq) => Ok(Some(pirq)),
            _ => Ok(None),
        };
        assert_eq!(real.map(|c| c.pirq), expected);
        if expected.is_err() {
            return;
        }
        if let State::Interdomain(dom, other) = state {
            let r = usize::from(dom.0);
            self.naive[r].ports[other.0 as usize].state = State::Unbound(DomId(d as u16));
        }
        let p = &mut self.naive[d].ports[port as usize];
        (p.state, p.vcpu, p.pending) = (State::Free, 0, false);
    }

    fn send(&mut self, d: usize, port: u32) {
        let real = match self.real[d].events.send(Port(port)) {
            Err(e) => Err(e),
            Ok(Target::Done(raised)) => Ok(raised),
            Ok(Target::Remote(dom, to)) => {
                let other = &self.real[usize::from(dom.0)].events;
                Ok(other.notify(to, DomId(d as u16), Port(port)))
            }
        };
        let naive = match self.naive[d].state(port) {
            State::Interdomain(dom, to) => Ok(self.naive[usize::from(dom.0)].raise(to.0)),
            State::Ipi => Ok(self.naive[d].raise(port)),
            State::Unbound(_) => Ok(Raised::NOTHING),
            _ => Err(Errno::EINVAL),
        };
        assert_eq!(real, naive);
    }

    fn bind_virq(&mut self, d: usize, virq: u32, vcpu: u32) {
        let a = &mut self.real[d];
        let real = a.events.bind_virq(&mut a.lock, virq, VcpuId(vcpu));
        let global = !matches!(virq, 0 | 1 | 13);
        let n = &mut self.naive[d];
        let naive = if virq >= 24 || (global && vcpu != 0) {
            Err(Errno::EINVAL)
        } else if vcpu >= VCPUS {
            Err(Errno::ENOENT)
        } else if n.virq_port(virq, vcpu).is_some() {
            Err(Errno::EEXIST)
        } else {
            n.bind(State::Virq(virq), vcpu)
        };
        assert_eq!(real.map(|p| p.0), naive);
    }

    fn move_port(&mut self, d: usize, port: u32, vcpu: u32) {
        let a = &mut self.real[d];
        let real = a.events.bind_vcpu(&mut a.lock, Port(port), VcpuId(vcpu));
        let naive = match self.naive[d].state(port) {
            _ if vcpu >= VCPUS => Err(Errno::ENOENT),
            State::Virq(0 | 1 | 13) | State::Free | State::Reserved | State::Ipi => {
                Err(Errno::EINVAL)
            }
            State::Pirq(pirq) => Ok(Some(pirq)),
            _ => Ok(None),
        };
        if naive.is_ok() {
            self.naive[d].ports[port as usize].vcpu = vcpu;
        }
        assert_eq!(real, naive);
    }

    fn bind_simple(&mut self, d: usize, state: State, vcpu: u32) {
        let (a, n) = (&mut self.real[d], &mut self.naive[d]);
        let (real, naive) = match state {
            State::Unbound(remote) => {
                (a.events.alloc_unbound(&mut a.lock, remote), n.bind(state, 0))
            }
            State::Ipi if vcpu >= VCPUS => {
                (a.events.bind_ipi(&mut a.lock, VcpuId(vcpu)), Err(Errno::ENOENT))
            }
            State::Ipi => (a.events.bind_ipi(&mut a.lock, VcpuId(vcpu)), n.bind(state, vcpu)),
            State::Pirq(pirq) => {
                let naive = if pirq.0 >= 16 {
                    Err(Errno::EINVAL)
                } else if n.ports.iter().any(|p| p.state == state) {
                    Err(Errno::EEXIST)
                } else {
                    n.bind(state, 0)
                };
                (a.events.bind_pirq(&mut a.lock, pirq), naive)
            }
            _ => unreachable!(),
        };
        assert_eq!(real.map(|p| p.0), naive);
    }

    fn raise_interrupt(&mut self, d: usize, state: State, vcpu: u32) {
        let (a, n) = (&self.real[d].events, &mut self.naive[d]);
        let (real, port) = match state {
            State::Virq(virq) => {
                let Some(v) = Virq::new(virq) else { return };
                (a.raise_virq(VcpuId(vcpu), v), n.virq_port(virq, vcpu))
            }
            State::Pirq(pirq) => {
                let port = n.ports.iter().position(|p| p.state == state).map(|p| p as u32);
                (a.raise_pirq(pirq).unwrap_or(Raised::NOTHING), port)
            }
            _ => unreachable!(),
        };
        assert_eq!(real, port.map_or(Raised::NOTHING, |p| n.raise(p)));
    }

    fn guest(&mut self, op: &Op) {
        match *op {
            Op::Mask(d, port) => {
                self.real[d].memory().mask[0].fetch_or(1 << port, SeqCst);
                self.naive[d].ports[port as usize].masked = true;
            }
            Op::Unmask(d, port) => {
                let real = self.real[d].events.unmask(Port(port));
                assert_eq!(real, Ok(self.naive[d].unmask(port)));
            }
            Op::Acknowledge(d, port) => {
                self.real[d].memory().pending[0].fetch_and(!(1 << port), SeqCst);
                self.naive[d].ports[port as usize].pending = false;
            }
            Op::Upcall(d, vcpu) => {
                let memory = &self.real[d].memory().vcpus[vcpu as usize];
                memory.upcall.store(0, SeqCst);
                memory.sel.store(0, SeqCst);
                self.naive[d].upcall[vcpu as usize] = false;
                self.naive[d].selected[vcpu as usize] = false;
            }
            _ => unreachable!(),
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Alloc(d, remote) => self.bind_simple(d, State::Unbound(DomId(remote)), 0),
            Op::Ipi(d, vcpu) => self.bind_simple(d, State::Ipi, vcpu),
            Op::Pirq(d, pirq) => self.bind_simple(d, State::Pirq(Pirq(pirq)), 0),
            Op::Bind(d, r, port) => self.bind_interdomain(d, r, port),
            Op::Virq(d, virq, vcpu) => self.bind_virq(d, virq, vcpu),
            Op::Close(d, port) => self.close(d, port),
            Op::Send(d, port) => self.send(d, port),
            Op::RaiseVirq(d, vcpu, virq) => self.raise_interrupt(d, State::Virq(virq), vcpu),
            Op::RaisePirq(d, pirq) => self.raise_interrupt(d, State::Pirq(Pirq(pirq)), 0),
            Op::Move(d, port, vcpu) => self.move_port(d, port, vcpu),
            _ => self.guest(op),
        }
    }

    fn compare(&self) {
        for (real, naive) in self.real.iter().zip(&self.naive) {
            for (n, port) in naive.ports.iter().enumerate() {
                let status = real.events.status(Port(n as u32)).unwrap();
                assert_eq!((status.state, status.vcpu.0), (port.state, port.vcpu), "port {n}");
                assert_eq!(real.events.is_pending(Port(n as u32)), Ok(port.pending));
                let masked = real.memory().mask[0].load(SeqCst) >> n & 1 == 1;
                assert_eq!(masked, port.masked);
            }
            for (memory, v) in real.memory().vcpus.iter().zip(0..) {
                assert_eq!(memory.upcall.load(SeqCst) != 0, naive.upcall[v]);
                assert_eq!(memory.sel.load(SeqCst) != 0, naive.selected[v]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]

    #[test]
    fn three_domains_agree_with_plain_lists(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 250 })) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
            world.compare();
        }
    }
}
