//! Page-table entries: their bits, and what a guest may put into them.
//!
//! Bits by the AMD64 manual volume 2, section 5.4, and the Intel manual volume 3, section 4.5.
//! A 64-bit PV kernel runs at CPL 3 like its user programs, so everything it maps must carry
//! USER. What the guest meant is kept apart: kernel mappings carry [`Pte::GUEST_KERNEL`], user
//! mappings GLOBAL, so that a switch between the guest's two modes keeps the user's translations.

use abi::{Mfn, PAGE_SHIFT};

/// A page-table entry, by value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Pte(pub u64);

impl Pte {
    /// The entry maps something.
    pub const PRESENT: u64 = 1;
    /// Writes allowed.
    pub const WRITABLE: u64 = 1 << 1;
    /// CPL 3 allowed.
    pub const USER: u64 = 1 << 2;
    /// Write-through (level 1: bit 0 of the PAT index).
    pub const WRITE_THROUGH: u64 = 1 << 3;
    /// Cache disable (level 1: bit 1 of the PAT index).
    pub const CACHE_DISABLE: u64 = 1 << 4;
    /// Set by the CPU on use.
    pub const ACCESSED: u64 = 1 << 5;
    /// Set by the CPU on write.
    pub const DIRTY: u64 = 1 << 6;
    /// Level 1: bit 2 of the PAT index. Above: a superpage.
    pub const PAT_OR_SUPERPAGE: u64 = 1 << 7;
    /// Kept across writes to CR3.
    pub const GLOBAL: u64 = 1 << 8;
    /// Left to software: bits 9 to 11 and 52 to 62. (Protection keys in bits 59 to 62 are never
    /// turned on for PV guests, so those bits mean nothing to the CPU.)
    pub const AVAILABLE: u64 = (7 << 9) | (0x7ff << 52);
    /// A kernel mapping of a PV guest: the guest did not give USER. A software bit, and visible
    /// to guests, so part of the ABI.
    pub const GUEST_KERNEL: u64 = 1 << 52;
    /// No instruction fetches.
    pub const NO_EXECUTE: u64 = 1 << 63;
    /// Where the frame number stands: bits 12 to 51.
    pub const ADDRESS: u64 = ((1 << 52) - 1) & !((1 << PAGE_SHIFT) - 1);
    /// What the CPU sets by itself.
    pub const ACCESSED_DIRTY: u64 = Self::ACCESSED | Self::DIRTY;

    /// What a level 1 entry of a guest may hold besides the address. All eight cache types are
    /// fine: the PAT is the hypervisor's, with its fixed layout.
    const L1_ALLOWED: u64 = Self::UPPER_ALLOWED
        | Self::WRITE_THROUGH
        | Self::CACHE_DISABLE
        | Self::PAT_OR_SUPERPAGE
        | Self::GLOBAL;
    /// The same for levels 2 to 4: no superpages, and tables are always read cached.
    const UPPER_ALLOWED: u64 = Self::PRESENT
        | Self::WRITABLE
        | Self::USER
        | Self::ACCESSED_DIRTY
        | Self::AVAILABLE
        | Self::NO_EXECUTE;

    /// The PAT index of a level 1 entry.
    const CACHE_TYPE: u64 = Self::WRITE_THROUGH | Self::CACHE_DISABLE | Self::PAT_OR_SUPERPAGE;

    /// A change of these bits alone, at level 1, changes no reference, and is allowed whatever the
    /// entry maps.
    pub(crate) const L1_FREE: u64 = Self::UPPER_FREE & !Self::CACHE_TYPE;
    /// The same above level 1. WRITABLE stands apart there too, as linear entries must lack it.
    pub(crate) const UPPER_FREE: u64 = !(Self::ADDRESS | Self::PRESENT | Self::WRITABLE);

    /// An entry for a frame; the flags' address bits are ignored.
    #[must_use]
    pub const fn new(mfn: Mfn, flags: u64) -> Self {
        Self(((mfn.0 << PAGE_SHIFT) & Self::ADDRESS) | (flags & !Self::ADDRESS))
    }

    /// The frame that it points to, meaningful if it is present.
    #[inline]
    #[must_use]
    pub const fn mfn(self) -> Mfn {
        Mfn((self.0 & Self::ADDRESS) >> PAGE_SHIFT)
    }

