//! Why an operation did not come to its end.

use core::fmt;

use abi::{DomId, Errno, Mfn};

use crate::{Kind, Pte};

/// Why an operation stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The budget is used up. What was done so far stands in the frames' records: call again
    /// with the same arguments.
    Again,
    /// It cannot be done, and nothing of it has been.
    Refused(Reason),
}

impl From<Reason> for Stop {
    #[inline]
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

/// Why an operation was refused, for the guest's errno and for its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// There is no RAM at this frame.
    NoFrame {
        /// The frame.
        mfn: Mfn,
    },
    /// The frame belongs to another domain, or to nobody.
    NotOwned {
        /// The frame.
        mfn: Mfn,
        /// Who owns it now.
        owner: Option<DomId>,
        /// Who would have to.
        wanted: DomId,
    },
    /// The frame may not be mapped as wanted: it is another domain's, or in another use.
    Unmappable {
        /// The frame.
        mfn: Mfn,
        /// Who owns it now.
        owner: Option<DomId>,
        /// Who would have to.
        wanted: DomId,
        /// Its use now.
        has: Kind,
    },
    /// The frame has an owner already.
    Owned {
        /// The frame.
        mfn: Mfn,
        /// Its owner.
        owner: DomId,
    },
    /// The frame is in another use.
    WrongKind {
        /// The frame.
        mfn: Mfn,
        /// Its use now.
        has: Kind,
        /// The use wanted.
        wanted: Kind,
    },
    /// The frame is half way in or out of a use that another operation has to end first.
    Unfinished {
        /// The frame.
        mfn: Mfn,
        /// The use.
        kind: Kind,
    },
    /// A page of the hypervisor that guests may only map, and perhaps only read-only.
    Shared {
        /// The frame.
        mfn: Mfn,
        /// The use wanted.
        wanted: Kind,
    },
    /// The frame has as many references as can be counted.
    TooManyReferences {
        /// The frame.
        mfn: Mfn,
    },
    /// The frame is still referenced.
    InUse {
        /// The frame.
        mfn: Mfn,
        /// References beyond the one that was expected.
        extra: u32,
    },
    /// Bits that a guest may not set in an entry of this level.
    BadBits {
        /// The entry.
        entry: u64,
        /// Those of its bits that are not allowed.
        bits: u64,
    },
    /// The domain may not map this I/O frame in this way.
    NoIoAccess {
        /// The frame.
        mfn: Mfn,
        /// The domain whose rights counted.
        dom: DomId,
    },
    /// An entry of level 2 to 4 must point to the table owner's own pages.
    ForeignTable {
        /// The frame.
        mfn: Mfn,
    },
    /// An entry that makes a table its own page directory may not be writable.
    LinearWritable {
        /// The frame that it points to.
        mfn: Mfn,
    },
    /// A table with linear entries may not itself be used by one.
    LinearChain {
        /// The frame that the entry points to.
        mfn: Mfn,
    },
    /// The slot of an L4 belongs to the hypervisor.
    HypervisorSlot {
        /// The table.
        table: Mfn,
        /// The slot.
        index: usize,
    },
    /// No such entry: a table has 512.
    BadIndex {
        /// The index.
        index: usize,
    },
    /// The frame is not a page table of the level needed.
    NotATable {
        /// The frame.
        mfn: Mfn,
        /// Its use now.
        has: Kind,
    },
    /// The operation needs a page-table kind.
    BadKind {
        /// What was asked for.
        kind: Kind,
    },
    /// The entry does not map what was expected.
    Changed {
        /// The table.
        table: Mfn,
        /// The entry as it is.
        entry: u64,
    },
    /// The frame is pinned already.
    AlreadyPinned {
        /// The frame.
        mfn: Mfn,
    },
    /// The frame is not pinned.
    NotPinned {
        /// The frame.
        mfn: Mfn,
    },
    /// The descriptors in the frame are not ones that a guest may have.
    BadDescriptors {
        /// The frame.
        mfn: Mfn,
    },
    /// The table held an entry that is not allowed; its undoing took more than one call.
    Invalid {
        /// The table.
        mfn: Mfn,
        /// The use that was wanted.
        kind: Kind,
    },
}

