//! One 128 KiB block of address space for each CPU: found from the stack pointer by a mask.
//!
//! | offset  | what                                              |
//! |---------|---------------------------------------------------|
//! | 0x0000  | LSTAR stub (read, execute)                        |
//! | 0x1000  | [`Area`]: vCPU pointer, scratch, TSS              |
//! | 0x2000  | the hypervisor's page of the GDT                  |
//! | 0x3000  | stack for double faults                           |
//! | 0x4000  | stack for NMIs, 8 KiB                             |
//! | 0x6000  | stack for machine checks and debug exceptions     |
//! | 0x7000  | nothing: a guard, up to 0x10000                   |
//! | 0x10000 | main stack, the guest's registers at its top      |

use crate::hot::Hot;
use crate::layout::{CPU_BLOCK_SIZE, CPU_BLOCKS, MAX_CPUS};
use crate::num::index;
use crate::regs::GuestRegs;
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Offset of the [`Area`] in the block.
pub(crate) const AREA: u64 = 0x1000;
pub(crate) const STUB: u64 = 0;
pub(crate) const GDT_PAGE: u64 = 0x2000;
pub(crate) const DF_TOP: u64 = 0x4000;
pub(crate) const NMI_TOP: u64 = 0x6000;
pub(crate) const MC_TOP: u64 = 0x6800;
pub(crate) const DB_TOP: u64 = 0x7000;
/// The area's distance from the top of the main stack.
pub(crate) const AREA_FROM_TOP: isize = 0x1000 - 0x2_0000;
pub(crate) const AREA_HOT: usize = offset_of!(Area, hot);
pub(crate) const AREA_SCRATCH: usize = offset_of!(Area, scratch);

/// What the entry code needs of its CPU.
#[repr(C)]
pub(crate) struct Area {
    hot: AtomicPtr<Hot>,
    scratch: AtomicU64,
    cpu: AtomicU32,
    _pad: u32,
    pub(crate) tss: crate::desc::Tss,
}

static IDLE: Hot = Hot::new();

/// First address of a CPU's block.
pub(crate) fn block(cpu: u32) -> u64 {
    CPU_BLOCKS.wrapping_add(u64::from(cpu).wrapping_mul(CPU_BLOCK_SIZE))
}

#[inline(always)]
fn this_block() -> u64 {
    let rsp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) rsp, options(nostack, nomem, preserves_flags)) };
    rsp & !CPU_BLOCK_SIZE.wrapping_sub(1)
}

#[inline(always)]
fn area() -> &'static Area {
    // SAFETY: all Rust code but `boot` runs on a stack within a CPU's block, whose area was
    // initialised by `init` and is never unmapped; its fields are atomics (the TSS is only
    // written by `init`).
    unsafe { &*core::ptr::with_exposed_provenance::<Area>(index(this_block().wrapping_add(AREA))) }
}

/// Prepares a CPU's area, before it runs on its block; `page` is the area's page.
pub(crate) fn init_area(cpu: u32, page: &mut [u8; 4096]) -> &mut Area {
    debug_assert!((cpu as usize) < MAX_CPUS);
    let area = page.as_mut_ptr().cast::<Area>();
    // SAFETY: a page is larger than an Area, aligned, zeroed memory is a valid Area but for
    // `hot`, which is set before anyone looks.
    let area = unsafe { &mut *area };
    area.hot.store(core::ptr::from_ref(&IDLE).cast_mut(), Relaxed);
    area.cpu.store(cpu, Relaxed);
    area
}

/// This CPU's number: 0 for the one that booted, always below [`MAX_CPUS`].
#[inline(always)]
pub fn cpu_id() -> usize {
    area().cpu.load(Relaxed) as usize
}

/// The hot part of the vCPU that this CPU runs, or of the idle one.
#[inline(always)]
pub fn hot() -> &'static Hot {
    // SAFETY: only ever set from a `&'static`.
    unsafe { &*area().hot.load(Relaxed) }
}

/// Makes `hot` (`None`: the idle one) the running vCPU's for the entry code.
pub fn set_hot(hot: Option<&'static Hot>) {
    area().hot.store(core::ptr::from_ref(hot.unwrap_or(&IDLE)).cast_mut(), Relaxed);
}

/// Where this CPU's guest registers lie.
pub(crate) fn guest_regs_address() -> u64 {
    this_block().wrapping_add(CPU_BLOCK_SIZE).wrapping_sub(GuestRegs::SIZE as u64)
}

/// The registers with which the guest entered that this CPU served last: to be shown.
pub fn entry_regs() -> GuestRegs {
    let at = core::ptr::with_exposed_provenance::<GuestRegs>(index(guest_regs_address()));
    // SAFETY: mapped for as long as the CPU runs, plain data, and written by nobody but this CPU,
    // which is here now.
    unsafe { at.read_volatile() }
}

/// Sets the registers that the next exit to a guest loads. Only for the start of a CPU's life,
/// when nothing lies at the top of its stack.
pub fn set_guest_regs(regs: &GuestRegs) {
    let at = core::ptr::with_exposed_provenance_mut::<GuestRegs>(index(guest_regs_address()));
    // SAFETY: the top of this CPU's stack is kept free for this (see `on_own_stack`).
    unsafe { at.write(*regs) };
}

/// Runs `f` on `cpu`'s own main stack, below the place of the guest's registers.
pub(crate) fn on_own_stack(cpu: u32, f: extern "C" fn() -> !) -> ! {
    let top = block(cpu).wrapping_add(CPU_BLOCK_SIZE).wrapping_sub(GuestRegs::SIZE as u64);
    // SAFETY: the block is mapped and nothing uses its stack yet.
    unsafe {
        asm!("mov rsp, {}", "xor ebp, ebp", "call {}", "ud2", in(reg) top, in(reg) f,
             options(noreturn))
    }
}
