//! `public/vcpu.h`: vcpu_op.

use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What a vcpu_op call does.
    pub struct VcpuCmd(u32) {
        /// Set a vCPU's first state.
        INITIALISE = 0,
        /// Start it.
        UP = 1,
        /// Stop it.
        DOWN = 2,
        /// Whether it runs.
        IS_UP = 3,
        /// [`RunstateInfo`].
        GET_RUNSTATE_INFO = 4,
        /// [`RegisterArea`] for [`RunstateInfo`], by virtual address.
        REGISTER_RUNSTATE_MEMORY_AREA = 5,
        /// [`SetPeriodicTimer`].
        SET_PERIODIC_TIMER = 6,
        /// Stop that.
        STOP_PERIODIC_TIMER = 7,
        /// [`SetSingleshotTimer`].
        SET_SINGLESHOT_TIMER = 8,
        /// Stop that.
        STOP_SINGLESHOT_TIMER = 9,
        /// [`RegisterVcpuInfo`].
        REGISTER_VCPU_INFO = 10,
        /// Send an NMI.
        SEND_NMI = 11,
        /// [`GetPhysid`].
        GET_PHYSID = 12,
        /// [`RegisterArea`] for a time area, by virtual address.
        REGISTER_VCPU_TIME_MEMORY_AREA = 13,
        /// [`RegisterArea`] for [`RunstateInfo`], by guest-physical address.
        REGISTER_RUNSTATE_PHYS_AREA = 14,
        /// [`RegisterArea`] for a time area, by guest-physical address.
        REGISTER_VCPU_TIME_PHYS_AREA = 15,
    }
}

open_enum! {
    /// What a vCPU is doing.
    pub struct Runstate(u32) {
        /// Runs.
        RUNNING = 0,
        /// Could run, waits for a CPU.
        RUNNABLE = 1,
        /// Waits for an event.
        BLOCKED = 2,
        /// Cannot run.
        OFFLINE = 3,
    }
}

consts! { u64;
    /// Set in [`RunstateInfo::state_entry_time`] while the area is being changed.
    RUNSTATE_UPDATE = 1 << 63,
}

consts! { u32;
    /// [`SetSingleshotTimer::flags`]: fail when the time has passed already.
    SSHOTTMR_FUTURE = 1,
}

layouts! {
    /// A vCPU's state and how long it was in each.
    pub struct RunstateInfo("struct vcpu_runstate_info"): 48 {
        /// Now.
        pub state: Runstate,
        /// Padding.
        pub _pad: u32,
        /// Since when (system time, nanoseconds).
        pub state_entry_time: u64,
        /// Nanoseconds in each [`Runstate`].
        pub time: [u64; 4],
    }

    /// Where an area is to be kept up to date; 0 for nowhere.
    pub struct RegisterArea("struct vcpu_register_runstate_memory_area"): 8 {
        /// Virtual or guest-physical address, as the call says.
        pub addr("addr.p"): u64,
    }

    /// A timer that repeats.
    pub struct SetPeriodicTimer("struct vcpu_set_periodic_timer"): 8 {
        /// Nanoseconds.
        pub period_ns: u64,
    }

    /// A timer that fires once.
    pub struct SetSingleshotTimer("struct vcpu_set_singleshot_timer"): 16 {
        /// System time in nanoseconds.
        pub timeout_abs_ns: u64,
        /// [`SSHOTTMR_FUTURE`].
        pub flags: u32,
        /// Padding.
        pub _pad: u32,
    }

    /// Where a vCPU's `vcpu_info` shall lie.
    pub struct RegisterVcpuInfo("struct vcpu_register_vcpu_info"): 16 {
        /// Guest frame.
        pub mfn: u64,
        /// Offset in it, in bytes.
        pub offset: u32,
        /// Not used.
        pub rsvd: u32,
    }

    /// Which physical CPU a pinned vCPU runs on.
    pub struct GetPhysid("struct vcpu_get_physid"): 8 {
        /// APIC id (low half) and ACPI id (high half).
        pub phys_id: u64,
    }
}
