//! Entries from guests and exits to them.
//!
//! Interrupts stay off from entry to exit. All entries leave a [`GuestRegs`] at the top of the
//! CPU's stack and call one function of [`Kernel`]; system calls of guest user mode and the
//! `iret` hypercall do not come that far: they run wholly here.
//!
//! | label           | enters with                                     | leaves by                    |
//! |-----------------|-------------------------------------------------|------------------------------|
//! | `syscall`       | rsp = top of stack, guest's rsp in the area      | `sysretq`, `Kernel::hypercall` |
//! | `common`        | rsp -> vector, error code, hardware frame        | `iretq`, `Kernel::*`          |
//! | `exit_to_guest` | rsp -> GuestRegs                                 | `iretq` or `sysretq`          |
//!
//! Labels 92 and 93 mark five bytes of no operation, spelt out since an assembler would take four:
//! room for a call (see [`crate::patch`]).
//!
//! In the assembly `area` is the CPU's [`Area`], `hot` the running vCPU's [`Hot`].

use crate::hot;
use crate::percpu::{AREA_FROM_TOP, AREA_HOT, AREA_SCRATCH};
use crate::regs::GuestRegs;
use core::arch::naked_asm;

/// What the hypervisor proper does on each kind of entry.
pub trait Kernel {
    /// A CPU begins here, on its own stack, interrupts off.
    fn start(cpu: u32) -> !;
    /// A guest kernel called; number in rax, arguments in rdi, rsi, rdx, r10, r8.
    fn hypercall(regs: &mut GuestRegs);
    /// A guest's code raised exception `regs.vector`, or IRET to it faulted.
    fn exception(regs: &mut GuestRegs, cr2: u64);
    /// A system call of guest user mode that the short path could not bounce.
    fn syscall(regs: &mut GuestRegs);
    /// An interrupt; `from_guest` tells whether it found a guest or the idle loop running.
    fn interrupt(vector: u8, from_guest: bool);
    /// The last step before a guest runs: deferred work, scheduling, event delivery.
    fn exit(regs: &mut GuestRegs);
    /// A non-maskable interrupt.
    fn nmi(regs: &GuestRegs);
    /// An exception in the hypervisor itself. Does not return.
    fn fatal(regs: &GuestRegs, cr2: u64) -> !;
}

const VECTOR_SYSCALL: u64 = GuestRegs::SYSCALL;
const VECTOR_IRET_FAULT: u64 = GuestRegs::IRET_FAULT;
/// A system call of user mode for which the short path had switched to kernel mode already.
const VECTOR_TOGGLED: u64 = 0x102;

