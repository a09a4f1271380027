//! A PV guest's page tables: the hypercalls that change them and the writes that are emulated.
//!
//! All decisions are the page rules' (`model/pages`); here are the arguments, the continuations
//! and what the machine has to do.

use crate::domain::Domain;
use crate::frames::pages;
use crate::hypercall::table::operations;
use crate::hypercall::{Args, Call, Caller, Stop};
use crate::vcpu::Vcpu;
use abi::xen::{self, MmuCmd, MmuUpdate, MmuextCmd, MmuextOp};
use abi::{DomId, Errno, Mfn};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use machine::{guest, memory, paging};
use pages::{Budget, Caches, Ctx, Done, Kind, Level, Mode, Stop as PageStop};
use zerocopy::{FromBytes, IntoBytes};

/// Page-table entries that one call may look at before it is continued.
const BUDGET: u32 = 4096;
/// Requests of one call between looks at what else is to be done.
const BATCH: u64 = 256;
/// Top bit of a count: the call is a continuation and `done` counts on.
const CONTINUED: u64 = 1 << 31;

const PRESENT: u64 = 1;
const RW: u64 = 2;
const PSE: u64 = 0x80;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Why the page rules stopped, for the caller.
fn refused(v: &Vcpu, stop: PageStop) -> Stop {
    match stop {
        PageStop::Again => Stop::Again,
        PageStop::Refused(reason) => {
            crate::guest_debug!("d{}v{}: {reason}", v.domain.id, v.id);
            Stop::Error(reason.errno())
        }
    }
}

/// Finishes what a change left.
fn finish(v: &Arc<Vcpu>, done: Done) {
    pages().complete(done.flush);
    if let Some(rest) = done.deferred {
        keep_deferred(v, rest);
    }
}

/// Stores a half released table with the vCPU, which takes it up before it runs again.
pub fn keep_deferred(v: &Vcpu, rest: pages::Deferred) {
    let mut rest = Some(rest);
    loop {
        let old = {
            let mut base = v.base.lock();
            let old = base.deferred.take();
            base.deferred = rest.take();
            v.has_deferred.store(base.deferred.is_some(), Release);
            old
        };
        // There is one slot: what was there is ended here and now.
        match old {
            Some(o) => rest = pages().resume(o, &mut Budget::unlimited()),
            None => return,
        }
        if rest.is_none() {
            return;
        }
    }
}

/// Takes up a half released table, for as long as the budget lasts.
#[inline(never)]
pub fn resume_deferred(v: &Vcpu, budget: &mut Budget) {
    let rest = v.base.lock().deferred.take();
    let rest = rest.and_then(|rest| pages().resume(rest, budget));
    v.has_deferred.store(rest.is_some(), Release);
    v.base.lock().deferred = rest;
}

/// Ends what an earlier request left, before the next one that may depend on it: a guest that has
/// unpinned a table maps its pages writable at once.
fn settle(v: &Vcpu, budget: &mut Budget) -> Result<(), Stop> {
    if v.has_deferred.load(Acquire) {
        resume_deferred(v, budget);
        if v.has_deferred.load(Acquire) {
            return Err(Stop::Again);
        }
    }
    Ok(())
}

/// Which domain a foreign id means for the caller, and whether it may.
fn foreign(caller: &Caller, id: u64) -> Result<Arc<Domain>, Stop> {
    Ok(crate::hypercall::target(caller, (id & 0xffff) as u16)?)
}

/// Whose pages may be mapped: as [`foreign`], with `DOMID_IO`, of which each domain gets what it
/// has a right to, and `DOMID_XEN` for the privileged.
fn page_owner(caller: &Caller, id: u64) -> Result<DomId, Stop> {
    let id = DomId((id & 0xffff) as u16);
    match id {
        DomId::IO => Ok(id),
        DomId::XEN => {
            crate::hypercall::need_privilege(caller)?;
            Ok(id)
        }
        _ => foreign(caller, u64::from(id.0)).map(|d| d.id),
    }
}

