//! What the control tools set of a domain and ask again later.

use crate::util::boxed;
use abi::Errno;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};
use machine::lock::Lock;

/// Weight of a domain that was given none.
pub const DEFAULT_WEIGHT: u16 = 256;

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
    /// Share of the CPUs' time, relative to others'.
    pub weight: AtomicU16,
    /// Most time that it gets, in percent of a CPU; 0 for no limit.
    pub cap: AtomicU16,
    /// Where its vCPUs had better run, as bitmaps of CPUs.
    pub soft_affinity: Box<[AtomicU64]>,
    /// The port of its own that is raised when it suspends; 0 for none.
    pub suspend_port: AtomicU32,
    /// How far its end has come.
    pub teardown: Lock<crate::teardown::Progress>,
}

impl Control {
    /// For a new domain.
    pub fn new(settings: Settings, vcpus: u32) -> Result<Self, Errno> {
        Ok(Control {
            settings,
            weight: AtomicU16::new(DEFAULT_WEIGHT),
            cap: AtomicU16::new(0),
            soft_affinity: boxed(vcpus as usize, |_| AtomicU64::new(!0))?,
            suspend_port: AtomicU32::new(0),
            teardown: Lock::new(crate::teardown::Progress::new()),
        })
    }
}
