//! The libxc stream, version 3: memory and registers of a guest.
//!
//! An image header (big-endian), a domain header, then records as in the libxl stream. Version 2 is
//! the same without STATIC_DATA_END and the policies; it is read, and never written.

mod pages;
mod record;

use std::io::{Read, Write};

pub use pages::{PageData, PageEntry, PageKind};
pub use record::{CpuidLeaf, MsrEntry, P2mFrames, Record, TscInfo, Vcpu, name};

use crate::input::u32_at;
use crate::{Error, Input, Output, Place, Problem};

const MARKER: u64 = u64::MAX;
const IDENT: u32 = 0x5845_4e46;
const OPTION_BIG_ENDIAN: u16 = 1 << 0;

/// What kind of domain a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainKind {
    /// Paravirtualized.
    Pv,
    /// With hardware virtualization.
    Hvm,
}

/// Both headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// The domain's kind.
    pub kind: DomainKind,
    /// The hypervisor that it was saved on: major version.
    pub xen_major: u32,
    /// And minor version.
    pub xen_minor: u32,
}

impl Header {
    /// Header of a stream of the current version.
    pub fn new(kind: DomainKind, xen_major: u32, xen_minor: u32) -> Header {
        Header { version: 3, kind, xen_major, xen_minor }
    }

    /// Reads both headers; records follow.
    pub fn read<R: Read>(input: &mut Input<R>) -> Result<Header, Error> {
        let version = Self::read_image_header(input)?;
        let (at, place) = (input.at(), Place::DomainHeader);
        let bad = |problem| Input::<R>::malformed(place, at, problem);
        let head = input.array::<16>(place)?;
        let kind = match u32_at(&head, 0) {
            1 => DomainKind::Pv,
            2 => DomainKind::Hvm,
            other => return bad(Problem::DomainType(other)),
        };
        // The page shift has 16 bits, and 16 reserved ones behind it.
        let shift = (u32_at(&head, 4) & 0xffff) as u16;
        if shift != 12 {
            return bad(Problem::PageShift(shift));
        }
        Ok(Header { version, kind, xen_major: u32_at(&head, 8), xen_minor: u32_at(&head, 12) })
    }

    fn read_image_header<R: Read>(input: &mut Input<R>) -> Result<u32, Error> {
        let (at, place) = (input.at(), Place::ImageHeader);
        let bad = |problem| Input::<R>::malformed(place, at, problem);
        let marker = u64::from_be_bytes(input.array(place)?);
        let ident = u32::from_be_bytes(input.array(place)?);
        let version = u32::from_be_bytes(input.array(place)?);
        let options = u16::from_be_bytes(input.array(place)?);
        input.array::<6>(place)?;
        if marker != MARKER {
            return bad(Problem::Magic(marker));
        }
        if ident != IDENT {
            return bad(Problem::Magic(u64::from(ident)));
        }
        if !(2..=3).contains(&version) {
            return bad(Problem::Version { found: version, known: "2 and 3" });
        }
        if options & OPTION_BIG_ENDIAN != 0 {
            return bad(Problem::BigEndian);
        }
        if options != 0 {
            return bad(Problem::Options(u32::from(options)));
        }
        Ok(version)
    }

    /// Writes both headers.
    pub fn write<W: Write>(&self, output: &mut Output<W>) -> Result<(), Error> {
        let place = Place::ImageHeader;
        output.put(&MARKER.to_be_bytes(), place)?;
        output.put(&IDENT.to_be_bytes(), place)?;
        output.put(&self.version.to_be_bytes(), place)?;
        output.put(&[0; 8], place)?;
        let kind: u32 = match self.kind {
            DomainKind::Pv => 1,
            DomainKind::Hvm => 2,
        };
        for word in [kind, 12, self.xen_major, self.xen_minor] {
            output.put(&word.to_le_bytes(), Place::DomainHeader)?;
        }
        Ok(())
    }
}
