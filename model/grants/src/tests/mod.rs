//! Tests of the crate as a whole, and the memories that they run on.

mod admin;
mod copies;
mod hostile;
mod maptrack;
mod naive;
mod threads;

use crate::shared::{AtomicV1, AtomicV2, Header, Memory};
use crate::status::{Status, gtf};
use crate::table::{GrantTable, Target};
use crate::{Access, ActiveEntry, MapEntry, MaptrackMemory};
use abi::{DomId, GrantRef, Mfn};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

pub const OWNER: DomId = DomId(5);
pub const USER: DomId = DomId(1);
pub const OTHER: DomId = DomId(2);

#[derive(Default)]
pub struct V2Entry {
    pub header: AtomicU32,
    pub span: AtomicU32,
    pub frame: AtomicU64,
    pub status: AtomicU16,
}

/// Well-behaved memory. Unlike in reality the two layouts do not overlap.
pub struct Plain {
    pub v1: Vec<(AtomicU32, AtomicU32)>,
    pub v2: Vec<V2Entry>,
    pub active: Vec<ActiveEntry>,
}

impl Plain {
    pub fn new(frames: usize) -> Plain {
        Plain {
            v1: (0..frames * 512).map(|_| Default::default()).collect(),
            v2: (0..frames * 256).map(|_| Default::default()).collect(),
            active: (0..frames * 512).map(|_| ActiveEntry::new()).collect(),
        }
    }
}

impl Memory for Plain {
    type V1<'a> = AtomicV1<'a>;
    type V2<'a> = AtomicV2<'a>;
    fn v1(&self, gref: GrantRef) -> Option<AtomicV1<'_>> {
        self.v1.get(gref.0 as usize).map(|(header, frame)| AtomicV1 { header, frame })
    }
    fn v2(&self, gref: GrantRef) -> Option<AtomicV2<'_>> {
        let entry = self.v2.get(gref.0 as usize)?;
        let V2Entry { header, span, frame, status } = entry;
        Some(AtomicV2 { header, span, frame, status })
    }
    fn active(&self, gref: GrantRef) -> Option<&ActiveEntry> {
        self.active.get(gref.0 as usize)
    }
}

/// Handles in memory that is all there.
pub struct Handles(pub Vec<MapEntry>);

impl Handles {
    pub fn new(frames: usize) -> Handles {
        Handles((0..frames * 256).map(|_| MapEntry::new()).collect())
    }
}

impl MaptrackMemory for Handles {
    fn entry(&self, index: u32) -> Option<&MapEntry> {
        self.0.get(index as usize)
    }
}

pub fn table(owner: DomId, frames: u32) -> GrantTable<Plain> {
    let table = GrantTable::new(owner, 64, Plain::new(frames as usize));
    table.admin().set_frames(frames);
    table
}

/// A granter's frame `n` is machine frame `1000 n + owner`; it has frames 0 to 49.
pub fn machine_frame(owner: DomId, gfn: u64) -> Result<Mfn, Status> {
    if gfn < 50 { Ok(Mfn(gfn * 1000 + u64::from(owner.0))) } else { Err(Status::BadPage) }
}

/// A resolver for frames of `owner`, with a page reference that is the frame itself.
pub fn resolve(owner: DomId) -> impl FnOnce(Target) -> Result<(Mfn, Mfn), Status> {
    move |target| {
        let mfn = match target {
            Target::Gfn(gfn) => machine_frame(owner, gfn.0)?,
            Target::Mfn(mfn) => mfn,
        };
        Ok((mfn, mfn))
    }
}

pub fn grant(table: &GrantTable<Plain>, gref: u32, flags: u16, to: DomId, frame: u64) {
    let header = Header::new(flags, to).0;
    let memory = table.memory();
    match table.version() {
        crate::Version::V1 => {
            memory.v1[gref as usize].1.store(frame as u32, Ordering::SeqCst);
            memory.v1[gref as usize].0.store(header, Ordering::SeqCst);
        }
        crate::Version::V2 => {
            memory.v2[gref as usize].frame.store(frame, Ordering::SeqCst);
            memory.v2[gref as usize].header.store(header, Ordering::SeqCst);
        }
    }
}

pub fn marks(table: &GrantTable<Plain>, gref: u32) -> u16 {
    let memory = table.memory();
    let word = match table.version() {
        crate::Version::V1 => Header(memory.v1[gref as usize].0.load(Ordering::SeqCst)).flags(),
        crate::Version::V2 => memory.v2[gref as usize].status.load(Ordering::SeqCst),
    };
    word & (gtf::READING | gtf::WRITING)
}

pub const READ: Access = Access::host(true);
pub const WRITE: Access = Access::host(false);

