//! Physical memory: the hypervisor's own part, and access to the rest.
//!
//! Memory is *private* (the hypervisor's own tables and heap, in whole 2 MiB chunks set aside at
//! boot) or *shared out* (everything else: guests own it, or will). Shared-out memory is reached
//! here by frame number, copied or through atomics, never borrowed; private memory never is.

use crate::bootinfo::{BootInfo, MemoryRange};
use crate::layout::{DIRECT_MAP, IMAGE_PHYS, MAX_FRAMES};
use crate::lock::Lock;
use crate::num::index;
use abi::{Mfn, PAGE_SIZE};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// log2 of the bytes of a chunk.
pub(crate) const CHUNK_SHIFT: u32 = 21;
/// Bytes of a chunk.
pub(crate) const CHUNK: u64 = 1 << CHUNK_SHIFT;
const CHUNK_WORDS: usize = (MAX_FRAMES >> 9 >> 6) as usize;

/// One bit for each chunk: it holds RAM that is not private.
static SHARED_OUT: [AtomicU64; CHUNK_WORDS] = [const { AtomicU64::new(0) }; CHUNK_WORDS];

fn chunk_bit(mfn: u64) -> (usize, u64) {
    let chunk = mfn >> 9;
    ((chunk >> 6) as usize, 1u64.wrapping_shl((chunk & 63) as u32))
}

/// Whether `mfn` may be accessed as shared-out memory.
#[inline]
fn accessible(mfn: Mfn) -> bool {
    let (word, bit) = chunk_bit(mfn.0);
    SHARED_OUT.get(word).is_some_and(|w| w.load(Relaxed) & bit != 0)
}

/// Chunks given to the hypervisor so far, and how many pages of RAM there are.
pub(crate) struct Boot {
    free: [MemoryRange; 64],
    count: usize,
}

pub(crate) static BOOT: Lock<Boot> =
    Lock::new(Boot { free: [MemoryRange { start: 0, end: 0, kind: 0 }; 64], count: 0 });

impl Boot {
    /// Notes what of the RAM is free: all but the first MiB, the image and the modules.
    pub(crate) fn init(&mut self, info: &BootInfo, image_end: u64) {
        for r in info.memory().iter().filter(|r| r.kind == 1) {
            let start = r.start.max(0x10_0000).next_multiple_of(PAGE_SIZE as u64);
            let end = (r.end & !(PAGE_SIZE as u64).wrapping_sub(1)).min(MAX_FRAMES << 12);
            if start < end {
                self.add(start, end);
            }
        }
        // The image's chunk is the hypervisor's, what follows the image in it as well.
        self.remove(IMAGE_PHYS, image_end.next_multiple_of(CHUNK));
        for m in info.modules() {
            self.remove(m.start() & !0xfff, m.end().next_multiple_of(PAGE_SIZE as u64));
        }
    }

    fn add(&mut self, start: u64, end: u64) {
        if let Some(slot) = self.free.get_mut(self.count) {
            *slot = MemoryRange { start, end, kind: 1 };
            self.count = self.count.wrapping_add(1);
        }
    }

    fn remove(&mut self, start: u64, end: u64) {
        let mut i = 0;
        while i < self.count {
            let Some(r) = self.free.get(i).copied() else { break };
            if start >= r.end || end <= r.start {
                i = i.wrapping_add(1);
                continue;
            }
            let last = self.count.wrapping_sub(1);
            self.free.swap(i, last);
            self.count = last;
            if r.start < start {
                self.add(r.start, start);
            }
            if end < r.end {
                self.add(end, r.end);
            }
        }
    }

    /// Takes `len` bytes, whole chunks, from the top of what is free below 4 GiB.
    fn carve(&mut self, len: u64) -> Option<u64> {
        let free = self.free.get(..self.count)?;
        let fit = |r: &MemoryRange| {
            let end = r.end.min(1 << 32) & !CHUNK.wrapping_sub(1);
            end.checked_sub(len).filter(|&start| start >= r.start)
        };
        let start = free.iter().filter_map(fit).max()?;
        self.remove(start, start.wrapping_add(len));
        Some(start)
    }

