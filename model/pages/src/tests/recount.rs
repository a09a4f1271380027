//! Counts everything anew from the tables and the tokens, and compares with the records.

use abi::{DomId, Mfn};

use super::world::{Machine, World, at};
use crate::{Deferred, ENTRIES, Env, HYPERVISOR_SLOTS, Kind, Level, PageRef, Pte, TypedRef};

/// The references that a test itself holds.
#[derive(Default, Debug)]
pub struct Tokens {
    pub pages: Vec<PageRef>,
    pub typed: Vec<TypedRef>,
    pub deferred: Vec<Deferred>,
    pub lent: Vec<Mfn>,
}

#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    references: u32,
    uses: u32,
    linear_entries: u64,
    linear_uses: u64,
}

/// Panics unless every count of every frame is what the tables, pins and tokens add up to, and
/// no frame is mapped writable while it is a table.
pub fn check(pages: &Machine, tokens: &Tokens) {
    let world = pages.env();
    let mut counts = vec![Counts::default(); world.len()];
    for page in &tokens.pages {
        counts[at(page.mfn())].references += 1;
    }
    for typed in &tokens.typed {
        counts[at(typed.mfn())].references += 1;
        counts[at(typed.mfn())].uses += 1;
        assert_eq!(world.frame(typed.mfn()).unwrap().snapshot().kind, typed.kind());
    }
    for rest in &tokens.deferred {
        counts[at(rest.mfn())].references += 1;
    }
    for &mfn in &tokens.lent {
        counts[at(mfn)].references += 1;
    }
    for mfn in world.counted() {
        count_frame(world, mfn, &mut counts);
    }
    for mfn in world.counted() {
        let frame = world.frame(mfn).unwrap();
        let now = frame.snapshot();
        let want = counts[at(mfn)];
        assert_eq!((now.references, now.uses), (want.references, want.uses), "{mfn:?} {now:?}");
        if now.owner.is_none() {
            assert_eq!((now.kind, now.references), (Kind::None, 0), "{mfn:?}");
        }
        if now.kind.level().is_some() && (now.uses > 0 || now.partial) {
            let linear = frame.record.linear();
            assert_eq!(linear, (want.linear_entries, want.linear_uses), "{mfn:?}");
            assert!(linear.0 == 0 || linear.1 == 0, "a chain of linear tables at {mfn:?}");
        }
    }
}

fn count_frame(world: &World, mfn: Mfn, counts: &mut [Counts]) {
    let frame = world.frame(mfn).unwrap();
    let now = frame.snapshot();
    counts[at(mfn)].references += u32::from(now.allocated);
    if now.pinned {
        counts[at(mfn)].references += 1;
        counts[at(mfn)].uses += 1;
    }
    let Some(level) = now.kind.level().filter(|_| now.uses > 0 || now.partial) else {
        return;
    };
    let mut held = ENTRIES;
    if now.partial {
        assert_eq!(now.uses, 0, "stopped and in use: {now:?}");
        counts[at(mfn)].references += 1;
        let progress = frame.record.progress();
        held = progress.index;
        if progress.pending {
            counts[at(Pte(world.read(mfn, held)).mfn())].references += 1;
        }
    }
    for index in 0..held {
        if level == Level::L4 && HYPERVISOR_SLOTS.contains(&index) {
            continue;
        }
        let entry = Pte(world.read(mfn, index));
        if entry.is_present() {
            count_entry(world, mfn, level, entry, counts);
        }
    }
}

fn count_entry(world: &World, table: Mfn, level: Level, entry: Pte, counts: &mut [Counts]) {
    let mfn = entry.mfn();
    assert!(entry.0 & Pte::USER != 0, "an entry without USER: {entry:?}");
    let Some(target) = world.frame(mfn).map(|f| f.snapshot()) else {
        assert_eq!(level, Level::L1, "I/O memory as a table");
        return;
    };
    assert!(target.owner.is_some(), "an entry to nobody's frame {mfn:?}");
    if target.owner == Some(DomId::IO) {
        return;
    }
    if level == Level::L1 {
        counts[at(mfn)].references += 1;
        if entry.is_writable() {
            assert_eq!(target.kind, Kind::Writable, "{mfn:?} is mapped writable");
            counts[at(mfn)].uses += 1;
        }
        return;
    }
    assert_eq!(entry.0 & Pte::PAT_OR_SUPERPAGE, 0, "a superpage");
    if mfn == table {
        assert!(!entry.is_writable(), "a writable entry to itself");
        return;
    }
    counts[at(mfn)].references += 1;
    counts[at(mfn)].uses += 1;
    if target.kind == Kind::table(level) {
        assert!(!entry.is_writable(), "a writable linear entry");
        counts[at(table)].linear_entries += 1;
        counts[at(mfn)].linear_uses += 1;
    } else {
        assert_eq!(target.kind.level(), level.below(), "{mfn:?} in {table:?}");
    }
}
