//! What a kernel says of itself in its Xen notes, and whether it can be run.
//!
//! Facts: the public header `elfnote.h` (types, meanings, defaults) and `features.h` (bits).

use core::fmt;

use crate::elf::{Elf, Note, Segment};
use crate::num::PAGE;

/// The feature bit that only dom0 kernels have.
pub const FEATURE_DOM0: u32 = 11;
/// The feature bit of kernels that run in the hypervisor's own privilege, which is never given.
const FEATURE_SUPERVISOR_MODE: u32 = 3;
/// Names of feature bits in the FEATURES string.
const FEATURE_NAMES: [(&str, u32); 6] = [
    ("writable_page_tables", 0),
    ("writable_descriptor_tables", 1),
    ("auto_translated_physmap", 2),
    ("supervisor_mode_kernel", FEATURE_SUPERVISOR_MODE),
    ("pae_pgdir_above_4gb", 4),
    ("dom0", FEATURE_DOM0),
];

/// Why a well-formed ELF file is not a kernel for a PV domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelError {
    /// It has no Xen notes.
    NoNotes,
    /// It has the `__xen_guest` section of kernels before 2006 and no notes.
    LegacyGuestSection,
    /// A note that is a number has none of the sizes of a number.
    NoteSize {
        /// Its type.
        note: u32,
        /// Its size in bytes.
        size: usize,
    },
    /// The note GUEST_OS does not start with "linux" and LOADER not with "generic".
    Loader,
    /// The note XEN_VERSION does not start with "xen-3.0".
    XenVersion,
    /// A PVH kernel without the notes of a PV one.
    NotPv,
    /// It asks for a feature that is never there; the bit.
    RequiredFeature(u32),
    /// FEATURES requires a feature of unknown name.
    UnknownRequiredFeature,
    /// An address is not at the start of a page.
    Unaligned {
        /// Which.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// An address is out of the range that it must be in.
    OutOfRange {
        /// Which.
        what: &'static str,
        /// Its value.
        value: u64,
        /// First address that would do.
        from: u64,
        /// First address past those that would do.
        to: u64,
    },
    /// VIRT_BASE, PADDR_OFFSET and the segments give addresses past 2^64 or before VIRT_BASE.
    Addresses {
        /// VIRT_BASE.
        virt_base: u64,
        /// PADDR_OFFSET.
        paddr_offset: u64,
        /// Physical address of the first loaded byte.
        start: u64,
    },
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNotes => f.write_str("no Xen ELF notes: not built to run as a PV guest"),
            Self::LegacyGuestSection => {
                f.write_str("has a __xen_guest section instead of ELF notes: too old a kernel")
            }
            Self::NoteSize { note, size } => {
                write!(f, "Xen note {note} is {size} bytes, which is no number")
            }
            Self::Loader => {
                f.write_str("neither note GUEST_OS is \"linux\" nor note LOADER \"generic\"")
            }
            Self::XenVersion => f.write_str("note XEN_VERSION is not \"xen-3.0\""),
            Self::NotPv => f.write_str("a PVH kernel that cannot run as a PV guest"),
            Self::RequiredFeature(bit) => write!(f, "requires feature {bit}, which is not given"),
            Self::UnknownRequiredFeature => {
                f.write_str("note FEATURES requires a feature that is not known")
            }
            Self::Unaligned { what, value } => write!(f, "{what} {value:#x} is not page aligned"),
            Self::OutOfRange { what, value, from, to } => {
                write!(f, "{what} {value:#x} is not from {from:#x} to {to:#x}")
            }
            Self::Addresses { virt_base, paddr_offset, start } => write!(
                f,
                "VIRT_BASE {virt_base:#x}, PADDR_OFFSET {paddr_offset:#x} and a kernel loaded at \
                 {start:#x} do not go together"
            ),
        }
    }
}

impl core::error::Error for KernelError {}

