//! Random operations by hostile guests: on the real thing and the naive one, with CPUs that
//! remember every translation until they are told to flush.

use std::collections::BTreeSet;

use abi::{DomId, Mfn};
use proptest::prelude::*;

use super::model::{Model, No};
use super::ops::{Op, SLOTS, op};
use super::recount::{self, Tokens};
use super::world::*;
use crate::{
    Access, Budget, Compared, Ctx, Deferred, Env, HYPERVISOR_SLOTS, Kind, Mode, Pte, Stage, Stop,
};

fn kind_from(k: u8) -> Kind {
    Kind::from_bits(u64::from(k))
}

/// The machine, what the test holds of it, and the naive model beside it.
struct Run {
    pages: Machine,
    tokens: Tokens,
    model: Model,
    /// Units for each call; every call is repeated until it ends.
    units: u32,
    bases: [Option<(Mfn, DomId)>; 2],
}

impl Run {
    fn new(units: u32) -> Self {
        let mut run = Self {
            pages: machine(),
            tokens: Tokens::default(),
            model: Model::new(),
            units,
            bases: [None; 2],
        };
        for m in 1..14 {
            run.step(&Op::Assign(m, u16::from(m > 10)));
        }
        run
    }

    fn owner(&self, mfn: u64) -> DomId {
        self.pages.env().frame(Mfn(mfn)).and_then(|f| f.owner()).unwrap_or(D0)
    }

    fn again<T>(&self, mut f: impl FnMut(&mut Budget) -> Result<T, Stop>) -> Result<T, No> {
        loop {
            match f(&mut Budget::new(self.units)) {
                Err(Stop::Again) => {}
                Err(Stop::Refused(_)) => return Err(No),
                Ok(done) => return Ok(done),
            }
        }
    }

    fn finish(&self, mut rest: Option<Deferred>) {
        while let Some(r) = rest {
            rest = self.pages.resume(r, &mut Budget::new(self.units));
        }
    }

    /// The model works on what stands in memory now: CPUs set bits in it.
    fn refresh(&mut self) {
        self.model.memory.clear();
        for m in all() {
            for i in SLOTS.into_iter().chain(HYPERVISOR_SLOTS) {
                let e = self.pages.env().read(m, i);
                if e != 0 {
                    self.model.memory.insert((m.0, i), e);
                }
            }
        }
    }

    /// Operations on what a CPU remembers, as plain ones.
    fn resolve(&self, op: &Op) -> Vec<Op> {
        match *op {
            Op::OfCached(cpu, n, i, what) => {
                let cpu = self.pages.env().cpus[cpu].lock().unwrap();
                let Some(n) = n.checked_rem(cpu.cached.len()) else { return vec![] };
                let m = cpu.cached[n].mfn.0;
                let other = cpu.cached[(n * 7 + 1) % cpu.cached.len()].mfn;
                let now = if m < FRAMES { self.pages.env().read(Mfn(m), i) } else { 0 };
                let tables = cpu.cached.iter().filter(|c| c.level == 1).map(|c| c.mfn);
                let mut unmap: Vec<Op> = tables
                    .flat_map(|t| SLOTS.map(|i| (t, i)))
                    .filter(|&(t, i)| Pte(self.pages.env().read(t, i)).mfn().0 == m)
                    .map(|(t, i)| Op::Update(t.0, i, 0, 0, false))
                    .collect();
                if what >= 10 {
                    let last = if what == 10 {
                        vec![Op::Pin(m, 1)]
                    } else {
                        vec![Op::Release(m), Op::Assign(m, 1)]
                    };
                    unmap.extend(last);
                    return unmap;
                }
                vec![match what {
                    0..2 => Op::Update(m, i, 0, 0, false),
                    3 => Op::Update(m, i, Pte::new(Mfn(m), RO).0, 0, false),
                    4 => Op::Pin(m, 1),
                    5 => Op::Pin(m, 4),
                    6 => Op::GetTyped(m, 6),
                    7 => Op::Unpin(m),
                    8 => Op::Release(m),
                    9 => Op::Update(m, i, now ^ Pte::WRITABLE, 0, false),
                    2 => Op::Update(m, i, Pte::new(other, RO).0, 0, false),
                    _ => Op::Assign(m, 1),
                }]
            }
            Op::Live(cpu, t, i) => {
                vec![Op::Plant(t, i, RW), Op::Base(cpu, t[0]), Op::Access(cpu, 99, [i; 4])]
            }
            ref other => vec![other.clone()],
        }
    }

    fn step(&mut self, op: &Op) {
        for op in self.resolve(op) {
            self.plain_step(&op);
        }
    }

