//! What goes over a socket or a ring: a header of four words, then a payload.
//! Numbers from Xen 4.20's `xen/io/xs_wire.h` and docs/misc/xenstore.txt.

/// Bytes of a message's header.
pub const HEADER_SIZE: usize = 16;
/// The largest payload, in bytes, of any message.
pub const PAYLOAD_MAX: usize = 4096;
/// The longest absolute path, in bytes, without its end.
pub const ABSOLUTE_PATH_MAX: usize = 3072;
/// The longest relative path, in bytes, without its end.
pub const RELATIVE_PATH_MAX: usize = 2048;
/// The domain id that stands for the sender itself.
pub const DOMID_SELF: u16 = 0x7ff0;
/// Special watch: a domain was introduced.
pub const INTRODUCE_DOMAIN: &str = "@introduceDomain";
/// Special watch: a domain was released, shut down or died.
pub const RELEASE_DOMAIN: &str = "@releaseDomain";

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// A message's type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum MessageType {
            $($(#[$doc])* $name = $number,)*
        }

        impl MessageType {
            /// The type that a header's number means; `None` for numbers that mean nothing.
            #[must_use]
            pub const fn from_u32(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The type's name as protocol texts spell it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

message_types! {
    /// A command to the daemon itself.
    Control = 0, "CONTROL";
    /// Names of a node's children.
    Directory = 1, "DIRECTORY";
    /// A node's value.
    Read = 2, "READ";
    /// A node's permissions.
    GetPerms = 3, "GET_PERMS";
    /// Set a watch.
    Watch = 4, "WATCH";
    /// Remove a watch.
    Unwatch = 5, "UNWATCH";
    /// Begin a transaction.
    TransactionStart = 6, "TRANSACTION_START";
    /// Commit (`T`) or drop (`F`) a transaction.
    TransactionEnd = 7, "TRANSACTION_END";
    /// Tell the daemon of a domain's ring.
    Introduce = 8, "INTRODUCE";
    /// Take a domain's ring away.
    Release = 9, "RELEASE";
    /// A domain's home.
    GetDomainPath = 10, "GET_DOMAIN_PATH";
    /// Set a value, creating the node and its parents.
    Write = 11, "WRITE";
    /// Create a node without a value.
    Mkdir = 12, "MKDIR";
    /// Remove a node and all below it.
    Rm = 13, "RM";
    /// Set a node's permissions.
    SetPerms = 14, "SET_PERMS";
    /// From the daemon: a watch fired.
    WatchEvent = 15, "WATCH_EVENT";
    /// From the daemon: a request failed.
    Error = 16, "ERROR";
    /// Is a domain's ring known?
    IsDomainIntroduced = 17, "IS_DOMAIN_INTRODUCED";
    /// A domain that was shut down goes on.
    Resume = 18, "RESUME";
    /// A domain acts for another.
    SetTarget = 19, "SET_TARGET";
    /// Drop all watches and transactions of the sender.
    ResetWatches = 21, "RESET_WATCHES";
    /// A part of the names of a node's children.
    DirectoryPart = 22, "DIRECTORY_PART";
}

/// A message's header. All words are the machine's (little-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type's number, not yet known to mean anything.
    pub kind: u32,
    /// The request's number, repeated in its reply.
    pub request: u32,
    /// The transaction, 0 for none.
    pub transaction: u32,
    /// Bytes of payload that follow.
    pub length: u32,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let words = [self.kind, self.request, self.transaction, self.length];
        let mut bytes = [0; HEADER_SIZE];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header that these bytes begin with; `None` if they are too few.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [kind, request, transaction, length] =
            bytes.first_chunk::<HEADER_SIZE>()?.as_chunks::<4>().0
        else {
            return None;
        };
        Some(Self {
            kind: u32::from_le_bytes(*kind),
            request: u32::from_le_bytes(*request),
            transaction: u32::from_le_bytes(*transaction),
            length: u32::from_le_bytes(*length),
        })
    }
}

/// The layout of the page that a domain shares with the daemon (`struct xenstore_domain_interface`).
pub mod ring {
    /// Bytes in each of the two rings.
    pub const SIZE: u32 = 1024;
    /// Offset of the requests' bytes.
    pub const REQUESTS: usize = 0;
    /// Offset of the replies' bytes.
    pub const REPLIES: usize = 1024;
    /// Offset of the index up to which the daemon has taken requests.
    pub const REQUEST_CONSUMER: usize = 2048;
    /// Offset of the index up to which the domain has put requests.
    pub const REQUEST_PRODUCER: usize = 2052;
    /// Offset of the index up to which the domain has taken replies.
    pub const REPLY_CONSUMER: usize = 2056;
    /// Offset of the index up to which the daemon has put replies.
    pub const REPLY_PRODUCER: usize = 2060;
    /// Offset of the daemon's features.
    pub const FEATURES: usize = 2064;
    /// Offset of the connection's state.
    pub const CONNECTION: usize = 2068;
    /// Offset of the connection's error.
    pub const ERROR: usize = 2072;
    /// Feature: a domain can have its ring reset.
    pub const FEATURE_RECONNECTION: u32 = 1;
    /// Feature: the page has an error field.
    pub const FEATURE_ERROR: u32 = 2;
    /// State: in use.
    pub const CONNECTED: u32 = 0;
    /// State: the domain asks for a reset of the ring.
    pub const RECONNECT: u32 = 1;
    /// No error.
    pub const ERROR_NONE: u32 = 0;
    /// Communication failed.
    pub const ERROR_COMMUNICATION: u32 = 1;
    /// An index was impossible.
    pub const ERROR_INDEX: u32 = 2;
    /// A message was longer than the protocol allows.
    pub const ERROR_PROTOCOL: u32 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_decodes_to_what_was_encoded() {
        let header = Header { kind: 11, request: 0x0102_0304, transaction: 7, length: 4096 };
        let bytes = header.encode();
        assert_eq!(bytes, [11, 0, 0, 0, 4, 3, 2, 1, 7, 0, 0, 0, 0, 16, 0, 0]);
        assert_eq!(Header::decode(&bytes), Some(header));
        assert_eq!(Header::decode(&bytes[..15]), None);
    }

    #[test]
    fn each_number_means_the_type_with_that_number() {
        for number in 0..64 {
            let known = MessageType::from_u32(number);
            assert_eq!(known.is_some(), number < 23 && number != 20, "{number}");
            assert!(known.is_none_or(|kind| kind as u32 == number));
        }
    }
}
