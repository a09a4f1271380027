//! Single rules, one test each.

use abi::{DomId, Errno, Mfn};

use super::recount::{self, Tokens};
use super::world::*;
use crate::{
    Access, Budget, Caches, Compared, Ctx, Env, HYPERVISOR_SLOTS, Kind, Level, Mode, PageList, Pte,
    Reason, Stage, Stop,
};

fn big() -> Budget {
    Budget::new(1 << 20)
}

fn entry(mfn: u64, flags: u64) -> u64 {
    Pte::new(Mfn(mfn), flags).0
}

/// Gives frames 1 to 12 to domain 1, and makes 4 -> 3 -> 2 -> 1 -> {10 writable, 1 read-only}.
fn tree() -> Machine {
    let pages = machine();
    for m in 1..=12 {
        pages.assign(Mfn(m), D1).unwrap();
    }
    let w = pages.env();
    w.poke(Mfn(4), 1, entry(3, RW));
    w.poke(Mfn(3), 1, entry(2, RW));
    w.poke(Mfn(2), 1, entry(1, RW));
    w.poke(Mfn(1), 1, entry(10, RW));
    w.poke(Mfn(1), 2, entry(1, RO));
    pages
}

fn snap(pages: &Machine, mfn: u64) -> crate::Snapshot {
    pages.env().frame(Mfn(mfn)).unwrap().snapshot()
}

fn set(pages: &Machine, table: u64, index: usize, new: u64) -> Result<(), Stop> {
    pages
        .update_entry(Ctx::own(D1), Mfn(table), index, new, Mode::Normal, &mut big())
        .map(|done| assert!(done.deferred.is_none()))
}

fn unpin(pages: &Machine, mfn: u64) -> Result<(), Reason> {
    pages.unpin(Mfn(mfn), D1, &mut big()).map(|rest| assert!(rest.is_none()))
}

