//! What the tests show: the lines of the guests' programs, and what tests from outside declare.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::table::{self, Table};
use crate::paths;
use crate::qemu::guests::{self, GuestTest};
use crate::qemu::tests;

/// `operation outcome`, as a guest's program prints it behind `SHOWN`.
pub type Shown = BTreeSet<String>;
/// Outcomes by operation.
pub type Evidence = BTreeMap<String, BTreeSet<String>>;

const HEAD: &str = "\
# What each guest test is recorded to show for docs/support.md: the lines `SHOWN operation outcome`
# that it prints. A test that prints others fails. Written by `cargo xtask support --record`.
";

fn path() -> PathBuf {
    paths::root().join("guests/shown.toml")
}

/// What each guest test is recorded to print.
pub fn recorded() -> Result<BTreeMap<String, Shown>> {
    let path = path();
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// The lines that a console's log has.
pub fn in_log(log: &str) -> Shown {
    let shown = |line: &str| {
        let (_, rest) = line.split_once("SHOWN ")?;
        let mut words = rest.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?))
    };
    log.lines().filter_map(shown).collect()
}

/// Fails when a test that has passed printed anything but what is recorded for it.
pub fn compare(test: &GuestTest) -> Result<()> {
    let log = tests::log_path(&test.sentence());
    let text = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    let printed = in_log(&String::from_utf8_lossy(&text));
    let recorded = recorded()?.remove(&test.name).unwrap_or_default();
    let list = |a: &Shown, b: &Shown| a.difference(b).cloned().collect::<Vec<_>>().join(", ");
    ensure!(
        printed == recorded,
        "what it shows is not what is recorded: new [{}], gone [{}]; if that is meant, run \
         cargo xtask support --record",
        list(&printed, &recorded),
        list(&recorded, &printed)
    );
    Ok(())
}

/// Takes over what the guest tests printed when they last ran here and passed.
pub fn record() -> Result<()> {
    let mut all = recorded()?;
    let tests = guests::list()?;
    all.retain(|name, _| tests.iter().any(|test| test.name == *name));
    for test in &tests {
        let Ok(text) = fs::read(tests::log_path(&test.sentence())) else { continue };
        let text = String::from_utf8_lossy(&text);
        let verdict = regex::Regex::new(&test.pattern()).context("pattern of a verdict")?;
        let passed = verdict.captures(&text).is_some_and(|found| found.name("good").is_some());
        if passed {
            all.insert(test.name.clone(), in_log(&text));
        }
    }
    let mut text = HEAD.to_owned();
    for (name, shown) in all.iter().filter(|(_, shown)| !shown.is_empty()) {
        text += &format!("\n{name} = [\n");
        shown.iter().for_each(|line| text += &format!("    \"{line}\",\n"));
        text += "]\n";
    }
    fs::write(path(), text).with_context(|| format!("write {}", path().display()))
}

/// Everything that the tests show, held against the hypervisor's table.
pub fn all(table: &Table) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let known = guests::list()?;
    for (test, shown) in recorded()? {
        if !known.iter().any(|guest| guest.name == test) {
            bail!("guests/shown.toml speaks of {test}, which guests/tests.toml has not");
        }
        for line in shown {
            add(&mut evidence, table, &line).with_context(|| format!("guest test {test}"))?;
        }
    }
    for test in tests::all()? {
        for line in test.shows() {
            add(&mut evidence, table, line).with_context(|| format!("test {:?}", test.name))?;
        }
    }
    Ok(evidence)
}

fn add(evidence: &mut Evidence, table: &Table, line: &str) -> Result<()> {
    let (op, outcome) = line.split_once(' ').with_context(|| format!("{line:?} has no outcome"))?;
    table::check(table, op, outcome)?;
    evidence.entry(op.to_owned()).or_default().insert(outcome.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests_of_evidence {
    use super::*;

    #[test]
    fn what_a_program_shows_is_found_behind_the_time_stamps() {
        let log = "[    0.50] SHOWN domctl.max_mem ok\n[ 0.6] SHOWN domctl EPERM\r\nSHOWN half\n";
        let found: Vec<String> = in_log(log).into_iter().collect();
        assert_eq!(found, ["domctl EPERM", "domctl.max_mem ok"]);
    }
}