    fn plain_step(&mut self, op: &Op) {
        self.refresh();
        let before = self.model.clone();
        let expected = self.predict(op);
        match expected {
            Some(Err(No)) => self.model = before,
            _ => self.model.sweep(),
        }
        let got = self.perform(op);
        if let Some(expected) = expected {
            assert_eq!(got, expected, "{op:?}");
        }
        self.compare(op);
    }

    fn compare(&mut self, op: &Op) {
        let freed = std::mem::take(&mut self.model.freed);
        let came: Vec<u64> =
            self.pages.env().freed.lock().unwrap().drain(..).map(|(m, _)| m.0).collect();
        assert_eq!(came.iter().copied().collect::<BTreeSet<_>>(), freed, "{op:?}");
        assert_eq!(came.len(), freed.len(), "freed twice: {op:?}");
        for m in all() {
            let now = self.pages.env().frame(m).unwrap().snapshot();
            let want = &self.model.pages[&m.0];
            assert_eq!((now.owner, now.uses), (want.owner, want.uses), "{m:?} after {op:?}");
            assert_eq!((now.pinned, now.allocated), (want.pinned, want.allocated), "{m:?}");
            assert_eq!(now.references, self.model.references(m.0), "{m:?} after {op:?}");
            assert!(now.uses == 0 || now.kind == want.kind, "{m:?} after {op:?}");
            assert!(!now.partial, "{m:?} stopped after {op:?}");
        }
        recount::check(&self.pages, &self.tokens);
        self.pages.env().check_caches();
    }

    /// What the model says; `None` where it has no say.
    fn predict(&mut self, op: &Op) -> Option<Result<(), No>> {
        let owner = |m: u64| self.owner(m);
        Some(match *op {
            Op::Assign(m, d) => {
                let page = self.model.page(m).unwrap();
                if page.owner.is_some() {
                    return Some(Err(No));
                }
                (page.owner, page.allocated) = (Some(DomId(d)), true);
                Ok(())
            }
            Op::Share(m, d, read_only) => {
                let page = self.model.page(m).unwrap();
                if page.owner.is_some() {
                    return Some(Err(No));
                }
                (page.owner, page.lent) = (Some(DomId(d)), Some(read_only));
                Ok(())
            }
            Op::Release(m) => {
                let page = self.model.page(m).unwrap();
                if !page.allocated {
                    return Some(Err(No));
                }
                page.allocated = false;
                Ok(())
            }
            Op::Unshare(m) | Op::Steal(m) => return Some(self.predict_sole(m, op)),
            Op::Update(m, i, e, _, foreign) => {
                let dom = owner(m);
                self.model.update((dom, if foreign { D1 } else { dom }), m, i, e)
            }
            Op::Pin(m, k) => {
                let dom = owner(m);
                self.model.pin(m, dom, kind_from(k))
            }
            Op::Unpin(m) => {
                let dom = owner(m);
                self.model.unpin(m, dom)
            }
            Op::Get(m) => {
                self.model.tokens.push((m, false));
                self.model.pages[&m].owner.map(|_| ()).ok_or(No)
            }
            Op::GetTyped(m, k) => {
                let dom = owner(m);
                if k == 0 {
                    return Some(Err(No));
                }
                self.model.tokens.push((m, true));
                self.model.get_use(m, dom, kind_from(k))
            }
            Op::Put(_) | Op::Base(..) | Op::End(_) => return None,
            Op::OfCached(..) | Op::Live(..) => panic!("resolved before"),
            Op::Poke(..) | Op::Plant(..) | Op::Access(..) | Op::Flush(_) => Ok(()),
        })
    }

    fn predict_sole(&mut self, m: u64, op: &Op) -> Result<(), No> {
        let sole = self.model.references(m) == 1;
        let page = self.model.page(m).unwrap();
        let right = if matches!(op, Op::Steal(_)) { page.allocated } else { page.lent.is_some() };
        if !sole || !right {
            return Err(No);
        }
        *page = Model::new().pages[&m].clone();
        Ok(())
    }

