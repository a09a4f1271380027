//! A PV guest's descriptor tables.

use crate::frames::pages;
use crate::hypercall::{Args, Call, Caller, Stop};
use crate::util::low32;
use crate::vcpu::Vcpu;
use abi::{Errno, Mfn};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use machine::desc::FIRST_RESERVED_GDT_ENTRY;
use machine::paging::Stale;
use machine::{guest, memory, paging};
use pages::{Budget, Kind, TypedRef};

const PRESENT: u64 = 1 << 47;
const CODE_OR_DATA: u64 = 1 << 44;
const TYPE_SHIFT: u32 = 40;
const DPL_SHIFT: u32 = 45;

/// The form in which a guest may have this descriptor loaded: as it is when it is not present or of
/// type 0, code or data with its privilege lowered to ring 3. `None` for gates and system segments,
/// and for code that is both 64-bit and 32-bit.
pub fn acceptable(descriptor: u64) -> Option<u64> {
    let present = descriptor & PRESENT != 0;
    let kind = descriptor >> TYPE_SHIFT & 0xf;
    if !present || descriptor & CODE_OR_DATA == 0 && kind == 0 {
        return Some(descriptor);
    }
    let long = descriptor >> 53 & 1 != 0;
    let default32 = descriptor >> 54 & 1 != 0;
    let code = kind & 8 != 0;
    let fits = descriptor & CODE_OR_DATA != 0 && !(code && long && default32);
    fits.then_some(descriptor | 3 << DPL_SHIFT)
}

/// Checks a page of descriptors, lowering privileges in place.
pub fn check_page(page: &[AtomicU64; 512]) -> bool {
    page.iter().all(|slot| {
        let d = slot.load(Relaxed);
        match acceptable(d) {
            Some(as_loaded) => {
                if as_loaded != d {
                    slot.store(as_loaded, Relaxed);
                }
                true
            }
            None => false,
        }
    })
}

/// `set_gdt(frames, entries)`.
pub fn set_gdt(caller: &mut Caller, a: &mut Args) -> Call {
    let [list, entries, ..] = *a.all();
    let v = caller.vcpu;
    let entries = entries & 0xffff_ffff;
    if entries > FIRST_RESERVED_GDT_ENTRY as u64 {
        return Err(Errno::EINVAL.into());
    }
    let count = entries.div_ceil(512) as usize;
    let mut frames = [0u64; 14];
    for (i, slot) in frames.iter_mut().take(count).enumerate() {
        *slot = guest::read(list.wrapping_add((i as u64).wrapping_mul(8)))?;
    }
    install_gdt(v, frames.get(..count).unwrap_or(&[]), low32(entries))?;
    load_gdt(v);
    Ok(0)
}

/// Takes references to a new GDT's pages and lets go of the old.
pub fn install_gdt(v: &Vcpu, frames: &[u64], entries: u32) -> Result<(), Stop> {
    let mut new: [Option<TypedRef>; 14] = Default::default();
    let mut budget = Budget::new(65_536);
    let mut failed = None;
    for (slot, mfn) in new.iter_mut().zip(frames) {
        match pages().get_typed(Mfn(*mfn), v.domain.id, Kind::Segment, &mut budget) {
            Ok(page) => *slot = Some(page),
            Err(stop) => {
                failed = Some(stop);
                break;
            }
        }
    }
    if failed.is_some() {
        release(new);
        return Err(Errno::EINVAL.into());
    }
    let old = {
        let mut d = v.descriptors.lock();
        d.gdt_entries = entries;
        core::mem::replace(&mut d.gdt, new)
    };
    // The window must not name the old pages when they go.
    if core::ptr::eq(v.hot, machine::percpu::hot()) {
        load_gdt(v);
    }
    release(old);
    Ok(())
}

/// Lets go of descriptor pages. Their use has nothing to defer.
fn release<const N: usize>(pages_held: [Option<TypedRef>; N]) {
    for page in pages_held.into_iter().flatten() {
        let _ = pages().put_typed(page, &mut Budget::unlimited());
    }
}

/// Lets go of all descriptor tables of a vCPU that will not run again.
pub fn drop_all(v: &Vcpu) {
    let (gdt, ldt) = {
        let mut d = v.descriptors.lock();
        d.gdt_entries = 0;
        d.ldt_entries = 0;
        (core::mem::take(&mut d.gdt), core::mem::take(&mut d.ldt))
    };
    release(gdt);
    release(ldt);
}

