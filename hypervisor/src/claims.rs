//! Free memory that is spoken for: domains under construction claim what they will need.

use crate::domain::Domain;
use crate::frames;
use abi::Errno;
use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

/// Sum of all claims not yet used.
static OUTSTANDING: AtomicU64 = AtomicU64::new(0);

/// Pages claimed and not yet taken.
pub fn outstanding() -> u64 {
    OUTSTANDING.load(Acquire)
}

/// Whether `d` may take `count` pages of what is free without breaking others' claims.
pub fn may_take(d: &Domain, count: u64) -> bool {
    let own = d.memory.lock().claimed;
    let others = outstanding().saturating_sub(own);
    frames::heap().free_pages() >= count.saturating_add(others)
}

/// `d` took pages: its claim shrinks.
pub fn took(d: &Domain, count: u64) {
    let mut m = d.memory.lock();
    let part = m.claimed.min(count);
    m.claimed = m.claimed.wrapping_sub(part);
    OUTSTANDING.fetch_sub(part, AcqRel);
}

/// Claims that `d` will have `total` pages in all; 0 takes the claim back.
pub fn set(d: &Domain, total: u64) -> Result<(), Errno> {
    let free = frames::heap().free_pages();
    let mut m = d.memory.lock();
    if total == 0 {
        OUTSTANDING.fetch_sub(m.claimed, AcqRel);
        m.claimed = 0;
        return Ok(());
    }
    let have = m.list.len();
    if m.claimed != 0 || total <= have || total > m.max {
        return Err(Errno::EINVAL);
    }
    let more = total.wrapping_sub(have);
    if outstanding().saturating_add(more) > free {
        return Err(Errno::ENOMEM);
    }
    m.claimed = more;
    OUTSTANDING.fetch_add(more, AcqRel);
    Ok(())
}
