//! Instructions that are expected to fault, one at a time.

use crate::traps::{self, RESUME, Trap};
use core::arch::asm;

/// Runs assembly that may fault: `Err` with the exception, after which execution goes on behind
/// it. A fault in there ends nothing else.
#[macro_export]
macro_rules! try_asm {
    ($code:literal $(, $($operands:tt)*)?) => {{
        let resume = $crate::probe::resume_slot();
        // SAFETY: the exception handler continues at label 99; every instruction that a caller
        // passes is declared with the registers that it changes.
        unsafe {
            core::arch::asm!(
                "lea {scratch}, [rip + 99f]",
                "mov [{resume}], {scratch}",
                $code,
                "99:",
                scratch = out(reg) _,
                resume = in(reg) resume,
                $($($operands)*)?
            );
        }
        $crate::probe::outcome()
    }};
}

/// For [`try_asm`]: where the handler looks for where to go on.
pub fn resume_slot() -> *mut u64 {
    let _ = traps::take();
    RESUME.as_ptr()
}

/// For [`try_asm`]: what came.
pub fn outcome() -> Result<(), Trap> {
    RESUME.set(0);
    traps::take().map_or(Ok(()), Err)
}

/// Reads 8 bytes.
pub fn read(va: u64) -> Result<u64, Trap> {
    let mut value: u64 = 0;
    let outcome = try_asm!("mov {value}, [{va}]", va = in(reg) va, value = inout(reg) value);
    outcome.map(|()| value)
}

/// Writes 8 bytes.
pub fn write(va: u64, value: u64) -> Result<(), Trap> {
    try_asm!("mov [{va}], {value}", va = in(reg) va, value = in(reg) value)
}

/// The CPU's own timer, to let a moment pass.
pub fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading the counter changes nothing but the two registers.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack)) };
    (u64::from(high) << 32) | u64::from(low)
}
