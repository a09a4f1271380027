//! A page as a guest shares it, for tests.

use crate::ring::Page;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Shared by its clones, as a page is by its mappings.
#[derive(Clone, Debug)]
pub struct SharedPage(Arc<Vec<AtomicU32>>);

impl SharedPage {
    /// A page of zeroes.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new((0..1024).map(|_| AtomicU32::new(0)).collect()))
    }
}

impl Page for SharedPage {
    fn read(&self, offset: usize, to: &mut [u8]) {
        for (i, byte) in to.iter_mut().enumerate() {
            let at = offset + i;
            *byte = self.0[at / 4].load(Ordering::Relaxed).to_le_bytes()[at % 4];
        }
    }

    fn write(&self, offset: usize, from: &[u8]) {
        for (i, byte) in from.iter().enumerate() {
            let at = offset + i;
            let word = &self.0[at / 4];
            let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
            bytes[at % 4] = *byte;
            word.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    fn load(&self, offset: usize) -> u32 {
        self.0[offset / 4].load(Ordering::Acquire)
    }

    fn store(&self, offset: usize, value: u32) {
        self.0[offset / 4].store(value, Ordering::Release);
    }
}
