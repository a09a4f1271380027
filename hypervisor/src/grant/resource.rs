//! `XENMEM_acquire_resource` for grant tables: how tools get at a domain's table before it runs.

use super::memory::Part;
use crate::domain::{self, Domain};
use crate::hypercall::{Call, Caller, need_privilege};
use abi::memory::{
    AcquireResource, RESOURCE_GRANT_TABLE, RESOURCE_GRANT_TABLE_ID_SHARED,
    RESOURCE_GRANT_TABLE_ID_STATUS,
};
use abi::{DomId, Errno, Mfn};
use alloc::sync::Arc;
use grants::Version;
use grants::status::status_frames;
use machine::guest;

/// Says how large a resource is (without a list), or writes the frame numbers of a part of it.
///
/// # Errors
/// `EINVAL` for resources other than grant tables, which no domain has.
pub fn acquire_resource(caller: &Caller, at: u64) -> Call {
    let mut r: AcquireResource = guest::read(at)?;
    if r.pad != 0 {
        return Err(Errno::EINVAL.into());
    }
    // Of another domain, by its number.
    let d = domain::by_id(DomId(r.domid)).ok_or(Errno::ESRCH)?;
    if d.id == caller.domain.id {
        return Err(Errno::EPERM.into());
    }
    need_privilege(caller)?;
    if r.kind != RESOURCE_GRANT_TABLE {
        return Err(Errno::EINVAL.into());
    }
    let part = match r.id {
        RESOURCE_GRANT_TABLE_ID_SHARED => Part::Shared,
        RESOURCE_GRANT_TABLE_ID_STATUS => Part::Status,
        _ => return Err(Errno::EINVAL.into()),
    };
    let size = size(&d, part);
    if r.frame_list.is_null() {
        if r.nr_frames != 0 {
            return Err(Errno::EINVAL.into());
        }
        r.nr_frames = size;
        guest::write(at, &r)?;
        return Ok(0);
    }
    let end = r.frame.checked_add(u64::from(r.nr_frames)).ok_or(Errno::EINVAL)?;
    let end = u32::try_from(end).ok().filter(|&end| end <= size && r.nr_frames != 0);
    let end = end.ok_or(Errno::EINVAL)?;
    supply(&d, part, end)?;
    for (n, index) in (end.saturating_sub(r.nr_frames)..end).enumerate() {
        let mfn = frame(&d, part, index).ok_or(Errno::EINVAL)?;
        let place = r.frame_list.addr().wrapping_add((n as u64).wrapping_mul(8));
        guest::write(place, &mfn.0)?;
    }
    Ok(0)
}

/// How many frames there can be.
fn size(d: &Domain, part: Part) -> u32 {
    let (_, max) = d.grants.table().sizes();
    match part {
        Part::Shared => max,
        Part::Status => status_frames(max),
    }
}

/// Makes the table long enough.
fn supply(d: &Arc<Domain>, part: Part, frames: u32) -> Result<(), Errno> {
    match part {
        Part::Shared => d.grants.grow(d, frames),
        Part::Status if d.grants.table().version() == Version::V1 => Err(Errno::EINVAL),
        Part::Status => {
            let per_status_frame =
                grants::status::STATUS_PER_FRAME.wrapping_div(grants::status::V2_ENTRIES_PER_FRAME);
            let (_, max) = d.grants.table().sizes();
            let first_of_last = frames.saturating_sub(1).saturating_mul(per_status_frame);
            d.grants.grow(d, first_of_last.saturating_add(1).min(max))
        }
    }
}

fn frame(d: &Domain, part: Part, index: u32) -> Option<Mfn> {
    d.grants.table().memory().frame(part, index)
}
