//! The hypervisor's own record of a grant in use.

use crate::status::{Status, gntmap, gtf};
use abi::{DomId, GrantRef, Mfn};
use core::sync::atomic::{AtomicU64, Ordering};

/// What a mapping gives: to CPUs, to devices, or both; reading alone or writing too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// CPUs may use it.
    pub host: bool,
    /// Devices may use it.
    pub device: bool,
    /// Only for reading.
    pub readonly: bool,
}

impl Access {
    /// CPU access, as a copy has while it runs.
    pub const fn host(readonly: bool) -> Access {
        Access { host: true, device: false, readonly }
    }

    /// What `GNTMAP_*` flags ask for.
    ///
    /// # Errors
    /// `BadGntref` when neither CPUs nor devices are to have access (Xen's answer).
    pub fn from_flags(flags: u32) -> Result<Access, Status> {
        let access = Access {
            host: flags & gntmap::HOST_MAP != 0,
            device: flags & gntmap::DEVICE_MAP != 0,
            readonly: flags & gntmap::READONLY != 0,
        };
        if access.is_none() { Err(Status::BadGntref) } else { Ok(access) }
    }

    /// Whether it gives nothing.
    pub fn is_none(self) -> bool {
        !self.host && !self.device
    }

    /// The share of `self` that `host` and `device` select.
    #[must_use]
    pub fn only(self, host: bool, device: bool) -> Access {
        Access { host: self.host && host, device: self.device && device, readonly: self.readonly }
    }

    /// What is left of `self` without `gone`.
    #[must_use]
    pub fn without(self, gone: Access) -> Access {
        self.only(!gone.host, !gone.device)
    }

    /// One more in each count that this access touches.
    const fn increment(self) -> u64 {
        let host = match (self.host, self.readonly) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => 1 << 16,
        };
        let device = match (self.device, self.readonly) {
            (false, _) => 0,
            (true, true) => 1 << 32,
            (true, false) => 1 << 48,
        };
        host | device
    }
}

/// How often an entry is in use: four counts of 15 bits, for (CPU, device) x (reading, writing).
///
/// The sixteenth bit of each count is a guard, always 0 in a value: a carry or a borrow shows
/// there, so all four are checked by one mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pins(u64);

const GUARDS: u64 = 0x8000_8000_8000_8000;
const WRITES: u64 = 0x7fff_0000_7fff_0000;
/// The entry is locked: the guard bit of the last count, in memory only.
const LOCK: u64 = 1 << 63;

impl Pins {
    /// Not in use at all.
    pub const NONE: Pins = Pins(0);

    /// One more use, or `None` when a count is full (32767).
    #[must_use]
    pub fn plus(self, access: Access) -> Option<Pins> {
        let sum = self.0.wrapping_add(access.increment());
        (sum & GUARDS == 0).then_some(Pins(sum))
    }

    /// One use less, or `None` when there was no such use.
    #[must_use]
    pub fn minus(self, access: Access) -> Option<Pins> {
        let difference = (self.0 | GUARDS).wrapping_sub(access.increment());
        (difference & GUARDS == GUARDS).then_some(Pins(difference & !GUARDS))
    }

    /// Whether it is in use.
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether it is in use for writing.
    pub fn writes(self) -> bool {
        self.0 & WRITES != 0
    }

    /// The counts: CPU reading, CPU writing, device reading, device writing.
    pub fn counts(self) -> [u16; 4] {
        [0, 16, 32, 48].map(|shift| ((self.0 >> shift) & 0x7fff) as u16)
    }

    /// The marks that a shared entry must *not* bear when these are all its uses.
    pub(crate) fn stale_marks(self) -> u16 {
        let writing = if self.writes() { 0 } else { gtf::WRITING };
        let reading = if self.any() { 0 } else { gtf::READING };
        writing | reading
    }
}

/// What an entry meant when it came into use. It keeps that meaning until its last use ends,
/// whatever the guest writes into the shared entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Who uses it.
    pub user: DomId,
    /// The machine frame.
    pub mfn: Mfn,
    /// The first usable byte.
    pub start: u16,
    /// How many bytes are usable. A guest's number: `start + length` may pass the page's end.
    pub length: u16,
    /// Usable by copies alone, as not all of the page is granted.
    pub sub_page: bool,
    /// The grant of a third domain for which this one stands.
    pub via: Option<(DomId, GrantRef)>,
}

impl Record {
    /// A grant of all of a page.
    pub(crate) fn whole_page(user: DomId, mfn: Mfn) -> Record {
        Record { user, mfn, start: 0, length: PAGE_LEN, sub_page: false, via: None }
    }
}

/// Bytes in a page, as the interface's 16-bit lengths count them.
pub(crate) const PAGE_LEN: u16 = 4096;

const SUB_PAGE: u64 = 1 << 48;
const VIA: u64 = 1 << 49;

/// The active entry of one grant reference: 32 bytes, all zero when not in use.
///
/// Fields other than `pins` are read and written only with the lock bit held (or, by dumps,
/// without any promise).
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct ActiveEntry {
    pins: AtomicU64,
    mfn: AtomicU64,
    /// User (16 bits), start (16), length (16), flags.
    meta: AtomicU64,
    /// Third domain's reference (32 bits), its id (16).
    via: AtomicU64,
}

const _: () = assert!(size_of::<ActiveEntry>() == 32);

impl ActiveEntry {
    /// An entry not in use.
    pub const fn new() -> ActiveEntry {
        ActiveEntry {
            pins: AtomicU64::new(0),
            mfn: AtomicU64::new(0),
            meta: AtomicU64::new(0),
            via: AtomicU64::new(0),
        }
    }

