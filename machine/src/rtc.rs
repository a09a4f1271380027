//! The battery-backed clock and its memory (CMOS): MC146818 and its successors.

use crate::lock::Lock;
use crate::port::{inb, outb};

/// Index and data ports share state, so both accesses are made under it.
static CMOS: Lock<()> = Lock::new(());

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;

const UPDATING: u8 = 0x80;
const BINARY: u8 = 4;
const HOURS_24: u8 = 2;
const PM: u8 = 0x80;
/// Polls of the update flag, which is up for 2 ms at most; one takes about a microsecond.
const POLLS: u32 = 10_000;
const ATTEMPTS: u32 = 8;

/// Reads byte `index` (0 to 127) of the clock's memory.
pub fn read_cmos(index: u8) -> u8 {
    let _guard = CMOS.lock();
    // Bit 7 would mask NMIs.
    outb(0x70, index & 0x7f);
    inb(0x71)
}

/// Writes byte `index` (0 to 127) of the clock's memory.
pub fn write_cmos(index: u8, value: u8) {
    let _guard = CMOS.lock();
    outb(0x70, index & 0x7f);
    outb(0x71, value);
}

/// The clock's registers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registers {
    second: u8,
    minute: u8,
    hour: u8,
    day: u8,
    month: u8,
    year: u8,
    century: Option<u8>,
    status_b: u8,
}

fn read_registers(century: Option<u8>) -> Registers {
    for _ in 0..POLLS {
        if read_cmos(STATUS_A) & UPDATING == 0 {
            break;
        }
        crate::cpu::relax();
    }
    Registers {
        second: read_cmos(SECONDS),
        minute: read_cmos(MINUTES),
        hour: read_cmos(HOURS),
        day: read_cmos(DAY),
        month: read_cmos(MONTH),
        year: read_cmos(YEAR),
        century: century.map(read_cmos),
        status_b: read_cmos(STATUS_B),
    }
}

/// The time in seconds since 1970, taking the clock to run on UTC. `century` is the register that
/// the FADT names (0 for none). `None` when the clock does not hold a time.
pub fn read(century: u8) -> Option<u64> {
    let century = (century != 0 && century < 0x80).then_some(century);
    let mut last = read_registers(century);
    for _ in 0..ATTEMPTS {
        let next = read_registers(century);
        if next == last {
            return next.to_seconds();
        }
        last = next;
    }
    None
}

/// Two decimal digits.
fn bcd(value: u8) -> Option<u8> {
    let (tens, ones) = (value >> 4, value & 15);
    (tens < 10 && ones < 10).then(|| tens.wrapping_mul(10).wrapping_add(ones))
}

