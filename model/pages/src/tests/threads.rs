//! Several CPUs at once, on the same frames, as fast as they can.

use abi::{DomId, Mfn};

use std::sync::mpsc;
use std::time::Duration;

use super::recount::{self, Tokens};
use super::world::*;
use crate::{Budget, Ctx, Deferred, Env, Kind, Mode, Pte, Reason, Stage, Stop};

/// A small generator, so that a failure can be had again by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn entry(&mut self) -> u64 {
        let flags = [RW, RO, 0, RW | Pte::ACCESSED_DIRTY][self.roll(4) as usize];
        Pte::new(Mfn(self.roll(12) + 1), flags).0
    }
}

/// One CPU: random operations on domain 1, keeping its tokens to itself.
fn cpu(pages: &Machine, seed: u64, turns: u32) -> Tokens {
    let mut dice = Dice(seed);
    let mut tokens = Tokens::default();
    for _ in 0..turns {
        let mfn = Mfn(dice.roll(12) + 1);
        let index = dice.roll(2) as usize;
        let mut budget = Budget::new(1 << dice.roll(12));
        let b = &mut budget;
        match dice.roll(10) {
            0 => {
                let _ = pages.pin(mfn, D1, kind(&mut dice), b);
            }
            1 | 2 => {
                let rest = pages.unpin(mfn, D1, b);
                tokens.deferred.extend(rest.ok().flatten());
            }
            3 => {
                let got = pages.get_typed(mfn, D1, kind(&mut dice), b);
                tokens.typed.extend(got.ok());
            }
            4 => {
                if let Some(typed) = tokens.typed.pop() {
                    tokens.deferred.extend(pages.put_typed(typed, b));
                }
            }
            5 => {
                if let Some(rest) = tokens.deferred.pop() {
                    tokens.deferred.extend(pages.resume(rest, b));
                }
            }
            6 => plant(pages, &mut dice, index),
            7 => tokens.pages.extend(pages.get(mfn, D1)),
            8 => {
                if let Some(page) = tokens.pages.pop() {
                    pages.put(page);
                }
            }
            _ => {
                let mode = if index == 0 { Mode::Normal } else { Mode::PreserveAd };
                let done = pages.update_entry(Ctx::own(D1), mfn, index, dice.entry(), mode, b);
                tokens.deferred.extend(done.ok().and_then(|d| d.deferred));
            }
        }
    }
    tokens
}

fn kind(dice: &mut Dice) -> Kind {
    Kind::from_bits(dice.roll(7))
}

/// A guest prepares a tree by writes to pages that are no tables.
fn plant(pages: &Machine, dice: &mut Dice, index: usize) {
    let first = dice.roll(9);
    for m in first..first + 4 {
        let e = Pte::new(Mfn((m + 1) % 12 + 1), RW).0;
        let table = Mfn(m % 12 + 1);
        let Ok(page) = pages.get_typed(table, D1, Kind::Writable, &mut Budget::new(9)) else {
            continue;
        };
        pages.env().poke(table, index, e);
        assert!(pages.put_typed(page, &mut Budget::new(9)).is_none());
    }
}

fn give_back(pages: &Machine, tokens: Tokens) {
    let mut left: Vec<Deferred> = tokens.deferred;
    let mut b = Budget::unlimited();
    left.extend(tokens.typed.into_iter().filter_map(|t| pages.put_typed(t, &mut b)));
    tokens.pages.into_iter().for_each(|p| pages.put(p));
    for rest in left {
        assert!(pages.resume(rest, &mut b).is_none());
    }
}

fn merge(all: Vec<Tokens>) -> Tokens {
    let mut sum = Tokens::default();
    for t in all {
        sum.pages.extend(t.pages);
        sum.typed.extend(t.typed);
        sum.deferred.extend(t.deferred);
    }
    sum
}

#[test]
fn cpus_that_run_into_each_other_leave_right_counts_and_every_frame_comes_back() {
    let (rounds, turns) = if cfg!(miri) { (1, 12) } else { (12, 4000) };
    for round in 1..=rounds {
        let pages = machine();
        for m in 1..=12 {
            pages.assign(Mfn(m), D1).unwrap();
        }
        let tokens = std::thread::scope(|s| {
            let run = |n: u64| {
                let pages = &pages;
                s.spawn(move || {
                    cpu(pages, (round * 8 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15), turns)
                })
            };
            let threads = [run(1), run(2), run(3)];
            merge(threads.into_iter().map(|t| t.join().unwrap()).collect())
        });
        recount::check(&pages, &tokens);
        give_back(&pages, tokens);
        recount::check(&pages, &Tokens::default());
        for _ in 0..3 {
            for m in 1..=12 {
                let mut b = Budget::unlimited();
                assert!(pages.relinquish(Mfn(m), D1, Stage::Release, &mut b));
            }
        }
        assert_eq!(pages.env().freed.lock().unwrap().len(), 12);
    }
}