/// Target of each CPU's LSTAR stub.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn syscall<K: Kernel>() {
    naked_asm!(
        "pushq $0xe02b",
        "pushq {scratch} + 8(%rsp)",
        "pushq %r11",
        "pushq $0xe033",
        "pushq %rcx",
        "pushq $0",
        "pushq ${vec}",
        "92: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
        ".pushsection .patch_sites,\"a\"; .long 92b - .; .byte 2, 0, 0, 0; .popsection",
        "movq {hot} + 56(%rsp), %rcx",
        "cmpb $0, {kernel_mode}(%rcx)",
        "jne 5f",
        // -- A system call of user mode: bounce it. Frame on the kernel's stack, low to high:
        //    rcx r11 rip cs rflags rsp ss. The saved event mask rides in cs, bits 32 to 39.
        "cmpq $0, {syscall_entry}(%rcx)",
        "je 8f",
        "swapgs",
        "movq {cr3_kernel}(%rcx), %r11",
        "movq %r11, %cr3",
        "movb $1, {kernel_mode}(%rcx)",
        "pushq %rax",
        "pushq %rdx",
        "movq {kernel_sp}(%rcx), %r11",
        "movq {vcpu_info}(%rcx), %rdx",
        "andq $-16, %r11",
        "movzbl 1(%rdx), %eax",
        "testl %eax, %eax",
        "jnz 7f",
        "movb {syscall_masks}(%rcx), %al",
        "movb %al, 1(%rdx)",
        "movq 48(%rsp), %rdx", // rflags
        "movq 32(%rsp), %rax", // rip
        "90: stac",
        ".pushsection .patch_sites,\"a\"; .long 90b - .; .byte 1, 0, 0, 0; .popsection",
        "20: movq %rax, -56(%r11)",
        "21: movq %rdx, -48(%r11)",
        "22: movq %rax, -40(%r11)",
        "23: movq $0xe033, -32(%r11)",
        "movq 56(%rsp), %rax",
        "24: movq %rdx, -24(%r11)",
        "25: movq %rax, -16(%r11)",
        "26: movq $0xe02b, -8(%r11)",
        "91: clac",
        ".pushsection .patch_sites,\"a\"; .long 91b - .; .byte 1, 0, 0, 0; .popsection",
        "subq $56, %r11",
        "movq {syscall_entry}(%rcx), %rcx",
        "movq %r11, 56(%rsp)",
        "movq %rdx, %r11",
        "93: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
        ".pushsection .patch_sites,\"a\"; .long 93b - .; .byte 3, 0, 0, 0; .popsection",
        "popq %rdx",
        "andl $~{cleared}, %r11d",
        "popq %rax",
        "orl $0x200, %r11d",
        "movq 40(%rsp), %rsp",
        "sysretq",
        // -- From the guest's kernel: `iret`, or a hypercall.
        "5:",
        "cmpl $23, %eax",
        "jne 8f",
        "movq 48 - 8(%rsp), %r11",
        // Both ends of the nine words must lie outside the hypervisor's range.
        "leaq 71(%r11), %rax",
        "shrq $43, %rax",
        "cmpl $0x1ffff0, %eax",
        "je 6f",
        "movq %r11, %rax",
        "shrq $43, %rax",
        "cmpl $0x1ffff0, %eax",
        "je 6f",
        "90: stac",
        ".pushsection .patch_sites,\"a\"; .long 90b - .; .byte 1, 0, 0, 0; .popsection",
        "30: movq 40(%r11), %rax", // cs
        "andl $3, %eax",
        "cmpl $3, %eax",
        "jne 9f",
        "cmpq $0, {cr3_user}(%rcx)",
        "je 9f",
        "31: movq 48(%r11), %rax", // rflags; masked events and VM are the long path's
        "testl $0x200, %eax",
        "jz 9f",
        "orl $0x200, %eax",
        "andl $~(0x3000 | 0x20000), %eax",
        "movq %rax, 32(%rsp)",
        "movq {vcpu_info}(%rcx), %rax",
        "cmpb $0, (%rax)",
        "jne 9f",
        "movb $0, 1(%rax)",
        "32: movzwl 64(%r11), %eax", // ss: the last word first, so that a fault finds rsp intact
        "orl $3, %eax",
        "movl %eax, 48(%rsp)",
        "33: movzwl 40(%r11), %eax", // cs
        "cmpl $0xe023, %eax",
        "je 9f",
        "movl %eax, 24(%rsp)",
        "34: movq 32(%r11), %rax", // rip
        "movq %rax, 16(%rsp)",
        "35: movq 56(%r11), %rax", // rsp
        "movq %rax, 40(%rsp)",
        "36: testl $256, 24(%r11)", // VGCF_in_syscall
        "jz 10f",
        // Return by SYSRET when the address is canonical.
        "37: movq (%r11), %rax",
        "93: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
        ".pushsection .patch_sites,\"a\"; .long 93b - .; .byte 3, 0, 0, 0; .popsection",
        "91: clac",
        ".pushsection .patch_sites,\"a\"; .long 91b - .; .byte 1, 0, 0, 0; .popsection",
        "movq {cr3_user}(%rcx), %r11",
        "movb $0, {kernel_mode}(%rcx)",
        "swapgs",
        "movq %r11, %cr3",
        "movq 16(%rsp), %rcx",
        "movq %rcx, %r11",
        "shrq $47, %r11",
        "jnz 11f",
        "movl 32(%rsp), %r11d",
        "movq 40(%rsp), %rsp",
        "sysretq",
        // Return by IRET, rcx and r11 from the frame.
        "10:",
        "38: pushq 16(%r11)",
        "39: pushq 8(%r11)",
        "40: movq (%r11), %rax",
        "93: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
        ".pushsection .patch_sites,\"a\"; .long 93b - .; .byte 3, 0, 0, 0; .popsection",
        "91: clac",
        ".pushsection .patch_sites,\"a\"; .long 91b - .; .byte 1, 0, 0, 0; .popsection",
        "movq {cr3_user}(%rcx), %r11",
        "movb $0, {kernel_mode}(%rcx)",
        "swapgs",
        "movq %r11, %cr3",
        "popq %r11",
        "popq %rcx",
        "11:",
        "addq $16, %rsp",
        "50: iretq",
        // -- Long paths. 6, 8: nothing saved yet; 9: after `stac`; 7: after the two pushes.
        "9: clac",
        ".pushsection .patch_sites,\"a\"; .long 9b - .; .byte 1, 0, 0, 0; .popsection",
        "6: movl $23, %eax",
        "8:",
        // Restore what SYSCALL itself would leave: rcx = rip, r11 = rflags of the frame.
        "movq 16(%rsp), %rcx",
        "movq 32(%rsp), %r11",
        "jmp 60f",
        "7:",
        "popq %rdx",
        "popq %rax",
        "movl ${toggled}, (%rsp)",
        "movq 16(%rsp), %rcx",
        "movq 32(%rsp), %r11",
        "60:",
        "jmp {long}",
        // Faults on the kernel's stack while bouncing: mode is kernel already.
        "70: clac",
        ".pushsection .patch_sites,\"a\"; .long 70b - .; .byte 1, 0, 0, 0; .popsection",
        "jmp 7b",
        ".pushsection .ex_table,\"a\"",
        ".long 20b - ., 70b - .",
        ".long 21b - ., 70b - .",
        ".long 22b - ., 70b - .",
        ".long 23b - ., 70b - .",
        ".long 24b - ., 70b - .",
        ".long 25b - ., 70b - .",
        ".long 26b - ., 70b - .",
        ".long 30b - ., 9b - .",
        ".long 31b - ., 9b - .",
        ".long 32b - ., 9b - .",
        ".long 33b - ., 9b - .",
        ".long 34b - ., 9b - .",
        ".long 35b - ., 9b - .",
        ".long 36b - ., 9b - .",
        ".long 37b - ., 9b - .",
        ".long 38b - ., 9b - .",
        ".long 39b - ., 71f - .",
        ".long 40b - ., 72f - .",
        ".long 50b - ., {iret_fault} - .",
        ".popsection",
        "72: addq $8, %rsp",
        "71: addq $8, %rsp",
        "jmp 9b",
        scratch = const AREA_FROM_TOP + AREA_SCRATCH as isize,
        hot = const AREA_FROM_TOP + AREA_HOT as isize,
        vec = const VECTOR_SYSCALL,
        toggled = const VECTOR_TOGGLED,
        kernel_mode = const hot::KERNEL_MODE,
        syscall_masks = const hot::SYSCALL_MASKS,
        cr3_kernel = const hot::CR3_KERNEL,
        cr3_user = const hot::CR3_USER,
        kernel_sp = const hot::KERNEL_SP,
        syscall_entry = const hot::SYSCALL_ENTRY,
        vcpu_info = const hot::VCPU_INFO,
        cleared = const crate::regs::rflags::CLEARED_ON_ENTRY,
        long = sym syscall_long::<K>,
        iret_fault = sym iret_fault::<K>,
        options(att_syntax)
    )
}

