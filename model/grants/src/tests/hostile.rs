//! A guest that changes its words between any two accesses of the hypervisor.

use super::*;
use crate::shared::{WordsV1, WordsV2};
use crate::{NoTransit, Version};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};

/// What the guest writes before the next access; `None` lets one access pass.
type Poke = Option<(Word, u32)>;

#[derive(Clone, Copy, Debug)]
enum Word {
    Header,
    Span,
    Frame,
    Status,
}

/// One entry whose every access is preceded by a poke from the script.
struct Hostile {
    words: V2Entry,
    frame_v1: AtomicU32,
    active: ActiveEntry,
    script: RefCell<std::vec::IntoIter<Poke>>,
    headers: RefCell<Vec<Header>>,
    accesses: Cell<u32>,
}

impl Hostile {
    fn new(first: Header, script: Vec<Poke>) -> Hostile {
        let words = V2Entry::default();
        words.header.store(first.0, Ordering::SeqCst);
        Hostile {
            words,
            frame_v1: AtomicU32::new(0),
            active: ActiveEntry::new(),
            script: RefCell::new(script.into_iter()),
            headers: RefCell::new(vec![Header(0), first]),
            accesses: Cell::new(0),
        }
    }

    fn poke(&self) {
        self.accesses.set(self.accesses.get() + 1);
        let Some(Some((word, value))) = self.script.borrow_mut().next() else { return };
        match word {
            Word::Header => {
                self.headers.borrow_mut().push(Header(value));
                self.words.header.store(value, Ordering::SeqCst);
            }
            Word::Span => self.words.span.store(value, Ordering::SeqCst),
            Word::Frame => {
                self.words.frame.store(u64::from(value), Ordering::SeqCst);
                self.frame_v1.store(value, Ordering::SeqCst);
            }
            Word::Status => self.words.status.store(value as u16, Ordering::SeqCst),
        }
    }

    /// Whether the guest ever wrote a header that grants this.
    fn ever_granted(&self, by: DomId, readonly: bool, map: bool) -> bool {
        self.headers.borrow().iter().any(|header| {
            header.kind() == gtf::PERMIT_ACCESS
                && header.domid() == by
                && (readonly || header.flags() & gtf::READONLY == 0)
                && !(map && header.flags() & gtf::SUB_PAGE != 0)
        })
    }
}

struct Poked<'a, W>(&'a Hostile, W);

impl<W: WordsV1> WordsV1 for Poked<'_, W> {
    fn header(&self) -> Header {
        self.0.poke();
        self.1.header()
    }
    fn exchange_header(&self, old: Header, new: Header) -> Result<(), Header> {
        self.0.poke();
        self.1.exchange_header(old, new)
    }
    fn set_flags(&self, flags: u16) {
        self.0.poke();
        self.1.set_flags(flags);
    }
    fn clear_flags(&self, flags: u16) {
        self.0.poke();
        self.1.clear_flags(flags);
    }
    fn frame(&self) -> u32 {
        self.0.poke();
        self.1.frame()
    }
    fn set_frame(&self, frame: u32) {
        self.1.set_frame(frame);
    }
    fn set_header(&self, header: Header) {
        self.1.set_header(header);
    }
}

impl<W: WordsV2> WordsV2 for Poked<'_, W> {
    fn header(&self) -> Header {
        self.0.poke();
        self.1.header()
    }
    fn exchange_header(&self, old: Header, new: Header) -> Result<(), Header> {
        self.0.poke();
        self.1.exchange_header(old, new)
    }
    fn set_flags(&self, flags: u16) {
        self.1.set_flags(flags);
    }
    fn set_header(&self, header: Header) {
        self.1.set_header(header);
    }
    fn span(&self) -> u32 {
        self.0.poke();
        self.1.span()
    }
    fn set_span(&self, span: u32) {
        self.1.set_span(span);
    }
    fn frame(&self) -> u64 {
        self.0.poke();
        self.1.frame()
    }
    fn set_frame(&self, frame: u64) {
        self.1.set_frame(frame);
    }
    fn set_status(&self, bits: u16) {
        self.0.poke();
        self.1.set_status(bits);
    }
    fn clear_status(&self, bits: u16) {
        self.0.poke();
        self.1.clear_status(bits);
    }
    fn status(&self) -> u16 {
        self.0.poke();
        self.1.status()
    }
}

impl Memory for Hostile {
    type V1<'a> = Poked<'a, AtomicV1<'a>>;
    type V2<'a> = Poked<'a, AtomicV2<'a>>;
    fn v1(&self, _: GrantRef) -> Option<Self::V1<'_>> {
        let words = AtomicV1 { header: &self.words.header, frame: &self.frame_v1 };
        Some(Poked(self, words))
    }
    fn v2(&self, _: GrantRef) -> Option<Self::V2<'_>> {
        let V2Entry { header, span, frame, status } = &self.words;
        Some(Poked(self, AtomicV2 { header, span, frame, status }))
    }
    fn active(&self, _: GrantRef) -> Option<&ActiveEntry> {
        Some(&self.active)
    }
}

fn table_of(version: Version, memory: Hostile) -> GrantTable<Hostile> {
    let table = GrantTable::new(OWNER, 1, memory);
    // With no frame there is nothing to lay out again, so the script is not touched.
    table.admin().set_version(version).unwrap();
    table.admin().set_frames(1);
    table
}

