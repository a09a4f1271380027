//! Machine frames: who owns them, the free ones, and the machine as the page rules see it.

use crate::domain;
use abi::{DomId, Errno, Mfn};
use core::sync::atomic::{AtomicU64, Ordering};
use heap::{Heap, Links};
use machine::frames::FrameTable;
use machine::lock::{Lock, LockGuard};
use machine::once::Once;
use pages::{Access, Caches, Env, Frame, Pages};

static TABLE: Once<FrameTable<Frame>> = Once::new();
static PAGES: Once<Pages<Machine>> = Once::new();
static HEAP: Once<Lock<Heap<FrameLinks>>> = Once::new();
/// Pages of RAM in the machine.
static TOTAL: AtomicU64 = AtomicU64::new(0);
/// Advances with each flush; see [`crate::flush`].
pub(crate) static FLUSH_CLOCK: AtomicU64 = AtomicU64::new(1);

/// The record of a frame.
#[inline]
pub fn frame(mfn: Mfn) -> Option<&'static Frame> {
    TABLE.get()?.get(mfn)
}

/// The rules of page ownership.
#[inline]
pub fn pages() -> &'static Pages<Machine> {
    match PAGES.get() {
        Some(p) => p,
        None => crate::panic::bug("page rules used before they were set up"),
    }
}

/// The free frames.
pub fn heap() -> LockGuard<'static, Heap<FrameLinks>> {
    match HEAP.get() {
        Some(h) => h.lock(),
        None => crate::panic::bug("heap used before it was set up"),
    }
}

/// Pages of RAM in the machine, the hypervisor's own included.
pub fn total_pages() -> u64 {
    TOTAL.load(Ordering::Relaxed)
}

/// The heap's view of the frame table.
pub struct FrameLinks;

fn link(mfn: u32) -> Mfn {
    if mfn == 0 { Mfn::INVALID } else { Mfn(u64::from(mfn)) }
}

fn number(mfn: Mfn) -> u32 {
    u32::try_from(mfn.0).unwrap_or(0)
}

impl Links for FrameLinks {
    #[inline]
    fn next(&self, mfn: Mfn) -> Mfn {
        frame(mfn).map_or(Mfn::INVALID, |f| link(f.next()))
    }
    #[inline]
    fn prev(&self, mfn: Mfn) -> Mfn {
        frame(mfn).map_or(Mfn::INVALID, |f| link(f.prev()))
    }
    #[inline]
    fn set_next(&self, mfn: Mfn, next: Mfn) {
        if let Some(f) = frame(mfn) {
            f.set_next(number(next));
        }
    }
    #[inline]
    fn set_prev(&self, mfn: Mfn, prev: Mfn) {
        if let Some(f) = frame(mfn) {
            f.set_prev(number(prev));
        }
    }
    #[inline]
    fn tag(&self, mfn: Mfn) -> u8 {
        frame(mfn).map_or(0, Frame::tag)
    }
    #[inline]
    fn set_tag(&self, mfn: Mfn, tag: u8) {
        if let Some(f) = frame(mfn) {
            f.set_tag(tag);
        }
    }
}

/// The machine, for the page rules.
pub struct Machine;

/// How a CPU waits: it serves the others meanwhile.
pub struct Spin;

impl sync::Relax for Spin {
    #[inline]
    fn relax() {
        machine::smp::serve();
        machine::cpu::relax();
    }
}

impl Env for Machine {
    type Relax = Spin;

    #[inline]
    fn frame(&self, mfn: Mfn) -> Option<&Frame> {
        frame(mfn)
    }

    #[inline]
    fn table(&self, mfn: Mfn) -> Option<&[AtomicU64; 512]> {
        machine::memory::page(mfn)
    }

    fn mmio_access(&self, dom: DomId, mfn: Mfn) -> Access {
        match domain::by_id(dom) {
            Some(d) => d.mmio_access(mfn),
            None => Access::None,
        }
    }

    fn flush(&self, whose: Caches, since: Option<u64>) {
        crate::flush::flush(whose, since);
    }

    #[inline]
    fn flush_stamp(&self) -> u64 {
        FLUSH_CLOCK.load(Ordering::Acquire)
    }

    fn check_descriptors(&self, mfn: Mfn) -> bool {
        machine::memory::page(mfn).is_some_and(crate::descriptor::check_page)
    }

    fn install_hypervisor_slots(&self, l4: Mfn) {
        if let Some(table) = machine::memory::page(l4) {
            machine::paging::install_hypervisor_slots(table);
        }
    }

