//! Who gets how much.

use super::machine::{Behaviour, MS, Machine};
use crate::{CpuSet, Handle};
use abi::CpuId;
use proptest::prelude::*;

const SECOND: u64 = 1_000 * MS;

fn hogs(m: &mut Machine, weights: &[u32]) -> Vec<Handle> {
    weights
        .iter()
        .map(|&w| {
            let domain = m.domain(w, 0);
            let vcpu = m.vcpu(domain, Behaviour::Hog);
            m.wake(vcpu);
            vcpu
        })
        .collect()
}

/// What each gets of `cpus` CPUs by its weight, when none can use more than one.
fn due(weights: &[u32], cpus: usize) -> Vec<f64> {
    let mut due = vec![0.0; weights.len()];
    let mut open: Vec<usize> = (0..weights.len()).collect();
    let mut left = cpus as f64;
    loop {
        let sum: f64 = open.iter().map(|&n| f64::from(weights[n])).sum();
        let full = open.iter().position(|&n| f64::from(weights[n]) / sum * left >= 1.0);
        match full {
            Some(at) => {
                due[open.remove(at)] = 1.0;
                left -= 1.0;
            }
            None => {
                open.iter().for_each(|&n| due[n] = f64::from(weights[n]) / sum * left);
                return due;
            }
        }
    }
}

fn check(m: &Machine, vcpus: &[Handle], due: &[f64], time: u64, tolerance: f64) {
    for (n, (&v, &due)) in vcpus.iter().zip(due).enumerate() {
        let got = m.ran(v) as f64 / time as f64;
        assert!((got - due).abs() <= tolerance, "vCPU {n}: {got:.4} of a CPU, {due:.4} is due");
    }
}

proptest! {
    #![proptest_config(super::cases(24))]

    #[test]
    fn time_is_shared_by_weight(
        cpus in 1usize..5,
        weights in prop::collection::vec(prop::sample::select(vec![64u32, 128, 256, 512, 1024]), 1..9),
    ) {
        let mut m = Machine::new(1, cpus);
        let vcpus = hogs(&mut m, &weights);
        m.run(4 * SECOND);
        let due = due(&weights, cpus.min(weights.len()));
        check(&m, &vcpus, &due, 4 * SECOND, 0.03);
    }

    #[test]
    fn nobody_starves_and_no_cpu_idles_while_somebody_waits(
        cpus in 1usize..5,
        work in prop::collection::vec((1u64..2000, 0u64..4000, 1u32..2000), 1..10),
        switch in 0u64..50_000,
    ) {
        let mut m = Machine::new(1, cpus);
        m.switch_time = switch.max(1);
        let mut vcpus = vec![];
        for &(run, sleep, weight) in &work {
            let domain = m.domain(weight, 0);
            let behaviour = match sleep {
                0..400 => Behaviour::Hog,
                _ => Behaviour::Periodic(run * 10_000, sleep * 10_000),
            };
            vcpus.push(m.vcpu(domain, behaviour));
        }
        vcpus.iter().for_each(|&v| m.wake(v));
        for _ in 0..1000 {
            m.run(MS);
            let (idle, picking) = m.idle_cpus();
            let waiting = m.queues[0].waiting() as usize;
            prop_assert!(idle == 0 || waiting <= picking, "work is left lying");
        }
        for v in vcpus {
            prop_assert!(m.ran(v) > 0, "{v:?} never ran");
        }
    }
}

#[test]
fn two_vcpus_of_equal_weight_on_one_cpu_get_half_each() {
    let mut m = Machine::new(1, 1);
    let v = hogs(&mut m, &[256, 256]);
    m.run(SECOND);
    check(&m, &v, &[0.5, 0.5], SECOND, 0.02);
}

#[test]
fn extreme_weights_are_honoured_but_leave_the_small_one_something() {
    let mut m = Machine::new(1, 1);
    let v = hogs(&mut m, &[65_535, 1]);
    m.run(20 * SECOND);
    assert!(m.ran(v[0]) > 19 * SECOND);
    assert!(m.ran(v[1]) > 0);
}

#[test]
fn a_newcomer_does_not_make_up_for_the_time_before_it_came() {
    let mut m = Machine::new(1, 1);
    let old = hogs(&mut m, &[256]);
    m.run(5 * SECOND);
    let before = m.ran(old[0]);
    let new = hogs(&mut m, &[256]);
    m.run(SECOND);
    let share = (m.ran(old[0]) - before) as f64 / SECOND as f64;
    assert!((share - 0.5).abs() < 0.03, "the old one got {share}");
    assert!(m.ran(new[0]) > 470 * MS);
}

