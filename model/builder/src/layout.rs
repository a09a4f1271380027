//! Where everything lies in a PV domain's memory when its kernel starts.
//!
//! Facts: the comment on the bootstrap layout in the public header `xen.h` (order, alignment, the
//! 512 KiB after the last item) and `elfnote.h` (INIT_P2M, MOD_START_PFN).
//!
//! From VIRT_BASE, one virtual page after the other is one PFN after the other, from PFN 0:
//! the kernel at its own addresses, the ramdisk, the P2M list, start_info, a domU's two ring pages, page
//! tables, the stack. A kernel may have the list elsewhere and the ramdisk unmapped: the PFNs of the
//! list, of the tables that map it, and of the ramdisk then follow on the mapped region.

use core::fmt;

use abi::Pfn;

use crate::kernel::Kernel;
use crate::num::{PAGE, align_up, pages};

/// The mapped region ends at a multiple of this.
const REGION_ALIGN: u64 = 4 << 20;
/// At least this much is mapped after the stack.
const SLACK: u64 = 512 << 10;
/// Bytes that an L2 entry maps.
const SUPERPAGE: u64 = 2 << 20;
/// Bits of a virtual address that page tables look at.
const VA_MASK: u64 = (1 << 48) - 1;
/// The most that may be mapped from VIRT_BASE on: what one L3 table maps.
const MAX_REGION: u64 = 512 << 30;
/// Pages of a domain that are still believed: 16 TiB, Xen's own limit.
const MAX_PAGES: u64 = 1 << 32;

/// Why a kernel does not fit its domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// The domain has fewer pages than the start needs.
    Memory {
        /// Pages needed.
        needed: u64,
        /// Pages the domain has.
        have: u64,
    },
    /// More pages than any domain can have.
    TooManyPages(u64),
    /// Something would lie where the hypervisor is, past the top, or in the non-canonical gap.
    Forbidden {
        /// What.
        what: &'static str,
        /// Its first address.
        from: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// The P2M list, at the address that the kernel asks for, lies on the mapped region.
    P2mOverlap {
        /// Where the list would be.
        p2m: u64,
        /// End of the mapped region.
        end: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { needed, have } => {
                write!(f, "the kernel needs {needed} pages to start, the domain has {have}")
            }
            Self::TooManyPages(n) => write!(f, "{n} pages are more than a domain can have"),
            Self::Forbidden { what, from, size } => {
                write!(f, "{what} at {from:#x}, {size:#x} bytes, is not in the guest's part")
            }
            Self::P2mOverlap { p2m, end } => {
                write!(f, "the P2M list at {p2m:#x} lies on what is mapped up to {end:#x}")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

/// How a P2M list outside the mapped region is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum P2mMapping {
    /// By pages of 4 KiB, as all else: what the PV rules allow anyone.
    #[default]
    Small,
    /// By superpages where 2 MiB of it are full; its machine frames must lie accordingly.
    Superpages,
}

/// What to lay out besides the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// Pages of the domain.
    pub nr_pages: u64,
    /// Bytes of the initial ramdisk, 0 for none.
    pub initrd: u64,
    /// Whether to leave pages for the xenstore and console rings: yes for a domU, no for dom0.
    pub rings: bool,
    /// How to map the P2M list if the kernel wants it elsewhere.
    pub p2m: P2mMapping,
}

/// Some pages that are one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Area {
    /// Virtual address of the first, 0 if they are not mapped.
    pub va: u64,
    /// PFN of the first.
    pub pfn: Pfn,
    /// How many.
    pub pages: u64,
}

impl Area {
    /// Virtual address past the last page.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.va.wrapping_add(self.pages.wrapping_mul(PAGE))
    }

    /// Whether `pfn` is among them.
    #[must_use]
    pub fn contains(&self, pfn: Pfn) -> bool {
        pfn.0.checked_sub(self.pfn.0).is_some_and(|k| k < self.pages)
    }
}

