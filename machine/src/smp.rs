//! Requests between CPUs.

/// Serves what other CPUs ask of this one; called wherever a CPU waits.
#[inline]
pub fn serve() {}
