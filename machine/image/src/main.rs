//! The bootable image: the symbol that the boot code calls, and the heap.
#![no_std]
#![no_main]

use hypervisor::Ferroxen;
use machine::heap::Heap;

#[global_allocator]
static HEAP: Heap = Heap::new();

/// Where the boot code arrives, in long mode, on the boot stack.
#[unsafe(no_mangle)]
extern "C" fn ferroxen_boot(magic: u32, info: u32) -> ! {
    // SAFETY: this is that continuation, and HEAP is the global allocator.
    unsafe { machine::boot::run::<Ferroxen>(magic, info, &HEAP) }
}
