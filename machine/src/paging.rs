//! The hypervisor's page tables: one set of L4 slots, the same in every address space.
//!
//! All upper-level tables that will ever be needed are made at boot, so that the 16 entries of
//! [`hypervisor_slots`] never change and can be copied into a guest's L4 once.

use crate::bootinfo::BootInfo;
use crate::cpu::{cr4, write_cr3};
use crate::hot::Hot;
use crate::layout::*;
use crate::lock::Lock;
use crate::memory::{self, BOOT, CHUNK};
use crate::num::index;
use abi::Mfn;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of a page-table entry.
pub mod pte {
    #![allow(missing_docs)]
    pub const PRESENT: u64 = 1;
    pub const RW: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const PWT: u64 = 1 << 3;
    pub const PCD: u64 = 1 << 4;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    pub const PSE: u64 = 1 << 7;
    pub const GLOBAL: u64 = 1 << 8;
    pub const NX: u64 = 1 << 63;
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}
use pte::*;

/// Data of the hypervisor.
const DATA: u64 = PRESENT | RW | ACCESSED | DIRTY | GLOBAL | NX;
/// An entry that points to a lower table; the leaves decide.
const TABLE: u64 = PRESENT | RW | USER | ACCESSED | DIRTY;

type Table = [AtomicU64; 512];

/// The hypervisor's own tables and the private pages that they are made of.
pub(crate) struct Tables {
    root: u64,
    page_next: u64,
    page_end: u64,
    device_next: u64,
}

pub(crate) static TABLES: Lock<Tables> =
    Lock::new(Tables { root: 0, page_next: 0, page_end: 0, device_next: DEVICES });

/// The 16 L4 entries of the hypervisor's range.
static SLOTS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
/// Physical address of the L4 that holds nothing but these.
static ROOT: AtomicU64 = AtomicU64::new(0);
/// One bit for each [`CHUNK`] of the frame table that is mapped.
static FRAME_CHUNKS: [AtomicU64; (MAX_FRAMES >> 16 >> 6) as usize] =
    [const { AtomicU64::new(0) }; (MAX_FRAMES >> 16 >> 6) as usize];

fn table(phys: u64) -> &'static Table {
    let at = index(DIRECT_MAP.wrapping_add(phys & ADDRESS));
    // SAFETY: called for addresses of this module's own table pages only: private RAM, mapped
    // for ever, seen as atomics.
    unsafe { &*core::ptr::with_exposed_provenance::<Table>(at) }
}

fn slot(va: u64, level: u32) -> usize {
    (va >> 12u32.wrapping_add(9u32.wrapping_mul(level.wrapping_sub(1))) & 511) as usize
}

