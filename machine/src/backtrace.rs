//! The chain of return addresses, by frame pointers.

use crate::layout::CPU_BLOCK_SIZE;
use crate::num::index;
use crate::paging::is_hypervisor_text;

/// Return addresses, innermost first.
pub struct Frames {
    first: Option<u64>,
    frame: u64,
    left: u32,
}

/// From the caller on.
#[inline(always)]
pub fn here() -> Frames {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nostack, nomem)) };
    Frames { first: None, frame: rbp, left: 32 }
}

/// From an interrupted place on.
pub fn from(rip: u64, rbp: u64) -> Frames {
    Frames { first: Some(rip), frame: rbp, left: 32 }
}

impl Iterator for Frames {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if let Some(rip) = self.first.take() {
            return Some(rip);
        }
        self.left = self.left.checked_sub(1)?;
        let rsp: u64;
        // SAFETY: reads a register.
        unsafe { core::arch::asm!("mov {}, rsp", out(reg) rsp, options(nostack, nomem)) };
        let end = (rsp | CPU_BLOCK_SIZE.wrapping_sub(1)).wrapping_sub(16);
        if self.frame < rsp || self.frame >= end || self.frame & 7 != 0 {
            return None;
        }
        let at = core::ptr::with_exposed_provenance::<[u64; 2]>(index(self.frame));
        // SAFETY: two words of this CPU's own stack, above its pointer and below its top.
        let [next, rip] = unsafe { at.read_volatile() };
        self.frame = if next > self.frame { next } else { 0 };
        is_hypervisor_text(rip).then_some(rip)
    }
}
