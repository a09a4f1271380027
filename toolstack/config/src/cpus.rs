//! Sets of CPUs, and the words that describe them (`CPULIST`): `0-3,5,^1`, `all`, `node:0`,
//! `nodes:0-3,^node:2`.

use std::fmt;

/// A set of CPU (or vCPU, or node) numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuSet {
    words: Vec<u64>,
}

/// Highest CPU number that a list may name. Xen's own limit is lower.
pub const MAX_CPU: u32 = 4095;

impl CpuSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// 0 to `count - 1`.
    pub fn first(count: u32) -> Self {
        (0..count.min(MAX_CPU + 1)).collect()
    }

    /// Adds a number; numbers above [`MAX_CPU`] are left out.
    pub fn insert(&mut self, cpu: u32) {
        let Some((word, bit)) = place(cpu) else { return };
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes a number out.
    pub fn remove(&mut self, cpu: u32) {
        if let Some((word, bit)) = place(cpu)
            && let Some(word) = self.words.get_mut(word)
        {
            *word &= !bit;
        }
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    /// The number is in.
    pub fn contains(&self, cpu: u32) -> bool {
        place(cpu)
            .and_then(|(word, bit)| self.words.get(word).map(|word| word & bit != 0))
            .unwrap_or(false)
    }

    /// None is in.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// How many are in.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..=MAX_CPU).take(self.words.len() * 64).filter(|cpu| self.contains(*cpu))
    }

    /// As the bytes of a `xenctl_bitmap`: bit `n` of byte `n / 8`.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// From the bytes of a `xenctl_bitmap`.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut set = Self::new();
        for (cpu, byte) in (0_u32..).step_by(8).zip(bytes) {
            for bit in 0..8 {
                if byte >> bit & 1 != 0 {
                    set.insert(cpu + bit);
                }
            }
        }
        set
    }
}

fn place(cpu: u32) -> Option<(usize, u64)> {
    let index = usize::try_from(cpu).ok().filter(|_| cpu <= MAX_CPU)?;
    Some((index / 64, 1 << (index % 64)))
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut set = Self::new();
        for cpu in cpus {
            set.insert(cpu);
        }
        set
    }
}

impl fmt::Display for CpuSet {
    /// Ranges: `0-3,5`; empty: `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut comma = "";
        let mut run: Option<(u32, u32)> = None;
        for cpu in self.iter() {
            run = match run {
                Some((first, last)) if last + 1 == cpu => Some((first, cpu)),
                Some(run) => {
                    write_run(f, &mut comma, run)?;
                    Some((cpu, cpu))
                }
                None => Some((cpu, cpu)),
            };
        }
        match run {
            Some(run) => write_run(f, &mut comma, run),
            None => Ok(()),
        }
    }
}

fn write_run(f: &mut fmt::Formatter<'_>, comma: &mut &str, run: (u32, u32)) -> fmt::Result {
    let (first, last) = run;
    f.write_str(comma)?;
    *comma = ",";
    if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
}

/// What a host has: its CPUs, and which of them are in which node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCpus {
    /// The host's CPUs.
    pub cpus: CpuSet,
    /// The CPUs of each node; none: one node with all CPUs.
    pub nodes: Vec<CpuSet>,
}

/// One term of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Term {
    All,
    Cpus(u32, u32),
    Nodes(u32, u32),
}

/// A list as written: what it means depends on the host where it names nodes or `all`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CpuList {
    /// Each term with whether it excludes (`^`).
    terms: Vec<(Term, bool)>,
}

/// A text that is no list of CPUs, or one that the host cannot fulfil.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// No term at all.
    #[error("the list of CPUs is empty")]
    Empty,
    /// A term that is none of the known forms.
    #[error("\"{0}\" is no CPU, range of CPUs, node:N or \"all\"")]
    Term(String),
    /// A range whose end is before its start.
    #[error("the range \"{0}\" runs backwards")]
    Backwards(String),
    /// A number beyond [`MAX_CPU`].
    #[error("\"{0}\" is beyond the highest CPU number, {MAX_CPU}")]
    TooBig(String),
    /// The host has no such CPU.
    #[error("there is no CPU {0} on this host (it has {1})")]
    NoCpu(u32, CpuSet),
    /// The host has no such node.
    #[error("there is no node {0} on this host (it has {1})")]
    NoNode(u32, usize),
    /// Everything was excluded.
    #[error("no CPU is left in \"{0}\"")]
    NothingLeft(CpuList),
}

