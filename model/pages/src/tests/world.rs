//! The small machine: frames, their contents, and CPUs that remember translations.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};

use abi::{DomId, Mfn};
use sync::Relax;
use sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::{
    Access, Budget, Caches, ENTRIES, Env, Frame, HYPERVISOR_SLOTS, Kind, Level, Pages, Pte,
};

/// Frames with a record: 1 to this, less one.
pub const FRAMES: u64 = 24;
/// An I/O frame without a record that may be written.
pub const IO_RW: Mfn = Mfn(100);
/// One that may only be read.
pub const IO_RO: Mfn = Mfn(101);
/// One that nobody may have.
pub const IO_NONE: Mfn = Mfn(102);
/// An I/O frame with a record.
pub const IO_FRAME: Mfn = Mfn(FRAMES - 1);
/// What a descriptor table must not start with.
pub const BAD_DESCRIPTOR: u64 = 0xbad << 32;
/// What the machine puts into its slots of an L4.
pub const HYPERVISOR_ENTRY: u64 = 0xface_0000_0000_0063;
pub const D0: DomId = DomId(0);
pub const D1: DomId = DomId(1);
pub const RO: u64 = Pte::PRESENT | Pte::USER;
pub const RW: u64 = RO | Pte::WRITABLE;

/// Lets the other threads run.
#[derive(Debug)]
pub struct Yield;
impl Relax for Yield {
    fn relax() {
        std::thread::yield_now();
    }
}

/// A translation that a CPU remembers.
#[derive(Clone, Copy, Debug)]
pub struct Cached {
    /// 0 for a page, else the level of the table that is remembered.
    pub level: usize,
    pub mfn: Mfn,
    pub writable: bool,
    pub life: u32,
}

/// How many a CPU remembers at most.
pub const REMEMBERED: usize = 64;

/// A CPU. It never forgets by itself, only by a flush.
#[derive(Debug, Default)]
pub struct Cpu {
    pub base: Option<(Mfn, DomId)>,
    flushed_at: u64,
    may_hold: HashSet<DomId>,
    pub cached: Vec<Cached>,
}

#[derive(Debug)]
pub struct World {
    frames: Vec<Frame>,
    /// Which of them are RAM, and so have a record.
    ram: Vec<bool>,
    /// Made when they are first looked into.
    tables: Vec<OnceLock<Box<[AtomicU64; ENTRIES]>>>,
    io: fn(Mfn) -> Access,
    /// How often each frame has been given to somebody.
    lives: Vec<AtomicU32>,
    clock: AtomicU64,
    pub flushes: AtomicU32,
    pub cpus: Vec<Mutex<Cpu>>,
    pub freed: Mutex<Vec<(Mfn, DomId)>>,
}

pub type Machine = Pages<World>;

/// What anybody may do with the small machine's I/O frames.
pub fn small_io(mfn: Mfn) -> Access {
    match mfn {
        IO_RW | IO_FRAME => Access::ReadWrite,
        IO_RO => Access::ReadOnly,
        _ => Access::None,
    }
}

/// A machine whose frame n is RAM if `ram[n]` is true, and I/O memory otherwise.
pub fn machine_of(ram: Vec<bool>, io: fn(Mfn) -> Access) -> Machine {
    let world = World {
        frames: ram.iter().map(|_| Frame::default()).collect(),
        tables: ram.iter().map(|_| OnceLock::new()).collect(),
        lives: ram.iter().map(|_| AtomicU32::new(0)).collect(),
        ram,
        io,
        clock: AtomicU64::new(1),
        flushes: AtomicU32::new(0),
        cpus: (0..2).map(|_| Mutex::default()).collect(),
        freed: Mutex::default(),
    };
    Pages::new(world, 40)
}

/// The small one.
pub fn machine() -> Machine {
    let pages = machine_of((0..FRAMES).map(|m| m != 0).collect(), small_io);
    pages.assign(IO_FRAME, DomId::IO).unwrap();
    pages
}

/// Does something to a frame while it is mapped writable, if it can be: what it was last is flushed
/// from the CPUs before.
pub fn written(pages: &Machine, mfn: Mfn, owner: DomId, write: impl FnOnce(&World)) {
    let mut budget = Budget::new(1);
    if let Ok(mapped) = pages.get_typed(mfn, owner, Kind::Writable, &mut budget) {
        write(pages.env());
        assert!(pages.put_typed(mapped, &mut budget).is_none());
    }
}

pub fn at(mfn: Mfn) -> usize {
    usize::try_from(mfn.0).unwrap()
}

pub fn all() -> impl Iterator<Item = Mfn> {
    (1..FRAMES - 1).map(Mfn)
}

impl Env for World {
    type Relax = Yield;

