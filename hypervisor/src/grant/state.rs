//! A domain's grant table and its map handles.

use super::memory::{TableMemory, TrackMemory};
use crate::domain::{Config, Domain};
use abi::Errno;
use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use grants::maptrack::NoHandle;
use grants::status::status_frames;
use grants::{GrantTable, Maptrack, Reserved, Status, Version};
use machine::lock::Lock;

/// A domain's grant table, and what it has mapped of others'.
pub struct GrantState {
    table: GrantTable<TableMemory>,
    /// What it has mapped.
    pub(super) handles: Maptrack<TrackMemory>,
    /// Held while frames are supplied to either, or the version changes. The rules' own locks
    /// are not to be held then, as whoever waits for them serves nobody meanwhile.
    growing: Lock<()>,
    /// How many CPUs look at the table.
    users: AtomicU32,
    /// The domain is at its end: no frames any more.
    closed: AtomicBool,
    /// Where the release of its mappings stands.
    pub(super) cursor: Lock<u32>,
    /// The highest version that it may choose.
    pub(super) max_version: u32,
}

/// The right to look at a table: its frames stay for as long as this lives.
pub(super) struct Use<'a>(&'a GrantState);

impl Deref for Use<'_> {
    type Target = GrantTable<TableMemory>;
    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0.table
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}

impl GrantState {
    /// An empty table.
    pub fn new(c: &Config) -> Result<Self, Errno> {
        let memory = TableMemory::new(c.max_grant_frames)?;
        let tracks = TrackMemory::new(c.max_maptrack_frames)?;
        Ok(GrantState {
            table: GrantTable::new(c.id, c.max_grant_frames, memory),
            handles: Maptrack::new(c.max_maptrack_frames, tracks),
            growing: Lock::new(()),
            users: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            cursor: Lock::new(0),
            max_version: c.max_grant_version,
        })
    }

    /// The table, whose frames stay meanwhile. At a domain's end it has none: every reference
    /// is a bad one then.
    #[inline]
    pub(super) fn table(&self) -> Use<'_> {
        self.users.fetch_add(1, Ordering::SeqCst);
        Use(self)
    }

    /// Takes all frames from the table, which gets none any more. `false` while somebody looks at
    /// it: try again then.
    pub(super) fn close(&self, f: impl FnMut(abi::Mfn)) -> bool {
        let _alone = self.growing.lock();
        self.closed.store(true, Ordering::SeqCst);
        self.table.memory().hide();
        // Whoever is not counted yet cannot find the frames any more.
        fence(Ordering::SeqCst);
        if self.users.load(Ordering::SeqCst) != 0 {
            return false;
        }
        self.table.memory().take_frames(f);
        true
    }

    /// Makes the table of `d`, whose state this is, at least `wanted` frames long.
    pub(super) fn grow(&self, d: &Arc<Domain>, wanted: u32) -> Result<(), Errno> {
        if wanted <= self.table.sizes().0 {
            return Ok(());
        }
        let _alone = self.growing.lock();
        let (now, max) = self.table.sizes();
        if wanted > max {
            return Err(Errno::EINVAL);
        }
        self.check_open()?;
        let memory = self.table.memory();
        for index in now..wanted {
            memory.supply_shared(d, index)?;
        }
        if self.table.version() == Version::V2 {
            for index in 0..status_frames(wanted) {
                memory.supply_status(d, index)?;
            }
        }
        self.table.admin().set_frames(wanted);
        Ok(())
    }

    /// Changes the version of the table of `d`, whose state this is.
    pub(super) fn set_version(&self, d: &Arc<Domain>, version: Version) -> Result<(), Errno> {
        let _alone = self.growing.lock();
        self.check_open()?;
        if version == Version::V2 {
            for index in 0..status_frames(self.table.sizes().0) {
                self.table.memory().supply_status(d, index)?;
            }
        }
        self.table.admin().set_version(version)
    }

    /// How many frames of entries there are, and how many there may be.
    pub fn frames(&self) -> (u32, u32) {
        self.table.sizes()
    }

    /// How many mappings of others' grants there are.
    pub fn handles_in_use(&self) -> u32 {
        self.handles.in_use()
    }

    fn check_open(&self) -> Result<(), Errno> {
        if self.closed.load(Ordering::SeqCst) { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// A free map handle.
    pub(super) fn reserve(&self) -> Result<Reserved, Status> {
        loop {
            match self.handles.reserve() {
                Ok(reserved) => return Ok(reserved),
                Err(NoHandle::Full) => return Err(Status::NoSpace),
                Err(NoHandle::NeedFrame) => {
                    let _alone = self.growing.lock();
                    let memory = self.handles.memory();
                    self.handles.grow(|n| memory.supply(n).map_err(|_| Status::NoSpace))?;
                }
            }
        }
    }
}
