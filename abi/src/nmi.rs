//! `public/nmi.h`: nmi_op.

use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What an nmi_op call does.
    pub struct NmiCmd(u32) {
        /// [`NmiCallback`].
        REGISTER_CALLBACK = 0,
        /// Removes it.
        UNREGISTER_CALLBACK = 1,
    }
}

consts! { u64;
    /// NMI reason: I/O error.
    NMIREASON_IO_ERROR = 1 << 0,
    /// NMI reason: PCI system error.
    NMIREASON_PCI_SERR = 1 << 1,
    /// NMI reason: not known.
    NMIREASON_UNKNOWN = 1 << 2,
}

layouts! {
    /// Where dom0 takes NMIs.
    pub struct NmiCallback("struct xennmi_callback"): 16 {
        /// Address.
        pub handler_address: u64,
        /// Not used.
        pub pad: u64,
    }
}
