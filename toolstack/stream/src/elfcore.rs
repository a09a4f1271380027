//! A guest's memory and registers as an ELF core: what `xl dump-core` writes.
//!
//! An ELF64 file of type core without program headers. Its sections hold the notes (what it is,
//! on which hypervisor), the vCPUs' registers, the shared page, the PFN and MFN of each page, and the
//! pages. See docs/misc/dump-core-format.txt of Xen; the section names are interface.

use std::io::Write;

use abi::elfnote::ElfNote;
use abi::pv::VcpuGuestContext;
use abi::version::CompileInfo;
use zerocopy::{Immutable, IntoBytes, KnownLayout};

use crate::{Error, Output, PAGE, Place};

/// Head note of a paravirtualized guest's core.
const MAGIC_PV: u64 = 0xF00F_EBED;
/// Version 0.1 of the core format: major in the upper, minor in the lower half.
const FORMAT_VERSION: u64 = 1;
const NOTE_NAME: &[u8; 4] = b"Xen\0";

const EHDR_SIZE: u64 = 64;
const PHDR_SIZE: u16 = 56;
const SHDR_SIZE: u64 = 64;
const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;
const EM_X86_64: u16 = 62;

/// The hypervisor that the guest runs on: results of `HYPERVISOR_xen_version`.
#[repr(C)]
#[derive(Clone, IntoBytes, Immutable, KnownLayout)]
pub struct XenVersion {
    /// Major version.
    pub major: u64,
    /// Minor version.
    pub minor: u64,
    /// What follows them, with a terminating zero.
    pub extra: [u8; 16],
    /// Who compiled it.
    pub compile_info: CompileInfo,
    /// Kinds of guests that it runs.
    pub capabilities: [u8; 1024],
    /// Its revision.
    pub changeset: [u8; 64],
    /// First address of its hole.
    pub virt_start: u64,
    /// Bytes of a page.
    pub page_size: u64,
}

/// A page of the core.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable, KnownLayout)]
pub struct P2mEntry {
    /// Guest frame.
    pub pfn: u64,
    /// Machine frame.
    pub mfn: u64,
}

/// All of the core but the pages themselves.
pub struct Head<'a> {
    /// The hypervisor.
    pub version: &'a XenVersion,
    /// Registers of each vCPU on line.
    pub vcpus: &'a [VcpuGuestContext],
    /// The shared page.
    pub shared_info: &'a [u8; PAGE],
    /// The pages, in the order in which they will be written.
    pub p2m: &'a [P2mEntry],
}

struct Section<'a> {
    name: &'static str,
    kind: u32,
    align: u64,
    entry_size: u64,
    data: Content<'a>,
}

enum Content<'a> {
    Here(&'a [u8]),
    Pages(u64),
}

impl Content<'_> {
    fn len(&self) -> u64 {
        match self {
            Content::Here(bytes) => bytes.len() as u64,
            Content::Pages(count) => count.saturating_mul(PAGE as u64),
        }
    }
}

impl Head<'_> {
    /// Writes everything up to the first page. [`write_page`] is to follow for each entry of `p2m`.
    pub fn write<W: Write>(&self, output: &mut Output<W>) -> Result<(), Error> {
        let notes = self.notes();
        let mut sections = vec![
            Section {
                name: ".note.Xen",
                kind: SHT_NOTE,
                align: 4,
                entry_size: 0,
                data: Content::Here(&notes),
            },
            progbits(".xen_prstatus", 8, size_of::<VcpuGuestContext>(), self.vcpus.as_bytes()),
            progbits(".xen_shared_info", 8, PAGE, self.shared_info),
            progbits(".xen_p2m", 8, size_of::<P2mEntry>(), self.p2m.as_bytes()),
            Section {
                name: ".xen_pages",
                kind: SHT_PROGBITS,
                align: PAGE as u64,
                entry_size: PAGE as u64,
                data: Content::Pages(self.p2m.len() as u64),
            },
        ];
        let mut names = vec![0u8];
        let mut name_offsets = Vec::new();
        for name in sections.iter().map(|section| section.name).chain([".shstrtab"]) {
            name_offsets.push(names.len() as u32);
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        sections.insert(
            0,
            Section {
                name: ".shstrtab",
                kind: SHT_STRTAB,
                align: 1,
                entry_size: 0,
                data: Content::Here(&names),
            },
        );
        name_offsets.rotate_right(1);
        write_sections(output, &sections, &name_offsets)
    }

    fn notes(&self) -> Vec<u8> {
        let head = [MAGIC_PV, self.vcpus.len() as u64, self.p2m.len() as u64, PAGE as u64];
        let mut notes = Vec::new();
        push_note(&mut notes, ElfNote::DUMPCORE_NONE, &[]);
        push_note(&mut notes, ElfNote::DUMPCORE_HEADER, head.as_bytes());
        push_note(&mut notes, ElfNote::DUMPCORE_XEN_VERSION, self.version.as_bytes());
        push_note(&mut notes, ElfNote::DUMPCORE_FORMAT_VERSION, &FORMAT_VERSION.to_le_bytes());
        notes
    }
}

/// Writes the next page's content.
pub fn write_page<W: Write>(output: &mut Output<W>, page: &[u8; PAGE]) -> Result<(), Error> {
    output.put(page, Place::Core("a page"))
}

fn progbits<'a>(name: &'static str, align: u64, entry: usize, bytes: &'a [u8]) -> Section<'a> {
    let data = Content::Here(bytes);
    Section { name, kind: SHT_PROGBITS, align, entry_size: entry as u64, data }
}