    fn perform(&mut self, op: &Op) -> Result<(), No> {
        let refused = |r: Result<(), crate::Reason>| r.map_err(|_| No);
        match *op {
            Op::Assign(m, d) => {
                let done = refused(self.pages.assign(Mfn(m), DomId(d)));
                self.born(m, done)
            }
            Op::Share(m, d, read_only) => {
                let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
                let done = refused(self.pages.share(Mfn(m), DomId(d), access));
                if done.is_ok() {
                    self.tokens.lent.push(Mfn(m));
                }
                self.born(m, done)
            }
            Op::Release(m) => refused(self.pages.release_allocation(Mfn(m), self.owner(m))),
            Op::Unshare(m) => {
                let done = refused(self.pages.unshare(Mfn(m), self.owner(m)));
                if done.is_ok() {
                    self.tokens.lent.retain(|&l| l != Mfn(m));
                }
                done
            }
            Op::Steal(m) => refused(self.pages.steal(Mfn(m), self.owner(m))),
            Op::Poke(m, i, e) => {
                self.poke(m, i, e);
                Ok(())
            }
            Op::Plant(t, i, flags) => {
                for w in t.windows(2) {
                    self.poke(w[0], i, Pte::new(Mfn(w[1]), flags).0);
                }
                Ok(())
            }
            Op::Update(m, i, e, how, foreign) => self.update(m, i, e, how, foreign),
            Op::Pin(m, k) => {
                let dom = self.owner(m);
                self.again(|b| self.pages.pin(Mfn(m), dom, kind_from(k), b))
            }
            Op::Unpin(m) => {
                let mut budget = Budget::new(self.units);
                let rest = self.pages.unpin(Mfn(m), self.owner(m), &mut budget).map_err(|_| No)?;
                self.finish(rest);
                Ok(())
            }
            Op::Get(m) => {
                let page = self.pages.get_any(Mfn(m)).ok_or(No)?.0;
                self.tokens.pages.push(page);
                Ok(())
            }
            Op::GetTyped(m, k) => {
                let dom = self.owner(m);
                let got = self.again(|b| self.pages.get_typed(Mfn(m), dom, kind_from(k), b))?;
                self.tokens.typed.push(got);
                Ok(())
            }
            Op::Put(n) => {
                self.put(n);
                Ok(())
            }
            Op::Base(cpu, m) => self.base(cpu, m),
            Op::Access(cpu, start, path) => {
                self.pages.env().access(cpu, start, path);
                Ok(())
            }
            Op::Flush(cpu) => {
                self.pages.env().flush_one(cpu);
                Ok(())
            }
            Op::End(d) => {
                self.end(DomId(d));
                Ok(())
            }
            Op::OfCached(..) | Op::Live(..) => panic!("resolved before"),
        }
    }

    fn born(&mut self, m: u64, done: Result<(), No>) -> Result<(), No> {
        if done.is_ok() {
            self.pages.env().reborn(Mfn(m));
        }
        done
    }

    /// A guest may write where it could have a writable mapping.
    fn poke(&self, m: u64, i: usize, e: u64) {
        let now = self.pages.env().frame(Mfn(m)).unwrap().snapshot();
        let guarded = now.kind != Kind::Writable && now.uses > 0;
        if let Some(owner) = now.owner.filter(|_| !guarded) {
            written(&self.pages, Mfn(m), owner, |env| env.poke(Mfn(m), i, e));
        }
    }

    /// The same where validation may have stopped.
    fn poke_idle(&self, m: u64, i: usize, e: u64) {
        if !self.pages.env().frame(Mfn(m)).unwrap().snapshot().partial {
            self.poke(m, i, e);
        }
    }

    fn update(&self, m: u64, i: usize, e: u64, how: u8, foreign: bool) -> Result<(), No> {
        let dom = self.owner(m);
        let ctx = Ctx { table_owner: dom, frame_owner: if foreign { D1 } else { dom } };
        let done = self.again(|b| match how {
            0 => self.pages.update_entry(ctx, Mfn(m), i, e, Mode::Normal, b),
            1 => self.pages.update_entry(ctx, Mfn(m), i, e, Mode::PreserveAd, b),
            _ => {
                let old = self.pages.env().read(Mfn(m), i);
                match self.pages.update_entry_if(ctx, Mfn(m), i, old, e, b)? {
                    Compared::Swapped(done) => Ok(done),
                    Compared::Differs(_) => panic!("nobody else changes entries here"),
                }
            }
        })?;
        assert!(done.flush.is_none());
        self.finish(done.deferred);
        let flags = Pte::ADDRESS | Pte::PRESENT;
        assert_eq!(self.pages.env().read(Mfn(m), i) & flags, e & flags);
        Ok(())
    }

