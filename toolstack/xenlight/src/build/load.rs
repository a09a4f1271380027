//! Kernel, ramdisk, P2M list, page tables and start_info, written into the domain's memory.
//!
//! All that is written is mapped in one piece. Zeros are not: the hypervisor clears whole pages itself, for
//! less than mapping them costs.

use abi::{Mfn, Pfn};
use builder::kernel::Sink;
use builder::layout::{Area, Layout};
use builder::tables::{self, TableError, TableMemory};
use sys::{Mapping, Protection, Xen};

use super::start::Place;
use super::{BuildError, Prepared};

const PAGE: u64 = sys::PAGE as u64;

/// Ranges of a domain's PFNs that are mapped one after the other.
struct Window {
    domid: u16,
    mapping: Mapping,
    /// First PFN, number of pages, and the offset in the mapping.
    ranges: Vec<(u64, u64, usize)>,
}

impl Window {
    /// Maps the pages that `ranges` (sorted, apart) are of.
    fn map(
        xen: &Xen,
        domid: u16,
        frames: &[u64],
        wanted: &[(u64, u64)],
    ) -> Result<Self, BuildError> {
        let total = wanted.iter().map(|(_, count)| index(*count)).sum();
        let mut list = Vec::with_capacity(total);
        let mut ranges = Vec::with_capacity(wanted.len());
        for (first, count) in wanted {
            let range = frames.get(index(*first)..index(first.saturating_add(*count)));
            let what = "what is to be written";
            let range = range.ok_or(BuildError::Inconsistent { domid, what, pfn: *first })?;
            ranges.push((*first, *count, list.len().saturating_mul(sys::PAGE)));
            list.extend_from_slice(range);
        }
        let what = "mapping its memory";
        let mapping = xen
            .map_foreign(domid, &list, Protection::ReadWrite)
            .map_err(|source| BuildError::Call { domid, what, source })?;
        Ok(Self { domid, mapping, ranges })
    }

    /// Where in the mapping an address is, and how many bytes follow it there.
    fn find(&self, address: u64) -> Option<(usize, u64)> {
        let pfn = address / PAGE;
        let (first, count, start) =
            self.ranges.iter().find(|(first, count, _)| pfn.wrapping_sub(*first) < *count)?;
        let within = address.wrapping_sub(first.wrapping_mul(PAGE));
        let left = count.wrapping_mul(PAGE).wrapping_sub(within);
        Some((start.saturating_add(index(within)), left))
    }

    fn lost(&self, address: u64) -> BuildError {
        let what = "something written";
        BuildError::Inconsistent { domid: self.domid, what, pfn: address / PAGE }
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BuildError> {
        // What follows the last page of a range need not be mapped.
        if bytes.is_empty() {
            return Ok(());
        }
        let found = self.find(address).filter(|(_, left)| bytes.len() as u64 <= *left);
        let done = found.is_some_and(|(offset, _)| self.mapping.write(offset, bytes));
        if done { Ok(()) } else { Err(self.lost(address)) }
    }

    fn zero(&self, address: u64, size: u64) -> Result<(), BuildError> {
        if size == 0 {
            return Ok(());
        }
        let found = self.find(address).filter(|(_, left)| size <= *left);
        let done = found.is_some_and(|(offset, _)| self.mapping.zero(offset, index(size)));
        if done { Ok(()) } else { Err(self.lost(address)) }
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// What loading a kernel touches, asked before it is done.
#[derive(Default)]
pub(super) struct Plan {
    /// Pages with bytes from the file or parts of zeros: first, count.
    pub(super) written: Vec<(u64, u64)>,
    /// Pages that are all zero.
    pub(super) cleared: Vec<(u64, u64)>,
}

impl Plan {
    fn add(list: &mut Vec<(u64, u64)>, first: u64, end: u64) {
        if end <= first {
            return;
        }
        match list.last_mut() {
            // Segments may share a page.
            Some((f, c)) if first >= *f && first <= f.saturating_add(*c) => {
                *c = (*c).max(end.saturating_sub(*f));
            }
            _ => list.push((first, end.saturating_sub(first))),
        }
    }

    /// Sorts, joins, and leaves no page in both lists.
    pub(super) fn settle(&mut self) {
        let mut joined = Vec::with_capacity(self.written.len());
        self.written.sort_unstable();
        for (first, count) in self.written.drain(..) {
            Self::add(&mut joined, first, first.saturating_add(count));
        }
        self.written = joined;
    }
}

impl Sink for Plan {
    type Error = std::convert::Infallible;

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Self::Error> {
        if !bytes.is_empty() {
            let end = address.saturating_add(bytes.len() as u64);
            Self::add(&mut self.written, address / PAGE, end.div_ceil(PAGE));
        }
        Ok(())
    }

    fn zero(&mut self, address: u64, size: u64) -> Result<(), Self::Error> {
        let end = address.saturating_add(size);
        let (first, last) = (address.div_ceil(PAGE), end / PAGE);
        if first >= last {
            Self::add(&mut self.written, address / PAGE, end.div_ceil(PAGE));
        } else {
            Self::add(&mut self.written, address / PAGE, first);
            Self::add(&mut self.cleared, first, last);
            Self::add(&mut self.written, last, end.div_ceil(PAGE));
        }
        Ok(())
    }
}

/// Writes segments, and those zeros that are not whole pages.
struct Writer<'a>(&'a Window);

impl Sink for Writer<'_> {
    type Error = BuildError;

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), BuildError> {
        if bytes.is_empty() { Ok(()) } else { self.0.write(address, bytes) }
    }

