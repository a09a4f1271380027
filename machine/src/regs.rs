//! A guest's registers as the entry code leaves them at the top of the CPU's stack.

/// The general registers and the interrupt frame, low address first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct GuestRegs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Exception or interrupt vector, or one of the [`entry`](GuestRegs::SYSCALL) marks.
    pub vector: u64,
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl GuestRegs {
    /// `vector` of an entry by SYSCALL: rcx and r11 need not survive, SYSRET may be used.
    pub const SYSCALL: u64 = 0x100;
    /// `vector` when the IRET to the guest faulted.
    pub const IRET_FAULT: u64 = 0x101;
    /// Bytes of the structure; the entry code's offsets depend on it.
    pub const SIZE: usize = 176;
}

const _: () = assert!(core::mem::size_of::<GuestRegs>() == GuestRegs::SIZE);

/// Flags of RFLAGS that the hypervisor looks at.
pub mod rflags {
    /// Trap (single step).
    pub const TF: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// Direction.
    pub const DF: u64 = 1 << 10;
    /// I/O privilege level.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// Alignment check; with SMAP, supervisor access to user pages.
    pub const AC: u64 = 1 << 18;
    /// What a guest kernel is entered without.
    pub const CLEARED_ON_ENTRY: u64 = TF | DF | NT | RF | VM | AC | IOPL;
}
