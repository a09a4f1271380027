//! `grant_table_op`: pages that domains let each other use.
//!
//! The rules are `model/grants`'s; here are the guests' arguments, the pages and page tables that
//! the rules speak of, and what a domain's end takes back.

mod admin;
mod copy;
mod end;
mod map;
mod memory;
mod resource;
mod state;
mod transfer;
mod unmap;

pub use end::{release_mappings, release_table};
pub use resource::acquire_resource;
pub use state::GrantState;

use crate::domain::{self, Domain};
use crate::frames::pages;
use crate::hypercall::table::operations;
use crate::hypercall::{Args, Call, Caller, Stop};
use crate::util::low32;
use abi::grant_table::GrantCmd;
use abi::{DomId, Errno, Mfn};
use alloc::sync::Arc;
use grants::{Status, Target};
use machine::guest;
use pages::PageRef;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Operations handled between looks at what else is to be done.
const BATCH: u64 = 64;

/// `grant_table_op(command, operations, count)`. A call that is continued has its two last
/// arguments moved on.
pub fn grant_table_op(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, at, count, ..] = *a.all();
    let command = low32(command);
    let count = low32(count);
    if i32::try_from(count).is_err() {
        return Err(Errno::EINVAL.into());
    }
    operations! { match grant_table_op(GrantCmd(command)) {
        GrantCmd::MAP_GRANT_REF [EFAULT; GENERAL_ERROR BAD_DOMAIN BAD_GNTREF BAD_PAGE NO_SPACE]
            => map::operations(caller, a),
        GrantCmd::UNMAP_GRANT_REF [EFAULT; GENERAL_ERROR BAD_HANDLE BAD_DEV_ADDR]
            => unmap::operations(caller, a, unmap::Sort::Unmap),
        GrantCmd::UNMAP_AND_REPLACE [EFAULT; GENERAL_ERROR BAD_HANDLE]
            => unmap::operations(caller, a, unmap::Sort::Replace),
        GrantCmd::COPY
            [EFAULT; GENERAL_ERROR BAD_DOMAIN BAD_GNTREF PERMISSION_DENIED BAD_PAGE BAD_COPY_ARG EAGAIN]
            => batch(a, |at| copy::operation(caller, at)),
        GrantCmd::TRANSFER [EFAULT; GENERAL_ERROR BAD_DOMAIN BAD_PAGE ADDRESS_TOO_BIG]
            => batch(a, |at| transfer::operation(caller, at)),
        GrantCmd::SWAP_GRANT_REF [EFAULT; BAD_GNTREF EAGAIN]
            => batch(a, |at| admin::swap(caller, at)),
        GrantCmd::SETUP_TABLE
            [EINVAL EFAULT; GENERAL_ERROR BAD_DOMAIN BAD_VIRT_ADDR PERMISSION_DENIED]
            => single(count, || admin::setup_table(caller, at)),
        GrantCmd::QUERY_SIZE [EINVAL EFAULT; BAD_DOMAIN PERMISSION_DENIED]
            => single(count, || admin::query_size(caller, at)),
        GrantCmd::GET_STATUS_FRAMES
            [EINVAL EFAULT; GENERAL_ERROR BAD_DOMAIN BAD_VIRT_ADDR PERMISSION_DENIED]
            => single(count, || admin::get_status_frames(caller, at)),
        // These two do not look at the count, as under Xen.
        GrantCmd::SET_VERSION [EINVAL EFAULT ENOSYS EBUSY ERANGE ENOMEM]
            => single(1, || admin::set_version(caller, at)),
        GrantCmd::GET_VERSION [EFAULT EPERM ESRCH]
            => single(1, || admin::get_version(caller, at)),
        // Xen's dump_table has long gone, and cache_flush is Arm's.
        _ [ENOSYS] => Err(Errno::ENOSYS.into()),
    } }
}

/// Does operations one by one; each says how many bytes it took.
fn batch(a: &mut Args, mut one: impl FnMut(u64) -> Result<u64, Stop>) -> Call {
    let [_, mut at, mut left, ..] = *a.all();
    let mut budget = BATCH;
    while left > 0 {
        if budget == 0 {
            a.set(1, at);
            a.set(2, left);
            return Err(Stop::Again);
        }
        budget = budget.wrapping_sub(1);
        at = at.wrapping_add(one(at)?);
        left = left.wrapping_sub(1);
    }
    Ok(0)
}

/// Operations of which a call makes exactly one.
fn single(count: u32, one: impl FnOnce() -> Result<(), Stop>) -> Call {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    one().map(|()| 0)
}

/// Reads an operation, does it, and writes it back; says its size.
fn each<T: FromBytes + IntoBytes + Immutable>(
    at: u64,
    work: impl FnOnce(&mut T),
) -> Result<u64, Stop> {
    let mut op: T = guest::read(at)?;
    work(&mut op);
    guest::write(at, &op)?;
    Ok(size_of::<T>() as u64)
}

/// An outcome as guests get it.
fn raw<T>(outcome: &Result<T, Status>) -> abi::grant_table::GrantStatus {
    abi::grant_table::GrantStatus(Status::raw_of(outcome))
}

/// The domain of which an operation on a table speaks: the caller, or for dom0 any.
fn whose(caller: &Caller, id: u16) -> Result<Arc<Domain>, Status> {
    let id = DomId(id);
    if id == DomId::SELF || id == caller.domain.id {
        return Ok(caller.domain.clone());
    }
    let d = domain::by_id(id).ok_or(Status::BadDomain)?;
    if caller.domain.privileged { Ok(d) } else { Err(Status::PermissionDenied) }
}

/// Takes a reference to the frame that a grant of `granter` means. A PV domain's frame numbers
/// are the machine's.
///
/// It runs with the grant's entry locked, so it must not wait for other CPUs: that is why the
/// frame's use (which may need a flush) is taken later.
fn resolve(granter: DomId, target: Target) -> Result<(Mfn, PageRef), Status> {
    let mfn = match target {
        Target::Gfn(gfn) => Mfn(gfn.0),
        Target::Mfn(mfn) => mfn,
    };
    pages().get(mfn, granter).map(|page| (mfn, page)).ok_or(Status::BadPage)
}
