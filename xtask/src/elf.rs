//! What an ELF file needs: shared libraries of a program, text sections of a kernel module.

use anyhow::{Context, Result};
use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection};

/// Names of the libraries that a program or library asks for; none when it is not dynamic.
pub fn needed(bytes: &[u8]) -> Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(bytes).context("parse an ELF header")?;
    let endian = header.endian().context("byte order of an ELF file")?;
    let sections = header.sections(endian, bytes).context("sections of an ELF file")?;
    let Some((entries, link)) = sections.dynamic(endian, bytes).context("dynamic section")? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, bytes, link).context("dynamic strings")?;
    let mut names = Vec::new();
    for entry in entries.iter().filter(|entry| entry.tag32(endian) == Some(DT_NEEDED)) {
        let name = entry.string(endian, strings).context("name of a needed library")?;
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    Ok(names)
}

/// The program that must load this one (the dynamic linker), as an absolute path.
pub fn interpreter(bytes: &[u8]) -> Result<Option<String>> {
    let header = FileHeader64::<Endianness>::parse(bytes).context("parse an ELF header")?;
    let endian = header.endian().context("byte order of an ELF file")?;
    for segment in header.program_headers(endian, bytes).context("segments of an ELF file")? {
        if segment.p_type(endian) == PT_INTERP {
            let path = segment.data(endian, bytes).ok().context("interpreter's path")?;
            let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
            return Ok(Some(String::from_utf8_lossy(path).into_owned()));
        }
    }
    Ok(None)
}

/// The `key=value` strings of a kernel module's `.modinfo` section that have that key.
pub fn modinfo(bytes: &[u8], key: &str) -> Result<Vec<String>> {
    let file = object::File::parse(bytes).context("parse a kernel module")?;
    let section = file.section_by_name(".modinfo").context("a kernel module without .modinfo")?;
    let data = section.data().context("read .modinfo")?;
    Ok(data
        .split(|&byte| byte == 0)
        .filter_map(|item| std::str::from_utf8(item).ok()?.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value.to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_needs_the_c_library_and_names_its_loader() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(needed(&own).unwrap().iter().any(|name| name.starts_with("libc.so")));
        assert!(interpreter(&own).unwrap().unwrap().contains("ld-linux"));
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(needed(b"#!/bin/sh\n").is_err());
    }
}