/// The Xen notes as they are in the file; absent ones are `None` or empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notes<'a> {
    /// ENTRY (1): virtual address of the first instruction.
    pub entry: Option<u64>,
    /// HYPERCALL_PAGE (2): virtual address.
    pub hypercall_page: Option<u64>,
    /// VIRT_BASE (3): virtual address of pseudo-physical 0 (or of PADDR_OFFSET).
    pub virt_base: Option<u64>,
    /// PADDR_OFFSET (4): what the file's physical addresses are too high by.
    pub paddr_offset: Option<u64>,
    /// XEN_VERSION (5).
    pub xen_version: &'a [u8],
    /// GUEST_OS (6).
    pub guest_os: &'a [u8],
    /// GUEST_VERSION (7).
    pub guest_version: &'a [u8],
    /// LOADER (8).
    pub loader: &'a [u8],
    /// PAE_MODE (9); only 32-bit kernels mean something by it.
    pub pae_mode: &'a [u8],
    /// FEATURES (10).
    pub features: &'a [u8],
    /// SUPPORTED_FEATURES (17): bits.
    pub supported_features: Option<u64>,
    /// HV_START_LOW (12): lowest address that the hypervisor may use.
    pub hv_start_low: Option<u64>,
    /// SUSPEND_CANCEL (14).
    pub suspend_cancel: Option<u64>,
    /// INIT_P2M (15): virtual address of the P2M list.
    pub init_p2m: Option<u64>,
    /// MOD_START_PFN (16): the initial ramdisk is given by PFN and need not be mapped.
    pub mod_start_pfn: Option<u64>,
    /// PHYS32_ENTRY (18): physical address of the PVH entry.
    pub phys32_entry: Option<u64>,
    /// PHYS32_RELOC (19): a PVH kernel can be moved.
    pub phys32_reloc: bool,
}

impl<'a> Notes<'a> {
    /// Reads the notes of the segments, or if those have none of Xen's, of the sections.
    ///
    /// # Errors
    /// `NoNotes`, `LegacyGuestSection`, `NoteSize`.
    pub fn read(elf: &Elf<'a>) -> Result<Self, KernelError> {
        let mut notes = Self::default();
        let mut any = false;
        for note in elf.segment_notes().filter(is_xen) {
            any = true;
            notes.take(&note)?;
        }
        if !any {
            for note in elf.section_notes().filter(is_xen) {
                any = true;
                notes.take(&note)?;
            }
        }
        if any {
            Ok(notes)
        } else if elf.has_section(b"__xen_guest") {
            Err(KernelError::LegacyGuestSection)
        } else {
            Err(KernelError::NoNotes)
        }
    }

    fn take(&mut self, note: &Note<'a>) -> Result<(), KernelError> {
        let text = note.desc.split(|b| *b == 0).next().unwrap_or_default();
        let slot = match note.kind {
            5 => return set(&mut self.xen_version, text),
            6 => return set(&mut self.guest_os, text),
            7 => return set(&mut self.guest_version, text),
            8 => return set(&mut self.loader, text),
            9 => return set(&mut self.pae_mode, text),
            10 => return set(&mut self.features, text),
            19 => return set(&mut self.phys32_reloc, true),
            1 => &mut self.entry,
            2 => &mut self.hypercall_page,
            3 => &mut self.virt_base,
            4 => &mut self.paddr_offset,
            12 => &mut self.hv_start_low,
            14 => &mut self.suspend_cancel,
            15 => &mut self.init_p2m,
            16 => &mut self.mod_start_pfn,
            17 => &mut self.supported_features,
            18 => &mut self.phys32_entry,
            // INFO, BSD_SYMTAB, L1_MFN_VALID and what is not known yet ask for nothing here.
            _ => return Ok(()),
        };
        *slot = Some(number(note)?);
        Ok(())
    }
}

fn is_xen(note: &Note<'_>) -> bool {
    note.name == b"Xen"
}

fn set<T>(slot: &mut T, value: T) -> Result<(), KernelError> {
    *slot = value;
    Ok(())
}

fn number(note: &Note<'_>) -> Result<u64, KernelError> {
    let size = note.desc.len();
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(KernelError::NoteSize { note: note.kind, size });
    }
    Ok(note.desc.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

/// Feature bits of submap 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// What the kernel can make use of.
    pub supported: u64,
    /// What it cannot do without ("!" in the FEATURES note).
    pub required: u64,
}

impl Features {
    fn read(notes: &Notes<'_>) -> Result<Self, KernelError> {
        let mut features = Self { supported: notes.supported_features.unwrap_or(0), required: 0 };
        for word in notes.features.split(|b| *b == b'|').filter(|w| !w.is_empty()) {
            let (name, required) = match word.strip_prefix(b"!") {
                Some(name) => (name, true),
                None => (word, false),
            };
            let bit = FEATURE_NAMES.iter().find(|(known, _)| known.as_bytes() == name);
            match bit {
                Some((_, bit)) => {
                    features.supported |= 1u64.wrapping_shl(*bit);
                    if required {
                        features.required |= 1u64.wrapping_shl(*bit);
                    }
                }
                None if required => return Err(KernelError::UnknownRequiredFeature),
                None => {}
            }
        }
        if features.required >> FEATURE_SUPERVISOR_MODE & 1 != 0 {
            return Err(KernelError::RequiredFeature(FEATURE_SUPERVISOR_MODE));
        }
        Ok(features)
    }

    /// Whether the kernel can be dom0. One that says nothing of features is given the benefit.
    #[must_use]
    pub fn can_be_dom0(&self) -> bool {
        self.supported == 0 || self.supported >> FEATURE_DOM0 & 1 != 0
    }
}

