//! Small things that several modules use.

use abi::Errno;
use alloc::boxed::Box;
use alloc::vec::Vec;

pub use machine::num::{index, low8, low16, low32};

/// A boxed slice of `len` values, or `ENOMEM`.
pub fn boxed<T>(len: usize, mut f: impl FnMut(usize) -> T) -> Result<Box<[T]>, Errno> {
    let mut v = Vec::new();
    v.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    v.extend((0..len).map(&mut f));
    Ok(v.into_boxed_slice())
}

/// A value that is never freed, or `ENOMEM`.
pub fn leaked<T>(value: T) -> Result<&'static T, Errno> {
    let mut v = Vec::new();
    v.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
    v.push(value);
    v.leak().first().ok_or(Errno::ENOMEM)
}
