//! Rates of network interfaces: `10Mb/s`, `1MB/s@20ms`.
//!
//! As `xl-network-configuration(5)` has it: B and b are bytes and bits, G, M, K powers of
//! 1000; the interval's unit is us, ms or s (none: s, as libxlu reads it); its default 50 ms.

use super::{Word, WordError};
use crate::Rate;

const FORM: &str = "a rate is a number with GB/s, MB/s, KB/s, B/s, Gb/s, Mb/s, Kb/s or b/s, and may be \
     followed by @ and an interval (@20ms)";

/// Default interval, microseconds.
const INTERVAL_USECS: u32 = 50_000;

/// Reads a rate.
pub(super) fn parse_rate(word: Word<'_>) -> Result<Rate, WordError> {
    let (speed, interval) = word.split('@');
    let wrong = |what: Word<'_>, message: String| what.wrong(message).help(FORM);
    let bytes_per_sec = speed_of(speed.text)
        .ok_or_else(|| wrong(speed, format!("\"{}\" is no rate", speed.text)))?;
    if bytes_per_sec == 0 || bytes_per_sec > u64::MAX / 1_000_000 {
        return Err(speed.wrong(format!("the rate \"{}\" is out of range", speed.text)));
    }
    let interval_usecs = match interval {
        None => INTERVAL_USECS,
        Some(interval) => interval_of(interval.text)
            .filter(|usecs| *usecs != 0)
            .ok_or_else(|| wrong(interval, format!("\"{}\" is no interval", interval.text)))?,
    };
    let bytes = u128::from(bytes_per_sec) * u128::from(interval_usecs) / 1_000_000;
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    if bytes == 0 {
        let message = format!("with the rate \"{}\" not a byte may be sent", word.text);
        return Err(word.wrong(message).help("raise the rate or the interval"));
    }
    Ok(Rate { bytes, interval_usecs })
}

fn split_digits(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}

fn speed_of(text: &str) -> Option<u64> {
    let (number, unit) = split_digits(text)?;
    let unit = unit.strip_suffix("/s")?;
    let (scale, unit) = match unit.split_at_checked(1)? {
        ("G", unit) => (1_000_000_000, unit),
        ("M", unit) => (1_000_000, unit),
        ("K", unit) => (1000, unit),
        _ => (1, unit),
    };
    let number = number.checked_mul(scale)?;
    match unit {
        "B" => Some(number),
        "b" => Some(number / 8),
        _ => None,
    }
}

fn interval_of(text: &str) -> Option<u32> {
    let (number, unit) = split_digits(text)?;
    let scale = match unit {
        "us" => 1,
        "ms" => 1000,
        "s" | "" => 1_000_000,
        _ => return None,
    };
    number.checked_mul(scale)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Result<(u64, u32), String> {
        parse_rate(Word { text, start: 0 })
            .map(|rate| (rate.bytes, rate.interval_usecs))
            .map_err(|fault| fault.message)
    }

    #[test]
    fn rates_are_what_debians_xl_makes_of_them() {
        for (text, want) in [
            ("10Mb/s@20ms", (25_000, 20_000)),
            ("1GB/s", (50_000_000, 50_000)),
            ("1MB/s", (50_000, 50_000)),
            ("612GB/s", (30_600_000_000, 50_000)),
            ("1KB/s@1s", (1000, 1_000_000)),
            ("1MB/s@50", (50_000_000, 50_000_000)),
            ("1Kb/s@20ms", (2, 20_000)),
            ("10B/s@3600s", (36_000, 3_600_000_000)),
        ] {
            assert_eq!(rate(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "10",
            "10Mb",
            "1.5MB/s",
            "1mb/s",
            "0MB/s",
            "1000000GB/s",
            "1MB/s@",
            "1MB/s@0ms",
            "1MB/s@1h",
            "1MB/s@9999999s",
            "-1MB/s",
            "MB/s",
            "100b/s@5us",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
