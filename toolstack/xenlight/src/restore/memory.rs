//! The memory of a guest that is being restored: pages are given as the stream names them.

use sys::{Protection, ReservationFlags, Xen};
use xen_stream::PAGE;
use xen_stream::libxc::{P2mFrames, PageData, PageKind};

use super::Error;
use crate::save::p2m::{FRAME_MASK, INVALID, MAX_PFNS};
use crate::save::tables::{self, BadEntry};

const PRESENT: u64 = 1;
/// Entries in a page of the P2M.
const ENTRIES: u64 = 512;
/// Pages that are mapped and filled in one go.
const BATCH: usize = 1024;
/// Pages of the P2M that are written in one go.
const P2M_BATCH: usize = 256;
/// No MFN yet; the machine's first page is no guest's.
const NONE: u64 = 0;

/// The guest's memory as far as it is known.
pub(super) struct Memory {
    domid: u16,
    /// MFN of each PFN.
    mfns: Vec<u64>,
    /// Type of each PFN, as in the stream.
    kinds: Vec<u8>,
    /// PFNs of the guest's own P2M.
    frames: Vec<u64>,
    given: u64,
}

impl Memory {
    /// From the record that says how large the guest is.
    pub(super) fn new(domid: u16, p2m: P2mFrames) -> Result<Memory, Error> {
        let count = u64::from(p2m.end_pfn) + 1;
        if p2m.start_pfn != 0 || count > MAX_PFNS {
            return Err(Error::Pfns { start: p2m.start_pfn, end: p2m.end_pfn });
        }
        let (found, wanted) = (p2m.frames.len() as u64, count.div_ceil(ENTRIES));
        if found != wanted {
            return Err(Error::P2mFrames { found, wanted, pfns: count });
        }
        if let Some(pfn) = p2m.frames.iter().find(|pfn| **pfn >= count) {
            return Err(Error::NoSuchPfn { pfn: *pfn, what: "the P2M".into() });
        }
        let size = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Memory {
            domid,
            mfns: vec![NONE; size],
            kinds: vec![0; size],
            frames: p2m.frames,
            given: 0,
        })
    }

    /// PFNs that the guest has numbers for.
    pub(super) fn pfns(&self) -> u64 {
        self.mfns.len() as u64
    }

    /// Pages that it has been given.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// The MFN of a PFN.
    pub(super) fn mfn(&self, pfn: u64) -> Option<u64> {
        let mfn = self.mfns.get(usize::try_from(pfn).ok()?)?;
        Some(*mfn).filter(|mfn| *mfn != NONE)
    }

    /// Takes pages from the stream: gives the domain memory for them, and fills it. Page tables get
    /// MFNs for their PFNs; memory for these is given at once.
    pub(super) fn take(&mut self, xen: &Xen, data: &PageData) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for (entry, content) in data.pages() {
            let what = || "a page".to_owned();
            let place = usize::try_from(entry.pfn).ok().and_then(|n| self.kinds.get_mut(n));
            *place.ok_or_else(|| Error::NoSuchPfn { pfn: entry.pfn, what: what() })? =
                entry.kind.number();
            if entry.kind != PageKind::INVALID && entry.kind != PageKind::BROKEN {
                wanted.push(entry.pfn);
            }
            if let (Some(level), Some(content)) = (entry.kind.table_level(), content) {
                wanted.extend(self.referenced(entry.pfn, level, content)?);
            }
        }
        self.give(xen, wanted)?;
        self.fill(xen, data)
    }

    /// PFNs that a page table names.
    fn referenced(&self, pfn: u64, level: u8, content: &[u8; PAGE]) -> Result<Vec<u64>, Error> {
        let mut found = Vec::new();
        for (index, entry) in tables::words(content).into_iter().enumerate() {
            if entry & PRESENT == 0 {
                continue;
            }
            let named = (entry & FRAME_MASK) >> 12;
            if named >= self.pfns() {
                let what = format!("entry {index} of the L{level} page table {pfn:#x}");
                return Err(Error::NoSuchPfn { pfn: named, what });
            }
            found.push(named);
        }
        Ok(found)
    }

    /// Gives memory for those PFNs that have none.
    fn give(&mut self, xen: &Xen, mut pfns: Vec<u64>) -> Result<(), Error> {
        pfns.retain(|pfn| self.mfn(*pfn).is_none());
        pfns.sort_unstable();
        pfns.dedup();
        if pfns.is_empty() {
            return Ok(());
        }
        let domid = self.domid;
        let mfns = xen.populate_physmap(domid, &pfns, 0, ReservationFlags::default())?;
        for (pfn, mfn) in pfns.iter().zip(&mfns) {
            if let Some(place) = usize::try_from(*pfn).ok().and_then(|n| self.mfns.get_mut(n)) {
                *place = *mfn;
                self.given += 1;
            }
        }
        if mfns.len() < pfns.len() {
            return Err(Error::NoMemory { domid, given: self.given });
        }
        Ok(())
    }

    fn fill(&self, xen: &Xen, data: &PageData) -> Result<(), Error> {
        let pages: Vec<_> =
            data.pages().filter_map(|(entry, content)| Some((entry, content?))).collect();
        for batch in pages.chunks(BATCH) {
            let mfns: Vec<u64> =
                batch.iter().filter_map(|(entry, _)| self.mfn(entry.pfn)).collect();
            let mapping = xen.map_foreign(self.domid, &mfns, Protection::ReadWrite)?;
            for (place, (entry, content)) in batch.iter().enumerate() {
                let translated = match entry.kind.table_level() {
                    None => None,
                    Some(level) => Some(self.table(entry.pfn, level, content)?),
                };
                let written = mapping.write(place * PAGE, translated.as_ref().unwrap_or(content));
                debug_assert!(written, "each page with content has its place");
            }
        }
        Ok(())
    }

    /// A page table with MFNs in place of PFNs.
    fn table(&self, pfn: u64, level: u8, content: &[u8; PAGE]) -> Result<[u8; PAGE], Error> {
        let mut words = tables::words(content);
        let refused = |bad: BadEntry| Error::NoSuchPfn {
            pfn: bad.entry,
            what: format!("entry {} of page table {pfn:#x}", bad.index),
        };
        tables::translate(&mut words, level, |pfn| self.mfn(pfn)).map_err(refused)?;
        Ok(tables::page(&words))
    }

    /// Writes the guest's own P2M: the new MFNs.
    pub(super) fn write_p2m(&self, xen: &Xen) -> Result<(), Error> {
        for (turn, batch) in self.frames.chunks(P2M_BATCH).enumerate() {
            let mfn =
                |pfn: &u64| self.mfn(*pfn).ok_or(Error::NoPage { pfn: *pfn, what: "the P2M" });
            let mfns = batch.iter().map(mfn).collect::<Result<Vec<_>, _>>()?;
            let mapping = xen.map_foreign(self.domid, &mfns, Protection::ReadWrite)?;
            for page in 0..batch.len() {
                let first = (turn * P2M_BATCH + page) as u64 * ENTRIES;
                let words: Vec<u64> =
                    (first..first + ENTRIES).map(|pfn| self.mfn(pfn).unwrap_or(INVALID)).collect();
                let written = mapping.write(page * PAGE, &tables::page(&words));
                debug_assert!(written, "each page of the batch has its place");
            }
        }
        Ok(())
    }

    /// Page tables that the guest had pinned: MFN and level.
    pub(super) fn pinned(&self) -> Vec<(u64, u32)> {
        let pinned = |(mfn, kind): (&u64, &u8)| {
            let kind = PageKind::new(*kind).filter(|kind| kind.is_pinned())?;
            Some((*mfn, u32::from(kind.table_level()?)))
        };
        self.mfns
            .iter()
            .zip(&self.kinds)
            .filter(|(mfn, _)| **mfn != NONE)
            .filter_map(pinned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xen_stream::libxc::PageEntry;

    fn p2m(end_pfn: u32, frames: Vec<u64>) -> P2mFrames {
        P2mFrames { start_pfn: 0, end_pfn, frames }
    }

    #[test]
    fn a_forged_size_is_refused() {
        for (record, expected) in [
            (p2m(u32::MAX, vec![]), "page frames 0x0 to 0xffffffff"),
            (p2m(1023, vec![1]), "1 pages of P2M for 0x400 page frames; 2"),
            (p2m(1023, vec![1, 1024]), "page frame 0x400 in the P2M"),
            (P2mFrames { start_pfn: 1, end_pfn: 2, frames: vec![0] }, "page frames 0x1 to 0x2"),
        ] {
            let error = Memory::new(7, record).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_page_table_that_names_a_page_beyond_the_guest_is_refused() {
        let memory = Memory::new(7, p2m(511, vec![1])).unwrap();
        let content = tables::page(&[0, 511 << 12 | 1, 512 << 12, 512 << 12 | 0x63]);
        let error = memory.referenced(9, 2, &content).unwrap_err().to_string();
        assert!(error.contains("page frame 0x200 in entry 3 of the L2 page table 0x9"), "{error}");
        let fine = tables::page(&[0, 1 << 63 | 511 << 12 | 1, 512 << 12]);
        assert_eq!(memory.referenced(9, 2, &fine).unwrap(), [511]);
    }

    #[test]
    fn pinned_tables_are_those_that_have_a_page() {
        let mut memory = Memory::new(7, p2m(511, vec![1])).unwrap();
        for (pfn, kind, mfn) in [(3, 12, 103), (4, 4, 104), (5, 9, NONE), (6, 9, 106)] {
            memory.kinds[pfn] = kind;
            memory.mfns[pfn] = mfn;
        }
        assert_eq!(memory.pinned(), [(103, 4), (106, 1)]);
        let entry = PageEntry { pfn: 3, kind: PageKind::NORMAL };
        assert_eq!(memory.mfn(entry.pfn), Some(103));
        assert_eq!(memory.mfn(512), None);
    }
}
