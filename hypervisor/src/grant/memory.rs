//! Where a domain's grant entries and map handles are.

use crate::domain::Domain;
use crate::frames::pages;
use crate::util::boxed;
use abi::{Errno, GrantRef, Mfn};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use grants::maptrack::ENTRIES_PER_FRAME;
use grants::status::{STATUS_PER_FRAME, V1_ENTRIES_PER_FRAME, V2_ENTRIES_PER_FRAME};
use grants::{ActiveEntry, AtomicV1, AtomicV2, MapEntry, MaptrackMemory, Memory};
use machine::lock::Lock;
use machine::memory::{view16, view32, view64};
use machine::once::Once;
use machine::static_ref::StaticRef;
use pages::{Access, Budget, PageRef, TypedRef};

/// A page of the hypervisor's that is lent to the domain, or none (0).
#[derive(Default)]
struct Lent(AtomicU64);

impl Lent {
    fn mfn(&self) -> Option<Mfn> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            mfn => Some(Mfn(mfn)),
        }
    }

    fn take(&self) -> Option<Mfn> {
        match self.0.swap(0, Ordering::AcqRel) {
            0 => None,
            mfn => Some(Mfn(mfn)),
        }
    }
}

/// A frame of entries, and the hypervisor's own records of them.
#[derive(Default)]
struct SharedFrame {
    page: Lent,
    words: StaticRef<[AtomicU32; 1024]>,
    long_words: StaticRef<[AtomicU64; 512]>,
    active: Once<Box<[ActiveEntry]>>,
}

/// A frame of version 2's status words.
#[derive(Default)]
struct StatusFrame {
    page: Lent,
    words: StaticRef<[AtomicU16; 2048]>,
}

/// A domain's grant entries.
pub struct TableMemory {
    shared: Box<[SharedFrame]>,
    status: Box<[StatusFrame]>,
}

/// Which part of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The entries.
    Shared,
    /// Version 2's status words.
    Status,
}

impl TableMemory {
    /// Room for so many frames of entries, none of which exists yet.
    pub fn new(max_frames: u32) -> Result<Self, Errno> {
        let status = grants::status::status_frames(max_frames);
        Ok(TableMemory {
            shared: boxed(max_frames as usize, |_| SharedFrame::default())?,
            status: boxed(status as usize, |_| StatusFrame::default())?,
        })
    }

    /// The machine frame of one of the table's frames.
    pub fn frame(&self, part: Part, index: u32) -> Option<Mfn> {
        match part {
            Part::Shared => self.shared.get(index as usize)?.page.mfn(),
            Part::Status => self.status.get(index as usize)?.page.mfn(),
        }
    }

    /// Supplies a frame of entries that is lent to `d`, unless it is there. One at a time for a
    /// table.
    pub fn supply_shared(&self, d: &Arc<Domain>, index: u32) -> Result<(), Errno> {
        let slot = self.shared.get(index as usize).ok_or(Errno::ENOSPC)?;
        if slot.active.get().is_none() {
            slot.active.set(boxed(V1_ENTRIES_PER_FRAME as usize, |_| ActiveEntry::new())?);
        }
        if slot.page.mfn().is_none() {
            let mfn = lend(d)?;
            slot.words.set(view32(mfn, 0));
            slot.long_words.set(view64(mfn, 0));
            slot.page.0.store(mfn.0, Ordering::Release);
        }
        Ok(())
    }

    /// Supplies a frame of status words that is lent to `d`, unless it is there. One at a time
    /// for a table.
    pub fn supply_status(&self, d: &Arc<Domain>, index: u32) -> Result<(), Errno> {
        let slot = self.status.get(index as usize).ok_or(Errno::ENOSPC)?;
        if slot.page.mfn().is_none() {
            let mfn = lend(d)?;
            slot.words.set(view16(mfn, 0));
            slot.page.0.store(mfn.0, Ordering::Release);
        }
        Ok(())
    }

    /// Makes all entries unreachable, for whoever comes from here on.
    pub fn hide(&self) {
        for slot in &self.shared {
            slot.words.set(None);
            slot.long_words.set(None);
        }
        self.status.iter().for_each(|slot| slot.words.set(None));
    }

    /// Forgets the frames; `f` gets each once. They must be hidden, and seen by nobody.
    pub fn take_frames(&self, mut f: impl FnMut(Mfn)) {
        let shared = self.shared.iter().map(|slot| &slot.page);
        let status = self.status.iter().map(|slot| &slot.page);
        shared.chain(status).filter_map(Lent::take).for_each(&mut f);
    }
}

/// Lends a zeroed page, which has no number in the domain's own count.
fn lend(d: &Arc<Domain>) -> Result<Mfn, Errno> {
    let mfn = d.lend_page(Access::ReadWrite)?;
    machine::paging::set_m2p(mfn, u64::MAX);
    Ok(mfn)
}

