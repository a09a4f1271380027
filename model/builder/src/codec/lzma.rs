//! LZMA.

use super::CodecError;

/// The old .lzma file.
pub fn decompress_alone(_src: &[u8], _dst: &mut [u8]) -> Result<usize, CodecError> {
    Err(CodecError::Unsupported("lzma"))
}
