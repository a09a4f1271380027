//! Changes to a table as a whole: growing it, changing its layout, exchanging entries.

use crate::active::Locked;
use crate::shared::{Header, Memory, WordsV1, WordsV2};
use crate::status::{RESERVED_ENTRIES, Status, V1_ENTRIES_PER_FRAME, Version, gtf, status_frames};
use crate::table::GrantTable;
use abi::{DomId, Errno, GrantRef};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// The right to change a table as a whole: one at a time, given back when dropped.
#[derive(Debug)]
pub struct Admin<'a, M: Memory> {
    table: &'a GrantTable<M>,
}

impl<M: Memory> Drop for Admin<'_, M> {
    fn drop(&mut self) {
        self.table.administered.store(false, Ordering::Release);
    }
}

impl<M: Memory> GrantTable<M> {
    /// Waits for the right to change the table as a whole.
    pub fn admin(&self) -> Admin<'_, M> {
        while self.administered.swap(true, Ordering::Acquire) {
            while self.administered.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
        }
        Admin { table: self }
    }

    /// How many status frames there are: none in version 1.
    pub fn status_frames(&self) -> u32 {
        match self.version() {
            Version::V1 => 0,
            Version::V2 => status_frames(self.sizes().0),
        }
    }

    /// Checks the count of a `GNTTABOP_get_status_frames`.
    ///
    /// # Errors
    /// `GeneralError` for more status frames than there are.
    pub fn check_status_frames(&self, wanted: u32) -> Result<(), Status> {
        if wanted <= self.status_frames() { Ok(()) } else { Err(Status::GeneralError) }
    }

    /// Exchanges two entries that are not in use (`GNTTABOP_swap_grant_ref`).
    ///
    /// # Errors
    /// `BadGntref` for a reference beyond the table, `Eagain` when one is in use.
    pub fn swap(&self, a: GrantRef, b: GrantRef) -> Result<(), Status> {
        let _admin = self.admin();
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        if first == second {
            return self.lock(second).map(|_| ());
        }
        let (low, version): (Locked<'_>, Version) = self.lock(first)?;
        let (high, _) = self.lock(second)?;
        if low.pins().any() || high.pins().any() {
            return Err(Status::Eagain);
        }
        match version {
            Version::V1 => self.exchange_v1(first, second),
            Version::V2 => self.exchange_v2(first, second),
        }
        .ok_or(Status::BadGntref)
    }

    fn exchange_v1(&self, a: GrantRef, b: GrantRef) -> Option<()> {
        let (a, b) = (self.memory.v1(a)?, self.memory.v1(b)?);
        let (header_a, frame_a) = (a.header(), a.frame());
        let (header_b, frame_b) = (b.header(), b.frame());
        a.set_frame(frame_b);
        a.set_header(header_b);
        b.set_frame(frame_a);
        b.set_header(header_a);
        Some(())
    }

    fn exchange_v2(&self, a: GrantRef, b: GrantRef) -> Option<()> {
        let (a, b) = (self.memory.v2(a)?, self.memory.v2(b)?);
        let old_a = (a.header(), a.span(), a.frame());
        let old_b = (b.header(), b.span(), b.frame());
        for (words, (header, span, frame)) in [(&a, old_b), (&b, old_a)] {
            words.set_span(span);
            words.set_frame(frame);
            words.set_header(header);
        }
        Some(())
    }
}

/// A reserved entry while the layout changes under it.
#[derive(Clone, Copy, Default)]
struct Carried {
    header: Header,
    frame: u32,
}

