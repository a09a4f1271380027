//! A reader of 64-bit x86 ELF files, no more of it than a kernel needs.
//!
//! Facts: System V ABI, "Object Files" (header, program header, section header, note layouts).

use core::fmt;

use crate::num::{array, index, u16_at, u32_at, u64_at};

/// Program headers of a kernel; Linux has five.
const MAX_SEGMENTS: u16 = 64;
/// Section headers looked at for notes; Linux has 45.
const MAX_SECTIONS: u16 = 4096;
/// A kernel's span in memory that is still believed: what a 32-bit displacement reaches.
pub const MAX_SPAN: u64 = 2 << 30;

/// Type of a loadable segment.
const PT_LOAD: u32 = 1;
/// Type of a note segment.
const PT_NOTE: u32 = 4;
/// Type of a note section.
const SHT_NOTE: u32 = 7;
/// Bytes of a program header.
const PHENTSIZE: u16 = 56;
/// Bytes of a section header.
const SHENTSIZE: u16 = 64;

/// Why a file is not an ELF kernel for x86-64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElfError {
    /// It does not start with the ELF magic; its first four bytes.
    Magic([u8; 4]),
    /// Not a 64-bit little-endian file; its class and data encoding.
    Class(u8, u8),
    /// Not for x86-64; its machine number.
    Machine(u16),
    /// Neither executable nor position-independent; its type.
    Type(u16),
    /// Something reaches past the end of the file.
    Truncated {
        /// What.
        what: &'static str,
        /// Where it ends.
        end: u64,
        /// The file's size.
        size: u64,
    },
    /// A header's field has a value that cannot be.
    Header {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A loadable segment is larger in the file than in memory.
    FileSize {
        /// Its place among the program headers.
        segment: u16,
        /// Bytes in the file.
        file: u64,
        /// Bytes in memory.
        memory: u64,
    },
    /// A loadable segment's addresses go past 2^64.
    Wraps {
        /// Its place among the program headers.
        segment: u16,
        /// Its physical address.
        paddr: u64,
        /// Bytes in memory.
        memory: u64,
    },
    /// Two loadable segments lie on one another; their places.
    Overlap(u16, u16),
    /// Nothing is to be loaded.
    Empty,
    /// From the first to the last loaded byte is more than [`MAX_SPAN`].
    Span(u64),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(m) => write!(f, "not an ELF file (starts with {m:02x?})"),
            Self::Class(1, 1) => f.write_str("a 32-bit ELF file; only 64-bit kernels are run"),
            Self::Class(c, d) => write!(f, "ELF class {c} with data encoding {d}, not 2 and 1"),
            Self::Machine(m) => write!(f, "ELF machine {m}, not 62 (x86-64)"),
            Self::Type(t) => write!(f, "ELF type {t}, not 2 (executable) or 3 (shared)"),
            Self::Truncated { what, end, size } => {
                write!(f, "ELF {what} ends at byte {end} of a file of {size}")
            }
            Self::Header { field, value } => write!(f, "ELF {field} is {value}"),
            Self::FileSize { segment, file, memory } => {
                write!(f, "ELF segment {segment} has {file} bytes for {memory} bytes of memory")
            }
            Self::Wraps { segment, paddr, memory } => {
                write!(f, "ELF segment {segment} at {paddr:#x} of {memory:#x} bytes wraps around")
            }
            Self::Overlap(a, b) => write!(f, "ELF segments {a} and {b} overlap"),
            Self::Empty => f.write_str("ELF file has nothing to load"),
            Self::Span(n) => write!(f, "ELF segments span {n:#x} bytes, more than {MAX_SPAN:#x}"),
        }
    }
}

impl core::error::Error for ElfError {}

/// A loadable segment, checked: its file range lies within the file, its memory range does not wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Its place among the program headers.
    pub number: u16,
    /// Physical address, in bytes.
    pub paddr: u64,
    /// The bytes in the file, to be put at `paddr`.
    pub data: &'a [u8],
    /// Bytes in memory; those past `data` are zero.
    pub memory: u64,
}

impl Segment<'_> {
    fn end(&self) -> u64 {
        self.paddr.saturating_add(self.memory)
    }
}

