//! Recognising kernel files: a bare ELF, or a Linux bzImage that carries a compressed one.
//!
//! Facts: Linux `Documentation/arch/x86/boot.rst` (setup header, `payload_offset` and
//! `payload_length` since boot protocol 2.08) and the magics of each compression format.

use core::fmt;

use crate::codec::{Codec, CodecError};
use crate::num::{index, u8_at, u16_at, u32_at};

/// Offset of `setup_sects` in the file.
const SETUP_SECTS: usize = 0x1f1;
/// Offset of the boot sector's 0xaa55 mark.
const BOOT_FLAG: usize = 0x1fe;
/// Offset of the "HdrS" mark.
const HEADER_MAGIC: usize = 0x202;
/// Offset of the boot protocol version.
const VERSION: usize = 0x206;
/// Offset of `payload_offset`; `payload_length` follows.
const PAYLOAD_OFFSET: usize = 0x248;
/// The first boot protocol that says where the payload is.
const FIRST_VERSION: u16 = 0x0208;

/// Why a file is not a kernel that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Neither ELF nor bzImage nor a known compression; the first four bytes.
    Unrecognised([u8; 4]),
    /// A header field lies past the end of the file.
    Truncated {
        /// Which field.
        field: &'static str,
        /// Bytes the file would need.
        needed: u64,
        /// Bytes it has.
        have: u64,
    },
    /// A bzImage older than boot protocol 2.08, which does not say where its payload is.
    OldProtocol(u16),
    /// The payload's first bytes are of no format known here.
    UnknownCompression([u8; 4]),
    /// Decompression failed.
    Codec(Codec, CodecError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecognised(m) => {
                write!(f, "not an ELF file, bzImage or compressed kernel (starts with {m:02x?})")
            }
            Self::Truncated { field, needed, have } => {
                write!(f, "kernel file is cut short: {field} needs {needed} bytes, it has {have}")
            }
            Self::OldProtocol(v) => {
                write!(f, "bzImage boot protocol {:#x} is older than 2.08", v)
            }
            Self::UnknownCompression(m) => {
                write!(f, "bzImage payload has no known format (starts with {m:02x?})")
            }
            Self::Codec(codec, e) => write!(f, "{codec} payload: {e}"),
        }
    }
}

impl core::error::Error for ImageError {}

/// What a kernel file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload<'a> {
    /// The ELF file itself, ready to parse.
    Elf(&'a [u8]),
    /// A compressed ELF file.
    Compressed {
        /// How it is compressed.
        codec: Codec,
        /// The compressed bytes, without the trailing length.
        data: &'a [u8],
        /// Bytes it says it decompresses to. An allegation: it bounds the buffer to provide, and
        /// decompression fails if it is too small.
        size: u64,
    },
}

impl<'a> Payload<'a> {
    /// Looks into a kernel file.
    ///
    /// # Errors
    /// Any [`ImageError`] except `Codec`.
    pub fn find(file: &'a [u8]) -> Result<Self, ImageError> {
        let magic = first_four(file);
        if magic == *b"\x7fELF" {
            return Ok(Self::Elf(file));
        }
        if u32_at(file, HEADER_MAGIC) == Some(u32::from_le_bytes(*b"HdrS"))
            && u16_at(file, BOOT_FLAG) == Some(0xaa55)
        {
            return Self::in_bzimage(file);
        }
        Err(ImageError::Unrecognised(magic))
    }

    fn in_bzimage(file: &'a [u8]) -> Result<Self, ImageError> {
        let short =
            |field, needed| ImageError::Truncated { field, needed, have: file.len() as u64 };
        let version = u16_at(file, VERSION).ok_or(short("protocol version", 0x208))?;
        if version < FIRST_VERSION {
            return Err(ImageError::OldProtocol(version));
        }
        let header = short("setup header", 0x250);
        let sects = u8_at(file, SETUP_SECTS).ok_or(header)?;
        let offset = u32_at(file, PAYLOAD_OFFSET).ok_or(header)?;
        let length = u32_at(file, PAYLOAD_OFFSET.wrapping_add(4)).ok_or(header)?;
        // Zero setup sectors mean four, for the oldest loaders' sake; one more is the boot sector.
        let sects = if sects == 0 { 4u64 } else { u64::from(sects) };
        let start = sects.wrapping_add(1).wrapping_mul(512).wrapping_add(u64::from(offset));
        let end = start.wrapping_add(u64::from(length));
        let payload = file.get(index(start)..index(end)).ok_or(short("compressed payload", end))?;
        let magic = first_four(payload);
        if magic == *b"\x7fELF" {
            return Ok(Self::Elf(payload));
        }
        let codec = Codec::detect(payload).ok_or(ImageError::UnknownCompression(magic))?;
        // The kernel's build appends the unpacked size, except for gzip which ends with it anyway.
        let tail = payload.len().checked_sub(4).ok_or(short("payload size word", 4))?;
        let size = u32_at(payload, tail).ok_or(short("payload size word", 4))?;
        let data = if codec == Codec::Gzip {
            payload
        } else {
            payload.get(..tail).ok_or(short("payload", 4))?
        };
        Ok(Self::Compressed { codec, data, size: u64::from(size) })
    }

    /// Bytes of buffer that [`Payload::unpack`] needs, 0 for a bare ELF.
    #[must_use]
    pub fn buffer_size(&self) -> u64 {
        match self {
            Self::Elf(_) => 0,
            Self::Compressed { size, .. } => *size,
        }
    }

    /// The ELF file: itself, or decompressed into `buffer`.
    ///
    /// # Errors
    /// [`ImageError::Codec`] when the payload is damaged or larger than `buffer`.
    pub fn unpack<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], ImageError>
    where
        'a: 'b,
    {
        match *self {
            Self::Elf(elf) => Ok(elf),
            Self::Compressed { codec, data, .. } => {
                let n = codec.decompress(data, buffer).map_err(|e| ImageError::Codec(codec, e))?;
                Ok(buffer.get(..n).unwrap_or_default())
            }
        }
    }
}

fn first_four(bytes: &[u8]) -> [u8; 4] {
    let mut magic = [0; 4];
    for (to, from) in magic.iter_mut().zip(bytes) {
        *to = *from;
    }
    magic
}
