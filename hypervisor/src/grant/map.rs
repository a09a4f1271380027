//! Mapping grants.

use super::memory::{DeviceHold, Held};
use super::{each, raw, resolve};
use crate::domain;
use crate::frames::pages;
use crate::hypercall::{Caller, Stop};
use crate::vcpu::Vcpu;
use abi::grant_table::MapGrantRef;
use abi::{DomId, GrantHandle, GrantRef, Mfn};
use grants::status::gntmap;
use grants::{Access, Status};
use pages::{Budget, Ctx, Kind, PageRef, Pte};

/// `GNTTABOP_map_grant_ref`, one operation.
pub fn operation(caller: &Caller, at: u64) -> Result<u64, Stop> {
    each(at, |op: &mut MapGrantRef| {
        let outcome = map(caller, op);
        op.status = raw(&outcome);
        if let Ok((handle, mfn)) = outcome {
            op.handle = handle.0;
            op.dev_bus_addr = mfn.0 << abi::PAGE_SHIFT;
        }
    })
}

fn map(caller: &Caller, op: &MapGrantRef) -> Result<(GrantHandle, Mfn), Status> {
    let access = Access::from_flags(op.flags)?;
    let granter = domain::by_id(DomId(op.dom)).ok_or(Status::BadDomain)?;
    let handles = &caller.domain.grants.handles;
    let slot = caller.domain.grants.reserve()?;
    let (mfn, device) = match pin(caller, &granter, op, access) {
        Ok(done) => done,
        Err(status) => {
            handles.cancel(slot);
            return Err(status);
        }
    };
    let by_entry = op.flags & gntmap::CONTAINS_PTE != 0;
    let (domid, gref) = (granter.id, GrantRef(op.gref));
    let held = Held { granter, by_entry, device };
    // The handle's number is known only when it is live. Who unmaps it before it holds anything
    // gets told that it is a bad one: see `unmap`.
    let handle = handles.commit(slot, domid, gref, access);
    if let Some(place) = handles.memory().held(handle.0) {
        *place.lock() = Some(held);
    }
    Ok((handle, mfn))
}

/// Pins the grant, and installs it where it is wanted.
fn pin(
    caller: &Caller,
    granter: &domain::Domain,
    op: &MapGrantRef,
    access: Access,
) -> Result<(Mfn, DeviceHold), Status> {
    let table = granter.grants.table();
    let gref = GrantRef(op.gref);
    let mapped = table.map(gref, caller.domain.id, access, |t| resolve(granter.id, t))?;
    let mfn = mapped.mfn;
    let outcome = hold(mapped.hold, access).and_then(|held| {
        match install(caller, granter.id, op, access, mfn) {
            Ok(()) if access.device => Ok((mfn, held)),
            // The page-table entry has its own.
            Ok(()) => {
                held.release();
                Ok((mfn, DeviceHold::None))
            }
            Err(status) => {
                held.release();
                Err(status)
            }
        }
    });
    if outcome.is_err()
        && let Err(lost) = table.unpin(gref, access)
    {
        crate::error!("BUG: d{}: {lost:?}", granter.id);
    }
    outcome
}

/// The reference that devices need, made of the one that found the page.
fn hold(page: PageRef, access: Access) -> Result<DeviceHold, Status> {
    if access.device && !access.readonly {
        writable(page).map(DeviceHold::Writable)
    } else {
        Ok(DeviceHold::Page(page))
    }
}

/// Makes a reference one for writing.
pub(super) fn writable(page: PageRef) -> Result<pages::TypedRef, Status> {
    pages().upgrade(page, Kind::Writable, &mut Budget::unlimited()).map_err(|(_, page)| {
        pages().put(page);
        Status::GeneralError
    })
}

fn install(
    caller: &Caller,
    granter: DomId,
    op: &MapGrantRef,
    access: Access,
    mfn: Mfn,
) -> Result<(), Status> {
    if !access.host {
        return Ok(());
    }
    let by_entry = op.flags & gntmap::CONTAINS_PTE != 0;
    let (table, index) = locate(caller.vcpu, op.host_addr, by_entry)?;
    let ctx = Ctx { table_owner: caller.domain.id, frame_owner: granter };
    pages().install_grant(ctx, table, index, entry(mfn, op.flags)).map_err(|reason| {
        crate::guest_debug!("d{}: grant {} of d{granter}: {reason}", caller.domain.id, op.gref);
        Status::GeneralError
    })
}

/// The page-table entry that a map request asks for.
///
/// The granter's wish for cache attributes counts for I/O memory alone, which is not granted.
fn entry(mfn: Mfn, flags: u32) -> u64 {
    let when = |wanted: bool, bit: u64| if wanted { bit } else { 0 };
    let bits = Pte::PRESENT
        | Pte::ACCESSED_DIRTY
        | Pte::NO_EXECUTE
        | when(flags & gntmap::READONLY == 0, Pte::WRITABLE)
        | when(flags & gntmap::APPLICATION_MAP != 0, Pte::USER)
        // Three of a level 1 entry's software bits are the guest's to choose.
        | u64::from(flags >> gntmap::GUEST_AVAIL_SHIFT & 7) << 9;
    Pte::new(mfn, bits).0
}

/// The level 1 table and index that a request speaks of: by the entry's machine address, or by
/// the virtual address that it maps in the running tables.
pub(super) fn locate(v: &Vcpu, address: u64, by_entry: bool) -> Result<(Mfn, usize), Status> {
    if by_entry {
        if address & 7 != 0 {
            return Err(Status::GeneralError);
        }
        return Ok((Mfn(address >> abi::PAGE_SHIFT), (address >> 3 & 511) as usize));
    }
    if !machine::hot::guest_range(address, 1) {
        return Err(Status::GeneralError);
    }
    crate::mmu::find_l1(v, address).ok_or(Status::GeneralError)
}
