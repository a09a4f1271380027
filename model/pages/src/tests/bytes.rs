//! A guest with two vCPUs whose calls are made of random bytes. Each call stops early: its vCPU goes
//! on with it, or the other one does, or nobody; and the domain may end in the middle.

use abi::{DomId, Mfn};
use proptest::prelude::*;

use super::recount::{self, Tokens};
use super::world::*;
use crate::{Budget, Compared, Ctx, Env, Kind, Mode, Pte, Stage, Stop};

/// Frames of domain 1; the next three are domain 0's.
const OWN: u64 = 10;

/// The arguments of a call, as they stand in a vCPU's registers while it is continued.
#[derive(Clone, Copy, Debug)]
enum Call {
    Update(Ctx, Mfn, usize, u64, Mode),
    Exchange(Mfn, usize, u64, u64),
    Pin(Mfn, Kind),
    Unpin(Mfn),
    Base(Mfn),
    /// A frame in a use, held for ever: a descriptor table, a page for events.
    Hold(Mfn, Kind),
}

/// The bytes, one after the other; zeroes behind their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.next()))
    }

    fn mfn(&mut self) -> Mfn {
        match self.next() {
            255 => Mfn(self.word()),
            254 => IO_RW,
            253 => IO_RO,
            b => Mfn(u64::from(b) % (OWN + 4)),
        }
    }

    fn index(&mut self) -> usize {
        match self.next() {
            255 => usize::from(self.next()) * 4,
            b => usize::from(b % 3),
        }
    }

    fn entry(&mut self) -> u64 {
        let flags = match self.next() {
            255 => return self.word(),
            b => [RW, RW, RO, RO, 0, Pte::PRESENT, RW | Pte::ACCESSED, RW | Pte::WRITE_THROUGH]
                [usize::from(b % 8)],
        };
        Pte::new(self.mfn(), flags).0
    }

    fn kind(&mut self) -> Kind {
        Kind::from_bits(u64::from(self.next() % 7))
    }

    fn units(&mut self) -> u32 {
        match self.next() {
            b @ 0..128 => u32::from(b % 3) + 1,
            b => u32::from(b) * 12,
        }
    }

    fn call(&mut self) -> Call {
        match self.next() % 8 {
            0 | 1 => {
                let frame_owner = if self.next() < 32 { D0 } else { D1 };
                let mode = if self.next() & 1 == 0 { Mode::Normal } else { Mode::PreserveAd };
                let ctx = Ctx { table_owner: D1, frame_owner };
                Call::Update(ctx, self.mfn(), self.index(), self.entry(), mode)
            }
            2 => Call::Exchange(self.mfn(), self.index(), self.entry(), self.entry()),
            3 | 4 => Call::Pin(self.mfn(), self.kind()),
            5 => Call::Unpin(self.mfn()),
            6 => Call::Base(self.mfn()),
            _ => Call::Hold(self.mfn(), self.kind()),
        }
    }
}

struct Guest {
    pages: Machine,
    tokens: Tokens,
    pending: [Option<Call>; 2],
    bases: [Option<Mfn>; 2],
    dying: bool,
}

impl Guest {
    fn new() -> Self {
        let pages = machine();
        for m in 1..=OWN + 3 {
            pages.assign(Mfn(m), if m > OWN { D0 } else { D1 }).unwrap();
        }
        Self {
            pages,
            tokens: Tokens::default(),
            pending: [None; 2],
            bases: [None; 2],
            dying: false,
        }
    }

    /// One call, or what remains of it. `Err`: it is to be continued.
    fn call(&mut self, vcpu: usize, call: Call, b: &mut Budget) -> Result<(), ()> {
        let stopped = match call {
            Call::Update(ctx, table, index, value, mode) => {
                let done = self.pages.update_entry(ctx, table, index, value, mode, b);
                done.map(|done| self.tokens.deferred.extend(done.deferred))
            }
            Call::Exchange(table, index, old, new) => {
                let done = self.pages.update_entry_if(Ctx::own(D1), table, index, old, new, b);
                done.map(|done| match done {
                    Compared::Swapped(done) => self.tokens.deferred.extend(done.deferred),
                    Compared::Differs(found) => assert_ne!(found, old),
                })
            }
            Call::Pin(mfn, kind) => self.pages.pin(mfn, D1, kind, b),
            Call::Unpin(mfn) => {
                let rest = self.pages.unpin(mfn, D1, b);
                rest.map(|rest| self.tokens.deferred.extend(rest)).map_err(Stop::Refused)
            }
            Call::Base(mfn) => self.pages.new_base(mfn, D1, b).map(|new| {
                self.tokens.typed.push(new);
                self.load(vcpu, Some(mfn), b);
            }),
            Call::Hold(mfn, kind) => {
                self.pages.get_typed(mfn, D1, kind, b).map(|got| self.tokens.typed.push(got))
            }
        };
        if stopped == Err(Stop::Again) { Err(()) } else { Ok(()) }
    }