/// Shows a vCPU's tables in this CPU's windows. A flush of all translations must follow, and then
/// [`load_ldt_register`].
pub fn set_windows(v: &Vcpu) {
    set_gdt_window(v, Stale::FlushFollows);
    set_ldt_window(v, Stale::FlushFollows);
}

/// Tells the processor how long the LDT is.
pub fn load_ldt_register(v: &Vcpu) {
    let entries = v.descriptors.lock().ldt_entries;
    machine::desc::load_ldt(machine::percpu::cpu_id(), entries);
}

fn set_gdt_window(v: &Vcpu, stale: Stale) {
    let mut frames = [Mfn(0); 14];
    let n = v.gdt_frames(&mut frames);
    paging::set_guest_gdt(machine::percpu::cpu_id(), frames.get(..n).unwrap_or(&[]), stale);
}

fn set_ldt_window(v: &Vcpu, stale: Stale) {
    let cpu = machine::percpu::cpu_id();
    let d = v.descriptors.lock();
    for (i, page) in d.ldt.iter().enumerate() {
        paging::set_guest_ldt_page(cpu, i, page.as_ref().map(TypedRef::mfn), stale);
    }
}

/// For the vCPU that runs here.
fn load_gdt(v: &Vcpu) {
    set_gdt_window(v, Stale::Dropped);
}

/// For the vCPU that runs here.
fn load_ldt(v: &Vcpu) {
    set_ldt_window(v, Stale::Dropped);
    load_ldt_register(v);
}

/// `MMUEXT_SET_LDT`: remembers the table; its pages are loaded when they are used.
pub fn set_ldt(v: &Vcpu, base: u64, entries: u64) -> Result<(), Errno> {
    let bytes = entries.saturating_mul(8);
    if entries > 8192 || base & 0xfff != 0 || !machine::hot::guest_range(base, bytes) {
        return Err(Errno::EINVAL);
    }
    let old = {
        let mut d = v.descriptors.lock();
        d.ldt_base = base;
        d.ldt_entries = low32(entries);
        core::mem::take(&mut d.ldt)
    };
    load_ldt(v);
    release(old);
    Ok(())
}

/// A page fault at `address`: if that is in the window of the LDT, its page is loaded now.
pub fn fault(v: &Vcpu, address: u64) -> bool {
    let Some(offset) = machine::desc::ldt_offset(machine::percpu::cpu_id(), address) else {
        return false;
    };
    let (base, entries) = {
        let d = v.descriptors.lock();
        (d.ldt_base, u64::from(d.ldt_entries))
    };
    if offset >= entries.wrapping_mul(8) {
        return false;
    }
    let page = (offset >> 12) as usize;
    let Some(mfn) = crate::mmu::frame_at(v, base.wrapping_add(offset & !0xfff)) else {
        return false;
    };
    let mut budget = Budget::new(65_536);
    let Ok(held) = pages().get_typed(mfn, v.domain.id, Kind::Segment, &mut budget) else {
        return false;
    };
    let mut d = v.descriptors.lock();
    let Some(slot) = d.ldt.get_mut(page) else { return false };
    let old = slot.replace(held);
    drop(d);
    load_ldt(v);
    release([old]);
    true
}

/// `update_descriptor(machine address, descriptor)`.
pub fn update_descriptor(caller: &mut Caller, a: &mut Args) -> Call {
    let [address, descriptor, ..] = *a.all();
    let d = caller.domain;
    let descriptor = acceptable(descriptor).filter(|_| address & 7 == 0).ok_or(Errno::EINVAL)?;
    let mfn = Mfn(address >> 12);
    let index = (address >> 3 & 511) as usize;
    let page = pages().get(mfn, d.id).ok_or(Errno::EINVAL)?;
    // As a descriptor table if it is one, else as an ordinary page.
    let kind = match pages().kind_of(&page) {
        Kind::Segment => Kind::Segment,
        _ => Kind::Writable,
    };
    let mut budget = Budget::new(65_536);
    match pages().upgrade(page, kind, &mut budget) {
        Ok(held) => {
            if let Some(slot) = memory::page(mfn).and_then(|p| p.get(index)) {
                slot.store(descriptor, Relaxed);
            }
            let _ = pages().put_typed(held, &mut budget);
            Ok(0)
        }
        Err((_, page)) => {
            pages().put(page);
            Err(Errno::EINVAL.into())
        }
    }
}
