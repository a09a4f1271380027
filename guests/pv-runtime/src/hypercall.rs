//! Hypercalls: the instruction, the numbers, and the calls that many tests make.

use core::arch::asm;

/// Hypercall numbers.
#[allow(missing_docs)]
pub mod nr {
    pub const SET_TRAP_TABLE: u64 = 0;
    pub const MMU_UPDATE: u64 = 1;
    pub const SET_GDT: u64 = 2;
    pub const STACK_SWITCH: u64 = 3;
    pub const SET_CALLBACKS: u64 = 4;
    pub const FPU_TASKSWITCH: u64 = 5;
    pub const SET_DEBUGREG: u64 = 8;
    pub const GET_DEBUGREG: u64 = 9;
    pub const UPDATE_DESCRIPTOR: u64 = 10;
    pub const MEMORY_OP: u64 = 12;
    pub const MULTICALL: u64 = 13;
    pub const UPDATE_VA_MAPPING: u64 = 14;
    pub const SET_TIMER_OP: u64 = 15;
    pub const XEN_VERSION: u64 = 17;
    pub const CONSOLE_IO: u64 = 18;
    pub const GRANT_TABLE_OP: u64 = 20;
    pub const VM_ASSIST: u64 = 21;
    pub const UPDATE_VA_MAPPING_OTHERDOMAIN: u64 = 22;
    pub const IRET: u64 = 23;
    pub const VCPU_OP: u64 = 24;
    pub const SET_SEGMENT_BASE: u64 = 25;
    pub const MMUEXT_OP: u64 = 26;
    pub const SCHED_OP: u64 = 29;
    pub const CALLBACK_OP: u64 = 30;
    pub const EVENT_CHANNEL_OP: u64 = 32;
    pub const PHYSDEV_OP: u64 = 33;
    pub const DOMCTL: u64 = 36;
}

/// Error numbers, as results carry them.
#[allow(missing_docs)]
pub mod errno {
    macro_rules! errnos {
        ($($name:ident = $value:literal,)*) => {
            $(pub const $name: i64 = -$value;)*
            /// Each with its name.
            pub const NAMES: &[(i64, &str)] = &[$(($name, stringify!($name)),)*];
        };
    }
    errnos! {
        EPERM = 1,
        ENOENT = 2,
        ESRCH = 3,
        ENXIO = 6,
        E2BIG = 7,
        EAGAIN = 11,
        ENOMEM = 12,
        EACCES = 13,
        EFAULT = 14,
        EBUSY = 16,
        EEXIST = 17,
        EXDEV = 18,
        ENODEV = 19,
        EINVAL = 22,
        ENOSPC = 28,
        EROFS = 30,
        EDOM = 33,
        ERANGE = 34,
        ENOSYS = 38,
        ENODATA = 61,
        ETIME = 62,
        EOVERFLOW = 75,
        EOPNOTSUPP = 95,
        EADDRINUSE = 98,
        ENOBUFS = 105,
        EISCONN = 106,
        ENOTCONN = 107,
        ETIMEDOUT = 110,
    }
}

/// Any hypercall with up to five arguments. What the hypervisor does with addresses among them is
/// the question that these programs put; they keep what they still need out of its reach.
pub fn call(number: u64, args: [u64; 5]) -> i64 {
    let result: i64;
    // SAFETY: a system call from kernel mode goes to the hypervisor and returns behind it; it
    // changes RAX, RCX, R11 and perhaps the argument registers, all declared, and memory that the
    // arguments name, which the compiler must assume as the block is not `nomem`.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            inlateout("rdi") args[0] => _,
            inlateout("rsi") args[1] => _,
            inlateout("rdx") args[2] => _,
            inlateout("r10") args[3] => _,
            inlateout("r8") args[4] => _,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// A hypercall with two arguments.
pub fn call2(number: u64, a: u64, b: u64) -> i64 {
    call(number, [a, b, 0, 0, 0])
}

/// A hypercall with three arguments.
pub fn call3(number: u64, a: u64, b: u64, c: u64) -> i64 {
    call(number, [a, b, c, 0, 0])
}

/// The address of a value, as an argument.
pub fn addr<T: ?Sized>(value: &T) -> u64 {
    core::ptr::from_ref(value).cast::<u8>() as u64
}

/// The address of a value that the hypervisor writes to.
pub fn addr_mut<T: ?Sized>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).cast::<u8>() as u64
}

