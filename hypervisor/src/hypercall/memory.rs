//! `memory_op`: how much memory domains have, and which.

use super::table::operations;
use super::{Args, Call, Caller, Stop};
use crate::domain::{Domain, Life};
use crate::frames::{self, pages};
use abi::memory::{
    E820Entry, ForeignMemoryMap, MEMF_ADDRESS_BITS_MASK, MEMOP_CMD_MASK, MEMOP_EXTENT_SHIFT,
    MachphysMapping, MemoryCmd, MemoryDomain, MemoryExchange, MemoryMap, MemoryReservation,
};
use abi::{Errno, Mfn};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use machine::{guest, memory, paging};

/// Pages handled in one go.
const BATCH: u64 = 512;
/// Largest block that a guest may ask for, and dom0.
const MAX_ORDER_GUEST: u32 = 9;
const MAX_ORDER_DOM0: u32 = 18;
/// Largest block that dom0 may get by an exchange: its old pages are listed meanwhile.
const MAX_ORDER_EXCHANGE: u32 = 12;

/// `memory_op(command, argument)`. The extents that are done ride in the command.
pub fn memory_op(caller: &mut Caller, a: &mut Args) -> Call {
    let [raw, arg, ..] = *a.all();
    // All bits count: those above the number say how far it has come.
    let raw = u32::try_from(raw).map_err(|_| Errno::EINVAL)?;
    let command = MemoryCmd(raw & MEMOP_CMD_MASK);
    let start = u64::from(raw >> MEMOP_EXTENT_SHIFT);
    operations! { match memory_op(command) {
        // What of a list cannot be done ends it: the result says how many could.
        MemoryCmd::POPULATE_PHYSMAP
        | MemoryCmd::INCREASE_RESERVATION
        | MemoryCmd::DECREASE_RESERVATION [EFAULT EPERM ESRCH EINVAL]
            => reservation(caller, a, command, start, arg),
        MemoryCmd::EXCHANGE [EFAULT EPERM ESRCH EINVAL ENOMEM] => exchange(caller, arg),
        MemoryCmd::CURRENT_RESERVATION [EFAULT EPERM ESRCH] => {
            let d = super::target(caller, guest::read::<MemoryDomain>(arg)?.domid)?;
            Ok(d.page_count.load(Relaxed))
        },
        MemoryCmd::MAXIMUM_RESERVATION [EFAULT EPERM ESRCH] => {
            let d = super::target(caller, guest::read::<MemoryDomain>(arg)?.domid)?;
            Ok(d.memory.lock().max.min(i64::MAX.cast_unsigned()))
        },
        MemoryCmd::MAXIMUM_GPFN [EFAULT EPERM ESRCH EINVAL] => maximum_gpfn(caller, arg),
        MemoryCmd::MAXIMUM_RAM_PAGE [] => Ok(max_ram_page()),
        MemoryCmd::MACHINE_MEMORY_MAP [EPERM EFAULT] => {
            super::need_privilege(caller)?;
            machine_map(arg)?;
            Ok(0)
        },
        MemoryCmd::MEMORY_MAP [ENOSYS EFAULT] => {
            let map = caller.domain.memory_map.lock().clone();
            if map.is_empty() {
                return Err(Errno::ENOSYS.into());
            }
            write_map(arg, &map)?;
            Ok(0)
        },
        MemoryCmd::SET_MEMORY_MAP [EFAULT EPERM ESRCH EINVAL ENOMEM] => set_map(caller, arg),
        MemoryCmd::MACHPHYS_MAPPING [EFAULT] => {
            let m = MachphysMapping {
                v_start: abi::xen::MACH2PHYS_VIRT_START,
                v_end: abi::xen::MACH2PHYS_VIRT_END,
                max_mfn: max_ram_page(),
            };
            guest::write(arg, &m)?;
            Ok(0)
        },
        MemoryCmd::CLAIM_PAGES [EFAULT EPERM EINVAL ENOMEM] => claim(caller, arg),
        MemoryCmd::MACHPHYS_MFN_LIST [EPERM EFAULT]
            => super::m2p_list::machphys_mfn_list(caller, arg),
        // No domain has a virtual NUMA topology.
        MemoryCmd::GET_VNUMAINFO [!ok EOPNOTSUPP] => Err(Errno::EOPNOTSUPP.into()),
        MemoryCmd::ACQUIRE_RESOURCE [EFAULT EINVAL EPERM ESRCH ENOMEM]
            => crate::grant::acquire_resource(caller, arg),
        _ [ENOSYS] => Err(Errno::ENOSYS.into()),
    } }
}