/// A note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note<'a> {
    /// Its owner, without the zero at the end.
    pub name: &'a [u8],
    /// Its type, which the owner defines.
    pub kind: u32,
    /// Its contents.
    pub desc: &'a [u8],
}

/// An ELF file whose headers and loadable segments have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Elf<'a> {
    file: &'a [u8],
    entry: u64,
    phoff: u64,
    phnum: u16,
    shoff: u64,
    shnum: u16,
    names: u16,
    start: u64,
    end: u64,
}

/// The fields of a program header that are used.
struct ProgramHeader {
    kind: u32,
    offset: u64,
    paddr: u64,
    file: u64,
    memory: u64,
}

/// The fields of a section header that are used.
struct SectionHeader {
    name: u32,
    kind: u32,
    offset: u64,
    size: u64,
}

impl<'a> Elf<'a> {
    /// Checks headers and segments.
    ///
    /// # Errors
    /// Any [`ElfError`].
    pub fn parse(file: &'a [u8]) -> Result<Self, ElfError> {
        let size = file.len() as u64;
        let magic: [u8; 4] = array(file, 0).unwrap_or_default();
        if magic != *b"\x7fELF" {
            return Err(ElfError::Magic(magic));
        }
        let cut = ElfError::Truncated { what: "header", end: 64, size };
        let header: [u8; 64] = array(file, 0).ok_or(cut)?;
        let half = |at| u16_at(&header, at).unwrap_or(0);
        let word = |at| u64_at(&header, at).unwrap_or(0);
        let [_, _, _, _, class, data, ..] = header;
        if (class, data) != (2, 1) {
            return Err(ElfError::Class(class, data));
        }
        if half(18) != 62 {
            return Err(ElfError::Machine(half(18)));
        }
        if !matches!(half(16), 2 | 3) {
            return Err(ElfError::Type(half(16)));
        }
        let (phnum, shnum) = (half(56), half(60));
        if half(54) != PHENTSIZE {
            let value = u64::from(half(54));
            return Err(ElfError::Header { field: "program header size", value });
        }
        if phnum > MAX_SEGMENTS {
            let value = u64::from(phnum);
            return Err(ElfError::Header { field: "number of program headers", value });
        }
        if shnum > MAX_SECTIONS {
            let value = u64::from(shnum);
            return Err(ElfError::Header { field: "number of section headers", value });
        }
        // A file without section headers, or with strange ones, is loaded all the same.
        let shnum = if half(58) == SHENTSIZE { shnum } else { 0 };
        let mut elf = Self {
            file,
            entry: word(24),
            phoff: word(32),
            phnum,
            shoff: word(40),
            shnum,
            names: half(62),
            start: u64::MAX,
            end: 0,
        };
        elf.check_segments()?;
        Ok(elf)
    }

