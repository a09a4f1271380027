//! Exceptions: the trap table, the entry stubs, and a record of what came.
//!
//! The hypervisor pushes, from low to high: RCX, R11, [error code], RIP, CS, RFLAGS, RSP, SS. A
//! frame from our own kernel mode shows CS with privilege level 0.

use crate::global::Global;
use crate::hypercall::{addr, call, call2, nr};
use crate::{events, println, start};
use core::arch::global_asm;

/// The 64-bit code segment that the hypervisor provides.
pub const KERNEL_CS: u16 = 0xe033;
/// The data segment that the hypervisor provides.
pub const KERNEL_SS: u16 = 0xe02b;

/// The non-maskable interrupt.
const NMI: u64 = 2;
/// The vector under which events come to [`on_trap`].
const EVENT: u64 = 256;
/// The vector under which a failed return comes.
const FAILSAFE: u64 = 257;

global_asm!(
    r#"
    .macro STUB vector, has_error
    trap_\vector:
        pop rcx
        pop r11
        .if \has_error == 0
        push 0
        .endif
        push \vector
        jmp trap_common
    .endm
    .pushsection .text, "ax"
    STUB 0, 0
    STUB 1, 0
    STUB 2, 0
    STUB 3, 0
    STUB 4, 0
    STUB 5, 0
    STUB 6, 0
    STUB 7, 0
    STUB 8, 1
    STUB 9, 0
    STUB 10, 1
    STUB 11, 1
    STUB 12, 1
    STUB 13, 1
    STUB 14, 1
    STUB 15, 0
    STUB 16, 0
    STUB 17, 1
    STUB 18, 0
    STUB 19, 0
    STUB 20, 0
    STUB 21, 1
    STUB 128, 0
    STUB 256, 0
    # A frame that could not be returned to: DS, ES, FS, GS lie between R11 and RIP.
    trap_257:
        pop rcx
        pop r11
        add rsp, 32
        push 0
        push 257
        jmp trap_common

    trap_common:
        push rax
        push rbx
        push rcx
        push rdx
        push rsi
        push rdi
        push rbp
        push r8
        push r9
        push r10
        push r11
        push r12
        push r13
        push r14
        push r15
        mov rdi, rsp
        mov rbp, rsp
        and rsp, -16
        cld
        call {on_trap}
        mov rsp, rbp
        pop r15
        pop r14
        pop r13
        pop r12
        pop r11
        pop r10
        pop r9
        pop r8
        pop rbp
        pop rdi
        pop rsi
        pop rdx
        pop rcx
        pop rbx
        pop rax
        add rsp, 16
        push 0
        push rcx
        push r11
        push rax
        mov eax, 23
        syscall
        ud2
    .popsection
    .pushsection .rodata, "a"
    .balign 8
    .globl trap_stubs
    trap_stubs:
        .quad trap_0, trap_1, trap_2, trap_3, trap_4, trap_5, trap_6, trap_7
        .quad trap_8, trap_9, trap_10, trap_11, trap_12, trap_13, trap_14, trap_15
        .quad trap_16, trap_17, trap_18, trap_19, trap_20, trap_21, trap_128
        .quad trap_256, trap_257
    .popsection
    "#,
    on_trap = sym on_trap,
);

const STUBS: usize = 25;

unsafe extern "C" {
    safe static trap_stubs: [u64; STUBS];
}

/// All registers at a trap, as the stubs push them.
#[repr(C)]
#[allow(missing_docs)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// What is remembered of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Trap {
    /// 14 for a page fault, and so on.
    pub vector: u64,
    /// Error code; 0 where there is none.
    pub error: u64,
    /// The address of a page fault; otherwise left over.
    pub cr2: u64,
    /// The instruction.
    pub rip: u64,
}

/// An entry of the virtual interrupt table.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct TrapInfo {
    /// Which.
    pub vector: u8,
    /// Least privilege that may `int` it (low 2 bits); 4 masks events.
    pub flags: u8,
    /// Code segment.
    pub cs: u16,
    /// Handler; 0 ends the table.
    pub address: u64,
}

static LAST: Global<Option<Trap>> = Global::new(None);
/// Where to go on after an expected exception; 0 when none is expected.
pub(crate) static RESUME: Global<u64> = Global::new(0);

/// Forgets the last exception, and returns it.
pub fn take() -> Option<Trap> {
    let last = LAST.get();
    LAST.set(None);
    last
}

/// The handler's address of a vector; `None` for those without a stub.
pub fn stub(vector: u64) -> Option<u64> {
    let index = match vector {
        0..=21 => usize::try_from(vector).ok()?,
        128 => 22,
        256 => 23,
        257 => 24,
        _ => return None,
    };
    trap_stubs.get(index).copied()
}

/// Sets the trap table, and the callbacks for events and failed returns.
pub fn install() {
    let mut table = [TrapInfo::default(); 24];
    let vectors = (0u8..22).chain([128]);
    for (entry, vector) in table.iter_mut().zip(vectors) {
        // Breakpoint, overflow and the program's own call are for user mode too.
        let dpl = if matches!(vector, 3 | 4 | 128) { 3 } else { 0 };
        let address = stub(u64::from(vector)).unwrap_or(0);
        *entry = TrapInfo { vector, flags: dpl | 4, cs: KERNEL_CS, address };
    }
    let set = call2(nr::SET_TRAP_TABLE, addr(&table), 0);
    assert!(set == 0, "set_trap_table gives {set}");
    for (kind, vector) in [(0, EVENT), (1, FAILSAFE)] {
        let set = register_callback(kind, stub(vector).unwrap_or(0));
        assert!(set == 0, "callback_op of type {kind} gives {set}");
    }
}

/// Registers a callback: 0 event, 1 failsafe, 2 system call.
pub fn register_callback(kind: u16, address: u64) -> i64 {
    #[repr(C)]
    struct Register {
        kind: u16,
        flags: u16,
        address: u64,
    }
    let register = Register { kind, flags: 0, address };
    call(nr::CALLBACK_OP, [0, addr(&register), 0, 0, 0])
}

extern "C" fn on_trap(frame: &mut Frame) {
    if frame.vector == EVENT {
        events::on_event();
        return;
    }
    let trap = Trap {
        vector: frame.vector,
        error: frame.error,
        cr2: events::shared_info().map_or(0, |shared| shared.cr2()),
        rip: frame.rip,
    };
    LAST.set(Some(trap));
    if frame.cs & 3 == 3 {
        crate::user::leave_from_trap(frame);
        return;
    }
    // No fault of what it came upon, which goes on.
    if frame.vector == NMI {
        return;
    }
    let resume = RESUME.get();
    if resume != 0 {
        RESUME.set(0);
        frame.rip = resume;
        return;
    }
    println!("TEST trap: failed: unexpected {trap:x?}, rsp {:#x}", frame.rsp);
    start::power_off()
}