fn maximum_gpfn(caller: &Caller, arg: u64) -> Call {
    let d = super::target(caller, guest::read::<MemoryDomain>(arg)?.domid)?;
    // A domain that is being taken apart may not have its shared page any more.
    let max = match d.life() {
        Life::Alive => memory::view64::<1>(d.shared_info, MAX_PFN_OFFSET),
        _ => None,
    };
    let [max] = max.ok_or(Errno::EINVAL)?;
    Ok(max.load(Relaxed).saturating_sub(1))
}

/// Offset of `arch.max_pfn` in `shared_info`.
const MAX_PFN_OFFSET: usize = 3088;

/// Greatest frame of RAM, plus one.
pub fn max_ram_page() -> u64 {
    let map = machine::boot::info().map_or(&[][..], |i| i.memory());
    map.iter().filter(|r| r.kind == 1).map(|r| r.end >> 12).max().unwrap_or(0)
}

/// Gives or takes extents; the result is how many are done. Where Xen says 0 to a caller that names no
/// domain, or not one of its own, or no argument, this says why.
fn reservation(caller: &Caller, a: &mut Args, command: MemoryCmd, start: u64, arg: u64) -> Call {
    let r: MemoryReservation = guest::read(arg)?;
    let d = super::target(caller, r.domid)?;
    let limit = if caller.domain.privileged { MAX_ORDER_DOM0 } else { MAX_ORDER_GUEST };
    if r.extent_order > limit || r.nr_extents >> 26 != 0 || start > r.nr_extents {
        return if start > r.nr_extents { Err(Errno::EINVAL.into()) } else { Ok(start) };
    }
    let mut done = start;
    let mut budget = BATCH;
    let size = 1u64.wrapping_shl(r.extent_order);
    while done < r.nr_extents {
        if budget == 0 {
            a.set(0, done << MEMOP_EXTENT_SHIFT | u64::from(command.0));
            return Err(Stop::Again);
        }
        budget = budget.saturating_sub(size);
        let at = r.extent_start.addr().wrapping_add(done.wrapping_mul(8));
        let ok = match command {
            MemoryCmd::DECREASE_RESERVATION => decrease(&d, at, r.extent_order),
            MemoryCmd::POPULATE_PHYSMAP => populate(&d, at, &r, true),
            _ => populate(&d, at, &r, false),
        };
        if !ok {
            break;
        }
        done = done.wrapping_add(1);
    }
    Ok(done)
}

/// Gives one extent to the domain and writes its frame where its number (or nothing) stood.
fn populate(d: &Arc<Domain>, at: u64, r: &MemoryReservation, physmap: bool) -> bool {
    let Ok(pfn) = guest::read::<u64>(at) else { return false };
    let order = r.extent_order;
    let bits = r.mem_flags & MEMF_ADDRESS_BITS_MASK;
    let Ok(mfn) = allocate(d, order, (bits != 0).then_some(bits)) else { return false };
    if physmap {
        for k in 0..1u64.wrapping_shl(order) {
            paging::set_m2p(Mfn(mfn.0.wrapping_add(k)), pfn.wrapping_add(k));
        }
    }
    guest::write(at, &mfn.0).is_ok()
}

/// Zeroed frames for a domain, within its limit.
fn allocate(d: &Arc<Domain>, order: u32, bits: Option<u32>) -> Result<Mfn, Errno> {
    let count = 1u64.wrapping_shl(order);
    {
        let m = d.memory.lock();
        if m.list.len().saturating_add(count) > m.max || d.life() != Life::Alive {
            return Err(Errno::ENOMEM);
        }
    }
    if !crate::claims::may_take(d, count) {
        return Err(Errno::ENOMEM);
    }
    let mfn = frames::heap().alloc(order, bits.map(|b| b.max(13))).ok_or(Errno::ENOMEM)?;
    for k in 0..count {
        let page = Mfn(mfn.0.wrapping_add(k));
        memory::clear_page(page);
        paging::set_m2p(page, u64::MAX);
        if let Err(e) = d.page_added(page) {
            // The domain is being taken apart: it gives back what it has got, the rest is ours.
            for rest in k..count {
                frames::free(Mfn(mfn.0.wrapping_add(rest)), 0);
            }
            return Err(e);
        }
    }
    crate::claims::took(d, count);
    Ok(mfn)
}

