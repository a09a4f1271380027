//! Delivery by bitmaps.

use super::Domain;
use crate::{Raised, Target};
use abi::{Port, VcpuId};
use std::sync::atomic::Ordering::SeqCst;

fn with_ipi() -> (Domain, Port) {
    let mut d = Domain::new(1, 2, 4095, 0);
    for _ in 0..69 {
        d.events.bind_ipi(&mut d.lock, VcpuId(0)).unwrap();
    }
    let port = d.events.bind_ipi(&mut d.lock, VcpuId(1)).unwrap();
    (d, port)
}

#[test]
fn an_event_sets_its_bit_the_words_bit_and_the_upcall() {
    let (d, port) = with_ipi();
    assert_eq!(port, Port(70));
    let raised = Raised { kick: Some(VcpuId(1)), newly_pending: true };
    assert_eq!(d.events.send(port), Ok(Target::Done(raised)));
    assert_eq!(d.memory().pending[1].load(SeqCst), 1 << 6);
    assert_eq!(d.memory().vcpus[1].sel.load(SeqCst), 1 << 1);
    assert_eq!(d.memory().vcpus[1].upcall.load(SeqCst), 1);
    assert_eq!(d.memory().vcpus[0].upcall.load(SeqCst), 0);
}

#[test]
fn a_masked_event_waits_for_the_unmask() {
    let (d, port) = with_ipi();
    d.memory().mask[1].store(1 << 6, SeqCst);
    let raised = Raised { kick: None, newly_pending: true };
    assert_eq!(d.events.send(port), Ok(Target::Done(raised)), "pollers see it all the same");
    assert_eq!(d.memory().vcpus[1].upcall.load(SeqCst), 0);
    let raised = Raised { kick: Some(VcpuId(1)), newly_pending: false };
    assert_eq!(d.events.unmask(port), Ok(raised));
    assert_eq!(d.memory().mask[1].load(SeqCst), 0);
    assert_eq!(d.events.unmask(port), Ok(Raised::NOTHING), "it was not masked");
}

#[test]
fn a_vcpu_whose_upcall_is_pending_is_not_kicked_again() {
    let (d, port) = with_ipi();
    d.memory().vcpus[1].upcall.store(0xff, SeqCst);
    let raised = Raised { kick: None, newly_pending: true };
    assert_eq!(d.events.send(port), Ok(Target::Done(raised)));
}

#[test]
fn unmasking_a_port_beyond_the_bitmap_does_nothing() {
    let mut d = Domain::new(1, 1, 1 << 17, 0);
    d.init_control(0).unwrap();
    for _ in 0..4100 {
        d.events.alloc_unbound(&mut d.lock, abi::DomId(0)).unwrap();
    }
    d.events.back_to_two_level(&mut d.lock);
    assert_eq!(d.events.unmask(Port(4099)), Ok(Raised::NOTHING));
    assert_eq!(d.events.is_pending(Port(4099)), Ok(false));
}