/// Carries out the requests of a list in guest memory, in order, up to the first that is refused:
/// `call(list, count, done, domid)`, where `done` is told how many were.
#[inline]
fn each_request<R: FromBytes + IntoBytes>(
    a: &mut Args,
    mut one: impl FnMut(&R, &mut Budget) -> Result<(), Stop>,
) -> Call {
    let [mut at, count, pdone, ..] = *a.all();
    let mut left = count & 0x7fff_ffff;
    let mut done = if count & CONTINUED != 0 { a.progress() } else { 0 };
    let mut budget = Budget::new(BUDGET);
    let mut batch = 0u64;
    let mut result = Ok(0);
    while left > 0 {
        let next = if batch == BATCH || budget.is_spent() {
            Err(Stop::Again)
        } else {
            guest::read::<R>(at).map_err(Stop::from).and_then(|r| one(&r, &mut budget))
        };
        match next {
            Ok(()) => {}
            Err(Stop::Again) => {
                a.set(0, at);
                a.set(1, left | CONTINUED);
                a.set_progress(done);
                return Err(Stop::Again);
            }
            Err(refused) => {
                result = Err(refused);
                break;
            }
        }
        batch = batch.wrapping_add(1);
        at = at.wrapping_add(size_of::<R>() as u64);
        left = left.wrapping_sub(1);
        done = done.wrapping_add(1);
    }
    if pdone != 0 {
        // What is done is done: as under Xen, it is no error that the count cannot be written.
        let _ = guest::write(pdone, &((done & 0xffff_ffff) as u32));
    }
    result
}

/// `mmu_update(requests, count, done, domid)`.
pub fn mmu_update(caller: &mut Caller, a: &mut Args) -> Call {
    let [_, _, _, foreigndom, _] = *a.all();
    // Low half: whose pages; high half: whose page tables, plus one.
    let owner = page_owner(caller, foreigndom & 0xffff)?;
    let table_owner = match foreigndom >> 16 & 0xffff {
        0 => caller.domain.id,
        // The tables of a domain that is being taken apart may not get new entries.
        id => match foreign(caller, id.wrapping_sub(1))? {
            d if d.life() == crate::domain::Life::Alive => d.id,
            _ => return Err(Errno::EINVAL.into()),
        },
    };
    let ctx = Ctx { table_owner, frame_owner: owner };
    each_request(a, |request, budget| one_update(caller, request, ctx, budget))
}

fn one_update(caller: &Caller, r: &MmuUpdate, ctx: Ctx, budget: &mut Budget) -> Result<(), Stop> {
    let at = r.ptr & !7;
    let table = Mfn(at >> 12);
    let mode = operations! { match mmu_update(MmuCmd(r.ptr & 7)) {
        MmuCmd::NORMAL_PT_UPDATE [EINVAL EBUSY EPERM] => Mode::Normal,
        MmuCmd::PT_UPDATE_PRESERVE_AD [EINVAL EBUSY EPERM] => Mode::PreserveAd,
        MmuCmd::PT_UPDATE_NO_TRANSLATE [EINVAL EBUSY EPERM] => Mode::NoTranslate,
        MmuCmd::MACHPHYS_UPDATE [EINVAL] => return machphys_update(table, r.val, ctx.frame_owner),
        _ [ENOSYS] => return Err(Errno::ENOSYS.into()),
    } };
    settle(caller.vcpu, budget)?;
    let index = (at >> 3 & 511) as usize;
    let done = pages().update_entry(ctx, table, index, r.val, mode, budget);
    finish(caller.vcpu, done.map_err(|stop| refused(caller.vcpu, stop))?);
    Ok(())
}

