//! A restored domain's first grants: its two rings, for the daemons in domain 0.

use abi::grant_table::{GTF_PERMIT_ACCESS, GrantEntryV1, RESERVED_CONSOLE, RESERVED_XENSTORE};
use sys::{Protection, Xen};
use zerocopy::IntoBytes;

use super::{Error, Rings};

/// Where the daemons run.
const DAEMONS: u16 = 0;

/// Writes the entries that are kept for the rings. The table is new: all else in it is empty.
pub(super) fn seed(xen: &Xen, domid: u16, rings: &Rings) -> Result<(), Error> {
    let table = match xen.map_grant_table(domid, 1) {
        Ok(table) => table,
        // A kernel before 4.18: the frame is made, then mapped as any.
        Err(_) => {
            let frames = xen.setup_grant_table(domid, 1)?;
            xen.map_foreign(domid, &frames, Protection::ReadWrite)?
        }
    };
    for (reference, mfn) in
        [(RESERVED_CONSOLE, rings.console_gfn), (RESERVED_XENSTORE, rings.store_gfn)]
    {
        let frame = u32::try_from(mfn).map_err(|_| Error::RingFrame(mfn))?;
        let entry = GrantEntryV1 { flags: GTF_PERMIT_ACCESS, domid: DAEMONS, frame };
        let at = (reference as usize).saturating_mul(size_of::<GrantEntryV1>());
        let written = table.write(at, entry.as_bytes());
        debug_assert!(written, "entry {reference} is in the first frame");
    }
    Ok(())
}
