//! Times of day and spans of time, as `xl uptime` writes them.

use serde::Serialize;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// One domain's time.
#[derive(Debug, Clone, Serialize)]
pub struct Uptime {
    /// Its number.
    pub domid: u16,
    /// Its name.
    pub name: String,
    /// Seconds since it was started.
    pub seconds: u64,
}

/// The table of `uptime`.
pub fn table(rows: &[Uptime]) -> String {
    let mut text = format!("{:<33} {:>4} Uptime\n", "Name", "ID");
    for row in rows {
        let _ = writeln!(text, "{:<33} {:4} {}", row.name, row.domid, span(row.seconds, true));
    }
    text
}

/// The lines of `uptime -s`; `clock` is the local time of day in seconds.
pub fn short(rows: &[Uptime], clock: u64) -> String {
    let clock = clock % DAY;
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(
            text,
            " {:02}:{:02}:{:02} up {}, {} ({})",
            clock / HOUR,
            clock % HOUR / MINUTE,
            clock % MINUTE,
            span(row.seconds, false),
            row.name,
            row.domid
        );
    }
    text
}

/// A span as `1 day, 12:15:57`, with or without its seconds.
fn span(seconds: u64, with_seconds: bool) -> String {
    let mut text = match seconds / DAY {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    let _ = write!(text, "{:2}:{:02}", seconds % DAY / HOUR, seconds % HOUR / MINUTE);
    if with_seconds {
        let _ = write!(text, ":{:02}", seconds % MINUTE);
    }
    text
}

/// A moment in UTC as `2026-11-27 18:08:16`.
pub fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a number of days since 1970, by the rule of 400 years that begin in
/// March (146,097 days; 153 days in each five months).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day_of_month)
}

/// How far the local clock is before UTC, in seconds, by a file like `/etc/localtime` (RFC 8536);
/// 0 if it makes no sense. Only the file's list of changes is used, not the rule at its end.
pub fn offset(file: &[u8], at: u64) -> i64 {
    offset_of(file, i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or(0)
}

fn offset_of(file: &[u8], at: i64) -> Option<i64> {
    let counts = |header: &[u8]| -> Option<[usize; 6]> {
        let mut counts = [0; 6];
        for (index, count) in counts.iter_mut().enumerate() {
            *count = usize::try_from(word(header, 20 + 4 * index)?).ok()?;
        }
        Some(counts)
    };
    if file.get(..4)? != b"TZif" {
        return None;
    }
    // The first block has 32-bit times; a second one with 64-bit times follows from version 2 on.
    let [utc, standard, leaps, times, types, letters] = counts(file)?;
    let (file, size) = if file.get(4).copied()? == 0 {
        (file, 4)
    } else {
        let skip = 44 + times * 5 + types * 6 + letters + leaps * 8 + standard + utc;
        (file.get(skip..)?, 8)
    };
    let [_, _, _, times, types, _] = counts(file)?;
    let body = file.get(44..)?;
    let changes = body.get(..times.checked_mul(size)?)?;
    let kinds = body.get(changes.len()..changes.len().checked_add(times)?)?;
    let records = body.get(changes.len() + times..)?.get(..types.checked_mul(6)?)?;
    let moment = |bytes: &[u8]| -> i64 {
        let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
        bytes.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte))
    };
    let passed = changes.chunks_exact(size).take_while(|change| moment(change) <= at).count();
    let kind = match passed {
        0 => 0,
        n => usize::from(*kinds.get(n - 1)?),
    };
    Some(i64::from(word(records, kind.checked_mul(6)?)? as i32))
}

/// A big-endian word of 32 bits.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, domid: u16, seconds: u64) -> Uptime {
        Uptime { domid, name: name.to_owned(), seconds }
    }

    #[test]
    fn uptime_has_debians_bytes() {
        assert_eq!(
            table(&[row("Domain-0", 0, 67), row("pv1", 1, 43)]),
            "Name                                ID Uptime\n\
             Domain-0                             0  0:01:07\n\
             pv1                                  1  0:00:43\n"
        );
    }

    #[test]
    fn days_are_written_as_the_seed_shows_them() {
        assert_eq!(span(DAY + 12 * HOUR + 15 * MINUTE + 57, true), "1 day, 12:15:57");
        assert_eq!(span(18 * HOUR + 8 * MINUTE + 43, true), "18:08:43");
        assert_eq!(span(3 * DAY + 5 * MINUTE, false), "3 days,  0:05");
    }

    #[test]
    fn short_uptime_has_debians_bytes() {
        let clock = 18 * HOUR + 3 * MINUTE + 42;
        assert_eq!(
            short(&[row("Domain-0", 0, 67), row("pv1", 1, 43)], clock),
            " 18:03:42 up  0:01, Domain-0 (0)\n 18:03:42 up  0:00, pv1 (1)\n"
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(utc(1_795_802_579), "2026-11-27 18:02:59");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00");
    }

    /// A file with one change, at 1000, from the offset 3600 to -7200.
    fn zone(version: u8, size: usize) -> Vec<u8> {
        let header = |times: u8, types: u8| {
            let mut header = b"TZif".to_vec();
            header.push(version);
            header.extend([0; 15]);
            for count in [0, 0, 0, times, types, 4] {
                header.extend([0, 0, 0, count]);
            }
            header
        };
        let mut file = Vec::new();
        if version > 0 {
            file.extend(header(0, 1));
            file.extend([0; 6 + 4]);
        }
        file.extend(header(1, 2));
        file.extend(&1000u64.to_be_bytes()[8 - size..]);
        file.push(1);
        file.extend(3600i32.to_be_bytes());
        file.extend([0, 0]);
        file.extend((-7200i32).to_be_bytes());
        file.extend([1, 0]);
        file.extend(b"ABC\0");
        file
    }

    #[test]
    fn the_local_clock_follows_the_files_changes_in_both_versions() {
        for file in [zone(0, 4), zone(b'2', 8)] {
            assert_eq!(offset(&file, 999), 3600);
            assert_eq!(offset(&file, 1000), -7200);
        }
    }

    #[test]
    fn a_file_that_is_cut_short_means_utc() {
        let file = zone(b'2', 8);
        for length in 0..file.len() - 4 {
            assert_eq!(offset(&file[..length], 2000), 0, "{length}");
        }
        assert_eq!(offset(b"nonsense", 0), 0);
    }
}