impl<M: Memory> Admin<'_, M> {
    /// Which shared frames must be supplied so that there are `wanted` (`GNTTABOP_setup_table`);
    /// empty when there are as many already.
    ///
    /// # Errors
    /// `GeneralError` for more than the limit.
    pub fn growth(&self, wanted: u32) -> Result<Range<u32>, Status> {
        let (now, max) = self.table.sizes();
        if wanted > max { Err(Status::GeneralError) } else { Ok(now..wanted.max(now)) }
    }

    /// Which status frames must be supplied so that a table of `frames` shared frames can be of
    /// version 2; empty when there are enough, or `version` is 1.
    pub fn status_growth(&self, version: Version, frames: u32) -> Range<u32> {
        match version {
            Version::V1 => 0..0,
            Version::V2 => {
                let now = self.table.status_frames();
                now..status_frames(frames).max(now)
            }
        }
    }

    /// Makes the table `frames` long. The memory must answer for all of it already, zeroed, status
    /// frames of a version 2 table included. A smaller number than before is ignored.
    pub fn set_frames(&self, frames: u32) {
        let frames = frames.min(self.table.max_frames);
        self.table.frames.fetch_max(frames, Ordering::AcqRel);
    }

    /// Changes the layout (`GNTTABOP_set_version`). For version 2 the memory must answer for its
    /// entries already, status frames included (see [`Self::status_growth`]).
    ///
    /// The first 8 entries may be in use, and keep their content as far as the new layout can
    /// hold it; all others become zero.
    ///
    /// # Errors
    /// `EBUSY` when another entry is in use; `ERANGE` when a reserved entry has a frame number
    /// that version 1 cannot hold; nothing is changed then.
    pub fn set_version(&self, wanted: Version) -> Result<(), Errno> {
        let table = self.table;
        if table.version() == wanted {
            return Ok(());
        }
        let end = table.sizes().0.saturating_mul(V1_ENTRIES_PER_FRAME);
        let locked = self.lock_all(end)?;
        let outcome = self.carry().map(|carried| self.relayout(wanted, &carried));
        for index in 0..locked {
            if let Some(active) = table.memory.active(GrantRef(index)) {
                active.unlock_raw();
            }
        }
        outcome
    }

    /// Locks the active entries below `end`: all that can be in use at either version. When one
    /// outside the reserved ones is in use, none stays locked.
    fn lock_all(&self, end: u32) -> Result<u32, Errno> {
        let active = |index| self.table.memory.active(GrantRef(index));
        for index in 0..end {
            let Some(entry) = active(index) else { return Ok(index) };
            let pins = entry.lock_raw();
            if pins.any() && index >= RESERVED_ENTRIES {
                for locked in 0..=index {
                    if let Some(entry) = active(locked) {
                        entry.unlock_raw();
                    }
                }
                return Err(Errno::EBUSY);
            }
        }
        Ok(end)
    }

    /// Reads what the reserved entries say, in terms of version 1. Guest numbers: each word is
    /// read once.
    fn carry(&self) -> Result<[Carried; RESERVED_ENTRIES as usize], Errno> {
        let memory = &self.table.memory;
        let mut carried = [Carried::default(); RESERVED_ENTRIES as usize];
        let end = self.table.sizes().0.saturating_mul(self.table.version().entries_per_frame());
        for (gref, slot) in (0..end).map(GrantRef).zip(carried.iter_mut()) {
            match self.table.version() {
                Version::V1 => {
                    let Some(words) = memory.v1(gref) else { continue };
                    *slot = Carried { header: words.header(), frame: words.frame() };
                }
                Version::V2 => {
                    let Some(words) = memory.v2(gref) else { continue };
                    let header = words.header();
                    let whole = header.flags() & (gtf::TYPE_MASK | gtf::SUB_PAGE);
                    // Other kinds have no meaning in version 1, or would gain another one.
                    if whole != gtf::PERMIT_ACCESS {
                        continue;
                    }
                    let frame = u32::try_from(words.frame()).map_err(|_| Errno::ERANGE)?;
                    *slot = Carried { header, frame };
                }
            }
        }
        Ok(carried)
    }

    /// Zeroes the frames, puts the reserved entries back, and makes the version known.
    fn relayout(&self, wanted: Version, carried: &[Carried; RESERVED_ENTRIES as usize]) {
        let table = self.table;
        let end = table.sizes().0.saturating_mul(wanted.entries_per_frame());
        for gref in (0..end).map(GrantRef) {
            match wanted {
                Version::V1 => {
                    let Some(words) = table.memory.v1(gref) else { break };
                    words.set_header(Header(0));
                    words.set_frame(0);
                }
                Version::V2 => {
                    let Some(words) = table.memory.v2(gref) else { break };
                    words.set_header(Header(0));
                    words.set_span(0);
                    words.set_frame(0);
                    words.clear_status(!0);
                }
            }
        }
        for (gref, old) in (0..end.min(RESERVED_ENTRIES)).map(GrantRef).zip(carried) {
            self.put_back(wanted, gref, *old);
        }
        table.version.store(wanted.to_raw(), Ordering::Release);
    }

    /// Writes a reserved entry in the new layout. Its in-use marks come from the pins, not from
    /// what the guest may have left there.
    fn put_back(&self, wanted: Version, gref: GrantRef, old: Carried) {
        let memory = &self.table.memory;
        let in_use = gtf::READING | gtf::WRITING;
        let marks = memory.active(gref).map_or(0, |entry| in_use & !entry.pins().stale_marks());
        // The same bits of a transfer slot mean something else and stay as they are.
        let is_slot = old.header.kind() == gtf::ACCEPT_TRANSFER;
        let flags = if is_slot { old.header.flags() } else { old.header.flags() & !in_use };
        let domid: DomId = old.header.domid();
        match wanted {
            Version::V1 => {
                let Some(words) = memory.v1(gref) else { return };
                words.set_frame(old.frame);
                words.set_header(Header::new(flags | marks, domid));
            }
            Version::V2 => {
                let Some(words) = memory.v2(gref) else { return };
                words.set_frame(u64::from(old.frame));
                words.set_status(marks);
                words.set_header(Header::new(flags, domid));
            }
        }
    }
}
