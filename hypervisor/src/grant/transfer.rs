//! Giving pages away into a slot that the receiver offers.

use super::{each, raw};
use crate::domain::{self, Domain, Life};
use crate::frames::pages;
use crate::hypercall::{Caller, Stop};
use abi::grant_table::Transfer;
use abi::{DomId, GrantRef, Mfn};
use alloc::sync::Arc;
use grants::Status;
use machine::paging;

/// `GNTTABOP_transfer`, one operation.
pub fn operation(caller: &Caller, at: u64) -> Result<u64, Stop> {
    each(at, |op: &mut Transfer| {
        op.status = raw(&transfer(caller, Mfn(op.mfn), DomId(op.domid), GrantRef(op.gref)));
    })
}

/// A page that is refused stays its owner's (under Xen it is lost).
fn transfer(caller: &Caller, mfn: Mfn, to: DomId, gref: GrantRef) -> Result<(), Status> {
    let from = caller.domain;
    if pages().steal(mfn, from.id).is_err() {
        return Err(Status::BadPage);
    }
    from.page_gone(mfn);
    let given = give(from.id, mfn, to, gref);
    if given.is_err() && from.page_added(mfn).is_err() {
        crate::error!("BUG: frame {mfn:#x} of d{} was lost in a transfer", from.id);
    }
    given
}

/// Gives a page that is nobody's to the domain that offers a slot for it.
fn give(from: DomId, mfn: Mfn, to: DomId, gref: GrantRef) -> Result<(), Status> {
    let receiver = domain::by_id(to).ok_or(Status::BadDomain)?;
    if !has_room(&receiver) {
        return Err(Status::GeneralError);
    }
    let table = receiver.grants.table();
    if !table.transfer_fits(mfn) {
        return Err(Status::AddressTooBig);
    }
    let slot = table.commit_transfer(gref, from)?;
    // No CPU remembers the page for its former owner once it is assigned. That it is nobody's is
    // certain, so this does not fail; the slot is committed and must be filled in any case.
    if receiver.page_added(mfn).is_err() {
        crate::error!("BUG: frame {mfn:#x} was lost in a transfer to d{to}");
    }
    paging::set_m2p(mfn, slot.gfn.0);
    table.complete_transfer(slot, mfn);
    Ok(())
}

fn has_room(d: &Arc<Domain>) -> bool {
    let m = d.memory.lock();
    d.life() == Life::Alive && m.list.len() < m.max
}