/// Ends the domain: 0 power off, 1 reboot, 2 suspend, 3 crash.
pub fn shutdown(reason: u32) -> i64 {
    call2(nr::SCHED_OP, 2, addr(&reason))
}

/// Gives the processor up for a moment.
pub fn yield_now() -> i64 {
    call2(nr::SCHED_OP, 0, 0)
}

/// One call of a multicall.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct MulticallEntry {
    /// Hypercall number.
    pub op: u64,
    /// What it returned.
    pub result: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// Several calls at once.
pub fn multicall(entries: &mut [MulticallEntry]) -> i64 {
    call2(nr::MULTICALL, addr_mut(entries), entries.len() as u64)
}

/// Changes one L1 entry of the running address space, by virtual address.
pub fn update_va_mapping(va: u64, entry: u64, flush: u64) -> i64 {
    call3(nr::UPDATE_VA_MAPPING, va, entry, flush)
}

/// For [`update_va_mapping`]: flush that address on this CPU.
pub const INVLPG_LOCAL: u64 = 2;
/// For [`update_va_mapping`]: flush that address on all CPUs.
pub const INVLPG_ALL: u64 = 2 | 4;

/// One page-table write: machine address of the entry with the kind of write in its low 2 bits,
/// and the new value.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct MmuUpdate {
    /// Machine address, kind.
    pub ptr: u64,
    /// Value.
    pub val: u64,
}

/// Our own domain.
pub const DOMID_SELF: u64 = 0x7ff0;

/// Page-table writes. Returns the result and how many were done.
pub fn mmu_updates(updates: &[MmuUpdate]) -> (i64, u32) {
    let mut done = 0u32;
    let args = [addr(updates), updates.len() as u64, addr_mut(&mut done), DOMID_SELF, 0];
    (call(nr::MMU_UPDATE, args), done)
}

/// One page-table write.
pub fn mmu_update(ptr: u64, val: u64) -> i64 {
    mmu_updates(&[MmuUpdate { ptr, val }]).0
}

/// One operation of `mmuext_op`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct MmuExt {
    /// Which.
    pub cmd: u32,
    /// Machine frame or linear address.
    pub arg1: u64,
    /// Count or address.
    pub arg2: u64,
}

/// Numbers of `mmuext_op`.
#[allow(missing_docs)]
pub mod ext {
    pub const PIN_L1: u32 = 0;
    pub const PIN_L2: u32 = 1;
    pub const PIN_L3: u32 = 2;
    pub const PIN_L4: u32 = 3;
    pub const UNPIN: u32 = 4;
    pub const NEW_BASEPTR: u32 = 5;
    pub const TLB_FLUSH_LOCAL: u32 = 6;
    pub const INVLPG_LOCAL: u32 = 7;
    pub const TLB_FLUSH_MULTI: u32 = 8;
    pub const INVLPG_MULTI: u32 = 9;
    pub const TLB_FLUSH_ALL: u32 = 10;
    pub const INVLPG_ALL: u32 = 11;
    pub const FLUSH_CACHE: u32 = 12;
    pub const SET_LDT: u32 = 13;
    pub const NEW_USER_BASEPTR: u32 = 15;
    pub const CLEAR_PAGE: u32 = 16;
    pub const COPY_PAGE: u32 = 17;
    pub const FLUSH_CACHE_GLOBAL: u32 = 18;
}

/// One extended page-table operation.
pub fn mmuext(cmd: u32, arg1: u64, arg2: u64) -> i64 {
    let op = MmuExt { cmd, arg1, arg2 };
    call(nr::MMUEXT_OP, [addr(&op), 1, 0, DOMID_SELF, 0])
}