/// A kernel that can run as a PV guest, in addresses of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Virtual address of PFN 0, page aligned.
    pub virt_base: u64,
    /// What the file's physical addresses are too high by.
    pub paddr_offset: u64,
    /// Virtual address of the first loaded byte.
    pub start: u64,
    /// Virtual address past the last loaded byte (including zeroed ones).
    pub end: u64,
    /// Virtual address of the first instruction.
    pub entry: u64,
    /// Where the P2M list is wanted, page aligned; after the kernel if `None`.
    pub init_p2m: Option<u64>,
    /// Whether the initial ramdisk may stay unmapped.
    pub mod_start_pfn: bool,
    /// Where the hypercall page is to be written, in the kernel's image.
    pub hypercall_page: Option<u64>,
    /// Physical address of the PVH entry, if it has one.
    pub phys32_entry: Option<u64>,
    /// Feature bits.
    pub features: Features,
}

/// Where a kernel's bytes go.
pub trait Sink {
    /// What can go wrong on the way.
    type Error;
    /// Writes at a pseudo-physical address (PFN times 4096 and an offset).
    ///
    /// # Errors
    /// As the implementation says.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Self::Error>;
    /// Zeroes `size` bytes at a pseudo-physical address.
    ///
    /// # Errors
    /// As the implementation says.
    fn zero(&mut self, address: u64, size: u64) -> Result<(), Self::Error>;
}

impl Kernel {
    /// Reads the notes and works the addresses out.
    ///
    /// # Errors
    /// Any [`KernelError`].
    pub fn read(elf: &Elf<'_>) -> Result<Self, KernelError> {
        Self::from_notes(elf, &Notes::read(elf)?)
    }

    fn from_notes(elf: &Elf<'_>, notes: &Notes<'_>) -> Result<Self, KernelError> {
        let unacceptable =
            if !notes.loader.starts_with(b"generic") && !notes.guest_os.starts_with(b"linux") {
                Some(KernelError::Loader)
            } else if !notes.xen_version.starts_with(b"xen-3.0") {
                Some(KernelError::XenVersion)
            } else {
                None
            };
        if let Some(why) = unacceptable {
            return Err(if notes.phys32_entry.is_some() { KernelError::NotPv } else { why });
        }
        let features = Features::read(notes)?;
        let virt_base = notes.virt_base.unwrap_or(0);
        let paddr_offset = notes.paddr_offset.unwrap_or(0);
        let addresses = KernelError::Addresses { virt_base, paddr_offset, start: elf.start() };
        let virt = |paddr: u64| paddr.checked_sub(paddr_offset)?.checked_add(virt_base);
        let start = virt(elf.start()).ok_or(addresses)?;
        let end = virt(elf.end()).ok_or(addresses)?;
        let entry = notes.entry.unwrap_or(elf.entry());
        within("entry point", entry, start, end)?;
        aligned("VIRT_BASE", virt_base)?;
        if let Some(p2m) = notes.init_p2m {
            aligned("INIT_P2M", p2m)?;
        }
        if let Some(page) = notes.hypercall_page {
            aligned("HYPERCALL_PAGE", page)?;
            within("HYPERCALL_PAGE", page, start, end.saturating_sub(PAGE.saturating_sub(1)))?;
        }
        Ok(Self {
            virt_base,
            paddr_offset,
            start,
            end,
            entry,
            init_p2m: notes.init_p2m,
            mod_start_pfn: notes.mod_start_pfn.is_some_and(|v| v != 0),
            hypercall_page: notes.hypercall_page,
            phys32_entry: notes.phys32_entry,
            features,
        })
    }

    /// Puts the segments of `elf`, which this was read from, in place: one copy of each.
    ///
    /// # Errors
    /// What the sink says.
    pub fn load<S: Sink>(&self, elf: &Elf<'_>, sink: &mut S) -> Result<(), S::Error> {
        for Segment { paddr, data, memory, .. } in elf.segments() {
            let address = paddr.wrapping_sub(self.paddr_offset);
            let size = data.len() as u64;
            sink.write(address, data)?;
            let rest = memory.saturating_sub(size);
            if rest > 0 {
                sink.zero(address.wrapping_add(size), rest)?;
            }
        }
        Ok(())
    }
}

fn within(what: &'static str, value: u64, from: u64, to: u64) -> Result<(), KernelError> {
    if (from..to).contains(&value) {
        Ok(())
    } else {
        Err(KernelError::OutOfRange { what, value, from, to })
    }
}

fn aligned(what: &'static str, value: u64) -> Result<(), KernelError> {
    if value.is_multiple_of(PAGE) { Ok(()) } else { Err(KernelError::Unaligned { what, value }) }
}