/// Sets the M2P entry of a page of `owner`.
fn machphys_update(mfn: Mfn, pfn: u64, owner: DomId) -> Result<(), Stop> {
    let page = pages().get(mfn, owner).ok_or(Errno::EINVAL)?;
    paging::set_m2p(mfn, pfn);
    pages().put(page);
    Ok(())
}

/// The level 1 table and index that map `va` in the running tables, with the walk's rights.
pub(crate) fn find_l1(v: &Vcpu, va: u64) -> Option<(Mfn, usize)> {
    let root = if v.in_kernel() { v.hot.cr3_kernel() } else { v.hot.cr3_user() };
    let mut table = Mfn(root >> 12);
    for level in [4u32, 3, 2] {
        let shift = 12u32.wrapping_add(9u32.wrapping_mul(level.wrapping_sub(1)));
        let index = (va >> shift & 511) as usize;
        let entry = memory::page(table)?.get(index)?.load(Relaxed);
        if entry & PRESENT == 0 || level == 2 && entry & PSE != 0 {
            return None;
        }
        table = Mfn((entry & ADDRESS) >> 12);
    }
    Some((table, (va >> 12 & 511) as usize))
}

/// The frame that a guest address maps in the running tables.
pub fn frame_at(v: &Vcpu, va: u64) -> Option<Mfn> {
    let (table, index) = find_l1(v, va)?;
    let entry = memory::page(table)?.get(index)?.load(Relaxed);
    (entry & PRESENT != 0).then_some(Mfn((entry & ADDRESS) >> 12))
}

/// `update_va_mapping(va, entry, flags)`.
pub fn update_va_mapping(caller: &mut Caller, a: &mut Args) -> Call {
    let [va, entry, flags, ..] = *a.all();
    let owner = caller.domain.id;
    va_mapping(caller, va, entry, flags, owner)
}

/// `update_va_mapping_otherdomain(va, entry, flags, domid)`.
pub fn update_va_mapping_otherdomain(caller: &mut Caller, a: &mut Args) -> Call {
    let [va, entry, flags, id, _] = *a.all();
    let owner = page_owner(caller, id)?;
    va_mapping(caller, va, entry, flags, owner)
}

fn va_mapping(caller: &mut Caller, va: u64, entry: u64, flags: u64, owner: DomId) -> Call {
    let v = caller.vcpu;
    if !machine::hot::guest_range(va, 8) {
        return Err(Errno::EINVAL.into());
    }
    settle(v, &mut Budget::new(BUDGET))?;
    let (table, index) = find_l1(v, va).ok_or(Errno::EINVAL)?;
    let ctx = Ctx { table_owner: caller.domain.id, frame_owner: owner };
    pages()
        .update_l1(ctx, table, index, entry, Mode::Normal)
        .map_err(|reason| refused(v, PageStop::Refused(reason)))?;
    let whom = flags & !xen::UVMF_FLUSHTYPE_MASK;
    match (flags & xen::UVMF_FLUSHTYPE_MASK, whom) {
        (xen::UVMF_TLB_FLUSH | xen::UVMF_INVLPG, xen::UVMF_ALL) => flush_all(v),
        (xen::UVMF_TLB_FLUSH, 0) => crate::flush::flush_local(),
        (xen::UVMF_INVLPG, 0) => machine::cpu::invlpg(va),
        (xen::UVMF_TLB_FLUSH | xen::UVMF_INVLPG, bitmap) => flush_vcpus(v, bitmap)?,
        _ => {}
    }
    Ok(0)
}

fn flush_all(v: &Vcpu) {
    crate::flush::flush(Caches::Of(v.domain.id), None);
}

