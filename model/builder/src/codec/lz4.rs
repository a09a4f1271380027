//! LZ4's legacy frame, as `lz4 -l` writes it for kernels: a magic word, then blocks of up to 8 MiB of
//! output, each behind its compressed size.

use super::{CodecError, repeat};
use crate::num::{u8_at, u16_at, u32_at};

const MAGIC: u32 = 0x184c_2102;
const CUT: CodecError = CodecError::Truncated;

/// Decompresses the blocks of `src`.
pub fn decompress(src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
    let mut at = 4usize;
    let mut out = 0usize;
    while at < src.len() {
        let size = u32_at(src, at).ok_or(CUT)?;
        at = at.wrapping_add(4);
        if size == MAGIC {
            continue;
        }
        let end = at.wrapping_add(size as usize);
        out = block(src.get(at..end).ok_or(CUT)?, dst, out)?;
        at = end;
    }
    Ok(out)
}

/// A length that goes on in further bytes when its four bits are all ones.
fn length(src: &[u8], at: &mut usize, nibble: u8) -> Result<usize, CodecError> {
    let mut n = usize::from(nibble);
    if nibble == 15 {
        loop {
            let more = u8_at(src, *at).ok_or(CUT)?;
            *at = at.wrapping_add(1);
            n = n.wrapping_add(usize::from(more));
            if more != 255 {
                break;
            }
        }
    }
    Ok(n)
}

fn block(src: &[u8], dst: &mut [u8], mut out: usize) -> Result<usize, CodecError> {
    let base = out;
    let mut at = 0usize;
    let limit = dst.len();
    loop {
        let token = u8_at(src, at).ok_or(CUT)?;
        at = at.wrapping_add(1);
        let literals = length(src, &mut at, token >> 4)?;
        let next = at.wrapping_add(literals);
        let from = src.get(at..next).ok_or(CUT)?;
        let end = out.wrapping_add(literals);
        dst.get_mut(out..end).ok_or(CodecError::TooLarge(limit))?.copy_from_slice(from);
        (at, out) = (next, end);
        if at == src.len() {
            return Ok(out);
        }
        let offset = usize::from(u16_at(src, at).ok_or(CUT)?);
        at = at.wrapping_add(2);
        let count = length(src, &mut at, token & 15)?.wrapping_add(4);
        if offset == 0 || offset > out.wrapping_sub(base) {
            return Err(CodecError::Corrupt("lz4 offset reaches before the block"));
        }
        if count > limit.wrapping_sub(out) {
            return Err(CodecError::TooLarge(limit));
        }
        repeat(dst, out, offset, count);
        out = out.wrapping_add(count);
    }
}
