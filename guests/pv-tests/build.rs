//! Links every program of this package as a paravirtual guest, and holds `tests.toml` against the
//! tests that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn main() {
    let package = env!("CARGO_MANIFEST_DIR");
    let script = format!("{package}/../pv-runtime/link.ld");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=--build-id=none");
    println!("cargo::rerun-if-changed={script}");
    let table = format!("{package}/../tests.toml");
    let programs = format!("{package}/src/bin");
    println!("cargo::rerun-if-changed={table}");
    println!("cargo::rerun-if-changed={programs}");
    let listed = quoted(&fs::read_to_string(&table).expect("tests.toml"), "\nname = \"");
    let written = fs::read_dir(&programs).expect("the programs");
    let mut written: BTreeSet<String> =
        written.flat_map(|entry| tests_of(&entry.expect("a program").path())).collect();
    // Stands for all of a program's tests in one boot.
    written.insert("all".into());
    assert!(
        listed == written,
        "tests.toml and the sources differ by {:?}",
        listed.symmetric_difference(&written)
    );
}

/// A program in a file of its own is one test; one in a folder has many.
fn tests_of(program: &Path) -> BTreeSet<String> {
    if program.is_file() {
        let name = program.file_stem().expect("a program's name");
        return [name.to_string_lossy().into_owned()].into();
    }
    let sources = fs::read_dir(program).expect("a program's sources");
    let texts = sources.map(|file| fs::read_to_string(file.expect("a source file").path()));
    texts.flat_map(|text| quoted(&text.expect("its text"), "test(\"")).collect()
}

/// What follows each `before`, up to the next quotation mark.
fn quoted(text: &str, before: &str) -> BTreeSet<String> {
    let rest = text.split(before).skip(1);
    rest.filter_map(|part| part.split_once('"')).map(|(name, _)| name.to_owned()).collect()
}
