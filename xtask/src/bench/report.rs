//! The tables.

use std::fmt::Write;

use super::boots::Subject;
use super::counts::{Place, Run, rows};
use super::memory::Memory;
use super::size::Sizes;

/// What was measured of one hypervisor.
pub struct Measured {
    pub subject: Subject,
    /// One for each seed.
    pub runs: Vec<Run>,
    /// The same on two CPUs, if that was asked for.
    pub pair: Vec<Run>,
    pub memory: Option<Memory>,
    pub sizes: Option<Sizes>,
    /// What it says at its boot about mitigations.
    pub mitigations: Vec<String>,
}

/// A figure over all seeds.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Figure {
    median: f64,
    least: f64,
    most: f64,
}

impl Figure {
    fn of(values: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let mut all: Vec<f64> = values.collect::<Option<_>>()?;
        all.sort_by(f64::total_cmp);
        let (least, most) = (*all.first()?, *all.last()?);
        let middle = (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0;
        Some(Figure { median: middle, least, most })
    }

    /// The median, and the range where there is one.
    fn text(self, unit: f64) -> String {
        let show = |value: f64| number(value / unit);
        let (least, most) = (show(self.least), show(self.most));
        let range = if least == most { String::new() } else { format!(" ({least} to {most})") };
        show(self.median) + &range
    }
}

/// Three digits at least where they say something, thousands apart.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const MILLION: f64 = 1e6;
const LAST: &str = "ours / Xen's";

/// All tables, as Markdown.
pub fn tables(all: &[Measured]) -> String {
    let mut text = String::new();
    for (place, title, unit) in [
        (
            Place::Host,
            "Instructions for an operation in dom0 (TCP: loopback; disk: a loop device)",
            1.0,
        ),
        (Place::Guest, "Instructions for an operation in a PV guest (TCP to dom0)", 1.0),
        (Place::Whole, "Millions of instructions", MILLION),
    ] {
        text += &instructions(all, place, title, unit);
    }
    text += "\n## CR3 writes and TLB flushes\n\n";
    text += "On one CPU, by the hypervisor, for one operation (boot and creation: in all). A write of \
             CR3 flushes too; the flushes beside it are single pages, contexts and writes of CR4.\n";
    for place in [Place::Host, Place::Guest, Place::Whole] {
        text += &events(all, place, &EVENTS[..3], |of| &of.runs);
    }
    if all.iter().all(|of| !of.pair.is_empty()) {
        text += "\n## Two CPUs\n\ndom0 and the guest with two vCPUs, the same seeds; what was measured of \
                 both. IPIs are interrupts that a CPU sends.\n";
        for place in [Place::Host, Place::Guest, Place::Whole] {
            text += &events(all, place, EVENTS, |of| &of.pair);
        }
    }
    text + &level0(all) + &sizes(all) + &memory(all) + &mitigations(all)
}

/// Ours in relation to the first.
fn ratio(figures: &[Option<Figure>]) -> String {
    match figures {
        [Some(first), Some(second)] if first.median > 0.0 => {
            let ratio = second.median / first.median;
            if ratio > 1.0 { format!(" **{ratio:.2}** |") } else { format!(" {ratio:.2} |") }
        }
        [_, _] => " |".into(),
        _ => String::new(),
    }
}

fn instructions(all: &[Measured], place: Place, title: &str, unit: f64) -> String {
    let mut text = format!("\n## {title}\n\n| |");
    for of in all {
        let _ = write!(text, " {}: all | the hypervisor's |", of.subject.name);
    }
    if all.len() == 2 {
        let _ = write!(text, " all, {LAST} | the hypervisor's, {LAST} |");
    }
    text += &rule(all.len() * 2 + if all.len() == 2 { 2 } else { 0 });
    for row in rows(place) {
        let total = |of: &Measured| Figure::of(of.runs.iter().map(|run| run.total(row)));
        let own = |of: &Measured| Figure::of(of.runs.iter().map(|run| run.cost(row, "hv")));
        let totals: Vec<Option<Figure>> = all.iter().map(total).collect();
        let owns: Vec<Option<Figure>> = all.iter().map(own).collect();
        if totals.iter().any(Option::is_none) {
            continue;
        }
        let _ = write!(text, "| {} |", row.1);
        for (total, own) in totals.iter().zip(&owns) {
            for figure in [total, own] {
                let _ = write!(text, " {} |", figure.map_or(String::new(), |f| f.text(unit)));
            }
        }
        text += &ratio(&totals);
        text += &ratio(&owns);
        text += "\n";
    }
    text
}

/// The columns of the tables of events: a title and the plugin's names that are added up. The last
/// is for several CPUs.
const EVENTS: &[(&str, &[&str])] = &[
    ("instructions", &["hv"]),
    ("CR3 writes", &["cr3"]),
    ("flushes beside", &["flush", "cr4"]),
    ("IPIs", &["ipi"]),
];

fn events(
    all: &[Measured],
    place: Place,
    shown: &[(&str, &[&str])],
    runs: impl Fn(&Measured) -> &[Run],
) -> String {
    let title = match place {
        Place::Host => "in dom0",
        Place::Guest => "in a PV guest",
        Place::Whole => "in all",
    };
    let mut text = format!("\n| {title} |");
    for of in all {
        for (event, _) in shown {
            let _ = write!(text, " {}: {event} |", of.subject.name);
        }
    }
    text += &rule(all.len() * shown.len());
    let head = text.len();
    for row in rows(place) {
        let mut line = format!("| {} |", row.1);
        let mut known = true;
        for of in all {
            for (_, counters) in shown {
                let sum = |run: &Run| counters.iter().map(|name| run.cost(row, name)).sum();
                let figure = Figure::of(runs(of).iter().map(sum));
                known &= figure.is_some();
                let _ = write!(line, " {} |", figure.map_or_else(String::new, |f| f.text(1.0)));
            }
        }
        if known {
            text += &line;
            text += "\n";
        }
    }
    // Without rows there is no table.
    if text.len() == head { String::new() } else { text }
}

fn rule(columns: usize) -> String {
    format!("\n|---|{}\n", "--:|".repeat(columns))
}

/// Where code ran at privilege level 0.
fn level0(all: &[Measured]) -> String {
    let mut text = "\n## Where the hypervisor's code runs\n\nAddresses (2 MiB each) where code was \
                    executed at privilege level 0 once dom0's first program ran, over all runs. The \
                    range that the interface sets aside is ffff800000000000 to ffff87ffffffffff.\n\n"
        .to_owned();
    for of in all {
        let runs = || of.runs.iter().chain(&of.pair);
        let mut places: Vec<String> = runs()
            .flat_map(|run| run.level0.iter().map(|(at, _)| format!("`{at:016x}`")))
            .collect();
        places.sort();
        places.dedup();
        let outside: u64 = runs().map(Run::level0_outside).sum();
        let _ = writeln!(
            text,
            "- {}: {}; instructions outside the range: {outside}",
            of.subject.name,
            places.join(", ")
        );
    }
    text
}

fn plain(all: &[Measured], title: &str, lines: &[(&str, Vec<Option<f64>>)]) -> String {
    let mut text = format!("\n## {title}\n\n| |");
    for of in all {
        let _ = write!(text, " {} |", of.subject.name);
    }
    if all.len() == 2 {
        let _ = write!(text, " {LAST} |");
    }
    text += &rule(all.len() + usize::from(all.len() == 2));
    for (name, values) in lines {
        let _ = write!(text, "| {name} |");
        let figures: Vec<Option<Figure>> =
            values.iter().map(|&value| Figure::of(std::iter::once(value))).collect();
        for figure in &figures {
            let _ = write!(text, " {} |", figure.map_or(String::new(), |f| whole(f.median)));
        }
        text += &ratio(&figures);
        text += "\n";
    }
    text
}

/// A count of bytes or MiB.
fn whole(value: f64) -> String {
    if value < 100.0 { format!("{value:.0}") } else { number(value) }
}

fn sizes(all: &[Measured]) -> String {
    if all.iter().all(|of| of.sizes.is_none()) {
        return String::new();
    }
    let line = |get: fn(&Sizes) -> u64| {
        all.iter().map(|of| of.sizes.as_ref().map(|sizes| get(sizes) as f64)).collect()
    };
    plain(
        all,
        "Image, bytes",
        &[
            ("ELF file as built or packaged", line(|sizes| sizes.file)),
            ("stripped", line(|sizes| sizes.stripped)),
            ("stripped, gzip -9", line(|sizes| sizes.gzip)),
            ("in memory", line(|sizes| sizes.memory)),
        ],
    )
}

fn memory(all: &[Measured]) -> String {
    if all.iter().all(|of| of.memory.is_none()) {
        return String::new();
    }
    let line = |get: fn(&Memory) -> u64| {
        all.iter().map(|of| of.memory.as_ref().map(|memory| get(memory) as f64)).collect()
    };
    let table = plain(
        all,
        "Memory, MiB",
        &[
            ("the machine's, as `xl info` has it", line(|memory| memory.total)),
            ("dom0", line(|memory| memory.dom0)),
            ("said to be free", line(|memory| memory.free)),
            ("obtained by guests until refused", line(|memory| memory.obtained)),
            ("guests that it took", line(|memory| memory.guests)),
            ("kept: neither dom0's nor obtained", line(Memory::kept)),
        ],
    );
    table
        + "\nGuests of 1024, 256, 64, 16, 4 and 2 MiB are created, paused, each size until it is refused.\n"
}

fn mitigations(all: &[Measured]) -> String {
    let mut text = "\n## Mitigations\n\nAs each prints them at this boot.\n".to_owned();
    for of in all {
        let _ = write!(text, "\n{}:\n\n```\n{}\n```\n", of.subject.name, of.mitigations.join("\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::counts::tests::TEXT;
    use super::*;

    fn measured(name: &'static str, texts: &[&str]) -> Measured {
        Measured {
            subject: Subject { name, elf: "/none".into() },
            runs: texts.iter().map(|text| Run::parse(text).unwrap()).collect(),
            pair: Vec::new(),
            memory: None,
            sizes: None,
            mitigations: Vec::new(),
        }
    }

    #[test]
    fn a_figure_is_the_median_with_its_range() {
        let figure = |values: &[f64]| Figure::of(values.iter().map(|&v| Some(v))).unwrap();
        assert_eq!(figure(&[3000.0, 1000.0, 2000.0]).text(1.0), "2,000 (1,000 to 3,000)");
        assert_eq!(figure(&[1.0, 2.0]).median, 1.5);
        assert_eq!(figure(&[7.5]).text(1.0), "7.50");
        assert_eq!(Figure::of([Some(1.0), None].into_iter()), None);
    }

    #[test]
    fn a_row_shows_both_and_their_ratios() {
        let other = TEXT.replace("13 hv 9000000", "13 hv 8000000");
        let text = tables(&[measured("Xen", &[TEXT]), measured("Ferroxen", &[&other])]);
        let row = "| system call (getpid) | 103 | 100 | 53.00 | 50.00 | 0.51 | 0.50 |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn a_row_where_ours_is_worse_stands_out() {
        let other = TEXT.replace("13 hv 9000000", "13 hv 9200000");
        let text = tables(&[measured("Xen", &[TEXT]), measured("Ferroxen", &[&other])]);
        assert!(text.contains("| **1.10** | **1.10** |"), "{text}");
    }

    #[test]
    fn a_row_that_one_of_them_lacks_is_left_out() {
        let other = TEXT.replace("12 hv", "26 hv");
        let text = tables(&[measured("Xen", &[TEXT]), measured("Ferroxen", &[&other])]);
        assert!(!text.contains("system call"), "{text}");
    }
}