    /// Takes `chunks` chunks for the hypervisor, contiguous, below 4 GiB, zeroed. At boot only.
    pub(crate) fn take(&mut self, chunks: u64) -> Option<u64> {
        let len = chunks.checked_mul(CHUNK)?;
        let start = self.carve(len)?;
        let p =
            core::ptr::with_exposed_provenance_mut::<u64>(index(DIRECT_MAP.wrapping_add(start)));
        // SAFETY: free RAM below 4 GiB, mapped by the boot tables, and nobody else's from here on.
        unsafe { p.write_bytes(0, (len >> 3) as usize) };
        Some(start)
    }

    /// Nothing is left to take: what was free has an owner.
    pub(crate) fn close(&mut self) {
        self.count = 0;
    }

    /// The free RAM that is left for guests.
    pub(crate) fn left(&self) -> &[MemoryRange] {
        self.free.get(..self.count).unwrap_or(&[])
    }
}

/// Takes a chunk of free frames from those that allocate them: it becomes private, and accessors
/// refuse it from now on. The caller has just got it, whole, from the heap of frames, and forgets it.
pub(crate) fn make_private(first: Mfn) -> Option<*mut u8> {
    let (word, bit) = chunk_bit(first.0);
    let had = SHARED_OUT.get(word)?.fetch_and(!bit, Relaxed) & bit;
    (had != 0 && first.0 & 511 == 0).then(|| pointer(first).cast())
}

/// Marks the chunks that overlap a range of RAM as accessible to [`page`] and the like, but for
/// private ones. Called for each range of RAM at boot.
pub(crate) fn share_out(start: u64, end: u64, private: impl Fn(u64) -> bool) {
    let mut chunk = start >> CHUNK_SHIFT;
    while chunk << CHUNK_SHIFT < end {
        if !private(chunk) {
            let (word, bit) = chunk_bit(chunk << 9);
            if let Some(w) = SHARED_OUT.get(word) {
                w.fetch_or(bit, Relaxed);
            }
        }
        chunk = chunk.wrapping_add(1);
    }
}

fn pointer(mfn: Mfn) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(index(DIRECT_MAP.wrapping_add(mfn.0 << 12)))
}

/// A shared-out page as 512 atomic words; `None` when there is no such memory.
#[inline]
pub fn page(mfn: Mfn) -> Option<&'static [AtomicU64; 512]> {
    // SAFETY: shared-out RAM stays mapped for ever, and is only accessed through atomics and
    // copies that do not assume it to be still.
    accessible(mfn).then(|| unsafe { &*pointer(mfn).cast::<[AtomicU64; 512]>() })
}

/// Fills a page with zeroes.
pub fn clear_page(mfn: Mfn) -> bool {
    if accessible(mfn) {
        // SAFETY: shared-out RAM; whoever looks at the same time sees one value or the other.
        unsafe { clear(pointer(mfn)) };
        return true;
    }
    false
}

/// # Safety
/// `at` must be a page of mapped RAM.
unsafe fn clear(at: *mut u64) {
    // SAFETY: as promised by the caller.
    unsafe {
        core::arch::asm!("rep stosq", inout("rcx") 512u64 => _, inout("rdi") at => _,
                         in("rax") 0u64, options(nostack));
    }
}

/// Copies a page.
pub fn copy_page(to: Mfn, from: Mfn) -> bool {
    if accessible(to) && accessible(from) {
        // SAFETY: as for `copy_within`; a page each.
        unsafe { copy(pointer(to).cast(), pointer(from).cast(), PAGE_SIZE) };
        return true;
    }
    false
}

/// # Safety
/// Both must be valid for `len` bytes of mapped RAM, which others may change meanwhile.
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: as promised by the caller; written in assembly because the guest may write too.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            "mov rcx, {tail}",
            "rep movsb",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack)
        );
    }
}

fn span(mfn: Mfn, offset: usize, len: usize) -> Option<*mut u8> {
    let fits = offset.checked_add(len).is_some_and(|end| end <= PAGE_SIZE);
    // SAFETY: the offset stays within the page.
    (fits && accessible(mfn)).then(|| unsafe { pointer(mfn).cast::<u8>().add(offset) })
}

