//! Links every program of this package as a paravirtual guest, and holds `tests.toml` against the
//! tests that there are.

use std::collections::BTreeSet;
use std::fs;

fn main() {
    let package = env!("CARGO_MANIFEST_DIR");
    let script = format!("{package}/../pv-runtime/link.ld");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=--build-id=none");
    println!("cargo::rerun-if-changed={script}");
    let table = format!("{package}/../tests.toml");
    let hostile = format!("{package}/src/bin/hostile");
    println!("cargo::rerun-if-changed={table}");
    println!("cargo::rerun-if-changed={hostile}");
    let listed = quoted(&fs::read_to_string(&table).expect("tests.toml"), "\nname = \"");
    let mut written: BTreeSet<String> = ["hello", "syscall-count"].map(String::from).into();
    for file in fs::read_dir(&hostile).expect("the sources of the hostile tests") {
        let path = file.expect("a source file").path();
        written.extend(quoted(&fs::read_to_string(path).expect("its text"), "test(\""));
    }
    assert!(
        listed == written,
        "tests.toml and the sources differ by {:?}",
        listed.symmetric_difference(&written)
    );
}

/// What follows each `before`, up to the next quotation mark.
fn quoted(text: &str, before: &str) -> BTreeSet<String> {
    let rest = text.split(before).skip(1);
    rest.filter_map(|part| part.split_once('"')).map(|(name, _)| name.to_owned()).collect()
}
