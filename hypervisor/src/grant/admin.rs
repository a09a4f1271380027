//! Operations on a table as a whole.

use super::memory::Part;
use super::{each, raw, whose};
use crate::domain::Domain;
use crate::hypercall::{Caller, Stop};
use abi::grant_table::{
    GetStatusFrames, GetVersion, QuerySize, SetVersion, SetupTable, SwapGrantRef,
};
use abi::{Errno, GrantRef};
use alloc::sync::Arc;
use grants::{Status, Version};
use machine::guest;

/// Frames that a table has as soon as anybody asks.
const INITIAL_FRAMES: u32 = 1;

/// `GNTTABOP_setup_table`: makes the table as long as wanted, and says which frames it has.
pub fn setup_table(caller: &Caller, at: u64) -> Result<(), Stop> {
    let mut op: SetupTable = guest::read(at)?;
    let outcome = whose(caller, op.dom).and_then(|d| {
        grow(&d, op.nr_frames)?;
        write_frames(&d, Part::Shared, op.nr_frames, op.frame_list.addr())
    });
    op.status = raw(&outcome);
    Ok(guest::write(at, &op)?)
}

fn grow(d: &Arc<Domain>, frames: u32) -> Result<(), Status> {
    d.grants.grow(d, frames.max(INITIAL_FRAMES)).map_err(|e| {
        crate::guest_debug!("d{}: no {frames} grant frames: {e:?}", d.id);
        Status::GeneralError
    })
}

/// Writes the numbers of a table's first frames.
fn write_frames(d: &Domain, part: Part, count: u32, list: u64) -> Result<(), Status> {
    let table = d.grants.table();
    for index in 0..count {
        let mfn = table.memory().frame(part, index).ok_or(Status::GeneralError)?;
        let at = list.wrapping_add(u64::from(index).wrapping_mul(8));
        guest::write(at, &mfn.0).map_err(|_| Status::BadVirtAddr)?;
    }
    Ok(())
}

/// `GNTTABOP_query_size`.
pub fn query_size(caller: &Caller, at: u64) -> Result<(), Stop> {
    let mut op: QuerySize = guest::read(at)?;
    let outcome = whose(caller, op.dom).map(|d| {
        let (frames, max) = d.grants.table().sizes();
        (op.nr_frames, op.max_nr_frames) = (frames.max(INITIAL_FRAMES.min(max)), max);
    });
    op.status = raw(&outcome);
    Ok(guest::write(at, &op)?)
}

/// `GNTTABOP_set_version`: fails as a call, and tells the version in effect in any case.
pub fn set_version(caller: &Caller, at: u64) -> Result<(), Stop> {
    let mut op: SetVersion = guest::read(at)?;
    let state = &caller.domain.grants;
    let wanted = Version::from_raw(op.version).ok_or(Errno::EINVAL)?;
    let outcome = if op.version > state.max_version {
        Err(Errno::ENOSYS)
    } else {
        state.set_version(caller.domain, wanted)
    };
    op.version = state.table().version().to_raw();
    guest::write(at, &op)?;
    Ok(outcome?)
}

/// `GNTTABOP_get_status_frames`.
pub fn get_status_frames(caller: &Caller, at: u64) -> Result<(), Stop> {
    let mut op: GetStatusFrames = guest::read(at)?;
    let outcome = whose(caller, op.dom).and_then(|d| {
        d.grants.table().check_status_frames(op.nr_frames)?;
        write_frames(&d, Part::Status, op.nr_frames, op.frame_list.addr())
    });
    op.status = raw(&outcome);
    Ok(guest::write(at, &op)?)
}

/// `GNTTABOP_get_version`.
pub fn get_version(caller: &Caller, at: u64) -> Result<(), Stop> {
    let mut op: GetVersion = guest::read(at)?;
    let d = crate::hypercall::target(caller, op.dom)?;
    op.version = d.grants.table().version().to_raw();
    Ok(guest::write(at, &op)?)
}

/// `GNTTABOP_swap_grant_ref`, one operation.
pub fn swap(caller: &Caller, at: u64) -> Result<u64, Stop> {
    each(at, |op: &mut SwapGrantRef| {
        let table = caller.domain.grants.table();
        op.status = raw(&table.swap(GrantRef(op.ref_a), GrantRef(op.ref_b)));
    })
}