    fn zero(&mut self, address: u64, size: u64) -> Result<(), BuildError> {
        let end = address.saturating_add(size);
        let (first, last) = (address.next_multiple_of(PAGE), end / PAGE * PAGE);
        if first >= last {
            // At most two pages, which the plan has as written.
            let middle = first.min(end);
            self.part(address, middle)?;
            return self.part(middle, end);
        }
        self.part(address, first)?;
        self.part(last, end)
    }
}

impl Writer<'_> {
    fn part(&self, from: u64, to: u64) -> Result<(), BuildError> {
        if from < to { self.0.zero(from, to.saturating_sub(from)) } else { Ok(()) }
    }
}

/// Page tables in this process's memory.
struct Tables<'a> {
    frames: &'a [u64],
    areas: [(Area, Vec<u64>); 2],
}

impl<'a> Tables<'a> {
    fn new(layout: &Layout, frames: &'a [u64]) -> Self {
        let area = |a: Area| (a, vec![0u64; index(a.pages.saturating_mul(512))]);
        Self { frames, areas: [area(layout.tables), area(layout.p2m_tables)] }
    }

    fn write(&self, window: &Window) -> Result<(), BuildError> {
        for (area, words) in &self.areas {
            if !words.is_empty() {
                let bytes: &[u8] = zerocopy::IntoBytes::as_bytes(words.as_slice());
                window.write(area.pfn.0.saturating_mul(PAGE), bytes)?;
            }
        }
        Ok(())
    }
}

impl TableMemory for Tables<'_> {
    type Error = std::convert::Infallible;

    fn mfn(&self, pfn: Pfn) -> Option<Mfn> {
        self.frames.get(index(pfn.0)).map(|f| Mfn(*f))
    }

    fn clear(&mut self, _: Pfn) -> Result<(), Self::Error> {
        // Made of zeros.
        Ok(())
    }

    fn write_pte(&mut self, table: Pfn, at: u16, value: u64) -> Result<(), Self::Error> {
        for (area, words) in &mut self.areas {
            let page = table.0.wrapping_sub(area.pfn.0);
            if page < area.pages
                && let Some(word) = words.get_mut(index(page.wrapping_mul(512)) + usize::from(at))
            {
                *word = value;
            }
        }
        Ok(())
    }
}

