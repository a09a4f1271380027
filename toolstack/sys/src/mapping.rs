//! Memory that is shared with others: copied, or seen through atomics, never borrowed.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use crate::copy;
use crate::ioctl::Pages;

/// Pages of another domain, of the kernel or of the hypervisor. Unmapped when dropped.
///
/// Offsets are in bytes from its start. A range that does not lie within it is a mistake of the caller's:
/// the copies then do nothing and return `false`, the atomics return `None`.
#[derive(Debug)]
pub struct Mapping {
    pages: Pages,
    writable: bool,
}

impl Mapping {
    pub(crate) fn new(pages: Pages, writable: bool) -> Self {
        Self { pages, writable }
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty, reason = "there is no empty mapping")]
    pub fn len(&self) -> usize {
        self.pages.bytes()
    }

    /// Whether it can be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    fn at(&self, offset: usize, bytes: usize) -> Option<*mut u8> {
        let end = offset.checked_add(bytes)?;
        (end <= self.pages.bytes()).then(|| self.pages.start().wrapping_add(offset))
    }

    /// Copies out. False if the range is not within the mapping.
    #[must_use]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        let Some(from) = self.at(offset, to.len()) else { return false };
        // SAFETY: (1) `at` checked the source; (2) the target is borrowed; (3) Rust's memory and the
        // mapping do not overlap, as the kernel chose the latter's place.
        unsafe { copy::copy(from, to.as_mut_ptr(), to.len()) };
        true
    }

    /// Copies in. False if the range is not within the mapping or that is read-only.
    #[must_use]
    pub fn write(&self, offset: usize, from: &[u8]) -> bool {
        let Some(to) = self.at(offset, from.len()).filter(|_| self.writable) else { return false };
        // SAFETY: (1) `at` checked the target, and it is writable; (2) the source is borrowed; (3) they do
        // not overlap, as the kernel chose the mapping's place; (4) nobody holds a Rust reference into it
        // other than to atomics.
        unsafe { copy::copy(from.as_ptr(), to, from.len()) };
        true
    }

    /// Zeroes a range. False if it is not within the mapping or that is read-only.
    #[must_use]
    pub fn zero(&self, offset: usize, bytes: usize) -> bool {
        let Some(to) = self.at(offset, bytes).filter(|_| self.writable) else { return false };
        // SAFETY: `at` checked the target, and it is writable; nobody holds a Rust reference into it other
        // than to atomics.
        unsafe { copy::zero(to, bytes) };
        true
    }

    /// Fills a range with the bytes of a file from `from` on; the kernel copies straight into it.
    ///
    /// # Errors
    /// What reading says; `UnexpectedEof` if the file ends too early; `InvalidInput` if the range is not
    /// within the mapping or that is read-only.
    pub fn read_file(
        &self,
        offset: usize,
        bytes: usize,
        file: impl AsFd,
        from: u64,
    ) -> std::io::Result<()> {
        let range = self.at(offset, bytes).filter(|_| self.writable);
        let to = range.ok_or(std::io::ErrorKind::InvalidInput)?.cast::<MaybeUninit<u8>>();
        let mut done = 0;
        while done < bytes {
            let left = bytes.saturating_sub(done);
            // SAFETY: (1) `at` checked the range, and it is writable; (2) the slice goes straight to the
            // system call: no Rust code reads or writes through it.
            let rest = unsafe { std::slice::from_raw_parts_mut(to.wrapping_add(done), left) };
            match rustix::io::pread(&file, rest, from.saturating_add(done as u64)) {
                Ok(([], _)) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok((read, _)) => done = done.saturating_add(read.len()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Copies a range out, or `None` if it is not within the mapping.
    pub fn to_vec(&self, offset: usize, bytes: usize) -> Option<Vec<u8>> {
        self.at(offset, bytes)?;
        let mut copy = vec![0; bytes];
        self.read(offset, &mut copy).then_some(copy)
    }

    /// A place for an atomic: within the mapping, aligned, writable (as even a load may be one that
    /// the processor does by writing).
    fn place<T>(&self, offset: usize) -> Option<*mut T> {
        let at = self.at(offset, size_of::<T>()).filter(|_| self.writable)?.cast::<T>();
        at.is_aligned().then_some(at)
    }

    /// A byte of it.
    pub fn atomic_u8(&self, offset: usize) -> Option<&AtomicU8> {
        let at = self.place(offset)?;
        // SAFETY: aligned and within the mapping, which outlives the borrow; all that others do to it is
        // atomic on the machine's side or a torn copy, which `Mapping` allows for.
        Some(unsafe { AtomicU8::from_ptr(at) })
    }

    /// 16 bits of it, at a multiple of 2.
    pub fn atomic_u16(&self, offset: usize) -> Option<&AtomicU16> {
        let at = self.place(offset)?;
        // SAFETY: as in `atomic_u8`.
        Some(unsafe { AtomicU16::from_ptr(at) })
    }

    /// 32 bits of it, at a multiple of 4.
    pub fn atomic_u32(&self, offset: usize) -> Option<&AtomicU32> {
        let at = self.place(offset)?;
        // SAFETY: as in `atomic_u8`.
        Some(unsafe { AtomicU32::from_ptr(at) })
    }

    /// 64 bits of it, at a multiple of 8.
    pub fn atomic_u64(&self, offset: usize) -> Option<&AtomicU64> {
        let at = self.place(offset)?;
        // SAFETY: as in `atomic_u8`.
        Some(unsafe { AtomicU64::from_ptr(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    fn mapping(pages: usize, writable: bool) -> Mapping {
        Mapping::new(Pages::locked(pages * 4096).unwrap(), writable)
    }

    #[test]
    fn what_is_written_is_read_at_any_offset_and_length() {
        let m = mapping(2, true);
        let pattern: Vec<u8> = (0..=255).cycle().take(8192).collect();
        for (offset, length) in [(0, 8192), (1, 7), (4095, 2), (3, 4090), (8191, 1), (5, 0)] {
            assert!(m.zero(0, 8192));
            assert!(m.write(offset, &pattern[..length]));
            let all = m.to_vec(0, 8192).unwrap();
            assert_eq!(&all[offset..offset + length], &pattern[..length]);
            assert!(all[..offset].iter().chain(&all[offset + length..]).all(|b| *b == 0));
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_refused_and_changes_nothing() {
        let m = mapping(1, true);
        assert!(!m.write(4095, b"ab"));
        assert!(!m.write(usize::MAX, b"a"));
        assert!(!m.zero(4096, 1));
        assert!(m.to_vec(1, 4096).is_none());
        assert!(m.to_vec(0, 4096).unwrap().iter().all(|b| *b == 0));
        assert!(m.atomic_u32(4094).is_none());
    }

    #[test]
    fn a_file_is_read_into_its_place_and_its_end_is_noticed() {
        let m = mapping(1, true);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        m.read_file(3, 3, &file, 1).unwrap();
        assert_eq!(m.to_vec(2, 5).unwrap(), b"\0ELF\0");
        let empty = std::fs::File::open("/dev/null").unwrap();
        let e = m.read_file(0, 1, &empty, 0).unwrap_err();
        assert_eq!(e.kind(), std::io::ErrorKind::UnexpectedEof);
        let e = m.read_file(4000, 100, &file, 0).unwrap_err();
        assert_eq!(e.kind(), std::io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_read_only_mapping_is_not_written() {
        let m = mapping(1, false);
        assert!(!m.write(0, b"a"));
        assert!(!m.zero(0, 1));
        assert!(m.atomic_u32(0).is_none());
    }

    #[test]
    fn atomics_see_the_bytes_and_must_be_aligned() {
        let m = mapping(1, true);
        assert!(m.write(8, &0x1122_3344u32.to_le_bytes()));
        assert_eq!(m.atomic_u32(8).unwrap().load(Ordering::Acquire), 0x1122_3344);
        m.atomic_u8(8).unwrap().store(0x55, Ordering::Release);
        assert_eq!(m.atomic_u32(8).unwrap().load(Ordering::Acquire), 0x1122_3355);
        assert!(m.atomic_u32(9).is_none());
        assert!(m.atomic_u16(9).is_none());
        assert!(m.atomic_u64(12).is_none());
    }
}
