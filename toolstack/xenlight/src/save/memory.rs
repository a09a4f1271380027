//! The pages of a suspended PV guest, as PAGE_DATA records.

use std::io::Write;

use sys::{Protection, Xen};
use xen_stream::libxc::{PageData, PageEntry, PageKind, Record};
use xen_stream::{Output, PAGE};

use super::p2m::Frames;
use super::progress::Progress;
use super::{Error, tables};

/// Pages in one record. Xen's restore takes no more.
const BATCH: usize = 1024;

/// Writes all pages, in records from number `index` on; the number after the last.
pub(super) fn write<W: Write>(
    xen: &Xen,
    domid: u16,
    frames: &Frames,
    output: &mut Output<W>,
    mut index: u64,
    progress: &mut dyn Progress,
) -> Result<u64, Error> {
    let total = frames.p2m.pfns();
    let mut pages = PageData::default();
    let mut pfns = (0..total).filter_map(|pfn| Some((pfn, frames.mfn(pfn)?)));
    loop {
        let batch: Vec<(u64, u64)> = pfns.by_ref().take(BATCH).collect();
        let Some((last, _)) = batch.last().copied() else { break };
        pages.clear();
        gather(xen, domid, frames, &batch, &mut pages)?;
        Record::PageData(std::mem::take(&mut pages)).write(output, index)?;
        index += 1;
        progress.pages(last + 1, total);
    }
    progress.pages(total, total);
    Ok(index)
}

fn gather(
    xen: &Xen,
    domid: u16,
    frames: &Frames,
    batch: &[(u64, u64)],
    pages: &mut PageData,
) -> Result<(), Error> {
    let mfns: Vec<u64> = batch.iter().map(|(_, mfn)| *mfn).collect();
    let types = xen.page_types(domid, &mfns)?;
    let kinds = types.iter().map(|kind| PageKind::from_frame_info(u64::from(kind.0)));
    let kinds: Vec<PageKind> = kinds.map(|kind| kind.unwrap_or(PageKind::INVALID)).collect();
    let wanted: Vec<u64> = mfns
        .iter()
        .zip(&kinds)
        .filter(|(_, kind)| kind.has_content())
        .map(|(mfn, _)| *mfn)
        .collect();
    let mapping = match wanted.is_empty() {
        true => None,
        false => Some(xen.map_foreign(domid, &wanted, Protection::Read)?),
    };
    let mut place = 0;
    let mut page = [0; PAGE];
    for ((pfn, _), kind) in batch.iter().zip(kinds) {
        let entry = PageEntry { pfn: *pfn, kind };
        let Some(mapping) = mapping.as_ref().filter(|_| kind.has_content()) else {
            pages.push_empty(entry);
            continue;
        };
        // There is a page of the mapping for each that has content.
        let _ = mapping.read(place * PAGE, &mut page);
        place += 1;
        if let Some(level) = kind.table_level() {
            let mut words = tables::words(&page);
            tables::translate(&mut words, level, |mfn| frames.pfn(mfn)).map_err(|bad| {
                Error::Table { pfn: *pfn, level, index: bad.index, entry: bad.entry }
            })?;
            page = tables::page(&words);
        }
        pages.push(entry, &page);
    }
    Ok(())
}
