//! The two words of a record under every interleaving of a few steps.
//!
//! The machine has one frame and no page contents: a table's walk ends at once, so what is tried
//! is who may do what to the words, and that whoever comes next sees what was done before.

use abi::{DomId, Mfn};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use sync::atomic::AtomicU64;

use crate::state::State;
use crate::typed::Entered;
use crate::{Access, Budget, Caches, ENTRIES, Env, Frame, Kind, Level, Pages};

const MFN: Mfn = Mfn(1);
const D1: DomId = DomId(1);
const D2: DomId = DomId(2);

struct One {
    frame: Frame,
    freed: AtomicU32,
    flushes: AtomicU32,
    /// Stands for the table's contents: loom reports accesses that are not ordered.
    contents: UnsafeCell<()>,
}

impl Env for One {
    type Relax = sync::Pause;
    fn frame(&self, mfn: Mfn) -> Option<&Frame> {
        (mfn == MFN).then_some(&self.frame)
    }
    fn table(&self, _: Mfn) -> Option<&[AtomicU64; ENTRIES]> {
        None
    }
    fn mmio_access(&self, _: DomId, _: Mfn) -> Access {
        Access::None
    }
    fn flush(&self, _: Caches, since: Option<u64>) {
        assert_eq!(since, Some(7), "the last use's stamp is not to be seen");
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }
    fn flush_stamp(&self) -> u64 {
        7
    }
    fn check_descriptors(&self, _: Mfn) -> bool {
        self.contents.with_mut(|_| ());
        true
    }
    fn install_hypervisor_slots(&self, _: Mfn) {}
    fn freed(&self, _: Mfn, _: DomId) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }
}

fn one() -> Arc<Pages<One>> {
    let env = One {
        frame: Frame::default(),
        freed: AtomicU32::new(0),
        flushes: AtomicU32::new(0),
        contents: UnsafeCell::new(()),
    };
    let pages = Arc::new(Pages::new(env, 52));
    pages.assign(MFN, D1).unwrap();
    pages
}

fn frame(pages: &Pages<One>) -> &Frame {
    &pages.env().frame
}

#[test]
fn loom_exactly_one_cpu_sees_the_last_reference_go() {
    loom::model(|| {
        let pages = one();
        let other = pages.clone();
        let t = loom::thread::spawn(move || {
            if let Some(page) = other.get(MFN, D1) {
                other.put(page);
            }
        });
        pages.release_allocation(MFN, D1).unwrap();
        t.join().unwrap();
        assert_eq!(pages.env().freed.load(Ordering::Relaxed), 1);
        assert_eq!(frame(&pages).snapshot().references, 0);
    });
}

#[test]
fn loom_a_reference_is_never_to_the_next_owners_frame() {
    loom::model(|| {
        let pages = one();
        let other = pages.clone();
        let t = loom::thread::spawn(move || {
            if let Some(page) = other.get(MFN, D1) {
                assert_eq!(frame(&other).owner(), Some(D1));
                other.put(page);
            }
        });
        if pages.steal(MFN, D1).is_ok() {
            pages.assign(MFN, D2).unwrap();
        }
        t.join().unwrap();
        assert_eq!(frame(&pages).snapshot().references, 1);
    });
}

#[test]
fn loom_a_page_is_writable_or_a_table_and_the_change_sees_the_stamp() {
    loom::model(|| {
        let pages = one();
        let other = pages.clone();
        let t = loom::thread::spawn(move || {
            let f = frame(&other);
            if other.take_writable(f, MFN, false).is_ok() {
                other.env().contents.with_mut(|_| ());
                other.drop_simple(f);
            }
        });
        let f = frame(&pages);
        if let Ok(Entered::Moving(before)) = pages.enter(f, MFN, Kind::L1) {
            // Writable before: `flush` has been called, and has checked the stamp.
            let flushed = pages.env().flushes.load(Ordering::Relaxed) == 1;
            assert_eq!(flushed, before.kind() == Kind::Writable);
            pages.env().contents.with_mut(|_| ());
            f.state.settle(State::live(Kind::L1));
        }
        t.join().unwrap();
    });
}

#[test]
fn loom_a_table_is_not_released_under_the_cpu_that_changes_an_entry() {
    loom::model(|| {
        let pages = one();
        let f = frame(&pages);
        pages.take_page(f, MFN, D1).unwrap();
        f.state.step(State(0), State::moving(Kind::L1)).unwrap();
        f.state.settle(State::live(Kind::L1));
        let other = pages.clone();
        let t = loom::thread::spawn(move || {
            let f = frame(&other);
            if other.lock_table(f, MFN, D1) == Ok(Some(Level::L1)) {
                other.env().contents.with_mut(|_| ());
                f.state.unlock();
            }
        });
        assert!(pages.drop_table(f, MFN, Level::L1, &mut Budget::new(1)).is_none());
        pages.env().contents.with_mut(|_| ());
        t.join().unwrap();
        assert_eq!((f.state.load().count(), f.owner.load().count()), (0, 1));
    });
}

#[test]
fn loom_two_cpus_that_want_the_same_new_use_both_get_it_checked_once() {
    loom::model(|| {
        let pages = one();
        let other = pages.clone();
        let get = |p: &Pages<One>| p.get_typed(MFN, D1, Kind::Segment, &mut Budget::new(1));
        let t = loom::thread::spawn(move || {
            let typed = get(&other).unwrap();
            assert!(other.put_typed(typed, &mut Budget::new(1)).is_none());
        });
        let typed = get(&pages).unwrap();
        t.join().unwrap();
        assert_eq!(frame(&pages).snapshot().uses, 1);
        assert!(pages.put_typed(typed, &mut Budget::new(1)).is_none());
    });
}

#[test]
fn loom_one_of_two_pins_and_one_of_two_unpins_succeed() {
    loom::model(|| {
        let pages = one();
        let f = frame(&pages);
        for _ in 0..2 {
            pages.take_page(f, MFN, D1).unwrap();
        }
        f.state.step(State(0), State::moving(Kind::L1)).unwrap();
        f.state.settle(State::live(Kind::L1).one_more().pinned());
        let other = pages.clone();
        let unpin = |p: &Pages<One>| p.unpin(MFN, D1, &mut Budget::new(1)).is_ok();
        let t = loom::thread::spawn(move || unpin(&other));
        let mine = unpin(&pages);
        assert!(mine != t.join().unwrap());
        assert_eq!((f.state.load().count(), f.owner.load().count()), (1, 2));
    });
}

#[test]
fn loom_two_tables_never_use_each_other_linearly() {
    loom::model(|| {
        let pair = Arc::new((Frame::default(), Frame::default()));
        let other = pair.clone();
        let link = |from: &Frame, to: &Frame| {
            from.record.add_entry()
                && (to.record.add_use() || {
                    from.record.sub_entry();
                    false
                })
        };
        let t = loom::thread::spawn(move || link(&other.1, &other.0));
        let mine = link(&pair.0, &pair.1);
        assert!(!(mine && t.join().unwrap()));
    });
}
