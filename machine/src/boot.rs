//! From the boot loader to Rust: multiboot header, 32-bit entry, first page tables, long mode.
//!
//! | label        | enters with                                             | leaves with                    |
//! |--------------|---------------------------------------------------------|--------------------------------|
//! | `start32`    | eax = multiboot magic, ebx = information, paging off     | jumps to `start64`             |
//! | `start64`    | edi = magic, esi = information, paging on               | calls `ferroxen_boot(magic, info)` |
//! | `ap_trampoline` | real mode, cs = its page                             | jumps to `ap_start64`          |
//! | `ap_start64` | long mode, boot tables                                  | calls `bringup::ENTRY`         |
//!
//! The first tables map the low 4 GiB twice (identity, direct map) with 2 MiB pages, and 16 MiB
//! from the image's load address at the address that it is linked for.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .boot.header, "a"
    .balign 4
mb_header:
    .long 0x1BADB002
    .long 0x00010003
    .long -(0x1BADB002 + 0x00010003)
    .long mb_header - {voff}
    .long __image_start - {voff}
    .long __load_end - {voff}
    .long __image_reserved - {voff}
    .long start32 - {voff}

    .section .boot.text, "ax"
    .code32
    .global start32
start32:
    cli
    cld
    movl    %eax, %ebp
    movl    $(boot_stack_top - {voff}), %esp

    # 4 GiB of 2 MiB pages: present, writable, accessed, dirty, large.
    movl    $(boot_l2_ident - {voff}), %edi
    movl    $0xe3, %eax
    xorl    %ecx, %ecx
1:  movl    %eax, (%edi,%ecx,8)
    movl    $0, 4(%edi,%ecx,8)
    addl    $0x200000, %eax
    incl    %ecx
    cmpl    $2048, %ecx
    jne     1b

    movl    $(boot_l3_ident - {voff}), %edi
    movl    $(boot_l2_ident - {voff} + 0x23), %eax
    xorl    %ecx, %ecx
2:  movl    %eax, (%edi,%ecx,8)
    addl    $0x1000, %eax
    incl    %ecx
    cmpl    $4, %ecx
    jne     2b

    movl    $(boot_l2_image - {voff}), %edi
    movl    $({phys} + 0xe3), %eax
    xorl    %ecx, %ecx
3:  movl    %eax, (%edi,%ecx,8)
    addl    $0x200000, %eax
    incl    %ecx
    cmpl    $8, %ecx
    jne     3b
    movl    $(boot_l2_image - {voff} + 0x23), boot_l3_image - {voff} + {l3slot} * 8

    movl    $(boot_l3_ident - {voff} + 0x23), boot_l4 - {voff}
    movl    $(boot_l3_ident - {voff} + 0x23), boot_l4 - {voff} + 262 * 8
    movl    $(boot_l3_image - {voff} + 0x23), boot_l4 - {voff} + 261 * 8

    movl    %cr4, %eax
    orl     $0x6a0, %eax               # PAE, PGE, OSFXSR, OSXMMEXCPT
    movl    %eax, %cr4
    movl    $(boot_l4 - {voff}), %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx          # EFER: SCE, LME, NXE
    rdmsr
    orl     $0x901, %eax
    wrmsr
    movl    $0x80050033, %eax          # CR0: PG AM WP NE ET MP PE
    movl    %eax, %cr0
    lgdtl   boot_gdt_desc - {voff}
    movl    %ebp, %edi
    movl    %ebx, %esi
    ljmpl   $8, $(start64_low - {voff})

    .code64
start64_low:
    movabsq $start64, %rax
    jmpq    *%rax
start64:
    xorl    %eax, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %fs
    movl    %eax, %gs
    movl    %eax, %ss
    movabsq $boot_stack_top, %rsp
    movl    %edi, %edi
    movl    %esi, %esi
    xorl    %ebp, %ebp
    call    ferroxen_boot
    ud2

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
boot_gdt_desc:
    .word boot_gdt_desc - boot_gdt - 1
    .long boot_gdt - {voff}

    # The other CPUs' way: copied to a page below 1 MiB, entered in real mode at its first byte.
    # In:  cs = the page's segment.  Out: `ap_start64`, long mode, the boot tables loaded.
    .code16
    .balign 16
    .global ap_trampoline