    /// Its uses at this moment, without locking it.
    pub fn pins(&self) -> Pins {
        Pins(self.pins.load(Ordering::Relaxed) & !LOCK)
    }

    /// Its uses and its meaning at this moment, for dumps: not a consistent view.
    pub fn glance(&self) -> (Pins, Record) {
        (self.pins(), self.read())
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked { pins: self.lock_raw(), entry: self }
    }

    /// Locks without a guard; pairs with [`Self::unlock_raw`]. For holding all entries of a table.
    pub(crate) fn lock_raw(&self) -> Pins {
        loop {
            let seen = self.pins.load(Ordering::Relaxed);
            let taken = seen & LOCK == 0
                && self
                    .pins
                    .compare_exchange_weak(seen, seen | LOCK, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok();
            if taken {
                return Pins(seen);
            }
            core::hint::spin_loop();
        }
    }

    /// Unlocks what [`Self::lock_raw`] locked.
    pub(crate) fn unlock_raw(&self) {
        self.pins.fetch_and(!LOCK, Ordering::Release);
    }

    fn read(&self) -> Record {
        let meta = self.meta.load(Ordering::Relaxed);
        let via = self.via.load(Ordering::Relaxed);
        Record {
            user: DomId((meta & 0xffff) as u16),
            mfn: Mfn(self.mfn.load(Ordering::Relaxed)),
            start: ((meta >> 16) & 0xffff) as u16,
            length: ((meta >> 32) & 0xffff) as u16,
            sub_page: meta & SUB_PAGE != 0,
            via: (meta & VIA != 0).then_some((
                DomId(((via >> 32) & 0xffff) as u16),
                GrantRef((via & 0xffff_ffff) as u32),
            )),
        }
    }

    fn write(&self, record: &Record) {
        let (flag, via) = match record.via {
            None => (0, 0),
            Some((domid, gref)) => (VIA, (u64::from(domid.0) << 32) | u64::from(gref.0)),
        };
        let sub_page = if record.sub_page { SUB_PAGE } else { 0 };
        let meta = u64::from(record.user.0)
            | (u64::from(record.start) << 16)
            | (u64::from(record.length) << 32)
            | sub_page
            | flag;
        self.mfn.store(record.mfn.0, Ordering::Relaxed);
        self.meta.store(meta, Ordering::Relaxed);
        self.via.store(via, Ordering::Relaxed);
    }
}

/// An active entry with its lock held; dropping it publishes `pins` and unlocks.
pub(crate) struct Locked<'a> {
    entry: &'a ActiveEntry,
    pins: Pins,
}

impl Locked<'_> {
    pub fn pins(&self) -> Pins {
        self.pins
    }

    /// The meaning it has while in use, or `None`.
    pub fn record(&self) -> Option<Record> {
        self.pins.any().then(|| self.entry.read())
    }

    /// Comes into use with a meaning.
    pub fn begin(&mut self, record: &Record, pins: Pins) {
        self.entry.write(record);
        self.pins = pins;
    }

    /// Changes the number of uses.
    pub fn set_pins(&mut self, pins: Pins) {
        self.pins = pins;
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.entry.pins.store(self.pins.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_accesses() -> impl Iterator<Item = Access> {
        (0..8u8).map(|bits| Access {
            host: bits & 1 != 0,
            device: bits & 2 != 0,
            readonly: bits & 4 != 0,
        })
    }

    #[test]
    fn each_access_moves_its_own_counts_and_no_others() {
        for access in all_accesses() {
            let pins = Pins::NONE.plus(access).unwrap();
            let one = |yes: bool| u16::from(yes);
            let wanted = [
                one(access.host && access.readonly),
                one(access.host && !access.readonly),
                one(access.device && access.readonly),
                one(access.device && !access.readonly),
            ];
            assert_eq!(pins.counts(), wanted);
            assert_eq!(pins.any(), !access.is_none());
            assert_eq!(pins.writes(), !access.is_none() && !access.readonly);
            assert_eq!(pins.minus(access), Some(Pins::NONE));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "counts to 32,767 a dozen times")]
    fn a_count_neither_passes_its_limit_nor_goes_below_zero() {
        for access in all_accesses().filter(|access| !access.is_none()) {
            assert_eq!(Pins::NONE.minus(access), None);
            let mut pins = Pins::NONE;
            for _ in 0..0x7fff {
                pins = pins.plus(access).unwrap();
            }
            assert_eq!(pins.plus(access), None);
            assert_eq!(pins.0 & GUARDS, 0);
            assert!(pins.minus(access).is_some());
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let entry = ActiveEntry::new();
        let mut locked = entry.lock();
        assert_eq!(locked.record(), None);
        let record = Record {
            user: DomId(0x7fef),
            mfn: Mfn(0xff_ffff_ffff),
            start: 0xffff,
            length: 0xfffe,
            sub_page: true,
            via: Some((DomId(0x1234), GrantRef(!0))),
        };
        locked.begin(&record, Pins::NONE.plus(Access::host(true)).unwrap());
        drop(locked);
        assert_eq!(entry.lock().record(), Some(record));
    }

    #[test]
    fn a_request_for_no_access_is_a_bad_reference() {
        assert_eq!(Access::from_flags(gntmap::READONLY), Err(Status::BadGntref));
        assert!(Access::from_flags(gntmap::HOST_MAP).is_ok());
    }
}
