//! What can be wrong with a stream, and where.

use std::fmt;
use std::io;

/// Which part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first 48 bytes of a save file.
    FileHeader,
    /// The guest's configuration behind them.
    FileConfig,
    /// Header of the libxl stream.
    LibxlHeader,
    /// A record of the libxl stream: its number from 0, and its type once known.
    LibxlRecord(u64, Option<u32>),
    /// First header of the libxc stream.
    ImageHeader,
    /// Second header of the libxc stream.
    DomainHeader,
    /// A record of the libxc stream: its number from 0, and its type once known.
    LibxcRecord(u64, Option<u32>),
    /// A part of a core.
    Core(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Place::FileHeader => f.write_str("the header of the save file"),
            Place::FileConfig => f.write_str("the guest's configuration"),
            Place::LibxlHeader => f.write_str("the header of the libxl stream"),
            Place::LibxlRecord(n, kind) => {
                write!(f, "libxl record {n}")?;
                named(f, kind, crate::libxl::name)
            }
            Place::ImageHeader => f.write_str("the image header of the libxc stream"),
            Place::DomainHeader => f.write_str("the domain header of the libxc stream"),
            Place::LibxcRecord(n, kind) => {
                write!(f, "libxc record {n}")?;
                named(f, kind, crate::libxc::name)
            }
            Place::Core(part) => write!(f, "{part} of the core"),
        }
    }
}

fn named(
    f: &mut fmt::Formatter<'_>,
    kind: Option<u32>,
    name: fn(u32) -> Option<&'static str>,
) -> fmt::Result {
    match kind {
        None => Ok(()),
        Some(kind) => match name(kind) {
            Some(name) => write!(f, " ({name})"),
            None => write!(f, " (type {kind:#x})"),
        },
    }
}

/// A stream that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error("cannot read {place} at byte {at}")]
    Read {
        /// What was being read.
        place: Place,
        /// Bytes read before.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {place} at byte {at}")]
    Write {
        /// What was being written.
        place: Place,
        /// Bytes written before.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// The file is shorter than it says.
    #[error("the file ends at byte {at}, in {place}: {missing} more bytes were expected there")]
    Truncated {
        /// What was being read.
        place: Place,
        /// Bytes that the file has.
        at: u64,
        /// Bytes of this part that are not there.
        missing: u64,
    },
    /// What is there is not what the format has.
    #[error("{place} at byte {at}: {problem}")]
    Malformed {
        /// Which part.
        place: Place,
        /// Where it starts.
        at: u64,
        /// What is wrong.
        problem: Problem,
    },
}

impl Error {
    /// True where the file ends too early, or is of another kind or version: nothing that an
    /// operator can mend but by another file.
    pub fn is_bad_file(&self) -> bool {
        matches!(self, Error::Truncated { .. } | Error::Malformed { .. })
    }
}

/// What is wrong with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The magic number is another.
    #[error("this is no file made by `xl save`")]
    NotASaveFile,
    /// Written on a machine with another byte order.
    #[error("byte order {0:#010x} instead of 0x01020304: written on another kind of machine")]
    FileByteOrder(u32),
    /// Flags that must be understood, and are not.
    #[error("mandatory flags {0:#x} are not all known (known: 0x3)")]
    MandatoryFlags(u32),
    /// Written by a version whose format is no longer read.
    #[error("mandatory flags {0:#x}: the old format of Xen 4.5 and before")]
    OldFile(u32),
    /// The configuration is longer than the part that holds it, or than is sensible.
    #[error("a configuration of {config} bytes in {room} bytes")]
    ConfigLength {
        /// Bytes that it claims.
        config: u32,
        /// Bytes that there are.
        room: u32,
    },
    /// Text that is not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The magic number of a stream is another.
    #[error("the stream starts with {0:#018x}: not of this format")]
    Magic(u64),
    /// The version is another.
    #[error("version {found} of the format; {known} is read")]
    Version {
        /// What it says.
        found: u32,
        /// What is known.
        known: &'static str,
    },
    /// The stream's byte order is not ours.
    #[error("a big-endian stream; only little-endian ones are read")]
    BigEndian,
    /// Options that are not known.
    #[error("options {0:#x} are not known")]
    Options(u32),
    /// Another kind of domain.
    #[error("domain type {0:#x} is not known (1: x86 PV, 2: x86 HVM)")]
    DomainType(u32),
    /// Another size of pages.
    #[error("pages of 2^{0} bytes; x86 has 2^12")]
    PageShift(u16),
    /// A body longer than any can be.
    #[error("a body of {0} bytes; {max} is the limit", max = crate::RECORD_MAX)]
    TooLong(u32),
    /// A body of a length that its type does not have.
    #[error("a body of {found} bytes; {wanted}")]
    Length {
        /// Bytes that it has.
        found: usize,
        /// What its type has.
        wanted: &'static str,
    },
    /// A count that does not fit the body's length.
    #[error("{count} {things} do not fit the body's {length} bytes")]
    Count {
        /// How many it claims.
        count: u64,
        /// Of what.
        things: &'static str,
        /// Bytes of the body.
        length: usize,
    },
    /// A page of a type that does not exist.
    #[error("page {pfn:#x} has the type {kind:#x}, which does not exist")]
    PageType {
        /// Guest frame.
        pfn: u64,
        /// Its type.
        kind: u8,
    },
    /// Bits of a page's entry that must be zero.
    #[error("entry {0:#018x} of a page has reserved bits")]
    PageEntry(u64),
    /// A range whose end lies before its start.
    #[error("a range from {start:#x} to {end:#x}")]
    Range {
        /// First.
        start: u32,
        /// Last.
        end: u32,
    },
    /// A record that must be understood, and is not.
    #[error("a mandatory record of a type that is not known")]
    UnknownRecord,
}
