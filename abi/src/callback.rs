//! `public/callback.h`: callback_op.

use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What a callback_op call does.
    pub struct CallbackCmd(u32) {
        /// [`CallbackRegister`].
        REGISTER = 0,
        /// [`CallbackUnregister`].
        UNREGISTER = 1,
    }
}

open_enum! {
    /// Which entry point.
    pub struct CallbackType(u16) {
        /// Events.
        EVENT = 0,
        /// A selector could not be loaded on return.
        FAILSAFE = 1,
        /// 64-bit system calls.
        SYSCALL = 2,
        /// SYSENTER, old number.
        SYSENTER_DEPRECATED = 3,
        /// NMI.
        NMI = 4,
        /// SYSENTER.
        SYSENTER = 5,
        /// 32-bit SYSCALL.
        SYSCALL32 = 7,
    }
}

consts! { u16;
    /// Enters with events masked.
    CALLBACKF_MASK_EVENTS = 1,
}

layouts! {
    /// Sets an entry point.
    pub struct CallbackRegister("struct callback_register"): 16 {
        /// Which.
        pub kind("type"): CallbackType,
        /// [`CALLBACKF_MASK_EVENTS`].
        pub flags: u16,
        /// Padding.
        pub _pad: u32,
        /// Address.
        pub address: u64,
    }

    /// Removes an entry point.
    pub struct CallbackUnregister("struct callback_unregister"): 4 {
        /// Which.
        pub kind("type"): CallbackType,
        /// Padding.
        pub _unused: u16,
    }
}
