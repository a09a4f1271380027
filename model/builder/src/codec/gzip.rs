//! gzip (RFC 1952): one member.

use alloc::boxed::Box;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress as inflate};

use super::{CodecError, crc32::crc32};
use crate::num::{low32, u8_at, u16_at, u32_at};

const CUT: CodecError = CodecError::Truncated;

/// Decompresses the member at the start of `src`; what follows it is ignored.
pub fn decompress(src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
    let body = src.get(header(src)?..).ok_or(CUT)?;
    let mut state = Box::<DecompressorOxide>::default();
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, taken, written) = inflate(&mut state, body, dst, 0, flags);
    match status {
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => return Err(CodecError::TooLarge(dst.len())),
        TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => return Err(CUT),
        _ => return Err(CodecError::Corrupt("deflate stream")),
    }
    let stored = u32_at(body, taken).ok_or(CUT)?;
    let size = u32_at(body, taken.wrapping_add(4)).ok_or(CUT)?;
    if size != low32(written as u64) {
        return Err(CodecError::Corrupt("gzip size word"));
    }
    let computed = crc32(dst.get(..written).unwrap_or_default());
    if stored != computed {
        let (stored, computed) = (u64::from(stored), u64::from(computed));
        return Err(CodecError::Checksum { stored, computed });
    }
    Ok(written)
}

/// Where the deflate stream starts.
fn header(src: &[u8]) -> Result<usize, CodecError> {
    if u8_at(src, 2).ok_or(CUT)? != 8 {
        return Err(CodecError::Unsupported("gzip method other than deflate"));
    }
    let flags = u8_at(src, 3).ok_or(CUT)?;
    let mut at = 10usize;
    if flags & 4 != 0 {
        at = at.wrapping_add(2).wrapping_add(usize::from(u16_at(src, at).ok_or(CUT)?));
    }
    // File name, then comment: each ends with a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let text = src.get(at..).ok_or(CUT)?;
            let end = text.iter().position(|b| *b == 0).ok_or(CUT)?;
            at = at.wrapping_add(end).wrapping_add(1);
        }
    }
    if flags & 2 != 0 {
        at = at.wrapping_add(2);
    }
    Ok(at)
}
