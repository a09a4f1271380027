//! Map handles: what a domain has mapped of others' grants.
//!
//! A handle is an index. Free entries form one lock-free stack, whose head carries a count so
//! that an entry popped and pushed back meanwhile is noticed. A live entry is changed only by
//! whoever won its claim, so that of two CPUs that unmap the same handle one finds a bad handle.

use crate::active::Access;
use crate::status::{DEFAULT_MAX_MAPTRACK_FRAMES, Status};
use abi::{DomId, GrantHandle, GrantRef};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Maptrack entries in a frame (16 bytes each).
pub const ENTRIES_PER_FRAME: u32 = 256;

const LIVE: u64 = 1 << 0;
const BUSY: u64 = 1 << 1;
const HOST: u64 = 1 << 2;
const DEVICE: u64 = 1 << 3;
const READONLY: u64 = 1 << 4;

/// One entry: 16 bytes, all zero at first.
#[derive(Debug, Default)]
#[repr(C)]
pub struct MapEntry {
    /// Flags (16 bits), domain (16).
    state: AtomicU64,
    /// Grant reference while live; the next free entry plus 1 while free.
    link: AtomicU64,
}

const _: () = assert!(size_of::<MapEntry>() == 16);

impl MapEntry {
    /// A free entry.
    pub const fn new() -> MapEntry {
        MapEntry { state: AtomicU64::new(0), link: AtomicU64::new(0) }
    }
}

/// Where a domain's maptrack entries are. Given by the hypervisor.
///
/// While the maptrack has `n` frames this must answer for every index below 256 n.
pub trait MaptrackMemory {
    /// The entry of that index; `None` beyond what exists.
    fn entry(&self, index: u32) -> Option<&MapEntry>;
}

/// Why no handle could be reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHandle {
    /// All are taken: supply a frame ([`Maptrack::grow`]) and try again.
    NeedFrame,
    /// All are taken and there can be no more: `GNTST_no_space`.
    Full,
}

impl From<NoHandle> for Status {
    fn from(_: NoHandle) -> Status {
        Status::NoSpace
    }
}

/// A handle taken from the free ones, not yet standing for anything.
#[must_use = "commit or cancel it, or the handle is lost"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reserved(u32);

/// The sole right to end a mapping, or a part of it.
#[must_use = "finish or abort it, or the handle stays busy for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// The handle.
    pub handle: GrantHandle,
    /// The granter.
    pub domid: DomId,
    /// The granter's entry.
    pub gref: GrantRef,
    /// What the mapping still gives.
    pub access: Access,
}

/// The map handles of one domain.
#[derive(Debug)]
pub struct Maptrack<M> {
    memory: M,
    /// Number of changes (upper half), first free entry plus 1 (lower half; 0 is none).
    head: AtomicU64,
    frames: AtomicU32,
    max_frames: u32,
    growing: AtomicBool,
}

impl<M: MaptrackMemory> Maptrack<M> {
    /// No handles at first, growing to at most `max_frames` frames.
    pub const fn new(max_frames: u32, memory: M) -> Maptrack<M> {
        Maptrack {
            memory,
            head: AtomicU64::new(0),
            frames: AtomicU32::new(0),
            max_frames,
            growing: AtomicBool::new(false),
        }
    }

    /// Of the default size limit.
    pub const fn with_default_limit(memory: M) -> Maptrack<M> {
        Self::new(DEFAULT_MAX_MAPTRACK_FRAMES, memory)
    }

    /// Where the entries are.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// How many frames there are, and how many there may be.
    pub fn sizes(&self) -> (u32, u32) {
        (self.frames.load(Ordering::Acquire), self.max_frames)
    }

    /// How many handles stand for something, for an operator to see: it changes meanwhile.
    pub fn in_use(&self) -> u32 {
        let entries = 0..self.sizes().0.saturating_mul(ENTRIES_PER_FRAME);
        let live = |index: &u32| {
            let entry = self.memory.entry(*index);
            entry.is_some_and(|entry| entry.state.load(Ordering::Relaxed) & LIVE != 0)
        };
        u32::try_from(entries.filter(live).count()).unwrap_or(u32::MAX)
    }

