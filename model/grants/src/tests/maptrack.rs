//! Map handles.

use super::*;
use crate::Maptrack;
use crate::maptrack::NoHandle;
use abi::GrantHandle;
use std::collections::BTreeSet;

fn grown(frames: u32) -> Maptrack<Handles> {
    let maptrack = Maptrack::new(frames, Handles::new(frames as usize));
    for _ in 0..frames {
        maptrack.grow(|_| Ok(())).unwrap();
    }
    maptrack
}

#[test]
fn every_handle_is_given_out_once_and_then_there_are_no_more() {
    let maptrack = grown(2);
    let all: BTreeSet<u32> = (0..512)
        .map(|n| maptrack.commit(maptrack.reserve().unwrap(), OWNER, GrantRef(n), READ).0)
        .collect();
    assert_eq!(all, (0..512).collect());
    assert_eq!(maptrack.reserve(), Err(NoHandle::Full));
    assert_eq!(maptrack.grow(|_| Ok(())), Err(Status::NoSpace));
}

#[test]
fn an_empty_maptrack_asks_for_a_frame_and_survives_not_getting_one() {
    let maptrack = Maptrack::new(2, Handles::new(2));
    assert_eq!(maptrack.reserve(), Err(NoHandle::NeedFrame));
    assert_eq!(maptrack.grow(|_| Err(Status::NoSpace)), Err(Status::NoSpace));
    assert_eq!(maptrack.sizes(), (0, 2));
    maptrack.grow(|frame| if frame == 0 { Ok(()) } else { Err(Status::BadPage) }).unwrap();
    let slot = maptrack.reserve().unwrap();
    maptrack.cancel(slot);
}

#[test]
fn forged_stale_reserved_and_busy_handles_are_bad() {
    let maptrack = grown(1);
    let bad = |handle| assert_eq!(maptrack.claim(GrantHandle(handle)), Err(Status::BadHandle));
    (0..256).chain([256, 257, 0x7fff_ffff, !0]).for_each(bad);
    let reserved = maptrack.reserve().unwrap();
    (0..256).for_each(bad);
    assert_eq!(maptrack.in_use(), 0);
    let handle = maptrack.commit(reserved, OWNER, GrantRef(77), READ);
    assert_eq!(maptrack.in_use(), 1);
    let claim = maptrack.claim(handle).unwrap();
    assert_eq!((claim.domid, claim.gref, claim.access), (OWNER, GrantRef(77), READ));
    bad(handle.0);
    maptrack.abort(claim);
    let claim = maptrack.claim(handle).unwrap();
    assert!(maptrack.finish(claim, READ));
    bad(handle.0);
    assert_eq!(maptrack.in_use(), 0);
}

#[test]
fn a_mapping_for_cpus_and_devices_ends_in_two_steps_in_either_order() {
    for (first, second) in [((true, false), (false, true)), ((false, true), (true, false))] {
        let maptrack = grown(1);
        let both = Access { host: true, device: true, readonly: true };
        let slot = maptrack.reserve().unwrap();
        let handle = maptrack.commit(slot, OWNER, GrantRef(1), both);
        let claim = maptrack.claim(handle).unwrap();
        assert!(!maptrack.finish(claim, both.only(first.0, first.1)));
        let claim = maptrack.claim(handle).unwrap();
        assert_eq!(claim.access, both.only(second.0, second.1));
        assert_eq!(
            claim.access.only(first.0, first.1),
            Access { host: false, device: false, readonly: true }
        );
        assert!(maptrack.finish(claim, both.only(second.0, second.1)));
        assert_eq!(maptrack.claim(handle), Err(Status::BadHandle));
    }
}

#[test]
fn draining_finds_every_live_handle_within_its_budget() {
    let maptrack = grown(2);
    let handles: Vec<_> = (0..300)
        .map(|n| maptrack.commit(maptrack.reserve().unwrap(), OWNER, GrantRef(n), READ))
        .collect();
    for handle in handles.iter().step_by(3) {
        let claim = maptrack.claim(*handle).unwrap();
        maptrack.finish(claim, READ);
    }
    let (mut cursor, mut budget, mut found) = (0, 10, BTreeSet::new());
    loop {
        match maptrack.drain(&mut cursor, &mut budget) {
            Some(claim) => {
                found.insert(claim.gref.0);
                maptrack.finish(claim, READ);
            }
            None if budget > 0 => break,
            None => budget = 10,
        }
    }
    assert_eq!(found, (0..300).filter(|n| n % 3 != 0).collect());
    // Everything is free again.
    for _ in 0..512 {
        let _ = maptrack.reserve().unwrap();
    }
}
