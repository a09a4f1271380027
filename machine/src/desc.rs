//! Descriptor tables: GDT, TSS and IDT.
//!
//! The processor sees each CPU's GDT through its window: 14 pages that the running guest set,
//! then the hypervisor's page with the flat segments of the PV ABI and this CPU's TSS.

use crate::cpu::{msr, wrmsr};
use crate::entry::{self, Kernel};
use crate::layout::{CPU_BLOCK_SIZE, DESC_WINDOW_SIZE, DESC_WINDOWS};
use crate::num::index;
use crate::percpu::{self, DB_TOP, DF_TOP, MC_TOP, NMI_TOP};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Descriptors below this index are the guest's.
pub const FIRST_RESERVED_GDT_ENTRY: usize = 7168;
/// Hypervisor code.
pub(crate) const HYPERVISOR_CS: u16 = 0xe008;
const TSS_SELECTOR: u16 = 0xe040;
/// Guest code, 32 bits, ring 3.
pub const FLAT_USER_CS32: u16 = 0xe023;
/// Guest data and stack, ring 3.
pub const FLAT_USER_SS: u16 = 0xe02b;
/// Guest code, 64 bits, ring 3.
pub const FLAT_CS64: u16 = 0xe033;

/// A 64-bit task-state segment.
#[repr(C, packed(4))]
pub(crate) struct Tss {
    _reserved: u32,
    rsp: [u64; 3],
    _reserved1: u64,
    ist: [u64; 7],
    _reserved2: u64,
    _reserved3: u16,
    iomap: u16,
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Fills the TSS of `cpu`.
pub(crate) fn init_tss(cpu: u32, tss: &mut Tss) {
    let block = percpu::block(cpu);
    tss.rsp = [block.wrapping_add(CPU_BLOCK_SIZE), 0, 0];
    tss.ist = [
        block.wrapping_add(DF_TOP),
        block.wrapping_add(NMI_TOP),
        block.wrapping_add(MC_TOP),
        block.wrapping_add(DB_TOP),
        0,
        0,
        0,
    ];
    tss.iomap = u16::try_from(size_of::<Tss>()).unwrap_or(u16::MAX);
}

/// Fills the hypervisor's GDT page of `cpu`.
pub(crate) fn init_gdt(cpu: u32, page: &mut [u64; 512]) {
    let tss = percpu::block(cpu)
        .wrapping_add(percpu::AREA)
        .wrapping_add(core::mem::offset_of!(percpu::Area, tss) as u64);
    let limit = (size_of::<Tss>() as u64).wrapping_sub(1);
    let entries: [u64; 10] = [
        0,
        0x00af_9b00_0000_ffff, // 0xe008 hypervisor code
        0x00cf_9300_0000_ffff, // 0xe010 hypervisor data
        0x00cf_bb00_0000_ffff, // 0xe019 ring 1 code (unused in 64-bit mode)
        0x00cf_fb00_0000_ffff, // 0xe023 ring 3 code, 32 bits
        0x00cf_f300_0000_ffff, // 0xe02b ring 3 data
        0x00af_fb00_0000_ffff, // 0xe033 ring 3 code, 64 bits
        0,
        limit | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56,
        tss >> 32,
    ];
    for (slot, entry) in page.iter_mut().zip(entries) {
        *slot = entry;
    }
}

/// First address of `cpu`'s descriptor window.
pub(crate) fn window(cpu: u32) -> u64 {
    DESC_WINDOWS.wrapping_add(u64::from(cpu).wrapping_mul(DESC_WINDOW_SIZE))
}

/// Loads this CPU's tables; its block and window are mapped and filled.
pub(crate) fn load(cpu: u32) {
    let gdt = TablePointer { limit: 0xefff, base: window(cpu) };
    let idt = TablePointer { limit: 4095, base: core::ptr::from_ref(&IDT).addr() as u64 };
    // SAFETY: the GDT window holds the descriptors named below; reloading cs by a far return to
    // the next instruction keeps running the same code.
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "push {cs}",
            "lea {tmp}, [rip + 2f]",
            "push {tmp}",
            "retfq",
            "2:",
            "xor {tmp:e}, {tmp:e}",
            "mov ds, {tmp:e}",
            "mov es, {tmp:e}",
            "mov fs, {tmp:e}",
            "mov gs, {tmp:e}",
            "mov ss, {tmp:e}",
            "lldt {tmp:x}",
            "ltr {tss:x}",
            "lidt [{idt}]",
            gdt = in(reg) &gdt,
            idt = in(reg) &idt,
            cs = const HYPERVISOR_CS,
            tss = in(reg) TSS_SELECTOR,
            tmp = out(reg) _,
        );
    }
}