/// Descriptors here have lengths that are multiples of four: no padding.
fn push_note(notes: &mut Vec<u8>, kind: ElfNote, descriptor: &[u8]) {
    for word in [NOTE_NAME.len() as u32, descriptor.len() as u32, kind.0] {
        notes.extend_from_slice(&word.to_le_bytes());
    }
    notes.extend_from_slice(NOTE_NAME);
    notes.extend_from_slice(descriptor);
}

fn write_sections<W: Write>(
    output: &mut Output<W>,
    sections: &[Section<'_>],
    names: &[u32],
) -> Result<(), Error> {
    // The empty section that every ELF file starts its table with.
    let mut table = vec![0u8; SHDR_SIZE as usize];
    let mut at = EHDR_SIZE + SHDR_SIZE * (sections.len() as u64 + 1);
    let mut gaps = Vec::new();
    for (section, name) in sections.iter().zip(names) {
        let start = at.next_multiple_of(section.align);
        gaps.push(start - at);
        at = start.saturating_add(section.data.len());
        table.extend_from_slice(&name.to_le_bytes());
        table.extend_from_slice(&section.kind.to_le_bytes());
        // Flags, address, offset, size.
        table.extend_from_slice([0, 0, start, section.data.len()].as_bytes());
        // Link and info, both 0; alignment; entry size.
        table.extend_from_slice([0, section.align, section.entry_size].as_bytes());
    }
    output.put(&elf_header(sections.len() as u16 + 1), Place::Core("the ELF header"))?;
    output.put(&table, Place::Core("the section table"))?;
    for (section, gap) in sections.iter().zip(gaps) {
        output.put(&vec![0; gap as usize], Place::Core(section.name))?;
        if let Content::Here(bytes) = section.data {
            output.put(bytes, Place::Core(section.name))?;
        }
    }
    Ok(())
}

fn elf_header(sections: u16) -> Vec<u8> {
    // Class 64, little-endian, version 1, System V, version 1 of its ABI (as Xen's tools have it).
    let mut header = b"\x7fELF\x02\x01\x01\0\x01\0\0\0\0\0\0\0".to_vec();
    // Type core, machine, version.
    header.extend_from_slice(&4u16.to_le_bytes());
    header.extend_from_slice(&EM_X86_64.to_le_bytes());
    header.extend_from_slice(&1u32.to_le_bytes());
    // Entry, program headers (none), section headers.
    header.extend_from_slice([0, 0, EHDR_SIZE].as_bytes());
    header.extend_from_slice(&0u32.to_le_bytes());
    // Sizes: this header, program header, their number, section header, their number; the section
    // with the names is the first after the empty one.
    for half in [EHDR_SIZE as u16, PHDR_SIZE, 0, SHDR_SIZE as u16, sections, 1] {
        header.extend_from_slice(&half.to_le_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    const _: () = assert!(size_of::<XenVersion>() == 1280);

    fn core() -> Vec<u8> {
        let mut version = XenVersion {
            major: 4,
            minor: 20,
            extra: [0; 16],
            compile_info: CompileInfo::new_zeroed(),
            capabilities: [0; 1024],
            changeset: [0; 64],
            virt_start: 0xffff_8000_0000_0000,
            page_size: 4096,
        };
        version.extra[0] = b'.';
        let vcpus = [VcpuGuestContext::new_zeroed(), VcpuGuestContext::new_zeroed()];
        let p2m = [P2mEntry { pfn: 0, mfn: 77 }, P2mEntry { pfn: 5, mfn: 78 }];
        let head = Head { version: &version, vcpus: &vcpus, shared_info: &[9; PAGE], p2m: &p2m };
        let mut output = Output::new(Vec::new());
        head.write(&mut output).unwrap();
        write_page(&mut output, &[1; PAGE]).unwrap();
        write_page(&mut output, &[2; PAGE]).unwrap();
        output.finish(Place::Core("end")).unwrap()
    }

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    /// Name, offset and size of each section, as a reader of ELF finds them.
    fn sections(core: &[u8]) -> Vec<(String, usize, usize)> {
        let table = word(core, 40) as usize;
        let count = u16::from_le_bytes([core[60], core[61]]) as usize;
        let names = word(core, table + 64 * core[62] as usize + 24) as usize;
        (1..count)
            .map(|i| {
                let header = table + 64 * i;
                let name = names
                    + u32::from_le_bytes(core[header..header + 4].try_into().unwrap()) as usize;
                let end = core[name..].iter().position(|byte| *byte == 0).unwrap();
                let name = String::from_utf8(core[name..name + end].to_vec()).unwrap();
                (name, word(core, header + 24) as usize, word(core, header + 32) as usize)
            })
            .collect()
    }

    #[test]
    fn each_section_lies_in_the_file_where_its_header_says() {
        let core = core();
        let found = sections(&core);
        let sizes: Vec<(&str, usize)> = found.iter().map(|(n, _, s)| (n.as_str(), *s)).collect();
        assert_eq!(
            sizes,
            [
                (".shstrtab", 72),
                (".note.Xen", 16 + 48 + 1296 + 24),
                (".xen_prstatus", 2 * 5168),
                (".xen_shared_info", 4096),
                (".xen_p2m", 32),
                (".xen_pages", 8192)
            ]
        );
        let at = |name: &str| found.iter().find(|(n, _, _)| n == name).unwrap().1;
        assert_eq!(core[at(".xen_shared_info")..][..PAGE], [9; PAGE]);
        assert_eq!(word(&core, at(".xen_p2m") + 16), 5);
        assert_eq!(at(".xen_pages") % PAGE, 0);
        assert_eq!(core[at(".xen_pages") + PAGE..], [2; PAGE]);
    }
}
