//! Processes by number and start time, so that a number used again is not mistaken for the same process.

use serde::{Deserialize, Serialize};

/// A process, now or at some time since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl Process {
    /// This process.
    pub fn own() -> Self {
        let pid = std::process::id();
        Self::of(pid).unwrap_or(Self { pid, start: 0 })
    }

    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse(&stat).map(|start| Self { pid, start })
    }

    /// Whether it still runs.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Its command's name; empty when it has ended.
    pub fn name(self) -> String {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.pid));
        name.map(|name| name.trim().to_owned()).unwrap_or_default()
    }
}

/// The start time in `/proc/PID/stat`: the 22nd field; the second may contain spaces and brackets. A
/// process that has ended and was not waited for does not count.
fn parse(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1000 1 18446744073709551615";
        assert_eq!(parse(stat), Some(4711));
        assert_eq!(parse(&stat.replace(" S ", " Z ")), None);
        assert_eq!(parse("7"), None);
    }

    #[test]
    fn this_process_is_alive_and_one_with_another_start_time_is_not() {
        let own = Process::own();
        assert!(own.alive());
        assert!(!Process { start: own.start + 1, ..own }.alive());
    }
}
