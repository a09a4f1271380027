//! A guest's memory as a core file: `xl dump-core`.

use std::path::Path;

use crate::Context;

/// Why there is no core.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// Not implemented.
    #[error("dumping domain {0} is not implemented")]
    NotImplemented(u16),
}

/// Writes a guest's memory to a file.
///
/// # Errors
/// [`DumpError`].
pub fn dump_core(_cx: &mut Context, domid: u16, _path: &Path) -> Result<(), DumpError> {
    Err(DumpError::NotImplemented(domid))
}