/// The page tables of one level that one region has: consecutive in address and in PFN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Which table of its level the first is, counted from virtual address 0.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// PFN of the first.
    pub pfn: Pfn,
}

impl Run {
    fn get(&self, table: u64) -> Option<Pfn> {
        let k = table.checked_sub(self.first).filter(|k| *k < self.count)?;
        Some(Pfn(self.pfn.0.wrapping_add(k)))
    }
}

/// log2 of the bytes that a table of `level` (1 to 4) maps.
pub(crate) fn table_shift(level: u32) -> u32 {
    level.wrapping_mul(9).wrapping_add(12)
}

/// A domain's memory at its start. Plain data; made by [`Layout::plan`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Pages of the domain.
    pub nr_pages: u64,
    /// All that is mapped from VIRT_BASE on; its first PFN is 0.
    pub region: Area,
    /// The pages that the kernel's segments touch.
    pub kernel: Area,
    /// The ramdisk; its `va` is 0 when it is unmapped.
    pub initrd: Option<Area>,
    /// Bytes of the ramdisk.
    pub initrd_bytes: u64,
    /// The P2M list: 8 bytes for each page of the domain.
    pub p2m: Area,
    /// Page tables that only map the P2M list; unmapped. Empty if the list is in the region.
    pub p2m_tables: Area,
    /// The start_info page.
    pub start_info: Area,
    /// The xenstore ring of a domU.
    pub store: Option<Area>,
    /// The console ring of a domU.
    pub console: Option<Area>,
    /// The region's page tables, the L4 first.
    pub tables: Area,
    /// The kernel's first stack.
    pub stack: Area,
    /// Virtual address of the first instruction.
    pub entry: u64,
    /// How the P2M list is mapped.
    pub p2m_mapping: P2mMapping,
    /// Whether the P2M list is outside the region.
    pub p2m_apart: bool,
    /// The region's tables of levels 1 to 4 (`[0]` is level 1).
    pub region_runs: [Run; 4],
    /// The P2M list's own tables of levels 1 to 3.
    pub p2m_runs: [Run; 3],
    /// PFNs below this are in use at the start.
    pub used_pages: u64,
}

/// Hands out consecutive pages from VIRT_BASE on.
struct Cursor {
    base: u64,
    at: u64,
}

impl Cursor {
    /// `None` past 2^64 or [`MAX_REGION`].
    fn take(&mut self, pages: u64) -> Option<Area> {
        let va = self.at;
        self.at = va.checked_add(pages.checked_mul(PAGE)?)?;
        let offset = va.checked_sub(self.base)?;
        if self.at.checked_sub(self.base)? > MAX_REGION {
            return None;
        }
        Some(Area { va, pfn: Pfn(offset / PAGE), pages })
    }
}

impl Layout {
    /// Lays a domain out.
    ///
    /// # Errors
    /// Any [`LayoutError`].
    pub fn plan(kernel: &Kernel, want: &Request) -> Result<Self, LayoutError> {
        if want.nr_pages > MAX_PAGES {
            return Err(LayoutError::TooManyPages(want.nr_pages));
        }
        // Before any size is reckoned with: more than the domain has cannot be right.
        let (initrd_pages, kernel_pages) =
            (pages(want.initrd), pages(kernel.end.wrapping_sub(kernel.start)));
        let least = initrd_pages.saturating_add(kernel_pages);
        if least > want.nr_pages {
            return Err(LayoutError::Memory { needed: least, have: want.nr_pages });
        }
        let size = kernel.end.saturating_sub(kernel.virt_base);
        let forbidden = LayoutError::Forbidden { what: "kernel", from: kernel.virt_base, size };
        // The number of tables depends on the end of the region, which depends on their number.
        // One more table moves the end by a page and 512 pages need one more, so this settles.
        let mut tables = 4u64;
        let mut layout = loop {
            let layout = Self::place(kernel, want, tables).ok_or(forbidden)?;
            let needed = layout.region_table_count();
            if needed <= tables {
                break layout;
            }
            tables = needed;
        };
        layout.check_guest_part("kernel", layout.region)?;
        if layout.p2m_apart {
            layout.place_p2m_apart(kernel, want)?;
        }
        layout.assign_region_tables();
        layout.place_unmapped_initrd(kernel, want);
        if layout.used_pages > want.nr_pages {
            let needed = layout.used_pages;
            return Err(LayoutError::Memory { needed, have: want.nr_pages });
        }
        Ok(layout)
    }

