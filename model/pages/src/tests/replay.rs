//! A real boot once more: each of its calls on the real thing and on the naive one, with the answers
//! that the guest got then.

use abi::{DomId, Errno, Mfn};

use super::model::{Model, NOBODYS, No};
use super::recount::{self, Tokens};
use super::trace::{self, Line};
use super::world::*;
use crate::{
    Access, Budget, Compared, Ctx, Deferred, Env, HYPERVISOR_SLOTS, Kind, Mode, Pte, Stage, Stop,
    TypedRef,
};

/// Lines between full recounts.
const RECOUNT: usize = 12_000;
/// Lines between steps of the CPUs.
const WALK: usize = 4;
const SELF: u64 = 0x7ff0;

/// Devices are dom0's, but for what Xen lets it read only: the HPET and the PCI devices'
/// configuration (at 0xb000_0000 in QEMU's q35, 256 buses).
fn io(mfn: Mfn) -> Access {
    match mfn.0 {
        0xfed00 | 0xb0000..0xc0000 => Access::ReadOnly,
        _ => Access::ReadWrite,
    }
}

type Answer = Result<(), Errno>;

struct Replay {
    pages: Machine,
    model: Model,
    tokens: Tokens,
    kernel: Mfn,
    user: Mfn,
    gdt: Vec<Mfn>,
    dice: u64,
}

fn refused(stop: Stop) -> Errno {
    match stop {
        Stop::Again => panic!("repeated until it ends"),
        Stop::Refused(reason) => reason.errno(),
    }
}

/// The RAM of the machine's memory map, by frame.
fn ram(text: &str) -> Vec<bool> {
    let mut ram = vec![];
    for line in trace::lines(text).filter(|l| l.what == "ram") {
        let (first, end) = (line.words[0] as usize, line.words[1] as usize);
        ram.resize(ram.len().max(end), false);
        ram[first..end].fill(true);
    }
    // The first MiB is dom0's like a device, RAM or not.
    ram[..256].fill(false);
    ram
}

impl Replay {
    fn new(text: &str) -> Self {
        let ram = ram(text);
        let frames: Vec<u64> = (0..ram.len() as u64).filter(|&m| ram[m as usize]).collect();
        Self {
            pages: machine_of(ram, io),
            model: Model::of(frames, io),
            tokens: Tokens::default(),
            kernel: Mfn(0),
            user: Mfn(0),
            gdt: vec![],
            dice: 1,
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.dice >> 33) % sides
    }

    fn units(&mut self) -> u32 {
        [4096, 4096, 700, 33, 1][self.roll(5) as usize]
    }

    /// Repeats a call until it ends, with a budget that may be small.
    fn again<T>(
        &mut self,
        mut f: impl FnMut(&Machine, &mut Budget) -> Result<T, Stop>,
    ) -> Result<T, Errno> {
        let units = self.units();
        loop {
            match f(&self.pages, &mut Budget::new(units)) {
                Err(Stop::Again) => {}
                other => return other.map_err(refused),
            }
        }
    }

    fn finish(&mut self, mut rest: Option<Deferred>) {
        let units = self.units();
        while let Some(r) = rest {
            rest = self.pages.resume(r, &mut Budget::new(units));
        }
    }

    /// The naive model must have done or refused the same.
    fn same<T>(
        &mut self,
        real: Result<T, Errno>,
        naive: impl FnOnce(&mut Model) -> Result<(), No>,
    ) -> Result<T, Errno> {
        let saved = real.is_err().then(|| self.model.clone());
        let said = naive(&mut self.model);
        assert_eq!(real.as_ref().err().is_some(), said.is_err(), "{:?}", real.as_ref().err());
        if let Some(saved) = saved {
            self.model = saved;
        }
        real
    }

    fn get(&mut self, mfn: Mfn, kind: Kind) -> Answer {
        let got = self.again(|pages, b| pages.get_typed(mfn, D0, kind, b));
        let typed = self.same(got, |m| m.get_use(mfn.0, D0, kind))?;
        self.tokens.typed.push(typed);
        self.model.tokens.push((mfn.0, true));
        Ok(())
    }

    fn put(&mut self, mfn: Mfn, kind: Kind) {
        let is = |t: &TypedRef| (t.mfn(), t.kind()) == (mfn, kind);
        let at = self.tokens.typed.iter().position(is).unwrap();
        let typed = self.tokens.typed.swap_remove(at);
        let units = self.units();
        let rest = self.pages.put_typed(typed, &mut Budget::new(units));
        self.finish(rest);
        let at = self.model.tokens.iter().position(|&t| t == (mfn.0, true)).unwrap();
        self.model.tokens.swap_remove(at);
        self.model.put_use(mfn.0);
    }

