//! Unmapping grants.

use super::map::Near;
use crate::domain::Domain;
use crate::frames::pages;
use crate::hypercall::{Args, Call, Caller, Stop};
use abi::grant_table::{GrantStatus, UnmapAndReplace, UnmapGrantRef};
use abi::{GrantHandle, Mfn};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use grants::{Access, Claim, Status};
use machine::{guest, memory};
use pages::{Ctx, FlushBatch, Mode, Pte};

/// Operations whose flush is one.
const BATCH: usize = 32;
/// Size of either operation's argument, and where its status is.
const SIZE: u64 = 24;
const STATUS: u64 = 20;

/// Which of the two operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// `GNTTABOP_unmap_grant_ref`.
    Unmap,
    /// `GNTTABOP_unmap_and_replace`.
    Replace,
}

/// What one operation asks for.
struct Request {
    host_addr: u64,
    dev_bus_addr: u64,
    /// Whose mapping is to come in place of the grant's; 0 for none.
    new_addr: u64,
    handle: GrantHandle,
}

/// A mapping that is out of the page tables, and still in TLBs.
struct Ended {
    claim: Claim,
    gone: Access,
}

/// Those of one batch.
struct Batch {
    ended: [Option<Ended>; BATCH],
    flush: FlushBatch,
    near: Near,
}

impl Batch {
    fn new() -> Batch {
        Batch { ended: [const { None }; BATCH], flush: FlushBatch::NONE, near: Near::default() }
    }

    /// Flushes, and then gives the granters their pages back.
    fn complete(&mut self, d: &Arc<Domain>) {
        pages().complete(self.flush);
        for place in &mut self.ended {
            // They fill it from the start.
            let Some(Ended { claim, gone }) = place.take() else { return };
            end_use(d, claim, gone);
        }
    }
}

/// Unmaps one by one, with one flush for each batch of them. The call's arguments are moved on.
pub fn operations(caller: &Caller, a: &mut Args, sort: Sort) -> Call {
    let [_, mut at, mut left, ..] = *a.all();
    let mut batch = Batch::new();
    let mut result = Ok(0);
    let mut places = batch.ended.iter_mut();
    for _ in 0..BATCH {
        if left == 0 {
            break;
        }
        let outcome = match read(at, sort) {
            Ok(request) => unmap(caller, &request, &mut batch.near),
            Err(stop) => {
                result = Err(stop);
                break;
            }
        };
        let status = GrantStatus(Status::raw_of(&outcome));
        if let Ok((ended, flush)) = outcome {
            if let Some(place) = places.next() {
                *place = Some(ended);
            }
            batch.flush.merge(flush);
        }
        if let Err(bad) = guest::write(at.wrapping_add(STATUS), &status) {
            result = Err(bad.into());
            break;
        }
        at = at.wrapping_add(SIZE);
        left = left.wrapping_sub(1);
    }
    batch.complete(caller.domain);
    if result.is_ok() && left > 0 {
        a.set(1, at);
        a.set(2, left);
        return Err(Stop::Again);
    }
    result
}

fn read(at: u64, sort: Sort) -> Result<Request, Stop> {
    Ok(match sort {
        Sort::Unmap => {
            let op: UnmapGrantRef = guest::read(at)?;
            Request {
                host_addr: op.host_addr,
                dev_bus_addr: op.dev_bus_addr,
                new_addr: 0,
                handle: GrantHandle(op.handle),
            }
        }
        Sort::Replace => {
            let op: UnmapAndReplace = guest::read(at)?;
            Request {
                host_addr: op.host_addr,
                dev_bus_addr: 0,
                new_addr: op.new_addr,
                handle: GrantHandle(op.handle),
            }
        }
    })
}

/// Takes a mapping, or the part of it that is asked for, out of the page tables.
fn unmap(caller: &Caller, r: &Request, near: &mut Near) -> Result<(Ended, FlushBatch), Status> {
    let handles = &caller.domain.grants.handles;
    let claim = handles.claim(r.handle)?;
    let gone = claim.access.only(r.host_addr != 0, r.dev_bus_addr != 0);
    match take_out(caller, r, &claim, gone, near) {
        Ok(flush) => Ok((Ended { claim, gone }, flush)),
        Err(status) => {
            handles.abort(claim);
            Err(status)
        }
    }
}

fn take_out(
    caller: &Caller,
    r: &Request,
    claim: &Claim,
    gone: Access,
    near: &mut Near,
) -> Result<FlushBatch, Status> {
    let held = caller.domain.grants.handles.memory().held(claim.handle.0);
    let (mfn, by_entry) = held
        .and_then(|held| held.lock().as_ref().map(|h| (h.mfn, h.by_entry)))
        .ok_or(Status::BadHandle)?;
    if gone.device && r.dev_bus_addr != mfn.0 << abi::PAGE_SHIFT {
        return Err(Status::BadDevAddr);
    }
    if !gone.host {
        return Ok(FlushBatch::NONE);
    }
    let (table, index) = near.locate(caller.vcpu, r.host_addr, by_entry)?;
    let refused = |reason: pages::Reason| {
        crate::guest_debug!("d{}: unmapping a grant: {reason}", caller.domain.id);
        Status::GeneralError
    };
    let ctx = Ctx::own(caller.domain.id);
    if r.new_addr == 0 {
        return pages().replace_grant(ctx, table, index, mfn, 0).map_err(refused);
    }
    if by_entry {
        return Err(Status::GeneralError);
    }
    let (from, slot) = near.locate(caller.vcpu, r.new_addr, false)?;
    let new = entry_of(from, slot).ok_or(Status::GeneralError)?;
    let flush = pages().replace_grant(ctx, table, index, mfn, new).map_err(refused)?;
    // The mapping has moved rather than doubled. If the guest has changed it meanwhile, then
    // that is what it wants there.
    let _ = pages().update_l1(ctx, from, slot, 0, Mode::Normal);
    Ok(flush)
}

/// A table's entry, if it maps anything.
fn entry_of(table: Mfn, index: usize) -> Option<u64> {
    let entry = memory::page(table)?.get(index)?.load(Relaxed);
    Pte(entry).is_present().then_some(entry)
}

/// Ends the part `gone` of a mapping by `d`, which no CPU can be using any more.
pub(super) fn end_use(d: &Arc<Domain>, claim: Claim, gone: Access) {
    let handles = &d.grants.handles;
    if gone.is_none() {
        return handles.abort(claim);
    }
    let last = claim.access.without(gone).is_none();
    // Before the handle is free, as it may be somebody else's at once.
    let (granter, device) = match handles.memory().held(claim.handle.0) {
        None => (None, None),
        Some(place) => {
            let mut held = place.lock();
            let device = held.as_mut().filter(|_| gone.device).map(|h| h.take_device());
            let granter = if last {
                held.take().map(|h| h.granter)
            } else {
                held.as_ref().map(|h| h.granter.clone())
            };
            (granter, device)
        }
    };
    if let Some(device) = device {
        device.release();
    }
    if let Some(granter) = granter
        && let Err(lost) = granter.grants.table().unpin(claim.gref, gone)
    {
        crate::error!("BUG: d{}: {lost:?}", granter.id);
    }
    handles.finish(claim, gone);
}