/// Copies bytes into a page at `offset`.
pub fn write_page(mfn: Mfn, offset: usize, bytes: &[u8]) -> bool {
    let Some(to) = span(mfn, offset, bytes.len()) else { return false };
    // SAFETY: `span` checked the destination.
    unsafe { copy(to, bytes.as_ptr(), bytes.len()) };
    true
}

/// Copies bytes out of a page at `offset`.
pub fn read_page(mfn: Mfn, offset: usize, bytes: &mut [u8]) -> bool {
    let Some(from) = span(mfn, offset, bytes.len()) else { return false };
    // SAFETY: `span` checked the source.
    unsafe { copy(bytes.as_mut_ptr(), from, bytes.len()) };
    true
}

/// Copies between two pages.
pub fn copy_within(to: (Mfn, usize), from: (Mfn, usize), len: usize) -> bool {
    match (span(to.0, to.1, len), span(from.0, from.1, len)) {
        (Some(to), Some(from)) => {
            // SAFETY: `span` checked both sides.
            unsafe { copy(to, from, len) };
            true
        }
        _ => false,
    }
}

/// A boot module's bytes. Taken before the first guest runs; the module's memory must not be
/// given away before the last use (see [`crate::boot`]).
pub fn module_bytes(module: &crate::bootinfo::Module) -> &'static [u8] {
    let (start, end) = (module.start(), module.end());
    let p = core::ptr::with_exposed_provenance::<u8>(index(DIRECT_MAP.wrapping_add(start)));
    // SAFETY: the loader put the module there, in RAM that `Boot::init` kept from being handed
    // out; nobody writes to it while the builder reads.
    unsafe { core::slice::from_raw_parts(p, index(end.saturating_sub(start))) }
}

macro_rules! view {
    ($(#[$doc:meta])* $name:ident, $atomic:ty, $size:literal) => {
        $(#[$doc])*
        #[inline]
        pub fn $name<const N: usize>(mfn: Mfn, offset: usize) -> Option<&'static [$atomic; N]> {
            if !offset.is_multiple_of(size_of::<$atomic>()) {
                return None;
            }
            let at = span(mfn, offset, N.checked_mul($size)?)?;
            // SAFETY: `span` checked bounds; shared-out RAM stays mapped for ever and is only seen
            // through atomics and copies; the alignment was checked.
            Some(unsafe { &*at.cast::<[$atomic; N]>() })
        }
    };
}
view!(
    /// `N` bytes of a shared-out page.
    view8, core::sync::atomic::AtomicU8, 1
);
view!(
    /// `N` 16-bit words of a shared-out page; the offset must be aligned.
    view16, core::sync::atomic::AtomicU16, 2
);
view!(
    /// `N` 32-bit words of a shared-out page; the offset must be aligned.
    view32, core::sync::atomic::AtomicU32, 4
);
view!(
    /// `N` 64-bit words of a shared-out page; the offset must be aligned.
    view64, AtomicU64, 8
);

/// A large stretch of RAM taken out of what is free, for the time of booting.
pub struct Scratch {
    start: u64,
    len: u64,
}

/// Takes `bytes` of free RAM below 4 GiB, before the free memory is given to the heap; contents
/// are what they were. [`Scratch::release`] says where it was, so that it can be given to the
/// heap then.
pub fn scratch(bytes: u64) -> Option<Scratch> {
    let len = bytes.checked_next_multiple_of(CHUNK)?;
    let start = BOOT.lock().carve(len)?;
    Some(Scratch { start, len })
}

impl Scratch {
    /// Its bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        let at = index(DIRECT_MAP.wrapping_add(self.start));
        let at = core::ptr::with_exposed_provenance_mut::<u8>(at);
        // SAFETY: `carve` took it out of the free memory, so nobody else has it while `self` lives;
        // shared-out memory's accessors are only given frames that the heap handed out.
        unsafe { core::slice::from_raw_parts_mut(at, index(self.len)) }
    }

    /// Gives it up; returns the range, free from now on.
    pub fn release(self) -> (u64, u64) {
        (self.start, self.start.wrapping_add(self.len))
    }
}
