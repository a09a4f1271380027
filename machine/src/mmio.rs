//! Device registers and firmware tables in physical memory, by offset and within bounds.

use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

/// First byte that this processor cannot address; CPUID leaf 0x8000_0008, eax bits 0 to 7.
fn physical_end() -> u64 {
    let bits = if crate::cpu::cpuid(0x8000_0000, 0)[0] >= 0x8000_0008 {
        crate::cpu::cpuid(0x8000_0008, 0)[0] & 0xff
    } else {
        36
    };
    1u64.checked_shl(bits.min(52)).unwrap_or(0)
}

/// Maps `len` bytes at `phys`, which lie wholly below the end of physical addresses.
fn map(phys: u64, len: usize) -> Option<usize> {
    let end = phys.checked_add(u64::try_from(len).ok()?)?;
    if len == 0 || end > physical_end() {
        return None;
    }
    let va = crate::paging::map_device(phys, end.wrapping_sub(phys))?;
    usize::try_from(va).ok()
}

/// Whether any byte of `[start, end)` is RAM by the boot loader's map.
fn touches_ram(start: u64, end: u64) -> bool {
    let map = crate::boot::info().map_or(&[][..], |i| i.memory());
    map.iter().any(|r| r.kind == 1 && r.start < end && start < r.end)
}

/// Plain bytes with a length: a table in memory, or a slice in tests. Offsets beyond the end read
/// as `None`; numbers are little-endian and need no alignment.
pub(crate) trait Bytes {
    /// How many there are.
    fn len(&self) -> usize;
    /// The byte at `at`.
    fn u8(&self, at: usize) -> Option<u8>;

    /// The two bytes from `at`.
    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.array(at)?))
    }

    /// The four bytes from `at`.
    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.array(at)?))
    }

    /// The eight bytes from `at`.
    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.array(at)?))
    }

    /// The `N` bytes from `at`.
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = self.u8(at.checked_add(i)?)?;
        }
        Some(bytes)
    }

    /// Whether the first `len` bytes exist and add up to 0 modulo 256.
    fn sums_to_zero(&self, len: usize) -> bool {
        let sum = (0..len).try_fold(0u8, |sum, i| Some(sum.wrapping_add(self.u8(i)?)));
        sum == Some(0)
    }
}

impl Bytes for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }
}

/// Physical memory that is only ever read: the firmware's.
#[derive(Clone, Copy)]
pub(crate) struct Rom {
    at: usize,
    len: usize,
}

impl Rom {
    /// Maps `len` bytes at `phys`, which may be anything.
    pub(crate) fn map(phys: u64, len: usize) -> Option<Rom> {
        map(phys, len).map(|at| Rom { at, len })
    }
}

impl Bytes for Rom {
    fn len(&self) -> usize {
        self.len
    }

    fn u8(&self, at: usize) -> Option<u8> {
        if at >= self.len {
            return None;
        }
        let p = with_exposed_provenance::<u8>(self.at.wrapping_add(at));
        // SAFETY: within what `map` mapped for ever; volatile, as others may write it.
        Some(unsafe { p.read_volatile() })
    }
}

/// A device's registers. Accesses are volatile; those beyond the end or misaligned read as all
/// ones and write nothing, as on a bus where nobody answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    at: usize,
    len: usize,
}

impl Registers {
    /// Maps `len` bytes at `phys`; refused where the memory map says RAM, so that a register
    /// write never reaches memory that somebody owns.
    pub(crate) fn map(phys: u64, len: usize) -> Option<Registers> {
        let end = phys.checked_add(u64::try_from(len).ok()?)?;
        if touches_ram(phys, end) {
            return None;
        }
        map(phys, len).map(|at| Registers { at, len })
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Virtual address, for the hot paths of the local APIC.
    pub(crate) fn address(&self) -> usize {
        self.at
    }

    /// Where a `T` lies, if wholly within and aligned.
    #[inline]
    fn place<T>(&self, at: usize) -> Option<usize> {
        let end = at.checked_add(size_of::<T>())?;
        let va = self.at.wrapping_add(at);
        (end <= self.len && va & align_of::<T>().wrapping_sub(1) == 0).then_some(va)
    }

    #[inline]
    fn read<T: Copy>(&self, at: usize) -> Option<T> {
        let p = with_exposed_provenance::<T>(self.place::<T>(at)?);
        // SAFETY: within what `map` mapped for ever, aligned; `T` is an unsigned integer in all
        // uses (the method is private).
        Some(unsafe { p.read_volatile() })
    }

    #[inline]
    fn write<T: Copy>(&self, at: usize, value: T) {
        if let Some(va) = self.place::<T>(at) {
            // SAFETY: as in `read`; it is not RAM.
            unsafe { with_exposed_provenance_mut::<T>(va).write_volatile(value) };
        }
    }

    /// Reads one byte.
    #[inline]
    pub(crate) fn read8(&self, at: usize) -> u8 {
        self.read(at).unwrap_or(!0)
    }

    /// Reads two bytes.
    #[inline]
    pub(crate) fn read16(&self, at: usize) -> u16 {
        self.read(at).unwrap_or(!0)
    }

    /// Reads four bytes.
    #[inline]
    pub(crate) fn read32(&self, at: usize) -> u32 {
        self.read(at).unwrap_or(!0)
    }

    /// Writes one byte.
    #[inline]
    pub(crate) fn write8(&self, at: usize, value: u8) {
        self.write(at, value);
    }

    /// Writes two bytes.
    #[inline]
    pub(crate) fn write16(&self, at: usize, value: u16) {
        self.write(at, value);
    }

    /// Writes four bytes.
    #[inline]
    pub(crate) fn write32(&self, at: usize, value: u32) {
        self.write(at, value);
    }
}