/// Flushes the CPUs on which the vCPUs of a guest's bitmap run.
fn flush_vcpus(v: &Vcpu, bitmap: u64) -> Result<(), Stop> {
    let mut set = crate::cpus::CpuSet::EMPTY;
    let words = v.domain.max_vcpus().div_ceil(64);
    for w in 0..words {
        let word: u64 = guest::read(bitmap.wrapping_add(u64::from(w).wrapping_mul(8)))?;
        for bit in (0..64u32).filter(|&b| word >> b & 1 != 0) {
            let id = abi::VcpuId(w.wrapping_mul(64).wrapping_add(bit));
            if let Some(cpu) = v.domain.vcpu(id).and_then(|target| target.loaded_on()) {
                set.insert(cpu);
            }
        }
    }
    crate::flush::flush_cpus(set);
    Ok(())
}

/// `mmuext_op(ops, count, done, domid)`.
pub fn mmuext_op(caller: &mut Caller, a: &mut Args) -> Call {
    let [_, _, _, foreigndom, _] = *a.all();
    let target = match DomId((foreigndom & 0xffff) as u16) {
        DomId::IO | DomId::XEN if caller.domain.privileged => caller.domain.clone(),
        _ => foreign(caller, foreigndom)?,
    };
    each_request(a, |op, budget| one_ext(caller, &target, op, budget))
}

fn one_ext(
    caller: &Caller,
    target: &Arc<Domain>,
    op: &MmuextOp,
    budget: &mut Budget,
) -> Result<(), Stop> {
    let v = caller.vcpu;
    let own = target.id == caller.domain.id;
    settle(v, budget)?;
    if !own && !is_for_others(op.cmd) {
        return Err(Errno::EPERM.into());
    }
    operations! { match mmuext_op(op.cmd) {
        MmuextCmd::PIN_L1_TABLE
        | MmuextCmd::PIN_L2_TABLE
        | MmuextCmd::PIN_L3_TABLE
        | MmuextCmd::PIN_L4_TABLE [EINVAL EBUSY EPERM] => pin(v, target, op, budget),
        MmuextCmd::UNPIN_TABLE [EINVAL] => unpin(v, target, Mfn(op.arg1), budget),
        MmuextCmd::CLEAR_PAGE [EINVAL] => clear_page(target, Mfn(op.arg1), budget),
        MmuextCmd::COPY_PAGE [EINVAL] => copy_page(target, op, budget),
        MmuextCmd::NEW_BASEPTR [EINVAL EBUSY EPERM] => new_base(v, Mfn(op.arg1), budget),
        MmuextCmd::NEW_USER_BASEPTR [EINVAL EBUSY EPERM] => new_user_base(v, Mfn(op.arg1), budget),
        MmuextCmd::TLB_FLUSH_LOCAL [] => {
            crate::flush::flush_local();
            Ok(())
        },
        MmuextCmd::INVLPG_LOCAL [] => {
            if machine::hot::guest_range(op.arg1, 1) {
                machine::cpu::invlpg(op.arg1);
            }
            Ok(())
        },
        MmuextCmd::TLB_FLUSH_MULTI | MmuextCmd::INVLPG_MULTI [EINVAL] => {
            flush_vcpus(v, op.arg2).map_err(|_| Errno::EINVAL.into())
        },
        MmuextCmd::TLB_FLUSH_ALL | MmuextCmd::INVLPG_ALL [] => {
            flush_all(v);
            Ok(())
        },
        MmuextCmd::FLUSH_CACHE | MmuextCmd::FLUSH_CACHE_GLOBAL [EACCES] => {
            if !caller.domain.privileged {
                return Err(Errno::EACCES.into());
            }
            machine::cpu::wbinvd();
            Ok(())
        },
        MmuextCmd::SET_LDT [EINVAL] => {
            crate::descriptor::set_ldt(v, op.arg1, op.arg2 & 0xffff_ffff).map_err(Stop::from)
        },
        _ [ENOSYS] => Err(Errno::ENOSYS.into()),
    } }
}

