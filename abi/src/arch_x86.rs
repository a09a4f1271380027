//! `public/arch-x86/{xen,cpuid}.h`: domain configuration, CPUID and MSR lists, hypervisor leaves.

use crate::layout::{consts, layouts};

consts! { u32;
    /// [`ArchDomainConfig::emulation_flags`]: local APIC.
    X86_EMU_LAPIC = 1 << 0,
    /// HPET.
    X86_EMU_HPET = 1 << 1,
    /// ACPI power management.
    X86_EMU_PM = 1 << 2,
    /// Real-time clock.
    X86_EMU_RTC = 1 << 3,
    /// I/O APIC.
    X86_EMU_IOAPIC = 1 << 4,
    /// 8259 interrupt controllers.
    X86_EMU_PIC = 1 << 5,
    /// Standard VGA.
    X86_EMU_VGA = 1 << 6,
    /// IOMMU.
    X86_EMU_IOMMU = 1 << 7,
    /// 8254 timer.
    X86_EMU_PIT = 1 << 8,
    /// Physical interrupts as events.
    X86_EMU_USE_PIRQ = 1 << 9,
    /// PCI configuration space by the hypervisor.
    X86_EMU_VPCI = 1 << 10,
    /// All of them.
    X86_EMU_ALL = 0x7ff,
    /// [`ArchDomainConfig::misc_flags`]: unknown MSRs read as 0 and ignore writes.
    X86_MSR_RELAXED = 1 << 0,
    /// All of the flags.
    X86_MISC_FLAGS_MAX = X86_MSR_RELAXED,

    /// [`CpuidLeaf::subleaf`] of leaves without subleaves.
    CPUID_NO_SUBLEAF = 0xffff_ffff,
    /// First of the hypervisor's leaves.
    CPUID_FIRST_LEAF = 0x4000_0000,
    /// "XenV" of the signature.
    CPUID_SIGNATURE_EBX = 0x566e_6558,
    /// "MMXe" of the signature.
    CPUID_SIGNATURE_ECX = 0x6558_4d4d,
    /// "nVMM" of the signature.
    CPUID_SIGNATURE_EDX = 0x4d4d_566e,
    /// How many leaves follow the first.
    CPUID_MAX_NUM_LEAVES = 5,
    /// Leaf 2, ECX: mmu_update can preserve accessed and dirty bits.
    CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD = 1 << 0,
    /// Leaf 3, EAX: the guest's TSC is emulated.
    CPUID_TSC_EMULATED = 1 << 0,
    /// Leaf 3, EAX: the host's TSC is reliable.
    CPUID_HOST_TSC_RELIABLE = 1 << 1,
    /// Leaf 3, EAX: RDTSCP works.
    CPUID_RDTSCP_INSTR_AVAIL = 1 << 2,
    /// TSC mode: emulated when the frequency differs.
    TSC_MODE_DEFAULT = 0,
    /// TSC mode: always emulated.
    TSC_MODE_ALWAYS_EMULATE = 1,
    /// TSC mode: never emulated.
    TSC_MODE_NEVER_EMULATE = 2,
    /// TSC mode: by the guest, with RDTSCP; no longer offered.
    TSC_MODE_PVRDTSCP = 3,
    /// Leaf 4, EAX: APIC registers are virtualized by hardware.
    HVM_CPUID_APIC_ACCESS_VIRT = 1 << 0,
    /// Leaf 4, EAX: so is the x2APIC.
    HVM_CPUID_X2APIC_VIRT = 1 << 1,
    /// Leaf 4, EAX: grant mappings are in the IOMMU.
    HVM_CPUID_IOMMU_MAPPINGS = 1 << 2,
    /// Leaf 4, EAX: EBX is the vCPU's number.
    HVM_CPUID_VCPU_ID_PRESENT = 1 << 3,
    /// Leaf 4, EAX: ECX is the domain's number.
    HVM_CPUID_DOMID_PRESENT = 1 << 4,
    /// Leaf 4, EAX: destination ids have 15 bits.
    HVM_CPUID_EXT_DEST_ID = 1 << 5,
    /// Leaf 4, EAX: upcalls by vector for each vCPU work.
    HVM_CPUID_UPCALL_VECTOR = 1 << 6,
    /// Leaf 5, EBX: bits of a machine address.
    CPUID_MACHINE_ADDRESS_WIDTH_MASK = 0xff,

    /// MSR that takes the address of a hypercall page (leaf 2 names it).
    MSR_HYPERCALL_PAGE = 0x4000_0000,
}

layouts! {
    /// x86 configuration of a domain.
    pub struct ArchDomainConfig("struct xen_arch_domainconfig"): 8 {
        /// `X86_EMU_*`.
        pub emulation_flags: u32,
        /// [`X86_MSR_RELAXED`].
        pub misc_flags: u32,
    }

    /// One leaf of a CPU policy.
    pub struct CpuidLeaf("struct xen_cpuid_leaf"): 24 {
        /// Leaf.
        pub leaf: u32,
        /// Subleaf, or [`CPUID_NO_SUBLEAF`].
        pub subleaf: u32,
        /// EAX.
        pub a: u32,
        /// EBX.
        pub b: u32,
        /// ECX.
        pub c: u32,
        /// EDX.
        pub d: u32,
    }

    /// One MSR of a CPU policy.
    pub struct MsrEntry("struct xen_msr_entry"): 16 {
        /// Which MSR.
        pub idx: u32,
        /// Must be 0.
        pub flags: u32,
        /// Its value.
        pub val: u64,
    }
}