/// Sets the LDT to `entries` descriptors at the start of this CPU's LDT window, none for 0.
pub fn load_ldt(cpu: usize, entries: u32) {
    if entries == 0 {
        // SAFETY: the null selector makes every LDT reference fault in the guest.
        unsafe { asm!("lldt {0:x}", in(reg) 0u32, options(nostack)) };
        return;
    }
    let cpu = u32::try_from(cpu).unwrap_or(0);
    let base = window(cpu).wrapping_add(0x1_0000);
    let limit = u64::from(entries.min(8192)).wrapping_mul(8).wrapping_sub(1);
    let low = limit & 0xffff | (base & 0xff_ffff) << 16 | 0x82 << 40 | (base >> 24 & 0xff) << 56;
    // The LDT's descriptor takes entries 10 and 11.
    let page = percpu::block(cpu).wrapping_add(percpu::GDT_PAGE);
    let page = core::ptr::with_exposed_provenance::<[AtomicU64; 12]>(index(page));
    // SAFETY: the start of this CPU's own GDT page, mapped for good and seen as atomics.
    let [.., first, second] = unsafe { &*page };
    first.store(low, Relaxed);
    second.store(base >> 32, Relaxed);
    // SAFETY: the descriptor just written covers the window's LDT pages only.
    unsafe { asm!("lldt {0:x}", in(reg) 0xe050u32, options(nostack)) };
}

/// Whether `selector` names 64-bit code in the GDT that this CPU sees.
pub fn is_long_code(cpu: usize, selector: u64) -> bool {
    let offset = selector & 0xfff8;
    if selector & 4 != 0 || offset >= 0xf000 {
        return false;
    }
    let at = index(window(u32::try_from(cpu).unwrap_or(0)).wrapping_add(offset));
    // SAFETY: the GDT window's 15 pages are always mapped; seen as an atomic.
    let entry = unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(at) };
    entry.load(Relaxed) >> 53 & 1 != 0
}

/// The offset of `address` in `cpu`'s LDT window, if it lies there.
pub fn ldt_offset(cpu: usize, address: u64) -> Option<u64> {
    let start = window(u32::try_from(cpu).unwrap_or(0)).wrapping_add(0x1_0000);
    let offset = address.wrapping_sub(start);
    (offset < 0x1_0000).then_some(offset)
}

static IDT: [[AtomicU64; 2]; 256] = [const { [const { AtomicU64::new(0) }; 2] }; 256];

/// 16 bytes of code for each vector: push an error code where the CPU does not, push the vector,
/// jump to the common entry.
#[repr(C, align(4096))]
struct Stubs([[AtomicU64; 2]; 256]);
static STUBS: Stubs = Stubs([const { [const { AtomicU64::new(0) }; 2] }; 256]);

/// Address range of the stubs, to be made executable.
pub(crate) fn stubs() -> (u64, u64) {
    (core::ptr::from_ref(&STUBS).addr() as u64, size_of::<Stubs>() as u64)
}

fn pushes_error_code(vector: usize) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

