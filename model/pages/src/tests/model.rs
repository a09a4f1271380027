//! The same rules once more, naively: maps, recursion, no stopping, no sharing of words.
//!
//! Each operation works on a copy that is thrown away when the operation is refused. References
//! are never kept, only counted anew.

use std::collections::{BTreeMap, BTreeSet};

use abi::{DomId, Mfn};

use super::world::{BAD_DESCRIPTOR, FRAMES, HYPERVISOR_ENTRY, IO_FRAME, small_io};
use crate::{Access, Kind, Pte};

#[derive(Clone, Debug)]
pub struct Page {
    pub owner: Option<DomId>,
    pub allocated: bool,
    /// Lent by the hypervisor; read-only or not.
    pub lent: Option<bool>,
    pub kind: Kind,
    pub uses: u32,
    pub pinned: bool,
}

pub const NOBODYS: Page =
    Page { owner: None, allocated: false, lent: None, kind: Kind::None, uses: 0, pinned: false };

/// Refused.
#[derive(Debug, PartialEq, Eq)]
pub struct No;

#[derive(Clone, Debug)]
pub struct Model {
    pub pages: BTreeMap<u64, Page>,
    /// What stands in memory where it is not 0.
    pub memory: BTreeMap<(u64, usize), u64>,
    /// The entries that hold references.
    pub held: BTreeSet<(u64, usize)>,
    /// Tokens: page, and those with a use.
    pub tokens: Vec<(u64, bool)>,
    /// What was freed since this was last taken.
    pub freed: BTreeSet<u64>,
    io: fn(Mfn) -> Access,
}

fn level(kind: Kind) -> usize {
    kind.level().map_or(0, |l| l as usize)
}

fn kind_of(level: usize) -> Kind {
    [Kind::None, Kind::L1, Kind::L2, Kind::L3, Kind::L4][level]
}

impl Model {
    /// Of the small machine.
    pub fn new() -> Self {
        let mut model = Self::of(1..FRAMES, small_io);
        model.pages.get_mut(&IO_FRAME.0).unwrap().owner = Some(DomId::IO);
        model
    }

    /// Of a machine with these frames of RAM, which are nobody's.
    pub fn of(ram: impl IntoIterator<Item = u64>, io: fn(Mfn) -> Access) -> Self {
        Self {
            pages: ram.into_iter().map(|m| (m, NOBODYS)).collect(),
            memory: BTreeMap::new(),
            held: BTreeSet::new(),
            tokens: Vec::new(),
            freed: BTreeSet::new(),
            io,
        }
    }

    pub fn page(&mut self, mfn: u64) -> Result<&mut Page, No> {
        self.pages.get_mut(&mfn).ok_or(No)
    }

    pub fn entry(&self, table: u64, index: usize) -> Pte {
        Pte(self.memory.get(&(table, index)).copied().unwrap_or(0))
    }

    fn is_counted(&self, mfn: u64) -> bool {
        self.pages.get(&mfn).is_some_and(|p| p.owner != Some(DomId::IO))
    }

    /// References to a frame, counted from what holds them.
    pub fn references(&self, mfn: u64) -> u32 {
        let entries = self.held.iter().filter(|h| self.refers(h) == Some(mfn));
        let tokens = self.tokens.iter().filter(|t| t.0 == mfn);
        self.own_references(mfn) + (entries.count() + tokens.count()) as u32
    }

    /// The same for all frames at once.
    pub fn all_references(&self) -> BTreeMap<u64, u32> {
        let mut all: BTreeMap<u64, u32> =
            self.pages.keys().map(|&m| (m, self.own_references(m))).collect();
        let entries = self.held.iter().filter_map(|h| self.refers(h));
        for mfn in entries.chain(self.tokens.iter().map(|t| t.0)) {
            *all.get_mut(&mfn).unwrap() += 1;
        }
        all
    }

    fn own_references(&self, mfn: u64) -> u32 {
        let page = &self.pages[&mfn];
        [page.allocated, page.lent.is_some(), page.pinned].into_iter().map(u32::from).sum()
    }

    /// The frame to which an entry in `held` holds a reference: not to I/O memory, nor to the
    /// entry's own table.
    fn refers(&self, &(table, index): &(u64, usize)) -> Option<u64> {
        let mfn = self.entry(table, index).mfn().0;
        let linear_self = table == mfn && self.pages[&table].kind != Kind::L1;
        (self.is_counted(mfn) && !linear_self).then_some(mfn)
    }

