//! References as values.
//!
//! None of them can be copied and none releases anything when dropped, as the last release of an
//! L4 must be able to stop midway. One that is dropped all the same is a defect of ours: it stops
//! debug builds, and is counted in [`lost`] in release builds, where the frame merely leaks.

use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Mfn;

use crate::Kind;

/// Tokens dropped instead of given back.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many references have been lost since boot. Anything but 0 is a defect.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Counts a lost token. Says whether that can be borne: only while a test unwinds.
#[cold]
fn note_lost() -> bool {
    LOST.fetch_add(1, Ordering::Relaxed);
    #[cfg(test)]
    return std::thread::panicking();
    #[cfg(not(test))]
    return false;
}

macro_rules! token {
    ($name:ident) => {
        impl Drop for $name {
            fn drop(&mut self) {
                let borne = note_lost();
                debug_assert!(borne, "lost {:?}", self);
            }
        }
    };
}

/// A reference to a frame: while it lives, the frame keeps its owner and is not freed.
#[derive(Debug)]
#[must_use = "a reference must be given back or be consumed by an entry"]
pub struct PageRef {
    mfn: Mfn,
}
token!(PageRef);

impl PageRef {
    #[inline]
    pub(crate) const fn new(mfn: Mfn) -> Self {
        Self { mfn }
    }

    /// The frame.
    #[inline]
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Ends the token without ending the reference: somebody else owns it from here on.
    #[inline]
    pub(crate) fn into_mfn(self) -> Mfn {
        ManuallyDrop::new(self).mfn
    }
}

/// A reference to a frame and to its use: while it lives, the frame keeps owner and kind.
#[derive(Debug)]
#[must_use = "a reference must be given back or be consumed by an entry"]
pub struct TypedRef {
    mfn: Mfn,
    kind: Kind,
}
token!(TypedRef);

impl TypedRef {
    #[inline]
    pub(crate) const fn new(mfn: Mfn, kind: Kind) -> Self {
        Self { mfn, kind }
    }

    /// The frame.
    #[inline]
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Its use.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Ends the token without ending the reference.
    #[inline]
    pub(crate) fn into_parts(self) -> (Mfn, Kind) {
        let this = ManuallyDrop::new(self);
        (this.mfn, this.kind)
    }
}

/// A page table whose last use has gone, with entries still to be released.
///
/// Held in the vCPU's slot for deferred work and given to [`crate::Pages::resume`] before the
/// guest runs again.
#[derive(Debug)]
#[must_use = "the rest must be done by Pages::resume"]
pub struct Deferred {
    mfn: Mfn,
}
token!(Deferred);

impl Deferred {
    #[inline]
    pub(crate) const fn new(mfn: Mfn) -> Self {
        Self { mfn }
    }

    /// The table.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    #[inline]
    pub(crate) fn into_mfn(self) -> Mfn {
        ManuallyDrop::new(self).mfn
    }
}
