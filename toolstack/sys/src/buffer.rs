//! Large private memory whose pages are there from the start.
//!
//! A page fault is dear in a PV dom0: trap, bounce, page-table write by hypercall, return by another.
//! The kernel populates a whole range at once for a fraction of that.

use rustix::io::Errno;

use crate::bounce::PAGE;
use crate::error::{Error, Result};
use crate::ioctl::Pages;

/// Zeroed memory of this process alone, all of it present. Freed when dropped.
#[derive(Debug)]
pub struct Buffer {
    pages: Option<Pages>,
    bytes: usize,
}

impl Buffer {
    /// `bytes` of zeroed memory.
    ///
    /// # Errors
    /// [`Error::Device`]: ENOMEM.
    pub fn zeroed(bytes: usize) -> Result<Self> {
        if bytes == 0 {
            return Ok(Self { pages: None, bytes });
        }
        let failed = |errno| Error::Device {
            device: format!("{bytes} bytes of memory"),
            operation: "mmap",
            errno,
        };
        let whole = bytes.checked_next_multiple_of(PAGE).ok_or(failed(Errno::NOMEM))?;
        let pages = Pages::populated(whole).map_err(failed)?;
        Ok(Self { pages: Some(pages), bytes })
    }

    /// Gives back what is past `bytes`; a greater number changes nothing.
    pub fn truncate(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
    }

    /// The memory.
    pub fn bytes(&self) -> &[u8] {
        let Some(pages) = &self.pages else { return &[] };
        // SAFETY: (1) the pages are private, present and initialised to zero, and at least `self.bytes`;
        // (2) nobody else has their address; (3) they live as long as the borrow.
        unsafe { std::slice::from_raw_parts(pages.start(), self.bytes) }
    }

    /// The memory, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let Some(pages) = &self.pages else { return &mut [] };
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(pages.start(), self.bytes) }
    }
}

// Without interior mutability, a shared borrow only reads.
// SAFETY: `&Buffer` gives out `&[u8]` alone, which threads may share.
unsafe impl Sync for Buffer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zero_and_keeps_what_is_written() {
        let mut buffer = Buffer::zeroed(5000).unwrap();
        assert_eq!(buffer.bytes(), vec![0; 5000]);
        buffer.bytes_mut()[4999] = 7;
        assert_eq!(buffer.bytes().last(), Some(&7));
        buffer.truncate(10);
        assert_eq!(buffer.bytes().len(), 10);
        assert!(Buffer::zeroed(0).unwrap().bytes().is_empty());
        assert!(Buffer::zeroed(usize::MAX).is_err());
    }
}