    /// The region with room for `table_count` page tables.
    fn place(kernel: &Kernel, want: &Request, table_count: u64) -> Option<Self> {
        let mut cursor =
            Cursor { base: kernel.virt_base, at: kernel.start & !(PAGE.wrapping_sub(1)) };
        let kernel_pages = pages(kernel.end.checked_sub(cursor.at)?);
        let kernel_area = cursor.take(kernel_pages)?;
        let mapped = want.initrd > 0 && !kernel.mod_start_pfn;
        let initrd = if mapped { Some(cursor.take(pages(want.initrd))?) } else { None };
        let p2m_pages = pages(want.nr_pages.checked_mul(8)?);
        let p2m = match kernel.init_p2m {
            None => cursor.take(p2m_pages)?,
            Some(va) => Area { va, pfn: Pfn(0), pages: p2m_pages },
        };
        let start_info = cursor.take(1)?;
        let store = if want.rings { Some(cursor.take(1)?) } else { None };
        let console = if want.rings { Some(cursor.take(1)?) } else { None };
        let tables = cursor.take(table_count)?;
        let stack = cursor.take(1)?;
        let mut end = align_up(cursor.at, REGION_ALIGN)?;
        if end.wrapping_sub(cursor.at) < SLACK {
            end = end.checked_add(REGION_ALIGN)?;
        }
        let mut whole = Cursor { base: kernel.virt_base, at: kernel.virt_base };
        let region = whole.take(end.checked_sub(kernel.virt_base)? / PAGE)?;
        Some(Self {
            nr_pages: want.nr_pages,
            region,
            kernel: kernel_area,
            initrd,
            initrd_bytes: want.initrd,
            p2m,
            p2m_tables: Area::default(),
            start_info,
            store,
            console,
            tables,
            stack,
            entry: kernel.entry,
            p2m_mapping: want.p2m,
            p2m_apart: kernel.init_p2m.is_some(),
            region_runs: [Run::default(); 4],
            p2m_runs: [Run::default(); 3],
            used_pages: region.pages,
        })
    }

    fn region_table_count(&self) -> u64 {
        (1..=4).map(|level| span(self.region, level).count).sum()
    }

    fn assign_region_tables(&mut self) {
        let mut pfn = self.tables.pfn.0;
        let region = self.region;
        for (level, run) in (1u32..5).zip(self.region_runs.iter_mut()).rev() {
            *run = Run { pfn: Pfn(pfn), ..span(region, level) };
            pfn = pfn.wrapping_add(run.count);
        }
    }

    /// Gives PFNs to a P2M list outside the region, and to its tables where the region has none.
    fn place_p2m_apart(&mut self, kernel: &Kernel, want: &Request) -> Result<(), LayoutError> {
        self.check_guest_part("P2M list", self.p2m)?;
        if self.p2m.va < self.region.end() && self.region.va < self.p2m.end() {
            return Err(LayoutError::P2mOverlap { p2m: self.p2m.va, end: self.region.end() });
        }
        debug_assert!(kernel.init_p2m.is_some());
        self.p2m.pfn = Pfn(self.used_pages);
        self.used_pages = self.used_pages.saturating_add(self.p2m.pages);
        self.p2m_tables.pfn = Pfn(self.used_pages);
        if !self.p2m.va.is_multiple_of(SUPERPAGE) || want.p2m == P2mMapping::Small {
            self.p2m_mapping = P2mMapping::Small;
        }
        let small = self.small_p2m();
        let (region, p2m) = (self.region, self.p2m);
        for (level, run) in (1u32..4).zip(self.p2m_runs.iter_mut()).rev() {
            let covers = if level == 1 { small } else { p2m };
            *run = Run {
                pfn: Pfn(self.used_pages),
                ..minus(span(covers, level), span(region, level))
            };
            self.used_pages = self.used_pages.saturating_add(run.count);
        }
        self.p2m_tables.pages = self.used_pages.saturating_sub(self.p2m_tables.pfn.0);
        Ok(())
    }