/// Takes one extent from the domain.
fn decrease(d: &Arc<Domain>, at: u64, order: u32) -> bool {
    let Ok(first) = guest::read::<u64>(at) else { return false };
    for k in 0..1u64.wrapping_shl(order) {
        let mfn = Mfn(first.wrapping_add(k));
        let Some(page) = pages().get(mfn, d.id) else { return false };
        let released = pages().release_allocation(mfn, d.id);
        pages().put(page);
        if let Err(reason) = released {
            crate::guest_debug!("d{}: decrease_reservation: {reason}", d.id);
            return false;
        }
    }
    true
}

/// `XENMEM_exchange`: gives pages back for others, which may have to be contiguous and low.
fn exchange(caller: &Caller, arg: u64) -> Call {
    let mut x: MemoryExchange = guest::read(arg)?;
    if x.output.domid != x.input.domid {
        return Err(Errno::EINVAL.into());
    }
    let d = super::target(caller, x.input.domid)?;
    if d.id != caller.domain.id {
        return Err(Errno::EPERM.into());
    }
    let (inp, out) = (x.input, x.output);
    let limit = if caller.domain.privileged { MAX_ORDER_EXCHANGE } else { MAX_ORDER_GUEST };
    let same = inp.nr_extents.checked_shl(inp.extent_order)
        == out.nr_extents.checked_shl(out.extent_order);
    if inp.extent_order > limit || out.extent_order > limit || inp.nr_extents >> 26 != 0 {
        return Err(Errno::EPERM.into());
    }
    let into_larger = out.extent_order >= inp.extent_order;
    if !same || x.nr_exchanged > inp.nr_extents || !into_larger {
        return Err(Errno::EINVAL.into());
    }
    let per = 1u64.wrapping_shl(out.extent_order.wrapping_sub(inp.extent_order));
    if x.nr_exchanged.checked_rem(per) != Some(0) {
        return Err(Errno::EINVAL.into());
    }
    let mut budget = BATCH;
    while x.nr_exchanged < inp.nr_extents {
        // The count in the guest's memory is where the call goes on.
        if budget == 0 {
            guest::write(arg, &x)?;
            return Err(Stop::Again);
        }
        budget = budget.saturating_sub(1u64.wrapping_shl(out.extent_order));
        if let Err(e) = exchange_one(&d, &x, per) {
            guest::write(arg, &x)?;
            return Err(e.into());
        }
        x.nr_exchanged = x.nr_exchanged.wrapping_add(per);
    }
    guest::write(arg, &x)?;
    Ok(0)
}

/// Exchanges as many input extents as make one output extent. The guest's lists are read once:
/// what was taken is remembered here, whatever the guest writes there meanwhile.
fn exchange_one(d: &Arc<Domain>, x: &MemoryExchange, per: u64) -> Result<(), Errno> {
    let out = &x.output;
    let bits = out.mem_flags & MEMF_ADDRESS_BITS_MASK;
    let mut taken = alloc::vec::Vec::new();
    let pages_out = usize::try_from(1u64.wrapping_shl(out.extent_order)).unwrap_or(0);
    taken.try_reserve_exact(pages_out).map_err(|_| Errno::ENOMEM)?;
    let new = frames::heap()
        .alloc(out.extent_order, (bits != 0).then_some(bits.max(13)))
        .ok_or(Errno::ENOMEM)?;
    if let Err(e) = steal_inputs(d, x, per, &mut taken) {
        for mfn in taken {
            if d.page_added(mfn).is_err() {
                crate::error!("BUG: frame {mfn:#x} of d{} was lost in an exchange", d.id);
            }
        }
        frames::free(new, out.extent_order);
        return Err(e);
    }
    for mfn in taken {
        paging::set_m2p(mfn, u64::MAX);
        frames::free(mfn, 0);
    }
    install_new(d, x, new, per)
}