ap_trampoline:
    cli
    cld
    movw    %cs, %ax
    movw    %ax, %ds
    movzwl  %ax, %ebx
    shll    $4, %ebx
    leal    (ap_gdt - ap_trampoline)(%ebx), %eax
    movl    %eax, (ap_gdt_desc - ap_trampoline + 2)
    leal    (ap_long - ap_trampoline)(%ebx), %eax
    movl    %eax, (ap_far - ap_trampoline)
    lgdtl   (ap_gdt_desc - ap_trampoline)
    movl    $0x6a0, %eax
    movl    %eax, %cr4
    movl    $(boot_l4 - {voff}), %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx
    rdmsr
    orl     $0x901, %eax
    wrmsr
    movl    $0x80050033, %eax          # protected mode and paging at once: compatibility mode
    movl    %eax, %cr0
    ljmpl   *(ap_far - ap_trampoline)
    .code64
ap_long:
    movabsq $ap_start64, %rax
    jmpq    *%rax
    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
ap_gdt_desc:
    .word 23
    .long 0
ap_far:
    .long 0
    .word 8
    .global ap_trampoline_end
ap_trampoline_end:
    .balign 16
ap_start64:
    xorl    %eax, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %fs
    movl    %eax, %gs
    movl    %eax, %ss
    movabsq $boot_stack_top, %rsp
    xorl    %ebp, %ebp
    movq    {ap_entry}(%rip), %rax
    call    *%rax
    ud2

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global boot_l4
boot_l4:        .skip 4096
boot_l3_ident:  .skip 4096
boot_l2_ident:  .skip 4096 * 4
boot_l3_image:  .skip 4096
boot_l2_image:  .skip 4096
boot_stack:     .skip 32768
boot_stack_top:
    .text
"#,
    voff = const crate::layout::IMAGE - crate::layout::IMAGE_PHYS,
    phys = const crate::layout::IMAGE_PHYS,
    l3slot = const (crate::layout::IMAGE >> 30) & 511,
    ap_entry = sym crate::bringup::ENTRY,
    options(att_syntax)
);

use crate::bootinfo::BootInfo;
use crate::entry::Kernel;
use crate::memory::{BOOT, CHUNK};
use crate::once::Once;
use crate::paging::{self, TABLES};
use crate::static_ref::StaticRef;

/// What a multiboot loader leaves in eax.
const MULTIBOOT_MAGIC: u32 = 0x2bad_b002;
/// Bytes after the image that are kept for page tables and CPUs' blocks.
const TABLE_BYTES: u64 = 512 << 10;

static INFO: Once<BootInfo> = Once::new();
static HEAP: StaticRef<crate::heap::Heap> = StaticRef::none();

/// What the boot loader said.
pub fn info() -> Option<&'static BootInfo> {
    INFO.get()
}

/// Bytes of the heap that are free.
pub fn heap_free() -> usize {
    HEAP.get().map_or(0, |h| h.free_bytes())
}

/// Gives the heap a 2 MiB block of frames that the caller has just allocated, and forgets. `false`,
/// and the block is still the caller's, if it is no such block.
pub fn grow_heap(first: abi::Mfn) -> bool {
    let (Some(heap), Some(at)) = (HEAP.get(), crate::memory::make_private(first)) else {
        return false;
    };
    // SAFETY: whole, mapped by the direct map, and private from now on.
    unsafe { heap.claim(at, crate::num::index(CHUNK)) };
    true
}

/// Gives up the ranges of RAM that are for guests: neither private nor a module's. The hypervisor
/// takes none for itself afterwards.
pub fn free_memory(mut f: impl FnMut(u64, u64)) {
    TABLES.lock().reserve();
    let mut boot = BOOT.lock();
    for r in boot.left() {
        f(r.start, r.end);
    }
    boot.close();
}