/// What one CPU frees another may get: the owner, the count and the use must all be gone.
#[test]
fn a_frame_changes_hands_between_cpus_without_a_trace_of_its_last_life() {
    let turns = if cfg!(miri) { 10 } else { 20_000 };
    let pages = machine();
    let mfn = Mfn(5);
    pages.assign(mfn, D1).unwrap();
    std::thread::scope(|s| {
        for dom in [D0, D1] {
            let pages = &pages;
            s.spawn(move || {
                for _ in 0..turns {
                    one_life(pages, mfn, dom);
                }
            });
        }
    });
    let now = pages.env().frame(mfn).unwrap().snapshot();
    assert_eq!(now.references, u32::from(now.owner.is_some()));
}

fn one_life(pages: &Machine, mfn: Mfn, dom: DomId) {
    let mut b = Budget::new(2000);
    match pages.get_typed(mfn, dom, Kind::L1, &mut b) {
        Ok(table) => {
            let frame = pages.env().frame(mfn).unwrap();
            assert_eq!(frame.owner(), Some(dom));
            if pages.release_allocation(mfn, dom).is_ok() {
                // Held still, so the owner cannot have changed.
                assert_eq!(frame.owner(), Some(dom));
            }
            assert!(pages.put_typed(table, &mut b).is_none());
        }
        Err(Stop::Again) => panic!("the budget suffices for one table"),
        Err(Stop::Refused(_)) => {
            // Whoever finds it in the freed list has it alone.
            let found = pages.env().freed.lock().unwrap().pop();
            if let Some((mfn, _)) = found {
                pages.assign(mfn, dom).unwrap();
            }
        }
    }
    std::thread::yield_now();
}

/// Two vCPUs bring it about step by step. Table 2 stops on its way back from a refusal, half way
/// through its entry for table 1; 1 ends that life and is a root half way out of use when 2 is
/// taken up again, under the lock of table 3, whose last use is that root's.
#[test]
fn a_table_taken_up_again_leaves_alone_what_its_entry_has_become_at_another_level() {
    let (child, table, upper) = (Mfn(1), Mfn(2), Mfn(3));
    let pages = machine();
    (1..=12).for_each(|m| pages.assign(Mfn(m), D1).unwrap());
    let to = |mfn: Mfn| Pte::new(mfn, RW).0;
    pages.env().poke(child, 1, to(Mfn(10)));
    pages.env().poke(table, 1, to(child));
    pages.env().poke(table, 2, to(Mfn(10)));
    let snap = |mfn| pages.env().frame(mfn).unwrap().snapshot();
    // Enough for the child and the refusal (10 is writable), not for the way back.
    assert_eq!(pages.pin(table, D1, Kind::L2, &mut Budget::new(600)), Err(Stop::Again));
    assert!(snap(table).partial && snap(child).partial);
    // The other vCPU ends the child's life as a level 1 table, and makes a root of it.
    let mut b = Budget::unlimited();
    pages.pin(child, D1, Kind::L1, &mut b).unwrap();
    assert!(pages.unpin(child, D1, &mut b).unwrap().is_none());
    pages.env().poke(child, 1, to(upper));
    pages.pin(child, D1, Kind::L4, &mut b).unwrap();
    let mut tokens = Tokens::default();
    tokens.deferred.extend(pages.unpin(child, D1, &mut Budget::new(100)).unwrap());
    assert!(snap(child).partial && snap(child).kind == Kind::L4);
    assert_eq!((snap(upper).kind, snap(upper).uses), (Kind::L3, 1));
    recount::check(&pages, &tokens);
    // A CPU that waits for itself must not hold up the test.
    let (done, end) = mpsc::channel();
    std::thread::spawn(move || {
        let (ctx, b) = (Ctx::own(D1), &mut Budget::unlimited());
        let got = pages.update_entry(ctx, upper, 1, to(table), Mode::Normal, b);
        done.send((got, pages)).unwrap();
    });
    let waited = end.recv_timeout(Duration::from_secs(60));
    let (got, pages) = waited.expect("the CPU waits for a table that it has locked itself");
    assert!(matches!(got, Err(Stop::Refused(Reason::Invalid { .. }))), "{got:?}");
    recount::check(&pages, &tokens);
    give_back(&pages, tokens);
    recount::check(&pages, &Tokens::default());
    for m in 1..=12 {
        let now = pages.env().frame(Mfn(m)).unwrap().snapshot();
        assert_eq!((now.uses, now.references), (0, 1), "{m}");
    }
}