/// Whether the operation may be about another domain's pages.
fn is_for_others(command: MmuextCmd) -> bool {
    matches!(
        command,
        MmuextCmd::PIN_L1_TABLE
            | MmuextCmd::PIN_L2_TABLE
            | MmuextCmd::PIN_L3_TABLE
            | MmuextCmd::PIN_L4_TABLE
            | MmuextCmd::UNPIN_TABLE
            | MmuextCmd::CLEAR_PAGE
            | MmuextCmd::COPY_PAGE
    )
}

fn unpin(v: &Vcpu, target: &Arc<Domain>, mfn: Mfn, budget: &mut Budget) -> Result<(), Stop> {
    let rest = pages().unpin(mfn, target.id, budget);
    let rest = rest.map_err(|r| refused(v, PageStop::Refused(r)))?;
    if let Some(rest) = rest {
        keep_deferred(v, rest);
    }
    Ok(())
}

fn pin(v: &Vcpu, target: &Arc<Domain>, op: &MmuextOp, budget: &mut Budget) -> Result<(), Stop> {
    if target.life() != crate::domain::Life::Alive {
        return Err(Errno::EINVAL.into());
    }
    let level = match op.cmd {
        MmuextCmd::PIN_L1_TABLE => Level::L1,
        MmuextCmd::PIN_L2_TABLE => Level::L2,
        MmuextCmd::PIN_L3_TABLE => Level::L3,
        _ => Level::L4,
    };
    let kind = Kind::table(level);
    pages().pin(Mfn(op.arg1), target.id, kind, budget).map_err(|s| refused(v, s))
}

fn clear_page(target: &Domain, mfn: Mfn, budget: &mut Budget) -> Result<(), Stop> {
    let page = pages().get_typed(mfn, target.id, Kind::Writable, budget);
    let page = page.map_err(|_| Stop::Error(Errno::EINVAL))?;
    memory::clear_page(mfn);
    // A writable page's use has nothing to defer.
    let _ = pages().put_typed(page, budget);
    Ok(())
}

fn copy_page(target: &Domain, op: &MmuextOp, budget: &mut Budget) -> Result<(), Stop> {
    let from = pages().get(Mfn(op.arg2), target.id).ok_or(Errno::EINVAL)?;
    let to = pages().get_typed(Mfn(op.arg1), target.id, Kind::Writable, budget);
    let result = match to {
        Ok(to) => {
            memory::copy_page(to.mfn(), from.mfn());
            let _ = pages().put_typed(to, budget);
            Ok(())
        }
        Err(_) => Err(Stop::Error(Errno::EINVAL)),
    };
    pages().put(from);
    result
}

/// `NEW_BASEPTR`: the kernel's page tables, loaded at once.
fn new_base(v: &Arc<Vcpu>, mfn: Mfn, budget: &mut Budget) -> Result<(), Stop> {
    if v.hot.cr3_kernel() == mfn.0 << 12 {
        crate::flush::flush_local();
        return Ok(());
    }
    let kind = Kind::table(Level::L4);
    let new = pages().get_typed(mfn, v.domain.id, kind, budget).map_err(|s| refused(v, s))?;
    v.hot.set_cr3_kernel(mfn.0 << 12);
    let old = v.base.lock().kernel.replace(new);
    crate::flush::load(v.hot);
    put_base(v, old, budget);
    Ok(())
}

/// `NEW_USER_BASEPTR`: the user mode's page tables, 0 for none.
fn new_user_base(v: &Arc<Vcpu>, mfn: Mfn, budget: &mut Budget) -> Result<(), Stop> {
    if v.hot.cr3_user() == mfn.0 << 12 {
        return Ok(());
    }
    let new = if mfn.0 == 0 {
        None
    } else {
        let kind = Kind::table(Level::L4);
        Some(pages().get_typed(mfn, v.domain.id, kind, budget).map_err(|s| refused(v, s))?)
    };
    v.hot.set_cr3_user(mfn.0 << 12);
    let old = core::mem::replace(&mut v.base.lock().user, new);
    put_base(v, old, budget);
    Ok(())
}