/// Writes the entry stubs and the IDT, once, before the stubs' page becomes read-only.
pub(crate) fn init_idt<K: Kernel>() {
    for (vector, (stub, gate)) in STUBS.0.iter().zip(&IDT).enumerate() {
        let at = core::ptr::from_ref(stub).addr() as u64;
        let target = match vector {
            1 => entry::debug::<K> as *const () as u64,
            _ => entry::common::<K> as *const () as u64,
        };
        let mut code = [0x90u8; 16];
        // push 0 | nop nop; push imm32; jmp rel32
        let head: [u8; 2] = if pushes_error_code(vector) { [0x90, 0x90] } else { [0x6a, 0] };
        let rel = target.wrapping_sub(at.wrapping_add(12)).to_le_bytes();
        let number = (vector as u64).to_le_bytes();
        let bytes = head.into_iter().chain([0x68]).chain(number.into_iter().take(4));
        let bytes = bytes.chain([0xe9]).chain(rel.into_iter().take(4));
        for (slot, byte) in code.iter_mut().zip(bytes) {
            *slot = byte;
        }
        for (word, bytes) in stub.iter().zip(code.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Relaxed);
        }
        let ist = match vector {
            8 => 1,
            2 => 2,
            18 => 3,
            1 => 4,
            _ => 0u64,
        };
        // INT3 and INTO may be used by guests; other software interrupts fault first.
        let dpl = if matches!(vector, 3 | 4) { 3u64 } else { 0 };
        let [low, high] = gate;
        low.store(
            at & 0xffff
                | u64::from(HYPERVISOR_CS) << 16
                | ist << 32
                | 0x8e00 << 32
                | dpl << 45
                | (at >> 16 & 0xffff) << 48,
            Relaxed,
        );
        high.store(at >> 32, Relaxed);
    }
}

/// Makes SYSCALL on this CPU enter by its stub, with interrupts off.
pub(crate) fn init_syscall(cpu: u32) {
    let stub = percpu::block(cpu).wrapping_add(percpu::STUB);
    let star = u64::from(FLAT_USER_CS32) << 48 | u64::from(HYPERVISOR_CS) << 32;
    for (register, value) in [
        (msr::STAR, star),
        (msr::LSTAR, stub),
        (msr::CSTAR, stub.wrapping_add(0x800)),
        // TF IF DF NT RF AC; IOPL is the guest's business only in `rflags` it is shown.
        (msr::SYSCALL_MASK, 0x0005_4700),
        (msr::SYSENTER_CS, 0),
    ] {
        // SAFETY: the stub is mapped, executable and leads to `entry::syscall`.
        unsafe { wrmsr(register, value) };
    }
}

/// The bytes of `cpu`'s LSTAR stub page: save rsp, load the stack, jump on.
pub(crate) fn stub_code<K: Kernel>(cpu: u32, page: &mut [u8; 4096]) {
    let at = percpu::block(cpu).wrapping_add(percpu::STUB);
    let scratch =
        percpu::block(cpu).wrapping_add(percpu::AREA).wrapping_add(percpu::AREA_SCRATCH as u64);
    let top = percpu::block(cpu).wrapping_add(CPU_BLOCK_SIZE);
    let target = entry::syscall::<K> as *const () as u64;
    let rel = |to: u64, end: u64| to.wrapping_sub(at.wrapping_add(end)).to_le_bytes();
    let code = [0x48, 0x89, 0x25] // mov [rip + scratch], rsp
        .into_iter()
        .chain(rel(scratch, 7).into_iter().take(4))
        .chain([0x48, 0x8d, 0x25]) // lea rsp, [rip + top]
        .chain(rel(top, 14).into_iter().take(4))
        .chain([0xe9]) // jmp
        .chain(rel(target, 19).into_iter().take(4));
    for (slot, byte) in page.iter_mut().zip(code) {
        *slot = byte;
    }
    // CSTAR (32-bit SYSCALL on AMD): not offered; an invalid instruction in the hypervisor would
    // be ours, so return at once to where it came from with SYSRET.
    let sysret32 = [0x0f, 0x07];
    for (slot, byte) in page.iter_mut().skip(0x800).zip(sysret32) {
        *slot = byte;
    }
}
