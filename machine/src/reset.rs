//! Starting the machine anew.

use crate::port::{inb, outb};

fn pause() {
    for _ in 0..100_000u32 {
        core::hint::spin_loop();
    }
}

/// Resets the machine: keyboard controller, chipset's reset register, and then what no machine
/// survives: an interrupt without a descriptor table.
pub fn reset() -> ! {
    for _ in 0..100u32 {
        if inb(0x64) & 2 == 0 {
            break;
        }
        pause();
    }
    outb(0x64, 0xfe);
    pause();
    outb(0xcf9, 0x02);
    outb(0xcf9, 0x06);
    pause();
    #[repr(C, packed)]
    struct Empty {
        limit: u16,
        base: u64,
    }
    let none = Empty { limit: 0, base: 0 };
    // SAFETY: the machine ends here.
    unsafe { core::arch::asm!("lidt [{}]", "int3", in(reg) &none) };
    crate::cpu::halt_forever()
}
