//! Decompression of kernel payloads, each format straight into one flat buffer: the output is its
//! own window, so no format needs a dictionary of the size that its header asks for.

mod crc32;
mod gzip;
mod lz4;
mod lzma;
mod x86;
pub mod xxhash;
mod xz;
mod zstd;

use core::fmt;

/// A compression format that Linux kernels come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz container with LZMA2 and, before it, the x86 filter.
    Xz,
    /// The old .lzma file.
    Lzma,
    /// LZ4's legacy frame.
    Lz4,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Lz4 => "lz4",
        })
    }
}

/// Why decompression failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodecError {
    /// The input ends too early.
    Truncated,
    /// The input breaks its format's rules; which one.
    Corrupt(&'static str),
    /// The input is well formed but uses something that is not done here.
    Unsupported(&'static str),
    /// The output is larger than the buffer; the buffer's size.
    TooLarge(usize),
    /// The checksum at the end does not agree with the output.
    Checksum {
        /// What the file says.
        stored: u64,
        /// What the output gives.
        computed: u64,
    },
    /// No memory for the decoder's own tables.
    NoMemory,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("input is cut short"),
            Self::Corrupt(what) => write!(f, "damaged: {what}"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
            Self::TooLarge(n) => write!(f, "does not fit the buffer of {n} bytes"),
            Self::Checksum { stored, computed } => {
                write!(f, "checksum is {computed:#x}, should be {stored:#x}")
            }
            Self::NoMemory => f.write_str("no memory for decoding tables"),
        }
    }
}

impl core::error::Error for CodecError {}

impl Codec {
    /// Recognises a format by its first bytes.
    #[must_use]
    pub fn detect(data: &[u8]) -> Option<Self> {
        if data.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else if data.starts_with(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if data.starts_with(&[0x02, 0x21, 0x4c, 0x18]) {
            Some(Self::Lz4)
        } else if data.starts_with(&[0x5d, 0, 0]) {
            Some(Self::Lzma)
        } else {
            None
        }
    }

    /// Decompresses `src` into the start of `dst`; gives the bytes written. What `dst` holds past
    /// them is unspecified.
    ///
    /// # Errors
    /// Any [`CodecError`]; `dst` then holds what was decoded so far.
    pub fn decompress(self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        match self {
            Self::Gzip => gzip::decompress(src, dst),
            Self::Zstd => zstd::decompress(src, dst),
            Self::Xz => xz::decompress(src, dst),
            Self::Lzma => lzma::decompress_alone(src, dst),
            Self::Lz4 => lz4::decompress(src, dst),
        }
    }
}

/// Repeats `count` bytes from `offset` before `at` in `dst`, as LZ formats do: what is copied may be
/// part of what is being written. Does nothing when that does not lie within `dst`.
fn repeat(dst: &mut [u8], at: usize, offset: usize, count: usize) {
    let room = dst.len().checked_sub(at).is_some_and(|room| count <= room);
    let Some(from) = at.checked_sub(offset).filter(|_| offset > 0 && room) else { return };
    let mut done = 0usize;
    while done < count {
        // All from `from` to here repeats with period `offset`, so each step can take twice as much.
        let step = offset.wrapping_add(done).min(count.wrapping_sub(done));
        dst.copy_within(from..from.wrapping_add(step), at.wrapping_add(done));
        done = done.wrapping_add(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeating_equals_copying_byte_by_byte() {
        for offset in 1..20 {
            for count in 0..70 {
                let mut a: Vec<u8> = (0..100).collect();
                let mut b = a.clone();
                repeat(&mut a, 25, offset, count);
                for k in 25..25 + count {
                    b[k] = b[k - offset];
                }
                assert_eq!(a, b, "offset {offset} count {count}");
            }
        }
    }
}
