//! `public/version.h` and `features.h`: xen_version.

use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What a xen_version call asks for.
    pub struct VersionCmd(u32) {
        /// Major and minor version, as the return value. Without an argument, also a cheap way to have
        /// pending events delivered.
        VERSION = 0,
        /// [`EXTRAVERSION_LEN`] bytes.
        EXTRAVERSION = 1,
        /// [`CompileInfo`].
        COMPILE_INFO = 2,
        /// [`CAPABILITIES_INFO_LEN`] bytes: names of the guest types that can run, with blanks between.
        CAPABILITIES = 3,
        /// [`CHANGESET_INFO_LEN`] bytes.
        CHANGESET = 4,
        /// [`PlatformParameters`].
        PLATFORM_PARAMETERS = 5,
        /// [`FeatureInfo`].
        GET_FEATURES = 6,
        /// The page size, as the return value.
        PAGESIZE = 7,
        /// The domain's 16-byte handle.
        GUEST_HANDLE = 8,
        /// [`COMMANDLINE_LEN`] bytes.
        COMMANDLINE = 9,
        /// [`VarBuf`] and the build's identity.
        BUILD_ID = 10,
        /// [`VarBuf`] and the text of [`Self::EXTRAVERSION`], whole.
        EXTRAVERSION2 = 11,
        /// [`VarBuf`] and the text of [`Self::CAPABILITIES`], whole.
        CAPABILITIES2 = 12,
        /// [`VarBuf`] and the text of [`Self::CHANGESET`], whole.
        CHANGESET2 = 13,
        /// [`VarBuf`] and the text of [`Self::COMMANDLINE`], whole.
        COMMANDLINE2 = 14,
    }
}

consts! { usize;
    /// Bytes of an extra version.
    EXTRAVERSION_LEN = 16,
    /// Bytes of the capabilities text.
    CAPABILITIES_INFO_LEN = 1024,
    /// Bytes of the change set text.
    CHANGESET_INFO_LEN = 64,
    /// Bytes of the command line.
    COMMANDLINE_LEN = 1024,
}

consts! { u32;
    /// How many words of features there are.
    XENFEAT_NR_SUBMAPS = 1,
}

/// Feature numbers: bits of [`FeatureInfo::submap`].
pub mod feature {
    super::consts! { u32;
        /// Page tables may be writable.
        WRITABLE_PAGE_TABLES = 0,
        /// Descriptor tables may be writable.
        WRITABLE_DESCRIPTOR_TABLES = 1,
        /// The hypervisor translates guest frame numbers.
        AUTO_TRANSLATED_PHYSMAP = 2,
        /// The kernel runs at ring 0.
        SUPERVISOR_MODE_KERNEL = 3,
        /// PAE base pointers above 4 GiB.
        PAE_PGDIR_ABOVE_4GB = 4,
        /// mmu_update can preserve accessed and dirty bits.
        MMU_PT_UPDATE_PRESERVE_AD = 5,
        /// Clearing and copying of pages by mmuext_op.
        HIGHMEM_ASSIST = 6,
        /// Grant mappings take the guest's available bits.
        GNTTAB_MAP_AVAIL_BITS = 7,
        /// Events by interrupt vector.
        HVM_CALLBACK_VECTOR = 8,
        /// The PV clock is safe for HVM guests.
        HVM_SAFE_PVCLOCK = 9,
        /// Physical interrupts as events in HVM guests.
        HVM_PIRQS = 10,
        /// This is the hardware domain.
        DOM0 = 11,
        /// Memory operations know virtual NUMA nodes.
        MEMORY_OP_VNODE_SUPPORTED = 13,
        /// SMC calls (Arm).
        ARM_SMCCC_SUPPORTED = 14,
        /// A kernel's promise only: it finds ACPI's root pointer wherever it is.
        LINUX_RSDP_UNRESTRICTED = 15,
        /// Guest frames are not machine frames.
        NOT_DIRECT_MAPPED = 16,
        /// Guest frames are machine frames.
        DIRECT_MAPPED = 17,
        /// Runstate areas by physical address.
        RUNSTATE_PHYS_AREA = 18,
        /// Time areas by physical address.
        VCPU_TIME_PHYS_AREA = 19,
        /// Device models may see all writes to MSI-X tables.
        DM_MSIX_ALL_WRITES = 20,
    }
}

layouts! {
    /// Who compiled, when and with what; texts end with a zero byte.
    pub struct CompileInfo("struct xen_compile_info"): 144 {
        /// Compiler.
        pub compiler: [u8; 64],
        /// User.
        pub compile_by: [u8; 16],
        /// Host's domain.
        pub compile_domain: [u8; 32],
        /// Date.
        pub compile_date: [u8; 32],
    }

    /// Where the hypervisor's hole begins.
    pub struct PlatformParameters("struct xen_platform_parameters"): 8 {
        /// Its first address.
        pub virt_start: u64,
    }

    /// One word of features.
    pub struct FeatureInfo("struct xen_feature_info"): 8 {
        /// Which word (in).
        pub submap_idx: u32,
        /// The features (out).
        pub submap: u32,
    }

    /// Head of a buffer of the caller's size; the bytes follow.
    pub struct VarBuf("struct xen_varbuf"): 4 {
        /// Room for bytes (in).
        pub len: u32,
    }
}