    fn frame(&self, mfn: Mfn) -> Option<&Frame> {
        let is_ram = *self.ram.get(at(mfn))?;
        self.frames.get(at(mfn)).filter(|_| is_ram)
    }
    fn table(&self, mfn: Mfn) -> Option<&[AtomicU64; ENTRIES]> {
        self.frame(mfn)?;
        let table = || Box::new([const { AtomicU64::new(0) }; ENTRIES]);
        Some(self.tables.get(at(mfn))?.get_or_init(table))
    }
    fn mmio_access(&self, _: DomId, mfn: Mfn) -> Access {
        (self.io)(mfn)
    }
    fn flush(&self, whose: Caches, since: Option<u64>) {
        for cpu in &self.cpus {
            let mut cpu = cpu.lock().unwrap();
            let stale = since.is_none_or(|s| cpu.flushed_at <= s);
            let meant = match whose {
                Caches::All => true,
                Caches::Of(dom) => cpu.may_hold.contains(&dom),
            };
            if stale && meant {
                self.flush_cpu(&mut cpu);
            }
        }
    }
    fn flush_stamp(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }
    fn check_descriptors(&self, mfn: Mfn) -> bool {
        self.read(mfn, 0) != BAD_DESCRIPTOR
    }
    fn install_hypervisor_slots(&self, l4: Mfn) {
        for i in HYPERVISOR_SLOTS {
            self.slot(l4, i).store(HYPERVISOR_ENTRY, Ordering::SeqCst);
        }
    }
    fn freed(&self, mfn: Mfn, owner: DomId) {
        let frame = self.frame(mfn).unwrap();
        assert_eq!(frame.owner(), None, "freed while owned");
        self.freed.lock().unwrap().push((mfn, owner));
    }
}

impl World {
    fn flush_cpu(&self, cpu: &mut Cpu) {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        cpu.flushed_at = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        cpu.cached.clear();
        cpu.may_hold = cpu.base.iter().map(|&(_, dom)| dom).collect();
    }

    /// Frames whose references are counted.
    pub fn counted(&self) -> impl Iterator<Item = Mfn> + '_ {
        let all = (0..self.frames.len() as u64).map(Mfn);
        all.filter(|&m| self.frame(m).is_some_and(|f| f.owner() != Some(DomId::IO)))
    }

    pub fn len(&self) -> usize {
        self.frames.len()
    }

    fn slot(&self, mfn: Mfn, index: usize) -> &AtomicU64 {
        &self.table(mfn).unwrap()[index]
    }

    pub fn read(&self, mfn: Mfn, index: usize) -> u64 {
        self.slot(mfn, index).load(Ordering::SeqCst)
    }

    /// What a guest does to a page that it has mapped writable.
    pub fn poke(&self, mfn: Mfn, index: usize, value: u64) {
        self.slot(mfn, index).store(value, Ordering::SeqCst);
    }

    /// The frame has a new owner.
    pub fn reborn(&self, mfn: Mfn) {
        self.lives[at(mfn)].fetch_add(1, Ordering::SeqCst);
    }

    fn life(&self, mfn: Mfn) -> u32 {
        self.lives[at(mfn)].load(Ordering::SeqCst)
    }

    /// A CPU loads a base pointer, and forgets nothing by that: global entries survive.
    pub fn load_base(&self, cpu: usize, base: Option<(Mfn, DomId)>) {
        let mut cpu = self.cpus[cpu].lock().unwrap();
        cpu.base = base;
        cpu.may_hold.extend(base.map(|(_, dom)| dom));
    }

    pub fn flush_one(&self, cpu: usize) {
        self.flush_cpu(&mut self.cpus[cpu].lock().unwrap());
    }

    /// A CPU translates an address, from the base or from a table that it remembers.
    pub fn access(&self, cpu: usize, start: usize, path: [usize; 4]) {
        self.walk(cpu, start, |_, level| path[level - 1]);
    }

    /// As [`World::access`], with an index that is chosen for each table.
    pub fn walk(&self, cpu: usize, start: usize, mut choose: impl FnMut(Mfn, usize) -> usize) {
        let mut cpu = self.cpus[cpu].lock().unwrap();
        let tables: Vec<Cached> = cpu.cached.iter().filter(|c| c.level > 0).copied().collect();
        let from = match tables.get(start) {
            Some(&table) => table,
            None => match cpu.base {
                Some((mfn, _)) => Cached { level: 4, mfn, writable: true, life: self.life(mfn) },
                None => return,
            },
        };
        let (mut mfn, mut writable) = (from.mfn, from.writable);
        for level in (1..=from.level).rev() {
            let slot = self.slot(mfn, choose(mfn, level));
            let entry = Pte(slot.load(Ordering::SeqCst));
            let ram = self.frame(entry.mfn()).is_some();
            if !entry.is_present() || entry.0 == HYPERVISOR_ENTRY || !ram {
                return;
            }
            slot.fetch_or(Pte::ACCESSED, Ordering::SeqCst);
            writable &= entry.is_writable();
            mfn = entry.mfn();
            let life = self.life(mfn);
            let found = Cached { level: level - 1, mfn, writable, life };
            if cpu.cached.len() < REMEMBERED {
                cpu.cached.push(found);
            }
        }
    }

    /// No CPU remembers anything by which it could break the rules.
    pub fn check_caches(&self) {
        for cpu in &self.cpus {
            for c in &cpu.lock().unwrap().cached {
                self.check_cached(c);
            }
        }
    }

    fn check_cached(&self, c: &Cached) {
        let now = self.frames[at(c.mfn)].snapshot();
        if now.owner.is_none() || now.owner == Some(DomId::IO) {
            return;
        }
        assert_eq!(c.life, self.life(c.mfn), "stale translation to a frame given away: {c:?}");
        let used = now.uses > 0 || now.partial;
        let level = now.kind.level().map_or(0, |l: Level| l as usize);
        if !used {
            return;
        }
        if c.level == 0 {
            let guarded = level > 0 || now.kind == Kind::Segment;
            assert!(!(c.writable && guarded), "stale writable translation: {c:?} to {now:?}");
        } else {
            assert!(level >= c.level, "a CPU walks what is no table of its level: {c:?} {now:?}");
        }
    }
}
