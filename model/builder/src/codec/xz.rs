//! The .xz container.

use super::CodecError;

/// Decompresses one stream.
pub fn decompress(_src: &[u8], _dst: &mut [u8]) -> Result<usize, CodecError> {
    Err(CodecError::Unsupported("xz"))
}
