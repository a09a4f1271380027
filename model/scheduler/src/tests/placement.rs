//! Where units run: affinity, pins, several queues, CPUs that come and go.

use super::machine::{Behaviour, MS, Machine};
use crate::{CpuSet, Handle, Next, Vcpus};
use abi::{CpuId, Errno};
use proptest::prelude::*;

fn hog(m: &mut Machine) -> Handle {
    let domain = m.domain(256, 0);
    m.vcpu(domain, Behaviour::Hog)
}

fn pin_to(m: &mut Machine, vcpu: Handle, cpus: &[u32]) {
    let mut hard = CpuSet::EMPTY;
    cpus.iter().for_each(|&c| hard.insert(CpuId(c)));
    m.on(vcpu, |q, t, v, now| q.set_affinity(t, v, (hard, CpuSet::ALL), now));
}

#[test]
fn on_an_idle_machine_a_woken_vcpu_runs_at_once() {
    let mut m = Machine::new(1, 4);
    let vcpus: Vec<Handle> = (0..4).map(|_| hog(&mut m)).collect();
    for (n, &v) in vcpus.iter().enumerate() {
        m.wake(v);
        m.run(1);
        assert_eq!(m.running().iter().flatten().count(), n + 1);
        assert!(m.unit(v).on_cpu().is_some());
    }
}

#[test]
fn a_woken_vcpu_goes_back_to_the_cpu_it_knows_if_that_is_idle() {
    let mut m = Machine::new(1, 4);
    let v = hog(&mut m);
    pin_to(&mut m, v, &[2]);
    m.wake(v);
    m.run(MS);
    pin_to(&mut m, v, &[0, 1, 2, 3]);
    m.on(v, |q, t, v, now| q.block(t, v, now));
    m.run(MS);
    assert_eq!(m.unit(v).on_cpu(), None);
    m.wake(v);
    m.run(1);
    assert_eq!(m.unit(v).on_cpu(), Some(CpuId(2)));
}

/// Two vCPUs that have each run on a CPU of their own: the first, 0, runs; the second, 1, sleeps.
fn a_pair(m: &mut Machine) -> [Handle; 2] {
    let pair = [hog(m), hog(m)];
    for (n, &v) in pair.iter().enumerate() {
        pin_to(m, v, &[n as u32]);
        m.wake(v);
    }
    m.run(MS);
    pair.iter().for_each(|&v| pin_to(m, v, &[0, 1]));
    m.on(pair[1], |q, t, v, now| q.block(t, v, now));
    m.run(MS);
    assert_eq!(m.running(), [Some(pair[0]), None]);
    pair
}

#[test]
fn one_whose_own_cpu_was_told_of_it_is_not_taken_by_one_that_becomes_idle_first() {
    let mut m = Machine::new(1, 2);
    let [first, second] = a_pair(&mut m);
    let (now, t) = (m.now, &m.table);
    let q = &mut m.queues[0];
    assert_eq!(q.wake(t, second, now), Next::Kick(CpuId(1)));
    assert_eq!(q.block(t, first, now), Next::Kick(CpuId(0)));
    let idle = q.pick(t, CpuId(0), now);
    assert_eq!((idle.next, idle.left, idle.kick), (None, Some(first), None));
    assert_eq!(q.pick(t, CpuId(1), now).next, Some(second));
}

#[test]
fn one_whose_cpu_finds_better_work_is_offered_to_the_others() {
    let mut m = Machine::new(1, 2);
    let [first, second] = a_pair(&mut m);
    let third = hog(&mut m);
    pin_to(&mut m, third, &[1]);
    let (now, t) = (m.now, &m.table);
    let q = &mut m.queues[0];
    assert_eq!(q.wake(t, second, now), Next::Kick(CpuId(1)));
    assert_eq!(q.wake(t, third, now), Next::Nothing);
    assert_eq!(q.block(t, first, now), Next::Kick(CpuId(0)));
    assert_eq!(q.pick(t, CpuId(0), now).next, None);
    // The third may run only there, and it has had less.
    t.units[second.0 as usize].vtime.set(t.units[third.0 as usize].vtime.get() + 600_000);
    let picked = q.pick(t, CpuId(1), now);
    assert_eq!((picked.next, picked.kick), (Some(third), Some(CpuId(0))));
    assert_eq!(q.pick(t, CpuId(0), now).next, Some(second));
}

