//! `public/grant_table.h`: grant_table_op and the entries of both versions.

use crate::GuestPtr;
use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What a grant_table_op call does.
    pub struct GrantCmd(u32) {
        /// [`MapGrantRef`].
        MAP_GRANT_REF = 0,
        /// [`UnmapGrantRef`].
        UNMAP_GRANT_REF = 1,
        /// [`SetupTable`].
        SETUP_TABLE = 2,
        /// [`DumpTable`].
        DUMP_TABLE = 3,
        /// [`Transfer`].
        TRANSFER = 4,
        /// [`Copy`].
        COPY = 5,
        /// [`QuerySize`].
        QUERY_SIZE = 6,
        /// [`UnmapAndReplace`].
        UNMAP_AND_REPLACE = 7,
        /// [`SetVersion`].
        SET_VERSION = 8,
        /// [`GetStatusFrames`].
        GET_STATUS_FRAMES = 9,
        /// [`GetVersion`].
        GET_VERSION = 10,
        /// [`SwapGrantRef`].
        SWAP_GRANT_REF = 11,
        /// [`CacheFlush`].
        CACHE_FLUSH = 12,
    }
}

open_enum! {
    /// Outcome of one grant operation.
    pub struct GrantStatus(i16) {
        /// Done.
        OKAY = 0,
        /// Failed.
        GENERAL_ERROR = -1,
        /// No such domain.
        BAD_DOMAIN = -2,
        /// No such grant.
        BAD_GNTREF = -3,
        /// No such mapping.
        BAD_HANDLE = -4,
        /// Not a usable address.
        BAD_VIRT_ADDR = -5,
        /// Not a usable device address.
        BAD_DEV_ADDR = -6,
        /// No room in the IOMMU.
        NO_DEVICE_SPACE = -7,
        /// Not allowed.
        PERMISSION_DENIED = -8,
        /// Not a usable page.
        BAD_PAGE = -9,
        /// A copy beyond a page's end.
        BAD_COPY_ARG = -10,
        /// The frame number is too great for the reader.
        ADDRESS_TOO_BIG = -11,
        /// Try again.
        EAGAIN = -12,
        /// The table is full.
        NO_SPACE = -13,
    }
}

consts! { u16;
    /// Entry: not in use.
    GTF_INVALID = 0,
    /// Entry: another domain may map or copy.
    GTF_PERMIT_ACCESS = 1,
    /// Entry: another domain may give a page.
    GTF_ACCEPT_TRANSFER = 2,
    /// Entry: stands for another domain's grant (copy only).
    GTF_TRANSITIVE = 3,
    /// Entry: which of these.
    GTF_TYPE_MASK = 3,
    /// Access: not for writing.
    GTF_READONLY = 1 << 2,
    /// Access: in use for reading.
    GTF_READING = 1 << 3,
    /// Access: in use for writing.
    GTF_WRITING = 1 << 4,
    /// Access: write-through.
    GTF_PWT = 1 << 5,
    /// Access: cache disable.
    GTF_PCD = 1 << 6,
    /// Access: PAT bit.
    GTF_PAT = 1 << 7,
    /// Access: a part of the page only.
    GTF_SUB_PAGE = 1 << 8,
    /// Transfer: begun.
    GTF_TRANSFER_COMMITTED = 1 << 2,
    /// Transfer: finished.
    GTF_TRANSFER_COMPLETED = 1 << 3,
    /// [`Copy::flags`]: the source is a grant.
    GNTCOPY_SOURCE_GREF = 1 << 0,
    /// [`Copy::flags`]: the destination is a grant.
    GNTCOPY_DEST_GREF = 1 << 1,
}

