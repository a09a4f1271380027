//! The hypervisor's symbols as text, for backtraces and profiles.

use std::fmt::Write;

use anyhow::{Context, Result};
use object::{Object, ObjectSymbol, SymbolKind};

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
}