#[test]
fn a_cpu_prefers_one_that_it_knows_unless_another_waits_for_much_longer() {
    for (lead, known_first) in [(400_000, true), (600_000, false)] {
        let mut m = Machine::new(1, 2);
        let [stranger, known] = a_pair(&mut m);
        m.on(stranger, |q, t, v, now| q.block(t, v, now));
        let others = [hog(&mut m), hog(&mut m)];
        for (n, &v) in others.iter().enumerate() {
            pin_to(&mut m, v, &[n as u32]);
            m.wake(v);
        }
        m.run(MS);
        assert_eq!(m.running(), others.map(Some));
        let (now, t) = (m.now, &m.table);
        let q = &mut m.queues[0];
        for (v, vtime) in [(stranger, 1 << 40), (known, (1 << 40) + lead)] {
            let _ = q.wake(t, v, now);
            let unit = t.unit(v).unwrap();
            q.waiting.remove(t, unit);
            unit.vtime.set(vtime);
            q.waiting.insert(t, v, unit);
        }
        let _ = q.block(t, others[1], now);
        let expected = if known_first { known } else { stranger };
        assert_eq!(q.pick(t, CpuId(1), now).next, Some(expected));
    }
}

#[test]
fn an_idle_cpu_that_is_liked_is_chosen_before_others() {
    let mut m = Machine::new(1, 4);
    let v = hog(&mut m);
    let soft = CpuSet::of(CpuId(3));
    m.on(v, |q, t, v, now| q.set_affinity(t, v, (CpuSet::ALL, soft), now));
    m.wake(v);
    m.run(1);
    assert_eq!(m.unit(v).on_cpu(), Some(CpuId(3)));
}

#[test]
fn a_running_vcpu_leaves_a_cpu_that_it_may_no_longer_use() {
    let mut m = Machine::new(1, 2);
    let v = hog(&mut m);
    m.wake(v);
    m.run(MS);
    let old = m.unit(v).on_cpu().unwrap();
    pin_to(&mut m, v, &[1 - old.0]);
    m.run(MS);
    assert_eq!(m.unit(v).on_cpu(), Some(CpuId(1 - old.0)));
}

#[test]
fn a_pin_overrides_affinity_until_it_is_taken_away() {
    let mut m = Machine::new(1, 2);
    let v = hog(&mut m);
    pin_to(&mut m, v, &[0]);
    m.on(v, |q, t, v, now| q.set_pin(t, v, Some(CpuId(1)), now));
    m.wake(v);
    m.run(MS);
    assert_eq!(m.unit(v).on_cpu(), Some(CpuId(1)));
    m.on(v, |q, t, v, now| q.set_pin(t, v, None, now));
    m.run(MS);
    assert_eq!(m.unit(v).on_cpu(), Some(CpuId(0)));
}

#[test]
fn a_vcpu_whose_cpus_belong_to_another_queue_is_moved_there() {
    let mut m = Machine::new(2, 1);
    let v = hog(&mut m);
    pin_to(&mut m, v, &[1]);
    m.wake(v);
    m.run(MS);
    assert_eq!((m.home(v), m.unit(v).on_cpu()), (1, Some(CpuId(1))));
}

#[test]
fn an_idle_queue_steals_and_unequal_queues_are_levelled() {
    let mut m = Machine::new(2, 1);
    let vcpus: Vec<Handle> = (0..4).map(|_| hog(&mut m)).collect();
    vcpus.iter().for_each(|&v| m.wake(v));
    m.run(2_000 * MS);
    for v in vcpus {
        let got = m.ran(v);
        assert!((950 * MS..1050 * MS).contains(&got), "{v:?} got {got}");
    }
}

