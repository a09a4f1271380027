//! `public/arch-x86/xen.h` and `xen-x86_64.h`: registers, descriptors and traps of 64-bit PV guests.

use crate::layout::{consts, layouts, open_enum};

consts! { u16;
    /// Flat 32-bit code at ring 3.
    FLAT_RING3_CS32 = 0xe023,
    /// Flat 64-bit code at ring 3.
    FLAT_RING3_CS64 = 0xe033,
    /// Flat 32-bit data at ring 3.
    FLAT_RING3_DS32 = 0xe02b,
    /// Data selector of 64-bit code.
    FLAT_RING3_DS64 = 0,
    /// Flat stack at ring 3, 32-bit code.
    FLAT_RING3_SS32 = 0xe02b,
    /// Flat stack at ring 3, 64-bit code.
    FLAT_RING3_SS64 = 0xe02b,
    /// A kernel's code selector.
    FLAT_KERNEL_CS = FLAT_RING3_CS64,
    /// A kernel's stack selector.
    FLAT_KERNEL_SS = FLAT_RING3_SS64,
    /// A kernel's data selector.
    FLAT_KERNEL_DS = FLAT_RING3_DS64,
}

consts! { usize;
    /// Pages of the GDT that belong to the guest.
    FIRST_RESERVED_GDT_PAGE = 14,
    /// First byte of the GDT that the hypervisor uses.
    FIRST_RESERVED_GDT_BYTE = FIRST_RESERVED_GDT_PAGE * 4096,
    /// First descriptor of the GDT that the hypervisor uses.
    FIRST_RESERVED_GDT_ENTRY = FIRST_RESERVED_GDT_BYTE / 8,
}

open_enum! {
    /// Which base a set_segment_base call changes.
    pub struct SegmentBase(u32) {
        /// FS.
        FS = 0,
        /// GS while in user mode.
        GS_USER = 1,
        /// GS while in kernel mode.
        GS_KERNEL = 2,
        /// GS of user mode by its selector (low 16 bits).
        GS_USER_SEL = 3,
    }
}

consts! { u64;
    /// [`VcpuGuestContext::flags`]: `fpu_ctxt` holds state.
    VGCF_I387_VALID = 1 << 0,
    /// The vCPU is in kernel mode.
    VGCF_IN_KERNEL = 1 << 2,
    /// The failsafe callback enters with events masked.
    VGCF_FAILSAFE_DISABLES_EVENTS = 1 << 3,
    /// The syscall callback enters with events masked.
    VGCF_SYSCALL_DISABLES_EVENTS = 1 << 4,
    /// The vCPU is on line.
    VGCF_ONLINE = 1 << 5,
    /// [`IretContext::flags`]: return by SYSRET, RCX and R11 need no restoring.
    VGCF_IN_SYSCALL = 1 << 8,
}

consts! { u8;
    /// [`TrapInfo::flags`]: lowest privilege that may raise it.
    TI_DPL_MASK = 3,
    /// [`TrapInfo::flags`]: enters with events masked.
    TI_MASK_EVENTS = 4,
}

/// Marks the instruction after it (CPUID only) for emulation by the hypervisor: `ud2` and "xen".
pub const EMULATE_PREFIX: [u8; 5] = [0x0f, 0x0b, 0x78, 0x65, 0x6e];

/// The I/O port whose bytes go to the debug console of HVM guests.
pub const HVM_DEBUGCONS_IOPORT: u16 = 0xe9;

