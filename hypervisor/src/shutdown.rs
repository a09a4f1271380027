//! The machine's end: power-off, reboot, halt.

use crate::options::options;
use abi::sched::ShutdownReason;

/// The hardware domain shut down.
pub fn hardware_domain(reason: u32) -> ! {
    match ShutdownReason(reason) {
        ShutdownReason::POWEROFF => {
            crate::info!("Hardware Dom0 halted: halting machine");
            halt()
        }
        ShutdownReason::CRASH if options().noreboot => {
            crate::error!("Hardware Dom0 crashed: 'noreboot' set - not rebooting");
            halt()
        }
        ShutdownReason::CRASH => {
            crate::error!("Hardware Dom0 crashed: rebooting machine");
            reboot()
        }
        _ => {
            crate::info!("Hardware Dom0 shutdown: rebooting machine");
            reboot()
        }
    }
}

/// Stops all CPUs.
pub fn halt() -> ! {
    crate::panic::stop_others();
    machine::cpu::halt_forever()
}

/// Starts the machine anew: by the FADT's reset register, the keyboard controller, the chipset,
/// and at last a triple fault's equivalent, whichever works first.
pub fn reboot() -> ! {
    crate::panic::stop_others();
    machine::reset::reset()
}