    /// Whether it maps anything.
    #[inline]
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    /// Whether it allows writes.
    #[inline]
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE != 0
    }

    /// The bits that a guest may not give at level 1; `width` is the address mask in force.
    #[inline]
    pub(crate) const fn bad_l1(self, address: u64) -> u64 {
        self.0 & !(Self::L1_ALLOWED | address)
    }

    /// The bits that a guest may not give above level 1.
    #[inline]
    pub(crate) const fn bad_upper(self, address: u64) -> u64 {
        self.0 & !(Self::UPPER_ALLOWED | address)
    }

    /// A present level 1 entry as it goes into a guest's table.
    ///
    /// A guest reads its own entries back and writes them again, so USER with GUEST_KERNEL is a
    /// kernel mapping. Kernel mappings lose GLOBAL: they must not outlive a switch to user mode.
    #[inline]
    pub(crate) const fn adjusted_l1(self) -> Self {
        if self.0 & Self::USER == 0 || self.0 & Self::GUEST_KERNEL != 0 {
            Self((self.0 | Self::USER | Self::GUEST_KERNEL) & !Self::GLOBAL)
        } else {
            Self(self.0 | Self::GLOBAL)
        }
    }

    /// An entry for I/O memory. What would keep its contents in a cache becomes uncached: types 0,
    /// 1 and 5 of the hypervisor's PAT (write-back, write-through, write-protected) become 3.
    pub(crate) const fn uncached(self) -> Self {
        const WRITE_PROTECTED: u64 = Pte::PAT_OR_SUPERPAGE | Pte::WRITE_THROUGH;
        match self.0 & Self::CACHE_TYPE {
            0 | Self::WRITE_THROUGH | WRITE_PROTECTED => {
                Self(self.0 & !Self::CACHE_TYPE | Self::WRITE_THROUGH | Self::CACHE_DISABLE)
            }
            _ => self,
        }
    }

    /// A present entry of level 2 to 4 as it goes into a guest's table.
    #[inline]
    pub(crate) const fn adjusted_upper(self) -> Self {
        Self(self.0 | Self::USER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_mappings_are_marked_and_never_global() {
        let k = Pte(Pte::PRESENT | Pte::GLOBAL).adjusted_l1();
        assert_eq!(k.0, Pte::PRESENT | Pte::USER | Pte::GUEST_KERNEL);
        assert_eq!(k.adjusted_l1(), k, "an entry read back and rewritten stays what it was");
        let u = Pte(Pte::PRESENT | Pte::USER).adjusted_l1();
        assert_eq!(u.0, Pte::PRESENT | Pte::USER | Pte::GLOBAL);
        assert_eq!(u.adjusted_l1(), u);
    }

    #[test]
    fn superpages_and_bits_beyond_the_address_width_are_bad() {
        let width = ((1 << 40) - 1) & Pte::ADDRESS;
        assert_eq!(Pte(Pte::PRESENT | 1 << 40).bad_l1(width), 1 << 40);
        assert_eq!(Pte(Pte::PRESENT | 1 << 7).bad_upper(width), 1 << 7);
        assert_eq!(Pte(Pte::PRESENT | 1 << 7 | 0x18).bad_l1(width), 0);
        assert_eq!(Pte(!0).bad_upper(Pte::ADDRESS), 0x198);
        assert_eq!(Pte(!0).bad_l1(Pte::ADDRESS), 0);
    }

    #[test]
    fn no_cache_keeps_what_a_device_has() {
        let index = |e: Pte| e.0 >> 3 & 3 | e.0 >> 5 & 4;
        let entry = |i: u64| Pte(Pte::new(Mfn(7), RW).0 | (i & 3) << 3 | (i & 4) << 5);
        const RW: u64 = Pte::PRESENT | Pte::WRITABLE;
        let got: Vec<u64> = (0..8).map(|i| index(entry(i).uncached())).collect();
        assert_eq!(got, [3, 3, 2, 3, 4, 3, 6, 7]);
        for i in 0..8 {
            assert_eq!((entry(i).uncached().0 ^ entry(i).0) & !Pte::CACHE_TYPE, 0);
        }
    }

    #[test]
    fn frame_numbers_survive_the_flags_around_them() {
        let e = Pte::new(Mfn(0x12_3456), !0);
        assert_eq!(e.mfn(), Mfn(0x12_3456));
        assert_eq!(e.0 & !Pte::ADDRESS, !Pte::ADDRESS);
    }
}
