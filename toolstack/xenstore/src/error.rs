//! What can go wrong between a client and the daemon.

use crate::wire::MessageType;
use std::fmt;
use std::time::Duration;

/// A client's result.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! errnos {
    ($($name:ident = $text:literal, $errno:ident, $meaning:literal;)*) => {
        /// The errors that the daemon answers, by the names that go over the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Errno {
            $(#[doc = $meaning] $name,)*
        }

        impl Errno {
            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The error that a name on the wire means.
            #[must_use]
            pub fn from_name(name: &[u8]) -> Option<Self> {
                $(if name == $text.as_bytes() {
                    return Some(Self::$name);
                })*
                None
            }

            /// What it means, in words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// The kernel's number for it.
            #[must_use]
            pub const fn os(self) -> rustix::io::Errno {
                match self {
                    $(Self::$name => rustix::io::Errno::$errno,)*
                }
            }
        }
    };
}

errnos! {
    Invalid = "EINVAL", INVAL, "the request is not valid";
    Access = "EACCES", ACCESS, "the node's permissions do not allow it";
    Exists = "EEXIST", EXIST, "it exists already";
    IsDirectory = "EISDIR", ISDIR, "it is a directory";
    NotFound = "ENOENT", NOENT, "there is no such node";
    NoMemory = "ENOMEM", NOMEM, "the daemon has no memory left";
    NoSpace = "ENOSPC", NOSPC, "a quota is used up";
    Io = "EIO", IO, "the store is damaged";
    NotEmpty = "ENOTEMPTY", NOTEMPTY, "it is not empty";
    NotImplemented = "ENOSYS", NOSYS, "the daemon does not know this request";
    ReadOnly = "EROFS", ROFS, "the connection may only read";
    Busy = "EBUSY", BUSY, "it is in use";
    Again = "EAGAIN", AGAIN, "another client changed the same nodes";
    Connected = "EISCONN", ISCONN, "it is connected already";
    TooBig = "E2BIG", TOOBIG, "it does not fit into one message";
    NotPermitted = "EPERM", PERM, "not permitted";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.meaning(), self.name())
    }
}

/// What went wrong, on which request, with which path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No place where the daemon could be reached answered.
    #[error("xenstored does not answer: tried {}", .tried.iter().map(|(path, why)| format!("{path} ({why})")).collect::<Vec<_>>().join(", "))]
    NoDaemon {
        /// Each path with its error.
        tried: Vec<(String, rustix::io::Errno)>,
    },
    /// One named place could not be connected to.
    #[error("cannot connect to xenstored at {path}")]
    Connect {
        /// The socket or device.
        path: String,
        /// Why.
        #[source]
        source: rustix::io::Errno,
    },
    /// The daemon answered with an error.
    #[error("xenstore {} of {path:?} failed: {errno}", .request.name())]
    Refused {
        /// The request.
        request: MessageType,
        /// Its path or first argument.
        path: String,
        /// What the daemon answered.
        errno: Errno,
    },
    /// No answer came in time.
    #[error("xenstored did not answer {} of {path:?} within {limit:?}", .request.name())]
    TimedOut {
        /// The request.
        request: MessageType,
        /// Its path or first argument.
        path: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// Reading or writing the connection failed.
    #[error("the connection to xenstored failed during {} of {path:?}", .request.name())]
    Io {
        /// The request.
        request: MessageType,
        /// Its path or first argument.
        path: String,
        /// Why.
        #[source]
        source: rustix::io::Errno,
    },
    /// The daemon closed the connection.
    #[error("xenstored closed the connection during {} of {path:?}", .request.name())]
    Closed {
        /// The request.
        request: MessageType,
        /// Its path or first argument.
        path: String,
    },
    /// The daemon answered what the protocol does not allow.
    #[error("xenstored's answer to {} of {path:?} is not valid: {what}", .request.name())]
    Protocol {
        /// The request.
        request: MessageType,
        /// Its path or first argument.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The request does not fit into a message.
    #[error("xenstore {} of {path:?} has {length} bytes; {} is the most", .request.name(), crate::wire::PAYLOAD_MAX)]
    TooLong {
        /// The request.
        request: MessageType,
        /// Its path or first argument.
        path: String,
        /// Bytes that it would have.
        length: usize,
    },
    /// An argument holds a byte that would end it.
    #[error("xenstore {}: {path:?} contains a zero byte", .request.name())]
    ZeroByte {
        /// The request.
        request: MessageType,
        /// The argument.
        path: String,
    },
    /// A transaction met other clients' changes each time that it was tried.
    #[error(
        "a xenstore transaction was given up after {attempts} attempts: other clients kept changing the same nodes"
    )]
    Conflict {
        /// How often it was tried.
        attempts: u32,
    },
}

impl Error {
    /// The daemon's answer, if it is one.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether the node does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(Errno::NotFound)
    }

    /// Whether permissions forbid it: the node's, or those of the socket or device.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        use rustix::io::Errno as Os;
        match self {
            Self::Refused { errno, .. } => matches!(errno, Errno::Access | Errno::NotPermitted),
            Self::Connect { source, .. } => matches!(*source, Os::ACCESS | Os::PERM),
            Self::NoDaemon { tried } => {
                tried.iter().any(|(_, why)| matches!(*why, Os::ACCESS | Os::PERM))
            }
            _ => false,
        }
    }

    /// Whether a transaction met another client's change.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.errno() == Some(Errno::Again) || matches!(self, Self::Conflict { .. })
    }

    /// Whether it exists already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::Exists)
    }

    /// Whether a quota is used up.
    #[must_use]
    pub fn is_quota(&self) -> bool {
        self.errno() == Some(Errno::NoSpace)
    }

    /// Whether the daemon could not be reached at all, or went away.
    #[must_use]
    pub const fn is_disconnected(&self) -> bool {
        matches!(
            self,
            Self::NoDaemon { .. } | Self::Connect { .. } | Self::Closed { .. } | Self::Io { .. }
        )
    }

    /// Whether no answer came in time.
    #[must_use]
    pub const fn is_timed_out(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }
}