/// The debug exception comes on a stack of its own (a guest can leave one pending over SYSCALL);
/// one that found a guest running goes on as usual from the top of the main stack.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn debug<K: Kernel>() {
    naked_asm!(
        "testb $3, 24(%rsp)",
        "jz {common}",
        "pushq %rax",
        "movq %rsp, %rax",
        "orq ${mask}, %rsp",
        "incq %rsp",
        "pushq 56(%rax)",
        "pushq 48(%rax)",
        "pushq 40(%rax)",
        "pushq 32(%rax)",
        "pushq 24(%rax)",
        "pushq 16(%rax)",
        "pushq 8(%rax)",
        "movq (%rax), %rax",
        "jmp {common}",
        mask = const crate::layout::CPU_BLOCK_SIZE - 1,
        common = sym common::<K>,
        options(att_syntax)
    )
}

/// Saves all registers and calls [`Kernel::hypercall`] or [`Kernel::syscall`].
#[unsafe(naked)]
unsafe extern "C" fn syscall_long<K: Kernel>() {
    naked_asm!(
        "pushq %rdi", "pushq %rsi", "pushq %rdx", "pushq %rcx", "pushq %rax",
        "pushq %r8", "pushq %r9", "pushq %r10", "pushq %r11", "pushq %rbx",
        "pushq %rbp", "pushq %r12", "pushq %r13", "pushq %r14", "pushq %r15",
        "movq %rsp, %rdi",
        "xorl %ebp, %ebp",
        "cld",
        "call {handler}",
        "jmp {exit}",
        handler = sym long_handler::<K>,
        exit = sym exit_to_guest::<K>,
        options(att_syntax)
    )
}