    /// Takes a free handle.
    ///
    /// # Errors
    /// [`NoHandle`] when there is none.
    pub fn reserve(&self) -> Result<Reserved, NoHandle> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let first = low(head).checked_sub(1).and_then(|index| {
                let entry = self.memory.entry(index)?;
                Some((index, low(entry.link.load(Ordering::Relaxed))))
            });
            let Some((index, next)) = first else {
                let (now, max) = self.sizes();
                return Err(if now < max { NoHandle::NeedFrame } else { NoHandle::Full });
            };
            match self.swap_head(head, next) {
                Ok(()) => return Ok(Reserved(index)),
                Err(now) => head = now,
            }
        }
    }

    /// Makes a reserved handle stand for a mapping; returns it as the guest gets it.
    pub fn commit(
        &self,
        reserved: Reserved,
        domid: DomId,
        gref: GrantRef,
        access: Access,
    ) -> GrantHandle {
        if let Some(entry) = self.memory.entry(reserved.0) {
            entry.link.store(u64::from(gref.0), Ordering::Relaxed);
            let state = LIVE | access_bits(access) | (u64::from(domid.0) << 16);
            entry.state.store(state, Ordering::Release);
        }
        GrantHandle(reserved.0)
    }

    /// Gives a reserved handle back.
    pub fn cancel(&self, reserved: Reserved) {
        self.push(reserved.0, reserved.0);
    }

    /// Claims a handle for unmapping. Only one claim on a handle exists at a time.
    ///
    /// # Errors
    /// `BadHandle` for one that is out of range, stands for nothing, or is claimed already.
    pub fn claim(&self, handle: GrantHandle) -> Result<Claim, Status> {
        let entry = self.live_range(handle.0).ok_or(Status::BadHandle)?;
        let state = entry.state.load(Ordering::Relaxed);
        if state & (LIVE | BUSY) != LIVE {
            return Err(Status::BadHandle);
        }
        entry
            .state
            .compare_exchange(state, state | BUSY, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| Status::BadHandle)?;
        Ok(Claim {
            handle,
            domid: DomId(((state >> 16) & 0xffff) as u16),
            gref: GrantRef(low(entry.link.load(Ordering::Relaxed))),
            access: access_of(state),
        })
    }

    /// Ends a claim after the part `gone` of the mapping has gone, with its pins. The handle is
    /// free again once nothing is left of the mapping. Says whether it is.
    pub fn finish(&self, claim: Claim, gone: Access) -> bool {
        let left = claim.access.without(gone);
        let Some(entry) = self.memory.entry(claim.handle.0) else { return false };
        if left.is_none() {
            entry.state.store(0, Ordering::Relaxed);
            self.push(claim.handle.0, claim.handle.0);
            return true;
        }
        let state = LIVE | access_bits(left) | (u64::from(claim.domid.0) << 16);
        entry.state.store(state, Ordering::Release);
        false
    }

    /// Ends a claim without having changed the mapping.
    pub fn abort(&self, claim: Claim) {
        if let Some(entry) = self.memory.entry(claim.handle.0) {
            entry.state.fetch_and(!BUSY, Ordering::Release);
        }
    }

    /// Adds one frame of entries. `supply` is told which frame (0 upwards) and must make the
    /// memory answer for its 256 entries, zeroed. Says whether there is a frame more, by this
    /// call or by another CPU's at the same time.
    ///
    /// # Errors
    /// `NoSpace` at the limit; what `supply` fails with.
    pub fn grow(&self, supply: impl FnOnce(u32) -> Result<(), Status>) -> Result<(), Status> {
        if self.growing.swap(true, Ordering::Acquire) {
            // Another CPU is at it: wait, then try to reserve again.
            while self.growing.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
            return Ok(());
        }
        let outcome = self.grow_alone(supply);
        self.growing.store(false, Ordering::Release);
        outcome
    }

    /// Claims the first live handle at or after `*cursor`, which moves beyond it: for releasing
    /// the mappings of a dying domain. Each entry looked at costs 1 of `budget`; `None` with
    /// budget left is the end. No vCPU of the domain may run any more, so no handle is busy.
    pub fn drain(&self, cursor: &mut u32, budget: &mut u32) -> Option<Claim> {
        let end = self.sizes().0.saturating_mul(ENTRIES_PER_FRAME);
        while *cursor < end && *budget > 0 {
            let handle = GrantHandle(*cursor);
            *cursor = cursor.saturating_add(1);
            *budget = budget.saturating_sub(1);
            if let Ok(claim) = self.claim(handle) {
                return Some(claim);
            }
        }
        None
    }

    fn grow_alone(&self, supply: impl FnOnce(u32) -> Result<(), Status>) -> Result<(), Status> {
        let (frame, max) = self.sizes();
        if frame >= max {
            return Err(Status::NoSpace);
        }
        let first = frame.checked_mul(ENTRIES_PER_FRAME).ok_or(Status::NoSpace)?;
        let last = first.checked_add(ENTRIES_PER_FRAME.wrapping_sub(1)).ok_or(Status::NoSpace)?;
        supply(frame)?;
        for index in first..last {
            let entry = self.memory.entry(index).ok_or(Status::NoSpace)?;
            entry.link.store(u64::from(index).wrapping_add(2), Ordering::Relaxed);
        }
        self.frames.store(frame.wrapping_add(1), Ordering::Release);
        self.push(first, last);
        Ok(())
    }

    /// Puts the chain of free entries from `first` to `last` on the stack.
    fn push(&self, first: u32, last: u32) {
        let Some(entry) = self.memory.entry(last) else { return };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            entry.link.store(u64::from(low(head)), Ordering::Relaxed);
            match self.swap_head(head, first.wrapping_add(1)) {
                Ok(()) => return,
                Err(now) => head = now,
            }
        }
    }

    fn swap_head(&self, old: u64, first: u32) -> Result<(), u64> {
        let changes = (old >> 32).wrapping_add(1) << 32;
        self.head
            .compare_exchange_weak(
                old,
                changes | u64::from(first),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .map(|_| ())
    }

    fn live_range(&self, index: u32) -> Option<&MapEntry> {
        let end = self.sizes().0.saturating_mul(ENTRIES_PER_FRAME);
        if index < end { self.memory.entry(index) } else { None }
    }
}

fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

fn access_bits(access: Access) -> u64 {
    let bit = |yes, bit| if yes { bit } else { 0 };
    bit(access.host, HOST) | bit(access.device, DEVICE) | bit(access.readonly, READONLY)
}

fn access_of(state: u64) -> Access {
    Access { host: state & HOST != 0, device: state & DEVICE != 0, readonly: state & READONLY != 0 }
}
