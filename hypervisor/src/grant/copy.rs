//! Copies between a domain's pages and what it is granted.

use super::map::writable;
use super::resolve;
use crate::domain::{self, Domain};
use crate::frames::pages;
use crate::hypercall::{Caller, Stop};
use abi::grant_table::{self, GrantStatus};
use abi::{DomId, GrantRef, Mfn};
use alloc::sync::Arc;
use grants::copy::OWN_WINDOW;
use grants::{CopyOp, CopyPin, CopyPtr, Direct, Operand, Status, Transit};
use machine::{guest, memory};
use pages::{Budget, PageRef, TypedRef};

/// Where an operation's status is, and its size.
const STATUS: u64 = 36;
const SIZE: u64 = 40;

/// `GNTTABOP_copy`, one operation.
pub fn operation(caller: &Caller, at: u64) -> Result<u64, Stop> {
    let op: grant_table::Copy = guest::read(at)?;
    let outcome = copy(caller, &op);
    guest::write(at.wrapping_add(STATUS), &GrantStatus(Status::raw_of(&outcome)))?;
    Ok(SIZE)
}

fn copy(caller: &Caller, op: &grant_table::Copy) -> Result<(), Status> {
    let side =
        |s: &grant_table::CopyPtr| CopyPtr { value: s.u, domid: DomId(s.domid), offset: s.offset };
    let op =
        CopyOp { source: side(&op.source), dest: side(&op.dest), len: op.len, flags: op.flags };
    let (from, to) = op.operands()?;
    let source = Side::open(caller, from, true)?;
    let dest = match Side::open(caller, to, false) {
        Ok(dest) => dest,
        Err(status) => {
            source.close();
            return Err(status);
        }
    };
    let outcome = op.check_windows(source.window, dest.window).and_then(|()| {
        let to = (dest.mfn, usize::from(op.dest.offset));
        let from = (source.mfn, usize::from(op.source.offset));
        let done = memory::copy_within(to, from, usize::from(op.len));
        if done { Ok(()) } else { Err(Status::BadPage) }
    });
    source.close();
    dest.close();
    outcome
}

/// The reference that a side of a copy holds.
enum Hold {
    Read(PageRef),
    Write(TypedRef),
}

impl Hold {
    fn of(page: PageRef, readonly: bool) -> Result<Hold, Status> {
        if readonly { Ok(Hold::Read(page)) } else { writable(page).map(Hold::Write) }
    }

    fn release(self) {
        match self {
            Hold::Read(page) => pages().put(page),
            // A writable page's use has nothing to defer.
            Hold::Write(page) => drop(pages().put_typed(page, &mut Budget::unlimited())),
        }
    }
}

/// A pin, with the domain whose table it is of.
type Pinned = (Arc<Domain>, CopyPin);

/// One side of a copy while it is done.
struct Side {
    mfn: Mfn,
    hold: Hold,
    window: (u16, u16),
    pin: Option<Pinned>,
    /// The pin of a transitive grant that led there.
    outer: Option<Pinned>,
}

impl Side {
    fn open(caller: &Caller, what: Operand, readonly: bool) -> Result<Side, Status> {
        match what {
            Operand::Own(gfn) => {
                let mfn = Mfn(gfn.0);
                let page = pages().get(mfn, caller.domain.id).ok_or(Status::BadPage)?;
                let hold = Hold::of(page, readonly)?;
                Ok(Side { mfn, hold, window: OWN_WINDOW, pin: None, outer: None })
            }
            Operand::Grant(id, gref) => Self::lease(caller, id, gref, readonly),
        }
    }

    fn lease(caller: &Caller, id: DomId, gref: GrantRef, readonly: bool) -> Result<Side, Status> {
        let granter = if id == DomId::SELF {
            caller.domain.clone()
        } else {
            domain::by_id(id).ok_or(Status::BadDomain)?
        };
        let mut through = Through { third: None };
        let by = caller.domain.id;
        let lease = granter.grants.table().acquire(
            gref,
            by,
            readonly,
            |target| resolve(granter.id, target),
            &mut through,
        )?;
        let (Direct { mfn, hold, window, pin }, outer) = (lease.inner, lease.outer);
        let (inner, outer) = match outer {
            None => (Some((granter, pin)), None),
            Some(outer) => (through.third.map(|third| (third, pin)), Some((granter, outer))),
        };
        match Hold::of(hold, readonly) {
            Ok(hold) => Ok(Side { mfn, hold, window, pin: inner, outer }),
            Err(status) => {
                unpin(inner);
                unpin(outer);
                Err(status)
            }
        }
    }

    fn close(self) {
        self.hold.release();
        unpin(self.pin);
        unpin(self.outer);
    }
}

fn unpin(pinned: Option<Pinned>) {
    if let Some((granter, pin)) = pinned
        && let Err(lost) = granter.grants.table().release(pin)
    {
        crate::error!("BUG: d{}: {lost:?}", granter.id);
    }
}

/// The way to a third domain's grant.
struct Through {
    third: Option<Arc<Domain>>,
}

impl Transit<PageRef> for Through {
    fn enter(
        &mut self,
        domid: DomId,
        gref: GrantRef,
        by: DomId,
        readonly: bool,
    ) -> Result<Direct<PageRef>, Status> {
        let third = domain::by_id(domid).ok_or(Status::GeneralError)?;
        let lease = third
            .grants
            .table()
            .acquire_direct(gref, by, readonly, |target| resolve(domid, target))?;
        self.third = Some(third);
        Ok(lease)
    }

    fn leave(&mut self, lease: Direct<PageRef>) {
        pages().put(lease.hold);
        unpin(self.third.take().map(|third| (third, lease.pin)));
    }
}