impl CpuList {
    /// Every CPU of the host.
    pub fn all() -> Self {
        Self { terms: vec![(Term::All, false)] }
    }

    /// Exactly one CPU.
    pub fn one(cpu: u32) -> Self {
        Self { terms: vec![(Term::Cpus(cpu, cpu), false)] }
    }

    /// Exactly these CPUs.
    pub fn of(set: &CpuSet) -> Self {
        let mut terms: Vec<(Term, bool)> = Vec::new();
        for cpu in set.iter() {
            match terms.last_mut() {
                Some((Term::Cpus(_, last), _)) if *last + 1 == cpu => *last = cpu,
                _ => terms.push((Term::Cpus(cpu, cpu), false)),
            }
        }
        Self { terms }
    }

    /// The list means every CPU, whatever the host.
    pub fn is_all(&self) -> bool {
        matches!(self.terms.as_slice(), [(Term::All, false)])
    }

    /// The set, where it does not depend on the host.
    pub fn fixed(&self) -> Option<CpuSet> {
        let mut set = CpuSet::new();
        for (term, exclude) in &self.terms {
            let Term::Cpus(first, last) = *term else { return None };
            for cpu in first..=last {
                if *exclude { set.remove(cpu) } else { set.insert(cpu) }
            }
        }
        Some(set)
    }

    /// Reads `0-3,5,^1`, `all`, `node:0`, `nodes:0-3,^node:2`.
    pub fn parse(text: &str) -> Result<Self, CpuListError> {
        let mut terms = Vec::new();
        for word in text.split(',') {
            let word = word.trim();
            if word.is_empty() && text.trim().is_empty() {
                return Err(CpuListError::Empty);
            }
            terms.push(term(word)?);
        }
        Ok(Self { terms })
    }

    /// What the list means on a host. Terms are applied from left to right; a list that starts
    /// with an exclusion starts from no CPU, as Xen's does.
    pub fn resolve(&self, host: &HostCpus) -> Result<CpuSet, CpuListError> {
        let mut set = CpuSet::new();
        for (term, exclude) in &self.terms {
            let cpus: CpuSet = match *term {
                Term::All => host.cpus.clone(),
                Term::Cpus(first, last) => {
                    // As xl: the part of a range that is there is taken.
                    let cpus: CpuSet =
                        (first..=last).filter(|cpu| host.cpus.contains(*cpu)).collect();
                    if cpus.is_empty() {
                        return Err(CpuListError::NoCpu(first, host.cpus.clone()));
                    }
                    cpus
                }
                Term::Nodes(first, last) => node_cpus(host, first, last)?,
            };
            for cpu in cpus.iter() {
                if *exclude { set.remove(cpu) } else { set.insert(cpu) }
            }
        }
        if set.is_empty() { Err(CpuListError::NothingLeft(self.clone())) } else { Ok(set) }
    }
}

fn node_cpus(host: &HostCpus, first: u32, last: u32) -> Result<CpuSet, CpuListError> {
    let mut set = CpuSet::new();
    for node in first..=last {
        let index = usize::try_from(node).unwrap_or(usize::MAX);
        let cpus = match host.nodes.get(index) {
            Some(cpus) => cpus,
            None if index == 0 && host.nodes.is_empty() => &host.cpus,
            None => return Err(CpuListError::NoNode(node, host.nodes.len().max(1))),
        };
        for cpu in cpus.iter() {
            set.insert(cpu);
        }
    }
    Ok(set)
}