layouts! {
    /// One entry of the virtual IDT.
    pub struct TrapInfo("struct trap_info"): 16 {
        /// Exception vector.
        pub vector: u8,
        /// DPL and `TI_*`.
        pub flags: u8,
        /// Code selector.
        pub cs: u16,
        /// Padding.
        pub _pad: u32,
        /// Handler; 0 ends a list.
        pub address: u64,
    }

    /// The frame of an iret hypercall, at the kernel's stack pointer.
    pub struct IretContext("struct iret_context"): 72 {
        /// RAX.
        pub rax: u64,
        /// R11.
        pub r11: u64,
        /// RCX.
        pub rcx: u64,
        /// [`VGCF_IN_SYSCALL`] or 0.
        pub flags: u64,
        /// RIP.
        pub rip: u64,
        /// CS.
        pub cs: u64,
        /// RFLAGS.
        pub rflags: u64,
        /// RSP.
        pub rsp: u64,
        /// SS.
        pub ss: u64,
    }

    /// All general registers with the hardware's frame.
    pub struct CpuUserRegs("struct cpu_user_regs"): 200 {
        /// R15.
        pub r15: u64,
        /// R14.
        pub r14: u64,
        /// R13.
        pub r13: u64,
        /// R12.
        pub r12: u64,
        /// RBP.
        pub rbp: u64,
        /// RBX.
        pub rbx: u64,
        /// R11.
        pub r11: u64,
        /// R10.
        pub r10: u64,
        /// R9.
        pub r9: u64,
        /// R8.
        pub r8: u64,
        /// RAX.
        pub rax: u64,
        /// RCX.
        pub rcx: u64,
        /// RDX.
        pub rdx: u64,
        /// RSI.
        pub rsi: u64,
        /// RDI.
        pub rdi: u64,
        /// Error code of an exception.
        pub error_code: u32,
        /// Its vector; private to the hypervisor.
        pub entry_vector: u32,
        /// RIP.
        pub rip: u64,
        /// CS.
        pub cs: u16,
        /// Padding.
        pub _pad0: u16,
        /// `evtchn_upcall_mask` as it was.
        pub saved_upcall_mask: u8,
        /// Padding.
        pub _pad1: [u8; 3],
        /// RFLAGS; IF is the inverse of the saved mask.
        pub rflags: u64,
        /// RSP.
        pub rsp: u64,
        /// SS.
        pub ss: u16,
        /// Padding.
        pub _pad2: [u16; 3],
        /// ES.
        pub es: u16,
        /// Padding.
        pub _pad3: [u16; 3],
        /// DS.
        pub ds: u16,
        /// Padding.
        pub _pad4: [u16; 3],
        /// FS.
        pub fs: u16,
        /// Padding.
        pub _pad5: [u16; 3],
        /// GS.
        pub gs: u16,
        /// Padding.
        pub _pad6: [u16; 3],
    }

    /// All of a PV vCPU's state, as its creator sets it or a saver reads it.
    pub struct VcpuGuestContext("struct vcpu_guest_context"): 5168 {
        /// FXSAVE image.
        pub fpu_ctxt: [u8; 512],
        /// `VGCF_*`.
        pub flags: u64,
        /// General registers.
        pub user_regs: CpuUserRegs,
        /// Virtual IDT.
        pub trap_ctxt: [TrapInfo; 256],
        /// LDT: linear address.
        pub ldt_base: u64,
        /// LDT: entries.
        pub ldt_ents: u64,
        /// GDT: machine frames.
        pub gdt_frames: [u64; 16],
        /// GDT: entries.
        pub gdt_ents: u64,
        /// Kernel stack: selector.
        pub kernel_ss: u64,
        /// Kernel stack: pointer.
        pub kernel_sp: u64,
        /// CR0 to CR7; 3 is the kernel's page tables, 1 the user's (both with the frame from bit 12 up).
        pub ctrlreg: [u64; 8],
        /// DR0 to DR7.
        pub debugreg: [u64; 8],
        /// Event entry point.
        pub event_callback_eip: u64,
        /// Failsafe entry point.
        pub failsafe_callback_eip: u64,
        /// System call entry point.
        pub syscall_callback_eip: u64,
        /// vm_assist modes, one bit each.
        pub vm_assist: u64,
        /// FS base.
        pub fs_base: u64,
        /// GS base in kernel mode.
        pub gs_base_kernel: u64,
        /// GS base in user mode.
        pub gs_base_user: u64,
    }
}
