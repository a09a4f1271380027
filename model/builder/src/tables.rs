//! Filling in the page tables and the P2M list that a [`Layout`] has room for.
//!
//! Flags of entries: Intel SDM volume 3, 5.5. A guest's page tables may not be writable to it, so
//! the region's mapping of its own tables is read-only; all else is writable.

use core::fmt;

use abi::{Mfn, Pfn};

use crate::kernel::Sink;
use crate::layout::{Area, Layout, P2mMapping, Run, table_shift};
use crate::num::{PAGE, low16};

/// Present, user, accessed, dirty.
const READ_ONLY: u64 = 0x65;
/// The same and writable.
const WRITABLE: u64 = READ_ONLY | 2;
/// Maps 2 MiB, in an L2 entry.
const SUPERPAGE: u64 = 0x80;
/// Pages in a superpage.
const SUPERPAGE_PAGES: u64 = 512;

/// Page tables being written.
pub trait TableMemory {
    /// What can go wrong on the way.
    type Error;
    /// The machine frame behind a PFN of the domain.
    fn mfn(&self, pfn: Pfn) -> Option<Mfn>;
    /// Zeroes a page that becomes a page table.
    ///
    /// # Errors
    /// As the implementation says.
    fn clear(&mut self, table: Pfn) -> Result<(), Self::Error>;
    /// Writes entry `index` (0 to 511) of a page table.
    ///
    /// # Errors
    /// As the implementation says.
    fn write_pte(&mut self, table: Pfn, index: u16, value: u64) -> Result<(), Self::Error>;
}

/// Why page tables could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError<E> {
    /// The domain has no machine frame behind a PFN that the layout uses.
    NoFrame(Pfn),
    /// The frames from this PFN on were to be mapped by a superpage, but are not consecutive or not
    /// aligned.
    NotContiguous(Pfn),
    /// The layout has no table where one is needed. Layouts made by [`Layout::plan`] do.
    NoTable(u64),
    /// The memory's own error.
    Memory(E),
}

impl<E: fmt::Display> fmt::Display for TableError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrame(pfn) => write!(f, "no machine frame for PFN {pfn:#x}"),
            Self::NotContiguous(pfn) => {
                write!(f, "frames from PFN {pfn:#x} cannot be mapped by a superpage")
            }
            Self::NoTable(va) => write!(f, "no page table for {va:#x}"),
            Self::Memory(e) => write!(f, "page table memory: {e}"),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> core::error::Error for TableError<E> {}

/// Writes all page tables; the L4 is at `layout.tables.pfn`.
///
/// # Errors
/// Any [`TableError`]; tables are then half written.
pub fn build<M: TableMemory>(layout: &Layout, memory: &mut M) -> Result<(), TableError<M::Error>> {
    let mut builder = Builder { layout, memory };
    builder.clear(layout.tables)?;
    builder.clear(layout.p2m_tables)?;
    for (level, run) in (1u32..=3).zip(layout.region_runs).chain((1..=3).zip(layout.p2m_runs)) {
        builder.link(level, run)?;
    }
    builder.map(layout.region)?;
    if layout.p2m_apart {
        if layout.p2m_mapping == P2mMapping::Superpages {
            builder.map_large(layout.p2m)?;
        }
        builder.map(layout.small_p2m())?;
    }
    Ok(())
}

struct Builder<'a, M> {
    layout: &'a Layout,
    memory: &'a mut M,
}

impl<M: TableMemory> Builder<'_, M> {
    fn clear(&mut self, tables: Area) -> Result<(), TableError<M::Error>> {
        for k in 0..tables.pages {
            let pfn = Pfn(tables.pfn.0.wrapping_add(k));
            self.memory.clear(pfn).map_err(TableError::Memory)?;
        }
        Ok(())
    }

    fn mfn(&self, pfn: Pfn) -> Result<Mfn, TableError<M::Error>> {
        self.memory.mfn(pfn).ok_or(TableError::NoFrame(pfn))
    }

    /// Writes the entry for `va` in its table of `level`.
    fn write(
        &mut self,
        level: u32,
        va: u64,
        mfn: Mfn,
        flags: u64,
    ) -> Result<(), TableError<M::Error>> {
        let table = self.layout.table(level, va).ok_or(TableError::NoTable(va))?;
        let index = low16(va.wrapping_shr(table_shift(level.wrapping_sub(1))) & 511);
        let entry = mfn.0.wrapping_mul(PAGE) | flags;
        self.memory.write_pte(table, index, entry).map_err(TableError::Memory)
    }

    /// Enters the tables of `level` into those one above.
    fn link(&mut self, level: u32, run: Run) -> Result<(), TableError<M::Error>> {
        for k in 0..run.count {
            let va = run.first.wrapping_add(k).wrapping_shl(table_shift(level));
            let mfn = self.mfn(Pfn(run.pfn.0.wrapping_add(k)))?;
            self.write(level.wrapping_add(1), va, mfn, WRITABLE)?;
        }
        Ok(())
    }

    fn map(&mut self, area: Area) -> Result<(), TableError<M::Error>> {
        for k in 0..area.pages {
            let pfn = Pfn(area.pfn.0.wrapping_add(k));
            let flags = if self.layout.tables.contains(pfn) { READ_ONLY } else { WRITABLE };
            let mfn = self.mfn(pfn)?;
            self.write(1, area.va.wrapping_add(k.wrapping_mul(PAGE)), mfn, flags)?;
        }
        Ok(())
    }

    /// Maps the whole superpages of `area`.
    fn map_large(&mut self, area: Area) -> Result<(), TableError<M::Error>> {
        for k in 0..area.pages / SUPERPAGE_PAGES {
            let offset = k.wrapping_mul(SUPERPAGE_PAGES);
            let pfn = Pfn(area.pfn.0.wrapping_add(offset));
            let first = self.mfn(pfn)?;
            if !first.0.is_multiple_of(SUPERPAGE_PAGES) {
                return Err(TableError::NotContiguous(pfn));
            }
            for n in 1..SUPERPAGE_PAGES {
                if self.mfn(Pfn(pfn.0.wrapping_add(n)))?.0 != first.0.wrapping_add(n) {
                    return Err(TableError::NotContiguous(pfn));
                }
            }
            let va = area.va.wrapping_add(offset.wrapping_mul(PAGE));
            self.write(2, va, first, WRITABLE | SUPERPAGE)?;
        }
        Ok(())
    }
}

/// Writes the P2M list: `mfn(pfn)` for each PFN of the domain, all ones where there is none and
/// up to the end of its last page.
///
/// # Errors
/// What the sink says.
pub fn write_p2m<S: Sink>(
    layout: &Layout,
    sink: &mut S,
    mut mfn: impl FnMut(Pfn) -> Option<Mfn>,
) -> Result<(), S::Error> {
    const BATCH: usize = 64;
    let mut at = layout.p2m.pfn.0.wrapping_mul(PAGE);
    let mut next = 0u64;
    // 512 entries are a page, so batches of 64 fill pages exactly.
    let end = layout.p2m.pages.saturating_mul(512);
    while next < end {
        let mut batch = [[0xffu8; 8]; BATCH];
        for (pfn, entry) in (next..layout.nr_pages).zip(batch.iter_mut()) {
            *entry = mfn(Pfn(pfn)).unwrap_or(Mfn::INVALID).0.to_le_bytes();
        }
        sink.write(at, batch.as_flattened())?;
        next = next.wrapping_add(BATCH as u64);
        at = at.wrapping_add((BATCH as u64).wrapping_mul(8));
    }
    Ok(())
}
