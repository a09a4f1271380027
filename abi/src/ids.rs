//! Newtypes for the numbers that the interface passes around, so that they cannot be mixed.

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub $int);
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }
        impl core::fmt::LowerHex for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

id!(/// A machine frame number: which 4 KiB of real memory.
    Mfn(u64));
id!(/// A guest frame number, as the guest counts it (equal to the MFN for PV guests).
    Gfn(u64));
id!(/// A pseudo-physical frame number: a PV guest's own contiguous count.
    Pfn(u64));
id!(/// A domain.
    DomId(u16));
id!(/// A virtual CPU within its domain.
    VcpuId(u32));
id!(/// A physical CPU, by the hypervisor's own count.
    CpuId(u32));
id!(/// An event channel port within its domain.
    Port(u32));
id!(/// An index into a domain's grant table.
    GrantRef(u32));
id!(/// The handle of a mapped grant, an index into the mapper's maptrack table.
    GrantHandle(u32));
id!(/// A physical interrupt as a PV guest names it.
    Pirq(u32));
id!(/// A global system interrupt: an IO-APIC input.
    Gsi(u32));

impl DomId {
    /// Ordinary domains have ids below this.
    pub const FIRST_RESERVED: DomId = DomId(0x7ff0);
    /// The calling domain itself.
    pub const SELF: DomId = DomId(0x7ff0);
    /// Owner of I/O memory.
    pub const IO: DomId = DomId(0x7ff1);
    /// Owner of the hypervisor's own pages.
    pub const XEN: DomId = DomId(0x7ff2);
    /// Owner of copy-on-write pages.
    pub const COW: DomId = DomId(0x7ff3);
    /// No domain.
    pub const INVALID: DomId = DomId(0x7ff4);
    /// The idle domain, whose vCPUs run when no other can.
    pub const IDLE: DomId = DomId(0x7fff);
}

impl Mfn {
    /// The M2P's and P2M's mark for "no frame".
    pub const INVALID: Mfn = Mfn(!0);
}