fn entry(table: &'static Table, index: usize) -> &'static AtomicU64 {
    static NONE: AtomicU64 = AtomicU64::new(0);
    table.get(index).unwrap_or(&NONE)
}

impl Tables {
    /// Gives zeroed private memory to make pages of.
    pub(crate) fn give(&mut self, start: u64, end: u64) {
        (self.page_next, self.page_end) = (start.next_multiple_of(4096), end & !0xfff);
    }

    /// A zeroed private page.
    pub(crate) fn page(&mut self) -> Option<u64> {
        if self.page_next == self.page_end {
            let chunk = BOOT.lock().take(1)?;
            (self.page_next, self.page_end) = (chunk, chunk.wrapping_add(CHUNK));
        }
        let page = self.page_next;
        self.page_next = page.wrapping_add(4096);
        Some(page)
    }

    /// Sees to it that enough pages are left for what is mapped after boot: device registers.
    pub(crate) fn reserve(&mut self) {
        const ENOUGH: u64 = 64 << 12;
        if self.page_end.wrapping_sub(self.page_next) < ENOUGH {
            let chunk = BOOT.lock().take(1);
            if let Some(chunk) = chunk {
                (self.page_next, self.page_end) = (chunk, chunk.wrapping_add(CHUNK));
            }
        }
    }

    /// The entry for `va` at `level`, tables on the way made as needed.
    fn entry_for(&mut self, va: u64, level: u32) -> Option<&'static AtomicU64> {
        let mut at = table(self.root);
        let mut depth = 4;
        while depth > level {
            let e = entry(at, slot(va, depth));
            if e.load(Relaxed) & PRESENT == 0 {
                let page = self.page()?;
                e.store(page | TABLE, Relaxed);
            }
            at = table(e.load(Relaxed));
            depth = depth.wrapping_sub(1);
        }
        Some(entry(at, slot(va, level)))
    }

    fn map_page(&mut self, va: u64, phys: u64, flags: u64) -> Option<()> {
        self.entry_for(va, 1)?.store(phys | flags, Relaxed);
        Some(())
    }

    fn map_large(&mut self, va: u64, phys: u64, flags: u64) -> Option<()> {
        self.entry_for(va, 2)?.store(phys | flags | PSE, Relaxed);
        Some(())
    }

    fn map_image(&mut self) -> Option<()> {
        let (text_end, ro_end, end) = image_sections();
        let mut va = IMAGE;
        let (stubs, stubs_len) = crate::desc::stubs();
        while va < end {
            let flags = if va < text_end || (va >= stubs && va < stubs.wrapping_add(stubs_len)) {
                PRESENT | ACCESSED | GLOBAL
            } else if va < ro_end {
                PRESENT | ACCESSED | GLOBAL | NX
            } else {
                DATA
            };
            self.map_page(va, va.wrapping_sub(IMAGE).wrapping_add(IMAGE_PHYS), flags)?;
            va = va.wrapping_add(4096);
        }
        Some(())
    }

    /// Maps all RAM at [`DIRECT_MAP`], and the frame table and M2P that describe it.
    fn map_memory(&mut self, info: &BootInfo) -> Option<()> {
        for r in info.memory().iter().filter(|r| r.kind == 1) {
            let mut at = r.start & !CHUNK.wrapping_sub(1);
            while at < r.end && at < MAX_FRAMES << 12 {
                self.map_large(DIRECT_MAP.wrapping_add(at), at, DATA)?;
                at = at.wrapping_add(CHUNK);
            }
        }
        for r in info.memory().iter().filter(|r| r.kind == 1) {
            let end = (r.end >> 12).min(MAX_FRAMES);
            self.map_frames(r.start >> 12, end)?;
        }
        Some(())
    }

    /// Backs the frame table and the M2P for frames `[start, end)`.
    fn map_frames(&mut self, start: u64, end: u64) -> Option<()> {
        let mut group = start >> 16; // 2 MiB of frame table: 65,536 frames of 32 bytes
        while group << 16 < end {
            let bit = 1u64.wrapping_shl((group & 63) as u32);
            let word = FRAME_CHUNKS.get((group >> 6) as usize)?;
            if word.fetch_or(bit, Relaxed) & bit == 0 {
                let chunk = BOOT.lock().take(1)?;
                self.map_large(FRAME_TABLE.wrapping_add(group << 21), chunk, DATA)?;
            }
            group = group.wrapping_add(1);
        }
        let mut group = start >> 18; // 2 MiB of M2P: 262,144 frames of 8 bytes
        while group << 18 < end {
            let va = group << 21;
            let rw = self.entry_for(M2P_RW.wrapping_add(va), 2)?;
            if rw.load(Relaxed) == 0 {
                let chunk = BOOT.lock().take(1)?;
                let p = core::ptr::with_exposed_provenance_mut::<u64>(index(
                    DIRECT_MAP.wrapping_add(chunk),
                ));
                // SAFETY: the chunk is private, just taken, and nobody else's.
                unsafe { p.write_bytes(0xff, (CHUNK >> 3) as usize) };
                rw.store(chunk | DATA | PSE, Relaxed);
                let ro = self.entry_for(M2P.wrapping_add(va), 2)?;
                ro.store(chunk | PRESENT | USER | ACCESSED | GLOBAL | NX | PSE, Relaxed);
            }
            group = group.wrapping_add(1);
        }
        Some(())
    }

    /// Builds the tables of the running system. The boot tables stay loaded until [`activate`].
    pub(crate) fn build(&mut self, info: &BootInfo) -> Option<()> {
        self.root = self.page()?;
        EMPTY.store(self.page()?, Relaxed);
        self.map_image()?;
        self.map_memory(info)?;
        // Tables for what is mapped later, so that the L4 slots are final.
        self.entry_for(DEVICES, 1)?;
        self.entry_for(CPU_BLOCKS, 1)?;
        self.entry_for(DESC_WINDOWS, 1)?;
        for (i, slot) in SLOTS.iter().enumerate() {
            let e = entry(table(self.root), i.wrapping_add(256)).load(Relaxed);
            slot.store(if e == 0 { 0 } else { e & !USER | if i == 0 { USER } else { 0 } }, Relaxed);
        }
        for (i, slot) in SLOTS.iter().enumerate() {
            entry(table(self.root), i.wrapping_add(256)).store(slot.load(Relaxed), Relaxed);
        }
        ROOT.store(self.root, Relaxed);
        Some(())
    }

    /// Maps a CPU's block and descriptor window, and returns the physical addresses of its stub,
    /// area and GDT pages.
    pub(crate) fn map_cpu(&mut self, cpu: u32) -> Option<[u64; 3]> {
        use crate::percpu::*;
        let base = block(cpu);
        let [stub, area, gdt] = [self.page()?, self.page()?, self.page()?];
        self.map_page(base.wrapping_add(STUB), stub, PRESENT | ACCESSED | GLOBAL)?;
        self.map_page(base.wrapping_add(AREA), area, DATA)?;
        self.map_page(base.wrapping_add(GDT_PAGE), gdt, DATA)?;
        let stacks = [0x3000, 0x4000, 0x5000, 0x6000].into_iter().chain((16..32).map(|n| n << 12));
        for offset in stacks {
            let page = self.page()?;
            self.map_page(base.wrapping_add(offset), page, DATA)?;
        }
        let window = crate::desc::window(cpu);
        let zero = EMPTY.load(Relaxed);
        for i in 0..14 {
            self.map_page(window.wrapping_add(i << 12), zero, PRESENT | ACCESSED | NX)?;
        }
        self.map_page(window.wrapping_add(14 << 12), gdt, DATA)?;
        self.entry_for(window.wrapping_add(16 << 12), 1)?;
        Some([stub, area, gdt])
    }

    /// Maps device registers, uncached, and returns their address.
    fn map_device(&mut self, phys: u64, len: u64) -> Option<u64> {
        let first = phys & !0xfff;
        let va = self.device_next;
        let end = phys.checked_add(len)?;
        let mut at = first;
        while at < end {
            self.map_page(self.device_next, at, DATA | PCD | PWT)?;
            self.device_next = self.device_next.wrapping_add(4096);
            at = at.wrapping_add(4096);
        }
        Some(va.wrapping_add(phys & 0xfff))
    }
}