    fn update(&mut self, at: u64, value: u64) -> Answer {
        let (table, index) = (Mfn(at >> 12), (at >> 3 & 511) as usize);
        let mode = [Mode::Normal, Mode::Normal, Mode::PreserveAd, Mode::NoTranslate];
        if at & 3 == 1 {
            // The M2P entry of a page of its own.
            let page = self.pages.get(table, D0).ok_or(Errno::EINVAL)?;
            self.pages.put(page);
            return Ok(());
        }
        let mode = mode[(at & 3) as usize];
        let done =
            self.again(|pages, b| pages.update_entry(Ctx::own(D0), table, index, value, mode, b));
        let done = self.same(done, |m| m.update((D0, D0), table.0, index, value))?;
        self.finish(done.deferred);
        Ok(())
    }

    fn extended(&mut self, cmd: u64, a: u64) -> Answer {
        let mfn = Mfn(a);
        match cmd {
            0..=3 => {
                let kind = Kind::from_bits(cmd + 1);
                let done = self.again(|pages, b| pages.pin(mfn, D0, kind, b));
                self.same(done, |m| m.pin(a, D0, kind))
            }
            4 => {
                let units = self.units();
                let rest = self.pages.unpin(mfn, D0, &mut Budget::new(units));
                let rest = rest.map_err(|r| r.errno());
                let rest = self.same(rest, |m| m.unpin(a, D0))?;
                self.finish(rest);
                Ok(())
            }
            5 => self.new_base(mfn),
            15 => self.new_user_base(mfn),
            // Flushes, and the place of the LDT, which this boot loads nothing from.
            6..=13 => Ok(()),
            _ => panic!("mmuext_op {cmd} is not known here"),
        }
    }

    fn new_base(&mut self, mfn: Mfn) -> Answer {
        if mfn != self.kernel {
            self.get(mfn, Kind::L4)?;
            self.pages.env().load_base(0, Some((mfn, D0)));
            let old = std::mem::replace(&mut self.kernel, mfn);
            self.put(old, Kind::L4);
        }
        Ok(())
    }

    fn new_user_base(&mut self, mfn: Mfn) -> Answer {
        if mfn != self.user {
            if mfn.0 != 0 {
                self.get(mfn, Kind::L4)?;
            }
            self.pages.env().load_base(1, Some((mfn, D0)).filter(|b| b.0.0 != 0));
            let old = std::mem::replace(&mut self.user, mfn);
            if old.0 != 0 {
                self.put(old, Kind::L4);
            }
        }
        Ok(())
    }

    /// The level 1 entry of an address, as the hypervisor finds it.
    fn find(&self, va: u64) -> Option<(Mfn, usize)> {
        let mut table = self.kernel;
        for shift in [39, 30, 21] {
            let entry = Pte(self.pages.env().read(table, (va >> shift & 511) as usize));
            if !entry.is_present() {
                return None;
            }
            table = entry.mfn();
        }
        Some((table, (va >> 12 & 511) as usize))
    }

    fn va_mapping(&mut self, va: u64, value: u64) -> Answer {
        let (table, index) = self.find(va).ok_or(Errno::EINVAL)?;
        self.pages.env().access(0, usize::MAX, [12, 21, 30, 39].map(|s| (va >> s & 511) as usize));
        let done = self.pages.update_l1(Ctx::own(D0), table, index, value, Mode::Normal);
        self.same(done.map_err(|r| r.errno()), |m| m.update((D0, D0), table.0, index, value))
    }

    /// A trapped write, which took place.
    fn write(&mut self, table: Mfn, index: usize, old: u64, new: u64) {
        let now = self.pages.env().read(table, index);
        assert_eq!(now & !Pte::ACCESSED_DIRTY, old);
        let done = self
            .again(|pages, b| pages.update_entry_if(Ctx::own(D0), table, index, now, new, b))
            .unwrap();
        let Compared::Swapped(done) = done else { panic!("nobody else changes it") };
        self.finish(done.deferred);
        self.model.update((D0, D0), table.0, index, new).unwrap();
    }

    /// What the guest wrote itself: never to a table.
    fn words(&mut self, mfn: Mfn, first: usize, count: usize, value: u64) {
        let now = self.pages.env().frame(mfn).unwrap().snapshot();
        assert!(now.uses == 0 || now.kind == Kind::Writable, "written past us: {now:?}");
        for k in 0..count {
            let value = value + ((k as u64) << 12);
            self.pages.env().poke(mfn, first + k, value);
            self.model.memory.insert((mfn.0, first + k), value);
        }
    }

