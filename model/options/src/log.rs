//! Which messages are let through, and what a line begins with.

use core::fmt;

/// How much a message matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something is doubtful.
    Warning = 1,
    /// Worth knowing.
    Info = 2,
    /// For those who look for a fault.
    Debug = 3,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is printed.
    Print,
    /// It is printed unless there were too many of late.
    Limit,
    /// It is not printed.
    Drop,
}

/// `loglvl` and `guest_loglvl`: below the first bound messages are always printed, below the second
/// as many as the rate allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Levels {
    /// Levels below this number are printed.
    pub always: u8,
    /// Levels below this number are printed at a limited rate.
    pub limited: u8,
}

impl Levels {
    /// The hypervisor's own messages: all but those for debugging.
    pub const OWN: Levels = Levels { always: 3, limited: 3 };
    /// What guests caused: warnings and errors, at a limited rate.
    pub const GUEST: Levels = Levels { always: 0, limited: 2 };

    /// `LEVEL` or `LEVEL/LEVEL`.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|&b| b == b'/');
        let always = bound(parts.next()?)?;
        let limited = match parts.next() {
            Some(text) => bound(text)?,
            None => always,
        };
        parts.next().is_none().then_some(Levels { always, limited: limited.max(always) })
    }

    /// What becomes of a message of that level.
    pub fn verdict(self, level: Level) -> Verdict {
        match level as u8 {
            n if n < self.always => Verdict::Print,
            n if n < self.limited => Verdict::Limit,
            _ => Verdict::Drop,
        }
    }
}

fn bound(text: &[u8]) -> Option<u8> {
    Some(match text {
        b"none" => 0,
        b"error" => 1,
        b"warning" => 2,
        b"info" => 3,
        b"debug" | b"all" => 4,
        _ => return None,
    })
}

/// Nanoseconds for which one message is paid.
const COST: u64 = 5_000_000_000;
/// Messages that may come at once.
const BURST: u64 = 10;

/// Lets through a burst of messages, then one every five seconds.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    /// Nanoseconds saved up.
    credit: u64,
    last: u64,
    missed: u32,
}

impl RateLimit {
    /// Nothing came yet.
    pub const fn new() -> Self {
        RateLimit { credit: COST * BURST, last: 0, missed: 0 }
    }

    /// Whether a message may pass at `now` (nanoseconds); if so, how many did not before it.
    pub fn pass(&mut self, now: u64) -> Option<u32> {
        let since = now.saturating_sub(self.last);
        self.credit = self.credit.saturating_add(since).min(COST.saturating_mul(BURST));
        self.last = now;
        if self.credit < COST {
            self.missed = self.missed.saturating_add(1);
            return None;
        }
        self.credit = self.credit.saturating_sub(COST);
        Some(core::mem::take(&mut self.missed))
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// `console_timestamps`: what a line begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// Nothing.
    None,
    /// Date and time; time since boot while they are not known.
    Date,
    /// The same with milliseconds.
    DateMillis,
    /// Seconds and microseconds since boot.
    Boot,
    /// The CPU's time-stamp counter.
    Raw,
}

impl Stamp {
    /// Without a value: the date.
    pub(crate) fn parse(value: Option<&[u8]>) -> Option<Self> {
        Some(match value {
            Some(b"date") => Stamp::Date,
            Some(b"datems") => Stamp::DateMillis,
            Some(b"boot") => Stamp::Boot,
            Some(b"raw") => Stamp::Raw,
            Some(b"none") => Stamp::None,
            _ if crate::values::boolean(value)? => Stamp::Date,
            _ => Stamp::None,
        })
    }
}

/// The times that a stamp may show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Nanoseconds since boot.
    pub boot: u64,
    /// Nanoseconds since 1970, if known.
    pub wall: Option<u64>,
    /// The time-stamp counter.
    pub counter: u64,
}

/// A stamp, to be written before a line.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub Stamp, pub Times);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(stamp, times) = *self;
        match (stamp, times.wall) {
            (Stamp::None, _) => Ok(()),
            (Stamp::Raw, _) => write!(f, "[{}] ", times.counter),
            (Stamp::Date, Some(wall)) => write!(f, "[{}] ", Date(wall)),
            (Stamp::DateMillis, Some(wall)) => {
                write!(f, "[{}.{:03}] ", Date(wall), wall / 1_000_000 % 1000)
            }
            _ => {
                let micros = times.boot / 1000;
                write!(f, "[{:5}.{:06}] ", micros / 1_000_000, micros % 1_000_000)
            }
        }
    }
}

/// Nanoseconds since 1970 as a date of the Gregorian calendar, UTC.
struct Date(u64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}", seconds % 60)
    }
}

const LEAP_CYCLE: u64 = 146_097;

/// Year, month and day of a day counted from 1970-01-01. Years are counted from March, so that a
/// leap day is a year's last; 400 of them have [`LEAP_CYCLE`] days.
fn civil(days: u64) -> (u64, u64, u64) {
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days.saturating_add(719_468);
    let (cycle, mut day) = (days / LEAP_CYCLE, days % LEAP_CYCLE);
    let century = (day / 36_524).min(3);
    day = day.saturating_sub(century.saturating_mul(36_524));
    let four = day / 1461;
    day %= 1461;
    let year = (day / 365).min(3);
    day = day.saturating_sub(year.saturating_mul(365));
    let mut month = 3u64;
    // March to January; what is left lies in February.
    for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31] {
        if day < length {
            break;
        }
        day = day.saturating_sub(length);
        month = month.saturating_add(1);
    }
    let year = [cycle.saturating_mul(400), century.saturating_mul(100), four.saturating_mul(4)]
        .iter()
        .fold(year, |sum, n| sum.saturating_add(*n));
    let day = day.saturating_add(1);
    if month > 12 {
        (year.saturating_add(1), month.saturating_sub(12), day)
    } else {
        (year, month, day)
    }
}