extern "C" fn long_handler<K: Kernel>(regs: &mut GuestRegs) {
    if regs.vector == VECTOR_TOGGLED {
        regs.vector = GuestRegs::SYSCALL;
        K::syscall(regs);
    } else if crate::percpu::hot().in_kernel() {
        K::hypercall(regs);
    } else {
        K::syscall(regs);
    }
}

/// Every vector but SYSCALL comes here, with vector and error code pushed by its stub.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn common<K: Kernel>() {
    naked_asm!(
        "pushq %rdi", "pushq %rsi", "pushq %rdx", "pushq %rcx", "pushq %rax",
        "pushq %r8", "pushq %r9", "pushq %r10", "pushq %r11", "pushq %rbx",
        "pushq %rbp", "pushq %r12", "pushq %r13", "pushq %r14", "pushq %r15",
        "movq %rsp, %rdi",
        "movq %cr2, %rsi",
        "xorl %ebp, %ebp",
        "cld",
        "testb $3, 144(%rsp)",
        "jz 2f",
        "92: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
        ".pushsection .patch_sites,\"a\"; .long 92b - .; .byte 2, 0, 0, 0; .popsection",
        "cmpl $2, 120(%rsp)",
        "je 2f",
        "call {guest}",
        "jmp {exit}",
        "2: call {own}",
        "popq %r15", "popq %r14", "popq %r13", "popq %r12", "popq %rbp",
        "popq %rbx", "popq %r11", "popq %r10", "popq %r9", "popq %r8",
        "popq %rax", "popq %rcx", "popq %rdx", "popq %rsi", "popq %rdi",
        "addq $16, %rsp",
        "iretq",
        guest = sym guest_trap::<K>,
        own = sym own_trap::<K>,
        exit = sym exit_to_guest::<K>,
        options(att_syntax)
    )
}

extern "C" fn guest_trap<K: Kernel>(regs: &mut GuestRegs, cr2: u64) {
    match u8::try_from(regs.vector) {
        Ok(vector) if vector >= 32 => K::interrupt(vector, true),
        _ => K::exception(regs, cr2),
    }
}

/// A trap that found the hypervisor running: the idle loop's interrupts, accesses to guest
/// memory with a fix-up, and otherwise a bug.
extern "C" fn own_trap<K: Kernel>(regs: &mut GuestRegs, cr2: u64) {
    match u8::try_from(regs.vector) {
        Ok(vector) if vector >= 32 => K::interrupt(vector, false),
        Ok(2) => K::nmi(regs),
        // A debug exception that a guest left pending over SYSCALL (MOV SS shadow).
        Ok(1) => crate::cpu::clear_dr6_status(),
        _ => match crate::extable::fixup(regs.rip) {
            Some(to) => regs.rip = to,
            None => K::fatal(regs, cr2),
        },
    }
}