    fn assign(&mut self, mfn: u64) {
        self.pages.assign(Mfn(mfn), D0).unwrap();
        self.pages.env().reborn(Mfn(mfn));
        let page = self.model.page(mfn).unwrap();
        assert!(page.owner.is_none());
        (page.owner, page.allocated) = (Some(D0), true);
    }

    fn exchange(&mut self, words: &[u64]) {
        let (given, got) = words[1..].split_at(words[0] as usize);
        for &mfn in given {
            self.pages.steal(Mfn(mfn), D0).unwrap();
            let page = self.model.page(mfn).unwrap();
            assert!(page.allocated && page.uses == 0);
            *page = NOBODYS;
        }
        got.iter().for_each(|&mfn| self.assign(mfn));
    }

    fn decrease(&mut self, words: &[u64]) {
        for &mfn in words {
            self.pages.release_allocation(Mfn(mfn), D0).unwrap();
            self.model.page(mfn).unwrap().allocated = false;
        }
        for (mfn, _) in std::mem::take(&mut *self.pages.env().freed.lock().unwrap()) {
            assert_eq!(self.model.references(mfn.0), 0);
            *self.model.page(mfn.0).unwrap() = NOBODYS;
        }
    }

    fn set_gdt(&mut self, frames: &[u64]) -> Answer {
        for &mfn in frames {
            self.get(Mfn(mfn), Kind::Segment)?;
        }
        let new = frames.iter().map(|&m| Mfn(m)).collect();
        for old in std::mem::replace(&mut self.gdt, new) {
            self.put(old, Kind::Segment);
        }
        Ok(())
    }

    fn lend(&mut self, mfn: u64) {
        self.pages.share(Mfn(mfn), D0, Access::ReadWrite).unwrap();
        self.pages.env().reborn(Mfn(mfn));
        self.tokens.lent.push(Mfn(mfn));
        let page = self.model.page(mfn).unwrap();
        (page.owner, page.lent) = (Some(D0), Some(false));
    }

    fn start(&mut self, root: Mfn) {
        self.extended(3, root.0).unwrap();
        self.get(root, Kind::L4).unwrap();
        self.kernel = root;
        self.pages.env().load_base(0, Some((root, D0)));
    }

    /// A list of `size` words each, up to the first that is refused.
    fn list(&mut self, line: &Line, size: usize, one: fn(&mut Self, &[u64]) -> Answer) -> Answer {
        assert_eq!(line.words[0], SELF, "a foreign domain");
        line.words[1..].chunks(size).try_for_each(|request| one(self, request))
    }

    fn step(&mut self, line: &Line) {
        let w = &line.words[..];
        let answer = match line.what {
            "ram" => Ok(()),
            "frames" => {
                (w[0]..w[0] + w[1]).for_each(|m| self.assign(m));
                Ok(())
            }
            "lend" => {
                self.lend(w[0]);
                Ok(())
            }
            "root" => {
                self.start(Mfn(w[0]));
                Ok(())
            }
            "word" => {
                self.words(Mfn(w[0]), w[1] as usize, w[2] as usize, w[3]);
                Ok(())
            }
            "write" => {
                self.write(Mfn(w[0]), w[1] as usize, w[2], w[3]);
                Ok(())
            }
            "table" => {
                self.table(Mfn(w[0]), w[1], w[2]);
                Ok(())
            }
            "mmu" => self.list(line, 2, |r, w| r.update(w[0], w[1])),
            "ext" => self.list(line, 3, |r, w| r.extended(w[0], w[1])),
            "va" => {
                assert_eq!(w[0], SELF, "a foreign domain");
                self.va_mapping(w[1], w[2])
            }
            "gdt" => self.set_gdt(w),
            "desc" => self.get(Mfn(w[0] >> 12), Kind::Segment).map(|()| {
                self.put(Mfn(w[0] >> 12), Kind::Segment);
            }),
            // What can fail of these here is what the heap or the hypervisor's own limits decide.
            "hold" if line.result == 0 => self.get(Mfn(w[0]), Kind::Writable),
            "swap" if line.result == 0 => {
                self.exchange(w);
                Ok(())
            }
            "hold" | "swap" => return,
            "less" => return self.decrease(w),
            "more" => return w.iter().for_each(|&m| self.assign(m)),
            other => panic!("what is {other}?"),
        };
        let answer = answer.map_or_else(|e| e.to_ret(), |()| 0);
        assert_eq!(answer, line.result, "the answer to {}", line.what);
        assert!(self.pages.env().freed.lock().unwrap().is_empty(), "freed while allocated");
    }