    /// The part of a P2M list outside the region that is mapped by 4 KiB pages.
    pub(crate) fn small_p2m(&self) -> Area {
        let large = match self.p2m_mapping {
            P2mMapping::Small => 0,
            P2mMapping::Superpages => self.p2m.pages & !511,
        };
        Area {
            va: self.p2m.va.wrapping_add(large.wrapping_mul(PAGE)),
            pfn: Pfn(self.p2m.pfn.0.wrapping_add(large)),
            pages: self.p2m.pages.wrapping_sub(large),
        }
    }

    fn place_unmapped_initrd(&mut self, kernel: &Kernel, want: &Request) {
        if want.initrd > 0 && kernel.mod_start_pfn {
            let pages = pages(want.initrd);
            self.initrd = Some(Area { va: 0, pfn: Pfn(self.used_pages), pages });
            self.used_pages = self.used_pages.saturating_add(pages);
        }
    }

    /// Both halves of the address space but for L4 slots 256 to 271.
    fn check_guest_part(&self, what: &'static str, area: Area) -> Result<(), LayoutError> {
        const LOW_END: u64 = 1 << 47;
        const HIGH_START: u64 = 0xffff_8880_0000_0000;
        let size = area.pages.saturating_mul(PAGE);
        let low = area.va.checked_add(size).is_some_and(|end| end <= LOW_END);
        // The last page of all is left out, so that ends do not wrap.
        let high = area.va >= HIGH_START && area.va.checked_add(size).is_some();
        if low || high { Ok(()) } else { Err(LayoutError::Forbidden { what, from: area.va, size }) }
    }

    /// The PFN of the table of `level` (1 to 4) that maps `va`.
    #[must_use]
    pub fn table(&self, level: u32, va: u64) -> Option<Pfn> {
        let which = (va & VA_MASK).wrapping_shr(table_shift(level));
        let slot = level.wrapping_sub(1) as usize;
        let of_region = self.region_runs.get(slot).and_then(|run| run.get(which));
        of_region.or_else(|| self.p2m_runs.get(slot)?.get(which))
    }

    /// PFNs of the P2M list and the tables that only map it, as start_info tells them; (0, 0) for
    /// a list within the region.
    #[must_use]
    pub fn p2m_frames(&self) -> (Pfn, u64) {
        if self.p2m_apart {
            (self.p2m.pfn, self.p2m.pages.saturating_add(self.p2m_tables.pages))
        } else {
            (Pfn(0), 0)
        }
    }
}

/// The tables of `level` that mapping `area` takes.
fn span(area: Area, level: u32) -> Run {
    if area.pages == 0 {
        return Run::default();
    }
    let shift = table_shift(level);
    let first = (area.va & VA_MASK).wrapping_shr(shift);
    let last = (area.end().wrapping_sub(1) & VA_MASK).wrapping_shr(shift);
    Run { first, count: last.wrapping_sub(first).wrapping_add(1), pfn: Pfn(0) }
}

/// `run` without the tables of `other`; as their areas do not meet, at most its first or last.
fn minus(run: Run, other: Run) -> Run {
    let shares = |table: u64| table.checked_sub(other.first).is_some_and(|k| k < other.count);
    let mut rest = run;
    if rest.count > 0 && shares(rest.first) {
        rest.first = rest.first.wrapping_add(1);
        rest.count = rest.count.wrapping_sub(1);
    }
    if rest.count > 0 && shares(rest.first.wrapping_add(rest.count).wrapping_sub(1)) {
        rest.count = rest.count.wrapping_sub(1);
    }
    rest
}