    fn load(&mut self, vcpu: usize, base: Option<Mfn>, b: &mut Budget) {
        self.pages.env().load_base(vcpu, base.map(|mfn| (mfn, D1)));
        if let Some(old) = std::mem::replace(&mut self.bases[vcpu], base) {
            let is = |t: &crate::TypedRef| (t.mfn(), t.kind()) == (old, Kind::L4);
            let at = self.tokens.typed.iter().position(is).unwrap();
            let old = self.tokens.typed.swap_remove(at);
            self.tokens.deferred.extend(self.pages.put_typed(old, b));
        }
    }

    /// A guest writes to a page that it could have mapped writable, and now has.
    fn poke(&self, mfn: Mfn, index: usize, entry: u64) {
        let now = self.pages.env().frame(mfn).map(|f| f.snapshot());
        let free = |s: &crate::Snapshot| !s.partial && (s.uses == 0 || s.kind == Kind::Writable);
        if index < 512 && now.is_some_and(|s| s.owner == Some(D1) && free(&s)) {
            written(&self.pages, mfn, D1, |env| env.poke(mfn, index, entry));
        }
    }

    fn step(&mut self, bytes: &mut Bytes) {
        let what = bytes.next();
        let vcpu = usize::from(what & 1);
        let mut budget = Budget::new(bytes.units());
        match what >> 1 {
            _ if self.dying => self.relinquish(bytes, &mut budget),
            // What a release left, by whoever comes first.
            0..20 => {
                if let Some(rest) = self.tokens.deferred.pop() {
                    self.tokens.deferred.extend(self.pages.resume(rest, &mut budget));
                }
            }
            20..50 => self.poke(bytes.mfn(), bytes.index(), bytes.entry()),
            50..60 => {
                let path = std::array::from_fn(|_| bytes.index() % 512);
                self.pages.env().access(vcpu, usize::from(bytes.next() % 8), path);
            }
            // The other vCPU's call, made by this one with the same arguments.
            60..70 => self.pending[vcpu] = self.pending[1 - vcpu].take(),
            // Never gone on with.
            70..74 => self.pending[vcpu] = None,
            74 => self.die(&mut budget),
            _ => {
                let call = self.pending[vcpu].take().unwrap_or_else(|| bytes.call());
                if self.call(vcpu, call, &mut budget).is_err() {
                    self.pending[vcpu] = Some(call);
                }
            }
        }
    }

    /// The vCPUs stop where they are.
    fn die(&mut self, b: &mut Budget) {
        self.dying = true;
        self.pending = [None; 2];
        for vcpu in 0..2 {
            self.load(vcpu, None, b);
        }
    }

    fn relinquish(&mut self, bytes: &mut Bytes, b: &mut Budget) {
        let what = bytes.next();
        if what < 64
            && let Some(typed) = self.tokens.typed.pop()
        {
            self.tokens.deferred.extend(self.pages.put_typed(typed, b));
        } else if what < 128
            && let Some(rest) = self.tokens.deferred.pop()
        {
            self.tokens.deferred.extend(self.pages.resume(rest, b));
        } else {
            let stage = if what & 1 == 0 { Stage::Release } else { Stage::Break };
            let _ = self.pages.relinquish(bytes.mfn(), D1, stage, b);
        }
    }

    fn check(&self) {
        recount::check(&self.pages, &self.tokens);
        self.pages.env().check_caches();
    }

    /// Everything ends, a unit at a time or so. Nothing may remain.
    fn end(mut self, units: u32) {
        self.die(&mut Budget::new(units));
        for typed in std::mem::take(&mut self.tokens.typed) {
            self.tokens.deferred.extend(self.pages.put_typed(typed, &mut Budget::new(units)));
        }
        while let Some(rest) = self.tokens.deferred.pop() {
            self.tokens.deferred.extend(self.pages.resume(rest, &mut Budget::new(units)));
        }
        for _ in 0..3 {
            for (mfn, dom) in all().flat_map(|m| [(m, D1), (m, D0)]) {
                self.empty(mfn, dom, units);
            }
        }
        for mfn in all() {
            let now = self.pages.env().frame(mfn).unwrap().snapshot();
            assert_eq!((now.owner, now.references, now.uses), (None, 0, 0), "{mfn:?}");
        }
        let freed = self.pages.env().freed.lock().unwrap().len();
        assert_eq!(freed as u64, OWN + 3, "each frame came back once");
    }

    fn empty(&self, mfn: Mfn, dom: DomId, units: u32) {
        while !self.pages.relinquish(mfn, dom, Stage::Release, &mut Budget::new(units)) {}
    }
}

proptest! {
    #![proptest_config(super::random::cases(400))]

    #[test]
    fn calls_of_random_bytes_stopped_passed_on_or_abandoned_keep_every_count(
        bytes in prop::collection::vec(any::<u8>(), 0..if cfg!(miri) { 60 } else { 900 }),
        units in prop_oneof![Just(1_u32), 2..40_u32],
    ) {
        let mut guest = Guest::new();
        let mut bytes = Bytes(&bytes);
        while !bytes.0.is_empty() {
            guest.step(&mut bytes);
            guest.check();
        }
        guest.end(units);
    }
}