#[test]
fn one_alone_on_its_cpu_does_not_pay_for_it_later() {
    let mut m = Machine::new(1, 2);
    let v = hogs(&mut m, &[256, 256, 256]);
    for (n, cpu) in [(0, 0), (1, 0), (2, 1)] {
        let set = CpuSet::of(CpuId(cpu));
        m.on(v[n], |q, t, h, now| q.set_affinity(t, h, (set, CpuSet::ALL), now));
    }
    m.run(5 * SECOND);
    assert!(m.ran(v[2]) > 49 * SECOND / 10);
    let before = m.ran(v[2]);
    hogs(&mut m, &[256]);
    m.run(SECOND);
    assert!(m.ran(v[2]) - before > 300 * MS, "starved by the newcomer");
}

#[test]
fn a_long_sleep_does_not_buy_a_long_run() {
    let mut m = Machine::new(1, 1);
    let hog = hogs(&mut m, &[256]);
    let domain = m.domain(256, 0);
    let sleeper = m.vcpu(domain, Behaviour::Hog);
    m.run(10 * SECOND);
    m.wake(sleeper);
    let before = m.ran(hog[0]);
    m.run(100 * MS);
    assert!(m.ran(hog[0]) - before > 35 * MS, "the sleeper ran for what it had slept");
}

#[test]
fn units_that_were_parked_together_come_back_on_as_many_cpus() {
    let mut m = Machine::new(1, 4);
    let domain = m.domain(256, 200);
    let vs: Vec<Handle> = (0..4).map(|_| m.vcpu(domain, Behaviour::Hog)).collect();
    vs.iter().for_each(|&v| m.wake(v));
    m.run(500 * MS);
    let mut least = u64::MAX;
    for _ in 0..50 {
        let before: Vec<u64> = vs.iter().map(|&v| m.ran(v)).collect();
        m.run(20 * MS);
        let got = vs.iter().zip(before).filter(|(v, b)| m.ran(**v) > *b).count();
        least = least.min(got as u64);
    }
    assert_eq!(least, 4, "one of four never got a CPU within two periods");
}

#[test]
fn a_sleeper_gets_the_cpu_soon_after_it_wakes() {
    let mut m = Machine::new(1, 1);
    let hog = hogs(&mut m, &[256, 256, 256]);
    let domain = m.domain(256, 0);
    let v = m.vcpu(domain, Behaviour::Periodic(100_000, 20 * MS));
    m.wake(v);
    m.run(2 * SECOND);
    assert!(m.longest_wait[v.0 as usize] <= 2 * MS, "waited {}", m.longest_wait[v.0 as usize]);
    assert!(m.ran(v) > 9 * MS);
    assert!(m.ran(hog[0]) > 600 * MS);
}

#[test]
fn a_cap_is_kept_with_any_number_of_vcpus_and_nothing_else_to_do() {
    for (cap, vcpus) in [(10u16, 1), (50, 1), (50, 4), (150, 3), (1, 2), (250, 4)] {
        let mut m = Machine::new(1, 4);
        let domain = m.domain(256, cap);
        let vs: Vec<Handle> = (0..vcpus).map(|_| m.vcpu(domain, Behaviour::Hog)).collect();
        vs.iter().for_each(|&v| m.wake(v));
        m.run(2 * SECOND);
        let got: u64 = vs.iter().map(|&v| m.ran(v)).sum();
        let percent = got as f64 / (2 * SECOND) as f64 * 100.0;
        let due = f64::from(cap).min(f64::from(vcpus) * 100.0);
        assert!((percent - due).abs() <= due * 0.03 + 0.2, "cap {cap}, {vcpus} vCPUs: {percent}");
        assert!(vs.iter().all(|&v| m.ran(v) > 0));
    }
}

#[test]
fn what_a_capped_domain_may_not_use_others_get() {
    let mut m = Machine::new(1, 1);
    let capped = m.domain(256, 20);
    let v = m.vcpu(capped, Behaviour::Hog);
    m.wake(v);
    let free = hogs(&mut m, &[256]);
    m.run(2 * SECOND);
    check(&m, &[v, free[0]], &[0.2, 0.8], 2 * SECOND, 0.02);
    m.table.shares[capped].set(0, 0).unwrap();
    let before = m.ran(v);
    m.run(SECOND);
    assert!(m.ran(v) - before > 470 * MS, "uncapped again");
}

#[test]
fn parameters_out_of_range_are_refused() {
    let share = crate::Share::new();
    assert!(share.set(65_536, 0).is_err());
    assert_eq!((share.weight(), share.cap()), (256, 0));
    share.set(0, 30).unwrap();
    assert_eq!((share.weight(), share.cap()), (256, 30));
    let mut queue = crate::Queue::new(crate::QueueId(0));
    assert!(queue.set_ratelimit_us(99).is_err());
    assert!(queue.set_ratelimit_us(500_001).is_err());
    assert!(queue.set_ratelimit_us(0).is_ok());
    assert_eq!(queue.ratelimit_us(), 0);
}
