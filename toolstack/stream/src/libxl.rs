//! The libxl stream, version 2: what surrounds the libxc stream.
//!
//! The header is big-endian; records are a type, a length (32 bits each, little-endian) and a
//! body padded to eight bytes. Types from 0x80000000 up may be skipped by who does not know them.

use std::io::{Read, Write};

use crate::input::u32_at;
use crate::{Error, Input, Output, Place, Problem};

const IDENT: u64 = 0x4c69_6278_6c46_6d74;
const VERSION: u32 = 2;
const OPTION_BIG_ENDIAN: u32 = 1 << 0;
const OPTION_LEGACY: u32 = 1 << 1;

const END: u32 = 0;
const LIBXC_CONTEXT: u32 = 1;
const EMULATOR_XENSTORE_DATA: u32 = 2;
const EMULATOR_CONTEXT: u32 = 3;
const CHECKPOINT_END: u32 = 4;
const CHECKPOINT_STATE: u32 = 5;
const OPTIONAL: u32 = 1 << 31;

/// A record type's name.
pub(crate) fn name(kind: u32) -> Option<&'static str> {
    Some(match kind {
        END => "END",
        LIBXC_CONTEXT => "LIBXC_CONTEXT",
        EMULATOR_XENSTORE_DATA => "EMULATOR_XENSTORE_DATA",
        EMULATOR_CONTEXT => "EMULATOR_CONTEXT",
        CHECKPOINT_END => "CHECKPOINT_END",
        CHECKPOINT_STATE => "CHECKPOINT_STATE",
        _ => return None,
    })
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing follows.
    End,
    /// A libxc stream follows.
    LibxcContext,
    /// Nodes of a device model below its directory in xenstore.
    EmulatorXenstoreData(Emulator),
    /// State of a device model.
    EmulatorContext(Emulator),
    /// A checkpoint is complete.
    CheckpointEnd,
    /// Negotiation of COLO.
    CheckpointState(u32),
    /// A record that may be skipped.
    Optional {
        /// Its type, from 0x80000000 up.
        kind: u32,
        /// Its body.
        body: Vec<u8>,
    },
}

/// Data of a device model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// Which: 0 unknown, 1 qemu-traditional, 2 QEMU.
    pub id: u32,
    /// Which of the domain's.
    pub index: u32,
    /// What only it understands.
    pub data: Vec<u8>,
}

impl Emulator {
    fn parse(body: &[u8]) -> Result<Emulator, Problem> {
        let Some((head, data)) = body.split_at_checked(8) else {
            return Err(Problem::Length { found: body.len(), wanted: "8 or more were expected" });
        };
        Ok(Emulator { id: u32_at(head, 0), index: u32_at(head, 4), data: data.to_vec() })
    }
}

/// Reads a stream's header; records follow.
pub fn read_header<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    let (at, place) = (input.at(), Place::LibxlHeader);
    let bad = |problem| Input::<R>::malformed(place, at, problem);
    let ident = u64::from_be_bytes(input.array(place)?);
    let version = u32::from_be_bytes(input.array(place)?);
    let options = u32::from_be_bytes(input.array(place)?);
    if ident != IDENT {
        return bad(Problem::Magic(ident));
    }
    if version != VERSION {
        return bad(Problem::Version { found: version, known: "2" });
    }
    if options & OPTION_BIG_ENDIAN != 0 {
        return bad(Problem::BigEndian);
    }
    if options & !OPTION_LEGACY != 0 {
        return bad(Problem::Options(options));
    }
    Ok(())
}

/// Writes a stream's header.
pub fn write_header<W: Write>(output: &mut Output<W>) -> Result<(), Error> {
    output.put(&IDENT.to_be_bytes(), Place::LibxlHeader)?;
    output.put(&VERSION.to_be_bytes(), Place::LibxlHeader)?;
    output.put(&0u32.to_be_bytes(), Place::LibxlHeader)
}

impl Record {
    /// Reads the next one, number `index` of the stream.
    pub fn read<R: Read>(input: &mut Input<R>, index: u64) -> Result<Record, Error> {
        let at = input.at();
        let (kind, body) = input.record(|kind| Place::LibxlRecord(index, kind))?;
        Self::parse(kind, body)
            .or_else(|p| Input::<R>::malformed(Place::LibxlRecord(index, Some(kind)), at, p))
    }

    fn parse(kind: u32, body: Vec<u8>) -> Result<Record, Problem> {
        let empty = |record| match body.len() {
            0 => Ok(record),
            found => Err(Problem::Length { found, wanted: "none were expected" }),
        };
        match kind {
            END => empty(Record::End),
            LIBXC_CONTEXT => empty(Record::LibxcContext),
            EMULATOR_XENSTORE_DATA => Ok(Record::EmulatorXenstoreData(Emulator::parse(&body)?)),
            EMULATOR_CONTEXT => Ok(Record::EmulatorContext(Emulator::parse(&body)?)),
            CHECKPOINT_END => empty(Record::CheckpointEnd),
            CHECKPOINT_STATE if body.len() >= 4 => Ok(Record::CheckpointState(u32_at(&body, 0))),
            CHECKPOINT_STATE => {
                Err(Problem::Length { found: body.len(), wanted: "4 were expected" })
            }
            kind if kind & OPTIONAL != 0 => Ok(Record::Optional { kind, body }),
            _ => Err(Problem::UnknownRecord),
        }
    }

    /// Writes it as number `index` of the stream.
    pub fn write<W: Write>(&self, output: &mut Output<W>, index: u64) -> Result<(), Error> {
        let mut put = |kind, parts: &[&[u8]]| {
            output.record(kind, parts, Place::LibxlRecord(index, Some(kind)))
        };
        match self {
            Record::End => put(END, &[]),
            Record::LibxcContext => put(LIBXC_CONTEXT, &[]),
            Record::EmulatorXenstoreData(e) => {
                put(EMULATOR_XENSTORE_DATA, &[&e.id.to_le_bytes(), &e.index.to_le_bytes(), &e.data])
            }
            Record::EmulatorContext(e) => {
                put(EMULATOR_CONTEXT, &[&e.id.to_le_bytes(), &e.index.to_le_bytes(), &e.data])
            }
            Record::CheckpointEnd => put(CHECKPOINT_END, &[]),
            Record::CheckpointState(id) => put(CHECKPOINT_STATE, &[&id.to_le_bytes()]),
            Record::Optional { kind, body } => put(*kind, &[body]),
        }
    }
}
