//! What the plugin `benches/count.c` wrote, as costs of single operations.
//!
//! The same markers in dom0 and in a guest, in our own boots and in the measurement lab's:
//! 01 dom0's first program starts, 02 its toolstack is ready; 08 before `xl create`, 09 the guest is
//! gone; 04 the guest's first program starts; from 06 on, pairs that frame [`OPERATIONS`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Counts by the plugin's names.
pub type Counts = BTreeMap<String, u64>;

/// The counters of instructions, by where the code lies; together all that was executed.
const CLASSES: [&str; 3] = ["hv", "kernel", "low"];

/// Marker before it (the one after is one more), name, how often between the two.
const OPERATIONS: &[(u8, &str, u64)] = &[
    (0x12, "system call (getpid)", 20_000),
    (0x24, "null hypercall through privcmd", 10_000),
    (0x1a, "page fault", 20_480),
    (0x1c, "mprotect pair", 5_000),
    (0x16, "fork + exit", 100),
    (0x18, "fork + exec", 60),
    (0x1e, "pipe round trip", 3_000),
    (0x22, "timed sleep, 1 us", 500),
    (0x06, "1 KiB of random bytes by dd", 10_000),
    (0x40, "TCP, a MiB", 16),
    (0x42, "disk read, a MiB", 16),
    (0x42, "disk write, a MiB", 8),
];

/// The system that an operation was done in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// dom0.
    Host,
    /// A paravirtualized guest.
    Guest,
    /// All of it: boot and a guest's creation.
    Whole,
}

/// One row of the tables.
pub type Row = (Place, &'static str);

/// What one boot showed.
#[derive(Debug)]
pub struct Run {
    /// What one operation cost, by the plugin's counters.
    costs: BTreeMap<Row, BTreeMap<String, f64>>,
    /// Where code ran at privilege level 0 once dom0's programs ran: 2 MiB of addresses each.
    pub level0: Vec<(u64, u64)>,
}

/// The rows that runs may have, in the tables' order.
pub fn rows(place: Place) -> impl Iterator<Item = Row> {
    let whole = [BOOT, READY, CREATE].into_iter().filter(move |_| place == Place::Whole);
    let others = OPERATIONS.iter().map(|&(_, name, _)| name);
    whole.chain(others.filter(move |_| place != Place::Whole)).map(move |name| (place, name))
}

const BOOT: &str = "boot to dom0's /init";
const READY: &str = "boot until the toolstack is ready";
const CREATE: &str = "xl create to a PV guest's /init";

impl Run {
    /// Reads the plugin's lines.
    pub fn parse(text: &str) -> Result<Self> {
        let mut run = Run { costs: BTreeMap::new(), level0: Vec::new() };
        let mut place = Place::Whole;
        let mut last: BTreeMap<u8, Counts> = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let label = words.next().context("an empty line of counts")?;
            if label == "ring0" {
                run.level0.push(region(words).with_context(|| format!("in {line:?}"))?);
                continue;
            }
            let Ok(marker) = u8::from_str_radix(label, 16) else { continue };
            let counts = counts(words).with_context(|| format!("in {line:?}"))?;
            match marker {
                0x01 => run.note((Place::Whole, BOOT), &Counts::new(), &counts, 1),
                0x02 => {
                    run.note((Place::Whole, READY), &Counts::new(), &counts, 1);
                    place = Place::Host;
                }
                0x04 => {
                    if let Some(before) = last.get(&0x08) {
                        run.note((Place::Whole, CREATE), before, &counts, 1);
                    }
                    place = Place::Guest;
                }
                0x09 => place = Place::Host,
                _ => {
                    if let Some(before) = marker.checked_sub(1).and_then(|m| last.remove(&m)) {
                        run.operation(place, marker - 1, &before, &counts);
                    }
                }
            }
            last.insert(marker, counts);
        }
        Ok(run)
    }

    /// Notes the first operation of this marker that has no cost yet.
    fn operation(&mut self, place: Place, marker: u8, before: &Counts, after: &Counts) {
        let open = OPERATIONS
            .iter()
            .find(|&&(m, name, _)| m == marker && !self.costs.contains_key(&(place, name)));
        if let Some(&(_, name, times)) = open {
            self.note((place, name), before, after, times);
        }
    }

    fn note(&mut self, row: Row, before: &Counts, after: &Counts, times: u64) {
        let cost = after.iter().map(|(name, count)| {
            let spent = count - before.get(name).copied().unwrap_or(0);
            (name.clone(), spent as f64 / times as f64)
        });
        self.costs.insert(row, cost.collect());
    }

    /// How much of `counter` one operation cost; none where the run has no such row or counter.
    pub fn cost(&self, row: Row, counter: &str) -> Option<f64> {
        self.costs.get(&row)?.get(counter).copied()
    }

    /// All instructions of one operation.
    pub fn total(&self, row: Row) -> Option<f64> {
        CLASSES.iter().map(|class| self.cost(row, class)).sum()
    }

    /// Instructions executed at privilege level 0 outside the hypervisor's range, once dom0's
    /// programs ran.
    pub fn level0_outside(&self) -> u64 {
        let inside = 0xffff_8000_0000_0000..0xffff_8800_0000_0000u64;
        self.level0.iter().filter(|(at, _)| !inside.contains(at)).map(|&(_, count)| count).sum()
    }
}

