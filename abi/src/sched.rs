//! `public/sched.h`: sched_op.

use crate::GuestPtr;
use crate::layout::{layouts, open_enum};

open_enum! {
    /// What a sched_op call does.
    pub struct SchedCmd(u32) {
        /// Let others run.
        YIELD = 0,
        /// Sleep until an event, with events unmasked.
        BLOCK = 1,
        /// Stop this domain ([`Shutdown`]).
        SHUTDOWN = 2,
        /// Sleep until one of some ports is pending ([`Poll`]).
        POLL = 3,
        /// Stop another domain ([`RemoteShutdown`]).
        REMOTE_SHUTDOWN = 4,
        /// Give the reason for a later shutdown ([`Shutdown`]).
        SHUTDOWN_CODE = 5,
        /// Arm a watchdog ([`Watchdog`]).
        WATCHDOG = 6,
        /// Pin to a physical CPU for a while ([`PinOverride`]).
        PIN_OVERRIDE = 7,
    }
}

open_enum! {
    /// Why a domain stopped.
    pub struct ShutdownReason(u32) {
        /// It is done.
        POWEROFF = 0,
        /// It wants to start again.
        REBOOT = 1,
        /// It is ready to be saved.
        SUSPEND = 2,
        /// It failed.
        CRASH = 3,
        /// Its watchdog ran out.
        WATCHDOG = 4,
        /// It wants to start again with its memory kept.
        SOFT_RESET = 5,
    }
}

impl ShutdownReason {
    /// The greatest reason.
    pub const MAX: ShutdownReason = ShutdownReason::SOFT_RESET;
}

layouts! {
    /// Argument of [`SchedCmd::SHUTDOWN`].
    pub struct Shutdown("struct sched_shutdown"): 4 {
        /// Why.
        pub reason: ShutdownReason,
    }

    /// Argument of [`SchedCmd::POLL`].
    pub struct Poll("struct sched_poll"): 24 {
        /// The ports.
        pub ports: GuestPtr<u32>,
        /// How many.
        pub nr_ports: u32,
        /// Padding.
        pub _pad: u32,
        /// System time to wake at, in nanoseconds; 0 for never.
        pub timeout: u64,
    }

    /// Argument of [`SchedCmd::REMOTE_SHUTDOWN`].
    pub struct RemoteShutdown("struct sched_remote_shutdown"): 8 {
        /// Which domain.
        pub domain_id: u16,
        /// Padding.
        pub _pad: u16,
        /// Why.
        pub reason: ShutdownReason,
    }

    /// Argument of [`SchedCmd::WATCHDOG`].
    pub struct Watchdog("struct sched_watchdog"): 8 {
        /// Which watchdog; 0 makes one.
        pub id: u32,
        /// Seconds from now; 0 stops it.
        pub timeout: u32,
    }

    /// Argument of [`SchedCmd::PIN_OVERRIDE`].
    pub struct PinOverride("struct sched_pin_override"): 4 {
        /// CPU; negative undoes it.
        pub pcpu: i32,
    }
}