#[test]
fn a_cpu_that_goes_leaves_its_work_to_others() {
    let mut m = Machine::new(2, 2);
    let vcpus: Vec<Handle> = (0..6).map(|_| hog(&mut m)).collect();
    vcpus.iter().for_each(|&v| m.wake(v));
    m.run(100 * MS);
    for cpu in [0, 1] {
        m.retire(cpu);
        m.run(50 * MS);
        assert_eq!(m.running()[cpu as usize], None);
    }
    let before: Vec<u64> = vcpus.iter().map(|&v| m.ran(v)).collect();
    m.run(600 * MS);
    for (v, before) in vcpus.iter().zip(before) {
        assert!(m.ran(*v) - before > 150 * MS, "{v:?} was left behind");
    }
    m.queues[0].add_cpu(CpuId(0)).unwrap();
    assert_eq!(m.queues[0].add_cpu(CpuId(0)), Err(Errno::EEXIST));
}

#[test]
fn queues_refuse_what_is_not_theirs_to_do() {
    let mut m = Machine::new(1, 1);
    let v = hog(&mut m);
    assert_eq!(m.queues[0].insert(&m.table, v), Err(Errno::EEXIST));
    assert_eq!(m.queues[0].add_cpu(CpuId(256)), Err(Errno::EINVAL));
    assert_eq!(m.queues[0].remove_cpu(CpuId(0)), Err(Errno::EBUSY));
    assert_eq!(m.queues[0].remove_cpu(CpuId(9)), Err(Errno::ENOENT));
    for n in 1..16 {
        m.queues[0].add_cpu(CpuId(n)).unwrap();
    }
    assert_eq!(m.queues[0].add_cpu(CpuId(16)), Err(Errno::ENOSPC));
    m.wake(v);
    m.run(MS);
    assert_eq!(m.queues[0].remove(&m.table, v), Err(Errno::EBUSY));
    m.on(v, |q, t, v, now| q.pause(t, v, now));
    m.run(MS);
    assert_eq!(m.queues[0].remove(&m.table, v), Ok(()));
    assert_eq!(m.unit(v).home(), None);
}

#[test]
fn a_vcpu_without_any_cpu_waits_for_one_without_harm() {
    let mut m = Machine::new(1, 1);
    let v = hog(&mut m);
    pin_to(&mut m, v, &[200]);
    let (q, t) = (&mut m.queues[0], &m.table);
    assert_eq!(q.wake(t, v, m.now), Next::Rehome);
    m.run(MS);
    assert_eq!(m.unit(v).on_cpu(), None);
    m.on(v, |q, t, v, now| q.set_pin(t, v, Some(CpuId(0)), now));
    m.run(MS);
    assert_eq!(m.unit(v).on_cpu(), Some(CpuId(0)));
}

proptest! {
    #![proptest_config(super::cases(32))]

    // That a unit only ever runs where it may is checked by the machine at each decision.
    #[test]
    fn affinity_holds_whatever_happens_and_a_cpu_of_ones_own_is_used(
        queues in 1usize..3,
        moves in prop::collection::vec((0usize..6, 1u32..16, 1u64..4000), 1..80),
    ) {
        let mut m = Machine::new(queues, 4 / queues);
        let vcpus: Vec<Handle> = (0..6).map(|_| hog(&mut m)).collect();
        vcpus.iter().for_each(|&v| m.wake(v));
        for (n, set, time) in moves {
            let cpus: Vec<u32> = (0..4).filter(|c| set >> c & 1 == 1).collect();
            pin_to(&mut m, vcpus[n], &cpus);
            m.run(time * 1000);
        }
        for (n, &v) in vcpus.iter().enumerate() {
            pin_to(&mut m, v, &[n as u32 % 4]);
        }
        let before: Vec<u64> = vcpus.iter().map(|&v| m.ran(v)).collect();
        m.run(1_000 * MS);
        for (n, (v, before)) in vcpus.iter().zip(before).enumerate() {
            let alone = n % 4 >= 2;
            let least = if alone { 950 * MS } else { 350 * MS };
            prop_assert!(m.ran(*v) - before > least, "vCPU {n} got {}", m.ran(*v) - before);
        }
    }
}
