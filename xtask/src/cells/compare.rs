//! What differs between two cells, and whether it is meant to.

use std::fs;

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;

use super::transcript::{Ran, Transcript};
use crate::paths;

const LIST: &str = include_str!("differences.toml");

/// Which part of a command's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What it writes to its output.
    Out,
    /// What it writes to its error output.
    Err,
    /// Its exit code.
    Code,
    /// Whether it is run at all: the script itself went another way.
    Run,
}

/// Something that one cell prints and the other does not.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The command, as the script has it.
    pub command: String,
    /// Which part of its outcome.
    pub part: Part,
    /// What the reference has.
    pub theirs: String,
    /// What is there instead.
    pub ours: String,
}

/// A difference that is meant.
#[derive(Deserialize)]
pub struct Listed {
    /// Its name in docs/differences.md.
    id: String,
    /// Pattern of the cells' names.
    cells: String,
    /// Pattern of the commands.
    command: String,
    parts: Vec<Part>,
    /// Pattern of what this cell has, over its lines; the difference is only this one when it fits.
    #[serde(default)]
    ours: String,
}

#[derive(Deserialize)]
struct File {
    difference: Vec<Listed>,
}

/// The list.
pub fn listed() -> Result<Vec<Listed>> {
    let file: File = toml::from_str(LIST).context("cells/differences.toml")?;
    Ok(file.difference)
}

/// Every difference, after what varies from run to run was taken out.
pub fn differences(reference: &Transcript, other: &Transcript) -> Vec<Difference> {
    let scrub = Scrub::new();
    let mut found = Vec::new();
    let mut theirs = reference.ran.iter();
    for ours in &other.ran {
        let Some(theirs) = theirs.next() else {
            found.push(missing(ours, Part::Run));
            continue;
        };
        if scrub.line(&ours.command) != scrub.line(&theirs.command) {
            found.push(missing(ours, Part::Run));
            break;
        }
        let sort = ours.command.starts_with("xenstore-ls");
        for (part, mine, yours) in [
            (Part::Out, scrub.text(&ours.out, sort), scrub.text(&theirs.out, sort)),
            (Part::Err, scrub.text(&ours.err, false), scrub.text(&theirs.err, false)),
            (Part::Code, ours.code.clone(), theirs.code.clone()),
        ] {
            if mine != yours {
                let command = ours.command.clone();
                found.push(Difference { command, part, theirs: yours, ours: mine });
            }
        }
    }
    found.extend(theirs.map(|ran| missing(ran, Part::Run)));
    found
}

fn missing(ran: &Ran, part: Part) -> Difference {
    Difference { command: ran.command.clone(), part, theirs: String::new(), ours: String::new() }
}

