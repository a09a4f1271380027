//! A domain's memory: claimed, then given in extents as large as there are.

use sys::{Errno, ReservationFlags, Xen};

use super::BuildError;

/// log2 of the pages of a large extent: 2 MiB.
const LARGE: u32 = 9;
const LARGE_PAGES: u64 = 1 << LARGE;

/// Gives a domain `pages` of memory, PFN 0 up; the machine frame of each.
pub(super) fn give(xen: &Xen, domid: u16, pages: u64, claim: bool) -> Result<Vec<u64>, BuildError> {
    if claim {
        xen.claim_pages(domid, pages).map_err(|source| match source.errno() {
            Some(Errno::NOMEM) => lacking(xen, domid, pages, Some(source)),
            _ => BuildError::Call { domid, what: "claiming its memory", source },
        })?;
    }
    let frames = populate(xen, domid, pages)?;
    if claim {
        let what = "giving back what is left of its claim";
        xen.claim_pages(domid, 0).map_err(|source| BuildError::Call { domid, what, source })?;
    }
    Ok(frames)
}

fn populate(xen: &Xen, domid: u16, pages: u64) -> Result<Vec<u64>, BuildError> {
    let what = "giving it memory";
    let failed = |source| BuildError::Call { domid, what, source };
    let flags = ReservationFlags::default();
    let mut frames = Vec::with_capacity(usize::try_from(pages).unwrap_or(0));
    let large: Vec<u64> = (0..pages / LARGE_PAGES).map(|n| n.wrapping_mul(LARGE_PAGES)).collect();
    if !large.is_empty() {
        for first in xen.populate_physmap(domid, &large, LARGE, flags).map_err(failed)? {
            frames.extend(first..first.saturating_add(LARGE_PAGES));
        }
    }
    // What there was no large extent for comes in single pages.
    let rest: Vec<u64> = (frames.len() as u64..pages).collect();
    if !rest.is_empty() {
        frames.extend(xen.populate_physmap(domid, &rest, 0, flags).map_err(failed)?);
    }
    if (frames.len() as u64) < pages {
        return Err(lacking(xen, domid, pages, None));
    }
    Ok(frames)
}

fn lacking(xen: &Xen, domid: u16, pages: u64, source: Option<sys::Error>) -> BuildError {
    let free = xen.physinfo().ok();
    let free_mib = free.map(|p| p.free_pages.saturating_sub(p.outstanding_pages) >> 8);
    BuildError::NoMemory { domid, wanted_mib: pages >> 8, free_mib, source }
}
