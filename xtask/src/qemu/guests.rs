//! The test programs of `guests/`: each is started in dom0's place and says on its console how it
//! went. `guests/tests.toml` lists them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{paths, process, setup};

const COMPILE_LIMIT: Duration = Duration::from_secs(900);

/// One `[[test]]` of the list.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct GuestTest {
    /// A sentence of what holds.
    pub name: String,
    /// Name of the program (a binary of the guests' workspace).
    pub file: String,
    /// What its console must say, a regular expression.
    pub expect: String,
    /// A line that means failure, besides the usual ones; a regular expression.
    #[serde(default)]
    pub refuse: Option<String>,
    /// The program is to crash the machine: the usual fatal lines are no failure.
    #[serde(default)]
    pub crashes: bool,
    /// Appended to the hypervisor's command line.
    #[serde(default)]
    pub cmdline: String,
    /// The program's own command line.
    #[serde(default)]
    pub args: String,
    /// CPUs of the machine.
    #[serde(default = "one")]
    pub smp: u32,
    /// Seconds until it must have said it.
    #[serde(default = "half_a_minute")]
    pub seconds: u64,
}

fn one() -> u32 {
    1
}

fn half_a_minute() -> u64 {
    30
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    test: Vec<GuestTest>,
}

/// The listed tests; none when there is no list yet.
pub fn list() -> Result<Vec<GuestTest>> {
    let path = paths::root().join("guests/tests.toml");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Vec<GuestTest>> {
    Ok(toml::from_str::<List>(text)?.test)
}

/// Compiles the guests' workspace.
pub fn build() -> Result<()> {
    setup::rust()?;
    let folder = paths::root().join("guests");
    let mut command = Command::new("cargo");
    // Run in its folder, so that the guests' own cargo configuration (target, linking) applies.
    command
        .current_dir(folder)
        .args(["build", "--release", "--quiet"])
        .env("CARGO_TARGET_DIR", target());
    process::run(&mut command, COMPILE_LIMIT, "build of the guests")
}

/// Where a built program lies.
pub fn program(name: &str) -> PathBuf {
    target().join(setup::BARE_TARGET).join("release").join(name)
}

fn target() -> PathBuf {
    paths::cargo_target().join("guests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_needs_only_a_name_a_file_and_what_to_expect() {
        let list =
            parse("[[test]]\nname = 'a guest says hello'\nfile = 'hello'\nexpect = 'hello'\n")
                .unwrap();
        assert_eq!((list.len(), list[0].smp, list[0].seconds, list[0].crashes), (1, 1, 30, false));
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        assert!(parse("[[test]]\nname = 'x'\nfile = 'x'\nexpect = 'x'\nsecond = 3\n").is_err());
    }

    #[test]
    fn the_list_of_the_repository_can_be_read() {
        list().unwrap();
    }
}