/// Where the image's read-only code, its constants and all of it end.
fn image_sections() -> (u64, u64, u64) {
    unsafe extern "C" {
        static __text_end: u8;
        static __rodata_end: u8;
        static __image_end: u8;
    }
    let at = |p: *const u8| p.addr() as u64;
    (at(&raw const __text_end), at(&raw const __rodata_end), at(&raw const __image_end))
}

/// First physical address after the image.
pub(crate) fn image_end_phys() -> u64 {
    image_sections().2.wrapping_sub(IMAGE).wrapping_add(IMAGE_PHYS)
}

/// Whether `va` is in the hypervisor's code.
pub fn is_hypervisor_text(va: u64) -> bool {
    (IMAGE..image_sections().0).contains(&va)
}

/// Loads the hypervisor's own address space and turns on what protects it.
pub(crate) fn activate() {
    // SAFETY: `build` made a root that maps all that is in use.
    unsafe { write_cr3(ROOT.load(Relaxed)) };
    let features = crate::cpu::cpuid(7, 0);
    let has = |word: usize, bit: u32| features.get(word).is_some_and(|w| w >> bit & 1 != 0);
    let mut value = cr4::PAE | cr4::DE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    for (on, flag) in [
        (global_pages(), cr4::PGE),
        (has(1, 7), cr4::SMEP),
        (has(1, 20), cr4::SMAP),
        (has(1, 0), cr4::FSGSBASE),
        (has(2, 2), cr4::UMIP),
        (crate::cpu::cpuid(1, 0).get(2).is_some_and(|c| c >> 26 & 1 != 0), cr4::OSXSAVE),
    ] {
        value |= if on { flag } else { 0 };
    }
    // SAFETY: paging stays as it is; the rest are protections and instructions.
    unsafe { crate::cpu::write_cr4(value) };
    // SAFETY: the layout that our flags use (entry 0 write-back, 3 uncached) is kept.
    unsafe { crate::cpu::wrmsr(crate::cpu::msr::PAT, crate::cpu::PAT_LAYOUT) };
    crate::cpu::flush_tlb_all();
}

