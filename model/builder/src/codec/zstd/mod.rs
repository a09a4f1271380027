//! zstd (RFC 8878), written for one use: a whole frame into one flat buffer. The output is the
//! window, so a frame that asks for a window of 128 MiB, as kernels' do, costs none.

mod bits;
mod fse;
mod huffman;
mod sequences;

use alloc::boxed::Box;
use alloc::vec::Vec;

use self::huffman::Tree;
use self::sequences::{Offsets, SLACK, Table};
use super::{CodecError, xxhash};
use crate::num::{array, index, low32, u8_at, u16_at, u32_at, u64_at};

/// The most that one block can give.
const MAX_BLOCK: usize = 128 << 10;
const MAGIC: u32 = 0xfd2f_b528;

/// What the decoder keeps between blocks: some 150 KiB, whatever the frame asks for.
pub struct Workspace {
    /// The block's literals, and slack after them.
    literals: Vec<u8>,
    literal_count: usize,
    tree: Tree,
    ll: Table,
    of: Table,
    ml: Table,
    offsets: Offsets,
}

impl Workspace {
    fn new() -> Result<Self, CodecError> {
        let make = || {
            let mut literals = Vec::new();
            literals.try_reserve_exact(MAX_BLOCK.wrapping_add(SLACK)).ok()?;
            literals.resize(MAX_BLOCK.wrapping_add(SLACK), 0);
            Some(Self {
                literals,
                literal_count: 0,
                tree: Tree { table: boxed()?, bits: 0 },
                ll: Table::literal()?,
                of: Table::offset()?,
                ml: Table::matches()?,
                offsets: [1, 4, 8],
            })
        };
        make().ok_or(CodecError::NoMemory)
    }
}

/// An array of default values on the heap; `None` when there is no memory.
fn boxed<T: Clone + Default, const N: usize>() -> Option<Box<[T; N]>> {
    let mut v = Vec::new();
    v.try_reserve_exact(N).ok()?;
    v.resize(N, T::default());
    v.into_boxed_slice().try_into().ok()
}

/// Decompresses the frames of `src` into `dst`; gives the bytes written.
pub fn decompress(src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
    let mut work = Workspace::new()?;
    let mut input = src;
    let mut out = 0usize;
    loop {
        let taken = match u32_at(input, 0).ok_or(CodecError::Truncated)? {
            MAGIC => {
                let room = dst.get_mut(out..).unwrap_or_default();
                let (taken, written) = frame(&mut work, input, room)?;
                out = out.wrapping_add(written);
                taken
            }
            // Skippable frames.
            0x184d_2a50..=0x184d_2a5f => {
                let size = u32_at(input, 4).ok_or(CodecError::Truncated)?;
                (size as usize).saturating_add(8)
            }
            _ => return Err(CodecError::Corrupt("zstd frame magic")),
        };
        input = input.get(taken..).ok_or(CodecError::Truncated)?;
        if input.is_empty() {
            return Ok(out);
        }
    }
}

/// What a frame's header says that matters here.
struct Header {
    size: usize,
    checksum: bool,
    content: Option<u64>,
}

fn header(input: &[u8]) -> Result<Header, CodecError> {
    let cut = CodecError::Truncated;
    let descriptor = u8_at(input, 4).ok_or(cut)?;
    if descriptor & 8 != 0 {
        return Err(CodecError::Corrupt("zstd reserved bit of frame header"));
    }
    let single = descriptor & 0x20 != 0;
    let mut at = if single { 5usize } else { 6 };
    let dictionary: &[u8] = match descriptor & 3 {
        0 => &[],
        1 => input.get(at..at.wrapping_add(1)).ok_or(cut)?,
        2 => input.get(at..at.wrapping_add(2)).ok_or(cut)?,
        _ => input.get(at..at.wrapping_add(4)).ok_or(cut)?,
    };
    if dictionary.iter().any(|b| *b != 0) {
        return Err(CodecError::Unsupported("zstd dictionary"));
    }
    at = at.wrapping_add(dictionary.len());
    let (content, length) = match descriptor >> 6 {
        0 if single => (Some(u64::from(u8_at(input, at).ok_or(cut)?)), 1),
        0 => (None, 0),
        1 => (Some(u64::from(u16_at(input, at).ok_or(cut)?).wrapping_add(256)), 2),
        2 => (Some(u64::from(u32_at(input, at).ok_or(cut)?)), 4),
        _ => (Some(u64_at(input, at).ok_or(cut)?), 8),
    };
    Ok(Header { size: at.wrapping_add(length), checksum: descriptor & 4 != 0, content })
}

