//! A guest that writes anything anywhere in its shared memory, at any time.

use super::Domain;
use crate::{Peer, State};
use abi::{DomId, Errno, Port, VcpuId};
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

const PORTS: u32 = 8;

fn domain() -> Domain {
    let mut d = Domain::new(1, 2, 1 << 17, 1);
    d.init_control(0).unwrap();
    d.init_control(1).unwrap();
    d.expand().unwrap();
    for n in 0..PORTS {
        assert_eq!(d.events.bind_ipi(&mut d.lock, VcpuId(n % 2)), Ok(Port(n + 1)));
    }
    d
}

fn scribble(d: &Domain, place: u32, value: u32) {
    let memory = d.memory();
    let vcpu = &memory.vcpus[place as usize % 2];
    match place % 5 {
        0..3 => memory.words[(place / 5 % (PORTS + 2)) as usize].store(value, SeqCst),
        3 => vcpu.ready.store(value, SeqCst),
        _ => vcpu.heads[place as usize / 5 % 16].store(value, SeqCst),
    }
    vcpu.upcall.store(value as u8, SeqCst);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]

    #[test]
    fn scribbling_changes_no_binding_and_stops_nothing(
        ops in prop::collection::vec((0u32..4, any::<u32>(), any::<u32>()), 1..200)
    ) {
        let mut d = domain();
        for (what, place, value) in ops {
            let port = Port(place % PORTS + 1);
            match what {
                0 => scribble(&d, place, value),
                1 => prop_assert!(d.events.send(port).is_ok()),
                2 => prop_assert!(d.events.unmask(port).is_ok()),
                _ => {
                    let set = d.events.set_priority(&mut d.lock, port, value % 18);
                    prop_assert_eq!(set.is_ok(), value % 18 < 16);
                }
            }
        }
        for n in 1..=PORTS {
            let status = d.events.status(Port(n)).unwrap();
            prop_assert_eq!((status.state, status.vcpu.0), (State::Ipi, (n - 1) % 2));
        }
    }
}

#[test]
fn a_guest_that_keeps_every_word_linked_runs_out_of_ports_only_for_itself() {
    let mut d = domain();
    for word in &d.memory().words {
        word.store(u32::MAX, SeqCst);
    }
    let _ = d.events.close(&mut d.lock, Port(3), Peer::None).unwrap();
    // Its own port 3 stays out of use; the next without a word is taken.
    assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(2)), Ok(Port(1024)));
    d.memory().words[3].store(0, SeqCst);
    assert_eq!(d.events.alloc_unbound(&mut d.lock, DomId(2)), Ok(Port(3)));
    let mut small = Domain::new(1, 1, 20, 1);
    small.init_control(0).unwrap();
    small.expand().unwrap();
    small.memory().words.iter().for_each(|w| w.store(u32::MAX, SeqCst));
    assert_eq!(small.events.alloc_unbound(&mut small.lock, DomId(2)), Err(Errno::ENOSPC));
}

#[test]
fn words_that_change_all_the_time_hold_no_sender_up() {
    let d = domain();
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut x = 1u32;
            while !done.load(SeqCst) {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                scribble(&d, x >> 8, x.rotate_left(16));
            }
        });
        for n in 0..50_000u32 {
            let port = Port(n % PORTS + 1);
            assert!(d.events.send(port).is_ok());
            assert!(d.events.unmask(port).is_ok());
        }
        done.store(true, SeqCst);
    });
}
