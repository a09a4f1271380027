//! Pages, frames, page tables.

use crate::hypercall::{self, INVLPG_ALL, ext, mmu_update, mmuext, update_va_mapping};
use crate::start::{self, VIRT_BASE};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bit of a page-table entry.
pub const PRESENT: u64 = 1 << 0;
/// Bit of a page-table entry.
pub const WRITE: u64 = 1 << 1;
/// Bit of a page-table entry.
pub const USER: u64 = 1 << 2;
/// Bit of a page-table entry above L1: a large page.
pub const LARGE: u64 = 1 << 7;
/// Where the table of pseudo-physical frames by machine frame is.
pub const M2P: u64 = 0xffff_8000_0000_0000;

const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;

/// One page of our own memory, of which the compiler knows nothing.
#[repr(C, align(4096))]
pub struct Page(UnsafeCell<[u64; 512]>);

// SAFETY: a page is only ever touched by the raw accesses below and by the hypervisor.
unsafe impl Sync for Page {}

impl Page {
    /// A zeroed page.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Page {
        Page(UnsafeCell::new([0; 512]))
    }

    /// Its address.
    pub fn va(&self) -> u64 {
        self.0.get() as u64
    }

    /// Its machine frame.
    pub fn mfn(&self) -> u64 {
        mfn_of(self.va())
    }

    /// Reads one of its 512 words.
    pub fn read(&self, index: usize) -> u64 {
        assert!(index < 512);
        let word = self.0.get().cast::<u64>().wrapping_add(index);
        // SAFETY: in bounds by the assertion, aligned, and mapped: no test unmaps a page of the
        // pool and then reads it this way.
        unsafe { word.read_volatile() }
    }

    /// Writes one of its 512 words. Faults where it is mapped read-only.
    pub fn write(&self, index: usize, value: u64) {
        assert!(index < 512);
        let word = self.0.get().cast::<u64>().wrapping_add(index);
        // SAFETY: as for `read`; no reference into the page exists.
        unsafe { word.write_volatile(value) }
    }

    /// Makes its mapping read-only, as a page table needs; returns the hypercall's result.
    pub fn protect(&self) -> i64 {
        update_va_mapping(self.va(), entry(self.mfn(), PRESENT), INVLPG_ALL)
    }

    /// Makes its mapping writable again.
    pub fn unprotect(&self) -> i64 {
        update_va_mapping(self.va(), entry(self.mfn(), PRESENT | WRITE), INVLPG_ALL)
    }

    /// Removes its mapping.
    pub fn unmap(&self) -> i64 {
        update_va_mapping(self.va(), 0, INVLPG_ALL)
    }
}

const POOL_PAGES: usize = 512;
static POOL: [Page; POOL_PAGES] = [const { Page::new() }; POOL_PAGES];
static USED: AtomicUsize = AtomicUsize::new(0);

/// A page that nobody else uses; it is never given back.
pub fn page() -> &'static Page {
    let index = USED.fetch_add(1, Ordering::Relaxed);
    assert!(index < POOL_PAGES, "the pool of pages is empty");
    &POOL[index]
}

/// A page-table entry.
pub fn entry(mfn: u64, flags: u64) -> u64 {
    (mfn << 12) | flags
}

/// The machine frame in an entry.
pub fn mfn_in(entry: u64) -> u64 {
    (entry & FRAME_MASK) >> 12
}

/// The machine frame of an address of our image.
pub fn mfn_of(va: u64) -> u64 {
    assert!(va >= VIRT_BASE, "not of the image: {va:#x}");
    let pfn = (va - VIRT_BASE) >> 12;
    pfn_to_mfn(pfn)
}

/// The machine frame of one of our pseudo-physical frames.
pub fn pfn_to_mfn(pfn: u64) -> u64 {
    let info = start::info();
    assert!(pfn < info.nr_pages, "no such frame: {pfn:#x}");
    let word = (info.mfn_list + pfn * 8) as *const u64;
    // SAFETY: the list has `nr_pages` words, is mapped, and nobody writes it.
    unsafe { word.read_volatile() }
}

