//! Random operations on a table and on a model that keeps a plain list of uses.

use super::*;
use crate::{CopyPin, NoTransit, Version};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Grant { gref: u32, flags: u16, to: DomId, frame: u64, span: u32 },
    Map { gref: u32, by: DomId, access: Access },
    Unmap { which: prop::sample::Index },
    Acquire { gref: u32, by: DomId, readonly: bool },
    Release { which: prop::sample::Index },
    Swap(u32, u32),
    SetVersion(Version),
}

fn domain() -> impl Strategy<Value = DomId> {
    prop_oneof![Just(USER), Just(OTHER)]
}

/// Entries at both sides of the reserved ones, and one that only version 1 has.
fn gref() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 6u32..10, 1 => Just(300u32), 1 => Just(512u32)]
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![
        6 => Just(gtf::PERMIT_ACCESS),
        3 => Just(gtf::PERMIT_ACCESS | gtf::READONLY),
        2 => Just(gtf::PERMIT_ACCESS | gtf::SUB_PAGE),
        1 => Just(gtf::INVALID),
        1 => Just(gtf::ACCEPT_TRANSFER),
    ];
    let access = (1u8..4, any::<bool>()).prop_map(|(parts, readonly)| Access {
        host: parts & 1 != 0,
        device: parts & 2 != 0,
        readonly,
    });
    prop_oneof![
        4 => (gref(), flags, domain(), 0u64..55, any::<u32>())
            .prop_map(|(gref, flags, to, frame, span)| Op::Grant { gref, flags, to, frame, span }),
        4 => (gref(), domain(), access).prop_map(|(gref, by, access)| Op::Map { gref, by, access }),
        3 => any::<prop::sample::Index>().prop_map(|which| Op::Unmap { which }),
        3 => (gref(), domain(), any::<bool>())
            .prop_map(|(gref, by, readonly)| Op::Acquire { gref, by, readonly }),
        2 => any::<prop::sample::Index>().prop_map(|which| Op::Release { which }),
        1 => (gref(), gref()).prop_map(|(a, b)| Op::Swap(a, b)),
        1 => prop_oneof![Just(Version::V1), Just(Version::V2)].prop_map(Op::SetVersion),
    ]
}

#[derive(Clone, Copy, Default)]
struct Entry {
    flags: u16,
    to: DomId,
    frame: u64,
    span: u32,
}

#[derive(Clone, Copy, PartialEq)]
struct Use {
    gref: u32,
    by: DomId,
    access: Access,
    mfn: Mfn,
    part: Option<u32>,
    copy: bool,
}

/// What is obviously right: entries as the guest wrote them, and a list of uses.
struct Naive {
    version: Version,
    entries: Vec<Entry>,
    uses: Vec<Use>,
}

impl Naive {
    fn of(&self, gref: u32) -> Vec<Use> {
        self.uses.iter().copied().filter(|one| one.gref == gref).collect()
    }

    fn in_range(&self, gref: u32) -> bool {
        gref < if self.version == Version::V1 { 512 } else { 256 }
    }

    fn begin(&mut self, gref: u32, by: DomId, access: Access, copy: bool) -> Result<Use, Status> {
        if !self.in_range(gref) {
            return Err(Status::BadGntref);
        }
        let entry = self.entries[gref as usize];
        let uses = self.of(gref);
        let part = entry.flags & gtf::SUB_PAGE != 0;
        if let Some(first) = uses.first() {
            let wider = !access.readonly && uses.iter().all(|one| one.access.readonly);
            if first.by != by
                || (!copy && first.part.is_some())
                || (wider && entry.flags & gtf::READONLY != 0)
            {
                return Err(Status::GeneralError);
            }
            let new = Use { gref, by, access, copy, ..*first };
            self.uses.push(new);
            return Ok(new);
        }
        if entry.flags & gtf::TYPE_MASK != gtf::PERMIT_ACCESS
            || entry.to != by
            || (!copy && part)
            || (!access.readonly && entry.flags & gtf::READONLY != 0)
        {
            return Err(Status::GeneralError);
        }
        let mfn = machine_frame(OWNER, entry.frame)?;
        let part = (part && self.version == Version::V2).then_some(entry.span);
        let new = Use { gref, by, access, mfn, part, copy };
        self.uses.push(new);
        Ok(new)
    }

    fn swap(&mut self, a: u32, b: u32) -> Result<(), Status> {
        if !self.in_range(a) || !self.in_range(b) {
            return Err(Status::BadGntref);
        }
        if a != b {
            if !self.of(a).is_empty() || !self.of(b).is_empty() {
                return Err(Status::Eagain);
            }
            self.entries.swap(a as usize, b as usize);
        }
        Ok(())
    }

