//! `grant_table_op`: pages that domains let each other use.

use crate::domain::Config;
use crate::hypercall::{Args, Call, Caller};
use abi::Errno;

/// A domain's grant table.
pub struct GrantState {}

impl GrantState {
    /// An empty table.
    pub fn new(_: &Config) -> Result<Self, Errno> {
        Ok(GrantState {})
    }
}

/// `grant_table_op(command, operations, count)`.
pub fn grant_table_op(_: &mut Caller, _: &mut Args) -> Call {
    Err(Errno::ENOSYS.into())
}
