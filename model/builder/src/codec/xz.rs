//! The .xz container, as far as kernels use it: LZMA2, the x86 filter, CRC-32.
//!
//! Facts: `xz-file-format.txt` 1.2 (public domain).

use super::crc32::crc32;
use super::lzma::decompress_lzma2;
use super::{CodecError, x86};
use crate::num::{u8_at, u16_at, u32_at};

const CUT: CodecError = CodecError::Truncated;
const HEADER: CodecError = CodecError::Corrupt("xz block header");

/// Decompresses the blocks of one stream; its index is not looked at.
pub fn decompress(src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
    let flags = src.get(6..8).ok_or(CUT)?;
    verify(u32_at(src, 8).ok_or(CUT)?, flags)?;
    let check = match flags {
        [0, 0] => 0usize,
        [0, 1] => 4,
        _ => return Err(CodecError::Unsupported("xz check other than CRC-32")),
    };
    let mut at = 12usize;
    let mut out = 0usize;
    loop {
        let words = usize::from(u8_at(src, at).ok_or(CUT)?);
        if words == 0 {
            return Ok(out);
        }
        let size = words.wrapping_add(1).wrapping_mul(4);
        let header = src.get(at..at.wrapping_add(size)).ok_or(CUT)?;
        let filtered = block_header(header)?;
        at = at.wrapping_add(size);
        let start = out;
        let (taken, end) = decompress_lzma2(src.get(at..).ok_or(CUT)?, dst, out)?;
        out = end;
        let block = dst.get_mut(start..end).unwrap_or_default();
        if filtered {
            x86::unfilter(block);
        }
        at = at.wrapping_add(taken).next_multiple_of(4);
        if check != 0 {
            verify(u32_at(src, at).ok_or(CUT)?, block)?;
        }
        at = at.wrapping_add(check);
    }
}

fn verify(stored: u32, bytes: &[u8]) -> Result<(), CodecError> {
    let computed = crc32(bytes);
    if stored == computed {
        return Ok(());
    }
    Err(CodecError::Checksum { stored: u64::from(stored), computed: u64::from(computed) })
}

/// Checks a block's header; gives whether the x86 filter is used.
fn block_header(header: &[u8]) -> Result<bool, CodecError> {
    let body = header.len().wrapping_sub(4);
    verify(u32_at(header, body).ok_or(CUT)?, header.get(..body).ok_or(CUT)?)?;
    let header = header.get(..body).ok_or(CUT)?;
    let flags = u8_at(header, 1).ok_or(HEADER)?;
    let mut at = 2usize;
    // The sizes, if given, say nothing that the data does not.
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            number(header, &mut at)?;
        }
    }
    let other = CodecError::Unsupported("xz filter other than x86 and LZMA2");
    match flags & 3 {
        0 => {}
        1 => {
            // The x86 filter, which may have a start offset; nobody gives one.
            if (number(header, &mut at)?, number(header, &mut at)?) != (4, 0) {
                return Err(other);
            }
        }
        _ => return Err(other),
    }
    if u16_at(header, at) != Some(0x0121) {
        return Err(other);
    }
    Ok(flags & 3 == 1)
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &[u8], at: &mut usize) -> Result<u64, CodecError> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = u8_at(bytes, *at).ok_or(HEADER)?;
        *at = at.wrapping_add(1);
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(HEADER)
}