    /// A CPU translates an address that is mapped, or as far as that goes from a table that it
    /// remembers, and forgets something old.
    fn walk(&mut self) {
        let (cpu, start, first) = (self.roll(2) as usize, self.roll(40) as usize, self.roll(512));
        let world = self.pages.env();
        {
            let cached = &mut world.cpus[cpu].lock().unwrap().cached;
            let surplus = (cached.len() + 4).saturating_sub(REMEMBERED);
            cached.drain(..surplus.min(cached.len()));
        }
        world.walk(cpu, start, |table, level| {
            let all = (0..512).map(|k| (first as usize + k) % 512);
            let mut guests = all.filter(|i| level < 4 || !HYPERVISOR_SLOTS.contains(i));
            guests.find(|&i| Pte(world.read(table, i)).is_present()).unwrap_or(0)
        });
        world.check_caches();
    }

    /// At the end: a table has the words that the real one had.
    fn table(&mut self, mfn: Mfn, level: u64, hash: u64) {
        let now = self.pages.env().frame(mfn).unwrap().snapshot();
        assert_eq!((now.kind as u64, now.uses > 0), (level, true));
        let mut ours = 0xcbf2_9ce4_8422_2325_u64;
        for i in 0..512 {
            let hidden = level == 4 && HYPERVISOR_SLOTS.contains(&i);
            let word = if hidden { 0 } else { self.pages.env().read(mfn, i) };
            ours = (ours ^ word & !Pte::ACCESSED_DIRTY).wrapping_mul(0x100_0000_01b3);
        }
        assert_eq!(ours, hash, "{mfn:?}, of level {level}, has other words");
    }

    /// The real thing and the naive one say the same of every frame and every word.
    fn compare(&self) {
        let references = self.model.all_references();
        for mfn in self.pages.env().counted() {
            let now = self.pages.env().frame(mfn).unwrap().snapshot();
            let want = &self.model.pages[&mfn.0];
            assert_eq!((now.owner, now.uses), (want.owner, want.uses), "{mfn:?}");
            assert_eq!((now.pinned, now.allocated), (want.pinned, want.allocated), "{mfn:?}");
            assert_eq!(now.references, references[&mfn.0], "{mfn:?}");
            assert!(now.uses == 0 || now.kind == want.kind, "{mfn:?}");
            assert!(!now.partial, "{mfn:?}");
        }
        for (&(mfn, index), &word) in &self.model.memory {
            let now = self.pages.env().read(Mfn(mfn), index);
            assert_eq!((now ^ word) & !Pte::ACCESSED_DIRTY, 0, "word {index} of {mfn:#x}");
        }
    }

    /// The domain ends. Every reference comes back.
    fn end(mut self) {
        for cpu in 0..2 {
            self.pages.env().load_base(cpu, None);
        }
        for typed in std::mem::take(&mut self.tokens.typed) {
            let rest = self.pages.put_typed(typed, &mut Budget::new(100));
            self.finish(rest);
        }
        let all: Vec<Mfn> = self.pages.env().counted().collect();
        let mut passes = 0;
        while passes == 0 || all.iter().any(|&m| self.is_allocated(m)) {
            for &mfn in &all {
                while !self.pages.relinquish(mfn, D0, Stage::Release, &mut Budget::new(100)) {}
            }
            passes += 1;
            assert!(passes < 4);
        }
        for mfn in std::mem::take(&mut self.tokens.lent) {
            self.pages.unshare(mfn, D0).unwrap();
        }
        for mfn in all {
            let now = self.pages.env().frame(mfn).unwrap().snapshot();
            assert_eq!((now.owner, now.references, now.uses), (None, 0, 0), "{mfn:?}");
        }
    }

    fn is_allocated(&self, mfn: Mfn) -> bool {
        self.pages.env().frame(mfn).unwrap().snapshot().allocated
    }
}

/// Says at which line a test failed.
struct At(usize);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("at line {} of the trace", self.0);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "the boot has some 200,000 calls")]
fn a_real_boot_gets_the_answers_that_it_got_and_leaves_nothing_behind() {
    let text = trace::text();
    let mut replay = Replay::new(&text);
    let mut at = At(0);
    for line in trace::lines(&text) {
        at.0 = line.number;
        replay.step(&line);
        if line.number.is_multiple_of(WALK) {
            replay.walk();
        }
        if line.number.is_multiple_of(RECOUNT) {
            recount::check(&replay.pages, &replay.tokens);
        }
    }
    recount::check(&replay.pages, &replay.tokens);
    replay.compare();
    let owned = |m: &Mfn| replay.pages.env().frame(*m).unwrap().owner() == Some(DomId(0));
    assert!(replay.pages.env().counted().filter(owned).count() > 1000, "an empty trace?");
    replay.end();
}