#[test]
fn a_mapping_marks_the_entry_and_the_last_unmapping_clears_it() {
    for version in [1, 2] {
        let table = table(OWNER, 1);
        table.admin().set_version(crate::Version::from_raw(version).unwrap()).unwrap();
        grant(&table, 9, gtf::PERMIT_ACCESS | 1 << 5, USER, 7);
        let mapped = table.map(GrantRef(9), USER, READ, resolve(OWNER)).unwrap();
        assert_eq!((mapped.mfn, mapped.cache_flags), (Mfn(7005), 1 << 5));
        assert_eq!(marks(&table, 9), gtf::READING);
        let _ = table.map(GrantRef(9), USER, WRITE, resolve(OWNER)).unwrap();
        assert_eq!(marks(&table, 9), gtf::READING | gtf::WRITING);
        table.unpin(GrantRef(9), WRITE).unwrap();
        assert_eq!(marks(&table, 9), gtf::READING);
        assert!(table.unpin(GrantRef(9), WRITE).is_err());
        table.unpin(GrantRef(9), READ).unwrap();
        assert_eq!(marks(&table, 9), 0);
        assert_eq!(table.pinned_frame(GrantRef(9)), None);
    }
}

#[test]
fn a_grant_keeps_its_frame_while_in_use_whatever_the_guest_writes() {
    let table = table(OWNER, 1);
    grant(&table, 3, gtf::PERMIT_ACCESS, USER, 7);
    let _ = table.map(GrantRef(3), USER, READ, resolve(OWNER)).unwrap();
    grant(&table, 3, gtf::PERMIT_ACCESS, OTHER, 8);
    assert_eq!(table.pinned_frame(GrantRef(3)), Some(Mfn(7005)));
    let again = table.map(GrantRef(3), USER, READ, resolve(OWNER)).unwrap();
    assert_eq!(again.mfn, Mfn(7005));
    let other = table.map(GrantRef(3), OTHER, READ, resolve(OWNER));
    assert_eq!(other.unwrap_err(), Status::GeneralError);
}

#[test]
fn references_beyond_the_table_are_bad_in_either_version() {
    let table = table(OWNER, 2);
    let bad = |gref| table.map(GrantRef(gref), USER, READ, resolve(OWNER)).unwrap_err();
    assert_eq!(bad(1023), Status::GeneralError);
    assert_eq!([bad(1024), bad(!0)], [Status::BadGntref; 2]);
    table.admin().set_version(crate::Version::V2).unwrap();
    assert_eq!(bad(511), Status::GeneralError);
    assert_eq!([bad(512), bad(1023)], [Status::BadGntref; 2]);
}

#[test]
fn a_transfer_slot_is_filled_once_and_only_by_whom_it_is_for() {
    for version in [1, 2] {
        let table = table(OWNER, 1);
        table.admin().set_version(crate::Version::from_raw(version).unwrap()).unwrap();
        grant(&table, 4, gtf::ACCEPT_TRANSFER, USER, 33);
        assert_eq!(table.commit_transfer(GrantRef(4), OTHER), Err(Status::GeneralError));
        assert_eq!(table.commit_transfer(GrantRef(9999), USER), Err(Status::GeneralError));
        let slot = table.commit_transfer(GrantRef(4), USER).unwrap();
        assert_eq!(slot.gfn.0, 33);
        assert_eq!(table.commit_transfer(GrantRef(4), USER), Err(Status::GeneralError));
        table.complete_transfer(slot, Mfn(77));
        let memory = table.memory();
        let (header, frame) = match version {
            1 => (
                memory.v1[4].0.load(Ordering::SeqCst),
                u64::from(memory.v1[4].1.load(Ordering::SeqCst)),
            ),
            _ => (
                memory.v2[4].header.load(Ordering::SeqCst),
                memory.v2[4].frame.load(Ordering::SeqCst),
            ),
        };
        assert_eq!(Header(header).flags(), 0xe);
        assert_eq!(frame, 77);
        assert!(!(version == 1 && table.transfer_fits(Mfn(1 << 32))));
    }
}

#[test]
fn a_dump_walks_what_is_in_use_within_its_budget() {
    let table = table(OWNER, 1);
    for gref in [3, 400] {
        grant(&table, gref, gtf::PERMIT_ACCESS, USER, 7);
        let _ = table.map(GrantRef(gref), USER, READ, resolve(OWNER)).unwrap();
    }
    let (mut cursor, mut budget, mut found, mut rounds) = (0, 100, vec![], 0);
    loop {
        match table.next_in_use(&mut cursor, &mut budget) {
            Some(entry) => found.push(entry.gref.0),
            None if budget > 0 => break,
            None => (budget, rounds) = (100, rounds + 1),
        }
    }
    assert_eq!((found, rounds), (vec![3, 400], 5));
}
