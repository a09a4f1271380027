//! The frames of the machine-to-phys table, for tools that save domains and map it whole.

use super::{Call, Caller, Stop};
use crate::frames::{self, pages};
use abi::memory::MachphysMfnList;
use abi::{DomId, Errno, Mfn};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use machine::{guest, paging};
use pages::Access;

/// Pages of one extent of the list: 2 MiB.
const EXTENT_PAGES: u64 = 512;
/// Frames whose entries one extent holds, as a power of two.
const EXTENT_FRAMES_SHIFT: u32 = 18;
/// Extents made mappable in one go.
const BATCH: u64 = 16;

/// Extents that can be mapped read-only, as pages of [`DomId::XEN`].
static SHARED: AtomicU64 = AtomicU64::new(0);

/// `XENMEM_machphys_mfn_list`: the first frame of each 2 MiB of the table. Where it has a hole, the
/// extent before stands again, as Xen has it.
/// Xen tells any guest; here the call makes the pages mappable, and is for those who may map them.
pub fn machphys_mfn_list(caller: &Caller, arg: u64) -> Call {
    super::need_privilege(caller)?;
    let mut list: MachphysMfnList = guest::read(arg)?;
    let frames = super::memory::max_ram_page();
    let extents = frames.div_ceil(1u64.wrapping_shl(EXTENT_FRAMES_SHIFT));
    share(extents)?;
    let count = extents.min(u64::from(list.max_extents));
    let mut last = Mfn(0);
    for n in 0..count {
        last = paging::m2p_chunk(n).unwrap_or(last);
        guest::write(super::control::element(list.extent_start, n), &last.0)?;
    }
    list.nr_extents = u32::try_from(count).map_err(|_| Errno::EINVAL)?;
    guest::write(arg, &list)?;
    Ok(0)
}

/// Lends the table's pages to [`DomId::XEN`], once; they stay lent.
fn share(extents: u64) -> Result<(), Stop> {
    let first = SHARED.load(Relaxed);
    let end = extents.min(first.saturating_add(BATCH));
    for chunk in (first..end).filter_map(paging::m2p_chunk) {
        for k in 0..EXTENT_PAGES {
            let mfn = Mfn(chunk.0.wrapping_add(k));
            let owner = frames::frame(mfn).and_then(pages::Frame::owner);
            // Another CPU may be doing the same, and that is as good.
            if owner.is_none() && pages().share(mfn, DomId::XEN, Access::ReadOnly).is_err() {
                continue;
            }
        }
    }
    SHARED.fetch_max(end, Relaxed);
    if end < extents { Err(Stop::Again) } else { Ok(()) }
}
