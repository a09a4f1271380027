//! `public/elfnote.h`: types of the ELF notes by which a kernel describes itself.

use crate::layout::{consts, open_enum};

/// Owner of the notes, with its zero byte.
pub const OWNER: &[u8; 4] = b"Xen\0";

open_enum! {
    /// Type of a note of owner "Xen".
    pub struct ElfNote(u32) {
        /// Old text form of all of these.
        INFO = 0,
        /// Entry point.
        ENTRY = 1,
        /// Page to be filled with hypercall stubs.
        HYPERCALL_PAGE = 2,
        /// First virtual address.
        VIRT_BASE = 3,
        /// What to subtract from the ELF's physical addresses.
        PADDR_OFFSET = 4,
        /// Interface version, a text.
        XEN_VERSION = 5,
        /// Name of the system, a text.
        GUEST_OS = 6,
        /// Its version, a text.
        GUEST_VERSION = 7,
        /// Kind of loader, a text.
        LOADER = 8,
        /// PAE, a text.
        PAE_MODE = 9,
        /// Features by name, a text.
        FEATURES = 10,
        /// Symbol table wanted.
        BSD_SYMTAB = 11,
        /// Lowest address that the hypervisor may use (32-bit).
        HV_START_LOW = 12,
        /// Pairs of mask and value that mark an L1 entry's frame as valid.
        L1_MFN_VALID = 13,
        /// A suspend may be called off.
        SUSPEND_CANCEL = 14,
        /// Where the P2M list shall be mapped.
        INIT_P2M = 15,
        /// The module may be left unmapped.
        MOD_START_PFN = 16,
        /// Features by bit number.
        SUPPORTED_FEATURES = 17,
        /// 32-bit physical entry point (PVH).
        PHYS32_ENTRY = 18,
        /// The kernel may be moved: alignment, lowest and highest address.
        PHYS32_RELOC = 19,
        /// The hypervisor's data in a crash dump.
        CRASH_INFO = 0x100_0001,
        /// The hypervisor's registers in a crash dump.
        CRASH_REGS = 0x100_0002,
        /// Empty note of a domain's dump.
        DUMPCORE_NONE = 0x200_0000,
        /// Head of a domain's dump.
        DUMPCORE_HEADER = 0x200_0001,
        /// Hypervisor's version in a domain's dump.
        DUMPCORE_XEN_VERSION = 0x200_0002,
        /// Version of the dump's format.
        DUMPCORE_FORMAT_VERSION = 0x200_0003,
    }
}

consts! { u32;
    /// The greatest type that a kernel gives.
    MAX_KERNEL_NOTE = 19,
}
