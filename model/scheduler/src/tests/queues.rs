//! Machines with more CPUs than one queue serves, and caps.

use super::machine::{Behaviour, MS, Machine};
use crate::{CpuSet, Handle, PERIOD, SLOTS};
use abi::CpuId;
use proptest::prelude::*;

const SECOND: u64 = 1_000 * MS;

fn hogs(m: &mut Machine, count: usize) -> Vec<Handle> {
    let domain = m.domain(256, 0);
    let all: Vec<Handle> = (0..count).map(|_| m.vcpu(domain, Behaviour::Hog)).collect();
    all.iter().for_each(|&v| m.wake(v));
    all
}

fn ran(m: &Machine, vcpus: &[Handle]) -> Vec<u64> {
    vcpus.iter().map(|&v| m.ran(v)).collect()
}

/// What each ran while `time` passed.
fn gained(m: &mut Machine, vcpus: &[Handle], time: u64) -> Vec<u64> {
    let before = ran(m, vcpus);
    m.run(time);
    ran(m, vcpus).iter().zip(before).map(|(now, before)| now - before).collect()
}

fn set_hard(m: &mut Machine, v: Handle, cpus: impl IntoIterator<Item = u32>) {
    let mut set = CpuSet::EMPTY;
    cpus.into_iter().for_each(|c| set.insert(CpuId(c)));
    m.on(v, |q, t, v, now| q.set_affinity(t, v, (set, CpuSet::ALL), now));
}

proptest! {
    #![proptest_config(super::cases(12))]

    // All start in the first queue; the others must come for them.
    #[test]
    fn all_cpus_of_all_queues_work_while_there_is_work_and_nobody_starves(
        queues in 2usize..5,
        cpus in 9usize..=SLOTS,
        load in 1usize..40,
    ) {
        let all = queues * cpus;
        let count = all * load / 20 + 1;
        let mut m = Machine::new(queues, cpus);
        let vcpus = hogs(&mut m, count);
        m.run(200 * MS);
        let time = SECOND / 2;
        let got = gained(&mut m, &vcpus, time);
        let busy = all.min(count) as u64;
        let sum: u64 = got.iter().sum();
        prop_assert!(sum >= busy * time * 97 / 100, "{sum} ns by {busy} CPUs");
        // Queues that differ by one vCPU are level, so shares are not quite equal.
        let due = time * busy / count as u64;
        let least = got.iter().min().copied().unwrap_or(0);
        prop_assert!(least >= due / 2, "one got {least} of {due} ns");
    }

    #[test]
    fn a_vcpu_follows_its_affinity_from_queue_to_queue(
        moves in prop::collection::vec((0usize..8, 0u32..48, 1u32..17, 1u64..3000), 1..30),
    ) {
        let mut m = Machine::new(3, SLOTS);
        let vcpus = hogs(&mut m, 8);
        for (n, first, len, time) in moves {
            // The machine checks at each decision that the CPU is allowed.
            set_hard(&mut m, vcpus[n], first..(first + len).min(48));
            m.run(time * 1000);
        }
        for (n, &v) in vcpus.iter().enumerate() {
            set_hard(&mut m, v, [n as u32 * 6]);
        }
        m.run(2 * MS);
        let got = gained(&mut m, &vcpus, 100 * MS);
        for (n, (&v, got)) in vcpus.iter().zip(got).enumerate() {
            prop_assert_eq!(m.unit(v).on_cpu(), Some(CpuId(n as u32 * 6)));
            prop_assert_eq!(m.home(v), n * 6 / SLOTS);
            prop_assert_eq!(got, 100 * MS, "it is alone there");
        }
    }

    /// Several domains with and without caps, over one queue or several: in no stretch of time
    /// does a capped one get more than its cap, give or take the periods at its ends; and it gets
    /// its cap where nobody stands in its way.
    #[test]
    fn caps_hold_at_all_times_and_are_reached_on_idle_cpus(
        queues in 1usize..4,
        cpus in 1usize..=6,
        domains in prop::collection::vec((0u16..250, 1usize..5, any::<bool>()), 1..5),
        steps in prop::collection::vec(1u64..60, 20..40),
        late in 0u64..300_000,
    ) {
        let mut m = Machine::new(queues, cpus);
        m.late = late;
        let mut all = vec![];
        for &(cap, count, sleepy) in &domains {
            let domain = m.domain(256, cap);
            let what = if sleepy { Behaviour::Periodic(3 * MS, 2 * MS) } else { Behaviour::Hog };
            let vs: Vec<Handle> = (0..count).map(|_| m.vcpu(domain, what)).collect();
            vs.iter().for_each(|&v| m.wake(v));
            all.push(vs);
        }
        let wanted: usize = domains.iter().map(|d| d.1).sum();
        m.run(100 * MS);
        let start = m.now;
        let mut marks = vec![vec![0u64; domains.len()]];
        let mut at = vec![start];
        let first: Vec<u64> = all.iter().map(|vs| ran(&m, vs).iter().sum()).collect();
        for step in steps {
            m.run(step * MS);
            let sums = all.iter().map(|vs| ran(&m, vs).iter().sum::<u64>());
            marks.push(sums.zip(&first).map(|(now, first)| now - first).collect());
            at.push(m.now);
        }
        for (d, &(cap, count, sleepy)) in domains.iter().enumerate() {
            if cap == 0 {
                continue;
            }
            // Running too long now and then is taken off later.
            let over = 10_000 + 2 * late * count as u64;
            let allowed = |time: u64| (time + 2 * PERIOD) * u64::from(cap) / 100 + over;
            for i in 0..at.len() {
                for j in i + 1..at.len() {
                    let got = marks[j][d] - marks[i][d];
                    let time = at[j] - at[i];
                    prop_assert!(got <= allowed(time), "{cap}%: {got} ns in {time}");
                }
            }
            if !sleepy && wanted <= queues * cpus {
                let time = m.now - start;
                let got = marks[marks.len() - 1][d];
                let most = time * (u64::from(cap)).min(count as u64 * 100) / 100;
                let least = most * 9 / 10 - 2 * PERIOD.min(most * 9 / 20);
                prop_assert!(got >= least, "{cap}% of {count} vCPUs: {got} ns, {most} due");
            }
        }
    }
}

#[test]
fn a_cap_counts_for_a_domain_whose_vcpus_are_in_several_queues() {
    let mut m = Machine::new(3, SLOTS);
    let domain = m.domain(256, 120);
    let vs: Vec<Handle> = (0..3).map(|_| m.vcpu(domain, Behaviour::Hog)).collect();
    for (n, &v) in vs.iter().enumerate() {
        set_hard(&mut m, v, [(n * SLOTS) as u32]);
        m.wake(v);
    }
    m.run(50 * MS);
    let got = gained(&mut m, &vs, SECOND);
    assert!((0..3).all(|n| m.home(vs[n]) == n));
    let percent = got.iter().sum::<u64>() as f64 / SECOND as f64 * 100.0;
    assert!((percent - 120.0).abs() < 4.0, "{percent}");
    assert!(got.iter().all(|&g| g > 0), "{got:?}");
}