    /// The entry point in the header, an address as the linker saw it.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Physical address of the first byte to be loaded.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Physical address past the last byte to be loaded.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The loadable segments that have memory.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + use<'a, '_> {
        (0..self.phnum).filter_map(|n| self.segment(n).ok().flatten())
    }

    /// The notes of all note segments.
    pub fn segment_notes(&self) -> impl Iterator<Item = Note<'a>> + use<'a, '_> {
        (0..self.phnum)
            .filter_map(|n| self.program_header(n).ok())
            .filter(|h| h.kind == PT_NOTE)
            .flat_map(|h| self.notes_at(h.offset, h.file))
    }

    /// The notes of all note sections.
    pub fn section_notes(&self) -> impl Iterator<Item = Note<'a>> + use<'a, '_> {
        (0..self.shnum)
            .filter_map(|n| self.section_header(n))
            .filter(|h| h.kind == SHT_NOTE)
            .flat_map(|h| self.notes_at(h.offset, h.size))
    }

    /// Whether there is a section of this name.
    #[must_use]
    pub fn has_section(&self, name: &[u8]) -> bool {
        let Some(strings) = self.section_header(self.names) else { return false };
        let Some(strings) = self.bytes(strings.offset, strings.size) else { return false };
        (0..self.shnum).filter_map(|n| self.section_header(n)).any(|h| {
            let rest = strings.get(h.name as usize..).unwrap_or_default();
            rest.strip_prefix(name).is_some_and(|after| after.first() == Some(&0))
        })
    }

    fn bytes(&self, offset: u64, size: u64) -> Option<&'a [u8]> {
        self.file.get(index(offset)..index(offset.checked_add(size)?))
    }

    fn program_header(&self, n: u16) -> Result<ProgramHeader, ElfError> {
        let at = u64::from(PHENTSIZE).wrapping_mul(u64::from(n)).saturating_add(self.phoff);
        let end = at.saturating_add(u64::from(PHENTSIZE));
        let size = self.file.len() as u64;
        let cut = ElfError::Truncated { what: "program header", end, size };
        let h = self.bytes(at, u64::from(PHENTSIZE)).ok_or(cut)?;
        let word = |at| u64_at(h, at).unwrap_or(0);
        Ok(ProgramHeader {
            kind: u32_at(h, 0).unwrap_or(0),
            offset: word(8),
            paddr: word(24),
            file: word(32),
            memory: word(40),
        })
    }

    fn section_header(&self, n: u16) -> Option<SectionHeader> {
        let at = u64::from(SHENTSIZE).wrapping_mul(u64::from(n)).checked_add(self.shoff)?;
        let h = self.bytes(at, u64::from(SHENTSIZE)).filter(|_| n < self.shnum)?;
        Some(SectionHeader {
            name: u32_at(h, 0)?,
            kind: u32_at(h, 4)?,
            offset: u64_at(h, 24)?,
            size: u64_at(h, 32)?,
        })
    }

    fn segment(&self, number: u16) -> Result<Option<Segment<'a>>, ElfError> {
        let h = self.program_header(number)?;
        if h.kind != PT_LOAD || h.memory == 0 {
            return Ok(None);
        }
        if h.file > h.memory {
            return Err(ElfError::FileSize { segment: number, file: h.file, memory: h.memory });
        }
        if h.paddr.checked_add(h.memory).is_none() {
            return Err(ElfError::Wraps { segment: number, paddr: h.paddr, memory: h.memory });
        }
        let end = h.offset.saturating_add(h.file);
        let size = self.file.len() as u64;
        let cut = ElfError::Truncated { what: "segment", end, size };
        let data = self.bytes(h.offset, h.file).ok_or(cut)?;
        Ok(Some(Segment { number, paddr: h.paddr, data, memory: h.memory }))
    }

    fn check_segments(&mut self) -> Result<(), ElfError> {
        for n in 0..self.phnum {
            let Some(segment) = self.segment(n)? else { continue };
            for m in 0..n {
                let Some(other) = self.segment(m)? else { continue };
                if segment.paddr < other.end() && other.paddr < segment.end() {
                    return Err(ElfError::Overlap(m, n));
                }
            }
            self.start = self.start.min(segment.paddr);
            self.end = self.end.max(segment.end());
        }
        match self.end.checked_sub(self.start) {
            None | Some(0) => Err(ElfError::Empty),
            Some(span) if span > MAX_SPAN => Err(ElfError::Span(span)),
            Some(_) => Ok(()),
        }
    }

    fn notes_at(&self, offset: u64, size: u64) -> Notes<'a> {
        Notes { rest: self.bytes(offset, size).unwrap_or_default() }
    }
}

/// The notes of one segment or section; ends at the first that does not fit.
struct Notes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Note<'a>> {
        let name_size = u32_at(self.rest, 0)? as usize;
        let desc_size = u32_at(self.rest, 4)? as usize;
        let kind = u32_at(self.rest, 8)?;
        let name_end = name_size.checked_add(12)?;
        let name = self.rest.get(12..name_end)?;
        let desc_at = name_end.checked_next_multiple_of(4)?;
        let desc_end = desc_at.checked_add(desc_size)?;
        let desc = self.rest.get(desc_at..desc_end)?;
        self.rest = self.rest.get(desc_end.next_multiple_of(4)..).unwrap_or_default();
        Some(Note { name: name.strip_suffix(b"\0").unwrap_or(name), kind, desc })
    }
}