    /// Frees what nothing refers to any more.
    pub fn sweep(&mut self) {
        let gone = |m: &Self| {
            let all: Vec<u64> = m.pages.keys().copied().collect();
            all.into_iter().find(|&p| {
                let owner = m.pages[&p].owner;
                owner.is_some() && owner != Some(DomId::IO) && m.references(p) == 0
            })
        };
        while let Some(p) = gone(self) {
            self.pages.insert(p, NOBODYS);
            assert!(self.freed.insert(p));
        }
    }

    fn own(&mut self, mfn: u64, dom: DomId) -> Result<&mut Page, No> {
        self.page(mfn)?;
        self.pages.get_mut(&mfn).filter(|p| p.owner == Some(dom)).ok_or(No)
    }

    pub fn get_use(&mut self, mfn: u64, dom: DomId, kind: Kind) -> Result<(), No> {
        let page = self.own(mfn, dom)?;
        if page.uses > 0 {
            page.uses += 1;
            return if page.kind == kind { Ok(()) } else { Err(No) };
        }
        match page.lent {
            Some(true) => return Err(No),
            Some(false) if kind != Kind::Writable => return Err(No),
            _ => {}
        }
        page.kind = kind;
        page.uses = 1;
        if kind == Kind::Segment && self.entry(mfn, 0).0 == BAD_DESCRIPTOR {
            return Err(No);
        }
        if level(kind) > 0 {
            let words = self.memory.range((mfn, 0)..(mfn, 512));
            let present: Vec<usize> =
                words.filter(|(_, w)| Pte(**w).is_present()).map(|((_, i), _)| *i).collect();
            for index in present {
                if !(level(kind) == 4 && (256..272).contains(&index)) {
                    self.take(mfn, index, self.entry(mfn, index), dom, dom)?;
                }
            }
            for index in 256..272 {
                if level(kind) == 4 {
                    self.memory.insert((mfn, index), HYPERVISOR_ENTRY);
                }
            }
        }
        Ok(())
    }

    pub fn put_use(&mut self, mfn: u64) {
        let page = self.pages.get_mut(&mfn).unwrap();
        page.uses -= 1;
        if page.uses == 0 && level(page.kind) > 0 {
            let mine: Vec<_> = self.held.range((mfn, 0)..=(mfn, usize::MAX)).copied().collect();
            for (table, index) in mine {
                self.give(table, index);
            }
        }
    }

    /// A linear entry: from a table to another of its level.
    fn linear(&self, from: u64, to: u64) -> bool {
        from != to && level(self.pages[&from].kind) > 1 && {
            self.pages.get(&to).is_some_and(|p| p.uses > 0 && p.kind == self.pages[&from].kind)
        }
    }

    fn take(
        &mut self,
        table: u64,
        index: usize,
        e: Pte,
        dom: DomId,
        frame_owner: DomId,
    ) -> Result<(), No> {
        let level = level(self.pages[&table].kind);
        let mfn = e.mfn().0;
        if mfn >= 1 << 28 {
            return Err(No);
        }
        let mut flags = e.0 & !Pte::ADDRESS;
        if level > 1 {
            if flags & 0x198 != 0 || frame_owner != dom {
                return Err(No);
            }
            flags |= Pte::USER;
            if mfn == table {
                if e.is_writable() {
                    return Err(No);
                }
            } else if self.linear(table, mfn) {
                let uses_others = |t| {
                    self.held
                        .iter()
                        .any(|h| h.0 == t && self.linear(t, self.entry(h.0, h.1).mfn().0))
                };
                let used = |t| {
                    self.held
                        .iter()
                        .any(|h| self.entry(h.0, h.1).mfn().0 == t && self.linear(h.0, t))
                };
                if e.is_writable() || uses_others(mfn) || used(table) {
                    return Err(No);
                }
                self.own(mfn, dom)?.uses += 1;
            } else {
                self.get_use(mfn, dom, kind_of(level - 1))?;
            }
        } else {
            let kernel = flags & Pte::USER == 0 || flags & Pte::GUEST_KERNEL != 0;
            flags |= Pte::USER;
            flags = if kernel {
                (flags | Pte::GUEST_KERNEL) & !Pte::GLOBAL
            } else {
                flags | Pte::GLOBAL
            };
            let io = !self.is_counted(mfn);
            if io {
                match (self.io)(Mfn(mfn)) {
                    Access::ReadWrite => {}
                    Access::ReadOnly => flags &= !Pte::WRITABLE,
                    Access::None => return Err(No),
                }
                // Write-back, write-through and write-protected become uncached.
                if matches!(flags & 0x98, 0 | 0x08 | 0x88) {
                    flags = flags & !0x98 | 0x18;
                }
            } else {
                self.own(mfn, frame_owner)?;
                if e.is_writable() {
                    self.get_use(mfn, frame_owner, Kind::Writable)?;
                }
            }
        }
        self.memory.insert((table, index), Pte::new(e.mfn(), flags).0);
        self.held.insert((table, index));
        Ok(())
    }

