//! The numbers of the interface: results, entry flags, versions and sizes.

/// Why a grant operation failed (`GNTST_*`). Success is 0, and has no variant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum Status {
    /// Not allowed, or not possible, for a reason without a number of its own.
    GeneralError = -1,
    /// No such domain.
    BadDomain = -2,
    /// The reference is out of range, or of the wrong kind.
    BadGntref = -3,
    /// The handle stands for no mapping.
    BadHandle = -4,
    /// The address to map at is not usable.
    BadVirtAddr = -5,
    /// The device address to unmap is wrong.
    BadDevAddr = -6,
    /// The I/O MMU has no room.
    NoDeviceSpace = -7,
    /// The caller may not do this.
    PermissionDenied = -8,
    /// The frame is not usable for this.
    BadPage = -9,
    /// The copy crosses a page's end.
    BadCopyArg = -10,
    /// The frame to transfer is beyond what the receiver can address.
    AddressTooBig = -11,
    /// Not now; the same call may succeed later.
    Eagain = -12,
    /// Out of handles, frames or the like.
    NoSpace = -13,
}

impl Status {
    /// What a guest finds in a `status` field after success.
    pub const OKAY: i16 = 0;

    /// The number that is written to a guest's `status` field.
    pub fn to_raw(self) -> i16 {
        self as i16
    }

    /// The number for an outcome: 0 for success.
    pub fn raw_of<T>(outcome: &Result<T, Status>) -> i16 {
        match outcome {
            Ok(_) => Self::OKAY,
            Err(status) => status.to_raw(),
        }
    }
}

/// The layout of a domain's shared entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// 8-byte entries; in-use marks are flags of the entry.
    V1,
    /// 16-byte entries; in-use marks are in separate status frames.
    V2,
}

impl Version {
    /// The version of that number, or `None`: only 1 and 2 exist.
    pub fn from_raw(raw: u32) -> Option<Version> {
        match raw {
            1 => Some(Version::V1),
            2 => Some(Version::V2),
            _ => None,
        }
    }

    /// Its number in the interface.
    pub fn to_raw(self) -> u32 {
        match self {
            Version::V1 => 1,
            Version::V2 => 2,
        }
    }

    /// How many entries a shared frame holds.
    pub const fn entries_per_frame(self) -> u32 {
        match self {
            Version::V1 => V1_ENTRIES_PER_FRAME,
            Version::V2 => V2_ENTRIES_PER_FRAME,
        }
    }
}

/// Version 1 entries in a frame (8 bytes each).
pub const V1_ENTRIES_PER_FRAME: u32 = 512;
/// Version 2 entries in a frame (16 bytes each).
pub const V2_ENTRIES_PER_FRAME: u32 = 256;
/// Version 2 status words in a frame (2 bytes each).
pub const STATUS_PER_FRAME: u32 = 2048;
/// Entries that survive a change of version, and that tools may fill before a domain runs.
pub const RESERVED_ENTRIES: u32 = 8;
/// The default limit of shared frames of a domain.
pub const DEFAULT_MAX_GRANT_FRAMES: u32 = 64;
/// The default limit of maptrack frames of a domain.
pub const DEFAULT_MAX_MAPTRACK_FRAMES: u32 = 1024;

/// How many status frames a version 2 table of `frames` shared frames has.
pub const fn status_frames(frames: u32) -> u32 {
    frames.div_ceil(STATUS_PER_FRAME / V2_ENTRIES_PER_FRAME)
}

/// Flags of a shared entry (`GTF_*`), as in the low half of its header word.
pub mod gtf {
    /// Which bits give the entry's kind.
    pub const TYPE_MASK: u16 = 3;
    /// Kind: grants nothing.
    pub const INVALID: u16 = 0;
    /// Kind: the named domain may map or copy the frame.
    pub const PERMIT_ACCESS: u16 = 1;
    /// Kind: the named domain may give a frame away into this slot.
    pub const ACCEPT_TRANSFER: u16 = 2;
    /// Kind: stands for a grant of a third domain; copies only.
    pub const TRANSITIVE: u16 = 3;
    /// Only reading is permitted.
    pub const READONLY: u16 = 1 << 2;
    /// In use for reading (set by the hypervisor).
    pub const READING: u16 = 1 << 3;
    /// In use for writing (set by the hypervisor).
    pub const WRITING: u16 = 1 << 4;
    /// Cache attributes that the granter asks of mappings: PWT, PCD, PAT.
    pub const CACHE_MASK: u16 = 7 << 5;
    /// Only a part of the page is granted; copies only.
    pub const SUB_PAGE: u16 = 1 << 8;
    /// Of a transfer slot: the hypervisor has committed to filling it.
    pub const TRANSFER_COMMITTED: u16 = 1 << 2;
    /// Of a transfer slot: it is filled.
    pub const TRANSFER_COMPLETED: u16 = 1 << 3;
}

/// Flags of a map request (`GNTMAP_*`).
pub mod gntmap {
    /// For use by devices.
    pub const DEVICE_MAP: u32 = 1 << 0;
    /// For use by CPUs.
    pub const HOST_MAP: u32 = 1 << 1;
    /// For reading only.
    pub const READONLY: u32 = 1 << 2;
    /// Usable by the guest's applications too, not by its kernel alone.
    pub const APPLICATION_MAP: u32 = 1 << 3;
    /// The address given is that of a page-table entry.
    pub const CONTAINS_PTE: u32 = 1 << 4;
    /// From this bit upwards: software-available bits for the page-table entry.
    pub const GUEST_AVAIL_SHIFT: u32 = 16;
}
