//! What a domain's end takes back of grants.

use super::unmap::end_use;
use crate::domain::Domain;
use crate::frames::pages;
use alloc::sync::Arc;
use pages::Budget;

/// Ends the uses of others' grants by a domain none of whose vCPUs will run again. Says whether
/// all have ended; otherwise it is to be called again. Its page-table entries keep their own
/// references, which go with its page tables.
///
/// Each handle looked at costs 1 of `budget`.
pub fn release_mappings(d: &Arc<Domain>, budget: &mut Budget) -> bool {
    let handles = &d.grants.handles;
    let mut cursor = d.grants.cursor.lock();
    while let Some(claim) = handles.drain(&mut cursor, &mut budget.left) {
        let all = claim.access;
        end_use(d, claim, all);
    }
    // Without budget it is not known whether there is more.
    !budget.is_spent()
}

/// Gives up the table of a domain none of whose vCPUs will run again. `false` when another CPU
/// looks at it at this moment: to be called again then.
///
/// The frames stay in the domain's `memory.shared` until nobody maps them any more. What others
/// still use of its grants stays theirs: they give it back without the table.
pub fn release_table(d: &Arc<Domain>) -> bool {
    d.grants.close(|mfn| {
        if let Err(reason) = pages().release_shared(mfn, d.id) {
            crate::error!("BUG: grant frame {mfn:#x} of d{}: {reason}", d.id);
        }
    })
}