    fn set_version(&mut self, version: Version) -> Result<(), abi::Errno> {
        if version == self.version {
            return Ok(());
        }
        if self.uses.iter().any(|one| one.gref >= 8) {
            return Err(abi::Errno::EBUSY);
        }
        for (gref, entry) in self.entries.iter_mut().enumerate() {
            let kept = version == Version::V2
                || entry.flags & (gtf::TYPE_MASK | gtf::SUB_PAGE) == gtf::PERMIT_ACCESS;
            *entry = if gref < 8 && kept { Entry { span: 0, ..*entry } } else { Entry::default() };
        }
        self.version = version;
        Ok(())
    }

    fn marks(&self, gref: u32) -> u16 {
        let uses = self.of(gref);
        let reading = if uses.is_empty() { 0 } else { gtf::READING };
        let writing = if uses.iter().any(|one| !one.access.readonly) { gtf::WRITING } else { 0 };
        reading | writing
    }
}

/// An honest guest writes an entry: its in-use marks stay.
fn write(table: &GrantTable<Plain>, gref: u32, entry: Entry) {
    let kept = if table.version() == Version::V1 { marks(table, gref) } else { 0 };
    grant(table, gref, entry.flags | kept, entry.to, entry.frame);
    if table.version() == Version::V2 {
        table.memory().v2[gref as usize].span.store(entry.span, Ordering::SeqCst);
    }
}

fn step(table: &GrantTable<Plain>, naive: &mut Naive, op: &Op) {
    match *op {
        Op::Grant { gref, flags, to, frame, span } => {
            // A slot's own flags share bits with the marks; no honest guest turns a grant in
            // use into one.
            let slot = flags == gtf::ACCEPT_TRANSFER && !naive.of(gref).is_empty();
            if naive.in_range(gref) && !slot {
                let span = if naive.version == Version::V2 { span } else { 0 };
                let entry = Entry { flags, to, frame, span };
                naive.entries[gref as usize] = entry;
                write(table, gref, entry);
            }
        }
        Op::Map { gref, by, access } => {
            let real = table.map(GrantRef(gref), by, access, resolve(OWNER));
            let model = naive.begin(gref, by, access, false);
            assert_eq!(real.map(|mapped| mapped.mfn), model.map(|one| one.mfn));
        }
        Op::Acquire { gref, by, readonly } => {
            let real = table
                .acquire(GrantRef(gref), by, readonly, resolve(OWNER), &mut NoTransit)
                .map(|lease| (lease.mfn(), lease.window()));
            let model = naive.begin(gref, by, Access::host(readonly), true).map(|one| {
                let window = one.part.map_or((0, 4096), |span| (span as u16, (span >> 16) as u16));
                (one.mfn, window)
            });
            assert_eq!(real, model);
        }
        Op::Unmap { which } | Op::Release { which } => {
            let copy = matches!(op, Op::Release { .. });
            let of_kind = |one: &&Use| one.copy == copy;
            let candidates: Vec<Use> = naive.uses.iter().filter(of_kind).copied().collect();
            if candidates.is_empty() {
                return;
            }
            let gone = *which.get(&candidates);
            let at = naive.uses.iter().position(|one| *one == gone).unwrap();
            naive.uses.remove(at);
            let gref = GrantRef(gone.gref);
            if copy {
                let readonly = gone.access.readonly;
                table.release(CopyPin { granter: OWNER, gref, readonly }).unwrap();
            } else {
                table.unpin(gref, gone.access).unwrap();
            }
        }
        Op::Swap(a, b) => {
            assert_eq!(table.swap(GrantRef(a), GrantRef(b)), naive.swap(a, b));
        }
        Op::SetVersion(version) => {
            assert_eq!(table.admin().set_version(version), naive.set_version(version));
        }
    }
}

fn same(table: &GrantTable<Plain>, naive: &Naive) {
    for gref in [6, 7, 8, 9, 300] {
        let uses = naive.of(gref);
        let count = |device: bool, readonly: bool| {
            let of = |one: &&Use| {
                one.access.readonly == readonly
                    && if device { one.access.device } else { one.access.host }
            };
            uses.iter().filter(of).count() as u16
        };
        let wanted =
            [count(false, true), count(false, false), count(true, true), count(true, false)];
        let (pins, _) = table.memory().active[gref as usize].glance();
        assert_eq!(pins.counts(), wanted);
        assert_eq!(table.pinned_frame(GrantRef(gref)), uses.first().map(|one| one.mfn));
        if naive.in_range(gref) && naive.entries[gref as usize].flags != gtf::ACCEPT_TRANSFER {
            assert_eq!(marks(table, gref), naive.marks(gref));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 400 }))]

    #[test]
    fn the_table_does_what_the_naive_model_does(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 60 })) {
        let table = table(OWNER, 1);
        let entries = vec![Entry::default(); 512];
        let mut naive = Naive { version: Version::V1, entries, uses: vec![] };
        for op in &ops {
            step(&table, &mut naive, op);
            same(&table, &naive);
        }
    }
}
