//! Giving pages away into a slot that the receiver offers.

use super::each;
use crate::hypercall::{Caller, Stop};
use abi::grant_table::{GrantStatus, Transfer};

/// `GNTTABOP_transfer`, one operation: not supported, and so refused one by one.
pub fn operation(_: &Caller, at: u64) -> Result<u64, Stop> {
    each(at, |op: &mut Transfer| op.status = GrantStatus::GENERAL_ERROR)
}
