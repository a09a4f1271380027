//! Plain fields that are shared: each is guarded by a lock of the caller's, so they are read and
//! written without order. On x86 these are ordinary moves.

use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

macro_rules! cell {
    ($name:ident, $atomic:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name($atomic);

        impl $name {
            pub(crate) const fn new(value: $value) -> $name {
                $name($atomic::new(value))
            }
            pub(crate) fn get(&self) -> $value {
                self.0.load(Relaxed)
            }
            pub(crate) fn set(&self, value: $value) {
                self.0.store(value, Relaxed);
            }
        }
    };
}

cell!(Flag, AtomicBool, bool);
cell!(Word, AtomicU32, u32);
cell!(Long, AtomicU64, u64);
cell!(Signed, AtomicI64, i64);