/// A reference's frame and its place there.
fn split(gref: GrantRef, per_frame: u32) -> (usize, usize) {
    let frame = gref.0.checked_div(per_frame).unwrap_or(u32::MAX);
    let index = gref.0.checked_rem(per_frame).unwrap_or(0);
    (frame as usize, index as usize)
}

impl Memory for TableMemory {
    type V1<'a> = AtomicV1<'a>;
    type V2<'a> = AtomicV2<'a>;

    #[inline]
    fn v1(&self, gref: GrantRef) -> Option<AtomicV1<'_>> {
        let (frame, index) = split(gref, V1_ENTRIES_PER_FRAME);
        let words = self.shared.get(frame)?.words.get()?;
        let at = index.wrapping_mul(2);
        Some(AtomicV1 { header: words.get(at)?, frame: words.get(at.wrapping_add(1))? })
    }

    #[inline]
    fn v2(&self, gref: GrantRef) -> Option<AtomicV2<'_>> {
        let (frame, index) = split(gref, V2_ENTRIES_PER_FRAME);
        let slot = self.shared.get(frame)?;
        let (words, long_words) = (slot.words.get()?, slot.long_words.get()?);
        let at = index.wrapping_mul(4);
        let (status, word) = split(gref, STATUS_PER_FRAME);
        Some(AtomicV2 {
            header: words.get(at)?,
            span: words.get(at.wrapping_add(1))?,
            frame: long_words.get(index.wrapping_mul(2).wrapping_add(1))?,
            status: self.status.get(status)?.words.get()?.get(word)?,
        })
    }

    #[inline]
    fn active(&self, gref: GrantRef) -> Option<&ActiveEntry> {
        let (frame, index) = split(gref, V1_ENTRIES_PER_FRAME);
        self.shared.get(frame)?.active.get()?.get(index)
    }
}

/// A device's reference to a granted page. (A CPU's is the page-table entry's own.)
pub enum DeviceHold {
    /// There is none.
    None,
    /// For reading.
    Page(PageRef),
    /// For writing too.
    Writable(TypedRef),
}

impl DeviceHold {
    /// Gives the reference back.
    pub fn release(self) {
        match self {
            DeviceHold::None => {}
            DeviceHold::Page(page) => pages().put(page),
            // A writable page's use has nothing to defer.
            DeviceHold::Writable(page) => drop(pages().put_typed(page, &mut Budget::unlimited())),
        }
    }
}

/// What a map handle stands for, beside what the rules keep.
pub struct Held {
    /// Whose grant it is. (Its number may be another domain's by the time it is given back.)
    pub granter: Arc<Domain>,
    /// The page.
    pub mfn: Mfn,
    /// It was mapped by its page-table entry's address.
    pub by_entry: bool,
    /// The devices' reference.
    pub device: DeviceHold,
}

impl Held {
    /// Takes the devices' reference.
    pub fn take_device(&mut self) -> DeviceHold {
        core::mem::replace(&mut self.device, DeviceHold::None)
    }
}

/// A frame of map handles.
struct TrackFrame {
    entries: Box<[MapEntry]>,
    held: Box<[Lock<Option<Held>>]>,
}

/// A domain's map handles.
pub struct TrackMemory {
    frames: Box<[Once<TrackFrame>]>,
}

impl TrackMemory {
    /// Room for so many frames, none of which exists yet.
    pub fn new(max_frames: u32) -> Result<Self, Errno> {
        Ok(TrackMemory { frames: boxed(max_frames as usize, |_| Once::new())? })
    }

    fn at(&self, index: u32) -> Option<(&TrackFrame, usize)> {
        let frame = self.frames.get((index / ENTRIES_PER_FRAME) as usize)?.get()?;
        Some((frame, (index % ENTRIES_PER_FRAME) as usize))
    }

    /// Supplies a frame, unless it is there.
    pub fn supply(&self, index: u32) -> Result<(), Errno> {
        let slot = self.frames.get(index as usize).ok_or(Errno::ENOSPC)?;
        if slot.get().is_none() {
            let entries = boxed(ENTRIES_PER_FRAME as usize, |_| MapEntry::new())?;
            let held = boxed(ENTRIES_PER_FRAME as usize, |_| Lock::new(None))?;
            slot.set(TrackFrame { entries, held });
        }
        Ok(())
    }

    /// What a handle stands for.
    pub fn held(&self, handle: u32) -> Option<&Lock<Option<Held>>> {
        let (frame, index) = self.at(handle)?;
        frame.held.get(index)
    }
}

impl MaptrackMemory for TrackMemory {
    #[inline]
    fn entry(&self, index: u32) -> Option<&MapEntry> {
        let (frame, index) = self.at(index)?;
        frame.entries.get(index)
    }
}