    /// Gives back what an entry holds; the word stays.
    fn give(&mut self, table: u64, index: usize) {
        let e = self.entry(table, index);
        let mfn = e.mfn().0;
        assert!(self.held.remove(&(table, index)));
        let upper = level(self.pages[&table].kind) > 1;
        if self.is_counted(mfn) && ((upper && mfn != table) || (!upper && e.is_writable())) {
            self.put_use(mfn);
        }
    }

    /// Changes an entry. What the frame is decides how.
    pub fn update(
        &mut self,
        (dom, frame_owner): (DomId, DomId),
        table: u64,
        index: usize,
        new: u64,
    ) -> Result<(), No> {
        let page = self.own(table, dom)?.clone();
        let level = level(page.kind);
        if page.uses == 0 || level == 0 {
            self.get_use(table, dom, Kind::Writable)?;
            self.memory.insert((table, index), new);
            self.put_use(table);
            return Ok(());
        }
        if level == 4 && (256..272).contains(&index) {
            return Err(No);
        }
        let old = self.entry(table, index);
        let cache_type = if level == 1 { 0x98 } else { 0 };
        let same = Pte::ADDRESS | Pte::PRESENT | Pte::WRITABLE | cache_type;
        if Pte(new).is_present() && self.held.contains(&(table, index)) && (old.0 ^ new) & same == 0
        {
            // The same frame by the same right may stay, whoever could map it anew.
            let bad = if level > 1 { 0x198 } else { 0 };
            if new & bad != 0 || (level > 1 && frame_owner != dom) {
                return Err(No);
            }
            self.give_and_take_flags(table, index, new, level);
            return Ok(());
        }
        let was_held = self.held.remove(&(table, index));
        if Pte(new).is_present() {
            // The new one is taken while the old one is still there.
            let shadow = (table, index + 1000);
            if was_held {
                self.memory.insert(shadow, old.0);
                self.held.insert(shadow);
            }
            self.take(table, index, Pte(new), dom, frame_owner)?;
            if was_held {
                self.give(shadow.0, shadow.1);
                self.memory.remove(&shadow);
            }
        } else {
            if was_held {
                self.held.insert((table, index));
                self.give(table, index);
            }
            self.memory.insert((table, index), new);
        }
        Ok(())
    }

    fn give_and_take_flags(&mut self, table: u64, index: usize, new: u64, level: usize) {
        let kernel = new & Pte::USER == 0 || new & Pte::GUEST_KERNEL != 0;
        let word = match (level, kernel) {
            (1, true) => (new | Pte::USER | Pte::GUEST_KERNEL) & !Pte::GLOBAL,
            (1, false) => new | Pte::GLOBAL,
            _ => new | Pte::USER,
        };
        self.memory.insert((table, index), word);
    }

    pub fn pin(&mut self, mfn: u64, dom: DomId, kind: Kind) -> Result<(), No> {
        self.get_use(mfn, dom, kind)?;
        let page = self.page(mfn)?;
        if level(kind) == 0 || page.pinned {
            return Err(No);
        }
        page.pinned = true;
        Ok(())
    }

    pub fn unpin(&mut self, mfn: u64, dom: DomId) -> Result<(), No> {
        let page = self.own(mfn, dom)?;
        if !page.pinned {
            return Err(No);
        }
        page.pinned = false;
        self.put_use(mfn);
        Ok(())
    }
}