/// Whether pages are to be global: kept over changes of CR3, and flushed by two writes of CR4. Below
/// another hypervisor on AMD's processors those writes cost more than what is kept (Xen's choice, too).
fn global_pages() -> bool {
    let below_another = crate::cpu::cpuid(1, 0).get(2).is_some_and(|ecx| ecx >> 31 & 1 != 0);
    let vendor = crate::cpu::cpuid(0, 0).get(1).copied().unwrap_or(0).to_le_bytes();
    !(below_another && (&vendor == b"Auth" || &vendor == b"Hygo"))
}

/// Makes the M2P, frame table and direct map known to [`memory`] once the tables are active.
pub(crate) fn share_out(info: &BootInfo) {
    let boot = BOOT.lock();
    // What is neither free nor a module, in RAM above 1 MiB, is private.
    let free = |chunk: u64| {
        let (start, end) = (chunk << 21, chunk.wrapping_add(1) << 21);
        chunk == 0
            || boot.left().iter().any(|r| r.start < end && start < r.end)
            || info.modules().iter().any(|m| m.start() < end && start < m.end())
    };
    for r in info.memory().iter().filter(|r| r.kind == 1) {
        memory::share_out(r.start, r.end.min(MAX_FRAMES << 12), |chunk| !free(chunk));
    }
}

/// Maps the registers of a device.
pub(crate) fn map_device(phys: u64, len: u64) -> Option<u64> {
    TABLES.lock().map_device(phys, len)
}

/// Whether the frame table has a record for `mfn`.
#[inline]
pub(crate) fn frame_mapped(mfn: Mfn) -> bool {
    let group = mfn.0 >> 16;
    let word = FRAME_CHUNKS.get((group >> 6) as usize);
    word.is_some_and(|w| w.load(Relaxed) >> (group & 63) & 1 != 0)
}

/// Writes the hypervisor's 16 slots into a guest's L4.
pub fn install_hypervisor_slots(l4: &[AtomicU64; 512]) {
    for (to, from) in l4.iter().skip(256).zip(&SLOTS) {
        to.store(from.load(Relaxed), Relaxed);
    }
}

/// Sets what guests read in the M2P for `mfn`: the frame's number in its owner's count, or all
/// ones.
#[inline]
pub fn set_m2p(mfn: Mfn, pfn: u64) {
    if frame_mapped(mfn) {
        let at = index(M2P_RW.wrapping_add(mfn.0.wrapping_mul(8)));
        // SAFETY: where the frame table is mapped, so is the M2P, for ever; seen as atomics.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(at) }.store(pfn, Relaxed);
    }
}

/// What the M2P says of `mfn`.
#[inline]
pub fn m2p(mfn: Mfn) -> Option<u64> {
    let at = index(M2P_RW.wrapping_add(mfn.0.wrapping_mul(8)));
    frame_mapped(mfn).then(|| {
        // SAFETY: as in `set_m2p`.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(at) }.load(Relaxed)
    })
}

/// First frame of the 2 MiB that hold the M2P's entries for frames `group << 18` and up; `None` if
/// there are no such frames.
pub fn m2p_chunk(group: u64) -> Option<Mfn> {
    if group >= MAX_FRAMES >> 18 {
        return None;
    }
    let va = M2P_RW.wrapping_add(group << 21);
    let mut at = table(ROOT.load(Relaxed));
    for level in [4, 3] {
        let e = entry(at, slot(va, level)).load(Relaxed);
        if e & PRESENT == 0 {
            return None;
        }
        at = table(e);
    }
    let e = entry(at, slot(va, 2)).load(Relaxed);
    (e & PRESENT != 0).then_some(Mfn((e & ADDRESS) >> 12))
}

