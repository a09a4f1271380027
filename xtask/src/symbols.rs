//! The hypervisor's symbols as text, for backtraces and profiles.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// One function or object: where it starts and its readable name.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Symbol {
    /// Virtual address.
    pub address: u64,
    /// Demangled, without the hash.
    pub name: String,
}

/// Functions, objects and labels of an ELF file, sorted by address, each address once.
pub fn table(elf: &[u8]) -> Result<Vec<Symbol>> {
    let file = object::File::parse(elf).context("parse the hypervisor's ELF")?;
    let mut table: Vec<Symbol> = file
        .symbols()
        .filter(|symbol| symbol.is_definition() || symbol.kind() == SymbolKind::Label)
        .filter(|symbol| symbol.address() != 0)
        .filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| !name.is_empty())?;
            let name = format!("{:#}", rustc_demangle::demangle(name));
            Some(Symbol { address: symbol.address(), name })
        })
        .collect();
    table.sort();
    table.dedup_by_key(|symbol| symbol.address);
    Ok(table)
}

/// `address name` lines, the address as 16 hexadecimal digits.
pub fn text(table: &[Symbol]) -> String {
    let mut text = String::new();
    for symbol in table {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:016x} {}", symbol.address, symbol.name);
    }
    text
}

/// Where the image has room for its own symbols.
const ROOM: &str = "ferroxen_symbols";
/// The first and the first unused address of the image's code.
const TEXT: [&str; 2] = ["__image_start", "__text_end"];
/// Bytes of a name at most: what monomorphised names have beyond is of little help.
const NAME_MAX: usize = 96;

/// Writes the functions' table into the room that the linked image has for it, for the
/// hypervisor's own backtraces.
pub fn embed(elf: &mut [u8], table: &[Symbol]) -> Result<()> {
    let file = object::File::parse(&*elf).context("parse the hypervisor's ELF")?;
    let find = |name: &str| {
        let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
        found.with_context(|| format!("the image has no {name}"))
    };
    let (at, size) = (find(ROOM)?.address(), find(ROOM)?.size());
    let text = find(TEXT[0])?.address()..find(TEXT[1])?.address();
    let section = file
        .sections()
        .find(|s| (s.address()..s.address() + s.size()).contains(&at))
        .context("the room for symbols is in no section")?;
    let (start, _) = section.file_range().context("the room for symbols is not in the file")?;
    let start = usize::try_from(start + (at - section.address()))?;
    let blob = pack(table, text);
    ensure!(
        blob.len() as u64 <= size,
        "the symbols take {} bytes, and the image has room for {size}",
        blob.len()
    );
    let room = elf.get_mut(start..start + blob.len()).context("the ELF file ends early")?;
    room.copy_from_slice(&blob);
    Ok(())
}

/// The table as the hypervisor reads it (see `machine::symbols`).
fn pack(table: &[Symbol], text: std::ops::Range<u64>) -> Vec<u8> {
    let functions: Vec<_> = table.iter().filter(|symbol| text.contains(&symbol.address)).collect();
    let mut names = Vec::new();
    let mut blob = Vec::new();
    blob.extend(u32::try_from(functions.len()).unwrap_or(0).to_le_bytes());
    for symbol in functions {
        let end = (0..=NAME_MAX.min(symbol.name.len())).rev();
        let end = end.into_iter().find(|&end| symbol.name.is_char_boundary(end)).unwrap_or(0);
        names.extend_from_slice(&symbol.name.as_bytes()[..end]);
        for word in [symbol.address - text.start, names.len() as u64] {
            blob.extend(u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    blob.extend(names);
    blob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_written_one_a_line_with_sixteen_digits() {
        let table = [
            Symbol { address: 0xffff_8000_0010_0000, name: "start".into() },
            Symbol { address: 0xffff_8000_0010_0040, name: "main".into() },
        ];
        assert_eq!(text(&table), "ffff800000100000 start\nffff800000100040 main\n");
    }

    #[test]
    fn this_very_program_has_a_sorted_table_with_demangled_names() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let table = table(&own).unwrap();
        assert!(table.is_sorted());
        assert!(table.iter().any(|symbol| symbol.name.contains("symbols::table")));
    }

    #[test]
    fn the_packed_table_holds_the_code_alone_with_names_cut_to_length() {
        let symbol = |address, name: &str| Symbol { address, name: name.into() };
        let long = "x".repeat(200);
        let table = [symbol(0x1000, "a"), symbol(0x1010, &long), symbol(0x3000, "data")];
        let blob = pack(&table, 0x1000..0x2000);
        let words: Vec<u32> = blob[..20]
            .chunks(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        assert_eq!(words, [2, 0, 1, 0x10, 97]);
        assert_eq!(blob[20..], format!("a{}", &long[..96]).into_bytes());
    }
}
