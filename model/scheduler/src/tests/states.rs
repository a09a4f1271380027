//! One queue driven by hand at random, beside a model that knows only what each unit is.

use super::machine::Table;
use crate::{CpuSet, Handle, Next, Queue, QueueId, Runstate, Share, Unit};
use abi::{CpuId, Errno};
use proptest::prelude::*;

const UNITS: usize = 5;
const CPUS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Wake(usize),
    Block(usize),
    Pause(usize),
    Unpause(usize),
    Yield(usize),
    /// Blocked or not, paused or not, both at once.
    Wants(usize, bool, bool),
    /// The vCPU goes, and a new one gets its unit.
    Renew(usize),
    Affinity(usize, u64),
    Pick(usize),
    Saved(usize),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let unit = || 0..UNITS;
    prop_oneof![
        4 => unit().prop_map(Op::Wake),
        2 => unit().prop_map(Op::Block),
        1 => unit().prop_map(Op::Pause),
        2 => unit().prop_map(Op::Unpause),
        1 => unit().prop_map(Op::Yield),
        2 => (unit(), any::<bool>(), any::<bool>()).prop_map(|(u, b, p)| Op::Wants(u, b, p)),
        1 => unit().prop_map(Op::Renew),
        1 => (unit(), 1u64..8).prop_map(|(u, s)| Op::Affinity(u, s)),
        6 => (0..CPUS).prop_map(Op::Pick),
        6 => unit().prop_map(Op::Saved),
        4 => (1u64..5_000_000).prop_map(Op::Pass),
    ]
}

#[derive(Clone, Copy, Debug, Default)]
struct Naive {
    blocked: bool,
    paused: bool,
    running: Option<usize>,
    leaving: bool,
    times: [u64; 4],
    born: u64,
}

impl Naive {
    fn state(&self) -> usize {
        match (self.running, self.blocked, self.paused) {
            (Some(_), _, _) => 0,
            (None, true, _) => 2,
            (None, false, true) => 3,
            (None, false, false) => 1,
        }
    }
}

struct World {
    queue: Queue,
    table: Table,
    naive: [Naive; UNITS],
    /// CPUs that were told to pick.
    kicked: [bool; CPUS],
    now: u64,
}

impl World {
    fn new(capped: bool) -> World {
        let share = Share::new();
        share.set(0, if capped { 40 } else { 0 }).unwrap();
        let mut world = World {
            queue: Queue::new(QueueId(7)),
            table: Table {
                units: (0..UNITS).map(|_| Unit::new(0)).collect(),
                shares: vec![share],
                domain: vec![0; UNITS],
            },
            naive: [Naive { blocked: true, ..Naive::default() }; UNITS],
            kicked: [false; CPUS],
            now: 0,
        };
        (0..CPUS).for_each(|c| world.queue.add_cpu(CpuId(c as u32)).unwrap());
        for n in 0..UNITS {
            world.queue.insert(&world.table, Handle(n as u32)).unwrap();
        }
        world
    }