/// Loads the page tables that `hot`'s mode asks for, or the hypervisor's own for `None`.
pub fn load_tables(hot: Option<&Hot>) {
    let phys = match hot {
        Some(h) if h.in_kernel() => h.cr3_kernel(),
        Some(h) => h.cr3_user(),
        None => 0,
    };
    let phys = if phys == 0 { ROOT.load(Relaxed) } else { phys };
    // SAFETY: a vCPU's tables are validated L4s (which hold our slots) while they are set.
    unsafe { write_cr3(phys) };
}

/// Loads the tables of `hot`'s mode, and drops all of this CPU's translations.
pub fn load_tables_and_flush(hot: &Hot) {
    load_tables(Some(hot));
    if crate::cpu::read_cr4() & cr4::PGE != 0 {
        crate::cpu::flush_tlb_all();
    }
}

/// Switches the running guest between its kernel and user mode: GS base and page tables.
pub fn toggle_mode(hot: &Hot) {
    hot.set_kernel_mode(!hot.in_kernel());
    // SAFETY: the hypervisor does not use GS; the guest's two bases change places.
    unsafe { core::arch::asm!("swapgs", options(nostack, nomem)) };
    load_tables(Some(hot));
}

/// What becomes of translations of the windows whose entries change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stale {
    /// They are dropped one by one.
    Dropped,
    /// All of this CPU's are dropped before anything is looked up in the windows.
    FlushFollows,
}

fn set_window_entry(entry: &AtomicU64, value: u64, va: u64, stale: Stale) {
    if entry.swap(value, Relaxed) != value && stale == Stale::Dropped {
        crate::cpu::invlpg(va);
    }
}

/// Puts the guest's GDT pages into this CPU's window; the rest become the empty page.
pub fn set_guest_gdt(cpu: usize, frames: &[Mfn], stale: Stale) {
    let base = crate::desc::window(u32::try_from(cpu).unwrap_or(0));
    let Some(l1) = walk_l1(base) else { return };
    for i in 0..14usize {
        let e = entry(l1, slot(base, 1).wrapping_add(i));
        let value = match frames.get(i) {
            Some(m) => m.0 << 12 | PRESENT | RW | ACCESSED | DIRTY | NX,
            None => EMPTY.load(Relaxed) | PRESENT | ACCESSED | NX,
        };
        set_window_entry(e, value, base.wrapping_add((i as u64) << 12), stale);
    }
}

/// A page of zeroes, standing in for descriptors that a guest has not set.
static EMPTY: AtomicU64 = AtomicU64::new(0);

/// Sets one page of this CPU's LDT window, `None` to empty it.
pub fn set_guest_ldt_page(cpu: usize, page: usize, frame: Option<Mfn>, stale: Stale) {
    let base = crate::desc::window(u32::try_from(cpu).unwrap_or(0)).wrapping_add(16 << 12);
    let Some(l1) = walk_l1(base) else { return };
    let value = frame.map_or(0, |m| m.0 << 12 | PRESENT | RW | ACCESSED | DIRTY | NX);
    if page < 16 {
        let e = entry(l1, slot(base, 1).wrapping_add(page));
        set_window_entry(e, value, base.wrapping_add((page as u64) << 12), stale);
    }
}

/// Whether `cpu`'s block was made.
pub(crate) fn has_cpu_block(cpu: u32) -> bool {
    let area = crate::percpu::block(cpu).wrapping_add(crate::percpu::AREA);
    walk_l1(area).is_some_and(|l1| entry(l1, slot(area, 1)).load(Relaxed) & PRESENT != 0)
}

fn walk_l1(va: u64) -> Option<&'static Table> {
    let mut at = table(ROOT.load(Relaxed));
    for level in [4, 3, 2] {
        let e = entry(at, slot(va, level)).load(Relaxed);
        if e & PRESENT == 0 || e & PSE != 0 && level == 2 {
            return None;
        }
        at = table(e);
    }
    Some(at)
}
