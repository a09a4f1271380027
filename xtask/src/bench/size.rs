//! What a hypervisor's image takes.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

use crate::process;

const LIMIT: Duration = Duration::from_secs(60);

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The ELF file as it is.
    pub file: u64,
    /// Without symbols for debuggers.
    pub stripped: u64,
    /// That, compressed.
    pub gzip: u64,
    /// What is loaded, with the zeroed part.
    pub memory: u64,
}

/// Looks at an ELF file; `scratch` is written.
pub fn measure(elf: &Path, scratch: &Path) -> Result<Sizes> {
    let bytes = fs::read(elf).with_context(|| format!("read {}", elf.display()))?;
    let mut strip = Command::new("strip");
    process::run(strip.arg("-o").arg(scratch).arg(elf), LIMIT, "strip")?;
    let stripped = fs::read(scratch).context("read the stripped image")?;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&stripped).context("compress the image")?;
    let gzip = packer.finish().context("compress the image")?;
    Ok(Sizes {
        file: bytes.len() as u64,
        stripped: stripped.len() as u64,
        gzip: gzip.len() as u64,
        memory: loaded(&bytes).with_context(|| elf.display().to_string())?,
    })
}

/// Bytes from the first loaded address to the last.
fn loaded(bytes: &[u8]) -> Result<u64> {
    match object::FileKind::parse(bytes)? {
        object::FileKind::Elf32 => loaded_of::<elf::FileHeader32<Endianness>>(bytes),
        _ => loaded_of::<elf::FileHeader64<Endianness>>(bytes),
    }
}

fn loaded_of<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<u64> {
    let header = E::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    let parts = segments.iter().filter(|s| s.p_type(endian) == elf::PT_LOAD);
    Ok(parts.map(|s| s.p_memsz(endian).into()).sum())
}
