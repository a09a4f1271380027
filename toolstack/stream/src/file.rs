//! The header of a file of `xl save`: what it is, and the guest's configuration.
//!
//! 48 bytes: magic (32), byte order, mandatory flags, optional flags, length of the optional data
//! (32 bits each, in the byte order of the writer); then the optional data, which starts with the
//! length of the configuration (32 bits) and the configuration.

use std::io::{Read, Write};

use crate::input::u32_at;
use crate::{Error, Input, Output, Place, Problem};

/// The file's first bytes.
pub const MAGIC: &[u8; 32] = b"Xen saved domain, xl format\n \0 \r";

const BYTE_ORDER: u32 = 0x0102_0304;
const FLAG_JSON: u32 = 1 << 0;
const FLAG_STREAM_V2: u32 = 1 << 1;
const KNOWN_FLAGS: u32 = FLAG_JSON | FLAG_STREAM_V2;
/// The configuration of a guest with hundreds of devices has some 100 KiB.
const CONFIG_MAX: u32 = 16 << 20;

/// What precedes the libxl stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The guest's configuration in libxl's JSON form.
    pub config: String,
}

impl Header {
    /// Reads it; the libxl stream follows.
    pub fn read<R: Read>(input: &mut Input<R>) -> Result<Header, Error> {
        let at = input.at();
        let bad = |problem| Input::<R>::malformed(Place::FileHeader, at, problem);
        let head = input.array::<48>(Place::FileHeader)?;
        if head.get(..32) != Some(MAGIC.as_slice()) {
            return bad(Problem::NotASaveFile);
        }
        let [order, flags, length] = [32, 36, 44].map(|offset| u32_at(&head, offset));
        if order != BYTE_ORDER {
            return bad(Problem::FileByteOrder(order));
        }
        if flags & !KNOWN_FLAGS != 0 {
            return bad(Problem::MandatoryFlags(flags));
        }
        if flags != KNOWN_FLAGS {
            return bad(Problem::OldFile(flags));
        }
        Self::read_config(input, length)
    }

    fn read_config<R: Read>(input: &mut Input<R>, length: u32) -> Result<Header, Error> {
        let at = input.at();
        let place = Place::FileConfig;
        let bad = |problem| Input::<R>::malformed(place, at, problem);
        let Some(room) = length.checked_sub(4) else {
            return bad(Problem::ConfigLength { config: 0, room: length });
        };
        let size = u32::from_le_bytes(input.array(place)?);
        if size > room || size > CONFIG_MAX || room - size > CONFIG_MAX {
            return bad(Problem::ConfigLength { config: size, room });
        }
        let text = input.bytes(size, place)?;
        // Optional data that a later version may have added.
        input.bytes(room - size, place)?;
        // Xen's tools count a terminating zero.
        let text = text.strip_suffix(b"\0").unwrap_or(&text).to_vec();
        match String::from_utf8(text) {
            Ok(config) => Ok(Header { config }),
            Err(_) => bad(Problem::NotText),
        }
    }

    /// Writes it.
    pub fn write<W: Write>(&self, output: &mut Output<W>) -> Result<(), Error> {
        let at = output.at();
        let place = Place::FileConfig;
        let size = u32::try_from(self.config.len()).unwrap_or(u32::MAX);
        if size > CONFIG_MAX {
            let problem = Problem::ConfigLength { config: size, room: CONFIG_MAX };
            return Err(Error::Malformed { place, at, problem });
        }
        output.put(MAGIC, Place::FileHeader)?;
        // As Xen's tools do, with a terminating zero that counts.
        for word in [BYTE_ORDER, KNOWN_FLAGS, 0, size + 5] {
            output.put(&word.to_le_bytes(), Place::FileHeader)?;
        }
        output.put(&(size + 1).to_le_bytes(), place)?;
        output.put(self.config.as_bytes(), place)?;
        output.put(&[0], place)
    }
}