consts! { u32;
    /// Entries that the toolstack uses.
    NR_RESERVED_ENTRIES = 8,
    /// The console ring's entry.
    RESERVED_CONSOLE = 0,
    /// The xenstore ring's entry.
    RESERVED_XENSTORE = 1,
    /// Map flag: for devices.
    GNTMAP_DEVICE_MAP = 1 << 0,
    /// Map flag: for the CPU.
    GNTMAP_HOST_MAP = 1 << 1,
    /// Map flag: for reading only.
    GNTMAP_READONLY = 1 << 2,
    /// Map flag: user mode may access it.
    GNTMAP_APPLICATION_MAP = 1 << 3,
    /// Map flag: the host address is the machine address of a page-table entry.
    GNTMAP_CONTAINS_PTE = 1 << 4,
    /// Map flag: where the entry's available bits start.
    GNTMAP_GUEST_AVAIL_SHIFT = 16,
    /// Map flag: the entry's available bits.
    GNTMAP_GUEST_AVAIL_MASK = 0xffff_0000,
    /// [`CacheFlush::op`]: write back.
    CACHE_CLEAN = 1 << 0,
    /// [`CacheFlush::op`]: invalidate.
    CACHE_INVAL = 1 << 1,
    /// [`CacheFlush::op`]: a grant is given rather than an address.
    CACHE_SOURCE_GREF = 1 << 31,
}