/// Takes the pages of `per` input extents off the domain, into `taken`, up to one that cannot be had.
fn steal_inputs(
    d: &Arc<Domain>,
    x: &MemoryExchange,
    per: u64,
    taken: &mut alloc::vec::Vec<Mfn>,
) -> Result<(), Errno> {
    for k in 0..per {
        let at = x
            .input
            .extent_start
            .addr()
            .wrapping_add(x.nr_exchanged.wrapping_add(k).wrapping_mul(8));
        let first = guest::read::<u64>(at).map_err(|_| Errno::EFAULT)?;
        for j in 0..1u64.wrapping_shl(x.input.extent_order) {
            let mfn = Mfn(first.wrapping_add(j));
            if !steal(d, mfn) {
                return Err(Errno::EINVAL);
            }
            taken.push(mfn);
        }
    }
    Ok(())
}

/// Takes a page off the domain, if nothing but its allocation refers to it.
fn steal(d: &Arc<Domain>, mfn: Mfn) -> bool {
    if pages().steal(mfn, d.id).is_err() {
        return false;
    }
    d.page_gone(mfn);
    true
}

fn install_new(d: &Arc<Domain>, x: &MemoryExchange, new: Mfn, per: u64) -> Result<(), Errno> {
    let out = &x.output;
    let index = x.nr_exchanged.checked_div(per).unwrap_or(0);
    let at = out.extent_start.addr().wrapping_add(index.wrapping_mul(8));
    // An unreadable number leaves the new pages without one; they are the domain's all the same.
    let gpfn = guest::read::<u64>(at);
    for k in 0..1u64.wrapping_shl(out.extent_order) {
        let page = Mfn(new.0.wrapping_add(k));
        memory::clear_page(page);
        d.page_added(page)?;
        paging::set_m2p(page, gpfn.map_or(u64::MAX, |first| first.wrapping_add(k)));
    }
    guest::write(at, &new.0).map_err(|_| Errno::EFAULT)
}

fn machine_map(arg: u64) -> Result<(), Stop> {
    let info = machine::boot::info().ok_or(Errno::ENOSYS)?;
    let entries: alloc::vec::Vec<E820Entry> =
        info.memory().iter().map(|r| e820(r.start, r.end.wrapping_sub(r.start), r.kind)).collect();
    write_map(arg, &entries)
}

fn e820(addr: u64, size: u64, kind: u32) -> E820Entry {
    let split = |v: u64| ((v & 0xffff_ffff) as u32, (v >> 32) as u32);
    let ((addr_low, addr_high), (size_low, size_high)) = (split(addr), split(size));
    E820Entry { addr_low, addr_high, size_low, size_high, kind }
}

/// Writes as many entries as fit and says how many that are.
fn write_map(arg: u64, entries: &[E820Entry]) -> Result<(), Stop> {
    let mut m: MemoryMap = guest::read(arg)?;
    let n = entries.len().min(m.nr_entries as usize);
    for (i, e) in entries.iter().take(n).enumerate() {
        guest::write(m.buffer.addr().wrapping_add((i as u64).wrapping_mul(20)), e)?;
    }
    m.nr_entries = u32::try_from(n).unwrap_or(m.nr_entries);
    guest::write(arg, &m)?;
    Ok(())
}

fn set_map(caller: &Caller, arg: u64) -> Call {
    let f: ForeignMemoryMap = guest::read(arg)?;
    let d = super::target(caller, f.domid)?;
    let count = f.map.nr_entries as usize;
    if count > 128 {
        return Err(Errno::EINVAL.into());
    }
    let mut map = alloc::vec::Vec::new();
    map.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for i in 0..count {
        map.push(guest::read(f.map.buffer.addr().wrapping_add((i as u64).wrapping_mul(20)))?);
    }
    *d.memory_map.lock() = map;
    Ok(0)
}

/// `XENMEM_claim_pages`: sets pages aside for a domain that is being built.
fn claim(caller: &Caller, arg: u64) -> Call {
    let r: MemoryReservation = guest::read(arg)?;
    if r.extent_start.addr() != 0 || r.extent_order != 0 || r.mem_flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let d = crate::domain::by_id(abi::DomId(r.domid)).ok_or(Errno::EINVAL)?;
    super::need_privilege(caller)?;
    crate::claims::set(&d, r.nr_extents)?;
    Ok(0)
}
