//! Several CPUs at once.

use super::*;
use crate::{Maptrack, Version};
use abi::GrantHandle;
use std::sync::Barrier;
use std::thread;

const THREADS: u32 = 4;
const ROUNDS: u32 = 3000;

/// A small generator: threads need no better one.
fn random(seed: &mut u32) -> u32 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    *seed
}

#[test]
fn maps_and_unmaps_on_many_cpus_leave_nothing_behind() {
    let table = table(OWNER, 1);
    let maptrack = Maptrack::new(4, Handles::new(4));
    for gref in 0..4 {
        grant(&table, gref, gtf::PERMIT_ACCESS, USER, u64::from(gref));
    }
    thread::scope(|scope| {
        for number in 1..=THREADS {
            let (table, maptrack) = (&table, &maptrack);
            scope.spawn(move || {
                let mut seed = number * 7919;
                let mut held: Vec<GrantHandle> = vec![];
                for _ in 0..ROUNDS {
                    let word = random(&mut seed);
                    if word.is_multiple_of(2) && held.len() < 200 {
                        held.extend(map_one(table, maptrack, word));
                    } else if let Some(handle) = held.pop() {
                        unmap_one(table, maptrack, handle);
                    }
                    if number == 1 && word.is_multiple_of(64) {
                        let wanted =
                            if word.is_multiple_of(128) { Version::V1 } else { Version::V2 };
                        table.admin().set_version(wanted).unwrap();
                    }
                }
                held.into_iter().for_each(|handle| unmap_one(table, maptrack, handle));
            });
        }
    });
    for gref in 0..4 {
        assert!(!table.memory().active[gref].pins().any());
        assert_eq!(marks(&table, gref as u32), 0);
    }
    assert_eq!(maptrack.drain(&mut 0, &mut 5000), None);
}

fn map_one(
    table: &GrantTable<Plain>,
    maptrack: &Maptrack<Handles>,
    word: u32,
) -> Option<GrantHandle> {
    let gref = GrantRef((word >> 8) % 4);
    let access = Access::host(word & 16 != 0);
    let slot = loop {
        match maptrack.reserve() {
            Ok(slot) => break slot,
            Err(_) => maptrack.grow(|_| Ok(())).unwrap(),
        }
    };
    // Reserved entries survive each change of version, so every map succeeds.
    let mapped = table.map(gref, USER, access, resolve(OWNER)).unwrap();
    assert_eq!(mapped.mfn, Mfn(u64::from(gref.0) * 1000 + 5));
    Some(maptrack.commit(slot, OWNER, gref, access))
}

fn unmap_one(table: &GrantTable<Plain>, maptrack: &Maptrack<Handles>, handle: GrantHandle) {
    let claim = maptrack.claim(handle).unwrap();
    let access = claim.access;
    table.unpin(claim.gref, access).unwrap();
    assert!(maptrack.finish(claim, access));
}

#[test]
fn of_many_cpus_that_unmap_one_handle_exactly_one_wins() {
    let maptrack = Maptrack::new(1, Handles::new(1));
    maptrack.grow(|_| Ok(())).unwrap();
    let barrier = Barrier::new(THREADS as usize);
    let wins = AtomicU32::new(0);
    let handles: Vec<AtomicU32> = (0..500).map(|_| AtomicU32::new(0)).collect();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (maptrack, barrier, wins, handles) = (&maptrack, &barrier, &wins, &handles);
            scope.spawn(move || {
                for slot in handles {
                    if number == 0 {
                        let reserved = maptrack.reserve().unwrap();
                        let handle = maptrack.commit(reserved, OWNER, GrantRef(1), READ);
                        slot.store(handle.0, Ordering::SeqCst);
                    }
                    barrier.wait();
                    let handle = GrantHandle(slot.load(Ordering::SeqCst));
                    if let Ok(claim) = maptrack.claim(handle) {
                        wins.fetch_add(1, Ordering::SeqCst);
                        maptrack.finish(claim, READ);
                    }
                    barrier.wait();
                }
            });
        }
    });
    assert_eq!(wins.load(Ordering::SeqCst), 500);
}