/// The pseudo-physical frame of a machine frame, by the hypervisor's table. Faults beyond its end.
pub fn mfn_to_pfn(mfn: u64) -> u64 {
    let word = (M2P + mfn * 8) as *const u64;
    // SAFETY: the hypervisor keeps the table mapped for reading; a fault ends the test, loudly.
    unsafe { word.read_volatile() }
}

/// Reads a word of a table of the boot page tables, which are all mapped.
fn read_frame(mfn: u64, index: u64) -> u64 {
    let word = (VIRT_BASE + (mfn_to_pfn(mfn) << 12) + index * 8) as *const u64;
    // SAFETY: boot page tables lie in the region that the builder mapped at VIRT_BASE.
    unsafe { word.read_volatile() }
}

/// The machine frame of the boot address space's top table.
pub fn top_table() -> u64 {
    mfn_of(start::info().pt_base)
}

/// Machine address of the entry for `va` in its table of `level` (1 to 4), and its value, in the
/// boot address space.
pub fn walk(va: u64, level: u32) -> (u64, u64) {
    let mut table = top_table();
    let mut at = 4;
    loop {
        let index = (va >> (12 + 9 * (at - 1))) & 511;
        let value = read_frame(table, index);
        if at == level {
            return ((table << 12) + index * 8, value);
        }
        assert!(value & PRESENT != 0, "{va:#x} has no table of level {}", at - 1);
        table = mfn_in(value);
        at -= 1;
    }
}

/// The frame of the table of `level` that maps `va` in the boot address space.
pub fn table_of(va: u64, level: u32) -> u64 {
    walk(va, level).0 >> 12
}

/// A fresh, empty page made ready to be a page table: mapped read-only.
pub fn empty_table() -> &'static Page {
    let page = page();
    let protected = page.protect();
    assert!(protected == 0, "making a page read-only gives {protected}");
    page
}

/// A page made ready to be a page table with these entries.
pub fn table_with(entries: &[(usize, u64)]) -> &'static Page {
    let page = page();
    for &(index, value) in entries {
        page.write(index, value);
    }
    let protected = page.protect();
    assert!(protected == 0, "making a page read-only gives {protected}");
    page
}

/// Writes an entry of a page table of ours.
pub fn set_entry(table: &Page, index: u64, value: u64) -> i64 {
    mmu_update((table.mfn() << 12) + index * 8, value)
}

/// An address that is mapped by a table of our own making, in a part of the address space that
/// the builder left empty.
pub struct Window {
    /// Where its first page is.
    pub va: u64,
    /// The L1 table.
    pub l1: &'static Page,
    /// The L2 table.
    pub l2: &'static Page,
    /// The L3 table.
    pub l3: &'static Page,
}

/// Hangs three fresh tables into L4 slot `slot` of the running address space.
pub fn window(slot: u64) -> Window {
    let l1 = empty_table();
    let l2 = table_with(&[(0, entry(l1.mfn(), PRESENT | WRITE | USER))]);
    let l3 = table_with(&[(0, entry(l2.mfn(), PRESENT | WRITE | USER))]);
    let linked =
        mmu_update((top_table() << 12) + slot * 8, entry(l3.mfn(), PRESENT | WRITE | USER));
    assert!(linked == 0, "linking a fresh table gives {linked}");
    let va = if slot < 256 { slot << 39 } else { (slot << 39) | 0xffff_0000_0000_0000 };
    Window { va, l1, l2, l3 }
}

impl Window {
    /// Takes the tables out of the address space again.
    pub fn close(self) {
        let slot = (self.va >> 39) & 511;
        let unlinked = mmu_update((top_table() << 12) + slot * 8, 0);
        assert!(unlinked == 0, "unlinking a table gives {unlinked}");
        let flushed = mmuext(ext::TLB_FLUSH_ALL, 0, 0);
        assert!(flushed == 0, "a flush gives {flushed}");
    }
}

/// Flushes this CPU's TLB.
pub fn flush_local() -> i64 {
    hypercall::mmuext(ext::TLB_FLUSH_LOCAL, 0, 0)
}