/// Takes the listed ones out and notes which were seen.
pub fn strike(
    listed: &[Listed],
    seen: &mut [bool],
    cell: &str,
    found: Vec<Difference>,
) -> Vec<Difference> {
    let fits = |pattern: &str, text: &str| {
        Regex::new(&format!("(?s)^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(text))
    };
    found
        .into_iter()
        .filter(|difference| {
            let at = listed.iter().position(|entry| {
                fits(&entry.cells, cell)
                    && fits(&entry.command, &difference.command)
                    && entry.parts.contains(&difference.part)
                    && (entry.ours.is_empty() || fits(&entry.ours, &difference.ours))
            });
            if let Some(seen) = at.and_then(|at| seen.get_mut(at)) {
                *seen = true;
            }
            at.is_none()
        })
        .collect()
}

/// Fails with what is left.
pub fn none_left(left: &[Difference]) -> Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for Difference { command, part, theirs, ours } in left {
        text += &format!("$ {command} ({part:?})\n");
        theirs.lines().for_each(|line| text += &format!("  - {line}\n"));
        ours.lines().for_each(|line| text += &format!("  + {line}\n"));
    }
    bail!("{} unlisted differences:\n{text}", left.len())
}

/// Fails when a listed one did not show itself: the list would hide what comes back.
pub fn stale(listed: &[Listed], seen: &[bool]) -> Result<()> {
    let unseen = listed.iter().zip(seen).filter(|(_, seen)| !**seen);
    let unseen: Vec<String> =
        unseen.map(|(entry, _)| format!("{} ({})", entry.id, entry.command)).collect();
    if unseen.is_empty() { Ok(()) } else { bail!("listed and not seen: {}", unseen.join(", ")) }
}

/// Fails when the page for people lacks one.
pub fn explained(listed: &[Listed]) -> Result<()> {
    let page = paths::root().join("docs/differences.md");
    let text = fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
    let lacks: Vec<&str> = listed
        .iter()
        .map(|entry| entry.id.as_str())
        .filter(|id| !text.contains(&format!("`{id}`")))
        .collect();
    if lacks.is_empty() { Ok(()) } else { bail!("not explained there: {}", lacks.join(", ")) }
}

/// Takes out what is another one in each run: times, random numbers, numbers of domains and of
/// channels.
struct Scrub {
    rules: Vec<(Regex, &'static str)>,
}

impl Scrub {
    fn new() -> Self {
        let rules = [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
            (r"(/local/domain/|/libxl/|/backend/v(?:bd|if)/)[1-9][0-9]*", "${1}N"),
            (r"([Dd]omain )[1-9][0-9]*", "${1}N"),
            (r"(mfn 0x)[0-9a-f]+", "${1}N"),
            // A row of xl list: the domain's number, its momentary state, its time.
            (
                r"^(\S+) +[1-9]\d*( +\d+ +\d+ +)[r-][b-]([p-][s-][c-][d-]) +\d+\.\d",
                "${1} N${2}--${3} T",
            ),
            (r"^(Domain-0 +0 +\d+ +\d+ +)[r-][b-](----) +\d+\.\d", "${1}--${2} T"),
            // xl vcpu-list.
            (r"^(\S+ +)\d+( +\d+ +)[0-9-]+ +[r-][b-][p-] +\d+\.\d", "${1}N${2}C S T"),
            // xl vm-list, xl sched-credit2, xl uptime.
            (r"^(UUID +)[1-9]\d*( +)", "${1}N${2}"),
            (r"^(\S+ +) {0,2}[1-9]\d*( +\d+ +\d+)$", "${1}N${2}"),
            (r"^(\S+ +)\d+ +(?:\d+ days?, +)?\d+:\d\d:\d\d$", "${1}N T"),
            // xl info.
            (r"^((?:cpu_mhz|free_memory) +: ).*", "${1}N"),
            (r"^( +0: +\d+ +)\d+( +10)$", "${1}N${2}"),
            // Channels and grants that a frontend picked.
            (r#"((?:ring-ref|event-channel)[a-z-]* = )"\d+""#, "${1}N"),
            (r"^(\d+ +0 +\d+ +4 +)-?\d+ +\d+( +/local)", "${1}N${2}"),
            (r"^(\d+ +0 +[0-9a-f:]{17} +\d+ +4 +)-?\d+ +-?\d+/-?\d+( +/local)", "${1}N${2}"),
            (r"^[1-9]\d*$", "N"),
        ];
        let compile = |(pattern, to): (&str, &'static str)| Some((Regex::new(pattern).ok()?, to));
        Self { rules: rules.into_iter().filter_map(compile).collect() }
    }

    fn line(&self, line: &str) -> String {
        let line = line.trim_end().to_owned();
        self.rules.iter().fold(line, |line, (rule, to)| rule.replace_all(&line, *to).into_owned())
    }

    /// All lines; `sort` for what lists a tree, whose order is that of its making.
    fn text(&self, lines: &[String], sort: bool) -> String {
        let mut lines: Vec<String> = lines.iter().map(|line| self.line(line)).collect();
        if sort {
            lines.sort();
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(out: &str) -> Transcript {
        Transcript::read(&format!("$ xl list\nout|{out}\nrc=0\n"))
    }

    #[test]
    fn every_rule_is_a_pattern_and_the_list_is_well_formed() {
        assert_eq!(Scrub::new().rules.len(), 16);
        assert!(listed().is_ok());
    }

    #[test]
    fn times_and_numbers_of_domains_are_no_differences_and_names_are() {
        let one = transcript("pv1       1   192     1     r-----      98.8");
        let two = transcript("pv1      12   192     1     -b----       8.1");
        let other = transcript("pv1       1   128     1     r-----      98.8");
        assert!(differences(&one, &two).is_empty());
        assert_eq!(differences(&one, &other).len(), 1);
    }

    #[test]
    fn a_command_that_one_cell_lacks_is_a_difference() {
        let one = transcript("same");
        let none = Transcript::default();
        assert_eq!(differences(&one, &none).len(), 1);
        assert_eq!(differences(&none, &one).len(), 1);
    }

    #[test]
    fn only_what_fits_an_entry_is_struck_and_an_entry_unseen_is_stale() {
        let one = transcript("theirs");
        let two = transcript("ours");
        let list = vec![Listed {
            id: "x".into(),
            cells: ".*-rust".into(),
            command: "xl list".into(),
            parts: vec![Part::Out],
            ours: "ou.*".into(),
        }];
        let mut seen = [false];
        let left = strike(&list, &mut seen, "xen-c", differences(&one, &two));
        assert_eq!((left.len(), seen), (1, [false]));
        assert!(stale(&list, &seen).is_err() && none_left(&left).is_err());
        let left = strike(&list, &mut seen, "xen-rust", differences(&one, &two));
        assert!(left.is_empty() && stale(&list, &seen).is_ok() && none_left(&left).is_ok());
    }
}
