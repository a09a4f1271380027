//! User mode: an address space of its own, going there, and coming back.

use crate::global::Global;
use crate::hypercall::{call2, ext, mmuext, nr};
use crate::memory::{self, PRESENT, Page, USER, WRITE, entry};
use crate::traps::{self, Frame, KERNEL_SS, Trap};
use core::arch::global_asm;

/// Where user code runs.
pub const CODE: u64 = 0x40_0000;
/// The top of the user stack.
pub const STACK_TOP: u64 = 0x40_2000;
/// The system call that ends user mode.
pub const EXIT: u64 = 0x1000;

global_asm!(
    r#"
    .pushsection .text, "ax"
    # RDI: user RIP, RSI: user RSP. Returns when user mode ends, with RAX of its last call.
    .globl user_enter
    user_enter:
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        mov [rip + {saved}], rsp
        push 0xe02b
        push rsi
        push 0x200
        push 0xe033
        push rdi
        push 0
        push 0
        push 0
        push 0
        mov eax, 23
        syscall
        ud2

    .globl user_leave
    user_leave:
        mov rsp, [rip + {saved}]
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret

    # A system call of user mode: RCX, R11, RIP, CS, RFLAGS, RSP, SS are on the stack. Call EXIT
    # ends user mode; all others go straight back, the way that the low 8 bits of RDI say:
    # 0 as a fast return, 1 as a full one.
    .globl user_syscall
    user_syscall:
        cmp rax, {exit}
        je user_leave
        add rsp, 16
        test dil, dil
        jne 1f
        push 0x100
        jmp 2f
    1:  push 0
    2:  push rcx
        push r11
        push rax
        mov eax, 23
        syscall
        ud2

    # User code: RDI is the kind of return, R12 the number of calls. Markers for the counting
    # plugin stand around the loop: 0x10 and 0x11 for fast returns, 0x12 and 0x13 for full ones.
    .globl user_loop
    user_loop:
        test dil, dil
        jne 4f
        prefetchnta [0x4c414210]
    3:  mov eax, 1
        syscall
        dec r12
        jne 3b
        prefetchnta [0x4c414211]
        mov eax, {exit}
        syscall
    4:  prefetchnta [0x4c414212]
    5:  mov eax, 1
        syscall
        dec r12
        jne 5b
        prefetchnta [0x4c414213]
        mov eax, {exit}
        syscall
    .globl user_loop_end
    user_loop_end:
    .popsection
    "#,
    saved = sym SAVED_STACK,
    exit = const EXIT,
);

static SAVED_STACK: Global<u64> = Global::new(0);
/// Traps and calls of user mode start at the end of this; it is not the main stack, where the
/// way back lies.
static KERNEL_STACK: [Page; 4] = [const { Page::new() }; 4];

unsafe extern "C" {
    fn user_enter(rip: u64, rsp: u64) -> u64;
    fn user_leave();
    fn user_syscall();
    fn user_loop();
    fn user_loop_end();
}

/// A user address space: one page of code, one of stack.
pub struct Space {
    /// Its top table, pinned.
    pub top: &'static Page,
    /// The table that maps code and stack.
    pub l1: &'static Page,
    /// The page of code, writable for the kernel.
    pub code: &'static Page,
}

/// Makes a user address space and makes it the one of this CPU.
pub fn space() -> Space {
    let (code, stack) = (memory::page(), memory::page());
    let first = ((CODE >> 12) & 511) as usize;
    let l1 = memory::table_with(&[
        (first, entry(code.mfn(), PRESENT | USER)),
        (first + 1, entry(stack.mfn(), PRESENT | WRITE | USER)),
    ]);
    let table = PRESENT | WRITE | USER;
    let l2 = memory::table_with(&[(((CODE >> 21) & 511) as usize, entry(l1.mfn(), table))]);
    let l3 = memory::table_with(&[(0, entry(l2.mfn(), table))]);
    let top = memory::table_with(&[(0, entry(l3.mfn(), table))]);
    let pinned = mmuext(ext::PIN_L4, top.mfn(), 0);
    assert!(pinned == 0, "pinning the user table gives {pinned}");
    let based = mmuext(ext::NEW_USER_BASEPTR, top.mfn(), 0);
    assert!(based == 0, "setting the user table gives {based}");
    let stack_top = KERNEL_STACK[3].va() + 4096;
    let switched = call2(nr::STACK_SWITCH, u64::from(KERNEL_SS), stack_top);
    assert!(switched == 0, "stack_switch gives {switched}");
    let handler = user_syscall as *const () as u64;
    let registered = traps::register_callback(2, handler);
    assert!(registered == 0, "registering the system call gives {registered}");
    Space { top, l1, code }
}

impl Space {
    /// Puts code there.
    pub fn load(&self, code: &[u8]) {
        assert!(code.len() <= 4096);
        for (index, chunk) in code.chunks(8).enumerate() {
            let mut word = [0x90; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.code.write(index, u64::from_le_bytes(word));
        }
    }

    /// Puts the loop of system calls there, preceded by its parameters.
    pub fn load_loop(&self, full: bool, calls: u32) {
        let start = user_loop as *const () as usize;
        let len = user_loop_end as *const () as usize - start;
        // SAFETY: the two labels enclose code of this image, which nobody writes.
        let body = unsafe { core::slice::from_raw_parts(start as *const u8, len) };
        let mut code = [0x90u8; 512];
        // mov edi, full; mov r12d, calls
        code[0] = 0xbf;
        code[1..5].copy_from_slice(&u32::from(full).to_le_bytes());
        code[5..7].copy_from_slice(&[0x41, 0xbc]);
        code[7..11].copy_from_slice(&calls.to_le_bytes());
        code[16..16 + len].copy_from_slice(body);
        self.load(&code);
    }

    /// Runs user code until it makes the call [`EXIT`] or faults.
    pub fn run(&self) -> Result<(), Trap> {
        let _ = traps::take();
        // SAFETY: `user_enter` keeps the callee-saved registers and comes back by `user_leave`,
        // from the call or from the trap handler; user mode can reach none of our memory.
        unsafe { user_enter(CODE, STACK_TOP) };
        traps::take().map_or(Ok(()), Err)
    }
}

/// Goes to user mode without there being a user address space.
pub fn enter_without_space() {
    // SAFETY: as in `Space::run`; the hypervisor is expected not to let it happen.
    unsafe { user_enter(CODE, STACK_TOP) };
}

/// Makes the trap handler return to the kernel, behind `run`.
pub(crate) fn leave_from_trap(frame: &mut Frame) {
    frame.rip = user_leave as *const () as u64;
    frame.cs = u64::from(traps::KERNEL_CS & !3);
    frame.ss = u64::from(KERNEL_SS);
    frame.rsp = SAVED_STACK.get();
}