fn term(word: &str) -> Result<(Term, bool), CpuListError> {
    let (exclude, rest) = match word.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    if rest == "all" {
        return Ok((Term::All, exclude));
    }
    let nodes = rest.strip_prefix("nodes:").or_else(|| rest.strip_prefix("node:"));
    // `nodes:0-3,^node:2` and `nodes:^2` are both seen.
    let (exclude, range) = match nodes.and_then(|range| range.strip_prefix('^')) {
        Some(range) => (true, range),
        None => (exclude, nodes.unwrap_or(rest)),
    };
    if nodes.is_some() && range == "all" {
        return Ok((Term::All, exclude));
    }
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (number(first, word)?, number(last, word)?),
        None => (number(range, word)?, number(range, word)?),
    };
    if last < first {
        return Err(CpuListError::Backwards(word.to_owned()));
    }
    let term = if nodes.is_some() { Term::Nodes(first, last) } else { Term::Cpus(first, last) };
    Ok((term, exclude))
}

fn number(text: &str, word: &str) -> Result<u32, CpuListError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpuListError::Term(word.to_owned()));
    }
    text.parse()
        .ok()
        .filter(|number| *number <= MAX_CPU)
        .ok_or_else(|| CpuListError::TooBig(word.to_owned()))
}

impl fmt::Display for CpuList {
    /// As it can be written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (term, exclude) in &self.terms {
            f.write_str(comma)?;
            comma = ",";
            if *exclude {
                f.write_str("^")?;
            }
            match *term {
                Term::All => f.write_str("all")?,
                Term::Cpus(first, last) if first == last => write!(f, "{first}")?,
                Term::Cpus(first, last) => write!(f, "{first}-{last}")?,
                Term::Nodes(first, last) if first == last => write!(f, "node:{first}")?,
                Term::Nodes(first, last) => write!(f, "nodes:{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostCpus {
        HostCpus { cpus: CpuSet::first(8), nodes: vec![CpuSet::first(4), (4..8).collect()] }
    }

    #[test]
    fn lists_mean_what_the_manual_says() {
        for (text, want) in [
            ("all", "0-7"),
            ("0-3,5,^1", "0,2-3,5"),
            ("1", "1"),
            ("node:1", "4-7"),
            ("nodes:0-1,^node:0", "4-7"),
            ("all,^0", "1-7"),
            ("node:0,^2,7", "0-1,3,7"),
            ("0, 2", "0,2"),
        ] {
            let list = CpuList::parse(text).unwrap();
            assert_eq!(list.resolve(&host()).unwrap().to_string(), want, "{text}");
            assert_eq!(CpuList::parse(&list.to_string()), Ok(list));
        }
    }

    #[test]
    fn what_is_no_list_is_named() {
        for (text, want) in [
            ("", CpuListError::Empty),
            ("a", CpuListError::Term("a".to_owned())),
            ("0,,1", CpuListError::Term(String::new())),
            ("3-1", CpuListError::Backwards("3-1".to_owned())),
            ("-1", CpuListError::Term("-1".to_owned())),
            ("5000", CpuListError::TooBig("5000".to_owned())),
        ] {
            assert_eq!(CpuList::parse(text), Err(want), "{text}");
        }
    }

    #[test]
    fn what_the_host_lacks_is_named() {
        let resolve = |text: &str| CpuList::parse(text).unwrap().resolve(&host());
        assert_eq!(resolve("6-9").map(|set| set.to_string()), Ok("6-7".to_owned()));
        assert_eq!(resolve("9"), Err(CpuListError::NoCpu(9, CpuSet::first(8))));
        assert_eq!(resolve("node:2"), Err(CpuListError::NoNode(2, 2)));
        assert_eq!(
            resolve("1,^1"),
            Err(CpuListError::NothingLeft(CpuList::parse("1,^1").unwrap()))
        );
    }

    #[test]
    fn a_set_survives_its_bytes() {
        let set: CpuSet = [0, 7, 8, 63, 64, 200].into_iter().collect();
        assert_eq!(CpuSet::from_bytes(&set.to_bytes()), set);
        assert_eq!(set.count(), 6);
        assert_eq!(CpuList::of(&set).fixed(), Some(set));
    }
}
