//! Buffers that stay where they are while the hypervisor uses them.
//!
//! The kernel may move or write out a process's pages at any time; the hypervisor, which follows the page
//! tables as they are, then finds none. Linux has `/dev/xen/hypercall` for memory that it leaves alone;
//! without that, locked memory is the best there is.

use std::cell::RefCell;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::mm::ProtFlags;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::copy;
use crate::error::{Error, Result};
use crate::ioctl::{self, Pages};

/// Bytes in a page.
pub const PAGE: usize = abi::PAGE_SIZE;
const DEVICE: &str = "/dev/xen/hypercall";
/// Regions of at most this many bytes are kept for the next call.
const KEPT_BYTES: usize = 16 * PAGE;
/// And at most this many of them.
const KEPT: usize = 8;

/// Where buffers come from.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    device: Option<OwnedFd>,
    free: RefCell<Vec<Pages>>,
}

impl Pool {
    /// A pool of the kernel's device where it has it, else of locked memory.
    pub(crate) fn open() -> Self {
        Self { device: ioctl::open(DEVICE, OFlags::empty()).ok(), free: RefCell::default() }
    }

    /// A buffer of at least `bytes`, zeroed that far.
    pub(crate) fn get(&self, bytes: usize) -> Result<Bounce<'_>> {
        let wanted = bytes.max(1).next_multiple_of(PAGE);
        let kept = {
            let mut free = self.free.borrow_mut();
            let fits = free.iter().position(|p| p.bytes() >= wanted);
            fits.map(|n| free.swap_remove(n))
        };
        let pages = match kept {
            Some(pages) => pages,
            None => self.map(wanted)?,
        };
        let mut buffer = Bounce { pages: Some(pages), used: bytes, pool: self };
        buffer.zero();
        Ok(buffer)
    }

    /// A buffer that holds `value`.
    pub(crate) fn of<T: IntoBytes + Immutable + ?Sized>(&self, value: &T) -> Result<Bounce<'_>> {
        let mut buffer = self.get(size_of_val(value))?;
        buffer.put(0, value.as_bytes());
        Ok(buffer)
    }

    fn map(&self, bytes: usize) -> Result<Pages> {
        let mapped = match &self.device {
            Some(device) => Pages::of_device(device, bytes, ProtFlags::READ | ProtFlags::WRITE, 0),
            None => Pages::locked(bytes),
        };
        let device = if self.device.is_some() { DEVICE } else { "locked memory" }.to_owned();
        mapped.map_err(|errno| Error::Device { device, operation: "buffer of a hypercall", errno })
    }
}

/// A buffer, back in the pool when dropped.
#[derive(Debug)]
pub(crate) struct Bounce<'a> {
    /// Present until dropped.
    pages: Option<Pages>,
    used: usize,
    pool: &'a Pool,
}

impl Bounce<'_> {
    fn start(&self) -> *mut u8 {
        self.pages.as_ref().map_or(std::ptr::null_mut(), Pages::start)
    }

    /// Its address, for an argument of a call.
    pub(crate) fn address(&self) -> u64 {
        self.start().expose_provenance() as u64
    }

    fn zero(&mut self) {
        // SAFETY: the region has at least `used` bytes, is writable and this value's alone.
        unsafe { copy::zero(self.start(), self.used) };
    }

    /// Copies in, as much as fits.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        let room = self.used.saturating_sub(offset).min(bytes.len());
        debug_assert_eq!(room, bytes.len());
        let to = self.start().wrapping_add(offset);
        // SAFETY: (1) `room` bytes from `offset` on are within the region; (2) the source is borrowed;
        // (3) they do not overlap, as nothing in Rust's memory is in the region.
        unsafe { copy::copy(bytes.as_ptr(), to, room) };
    }

    /// Copies out, as much as there is.
    pub(crate) fn copy_to(&self, offset: usize, bytes: &mut [u8]) {
        let room = self.used.saturating_sub(offset).min(bytes.len());
        let from = self.start().wrapping_add(offset);
        // SAFETY: (1) `room` bytes from `offset` on are within the region; (2) the target is borrowed;
        // (3) they do not overlap, as nothing in Rust's memory is in the region.
        unsafe { copy::copy(from, bytes.as_mut_ptr(), room) };
    }

    /// The value at `offset`.
    pub(crate) fn get<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        self.copy_to(offset, value.as_mut_bytes());
        value
    }

    /// The first `count` values.
    pub(crate) fn list<T: FromBytes + IntoBytes + Immutable + Clone>(
        &self,
        count: usize,
    ) -> Vec<T> {
        let count = count.min(self.used.checked_div(size_of::<T>()).unwrap_or(0));
        let mut values = vec![T::new_zeroed(); count];
        self.copy_to(0, values.as_mut_bytes());
        values
    }

    /// The first `count` bytes.
    pub(crate) fn bytes(&self, count: usize) -> Vec<u8> {
        self.list(count)
    }
}

impl Drop for Bounce<'_> {
    fn drop(&mut self) {
        let Some(pages) = self.pages.take() else { return };
        let mut free = self.pool.free.borrow_mut();
        if pages.bytes() <= KEPT_BYTES && free.len() < KEPT {
            free.push(pages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_zeroed_and_is_used_again() {
        let pool = Pool::default();
        let address = {
            let mut buffer = pool.get(100).unwrap();
            buffer.put(90, &[7; 10]);
            assert_eq!(buffer.bytes(100)[89..92], [0, 7, 7]);
            buffer.address()
        };
        let again = pool.get(100).unwrap();
        assert_eq!(again.address(), address);
        assert_eq!(again.bytes(100), [0; 100]);
    }

    #[test]
    fn two_buffers_at_once_do_not_meet() {
        let pool = Pool::default();
        let one = pool.of(&[1u64; 600]).unwrap();
        let two = pool.of(&[2u64; 600]).unwrap();
        assert!(one.address().abs_diff(two.address()) >= 8192);
        assert_eq!(one.list::<u64>(600), [1; 600]);
        assert_eq!(two.get::<u64>(4792), 2);
    }
}
