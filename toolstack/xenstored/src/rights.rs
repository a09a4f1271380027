//! Who asks, and what a node's permissions allow them.

use crate::tree::Node;
use xenstore::{Errno, Permission};

/// The one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The domain; 0 for sockets.
    pub domid: u16,
    /// Another domain that it acts for.
    pub target: Option<u16>,
}

impl Subject {
    /// A domain that acts for itself.
    #[must_use]
    pub const fn new(domid: u16) -> Self {
        Self { domid, target: None }
    }

    /// Whether everything is allowed, without limits.
    #[must_use]
    pub const fn is_privileged(self) -> bool {
        self.domid == 0
    }

    fn is(self, domid: u16) -> bool {
        self.domid == domid || self.target == Some(domid)
    }

    /// What permissions allow: the owner everything, a domain with an entry what that says,
    /// everybody else what the first entry says.
    #[must_use]
    pub fn allowed(self, permissions: &[Permission]) -> Allowed {
        let Some((first, rest)) = permissions.split_first() else {
            return Allowed { read: false, write: false, owner: false };
        };
        if self.is_privileged() || self.is(first.domid) {
            return Allowed { read: true, write: true, owner: true };
        }
        let entry = rest.iter().find(|entry| self.is(entry.domid)).unwrap_or(first);
        let (read, write) = (entry.rights.reads(), entry.rights.writes());
        Allowed { read, write, owner: false }
    }
}

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// To read value, list and permissions.
    pub read: bool,
    /// To change and to create below.
    pub write: bool,
    /// To set permissions.
    pub owner: bool,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To read.
    Read,
    /// To write.
    Write,
    /// To set permissions.
    Own,
}

impl Allowed {
    /// Whether the need is met.
    #[must_use]
    pub const fn meets(self, need: Need) -> bool {
        match need {
            Need::Read => self.read,
            Need::Write => self.write,
            Need::Own => self.owner,
        }
    }
}

/// Checks a node that exists.
///
/// # Errors
/// `EACCES`.
pub fn check(subject: Subject, node: &Node, need: Need) -> Result<(), Errno> {
    if subject.allowed(&node.permissions).meets(need) { Ok(()) } else { Err(Errno::Access) }
}

/// The error for a node that does not exist: who may not see what is above it is not told.
#[must_use]
pub fn absent(subject: Subject, above: &Node, need: Need) -> Errno {
    // Whoever may write above a node may know that it is not there, as its owner may.
    let allowed = subject.allowed(&above.permissions);
    let known = match need {
        Need::Read => allowed.read,
        Need::Write | Need::Own => allowed.write,
    };
    if known { Errno::NotFound } else { Errno::Access }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenstore::Rights;

    #[test]
    fn an_owner_may_everything_and_others_what_their_entry_says() {
        let list = [
            Permission::new(5, Rights::None),
            Permission::new(6, Rights::Read),
            Permission::new(7, Rights::Both),
        ];
        let of = |domid| Subject::new(domid).allowed(&list);
        assert_eq!(of(0), Allowed { read: true, write: true, owner: true });
        assert_eq!(of(5), Allowed { read: true, write: true, owner: true });
        assert_eq!(of(6), Allowed { read: true, write: false, owner: false });
        assert_eq!(of(7), Allowed { read: true, write: true, owner: false });
        assert_eq!(of(8), Allowed { read: false, write: false, owner: false });
        let stub = Subject { domid: 8, target: Some(5) };
        assert!(stub.allowed(&list).owner);
    }
}