    fn freed(&self, mfn: Mfn, owner: DomId) {
        machine::paging::set_m2p(mfn, u64::MAX);
        if let Some(d) = domain::by_id(owner) {
            d.page_gone(mfn);
        }
        free(mfn, 0);
    }
}

/// Returns a block to the heap.
pub fn free(mfn: Mfn, order: u32) {
    let mut heap = heap();
    // A block that never had an owner still has the heap's tag; one that had has lost it.
    let freed = heap.free(mfn, order).or_else(|_| heap.reclaim(mfn, order));
    drop(heap);
    if freed.is_err() {
        crate::error!("BUG: frame {mfn:#x} (order {order}) was freed twice");
    }
}

/// Bytes of heap that must be free before a domain or a vCPU is made: several times what one takes.
/// With more, small machines would keep a chunk that they never need.
const HEAP_RESERVE: usize = 256 << 10;

/// Makes sure that the heap has room for a domain or a vCPU.
///
/// # Errors
/// `ENOMEM`: it has not, and no block is free that it could grow by.
pub fn make_heap_room() -> Result<(), Errno> {
    if machine::boot::heap_free() < HEAP_RESERVE && !grow_heap() {
        return Err(Errno::ENOMEM);
    }
    Ok(())
}

/// Gives the heap 2 MiB more; `false` when there is no such block.
pub fn grow_heap() -> bool {
    let Some(mfn) = heap().alloc(9, None) else { return false };
    let grown = machine::boot::grow_heap(mfn);
    if !grown {
        free(mfn, 9);
    }
    grown
}

/// A page for the hypervisor to share with a domain, zeroed.
pub fn alloc_zeroed() -> Result<Mfn, Errno> {
    let mfn = heap().alloc(0, None).ok_or(Errno::ENOMEM)?;
    machine::memory::clear_page(mfn);
    Ok(mfn)
}

/// Finds all RAM, gives what is free to the heap, and everything that is not RAM to
/// [`DomId::IO`]. `false` when the frame table is taken.
pub fn init() -> bool {
    let (Some(table), Some(info)) = (FrameTable::claim(), machine::boot::info()) else {
        return false;
    };
    let width = machine::cpu::cpuid(0x8000_0008, 0).first().map_or(36, |eax| eax & 0xff);
    TABLE.set(table);
    PAGES.set(Pages::new(Machine, width));
    let mut heap = Heap::new(FrameLinks);
    let mut free_pages = 0u64;
    machine::boot::free_memory(|start, end| {
        free_pages = free_pages.wrapping_add(end.wrapping_sub(start) >> 12);
        if heap.add_range(Mfn(start >> 12), Mfn(end >> 12)).is_err() {
            crate::warning!("memory from {start:#x} to {end:#x} cannot be used");
        }
    });
    HEAP.set(Lock::new(heap));
    let ram = info.memory().iter().filter(|r| r.kind == 1);
    let total = ram.fold(0u64, |sum, r| sum.wrapping_add(r.end.wrapping_sub(r.start) >> 12));
    TOTAL.store(total, Ordering::Relaxed);
    mark_io(info.memory());
    crate::info!("System RAM: {} MiB; {} MiB free for guests", total >> 8, free_pages >> 8);
    true
}

/// What has a record but is not RAM above 1 MiB belongs to the I/O domain.
fn mark_io(map: &[machine::bootinfo::MemoryRange]) {
    let is_ram =
        |mfn: u64| map.iter().any(|r| r.kind == 1 && r.start >> 12 <= mfn && mfn < r.end >> 12);
    for mfn in 0..256 {
        assign_io(Mfn(mfn));
    }
    // Holes only matter within the stretches that the frame table covers: look at each range's
    // surroundings (records come in groups of 65,536).
    for r in map.iter().filter(|r| r.kind == 1) {
        let first = (r.start >> 12) & !0xffff;
        let last = (r.end >> 12) | 0xffff;
        for mfn in (first..r.start >> 12).chain((r.end >> 12)..=last) {
            if mfn >= 256 && !is_ram(mfn) && frame(Mfn(mfn)).is_some_and(|f| f.owner().is_none()) {
                assign_io(Mfn(mfn));
            }
        }
    }
}

fn assign_io(mfn: Mfn) {
    if pages().assign(mfn, DomId::IO).is_err() {
        crate::error!("BUG: frame {mfn:#x} is neither RAM nor I/O");
    }
}