/// Lets go of a base pointer that is no longer loaded.
pub fn put_base(v: &Vcpu, old: Option<pages::TypedRef>, budget: &mut Budget) {
    if let Some(old) = old
        && let Some(rest) = pages().put_typed(old, budget)
    {
        keep_deferred(v, rest);
    }
}

/// The page table that a write fault of the guest's kernel hit, if it may think it writable.
pub fn emulated_table(v: &Vcpu, address: u64) -> Option<Mfn> {
    let mode = xen::VMASST_TYPE_WRITABLE_PAGETABLES;
    if v.domain.assists.load(Relaxed) >> mode & 1 == 0 || !machine::hot::guest_range(address, 1) {
        return None;
    }
    emulated_target(v, address)
}

/// The page-table frame that a guest address maps read-only, if it is such a place.
pub fn emulated_target(v: &Vcpu, address: u64) -> Option<Mfn> {
    let (table, index) = find_l1(v, address)?;
    let entry = memory::page(table)?.get(index)?.load(Relaxed);
    let mfn = Mfn((entry & ADDRESS) >> 12);
    let plain = entry & PRESENT != 0 && entry & RW == 0;
    (plain && pages().table_level(mfn, v.domain.id) == Some(Level::L1)).then_some(mfn)
}

/// How an emulated page-table write ended without having happened.
pub enum NotWritten {
    /// The guest is to be run again at the same instruction.
    Retry,
    /// The write is not one that is emulated, or was refused.
    Refused,
}

/// Writes (or, with `expected`, compares and writes) an entry of the page table `table`, which
/// `address` maps, for an instruction of the guest. `Ok(Err(seen))` when the comparison failed.
///
/// Should the guest have changed the mapping since: the page rules take none but a level 1 table
/// of its own.
pub fn emulated_write(
    v: &Arc<Vcpu>,
    table: Mfn,
    address: u64,
    size: u64,
    value: u64,
    expected: Option<u64>,
) -> Result<Result<(), u64>, NotWritten> {
    let index = (address >> 3 & 511) as usize;
    let offset = address & 7;
    if offset.wrapping_add(size) > 8 {
        return Err(NotWritten::Refused);
    }
    let ctx = Ctx::own(v.domain.id);
    let mut budget = Budget::new(BUDGET);
    let current = memory::page(table).and_then(|p| p.get(index)).map_or(0, |e| e.load(Relaxed));
    let (mask, shift) =
        (u64::MAX >> (64u64.wrapping_sub(size.wrapping_mul(8)) & 63), offset.wrapping_mul(8));
    let merge = |part: u64| current & !(mask << shift) | (part & mask) << shift;
    if expected.is_none() && size == 8 {
        return match pages().update_l1(ctx, table, index, value, Mode::Normal) {
            Ok(()) => Ok(Ok(())),
            Err(reason) => {
                crate::guest_debug!("d{}v{}: page-table write: {reason}", v.domain.id, v.id);
                Err(NotWritten::Refused)
            }
        };
    }
    let outcome = match expected {
        None => pages().update_entry_if(ctx, table, index, current, merge(value), &mut budget),
        Some(old) => {
            pages().update_entry_if(ctx, table, index, merge(old), merge(value), &mut budget)
        }
    };
    match outcome {
        Ok(pages::Compared::Swapped(done)) => {
            finish(v, done);
            Ok(Ok(()))
        }
        Ok(pages::Compared::Differs(_)) if expected.is_none() => Err(NotWritten::Retry),
        Ok(pages::Compared::Differs(seen)) => Ok(Err(seen >> shift & mask)),
        Err(PageStop::Again) => Err(NotWritten::Retry),
        Err(PageStop::Refused(reason)) => {
            crate::guest_debug!("d{}v{}: page-table write: {reason}", v.domain.id, v.id);
            Err(NotWritten::Refused)
        }
    }
}
