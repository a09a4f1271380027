//! The time of day as the logs write it, in the zone of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

/// The zone's rules: from which second on which offset holds (RFC 9636).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Seconds since 1970 (UTC), with the offset in seconds from then on, ascending.
    changes: Vec<(i64, i32)>,
    /// The offset before the first change.
    first: i32,
}

impl Zone {
    /// The machine's zone (`/etc/localtime`); UTC where that is missing or not understood.
    #[must_use]
    pub fn of_machine() -> Self {
        std::fs::read("/etc/localtime").ok().and_then(|b| Self::parse(&b)).unwrap_or_default()
    }

    /// Reads a file of RFC 9636: its second part, which has 64-bit times.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let counts = header(bytes)?;
        let skip = 44 + counts.length(4);
        let bytes = bytes.get(skip..)?;
        let counts = header(bytes)?;
        let times = bytes.get(44..)?;
        let kinds = times.get(counts.times * 8..)?;
        let offsets = kinds.get(counts.times..)?;
        let offset = |kind: usize| {
            let six = offsets.get(kind * 6..kind * 6 + 4)?;
            (kind < counts.types).then_some(i32::from_be_bytes(six.try_into().ok()?))
        };
        let mut changes = Vec::new();
        for (at, kind) in times.chunks_exact(8).zip(kinds).take(counts.times) {
            changes.push((i64::from_be_bytes(at.try_into().ok()?), offset(usize::from(*kind))?));
        }
        Some(Self { changes, first: offset(0)? })
    }

    /// Seconds that this zone is ahead of UTC at a time.
    fn offset(&self, seconds: i64) -> i32 {
        let later = self.changes.partition_point(|(at, _)| *at <= seconds);
        let change = later.checked_sub(1).and_then(|i| self.changes.get(i));
        change.map_or(self.first, |(_, offset)| *offset)
    }

    /// `[YYYY-MM-DD hh:mm:ss] ` for a time.
    #[must_use]
    pub fn stamp(&self, time: SystemTime) -> String {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let seconds = i64::try_from(seconds).unwrap_or(0);
        let local = seconds.saturating_add(i64::from(self.offset(seconds)));
        let (year, month, day) = date(local.div_euclid(86_400));
        let of_day = local.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        format!("[{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}] ")
    }
}

struct Counts {
    utc: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

impl Counts {
    /// Bytes of a part after its header, with times of so many bytes.
    fn length(&self, time: usize) -> usize {
        self.times * (time + 1)
            + self.types * 6
            + self.letters
            + self.leaps * (time + 4)
            + self.standard
            + self.utc
    }
}

fn header(bytes: &[u8]) -> Option<Counts> {
    let head = bytes.get(..44)?;
    let count = |i: usize| {
        let four = head.get(20 + i * 4..24 + i * 4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(four)).ok().filter(|n| *n < 65_536)
    };
    (head.starts_with(b"TZif") && *head.get(4)? >= b'2').then_some(())?;
    Some(Counts {
        utc: count(0)?,
        standard: count(1)?,
        leaps: count(2)?,
        times: count(3)?,
        types: count(4)?,
        letters: count(5)?,
    })
}

/// Year, month and day of a day since 1970-01-01, by eras of 400 years that start in March.
const fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let utc = Zone::default();
        assert_eq!(utc.stamp(at(0)), "[1970-01-01 00:00:00] ");
        assert_eq!(utc.stamp(at(951_782_399)), "[2000-02-28 23:59:59] ");
        assert_eq!(utc.stamp(at(951_782_400)), "[2000-02-29 00:00:00] ");
        assert_eq!(utc.stamp(at(1_764_266_404)), "[2025-11-27 18:00:04] ");
    }

    #[test]
    fn a_zone_with_summer_time_is_followed() {
        let change = 1_774_746_000i64; // 2026-03-29 01:00 UTC
        let mut part = b"TZif2".to_vec();
        part.extend([0; 15]);
        let mut file = part.clone();
        file.extend([0; 24]);
        file.extend(part);
        for count in [0u32, 0, 0, 1, 2, 8] {
            file.extend(count.to_be_bytes());
        }
        file.extend(change.to_be_bytes());
        file.push(1);
        for (offset, summer) in [(3600i32, 0), (7200, 1)] {
            file.extend(offset.to_be_bytes());
            file.extend([summer, 0]);
        }
        file.extend(b"CET\0CES\0");
        let zone = Zone::parse(&file).unwrap();
        assert_eq!(zone.stamp(at(change as u64 - 1)), "[2026-03-29 01:59:59] ");
        assert_eq!(zone.stamp(at(change as u64)), "[2026-03-29 03:00:00] ");
        for length in 0..file.len() {
            Zone::parse(&file[..length]);
        }
        assert_eq!(Zone::parse(&file[..file.len() - 20]), None);
    }
}