impl Registers {
    fn to_seconds(self) -> Option<u64> {
        let number = |v: u8| if self.status_b & BINARY != 0 { Some(v) } else { bcd(v) };
        let mut hour =
            number(if self.status_b & HOURS_24 != 0 { self.hour } else { self.hour & !PM })?;
        if self.status_b & HOURS_24 == 0 {
            if !(1..=12).contains(&hour) {
                return None;
            }
            // 12 comes before 1.
            hour = (hour % 12).wrapping_add(if self.hour & PM != 0 { 12 } else { 0 });
        }
        let year = u64::from(number(self.year)?);
        let century = match self.century.and_then(number) {
            Some(c @ 19..=29) => u64::from(c),
            _ if year >= 70 => 19,
            _ => 20,
        };
        let (month, day) = (number(self.month)?, number(self.day)?);
        let days = days_since_1970(century.wrapping_mul(100).wrapping_add(year), month, day)?;
        let (minute, second) = (number(self.minute)?, number(self.second)?);
        if hour > 23 || minute > 59 || second > 59 || year > 99 {
            return None;
        }
        let minutes = u64::from(hour).wrapping_mul(60).wrapping_add(minute.into());
        let seconds = minutes.wrapping_mul(60).wrapping_add(second.into());
        Some(days.wrapping_mul(86_400).wrapping_add(seconds))
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1 January 1970 to a date of the Gregorian calendar; `None` for no date, or one before.
fn days_since_1970(year: u64, month: u8, day: u8) -> Option<u64> {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    const LENGTH: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let at = usize::from(month.checked_sub(1)?);
    let leap_day = is_leap(year);
    let length = LENGTH.get(at)?.wrapping_add(u8::from(leap_day && month == 2));
    if !(1..=length).contains(&day) {
        return None;
    }
    let past = year.checked_sub(1970)?;
    // Leap years before `year`, less those before 1970.
    let leaps = |y: u64| (y / 4).wrapping_sub(y / 100).wrapping_add(y / 400);
    let leaps = leaps(year.wrapping_sub(1)).wrapping_sub(477);
    let in_year = BEFORE.get(at)?.wrapping_add(u64::from(leap_day && month > 2));
    let days = past.checked_mul(365)?.wrapping_add(leaps).wrapping_add(in_year);
    Some(days.wrapping_add(u64::from(day)).wrapping_sub(1))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    const BCD_24H: Registers = Registers {
        second: 0x59,
        minute: 0x58,
        hour: 0x23,
        day: 0x21,
        month: 0x11,
        year: 0x26,
        century: Some(0x20),
        status_b: HOURS_24,
    };
    /// 2026-11-21 23:58:59 UTC, by `date`.
    const MOMENT: u64 = 1_795_305_539;

    #[test]
    fn decimal_and_binary_and_twelve_hour_clocks_tell_the_same_time() {
        assert_eq!(BCD_24H.to_seconds(), Some(MOMENT));
        assert_eq!(Registers { century: None, ..BCD_24H }.to_seconds(), Some(MOMENT));
        let twelve = Registers { hour: 0x11 | PM, status_b: 0, ..BCD_24H };
        assert_eq!(twelve.to_seconds(), Some(MOMENT));
        let binary = Registers {
            second: 59,
            minute: 58,
            hour: 11 | PM,
            day: 21,
            month: 11,
            year: 26,
            century: Some(20),
            status_b: BINARY,
        };
        assert_eq!(binary.to_seconds(), Some(MOMENT));
    }

    #[test]
    fn twelve_is_the_first_hour_of_each_half() {
        let at = |hour| Registers { hour, status_b: 0, ..BCD_24H }.to_seconds();
        assert_eq!(at(0x12), Some(MOMENT - 23 * 3600));
        assert_eq!(at(0x12 | PM), Some(MOMENT - 11 * 3600));
        assert_eq!(at(0), None);
        assert_eq!(at(0x13), None);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let good = BCD_24H;
        for bad in [
            Registers { second: 0x60, ..good },
            Registers { second: 0x0a, ..good },
            Registers { minute: 0x60, ..good },
            Registers { hour: 0x24, ..good },
            Registers { day: 0, ..good },
            Registers { day: 0x31, ..good },
            Registers { month: 0x13, ..good },
            Registers { month: 0, ..good },
            Registers { year: 0xff, ..good },
            Registers { year: 100, status_b: BINARY | HOURS_24, ..good },
        ] {
            assert_eq!(bad.to_seconds(), None, "{bad:?}");
        }
    }

    #[test]
    fn a_century_is_guessed_where_none_is_kept() {
        let at = |year, century| Registers { year, century, ..BCD_24H }.to_seconds();
        assert_eq!(at(0x26, Some(0)), Some(MOMENT));
        assert_eq!(at(0x99, None), at(0x99, Some(0x19)));
        assert_eq!(at(0x69, None), at(0x69, Some(0x20)));
    }

    #[test]
    fn days_are_those_of_a_count_day_by_day() {
        let mut expected = 0;
        for year in 1970..2500u64 {
            for month in 1..=12u8 {
                let length = match month {
                    2 if year % 400 == 0 || (year % 4 == 0 && year % 100 != 0) => 29,
                    2 => 28,
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                for day in 1..=length {
                    assert_eq!(days_since_1970(year, month, day), Some(expected));
                    expected += 1;
                }
                assert_eq!(days_since_1970(year, month, length + 1), None);
            }
        }
        assert_eq!(days_since_1970(1969, 12, 31), None);
    }
}
