//! What CPUID and model-specific registers a domain sees.
//!
//! A [`Policy`] is what CPUID shows, as tables. [`Policy::raw`] reads one from a CPU,
//! [`Policy::host`] says what the hypervisor uses of it, [`Policy::pv_max`] and
//! [`Policy::pv_default`] what guests may see and see unless told otherwise, [`Policy::dom0`] and
//! [`Policy::pv_domain`] what one domain sees. [`cpuid`] adds what depends on a vCPU's state.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod derive;
pub mod features;
mod guest;
mod list;
pub mod mitigations;
#[cfg(test)]
mod mitigations_tests;
mod policies;
mod policy;
#[cfg(test)]
mod tests;

pub use derive::DomainOptions;
pub use guest::{CR4_OSXSAVE, CR4_PKE, DomainView, TimeView, VcpuView, cpuid};
pub use list::{BadLeaf, MAX_LEAVES, MAX_MSRS};
pub use policies::Policies;
pub use policy::{Host, MSR_ARCH_CAPABILITIES, MSR_PLATFORM_INFO, Policy, Regs, Vendor};