    fn put(&mut self, n: usize) {
        let all = self.tokens.pages.len() + self.tokens.typed.len();
        let Some(n) = n.checked_rem(all) else { return };
        if n < self.tokens.pages.len() {
            let page = self.tokens.pages.swap_remove(n);
            self.forget_token(page.mfn(), false);
            self.pages.put(page);
        } else {
            let n = n - self.tokens.pages.len();
            let mfn = self.tokens.typed[n].mfn();
            if self.bases.iter().flatten().any(|b| b.0 == mfn) {
                return; // It may be the one that a CPU's base pointer owns.
            }
            let typed = self.tokens.typed.swap_remove(n);
            self.forget_token(mfn, true);
            self.finish(self.pages.put_typed(typed, &mut Budget::new(self.units)));
        }
        self.model.sweep();
    }

    fn forget_token(&mut self, mfn: Mfn, typed: bool) {
        let at = self.model.tokens.iter().position(|&t| t == (mfn.0, typed)).unwrap();
        self.model.tokens.swap_remove(at);
        if typed {
            self.model.put_use(mfn.0);
        }
    }

    /// A CPU's base pointer changes; the old root goes back afterwards.
    fn base(&mut self, cpu: usize, m: u64) -> Result<(), No> {
        let dom = self.owner(m);
        let new = self.again(|b| self.pages.new_base(Mfn(m), dom, b));
        let saved = self.model.clone();
        let expected = self.model.get_use(m, dom, Kind::L4);
        assert_eq!(new.as_ref().map(|_| ()).map_err(|_| No), expected);
        let Ok(new) = new else {
            self.model = saved;
            return Err(No);
        };
        self.tokens.typed.push(new);
        self.model.tokens.push((m, true));
        self.load(cpu, Some((Mfn(m), dom)));
        Ok(())
    }

    fn load(&mut self, cpu: usize, base: Option<(Mfn, DomId)>) {
        self.pages.env().load_base(cpu, base);
        if let Some((old, _)) = std::mem::replace(&mut self.bases[cpu], base) {
            let at = self.tokens.typed.iter().position(|t| t.mfn() == old).unwrap();
            let typed = self.tokens.typed.swap_remove(at);
            self.forget_token(old, true);
            self.finish(self.pages.put_typed(typed, &mut Budget::new(self.units)));
        }
        self.model.sweep();
    }

    /// A domain ends: all its frames come back but those that others hold.
    fn end(&mut self, dom: DomId) {
        for cpu in 0..2 {
            if self.bases[cpu].is_some_and(|b| b.1 == dom) {
                self.load(cpu, None);
            }
        }
        for m in 1..FRAMES - 1 {
            if self.owner(m) == dom && self.model.pages[&m].pinned {
                self.model.unpin(m, dom).unwrap();
            }
        }
        for m in 1..FRAMES - 1 {
            let units = self.units;
            while !self.pages.relinquish(Mfn(m), dom, Stage::Release, &mut Budget::new(units)) {}
            if self.model.pages[&m].owner == Some(dom) {
                self.model.page(m).unwrap().allocated = false;
            }
        }
        self.model.sweep();
    }

    /// Everything is given back; nothing may remain.
    fn finish_all(&mut self) {
        for cpu in 0..2 {
            self.load(cpu, None);
        }
        while !(self.tokens.pages.is_empty() && self.tokens.typed.is_empty()) {
            self.put(0);
        }
        self.end(D0);
        self.end(D1);
        for m in std::mem::take(&mut self.tokens.lent) {
            self.pages.unshare(m, self.owner(m.0)).unwrap();
        }
        for m in all() {
            let now = self.pages.env().frame(m).unwrap().snapshot();
            assert_eq!((now.owner, now.references, now.uses), (None, 0, 0), "{m:?}");
        }
    }
}

/// `PAGES_CASES` in the environment asks for a longer run.
pub fn cases(n: u32) -> ProptestConfig {
    let asked = std::env::var("PAGES_CASES").ok().and_then(|n| n.parse().ok());
    let cases = if cfg!(miri) { 2 } else { asked.unwrap_or(n) };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

const OPS: usize = if cfg!(miri) { 8 } else { 80 };

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn every_operation_does_what_the_naive_model_does_and_no_cpu_keeps_a_stale_translation(
        ops in prop::collection::vec(op(), 1..OPS),
        units in prop_oneof![Just(1_000_000_u32), 1..40_u32, 40..2000_u32],
    ) {
        let mut run = Run::new(units);
        for op in &ops {
            // Those without a prediction keep the model in step themselves.
            run.step(op);
        }
        run.finish_all();
    }
}

#[test]
fn a_table_that_a_linear_entry_used_is_released_to_its_end_in_the_smallest_steps() {
    let mut run = Run::new(1);
    run.step(&Op::Live(0, [9, 2, 1, 6, 3], 1));
    run.step(&Op::Plant([10, 9, 5, 6, 2], 0, RO));
    run.step(&Op::Pin(10, 4));
    run.load(0, None);
    run.step(&Op::Unpin(10));
    run.finish_all();
}