layouts! {
    /// An entry of version 1.
    pub struct GrantEntryV1("struct grant_entry_v1"): 8 {
        /// `GTF_*`.
        pub flags: u16,
        /// To whom.
        pub domid: u16,
        /// Which frame.
        pub frame: u32,
    }

    /// What entries of version 2 begin with.
    pub struct GrantEntryHeader("struct grant_entry_header"): 4 {
        /// `GTF_*`, without the in-use bits, which are in the status frames.
        pub flags: u16,
        /// To whom.
        pub domid: u16,
    }

    /// An entry of version 2: a whole page.
    pub struct GrantEntryV2("union grant_entry_v2"): 16 {
        /// Head.
        pub hdr("full_page.hdr"): GrantEntryHeader,
        /// Padding.
        pub _pad: u32,
        /// Which frame.
        pub frame("full_page.frame"): u64,
    }

    /// An entry of version 2: a part of a page.
    pub struct GrantEntryV2SubPage("union grant_entry_v2"): 16 {
        /// Head.
        pub hdr("sub_page.hdr"): GrantEntryHeader,
        /// First byte.
        pub page_off("sub_page.page_off"): u16,
        /// Bytes.
        pub length("sub_page.length"): u16,
        /// Which frame.
        pub frame("sub_page.frame"): u64,
    }

    /// An entry of version 2: another domain's grant.
    pub struct GrantEntryV2Transitive("union grant_entry_v2"): 16 {
        /// Head.
        pub hdr("transitive.hdr"): GrantEntryHeader,
        /// Whose.
        pub trans_domid("transitive.trans_domid"): u16,
        /// Padding.
        pub _pad0: u16,
        /// Which.
        pub gref("transitive.gref"): u32,
        /// Padding.
        pub _pad1: u32,
    }

    /// Maps a grant.
    pub struct MapGrantRef("struct gnttab_map_grant_ref"): 32 {
        /// Virtual address, or machine address of the entry.
        pub host_addr: u64,
        /// `GNTMAP_*`.
        pub flags: u32,
        /// Which grant.
        pub gref("ref"): u32,
        /// Whose.
        pub dom: u16,
        /// Outcome (out).
        pub status: GrantStatus,
        /// For unmapping (out).
        pub handle: u32,
        /// Machine address of the page (out).
        pub dev_bus_addr: u64,
    }

    /// Unmaps a grant.
    pub struct UnmapGrantRef("struct gnttab_unmap_grant_ref"): 24 {
        /// As it was mapped; 0 leaves that mapping.
        pub host_addr: u64,
        /// As it was mapped; 0 leaves that mapping.
        pub dev_bus_addr: u64,
        /// Which mapping.
        pub handle: u32,
        /// Outcome (out).
        pub status: GrantStatus,
        /// Padding.
        pub _pad: u16,
    }

    /// Makes a grant table of some frames.
    pub struct SetupTable("struct gnttab_setup_table"): 24 {
        /// Whose.
        pub dom: u16,
        /// Padding.
        pub _pad0: u16,
        /// Frames.
        pub nr_frames: u32,
        /// Outcome (out).
        pub status: GrantStatus,
        /// Padding.
        pub _pad1: [u16; 3],
        /// The frames (out).
        pub frame_list: GuestPtr<u64>,
    }

    /// Shows a table on the hypervisor's console.
    pub struct DumpTable("struct gnttab_dump_table"): 4 {
        /// Whose.
        pub dom: u16,
        /// Outcome (out).
        pub status: GrantStatus,
    }

    /// Gives a page away.
    pub struct Transfer("struct gnttab_transfer"): 24 {
        /// Which page.
        pub mfn: u64,
        /// To whom.
        pub domid: u16,
        /// Padding.
        pub _pad0: u16,
        /// By which grant.
        pub gref("ref"): u32,
        /// Outcome (out).
        pub status: GrantStatus,
        /// Padding.
        pub _pad1: [u16; 3],
    }

    /// One end of a copy.
    pub struct CopyPtr("struct gnttab_copy_ptr"): 16 {
        /// A grant (32 bits) or a guest frame.
        pub u: u64,
        /// Whose.
        pub domid: u16,
        /// First byte.
        pub offset: u16,
        /// Padding.
        pub _pad: u32,
    }

    /// Copies within a page.
    pub struct Copy("struct gnttab_copy"): 40 {
        /// From.
        pub source: CopyPtr,
        /// To.
        pub dest: CopyPtr,
        /// Bytes.
        pub len: u16,
        /// `GNTCOPY_*`.
        pub flags: u16,
        /// Outcome (out).
        pub status: GrantStatus,
        /// Padding.
        pub _pad: u16,
    }

    /// Size of a table.
    pub struct QuerySize("struct gnttab_query_size"): 16 {
        /// Whose.
        pub dom: u16,
        /// Padding.
        pub _pad0: u16,
        /// Frames (out).
        pub nr_frames: u32,
        /// Frames at most (out).
        pub max_nr_frames: u32,
        /// Outcome (out).
        pub status: GrantStatus,
        /// Padding.
        pub _pad1: u16,
    }

    /// Unmaps a grant and puts another address's mapping in its place.
    pub struct UnmapAndReplace("struct gnttab_unmap_and_replace"): 24 {
        /// As it was mapped.
        pub host_addr: u64,
        /// Whose mapping moves there.
        pub new_addr: u64,
        /// Which mapping.
        pub handle: u32,
        /// Outcome (out).
        pub status: GrantStatus,
        /// Padding.
        pub _pad: u16,
    }

    /// Chooses the version of the entries.
    pub struct SetVersion("struct gnttab_set_version"): 4 {
        /// Version (in: wanted; out: in effect).
        pub version: u32,
    }

    /// Frames of status words.
    pub struct GetStatusFrames("struct gnttab_get_status_frames"): 16 {
        /// Frames.
        pub nr_frames: u32,
        /// Whose.
        pub dom: u16,
        /// Outcome (out).
        pub status: GrantStatus,
        /// The frames (out).
        pub frame_list: GuestPtr<u64>,
    }

    /// Version of the entries.
    pub struct GetVersion("struct gnttab_get_version"): 8 {
        /// Whose.
        pub dom: u16,
        /// Padding.
        pub _pad: u16,
        /// Version (out).
        pub version: u32,
    }

    /// Exchanges two entries.
    pub struct SwapGrantRef("struct gnttab_swap_grant_ref"): 12 {
        /// One.
        pub ref_a: u32,
        /// The other.
        pub ref_b: u32,
        /// Outcome (out).
        pub status: GrantStatus,
        /// Padding.
        pub _pad: u16,
    }

    /// Cleans or invalidates caches (Arm).
    pub struct CacheFlush("struct gnttab_cache_flush"): 16 {
        /// Machine address, or a grant (32 bits).
        pub a: u64,
        /// First byte.
        pub offset: u16,
        /// Bytes.
        pub length: u16,
        /// `CACHE_*`.
        pub op: u32,
    }
}