impl Reason {
    /// What a hypercall returns for it.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::NoIoAccess { .. } => Errno::EPERM,
            // An address beyond the machine is I/O memory that nobody may map; all ones is none.
            Self::BadBits { entry, bits }
                if bits & Pte::ADDRESS != 0 && entry & Pte::ADDRESS != Pte::ADDRESS =>
            {
                Errno::EPERM
            }
            Self::Unmappable { .. }
            | Self::Unfinished { .. }
            | Self::InUse { .. }
            | Self::TooManyReferences { .. } => Errno::EBUSY,
            _ => Errno::EINVAL,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoFrame { mfn } => write!(f, "no RAM at mfn {mfn:#x}"),
            Self::NotOwned { mfn, owner: Some(owner), wanted } => {
                write!(f, "mfn {mfn:#x} belongs to d{owner}, not to d{wanted}")
            }
            Self::NotOwned { mfn, owner: None, wanted } => {
                write!(f, "mfn {mfn:#x} belongs to nobody, not to d{wanted}")
            }
            Self::Unmappable { mfn, owner: Some(owner), wanted, has } if owner == wanted => {
                write!(f, "mfn {mfn:#x} cannot be mapped so: it is in use as {has}")
            }
            Self::Unmappable { mfn, owner: Some(owner), wanted, .. } => {
                write!(f, "mfn {mfn:#x} cannot be mapped: it is d{owner}'s, not d{wanted}'s")
            }
            Self::Unmappable { mfn, owner: None, wanted, .. } => {
                write!(f, "mfn {mfn:#x} cannot be mapped: it is nobody's, not d{wanted}'s")
            }
            Self::Owned { mfn, owner } => write!(f, "mfn {mfn:#x} belongs to d{owner} already"),
            Self::WrongKind { mfn, has, wanted } => {
                write!(f, "mfn {mfn:#x} is in use as {has}, wanted as {wanted}")
            }
            Self::Unfinished { mfn, kind } => {
                write!(f, "mfn {mfn:#x} is half way in or out of use as {kind}")
            }
            Self::Shared { mfn, wanted } => {
                write!(f, "mfn {mfn:#x} is the hypervisor's, wanted as {wanted}")
            }
            Self::TooManyReferences { mfn } => write!(f, "mfn {mfn:#x} has too many references"),
            Self::InUse { mfn, extra } => {
                write!(f, "mfn {mfn:#x} has {extra} references more than expected")
            }
            Self::BadBits { entry, bits } => {
                write!(f, "entry {entry:#x} sets bits {bits:#x}, which are not allowed")
            }
            Self::NoIoAccess { mfn, dom } => {
                write!(f, "d{dom} may not map I/O mfn {mfn:#x} in this way")
            }
            Self::ForeignTable { mfn } => {
                write!(f, "mfn {mfn:#x} of another domain as a page table")
            }
            Self::LinearWritable { mfn } => {
                write!(f, "writable linear entry for mfn {mfn:#x}")
            }
            Self::LinearChain { mfn } => {
                write!(f, "linear entry for mfn {mfn:#x} would make a chain of them")
            }
            Self::HypervisorSlot { table, index } => {
                write!(f, "slot {index} of L4 mfn {table:#x} is the hypervisor's")
            }
            Self::BadIndex { index } => write!(f, "no entry {index} in a page table"),
            Self::NotATable { mfn, has } => {
                write!(f, "mfn {mfn:#x} is {has}, not the page table needed")
            }
            Self::BadKind { kind } => write!(f, "{kind} where a page-table level is needed"),
            Self::Changed { table, entry } => {
                write!(f, "entry of table mfn {table:#x} is {entry:#x}, not what was expected")
            }
            Self::AlreadyPinned { mfn } => write!(f, "mfn {mfn:#x} is pinned already"),
            Self::NotPinned { mfn } => write!(f, "mfn {mfn:#x} is not pinned"),
            Self::BadDescriptors { mfn } => {
                write!(f, "mfn {mfn:#x} holds descriptors that a guest may not have")
            }
            Self::Invalid { mfn, kind } => {
                write!(f, "mfn {mfn:#x} holds an entry that a {kind} may not have")
            }
        }
    }
}
