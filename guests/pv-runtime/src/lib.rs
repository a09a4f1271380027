//! What a paravirtual 64-bit guest kernel needs to put questions to the hypervisor.
//!
//! A program says `#![no_std] #![no_main]`, defines `guest_main` with [`main!`], and is linked by
//! `link.ld`. It runs on the page tables that the domain builder made, one page of whose pool it
//! may turn into anything. The numbers of the hypervisor's interface are written down again here,
//! from the public headers, and not shared with the hypervisor's own crates: a misreading must
//! not be able to agree with itself.
//!
//! The soundness of the unsafe code rests on this being a whole machine of its own: one program,
//! one address space, no other owner of memory.
#![no_std]
// `try_asm!` is there so that tests can name the instruction that is to fault; what makes it sound
// is said at its use in the macro, and holds for any instruction that its caller may pass.
#![allow(clippy::macro_metavars_in_unsafe)]

pub mod answers;
pub mod console;
pub mod domctl;
pub mod events;
pub mod global;
pub mod grants;
pub mod hypercall;
pub mod memory;
pub mod outcome;
pub mod probe;
pub mod puppet;
pub mod smp;
pub mod start;
pub mod traps;
pub mod user;

pub use outcome::{Failure, Outcome};

/// Names the function that runs once the machine is set up; it returns nothing, and the machine
/// is then turned off.
#[macro_export]
macro_rules! main {
    ($function:path) => {
        /// Where the runtime hands over.
        #[unsafe(no_mangle)]
        pub fn guest_main() {
            $function()
        }
    };
}
