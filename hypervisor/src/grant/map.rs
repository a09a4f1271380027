//! Mapping grants.

use super::memory::{DeviceHold, Held};
use super::{batch, each, raw, resolve};
use crate::domain::{self, Domain};
use crate::frames::pages;
use crate::hypercall::{Args, Call, Caller, Stop};
use crate::vcpu::Vcpu;
use abi::grant_table::MapGrantRef;
use abi::{DomId, GrantHandle, GrantRef, Mfn};
use alloc::sync::Arc;
use grants::status::gntmap;
use grants::{Access, Status};
use pages::{Budget, Ctx, Kind, PageRef, Pte};

/// What one operation of a batch leaves to the next, which mostly is about a neighbour: hints that
/// save looking up the same again.
#[derive(Default)]
struct Last {
    granter: Option<Arc<Domain>>,
    near: Near,
}

impl Last {
    fn granter(&mut self, id: DomId) -> Result<&Arc<Domain>, Status> {
        if self.granter.as_ref().is_none_or(|d| d.id != id) {
            self.granter = domain::by_id(id);
        }
        self.granter.as_ref().ok_or(Status::BadDomain)
    }
}

/// `GNTTABOP_map_grant_ref`.
pub fn operations(caller: &Caller, a: &mut Args) -> Call {
    let mut last = Last::default();
    batch(a, |at| operation(caller, at, &mut last))
}

fn operation(caller: &Caller, at: u64, last: &mut Last) -> Result<u64, Stop> {
    each(at, |op: &mut MapGrantRef| {
        let outcome = map(caller, op, last);
        op.status = raw(&outcome);
        if let Ok((handle, mfn)) = outcome {
            op.handle = handle.0;
            op.dev_bus_addr = mfn.0 << abi::PAGE_SHIFT;
        }
    })
}

fn map(caller: &Caller, op: &MapGrantRef, last: &mut Last) -> Result<(GrantHandle, Mfn), Status> {
    let access = Access::from_flags(op.flags)?;
    let granter = last.granter(DomId(op.dom))?.clone();
    let handles = &caller.domain.grants.handles;
    let slot = caller.domain.grants.reserve()?;
    let (mfn, device) = match pin(caller, &granter, op, access, &mut last.near) {
        Ok(done) => done,
        Err(status) => {
            handles.cancel(slot);
            return Err(status);
        }
    };
    let by_entry = op.flags & gntmap::CONTAINS_PTE != 0;
    let (domid, gref) = (granter.id, GrantRef(op.gref));
    let held = Held { granter, mfn, by_entry, device };
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
    granter: &Domain,
    op: &MapGrantRef,
    access: Access,
    near: &mut Near,
) -> Result<(Mfn, DeviceHold), Status> {
    let table = granter.grants.table();
    let gref = GrantRef(op.gref);
    let mapped = table.map(gref, caller.domain.id, access, |t| resolve(granter.id, t))?;
    let mfn = mapped.mfn;
    let outcome = give_out(caller, granter.id, op, access, mapped.hold, near);
    if outcome.is_err()
        && let Err(lost) = table.unpin(gref, access)
    {
        crate::error!("BUG: d{}: {lost:?}", granter.id);
    }
    outcome.map(|held| (mfn, held))
}

/// Gives the reference that found the page to whom it is for: the page-table entry, devices, or
/// one each.
fn give_out(
    caller: &Caller,
    granter: DomId,
    op: &MapGrantRef,
    access: Access,
    page: PageRef,
    near: &mut Near,
) -> Result<DeviceHold, Status> {
    if !access.device {
        return install(caller, granter, op, page, near).map(|()| DeviceHold::None);
    }
    let mfn = page.mfn();
    let held = hold(page, access)?;
    if access.host {
        let second = pages().get(mfn, granter).ok_or(Status::BadPage);
        let installed = second.and_then(|page| install(caller, granter, op, page, near));
        if let Err(status) = installed {
            held.release();
            return Err(status);
        }
    }
    Ok(held)
}

/// The reference that devices need, made of one to the page.
fn hold(page: PageRef, access: Access) -> Result<DeviceHold, Status> {
    if access.readonly {
        Ok(DeviceHold::Page(page))
    } else {
        writable(page).map(DeviceHold::Writable)
    }
}

/// Makes a reference one for writing.
pub(super) fn writable(page: PageRef) -> Result<pages::TypedRef, Status> {
    pages().upgrade(page, Kind::Writable, &mut Budget::unlimited()).map_err(|(_, page)| {
        pages().put(page);
        Status::GeneralError
    })
}

/// Maps the page for CPUs; the entry takes the reference over.
fn install(
    caller: &Caller,
    granter: DomId,
    op: &MapGrantRef,
    page: PageRef,
    near: &mut Near,
) -> Result<(), Status> {
    let by_entry = op.flags & gntmap::CONTAINS_PTE != 0;
    let (table, index) = match near.locate(caller.vcpu, op.host_addr, by_entry) {
        Ok(found) => found,
        Err(status) => {
            pages().put(page);
            return Err(status);
        }
    };
    let ctx = Ctx { table_owner: caller.domain.id, frame_owner: granter };
    let entry = entry(page.mfn(), op.flags);
    pages().install_grant(ctx, table, index, entry, page).map_err(|(reason, page)| {
        pages().put(page);
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

/// The level 1 table that the last operation of a batch was about, and the 2 MiB that it maps.
///
/// Only a hint. Should the guest change its tables meanwhile, then an operation takes effect where
/// it would have a moment earlier: the page rules see to it that it is a table of the guest's.
#[derive(Default)]
pub(super) struct Near(Option<(u64, Mfn)>);

const REGION_SHIFT: u32 = 21;

impl Near {
    /// The level 1 table and index that a request speaks of: by the entry's machine address, or
    /// by the virtual address that it maps in the running tables.
    pub(super) fn locate(
        &mut self,
        v: &Vcpu,
        address: u64,
        by_entry: bool,
    ) -> Result<(Mfn, usize), Status> {
        if by_entry {
            if address & 7 != 0 {
                return Err(Status::GeneralError);
            }
            return Ok((Mfn(address >> abi::PAGE_SHIFT), (address >> 3 & 511) as usize));
        }
        let region = address >> REGION_SHIFT;
        if let Some((_, table)) = self.0.filter(|&(known, _)| known == region) {
            return Ok((table, (address >> abi::PAGE_SHIFT & 511) as usize));
        }
        if !machine::hot::guest_range(address, 1) {
            return Err(Status::GeneralError);
        }
        let (table, index) = crate::mmu::find_l1(v, address).ok_or(Status::GeneralError)?;
        self.0 = Some((region, table));
        Ok((table, index))
    }
}
