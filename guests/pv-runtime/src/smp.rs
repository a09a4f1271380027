//! A second virtual CPU.

use crate::global::Global;
use crate::hypercall::{addr, call3, nr};
use crate::memory::{self, Page};
use crate::traps::{KERNEL_CS, KERNEL_SS};
use core::arch::naked_asm;

/// What `VCPUOP_initialise` takes, x86-64: 5168 bytes.
#[repr(C, align(16))]
pub struct Context {
    fpu: [u64; 64],
    /// 4: starts in kernel mode. (32 would make it runnable without anybody waking it.)
    pub flags: u64,
    /// General registers and error code.
    pub registers: [u64; 16],
    /// Where it starts.
    pub rip: u64,
    /// Code segment.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Its stack.
    pub rsp: u64,
    /// Stack segment.
    pub ss: u64,
    segments: [u64; 4],
    traps: [u64; 512],
    ldt: [u64; 2],
    /// Frames of its descriptor table.
    pub gdt_frames: [u64; 16],
    /// How many descriptors there are.
    pub gdt_entries: u64,
    /// Stack segment of its kernel mode.
    pub kernel_ss: u64,
    /// Stack of its kernel mode.
    pub kernel_sp: u64,
    /// Control registers; 3 is the top table's address.
    pub control: [u64; 8],
    debug: [u64; 8],
    callbacks: [u64; 3],
    vm_assist: u64,
    bases: [u64; 3],
}

const _: () = assert!(size_of::<Context>() == 5168);

const ZERO: Context = Context {
    fpu: [0; 64],
    flags: 0,
    registers: [0; 16],
    rip: 0,
    cs: 0,
    rflags: 0,
    rsp: 0,
    ss: 0,
    segments: [0; 4],
    traps: [0; 512],
    ldt: [0; 2],
    gdt_frames: [0; 16],
    gdt_entries: 0,
    kernel_ss: 0,
    kernel_sp: 0,
    control: [0; 8],
    debug: [0; 8],
    callbacks: [0; 3],
    vm_assist: 0,
    bases: [0; 3],
};

static CONTEXT: Global<Context> = Global::new(ZERO);
static STACK: [Page; 8] = [const { Page::new() }; 8];
static WORK: Global<Option<fn()>> = Global::new(None);
static STARTED: Global<bool> = Global::new(false);

/// A context that would start; tests spoil it.
pub fn context(rip: u64) -> &'static mut Context {
    // SAFETY: the static is borrowed here alone, by one CPU, and no caller keeps the reference
    // over another call.
    let context = unsafe { &mut *CONTEXT.as_ptr() };
    *context = ZERO;
    let top = STACK[7].va() + 4096;
    context.flags = 4;
    context.rip = rip;
    context.cs = u64::from(KERNEL_CS);
    context.rflags = 0x200;
    context.rsp = top;
    context.ss = u64::from(KERNEL_SS);
    context.kernel_ss = u64::from(KERNEL_SS);
    context.kernel_sp = top;
    context.control[3] = memory::top_table() << 12;
    context
}

/// An operation on a virtual CPU.
pub fn vcpu_op(number: u64, vcpu: u64, argument: u64) -> i64 {
    call3(nr::VCPU_OP, number, vcpu, argument)
}

#[unsafe(naked)]
extern "C" fn second_entry() -> ! {
    naked_asm!("cld", "xor ebp, ebp", "call {body}", "ud2", body = sym second_body);
}

extern "C" fn second_body() -> ! {
    loop {
        if let Some(work) = WORK.get() {
            work();
        }
        WORK.set(None);
        // Down, until it is started again.
        vcpu_op(2, 1, 0);
    }
}

/// Starts `work` on the second virtual CPU; `work` must keep to atomics and hypercalls.
///
/// # Errors
/// What the hypervisor answered, also when there is no second virtual CPU (-ENOENT).
pub fn start(work: fn()) -> Result<(), i64> {
    WORK.set(Some(work));
    if !STARTED.get() {
        let context = context(second_entry as *const () as u64);
        match vcpu_op(0, 1, addr(context)) {
            0 => STARTED.set(true),
            error => return Err(error),
        }
    }
    match vcpu_op(1, 1, 0) {
        0 => Ok(()),
        error => Err(error),
    }
}

/// Whether the work is done and the second virtual CPU is down.
pub fn idle() -> bool {
    WORK.get().is_none() && vcpu_op(3, 1, 0) == 0
}