    fn follow(&mut self, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Kick(cpu) => self.kicked[cpu.0 as usize] = true,
            Next::Rehome => panic!("all CPUs are here"),
        }
    }

    fn pick(&mut self, c: usize) {
        let d = self.queue.pick(&self.table, CpuId(c as u32), self.now);
        self.kicked[c] = false;
        assert!(d.until > self.now);
        let before = self.naive.iter().position(|n| n.running == Some(c));
        if let Some(left) = d.left {
            let n = &mut self.naive[left.0 as usize];
            assert_eq!((n.running, n.leaving), (Some(c), false));
            (n.running, n.leaving) = (None, true);
        }
        match d.next {
            Some(next) if before != Some(next.0 as usize) => {
                let n = &mut self.naive[next.0 as usize];
                assert!(!n.blocked && !n.paused && !n.leaving && n.running.is_none());
                assert!(self.table.units[next.0 as usize].allowed().contains(CpuId(c as u32)));
                n.running = Some(c);
            }
            Some(next) => assert!({
                let n = &self.naive[next.0 as usize];
                !n.blocked && !n.paused
            }),
            None => assert_eq!(d.left.map(|h| h.0 as usize), before),
        }
        if let Some(cpu) = d.kick {
            assert_ne!(cpu.0 as usize, c);
            self.kicked[cpu.0 as usize] = true;
        }
    }

    fn step(&mut self, op: &Op) {
        let (t, now) = (&self.table, self.now);
        let handle = |n: usize| Handle(n as u32);
        let next = match *op {
            Op::Wake(n) => {
                self.naive[n].blocked = false;
                self.queue.wake(t, handle(n), now)
            }
            Op::Block(n) if self.naive[n].running.is_some() => {
                self.naive[n].blocked = true;
                self.queue.block(t, handle(n), now)
            }
            Op::Pause(n) => {
                self.naive[n].paused = true;
                self.queue.pause(t, handle(n), now)
            }
            Op::Unpause(n) => {
                self.naive[n].paused = false;
                self.queue.unpause(t, handle(n), now)
            }
            Op::Yield(n) if self.naive[n].running.is_some() => {
                self.queue.yield_now(t, handle(n));
                Next::Nothing
            }
            Op::Wants(n, blocked, paused) => {
                (self.naive[n].blocked, self.naive[n].paused) = (blocked, paused);
                self.queue.set_wants(t, handle(n), (blocked, paused), now)
            }
            Op::Renew(n) => return self.renew(n),
            Op::Affinity(n, set) => {
                let hard = CpuSet::from_words([set, 0, 0, 0]);
                self.queue.set_affinity(t, handle(n), (hard, CpuSet::ALL), now)
            }
            Op::Saved(n) => {
                self.naive[n].leaving = false;
                self.queue.saved(t, handle(n), now)
            }
            Op::Pick(c) => return self.pick(c),
            Op::Pass(time) => {
                self.now += time;
                for n in &mut self.naive {
                    n.times[n.state()] += time;
                }
                return;
            }
            Op::Block(_) | Op::Yield(_) => return,
        };
        self.follow(next);
    }

    /// As the hypervisor does it: paused, let go of by its CPU, taken off its queue, made as new.
    fn renew(&mut self, n: usize) {
        let handle = Handle(n as u32);
        self.step(&Op::Pause(n));
        let busy = self.naive[n].running.is_some() || self.naive[n].leaving;
        let unit = &self.table.units[n];
        if busy {
            assert_eq!(self.queue.remove(&self.table, handle), Err(Errno::EBUSY));
            return;
        }
        self.queue.remove(&self.table, handle).unwrap();
        unit.reset(self.now);
        assert_eq!(format!("{unit:?}"), format!("{:?}", Unit::new(self.now)));
        self.queue.insert(&self.table, handle).unwrap();
        self.naive[n] = Naive { blocked: true, born: self.now, ..Naive::default() };
    }

    fn compare(&self) {
        for (n, (naive, unit)) in self.naive.iter().zip(&self.table.units).enumerate() {
            let info = unit.runstate(self.now);
            assert_eq!(info.state as usize, naive.state(), "unit {n}: {naive:?}");
            assert_eq!(info.time, naive.times, "unit {n}");
            let lived = self.now - naive.born;
            assert_eq!(info.time.iter().sum::<u64>(), lived, "time does not drift");
            let on = naive.running.is_some() || naive.leaving;
            assert_eq!(unit.on_cpu().is_some(), on, "unit {n}");
        }
        for c in 0..CPUS {
            let running = self.naive.iter().position(|n| n.running == Some(c));
            let queue = self.queue.running_on(CpuId(c as u32));
            assert_eq!(queue.map(|h| h.0 as usize), running);
        }
    }

    /// All kicks answered, every CPU that idles has nothing that it could do.
    fn settle(&mut self, capped: bool) {
        for n in 0..UNITS {
            self.step(&Op::Saved(n));
        }
        while let Some(c) = self.kicked.iter().position(|&k| k) {
            self.pick(c);
            for n in 0..UNITS {
                self.step(&Op::Saved(n));
            }
        }
        if capped {
            return;
        }
        for c in (0..CPUS).map(|c| CpuId(c as u32)) {
            if self.queue.running_on(c).is_some() {
                continue;
            }
            for (naive, unit) in self.naive.iter().zip(&self.table.units) {
                let waits = naive.state() == Runstate::Runnable as usize;
                assert!(!(waits && unit.allowed().contains(c)), "{c:?} idles: {naive:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(super::cases(300))]

    #[test]
    fn units_are_what_they_were_told_to_be(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 50 } else { 200 }),
        capped in any::<bool>(),
    ) {
        let mut world = World::new(capped);
        for op in &ops {
            world.step(op);
            world.compare();
        }
        world.settle(capped);
        world.compare();
    }
}

#[test]
fn wants_said_at_once_are_wants_said_one_by_one() {
    for start in 0..4 {
        for end in 0..4 {
            let [mut one, mut two] = [World::new(false), World::new(false)];
            for w in [&mut one, &mut two] {
                w.step(&Op::Wants(0, start & 1 != 0, start & 2 != 0));
                w.settle(false);
            }
            one.step(&Op::Wants(0, end & 1 != 0, end & 2 != 0));
            let running = two.naive[0].running.is_some();
            // Only a running vCPU can block itself.
            let block = if end & 1 == 0 {
                Op::Wake(0)
            } else if running {
                Op::Block(0)
            } else {
                continue;
            };
            two.step(&block);
            two.step(if end & 2 != 0 { &Op::Pause(0) } else { &Op::Unpause(0) });
            for w in [&mut one, &mut two] {
                w.compare();
                w.settle(false);
                w.compare();
            }
            assert_eq!(one.naive[0].running, two.naive[0].running, "from {start} to {end}");
        }
    }
}

#[test]
fn wants_that_are_as_they_were_tell_nobody_anything() {
    let mut w = World::new(false);
    let (h, all) = (Handle(0), (true, false));
    assert_eq!(w.queue.set_wants(&w.table, h, all, 0), Next::Nothing);
    let woken = w.queue.set_wants(&w.table, h, (false, false), 0);
    assert!(matches!(woken, Next::Kick(_)));
    assert_eq!(w.queue.set_wants(&w.table, h, (false, false), 0), Next::Nothing);
}

#[test]
fn a_unit_made_as_new_keeps_nothing_of_the_vcpu_before() {
    let mut w = World::new(true);
    let only = CpuSet::of(CpuId(1)).words()[0];
    for op in [
        Op::Affinity(0, only),
        Op::Wake(0),
        Op::Pick(1),
        Op::Pass(3_000_000),
        Op::Yield(0),
        Op::Pause(0),
        Op::Pick(1),
        Op::Saved(0),
    ] {
        w.step(&op);
    }
    let _ = w.queue.set_pin(&w.table, Handle(0), Some(CpuId(2)), w.now);
    assert_ne!(w.table.units[0].runstate(w.now).time, [0; 4]);
    // Compares the unit with a new one.
    w.step(&Op::Renew(0));
    w.compare();
    w.step(&Op::Wake(0));
    w.settle(true);
    assert!(w.naive[0].running.is_some());
}

#[test]
fn a_wake_before_the_cpu_has_let_go_is_not_lost() {
    let mut w = World::new(false);
    for op in [Op::Wake(0), Op::Pick(0), Op::Block(0), Op::Pick(0), Op::Wake(0), Op::Pick(1)] {
        w.step(&op);
        w.compare();
    }
    assert_eq!(w.queue.running_on(CpuId(1)), None, "the CPU still holds its state");
    w.step(&Op::Saved(0));
    assert!(w.kicked.iter().any(|&k| k));
    w.settle(false);
    assert_eq!(w.naive[0].state(), 0);
}

#[test]
fn a_wake_between_blocking_and_picking_undoes_the_blocking() {
    let mut w = World::new(false);
    for op in [Op::Wake(0), Op::Pick(0), Op::Block(0), Op::Wake(0), Op::Pick(0)] {
        w.step(&op);
    }
    assert_eq!(w.queue.running_on(CpuId(0)), Some(Handle(0)));
}

#[test]
fn who_yields_lets_the_next_one_run() {
    let mut w = World::new(false);
    let one = CpuSet::of(CpuId(0)).words()[0];
    for op in [Op::Affinity(0, one), Op::Affinity(1, one), Op::Wake(0), Op::Pick(0), Op::Wake(1)] {
        w.step(&op);
    }
    w.step(&Op::Pick(0));
    assert_eq!(w.queue.running_on(CpuId(0)), Some(Handle(0)), "the rate limit holds");
    w.step(&Op::Yield(0));
    w.step(&Op::Pick(0));
    assert_eq!(w.queue.running_on(CpuId(0)), Some(Handle(1)));
}

#[test]
fn a_cpu_that_goes_before_it_picks_passes_the_kick_on() {
    let mut w = World::new(false);
    w.step(&Op::Wake(0));
    let told = w.kicked.iter().position(|&k| k).unwrap();
    w.queue.retire_cpu(CpuId(told as u32));
    let d = w.queue.pick(&w.table, CpuId(told as u32), w.now);
    assert_eq!(d.next, None);
    let other = d.kick.unwrap();
    assert_ne!(other.0 as usize, told);
    assert_eq!(w.queue.pick(&w.table, other, w.now).next, Some(Handle(0)));
}