/// Writes everything that the domain finds in its memory.
pub(super) fn load(
    prepared: &Prepared,
    xen: &Xen,
    domid: u16,
    frames: &[u64],
    place: &Place,
    shared_info: u64,
) -> Result<(), BuildError> {
    let layout = &prepared.layout;
    let elf = prepared.image.elf()?;
    let mut plan = Plan::default();
    match prepared.kernel.load(&elf, &mut plan) {
        Ok(()) => {}
        Err(never) => match never {},
    }
    let start = layout.start_info;
    let after = [layout.p2m, start, layout.tables, layout.p2m_tables];
    for area in after.into_iter().chain(layout.initrd) {
        plan.written.push((area.pfn.0, area.pages));
    }
    plan.settle();
    for area in layout.store.into_iter().chain(layout.console) {
        plan.cleared.push((area.pfn.0, area.pages));
    }
    clear(xen, domid, frames, &plan)?;
    let window = Window::map(xen, domid, frames, &plan.written)?;
    prepared.kernel.load(&elf, &mut Writer(&window))?;
    load_ramdisk(prepared, &window)?;
    write_p2m(layout, frames, &window)?;
    let mut tables = Tables::new(layout, frames);
    tables::build(layout, &mut tables).map_err(|e| tables_failed(domid, &e))?;
    tables.write(&window)?;
    let page = place.start_info(prepared, shared_info)?;
    let at = start.pfn.0.saturating_mul(PAGE);
    window.write(at, &page)?;
    let rest = PAGE.saturating_sub(page.len() as u64);
    window.zero(at.saturating_add(page.len() as u64), rest)?;
    let gfn = hypercall_page(prepared, domid, frames)?;
    drop(window);
    match gfn {
        Some(gfn) => xen.hypercall_init(domid, gfn).map_err(|source| {
            let what = "filling its hypercall page";
            BuildError::Call { domid, what, source }
        }),
        None => Ok(()),
    }
}

fn tables_failed(domid: u16, error: &TableError<std::convert::Infallible>) -> BuildError {
    let pfn = match error {
        TableError::NoFrame(pfn) | TableError::NotContiguous(pfn) => pfn.0,
        TableError::NoTable(va) => *va,
        TableError::Memory(never) => match *never {},
    };
    BuildError::Inconsistent { domid, what: "a page table", pfn }
}

/// Lets the hypervisor zero pages, but for those that are written anyway.
fn clear(xen: &Xen, domid: u16, frames: &[u64], plan: &Plan) -> Result<(), BuildError> {
    let written = |pfn: u64| {
        let at = plan.written.partition_point(|(first, _)| *first <= pfn);
        at.checked_sub(1)
            .and_then(|n| plan.written.get(n))
            .is_some_and(|(first, count)| pfn.wrapping_sub(*first) < *count)
    };
    let mut list = Vec::new();
    for (first, count) in &plan.cleared {
        for pfn in *first..first.saturating_add(*count) {
            let what = "a zeroed page";
            let frame = frames.get(index(pfn));
            let frame = frame.ok_or(BuildError::Inconsistent { domid, what, pfn })?;
            if !written(pfn) {
                list.push(*frame);
            }
        }
    }
    let what = "clearing its memory";
    xen.clear_pages(domid, &list).map_err(|source| BuildError::Call { domid, what, source })
}

fn load_ramdisk(prepared: &Prepared, window: &Window) -> Result<(), BuildError> {
    let (Some(ramdisk), Some(area)) = (&prepared.ramdisk, prepared.layout.initrd) else {
        return Ok(());
    };
    let address = area.pfn.0.saturating_mul(PAGE);
    let size = ramdisk.size();
    let found = window.find(address).filter(|(_, left)| size <= *left);
    let (offset, _) = found.ok_or_else(|| window.lost(address))?;
    let reading = window.mapping.read_file(offset, index(size), ramdisk.file(), 0);
    reading.map_err(|source| ramdisk.failed(source))?;
    let end = area.pages.saturating_mul(PAGE).saturating_sub(size);
    window.zero(address.saturating_add(size), end)
}

/// The P2M list: the frame of each PFN, all ones up to the end of its last page.
fn write_p2m(layout: &Layout, frames: &[u64], window: &Window) -> Result<(), BuildError> {
    let at = layout.p2m.pfn.0.saturating_mul(PAGE);
    let bytes: &[u8] = zerocopy::IntoBytes::as_bytes(frames);
    window.write(at, bytes)?;
    let size = bytes.len() as u64;
    let rest = layout.p2m.pages.saturating_mul(PAGE).saturating_sub(size);
    window.write(at.saturating_add(size), &vec![0xff; index(rest)])
}

/// The machine frame of the kernel's hypercall page, if it wants one.
fn hypercall_page(
    prepared: &Prepared,
    domid: u16,
    frames: &[u64],
) -> Result<Option<u64>, BuildError> {
    let Some(address) = prepared.kernel.hypercall_page else { return Ok(None) };
    let pfn = address.wrapping_sub(prepared.kernel.virt_base) / PAGE;
    let what = "the hypercall page";
    let frame = frames.get(index(pfn)).ok_or(BuildError::Inconsistent { domid, what, pfn })?;
    Ok(Some(*frame))
}