/// Names and counts in turn.
fn counts<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Counts> {
    let mut counts = Counts::new();
    while let Some(name) = words.next() {
        let value = words.next().and_then(|word| word.parse().ok());
        counts.insert(name.to_owned(), value.with_context(|| format!("no count of {name}"))?);
    }
    Ok(counts)
}

/// An address and a count.
fn region<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<(u64, u64)> {
    let address = words.next().context("no address")?;
    let address = u64::from_str_radix(address, 16).context("no address")?;
    let count = words.next().context("no count")?.parse().context("no count")?;
    Ok((address, count))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const TEXT: &str = "01 hv 5000000 kernel 1 low 1 cr3 1\n\
                            02 hv 6000000 kernel 1 low 1 cr3 1\n\
                            12 hv 7000000 kernel 10 low 10 cr3 0\n\
                            13 hv 9000000 kernel 40010 low 20010 cr3 20000\n\
                            08 hv 9000000 kernel 40010 low 20010 cr3 20000\n\
                            04 hv 9500000 kernel 40010 low 20010 cr3 20000\n\
                            42 hv 9500000 kernel 40010 low 20010 cr3 20000\n\
                            43 hv 9500016 kernel 40010 low 20010 cr3 20000\n\
                            42 hv 9500016 kernel 40010 low 20010 cr3 20000\n\
                            43 hv 9500032 kernel 40010 low 20010 cr3 20000\n\
                            end hv 9600000 kernel 40010 low 20010 cr3 20000\n\
                            ring0 ffff82d040000000 4600000\n";

    #[test]
    fn an_operation_costs_what_lies_between_its_markers_divided_by_its_times() {
        let run = Run::parse(TEXT).unwrap();
        let row = (Place::Host, "system call (getpid)");
        assert_eq!(run.cost(row, "hv"), Some(100.0));
        assert_eq!(run.cost(row, "cr3"), Some(1.0));
        assert_eq!(run.total(row), Some(103.0));
    }

    #[test]
    fn a_marker_that_comes_twice_means_the_next_operation() {
        let run = Run::parse(TEXT).unwrap();
        assert_eq!(run.cost((Place::Guest, "disk read, a MiB"), "hv"), Some(1.0));
        assert_eq!(run.cost((Place::Guest, "disk write, a MiB"), "hv"), Some(2.0));
    }

    #[test]
    fn boot_is_counted_from_the_first_instruction_and_a_guest_from_its_creation() {
        let run = Run::parse(TEXT).unwrap();
        assert_eq!(run.cost((Place::Whole, BOOT), "hv"), Some(5e6));
        assert_eq!(run.cost((Place::Whole, CREATE), "hv"), Some(5e5));
    }

    #[test]
    fn a_row_that_was_not_reached_has_no_cost() {
        let run = Run::parse(TEXT).unwrap();
        assert_eq!(run.total((Place::Host, "page fault")), None);
    }

    #[test]
    fn code_at_level_0_outside_the_hypervisors_range_is_found() {
        let run = Run::parse(&format!("{TEXT}ring0 0000000000000000 7\n")).unwrap();
        assert_eq!(run.level0_outside(), 7);
        assert!(Run::parse("12 hv x\n").is_err());
    }
}