/// Makes the blocks of CPUs 1 to `count` - 1, before [`free_memory`]. Returns how many CPUs, the
/// first included, have theirs.
pub fn prepare_cpus<K: Kernel>(count: u32) -> u32 {
    let count = count.min(u32::try_from(crate::layout::MAX_CPUS).unwrap_or(1));
    let ready = (1..count).take_while(|&cpu| prepare_cpu::<K>(cpu).is_some()).count();
    u32::try_from(ready).unwrap_or(0).saturating_add(1)
}

/// Called by the image's entry symbol on the boot stack: makes the tables of the running system
/// and goes on in [`Kernel::start`] on the first CPU's own stack.
///
/// # Safety
/// Only as the continuation of `start64`, once, with its two arguments, and with the global
/// allocator `heap`.
pub unsafe fn run<K: Kernel>(magic: u32, info: u32, heap: &'static crate::heap::Heap) -> ! {
    if magic != MULTIBOOT_MAGIC || prepare(info, heap).is_none() {
        // Nothing to say it with yet.
        crate::cpu::halt_forever();
    }
    crate::desc::init_idt::<K>();
    crate::paging::activate();
    crate::patch::guards();
    if let Some(i) = INFO.get() {
        paging::share_out(i);
    }
    if prepare_cpu::<K>(0).is_none() {
        crate::cpu::halt_forever();
    }
    crate::percpu::on_own_stack(0, first_cpu::<K>)
}

fn prepare(info: u32, heap: &'static crate::heap::Heap) -> Option<()> {
    let mut boot_info = BootInfo::new();
    boot_info.read_multiboot(u64::from(info));
    INFO.set(boot_info);
    let info = INFO.get()?;
    BOOT.lock().init(info, paging::image_end_phys());
    // What the image leaves of its last chunk: first pages for tables, then the heap.
    let start = paging::image_end_phys();
    let end = start.next_multiple_of(CHUNK);
    let tables_end = start.saturating_add(TABLE_BYTES).min(end);
    let at = |phys: u64| {
        let va = crate::layout::DIRECT_MAP.wrapping_add(phys);
        core::ptr::with_exposed_provenance_mut::<u8>(crate::num::index(va))
    };
    let len = |from: u64, to: u64| crate::num::index(to.saturating_sub(from));
    // SAFETY: RAM after the image that `Boot::init` kept from being handed out, mapped by the boot
    // tables.
    unsafe { at(start).write_bytes(0, len(start, tables_end)) };
    TABLES.lock().give(start, tables_end);
    // SAFETY: as above, and not part of the tables' pages.
    unsafe { heap.claim(at(tables_end), len(tables_end, end)) };
    HEAP.set(Some(heap));
    TABLES.lock().build(info)
}

/// Makes the block of `cpu`: stub, area, descriptor tables, stacks.
pub(crate) fn prepare_cpu<K: Kernel>(cpu: u32) -> Option<()> {
    let [stub, area, gdt] = TABLES.lock().map_cpu(cpu)?;
    let at = |phys: u64| crate::num::index(crate::layout::DIRECT_MAP.wrapping_add(phys));
    let stub = core::ptr::with_exposed_provenance_mut::<[u8; 4096]>(at(stub));
    // SAFETY: a private page, fresh, used by nobody until the CPU starts.
    crate::desc::stub_code::<K>(cpu, unsafe { &mut *stub });
    let gdt = core::ptr::with_exposed_provenance_mut::<[u64; 512]>(at(gdt));
    // SAFETY: as above.
    crate::desc::init_gdt(cpu, unsafe { &mut *gdt });
    let area = core::ptr::with_exposed_provenance_mut::<[u8; 4096]>(at(area));
    // SAFETY: as above.
    let area = crate::percpu::init_area(cpu, unsafe { &mut *area });
    crate::desc::init_tss(cpu, &mut area.tss);
    Some(())
}

extern "C" fn first_cpu<K: Kernel>() -> ! {
    crate::desc::load(0);
    crate::desc::init_syscall(0);
    K::start(0)
}
