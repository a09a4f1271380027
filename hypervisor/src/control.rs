//! What the control tools set of a domain and ask again later.

use core::sync::atomic::AtomicU32;
use machine::lock::Lock;

/// What is settled when a domain is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// `CDF_*`.
    pub flags: u32,
    /// Security label: kept and shown, not used.
    pub ssidref: u32,
    /// `X86_EMU_*`.
    pub emulation_flags: u32,
    /// `X86_MSR_RELAXED`.
    pub misc_flags: u32,
}

/// A domain's settings and the state of its control.
pub struct Control {
    /// What was settled when it was made.
    pub settings: Settings,
    /// The port of its own that is raised when it suspends; 0 for none.
    pub suspend_port: AtomicU32,
    /// How far its end has come.
    pub teardown: Lock<crate::teardown::Progress>,
}

impl Control {
    /// For a new domain.
    pub fn new(settings: Settings) -> Self {
        Control {
            settings,
            suspend_port: AtomicU32::new(0),
            teardown: Lock::new(crate::teardown::Progress::new()),
        }
    }
}