fn header_value() -> impl Strategy<Value = u32> {
    let flags = prop_oneof![
        4 => Just(gtf::PERMIT_ACCESS),
        2 => Just(gtf::PERMIT_ACCESS | gtf::READONLY),
        1 => Just(gtf::PERMIT_ACCESS | gtf::SUB_PAGE),
        1 => Just(gtf::PERMIT_ACCESS | gtf::READING | gtf::WRITING),
        1 => Just(gtf::TRANSITIVE),
        1 => 0u16..512,
    ];
    let domain = prop_oneof![3 => Just(USER), 1 => Just(OTHER)];
    (flags, domain).prop_map(|(flags, domain)| Header::new(flags, domain).0)
}

fn poke() -> impl Strategy<Value = Poke> {
    prop_oneof![
        4 => Just(None),
        3 => header_value().prop_map(|value| Some((Word::Header, value))),
        1 => any::<u32>().prop_map(|value| Some((Word::Span, value))),
        1 => (0u32..55).prop_map(|value| Some((Word::Frame, value))),
        1 => any::<u32>().prop_map(|value| Some((Word::Status, value))),
    ]
}

/// Takes or gives back: (take, by, readonly, map).
fn action() -> impl Strategy<Value = (bool, DomId, bool, bool)> {
    (any::<bool>(), prop_oneof![Just(USER), Just(OTHER)], any::<bool>(), any::<bool>())
}

struct Uses<'a> {
    table: &'a GrantTable<Hostile>,
    held: Vec<(DomId, Access, Mfn)>,
    references: Cell<usize>,
}

impl Uses<'_> {
    fn take(&mut self, by: DomId, readonly: bool, map: bool) {
        let before = self.table.memory().accesses.get();
        let meaning = self.held.first().map(|held| held.2);
        let access = Access::host(readonly);
        let resolve = |target: Target| {
            let mfn = match (target, meaning) {
                (Target::Gfn(gfn), None) => machine_frame(OWNER, gfn.0)?,
                (Target::Mfn(mfn), Some(meaning)) => {
                    assert_eq!(mfn, meaning, "a grant in use keeps its frame");
                    mfn
                }
                _ => panic!("the frame is asked for exactly when the grant comes into use"),
            };
            self.references.set(self.references.get() + 1);
            Ok((mfn, ()))
        };
        let gref = GrantRef(0);
        let taken = if map {
            self.table.map(gref, by, access, resolve).map(|mapped| mapped.mfn)
        } else {
            let lease = self.table.acquire(gref, by, readonly, resolve, &mut NoTransit);
            lease.map(|lease| lease.mfn())
        };
        if let Ok(mfn) = taken {
            let memory = self.table.memory();
            match self.held.first() {
                None => assert!(memory.ever_granted(by, readonly, map)),
                Some(held) => assert_eq!(held.0, by),
            }
            self.held.push((by, access, mfn));
        }
        assert!(self.table.memory().accesses.get() - before < 30, "tries are bounded");
    }

    fn check(&self) {
        let (pins, _) = self.table.memory().active.glance();
        let writers = self.held.iter().filter(|held| !held.1.readonly).count() as u16;
        let readers = self.held.len() as u16 - writers;
        assert_eq!(pins.counts(), [readers, writers, 0, 0]);
        assert_eq!(self.references.get(), self.held.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 800 }))]

    #[test]
    fn whatever_is_written_when_nothing_leaks_and_nothing_is_had_that_was_not_granted(
        second in any::<bool>(),
        first in header_value(),
        script in prop::collection::vec(poke(), 0..60),
        actions in prop::collection::vec(action(), 1..20),
    ) {
        let version = if second { Version::V2 } else { Version::V1 };
        let table = table_of(version, Hostile::new(Header(first), script));
        let mut uses = Uses { table: &table, held: vec![], references: Cell::new(0) };
        for (take, by, readonly, map) in actions {
            if take {
                uses.take(by, readonly, map);
            } else if let Some((_, access, _)) = uses.held.pop() {
                table.unpin(GrantRef(0), access).unwrap();
                uses.references.set(uses.references.get() - 1);
            }
            uses.check();
        }
        for (_, access, _) in uses.held.drain(..) {
            table.unpin(GrantRef(0), access).unwrap();
        }
        prop_assert!(!table.memory().active.pins().any());
    }
}

#[test]
fn a_header_that_never_holds_still_ends_in_an_error() {
    let flip = |n: u32| {
        let cache = (n % 2) << 5;
        Some((Word::Header, Header::new(gtf::PERMIT_ACCESS, USER).0 | cache))
    };
    let script = (0..100).map(flip).collect();
    let memory = Hostile::new(Header::new(gtf::PERMIT_ACCESS, USER), script);
    let table = table_of(Version::V1, memory);
    let outcome = table.map(GrantRef(0), USER, READ, resolve(OWNER));
    assert_eq!(outcome.unwrap_err(), Status::GeneralError);
    assert!(!table.memory().active.pins().any());
}

#[test]
fn an_entry_withdrawn_before_its_status_was_seen_is_not_used_and_not_left_marked() {
    let script = vec![None, None, Some((Word::Header, 0))];
    let memory = Hostile::new(Header::new(gtf::PERMIT_ACCESS, USER), script);
    let table = table_of(Version::V2, memory);
    let outcome = table.map(GrantRef(0), USER, WRITE, resolve(OWNER));
    assert_eq!(outcome.unwrap_err(), Status::GeneralError);
    assert_eq!(table.memory().words.status.load(Ordering::SeqCst), 0);
}
