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
    /// What the program calls it: given as `test=NAME`, said in `TEST NAME: passed`.
    pub name: String,
    /// The program, a binary of the guests' workspace.
    pub file: String,
    /// What is to come of it.
    pub expect: Outcome,
    /// CPUs of the machine.
    #[serde(default = "one")]
    pub cpus: u32,
    /// Seconds until it must have come.
    #[serde(default = "a_minute")]
    pub seconds: u64,
}

/// What is to come of a test program.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It says that it has passed.
    #[serde(rename = "passed")]
    Passed,
    /// The hypervisor ends the domain and says so; the program gets no further.
    #[serde(rename = "domain crash")]
    Crash,
}

impl GuestTest {
    /// The test's name as a sentence.
    pub fn sentence(&self) -> String {
        let ends = match self.expect {
            Outcome::Passed => "passes",
            Outcome::Crash => "has its domain crashed",
        };
        format!("guest {} {ends} ({})", self.name, self.file)
    }

    /// The console's line that decides, with the group `good` when it is the right one.
    pub fn pattern(&self) -> String {
        let name = regex::escape(&self.name);
        let crash = r"(?i:dom(?:ain )?0 crashed)";
        match self.expect {
            Outcome::Passed => {
                format!(r"(?P<good>TEST {name}: passed)|TEST [^\n]*: failed[^\n]*\n|{crash}")
            }
            Outcome::Crash => format!(r"(?P<good>{crash})|TEST {name}: [^\n]*\n"),
        }
    }
}

fn one() -> u32 {
    1
}

fn a_minute() -> u64 {
    60
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

/// The programs that dom0 can start as guests, and where its image has them.
pub fn in_dom0() -> Result<Vec<(String, Vec<u8>)>> {
    ["hello", "hostile"]
        .iter()
        .map(|name| {
            let file = program(name);
            let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            Ok((format!("boot/{name}"), bytes))
        })
        .collect()
}

fn target() -> PathBuf {
    paths::cargo_target().join("guests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_needs_only_a_name_a_file_and_what_to_expect() {
        let list = parse("[[test]]\nname = 'hello'\nfile = 'hi'\nexpect = 'passed'\n").unwrap();
        assert_eq!((list.len(), list[0].cpus, list[0].expect), (1, 1, Outcome::Passed));
    }

    #[test]
    fn only_the_expected_outcome_is_good() {
        let list = "[[test]]\nname='a'\nfile='a'\nexpect='passed'\n\
                    [[test]]\nname='b'\nfile='b'\nexpect='domain crash'\n";
        let list = parse(list).unwrap();
        let good = |index: usize, line: &str| {
            let regex = regex::Regex::new(&list[index].pattern()).unwrap();
            regex.captures(line).map(|found| found.name("good").is_some())
        };
        assert_eq!(good(0, "TEST a: passed\n"), Some(true));
        assert_eq!(good(0, "TEST a: failed: why\n"), Some(false));
        assert_eq!(good(0, "(XEN) Domain 0 crashed\n"), Some(false));
        assert_eq!(good(0, "TEST ab: passed\n"), None);
        assert_eq!(good(1, "Hardware Dom0 crashed\n"), Some(true));
        assert_eq!(good(1, "TEST b: passed\n"), Some(false));
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        assert!(
            parse("[[test]]\nname = 'x'\nfile = 'x'\nexpect = 'passed'\nsecond = 3\n").is_err()
        );
    }

    #[test]
    fn the_list_of_the_repository_can_be_read() {
        list().unwrap();
    }
}
