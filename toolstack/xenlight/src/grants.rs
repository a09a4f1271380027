//! A new domain's first grants: its two rings, for the daemons.

use abi::grant_table::{GTF_PERMIT_ACCESS, GrantEntryV1, RESERVED_CONSOLE, RESERVED_XENSTORE};
use sys::Xen;
use zerocopy::IntoBytes;

/// Who may map a ring, and the machine frame that it is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) daemon: u16,
    pub(crate) frame: u64,
}

/// Why they were not written.
#[derive(Debug)]
pub(crate) enum SeedError {
    /// The table cannot be had.
    Table(sys::Error),
    /// An entry of version 1 has no room for this frame.
    Frame(u64),
}

/// Writes the entries that are kept for the rings. The table is new: all else in it is empty.
pub(crate) fn seed(xen: &Xen, domid: u16, console: Ring, store: Ring) -> Result<(), SeedError> {
    let table = xen.map_grant_table(domid, 1).map_err(SeedError::Table)?;
    for (reference, ring) in [(RESERVED_CONSOLE, console), (RESERVED_XENSTORE, store)] {
        let frame = u32::try_from(ring.frame).map_err(|_| SeedError::Frame(ring.frame))?;
        let entry = GrantEntryV1 { flags: GTF_PERMIT_ACCESS, domid: ring.daemon, frame };
        let at = (reference as usize).saturating_mul(size_of::<GrantEntryV1>());
        let written = table.write(at, entry.as_bytes());
        debug_assert!(written, "entry {reference} is in the first frame");
    }
    Ok(())
}
