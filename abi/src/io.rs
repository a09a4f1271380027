//! `public/io/{console,xs_wire}.h`: the rings of console and xenstore.

use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// Kind of a xenstore message.
    pub struct XsType(u32) {
        /// Asks the daemon itself.
        CONTROL = 0,
        /// Names below a node.
        DIRECTORY = 1,
        /// A node's value.
        READ = 2,
        /// A node's permissions.
        GET_PERMS = 3,
        /// Watches a node.
        WATCH = 4,
        /// Stops that.
        UNWATCH = 5,
        /// Begins a transaction.
        TRANSACTION_START = 6,
        /// Ends it.
        TRANSACTION_END = 7,
        /// A domain has come.
        INTRODUCE = 8,
        /// A domain has gone.
        RELEASE = 9,
        /// A domain's home.
        GET_DOMAIN_PATH = 10,
        /// Writes a node.
        WRITE = 11,
        /// Makes a node.
        MKDIR = 12,
        /// Removes a node and what is below.
        RM = 13,
        /// Sets a node's permissions.
        SET_PERMS = 14,
        /// A watch has fired.
        WATCH_EVENT = 15,
        /// The answer is an error's name.
        ERROR = 16,
        /// Whether a domain is known.
        IS_DOMAIN_INTRODUCED = 17,
        /// A domain goes on after a suspend.
        RESUME = 18,
        /// Gives a domain another's rights.
        SET_TARGET = 19,
        /// Removes all watches of the sender.
        RESET_WATCHES = 21,
        /// A part of a long list of names.
        DIRECTORY_PART = 22,
        /// No message.
        INVALID = 0xffff,
    }
}

consts! { u32;
    /// How many kinds of message there are.
    XS_TYPE_COUNT = 23,
    /// Bytes of a xenstore ring, in each direction.
    XENSTORE_RING_SIZE = 1024,
    /// Bytes of a message after its head, at most.
    XENSTORE_PAYLOAD_MAX = 4096,
    /// Bytes of an absolute path, at most.
    XENSTORE_ABS_PATH_MAX = 3072,
    /// Bytes of a relative path, at most.
    XENSTORE_REL_PATH_MAX = 2048,
    /// [`XenstoreInterface::server_features`]: connections can be made anew.
    XENSTORE_SERVER_FEATURE_RECONNECTION = 1,
    /// [`XenstoreInterface::server_features`]: errors are shown.
    XENSTORE_SERVER_FEATURE_ERROR = 2,
    /// [`XenstoreInterface::connection`]: works.
    XENSTORE_CONNECTED = 0,
    /// [`XenstoreInterface::connection`]: the guest wants a new one.
    XENSTORE_RECONNECT = 1,
    /// [`XenstoreInterface::error`]: none.
    XENSTORE_ERROR_NONE = 0,
    /// [`XenstoreInterface::error`]: communication.
    XENSTORE_ERROR_COMM = 1,
    /// [`XenstoreInterface::error`]: ring indexes.
    XENSTORE_ERROR_RINGIDX = 2,
    /// [`XenstoreInterface::error`]: protocol.
    XENSTORE_ERROR_PROTO = 3,
}

layouts! {
    /// The console's page. Indexes run freely; their low bits are positions.
    pub struct ConsoleInterface("struct xencons_interface"): 3088 {
        /// To the guest.
        pub input("in"): [u8; 1024],
        /// From the guest.
        pub output("out"): [u8; 2048],
        /// Read by the guest.
        pub in_cons: u32,
        /// Written by the daemon.
        pub in_prod: u32,
        /// Read by the daemon.
        pub out_cons: u32,
        /// Written by the guest.
        pub out_prod: u32,
    }

    /// Head of a xenstore message.
    pub struct XsHeader("struct xsd_sockmsg"): 16 {
        /// Kind.
        pub kind("type"): XsType,
        /// The sender's number for it.
        pub req_id: u32,
        /// Transaction; 0 for none.
        pub tx_id: u32,
        /// Bytes that follow.
        pub len: u32,
    }

    /// xenstore's page. Indexes run freely; their low bits are positions.
    pub struct XenstoreInterface("struct xenstore_domain_interface"): 2076 {
        /// From the guest.
        pub req: [u8; 1024],
        /// To the guest.
        pub rsp: [u8; 1024],
        /// Read by the daemon.
        pub req_cons: u32,
        /// Written by the guest.
        pub req_prod: u32,
        /// Read by the guest.
        pub rsp_cons: u32,
        /// Written by the daemon.
        pub rsp_prod: u32,
        /// `XENSTORE_SERVER_FEATURE_*`.
        pub server_features: u32,
        /// Connected or not.
        pub connection: u32,
        /// `XENSTORE_ERROR_*`.
        pub error: u32,
    }
}