#[test]
fn a_pinned_root_brings_its_whole_tree_into_use_and_an_unpinned_one_lets_it_go() {
    let pages = tree();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    for (m, kind) in [(4, Kind::L4), (3, Kind::L3), (2, Kind::L2), (1, Kind::L1)] {
        assert_eq!((snap(&pages, m).kind, snap(&pages, m).uses), (kind, 1));
    }
    assert_eq!((snap(&pages, 10).kind, snap(&pages, 10).uses), (Kind::Writable, 1));
    assert_eq!(snap(&pages, 1).references, 3);
    assert_eq!(pages.env().read(Mfn(4), HYPERVISOR_SLOTS.start), HYPERVISOR_ENTRY);
    recount::check(&pages, &Tokens::default());
    assert_eq!(
        pages.pin(Mfn(4), D1, Kind::L4, &mut big()),
        Err(Reason::AlreadyPinned { mfn: Mfn(4) }.into())
    );
    unpin(&pages, 4).unwrap();
    assert_eq!(unpin(&pages, 4), Err(Reason::NotPinned { mfn: Mfn(4) }));
    for m in 1..=12 {
        assert_eq!((snap(&pages, m).uses, snap(&pages, m).references), (0, 1), "{m}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of full recounts")]
fn one_unit_at_a_time_comes_to_the_same_end() {
    let pages = tree();
    let mut turns = 0;
    while pages.pin(Mfn(4), D1, Kind::L4, &mut Budget::new(1)) == Err(Stop::Again) {
        recount::check(&pages, &Tokens::default());
        turns += 1;
        assert!(turns < 3000);
    }
    assert!(turns > 250, "{turns}");
    assert_eq!(snap(&pages, 10).uses, 1);
    let mut tokens = Tokens::default();
    tokens.deferred.extend(pages.unpin(Mfn(4), D1, &mut Budget::new(1)).unwrap());
    while let Some(rest) = tokens.deferred.pop() {
        tokens.deferred.extend(pages.resume(rest, &mut Budget::new(1)));
        recount::check(&pages, &tokens);
    }
    for m in 1..=12 {
        assert_eq!((snap(&pages, m).uses, snap(&pages, m).references), (0, 1), "{m}");
    }
}

#[test]
fn a_page_table_cannot_be_mapped_writable_nor_a_writable_page_become_one() {
    let pages = tree();
    pages.env().poke(Mfn(1), 3, entry(2, RW));
    let got = pages.pin(Mfn(4), D1, Kind::L4, &mut big());
    assert!(matches!(got, Err(Stop::Refused(Reason::Unmappable { .. }))), "{got:?}");
    recount::check(&pages, &Tokens::default());
    pages.env().poke(Mfn(1), 3, 0);
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    assert!(set(&pages, 1, 3, entry(2, RW)).is_err());
    set(&pages, 1, 3, entry(2, RO)).unwrap();
    let got = pages.pin(Mfn(10), D1, Kind::L1, &mut big());
    assert!(matches!(got, Err(Stop::Refused(Reason::WrongKind { .. }))));
    recount::check(&pages, &Tokens::default());
}

#[test]
fn entries_get_user_and_a_mark_of_what_the_guest_meant() {
    let pages = tree();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    set(&pages, 1, 4, entry(11, Pte::PRESENT | Pte::GLOBAL)).unwrap();
    let kernel = Pte::PRESENT | Pte::USER | Pte::GUEST_KERNEL;
    assert_eq!(pages.env().read(Mfn(1), 4), entry(11, kernel));
    set(&pages, 1, 4, entry(11, RO)).unwrap();
    assert_eq!(pages.env().read(Mfn(1), 4), entry(11, RO | Pte::GLOBAL));
    set(&pages, 2, 2, entry(11, Pte::PRESENT)).unwrap();
    assert_eq!(pages.env().read(Mfn(2), 2), entry(11, RO), "11 is an L1 table and mapped");
    assert_eq!(snap(&pages, 11).kind, Kind::L1);
}

#[test]
fn superpages_reserved_bits_and_the_hypervisors_slots_are_refused() {
    let pages = tree();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    for t in 2..=4 {
        let got = set(&pages, t, 9, entry(12, RW | Pte::PAT_OR_SUPERPAGE));
        assert!(matches!(got, Err(Stop::Refused(Reason::BadBits { .. }))));
    }
    let got = set(&pages, 1, 9, entry(1 << 30, RO));
    assert!(matches!(got, Err(Stop::Refused(Reason::BadBits { .. }))), "40 bits of address");
    for index in HYPERVISOR_SLOTS {
        for new in [0, entry(3, RW)] {
            let Err(Stop::Refused(reason)) = set(&pages, 4, index, new) else { panic!() };
            assert_eq!(reason.errno(), Errno::EINVAL);
        }
    }
    set(&pages, 4, HYPERVISOR_SLOTS.end, entry(3, RW)).unwrap();
    let got = set(&pages, 4, 512, 0);
    assert_eq!(got, Err(Reason::BadIndex { index: 512 }.into()));
}

#[test]
fn a_linear_entry_is_read_only_and_never_part_of_a_chain() {
    let pages = tree();
    for m in [4, 5, 6] {
        pages.pin(Mfn(m), D1, Kind::L4, &mut big()).unwrap();
    }
    assert!(set(&pages, 4, 8, entry(4, RW)).is_err());
    set(&pages, 4, 8, entry(4, RO)).unwrap();
    assert_eq!(snap(&pages, 4).uses, 1, "an entry to itself is not counted");
    assert!(set(&pages, 4, 9, entry(5, RW)).is_err());
    set(&pages, 4, 9, entry(5, RO)).unwrap();
    assert_eq!(snap(&pages, 5).uses, 2);
    let chain = Err(Stop::Refused(Reason::LinearChain { mfn: Mfn(6) }));
    assert_eq!(set(&pages, 5, 9, entry(6, RO)), chain);
    assert_eq!(
        set(&pages, 6, 9, entry(4, RO)),
        Err(Stop::Refused(Reason::LinearChain { mfn: Mfn(4) }))
    );
    recount::check(&pages, &Tokens::default());
    // The counts go with the entry, so that the two may change parts.
    set(&pages, 4, 9, 0).unwrap();
    recount::check(&pages, &Tokens::default());
    set(&pages, 5, 9, entry(6, RO)).unwrap();
    set(&pages, 5, 9, 0).unwrap();
    set(&pages, 4, 9, entry(5, RO)).unwrap();
    recount::check(&pages, &Tokens::default());
    unpin(&pages, 5).unwrap();
    assert_eq!(snap(&pages, 5).uses, 1);
    unpin(&pages, 4).unwrap();
    assert_eq!(snap(&pages, 5).uses, 0);
    recount::check(&pages, &Tokens::default());
}

#[test]
fn a_change_of_flags_alone_keeps_the_references() {
    let pages = tree();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    let before = snap(&pages, 10);
    set(&pages, 1, 1, entry(10, RW | Pte::NO_EXECUTE | Pte::PAT_OR_SUPERPAGE)).unwrap();
    assert_eq!(snap(&pages, 10), before);
    assert!(set(&pages, 1, 1, entry(10, RW) | 1 << 45).is_err());
    recount::check(&pages, &Tokens::default());
}

#[test]
fn a_change_of_the_right_to_write_is_a_change_of_references() {
    let pages = tree();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    assert!(set(&pages, 1, 2, entry(1, RW)).is_err(), "a table, mapped read-only so far");
    set(&pages, 1, 1, entry(10, RO)).unwrap();
    assert_eq!((snap(&pages, 10).uses, snap(&pages, 10).references), (0, 2));
    set(&pages, 1, 1, entry(10, RW)).unwrap();
    assert_eq!((snap(&pages, 10).uses, snap(&pages, 10).references), (1, 2));
    set(&pages, 4, 8, entry(4, RO)).unwrap();
    assert!(set(&pages, 4, 8, entry(4, RW)).is_err(), "a linear entry");
}

#[test]
fn a_release_that_stopped_may_be_turned_into_use_again() {
    let all = [1, 300, 513, 600, 1100, 2040];
    for units in all.into_iter().filter(|&u| u > 1 || !cfg!(miri)) {
        let pages = tree();
        pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
        let mut tokens = Tokens::default();
        tokens.deferred.extend(pages.unpin(Mfn(4), D1, &mut Budget::new(units)).unwrap());
        recount::check(&pages, &tokens);
        let mut budget = Budget::new(units);
        while pages.pin(Mfn(4), D1, Kind::L4, &mut budget) == Err(Stop::Again) {
            recount::check(&pages, &tokens);
            budget = Budget::new(units);
        }
        // What was deferred finds nothing left to do.
        let rest = tokens.deferred.pop().unwrap();
        assert!(pages.resume(rest, &mut big()).is_none());
        assert_eq!((snap(&pages, 1).uses, snap(&pages, 10).uses), (1, 1));
        recount::check(&pages, &tokens);
        unpin(&pages, 4).unwrap();
        recount::check(&pages, &tokens);
    }
}

#[test]
fn accessed_and_dirty_bits_are_kept_if_asked_for() {
    let pages = tree();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    let old = pages.env().read(Mfn(1), 1);
    pages.env().poke(Mfn(1), 1, old | Pte::ACCESSED_DIRTY);
    let done =
        pages.update_entry(Ctx::own(D1), Mfn(1), 1, entry(10, RO), Mode::PreserveAd, &mut big());
    assert!(done.unwrap().flush.is_none());
    assert_eq!(pages.env().read(Mfn(1), 1), entry(10, RO | Pte::GLOBAL | Pte::ACCESSED_DIRTY));
    set(&pages, 1, 1, entry(10, RW)).unwrap();
    assert_eq!(pages.env().read(Mfn(1), 1), entry(10, RW | Pte::GLOBAL));
}

#[test]
fn a_conditional_exchange_changes_only_what_it_expected() {
    let pages = tree();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    let now = pages.env().read(Mfn(1), 1);
    let swap = |table: u64, expected, new| {
        pages
            .update_entry_if(Ctx::own(D1), Mfn(table), 1, expected, new, &mut big())
            .map(|c| matches!(c, Compared::Swapped(_)))
    };
    assert_eq!(swap(1, now ^ Pte::DIRTY, entry(11, RW)), Ok(false));
    assert_eq!(snap(&pages, 11).uses, 0);
    assert_eq!(swap(1, now, entry(11, RW)), Ok(true));
    assert_eq!((snap(&pages, 10).uses, snap(&pages, 11).uses), (0, 1));
    assert_eq!(swap(2, 0, entry(12, RW)), Ok(false));
    assert_eq!(snap(&pages, 12).uses, 0);
    assert_eq!(swap(12, 7, 8), Ok(false), "an ordinary page");
    assert_eq!(swap(12, 0, 8), Ok(true));
    recount::check(&pages, &Tokens::default());
}

#[test]
fn an_ordinary_page_is_written_as_it_is_and_a_descriptor_table_is_not() {
    let pages = tree();
    set(&pages, 12, 5, !0).unwrap();
    assert_eq!(pages.env().read(Mfn(12), 5), !0);
    let gdt = pages.get_typed(Mfn(12), D1, Kind::Segment, &mut big()).unwrap();
    assert!(set(&pages, 12, 5, 0).is_err());
    assert!(pages.put_typed(gdt, &mut big()).is_none());
    set(&pages, 12, 0, BAD_DESCRIPTOR).unwrap();
    let got = pages.get_typed(Mfn(12), D1, Kind::Segment, &mut big());
    assert!(matches!(got, Err(Stop::Refused(Reason::BadDescriptors { .. }))));
    recount::check(&pages, &Tokens::default());
}

#[test]
fn io_memory_is_mapped_by_right_and_not_counted() {
    let pages = tree();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    let before = snap(&pages, IO_FRAME.0);
    set(&pages, 1, 5, entry(IO_RW.0, RW)).unwrap();
    set(&pages, 1, 6, entry(IO_FRAME.0, RW)).unwrap();
    set(&pages, 1, 7, entry(IO_RO.0, RW)).unwrap();
    assert!(!Pte(pages.env().read(Mfn(1), 7)).is_writable());
    let uncached = Pte::WRITE_THROUGH | Pte::CACHE_DISABLE;
    for give in [RW, RW | uncached, RW | Pte::WRITE_THROUGH, RW | Pte::ACCESSED, RW] {
        set(&pages, 1, 5, entry(IO_RW.0, give)).unwrap();
        assert_eq!(pages.env().read(Mfn(1), 5) & uncached, uncached, "cached by {give:#x}");
    }
    let Err(Stop::Refused(reason)) = set(&pages, 1, 8, entry(IO_NONE.0, RO)) else { panic!() };
    assert_eq!(reason, Reason::NoIoAccess { mfn: IO_NONE, dom: D1 });
    let io = Ctx { table_owner: D1, frame_owner: DomId::IO };
    pages.update_l1(io, Mfn(1), 8, entry(IO_RW.0, RW), Mode::Normal).unwrap();
    assert!(pages.update_l1(io, Mfn(1), 8, entry(10, RO), Mode::Normal).is_err());
    assert_eq!(snap(&pages, IO_FRAME.0), before);
    assert!(set(&pages, 2, 5, entry(IO_RW.0, RW)).is_err(), "I/O memory as a table");
    unpin(&pages, 4).unwrap();
    recount::check(&pages, &Tokens::default());
}

#[test]
fn a_lent_page_is_mapped_but_never_becomes_a_table_and_returns_when_unmapped() {
    let pages = tree();
    let (ro, rw) = (Mfn(20), Mfn(21));
    pages.share(ro, D1, Access::ReadOnly).unwrap();
    pages.share(rw, D1, Access::ReadWrite).unwrap();
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    let shared = |r| matches!(r, Err(Stop::Refused(Reason::Shared { .. })));
    let writable = set(&pages, 1, 5, entry(20, RW));
    assert!(matches!(writable, Err(Stop::Refused(Reason::Unmappable { .. }))), "{writable:?}");
    set(&pages, 1, 5, entry(20, RO)).unwrap();
    set(&pages, 1, 6, entry(21, RW)).unwrap();
    assert!(shared(set(&pages, 2, 5, entry(20, RO))));
    assert!(pages.get_typed(ro, D1, Kind::Segment, &mut big()).is_err());
    assert!(pages.release_allocation(ro, D1).is_err());
    assert_eq!(pages.unshare(ro, D1), Err(Reason::InUse { mfn: ro, extra: 1 }));
    set(&pages, 1, 5, 0).unwrap();
    pages.unshare(ro, D1).unwrap();
    assert_eq!(snap(&pages, 20).owner, None);
    pages.release_shared(rw, D1).unwrap();
    assert!(pages.env().freed.lock().unwrap().is_empty());
    set(&pages, 1, 6, 0).unwrap();
    assert_eq!(*pages.env().freed.lock().unwrap(), [(rw, D1)]);
}

#[test]
fn a_grant_is_unmapped_only_where_it_still_is() {
    let pages = tree();
    for m in [13, 14] {
        pages.assign(Mfn(m), D0).unwrap();
    }
    pages.pin(Mfn(4), D1, Kind::L4, &mut big()).unwrap();
    let ctx = Ctx { table_owner: D1, frame_owner: D0 };
    assert!(set(&pages, 1, 5, entry(13, RW)).is_err(), "not its own");
    let page = |m| pages.get(Mfn(m), D0).unwrap();
    pages.install_grant(ctx, Mfn(1), 5, entry(13, RW), page(13)).unwrap();
    assert_eq!((snap(&pages, 13).uses, snap(&pages, 13).references), (1, 2));
    let got = pages.replace_grant(ctx, Mfn(1), 5, Mfn(14), 0);
    assert!(matches!(got, Err(Reason::Changed { .. })));
    let flush = pages.replace_grant(ctx, Mfn(1), 5, Mfn(13), 0).unwrap();
    assert_eq!(flush.whose(), Some(Caches::Of(D1)));
    pages.complete(flush);
    assert_eq!((snap(&pages, 13).uses, snap(&pages, 13).references), (0, 1));
    for (table, new, why) in [
        (2, entry(13, RW), "not a level 1 table"),
        (1, entry(14, RW), "another page than the reference's"),
        (1, 0, "maps nothing"),
    ] {
        let (_, back) = pages.install_grant(ctx, Mfn(table), 5, new, page(13)).expect_err(why);
        pages.put(back);
    }
    let up = pages.update_entry(ctx, Mfn(2), 5, entry(13, RW), Mode::Normal, &mut big());
    assert!(matches!(up, Err(Stop::Refused(Reason::ForeignTable { .. }))));
    recount::check(&pages, &Tokens::default());
}

#[test]
fn a_foreign_writable_mapping_is_flushed_from_all_before_the_page_becomes_a_table() {
    for writable_before in [false, true] {
        foreign_mapping(writable_before);
    }
}

fn foreign_mapping(writable_before: bool) {
    let pages = tree();
    pages.assign(Mfn(13), D0).unwrap();
    let base = pages.new_base(Mfn(4), D1, &mut big()).unwrap();
    pages.env().load_base(0, Some((Mfn(4), D1)));
    let ctx = Ctx { table_owner: D1, frame_owner: D0 };
    let own =
        writable_before.then(|| pages.get_typed(Mfn(13), D0, Kind::Writable, &mut big()).unwrap());
    let page = pages.get(Mfn(13), D0).unwrap();
    pages.install_grant(ctx, Mfn(1), 5, entry(13, RW), page).unwrap();
    if let Some(own) = own {
        assert!(pages.put_typed(own, &mut big()).is_none());
    }
    pages.env().access(0, 99, [5, 1, 1, 1]);
    assert_eq!(pages.env().cpus[0].lock().unwrap().cached.last().unwrap().mfn, Mfn(13));
    // The guest overwrites the entry itself and flushes nothing.
    set(&pages, 1, 5, 0).unwrap();
    pages.pin(Mfn(13), D0, Kind::L1, &mut big()).unwrap();
    pages.env().check_caches();
    assert!(pages.env().cpus[0].lock().unwrap().cached.is_empty());
    pages.env().load_base(0, None);
    assert!(pages.put_typed(base, &mut big()).is_none());
}

#[test]
fn a_cpu_that_has_flushed_since_is_not_flushed_again() {
    use sync::atomic::Ordering::SeqCst;
    let pages = tree();
    let base = pages.new_base(Mfn(4), D1, &mut big()).unwrap();
    pages.env().load_base(0, Some((Mfn(4), D1)));
    set(&pages, 1, 1, 0).unwrap();
    pages.env().flush_one(0);
    let before = pages.env().flushes.load(SeqCst);
    set(&pages, 2, 5, entry(10, RW)).unwrap();
    assert_eq!(pages.env().flushes.load(SeqCst), before);
    set(&pages, 2, 5, 0).unwrap();
    set(&pages, 1, 1, entry(10, RW)).unwrap();
    assert_eq!(pages.env().flushes.load(SeqCst), before + 1, "a table became writable");
    assert!(pages.put_typed(base, &mut big()).is_none());
}

#[test]
fn a_frame_is_freed_by_its_last_reference_and_flushed_before_its_next_life() {
    let pages = tree();
    let page = pages.get(Mfn(12), D1).unwrap();
    assert!(pages.get(Mfn(12), D0).is_none());
    pages.release_allocation(Mfn(12), D1).unwrap();
    assert!(pages.release_allocation(Mfn(12), D1).is_err(), "once only");
    assert!(pages.env().freed.lock().unwrap().is_empty());
    pages.put(page);
    assert_eq!(*pages.env().freed.lock().unwrap(), [(Mfn(12), D1)]);
    pages.env().frame(Mfn(12)).unwrap().set_tag(7);
    assert_eq!(pages.env().frame(Mfn(12)).unwrap().tag(), 7);
    let before = pages.env().flushes.load(sync::atomic::Ordering::SeqCst);
    pages.assign(Mfn(12), D0).unwrap();
    assert!(pages.env().flushes.load(sync::atomic::Ordering::SeqCst) > before);
    assert_eq!(pages.env().frame(Mfn(12)).unwrap().tag(), 0);
    assert_eq!(pages.assign(Mfn(12), D1), Err(Reason::Owned { mfn: Mfn(12), owner: D0 }));
}

#[test]
fn a_page_is_stolen_only_while_nothing_refers_to_it() {
    let pages = tree();
    let page = pages.get(Mfn(12), D1).unwrap();
    assert_eq!(pages.steal(Mfn(12), D1), Err(Reason::InUse { mfn: Mfn(12), extra: 1 }));
    pages.put(page);
    assert!(pages.steal(Mfn(12), D0).is_err());
    pages.steal(Mfn(12), D1).unwrap();
    assert_eq!(snap(&pages, 12).owner, None);
    assert!(pages.env().freed.lock().unwrap().is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "thousands of full recounts")]
fn an_abandoned_pin_comes_back_when_its_domain_ends() {
    for units in [1, 600, 1500, 2040] {
        let pages = tree();
        let got = pages.pin(Mfn(4), D1, Kind::L4, &mut Budget::new(units));
        assert_eq!(got, Err(Stop::Again));
        assert!(matches!(
            pages.pin(Mfn(4), D1, Kind::L3, &mut big()),
            Err(Stop::Refused(Reason::Unfinished { .. }))
        ));
        for m in (1..=12).rev() {
            while !pages.relinquish(Mfn(m), D1, Stage::Release, &mut Budget::new(7)) {
                recount::check(&pages, &Tokens::default());
            }
        }
        assert_eq!(pages.env().freed.lock().unwrap().len(), 12, "{units}");
    }
}

#[test]
fn a_tree_that_is_refused_is_undone_in_steps_and_refused_in_the_end() {
    let pages = tree();
    pages.env().poke(Mfn(4), 511, entry(22, RW));
    let mut turns = 0;
    let reason = loop {
        match pages.pin(Mfn(4), D1, Kind::L4, &mut Budget::new(100)) {
            Err(Stop::Again) => recount::check(&pages, &Tokens::default()),
            Err(Stop::Refused(reason)) => break reason,
            Ok(()) => panic!("a frame of nobody's is no table"),
        }
        turns += 1;
        assert!(turns < 100);
    };
    assert!(turns > 30, "{turns}");
    assert_eq!(reason, Reason::Invalid { mfn: Mfn(4), kind: Kind::L4 });
    for m in 1..=12 {
        assert_eq!((snap(&pages, m).uses, snap(&pages, m).references), (0, 1), "{m}");
    }
}

#[test]
fn a_forced_end_empties_tables_that_somebody_still_holds() {
    let pages = tree();
    let base = pages.new_base(Mfn(4), D1, &mut big()).unwrap();
    // Tables that stop after their own turn are found by the next pass.
    for stage in [Stage::Release, Stage::Break, Stage::Break, Stage::Break] {
        for m in 1..=12 {
            while !pages.relinquish(Mfn(m), D1, stage, &mut Budget::new(50)) {}
        }
    }
    let mut tokens = Tokens::default();
    tokens.typed.push(base);
    recount::check(&pages, &tokens);
    assert_eq!(pages.env().freed.lock().unwrap().len(), 11, "all but the base itself");
    assert!(pages.put_typed(tokens.typed.pop().unwrap(), &mut big()).is_none());
    assert_eq!(pages.env().freed.lock().unwrap().len(), 12);
}

#[test]
#[should_panic(expected = "lost PageRef")]
fn a_lost_reference_stops_a_debug_build() {
    let pages = tree();
    drop(pages.get(Mfn(12), D1));
}

#[test]
fn a_list_gives_frames_back_in_order_and_takes_each_once() {
    let pages = tree();
    let mut list = PageList::new();
    let env = pages.env();
    assert!(list.push(env, Mfn(3)) && list.push(env, Mfn(5)) && list.push(env, Mfn(7)));
    assert!(!list.push(env, Mfn(3)) && !list.push(env, Mfn(7)) && !list.push(env, Mfn(0)));
    assert!(list.remove(env, Mfn(5)) && !list.remove(env, Mfn(5)));
    assert_eq!(list.first().and_then(|m| list.after(env, m)), Some(Mfn(7)));
    assert_eq!((list.pop(env), list.pop(env), list.pop(env)), (Some(Mfn(3)), Some(Mfn(7)), None));
    assert!(list.is_empty() && list.push(env, Mfn(3)) && list.len() == 1);
}

#[test]
fn the_use_of_a_table_is_told_to_its_owner_only() {
    let pages = tree();
    pages.pin(Mfn(1), D1, Kind::L1, &mut big()).unwrap();
    assert_eq!(pages.table_level(Mfn(1), D1), Some(Level::L1));
    assert_eq!(pages.table_level(Mfn(1), D0), None);
    assert_eq!(pages.table_level(Mfn(2), D1), None);
}