/// One frame; gives the bytes taken and written.
fn frame(work: &mut Workspace, input: &[u8], dst: &mut [u8]) -> Result<(usize, usize), CodecError> {
    let header = header(input)?;
    if header.content.is_some_and(|n| n > dst.len() as u64) {
        return Err(CodecError::TooLarge(dst.len()));
    }
    work.forget();
    let mut at = header.size;
    let mut out = 0usize;
    loop {
        let [a, b, c] = array(input, at).ok_or(CodecError::Truncated)?;
        let word = u32::from_le_bytes([a, b, c, 0]);
        at = at.wrapping_add(3);
        let size = (word >> 3) as usize;
        if size > MAX_BLOCK && word & 6 != 2 {
            return Err(CodecError::Corrupt("zstd block size"));
        }
        let stored = if word & 6 == 2 { 1 } else { size };
        let end = at.wrapping_add(stored);
        let body = input.get(at..end).ok_or(CodecError::Truncated)?;
        match word >> 1 & 3 {
            0 => copy_to(dst, out, body)?,
            1 => {
                let limit = dst.len();
                let to = dst.get_mut(out..out.wrapping_add(size));
                to.ok_or(CodecError::TooLarge(limit))?.fill(body.first().copied().unwrap_or(0));
            }
            2 => {
                let next = literals(work, input, at, end)?;
                let stop = sequences::run(work, input, next, end, dst, out)?;
                out = stop.wrapping_sub(size);
            }
            _ => return Err(CodecError::Corrupt("zstd block type")),
        }
        out = out.wrapping_add(size);
        at = end;
        if word & 1 != 0 {
            break;
        }
    }
    let written = dst.get(..out).unwrap_or_default();
    if header.content.is_some_and(|n| n != out as u64) {
        return Err(CodecError::Corrupt("zstd frame gives another size than it says"));
    }
    if header.checksum {
        let stored = u32_at(input, at).ok_or(CodecError::Truncated)?;
        let computed = low32(xxhash::xxh64(written));
        if stored != computed {
            let (stored, computed) = (u64::from(stored), u64::from(computed));
            return Err(CodecError::Checksum { stored, computed });
        }
        at = at.wrapping_add(4);
    }
    Ok((at, out))
}

impl Workspace {
    /// Nothing is carried over from one frame to the next.
    fn forget(&mut self) {
        self.tree.bits = 0;
        self.offsets = [1, 4, 8];
        for table in [&mut self.ll, &mut self.of, &mut self.ml] {
            table.forget();
        }
    }
}

fn copy_to(dst: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), CodecError> {
    let limit = dst.len();
    let to = dst.get_mut(at..at.wrapping_add(bytes.len())).ok_or(CodecError::TooLarge(limit))?;
    to.copy_from_slice(bytes);
    Ok(())
}

/// Decodes the literals section at `at` into the workspace; gives where it ends.
fn literals(
    work: &mut Workspace,
    input: &[u8],
    at: usize,
    end: usize,
) -> Result<usize, CodecError> {
    let cut = CodecError::Truncated;
    let mut bytes = [0; 8];
    let head = input.get(at..end).ok_or(cut)?;
    for (to, from) in bytes.iter_mut().zip(head) {
        *to = *from;
    }
    let word = u64::from_le_bytes(bytes);
    let format = word >> 2 & 3;
    if word & 3 < 2 {
        let (size, length) = match format {
            0 | 2 => (word >> 3 & 0x1f, 1),
            1 => (word >> 4 & 0xfff, 2),
            _ => (word >> 4 & 0xf_ffff, 3),
        };
        return plain_literals(work, input, at.wrapping_add(length), end, size, word & 3 == 1);
    }
    let (bits, length) = match format {
        0 | 1 => (10u32, 3usize),
        2 => (14, 4),
        _ => (18, 5),
    };
    let mask = 1u64.wrapping_shl(bits).wrapping_sub(1);
    let size = index(word >> 4 & mask);
    let packed = index(word.wrapping_shr(bits.wrapping_add(4)) & mask);
    let start = at.wrapping_add(length);
    let stop = start.wrapping_add(packed);
    if stop > end || size > MAX_BLOCK {
        return Err(CodecError::Corrupt("zstd literals size"));
    }
    work.literal_count = size;
    let tree = &mut work.tree;
    let start = if word & 3 == 2 { tree.read(input, start, stop)? } else { start };
    if tree.bits == 0 {
        return Err(CodecError::Corrupt("zstd literals without Huffman tree"));
    }
    let out = work.literals.get_mut(..size).ok_or(CodecError::NoMemory)?;
    if format == 0 {
        tree.one(input, start, stop, out)?
    } else {
        tree.four(input, start, stop, out)?
    }
    Ok(stop)
}

/// Literals that are stored, or one byte `repeated`.
fn plain_literals(
    work: &mut Workspace,
    input: &[u8],
    start: usize,
    end: usize,
    size: u64,
    repeated: bool,
) -> Result<usize, CodecError> {
    let size = index(size);
    let to = work.literals.get_mut(..size).filter(|_| size <= MAX_BLOCK);
    let to = to.ok_or(CodecError::Corrupt("zstd literals size"))?;
    let stop = start.wrapping_add(if repeated { 1 } else { size });
    let from = input.get(start..stop).filter(|_| stop <= end).ok_or(CodecError::Truncated)?;
    if repeated {
        to.fill(from.first().copied().unwrap_or(0))
    } else {
        to.copy_from_slice(from)
    }
    work.literal_count = size;
    Ok(stop)
}
