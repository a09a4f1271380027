//! Compares the table of features with `arch-x86/cpufeatureset.h` of Debian's `libxen-dev`.
//!
//! The headers are looked for in `$FERROXEN_XEN_HEADERS` (`xen/` or the folder it is in), else where
//! `cargo xtask setup` puts them.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cpu_policy::features::{Audience, FEATURES};

fn header() -> String {
    let dir = match std::env::var_os("FERROXEN_XEN_HEADERS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/anchors/trixie/headers/usr/include"),
    };
    let dir = if dir.join("xen.h").exists() { dir.join("..") } else { dir };
    let file = dir.join("xen/arch-x86/cpufeatureset.h");
    std::fs::read_to_string(&file).unwrap_or_else(|_| {
        panic!("no {}: run `cargo xtask setup`, or set FERROXEN_XEN_HEADERS", file.display())
    })
}

/// Name, word, bit and audience of a line `XEN_CPUFEATURE(NAME, word*32+bit) /*attributes text */`.
fn feature(line: &str) -> Option<(String, u32, u32, String)> {
    let (name, rest) = line.strip_prefix("XEN_CPUFEATURE(")?.split_once(',')?;
    let (place, comment) = rest.split_once(')')?;
    let (word, bit) = place.split_once("*32+")?;
    let word: u32 = word.trim().parse().ok()?;
    let bit: u32 = bit.trim().parse().ok()?;
    let attributes = comment.trim().trim_start_matches("/*").split([' ', '*']).next()?;
    let audience = attributes.trim_matches(['!', '|']).to_string();
    let name = name.to_lowercase().replace('_', "-");
    Some((name, word.wrapping_add(bit >> 5), bit & 31, audience))
}

#[test]
fn the_table_of_features_is_that_of_the_header() {
    let theirs: BTreeSet<_> = header().lines().filter_map(feature).collect();
    let ours: BTreeSet<_> = FEATURES
        .iter()
        .map(|row| {
            let letter = match row.audience {
                Audience::Nobody => "",
                Audience::All => "A",
                Audience::AllOptIn => "a",
                Audience::Hvm => "S",
                Audience::HvmOptIn => "s",
                Audience::Hap => "H",
                Audience::HapOptIn => "h",
            };
            let word = u32::try_from(row.feature.word()).unwrap();
            let bit = row.feature.mask().trailing_zeros();
            (row.name.to_string(), word, bit, letter.to_string())
        })
        .collect();
    let wrong: Vec<_> = ours.symmetric_difference(&theirs).collect();
    assert!(wrong.is_empty(), "features differ: {wrong:#?}");
    println!("cpu-policy: {} features compared", ours.len());
}
