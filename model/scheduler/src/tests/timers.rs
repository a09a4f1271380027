//! The heap of expiries beside a map.

use crate::{Handle, TimerPlace, TimerPlaces, Timers};
use proptest::prelude::*;
use std::collections::BTreeMap;

const VCPUS: u32 = 12;

struct Places(Vec<TimerPlace>);

impl TimerPlaces for Places {
    fn timer_place(&self, vcpu: Handle) -> Option<&TimerPlace> {
        self.0.get(vcpu.0 as usize)
    }
}

fn places() -> Places {
    Places((0..VCPUS).map(|_| TimerPlace::new()).collect())
}

#[derive(Clone, Debug)]
enum Op {
    Set(usize, u32, u64),
    Stop(u32),
    Pop(usize, u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..2usize, 0..VCPUS, 0u64..50).prop_map(|(h, v, due)| Op::Set(h, v, due)),
        1 => (0..VCPUS).prop_map(Op::Stop),
        2 => (0..2usize, 0u64..50).prop_map(|(h, now)| Op::Pop(h, now)),
    ]
}

/// Two CPUs' heaps, what is in each by a map, and in which one each vCPU is.
struct World {
    places: Places,
    heaps: [Timers; 2],
    naive: [BTreeMap<u32, u64>; 2],
}

impl World {
    /// As the hypervisor does it: off the heap that the vCPU was in, onto the other.
    fn set(&mut self, heap: usize, vcpu: u32, due: u64) {
        if self.naive[1 - heap].remove(&vcpu).is_some() {
            assert!(self.heaps[1 - heap].set(&self.places, Handle(vcpu), u64::MAX));
        }
        assert!(self.heaps[heap].set(&self.places, Handle(vcpu), due));
        self.naive[heap].insert(vcpu, due);
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Set(heap, vcpu, due) => self.set(heap, vcpu, due),
            Op::Stop(vcpu) => {
                let home = usize::from(self.naive[1].contains_key(&vcpu));
                assert!(self.heaps[home].set(&self.places, Handle(vcpu), u64::MAX));
                self.naive[home].remove(&vcpu);
            }
            Op::Pop(heap, now) => {
                let least = self.naive[heap].values().min().copied();
                match self.heaps[heap].pop(&self.places, now) {
                    Some(vcpu) => {
                        assert_eq!(self.naive[heap].remove(&vcpu.0), least, "not the earliest");
                        assert!(least.is_some_and(|due| due <= now), "too early");
                    }
                    None => assert!(least.is_none_or(|due| due > now), "one was due"),
                }
            }
        }
        for (heap, naive) in self.heaps.iter().zip(&self.naive) {
            assert_eq!(heap.first(), naive.values().min().copied().unwrap_or(u64::MAX));
        }
    }
}

proptest! {
    #![proptest_config(super::cases(300))]

    #[test]
    fn timers_come_out_when_they_are_due_the_earliest_first(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 200 }),
    ) {
        let mut w = World {
            places: places(),
            heaps: [Timers::new(), Timers::new()],
            naive: [BTreeMap::new(), BTreeMap::new()],
        };
        for op in &ops {
            w.step(op);
        }
        // What is left comes out in order, and all of it.
        for heap in 0..2 {
            let mut last = 0;
            while let Some(vcpu) = w.heaps[heap].pop(&w.places, u64::MAX - 1) {
                let due = w.naive[heap].remove(&vcpu.0).unwrap();
                prop_assert!(due >= last);
                last = due;
            }
            prop_assert!(w.naive[heap].is_empty());
            prop_assert_eq!(w.heaps[heap].first(), u64::MAX);
        }
    }
}

#[test]
fn a_timer_set_again_moves_and_one_that_nobody_set_cannot_be_stopped() {
    let places = places();
    let mut heap = Timers::new();
    assert!(heap.set(&places, Handle(0), u64::MAX));
    assert_eq!((heap.first(), heap.pop(&places, u64::MAX)), (u64::MAX, None));
    for (vcpu, due) in [(0, 30), (1, 20), (2, 10), (2, 40), (0, 5)] {
        assert!(heap.set(&places, Handle(vcpu), due));
    }
    assert_eq!(heap.pop(&places, 4), None);
    assert!(heap.set(&places, Handle(1), u64::MAX));
    assert_eq!(heap.pop(&places, 100), Some(Handle(0)));
    assert_eq!(heap.pop(&places, 100), Some(Handle(2)));
    assert_eq!(heap.pop(&places, 100), None);
}

#[test]
fn a_vcpu_that_nobody_knows_is_left_alone() {
    let mut heap = Timers::new();
    assert!(heap.set(&places(), Handle(VCPUS), 1));
    assert_eq!(heap.first(), u64::MAX);
}
