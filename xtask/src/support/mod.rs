//! `support`: docs/support.md, made of the hypervisor's tables of operations and of what the tests
//! show of them.

pub mod evidence;
mod table;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::paths;
use evidence::Evidence;
use table::{Family, HYPERCALL, OK, Table, operation};

/// What follows it in the page is written by hand, and kept.
const BY_HAND: &str = "<!-- From here on the page is written by hand. -->\n";

const HEAD: &str = "\
# What is supported

Guests are 64-bit PV only. Each hypercall and each of its operations is

- **done**: a test shows its success and each error that its handler itself can answer;
- **untested**: it is there, and something of it is not shown by a test;
- **missing**: it is not there, or always answers the one error that is named.

A hypercall that divides into operations is done when its own errors are shown: those of callers
without the right, of operations that there are not, and the like, whatever the operation.

This part is made by `cargo xtask support` from the tables that the hypervisor dispatches by and from
what the tests show (`guests/shown.toml`, and the tests from outside in `xtask/src/qemu`).
";

/// Arguments of `support`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// First take over into guests/shown.toml what the guest tests printed when they last ran here
    /// and passed.
    #[arg(long)]
    record: bool,
}

/// Runs `support`.
pub fn main(args: &Args) -> Result<()> {
    if args.record {
        evidence::record()?;
    }
    let text = page()?;
    fs::write(path(), &text).context("write docs/support.md")?;
    text.lines().filter(|line| line.starts_with("In all:")).for_each(|line| println!("{line}"));
    Ok(())
}

fn path() -> PathBuf {
    paths::root().join("docs/support.md")
}

/// The page as it should be.
fn page() -> Result<String> {
    let table = table::read()?;
    let evidence = evidence::all(&table)?;
    let old = fs::read_to_string(path()).context("read docs/support.md")?;
    let (_, by_hand) = old
        .split_once(BY_HAND)
        .with_context(|| format!("docs/support.md has lost its line {BY_HAND:?}"))?;
    let mut count = Count::default();
    let mut families = String::new();
    for family in table::families() {
        if family.name == HYPERCALL || table.contains_key(family.name) {
            families += &section(&family, &table, &evidence, &mut count);
        }
    }
    let Count { done, untested, missing } = count;
    let sum = done + untested + missing;
    Ok(format!(
        "{HEAD}\nIn all: {sum} hypercalls and operations, {done} done, {untested} untested, \
         {missing} missing.\n{families}\n{BY_HAND}{by_hand}"
    ))
}

#[derive(Default)]
struct Count {
    done: u32,
    untested: u32,
    missing: u32,
}

/// One family's table.
fn section(family: &Family, table: &Table, evidence: &Evidence, count: &mut Count) -> String {
    let title = if family.name == HYPERCALL { "Hypercalls" } else { family.name };
    let mut text = format!(
        "\n## {title}\n\n| nr | operation | status | shown | not shown |\n|--:|---|---|---|---|\n"
    );
    for (name, number) in &family.operations {
        let op = operation(family.name, name);
        text += &row(&number.to_string(), name, &op, table, evidence, count);
    }
    if family.name == HYPERCALL {
        text += &row("", "any other", HYPERCALL, table, evidence, count);
    }
    text
}

fn row(
    number: &str,
    name: &str,
    op: &str,
    table: &Table,
    evidence: &Evidence,
    count: &mut Count,
) -> String {
    let empty = BTreeSet::new();
    let shown = evidence.get(op).unwrap_or(&empty);
    let row = table.get(op);
    let mut wanted: Vec<&str> = Vec::new();
    if let Some(row) = row {
        wanted.extend(row.can_succeed.then_some(OK));
        wanted.extend(row.errors.iter().map(String::as_str));
    }
    let list = |yes: bool| {
        let chosen: Vec<&str> =
            wanted.iter().filter(|outcome| shown.contains(**outcome) == yes).copied().collect();
        chosen.join(" ")
    };
    let (done, open) = (list(true), list(false));
    // A hypercall that divides has no success of its own.
    let divides = table::is_family(op) || op == HYPERCALL;
    let status = match row {
        Some(row) if row.can_succeed || divides => {
            if open.is_empty() {
                count.done += 1;
                "**done**"
            } else {
                count.untested += 1;
                "*untested*"
            }
        }
        _ => {
            count.missing += 1;
            "missing"
        }
    };
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(line, "| {number} | {name} | {status} | {done} | {open} |");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_tables_and_the_tests_make_of_it() {
        let page = page().unwrap();
        let there = fs::read_to_string(path()).unwrap();
        assert!(page == there, "docs/support.md is stale: run cargo xtask support");
    }

    #[test]
    fn a_row_is_done_only_when_everything_is_shown() {
        let yes = |outcomes: &[&str]| {
            let row = table::Row { can_succeed: true, errors: vec!["EINVAL".into()] };
            let table = Table::from([("a.b".to_owned(), row)]);
            let shown = outcomes.iter().map(|&outcome| outcome.to_owned()).collect();
            let mut count = Count::default();
            row_text(&table, &Evidence::from([("a.b".to_owned(), shown)]), &mut count)
        };
        let row_is = |outcomes: &[&str], text: &str| assert_eq!(yes(outcomes), text);
        row_is(&["ok", "EINVAL"], "| 1 | b | **done** | ok EINVAL |  |\n");
        row_is(&["EINVAL"], "| 1 | b | *untested* | EINVAL | ok |\n");
        row_is(&[], "| 1 | b | *untested* |  | ok EINVAL |\n");
        let mut count = Count::default();
        let none = row_text(&Table::new(), &Evidence::new(), &mut count);
        assert_eq!((none.as_str(), count.missing), ("| 1 | b | missing |  |  |\n", 1));
    }

    fn row_text(table: &Table, evidence: &Evidence, count: &mut Count) -> String {
        row("1", "b", "a.b", table, evidence, count)
    }
}