/// Calls [`Kernel::exit`], restores the guest's registers and enters it.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn exit_to_guest<K: Kernel>() {
    naked_asm!(
        "movq %rsp, %rdi",
        "call {exit}",
        "93: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
        ".pushsection .patch_sites,\"a\"; .long 93b - .; .byte 3, 0, 0, 0; .popsection",
        "popq %r15", "popq %r14", "popq %r13", "popq %r12", "popq %rbp",
        "popq %rbx", "popq %r11", "popq %r10", "popq %r9", "popq %r8",
        "popq %rax", "popq %rcx", "popq %rdx", "popq %rsi", "popq %rdi",
        "cmpl ${vec}, (%rsp)",
        "jne 1f",
        // SYSRET gives rip = rcx, rflags = r11, flat selectors; only for canonical addresses.
        "movq 16(%rsp), %rcx",
        "movq %rcx, %r11",
        "sarq $47, %r11",
        "incl %r11d",
        "cmpl $1, %r11d",
        "ja 2f",
        "movq 32(%rsp), %r11",
        "movq 40(%rsp), %rsp",
        "sysretq",
        "2: movq 32(%rsp), %r11",
        "1: addq $16, %rsp",
        "3: iretq",
        ".pushsection .ex_table,\"a\"",
        ".long 3b - ., {iret_fault} - .",
        ".popsection",
        exit = sym exit_handler::<K>,
        vec = const VECTOR_SYSCALL,
        iret_fault = sym iret_fault::<K>,
        options(att_syntax)
    )
}

extern "C" fn exit_handler<K: Kernel>(regs: &mut GuestRegs) {
    K::exit(regs);
}

/// Fix-up of the IRET to a guest: its registers are live, rsp points to the bad frame.
#[unsafe(naked)]
unsafe extern "C" fn iret_fault<K: Kernel>() {
    naked_asm!(
        "pushq $0",
        "pushq ${vec}",
        "jmp {common}",
        vec = const VECTOR_IRET_FAULT,
        common = sym common_guest::<K>,
        options(att_syntax)
    )
}

/// As [`common`], for what is the guest's fault whatever cs its frame holds.
#[unsafe(naked)]
unsafe extern "C" fn common_guest<K: Kernel>() {
    naked_asm!(
        "pushq %rdi", "pushq %rsi", "pushq %rdx", "pushq %rcx", "pushq %rax",
        "pushq %r8", "pushq %r9", "pushq %r10", "pushq %r11", "pushq %rbx",
        "pushq %rbp", "pushq %r12", "pushq %r13", "pushq %r14", "pushq %r15",
        "movq %rsp, %rdi",
        "xorl %esi, %esi",
        "xorl %ebp, %ebp",
        "cld",
        // The way out had been gone already.
        "92: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
        ".pushsection .patch_sites,\"a\"; .long 92b - .; .byte 2, 0, 0, 0; .popsection",
        "call {guest}",
        "jmp {exit}",
        guest = sym guest_trap::<K>,
        exit = sym exit_to_guest::<K>,
        options(att_syntax)
    )
}

/// Gives up the boot (or idle) stack and enters the guest through [`Kernel::exit`].
///
/// The CPU's `GuestRegs` must have been set by [`crate::percpu::guest_regs`].
pub fn enter_guest<K: Kernel>() -> ! {
    let regs = crate::percpu::guest_regs_address();
    // SAFETY: the stack below `regs` belongs to this CPU and nothing on it is used again, since
    // this function does not return.
    unsafe {
        core::arch::asm!(
            "movq {regs}, %rsp",
            "xorl %ebp, %ebp",
            "jmp {exit}",
            regs = in(reg) regs,
            exit = sym exit_to_guest::<K>,
            options(noreturn, att_syntax)
        )
    }
}