/// Operations that are left half way, by a guest that never comes back for the rest or does
/// something else first. There is nothing to predict; the counts must be right at every stop.
fn leave_half_way(ops: &[Op], units: u32) {
    let mut run = Run::new(1 << 30);
    run.units = units;
    for op in ops {
        for op in run.resolve(op) {
            step_half_way(&mut run, &op);
            recount::check(&run.pages, &run.tokens);
            run.pages.env().check_caches();
        }
    }
    give_all_back(&mut run);
}

fn step_half_way(run: &mut Run, op: &Op) {
    let mut budget = Budget::new(run.units);
    let b = &mut budget;
    match *op {
        Op::Pin(m, k) => {
            let _ = run.pages.pin(Mfn(m), run.owner(m), kind_from(k), b);
        }
        Op::Unpin(m) => {
            let rest = run.pages.unpin(Mfn(m), run.owner(m), b);
            run.tokens.deferred.extend(rest.ok().flatten());
        }
        Op::GetTyped(m, k) => {
            let got = run.pages.get_typed(Mfn(m), run.owner(m), kind_from(k), b);
            run.tokens.typed.extend(got.ok());
        }
        Op::Update(m, i, e, _, foreign) => {
            let dom = run.owner(m);
            let ctx = Ctx { table_owner: dom, frame_owner: if foreign { D1 } else { dom } };
            let done = run.pages.update_entry(ctx, Mfn(m), i, e, Mode::Normal, b);
            run.tokens.deferred.extend(done.ok().and_then(|d| d.deferred));
        }
        Op::Put(n) => {
            if let Some(rest) = run.tokens.deferred.pop() {
                run.tokens.deferred.extend(run.pages.resume(rest, b));
            } else if let Some(n) = n.checked_rem(run.tokens.typed.len()) {
                let mfn = run.tokens.typed[n].mfn();
                if !run.bases.iter().flatten().any(|base| base.0 == mfn) {
                    let typed = run.tokens.typed.swap_remove(n);
                    run.tokens.deferred.extend(run.pages.put_typed(typed, b));
                }
            }
        }
        Op::End(d) => {
            for m in 1..FRAMES - 1 {
                let _ = run.pages.relinquish(Mfn(m), DomId(d), Stage::Break, b);
            }
        }
        Op::Base(cpu, n) => {
            let roots = run.tokens.typed.iter().filter(|t| t.kind() == Kind::L4);
            let root = roots.map(|t| t.mfn()).max_by_key(|m| m.0 ^ n);
            run.bases[cpu] = root.map(|m| (m, run.owner(m.0)));
            run.pages.env().load_base(cpu, run.bases[cpu]);
        }
        Op::Poke(m, i, e) => run.poke_idle(m, i, e),
        Op::Plant(t, i, flags) => {
            for w in t.windows(2) {
                run.poke_idle(w[0], i, Pte::new(Mfn(w[1]), flags).0);
            }
        }
        ref other => {
            let _ = run.perform(other);
        }
    }
}

fn give_all_back(run: &mut Run) {
    for cpu in 0..2 {
        run.pages.env().load_base(cpu, None);
    }
    for rest in std::mem::take(&mut run.tokens.deferred) {
        run.finish(Some(rest));
    }
    for typed in std::mem::take(&mut run.tokens.typed) {
        run.finish(run.pages.put_typed(typed, &mut Budget::new(run.units)));
    }
    for page in std::mem::take(&mut run.tokens.pages) {
        run.pages.put(page);
    }
    // Tables that stop after their own turn are found by the next pass.
    for _ in 0..3 {
        for m in 1..FRAMES - 1 {
            for dom in [D0, D1] {
                let stage = Stage::Release;
                while !run.pages.relinquish(Mfn(m), dom, stage, &mut Budget::new(run.units)) {}
            }
        }
    }
    for m in std::mem::take(&mut run.tokens.lent) {
        run.pages.unshare(m, run.owner(m.0)).unwrap();
    }
    for m in all() {
        let now = run.pages.env().frame(m).unwrap().snapshot();
        assert_eq!((now.owner, now.references, now.uses), (None, 0, 0), "{m:?}");
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn whatever_is_left_half_way_is_counted_and_comes_back(
        ops in prop::collection::vec(op(), 1..OPS),
        units in prop_oneof![1..10_u32, 100..700_u32, 700..1600_u32],
    ) {
        leave_half_way(&ops, units);
    }
}
