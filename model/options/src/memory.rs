//! `dom0_mem`: how much memory the first domain gets.

use crate::values::{number, size};

/// An amount of memory: bytes, a share of what is there, both together, or all but that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Amount {
    /// Bytes.
    pub bytes: u64,
    /// Percent of the memory there is, below 100.
    pub percent: u8,
    /// Everything but the above.
    pub except: bool,
}

impl Amount {
    /// `[-]SIZE`, `[-]P%` or `[-]SIZE+P%`.
    fn parse(text: &[u8]) -> Option<Self> {
        let (text, except) = match text.strip_prefix(b"-") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let mut amount = Amount { except, ..Amount::default() };
        let (bytes, share) = match text.iter().position(|&b| b == b'+') {
            Some(at) => (Some(text.get(..at)?), Some(text.get(at.checked_add(1)?..)?)),
            None if text.ends_with(b"%") => (None, Some(text)),
            None => (Some(text), None),
        };
        if let Some(share) = share {
            let percent = number(share.strip_suffix(b"%")?)?;
            amount.percent = u8::try_from(percent).ok().filter(|&p| p < 100)?;
        }
        if let Some(bytes) = bytes {
            amount.bytes = size(bytes)?;
        }
        Some(amount)
    }

    /// Pages (of 4 KiB) of so many that there are. May be more than there are.
    pub fn pages(self, available: u64) -> u64 {
        let percent = u64::from(self.percent);
        let rest = (available % 100).saturating_mul(percent) / 100;
        let share = (available / 100).saturating_mul(percent).saturating_add(rest);
        let sum = share.saturating_add(self.bytes >> 12);
        if self.except { available.saturating_sub(sum) } else { sum }
    }
}

/// All of `dom0_mem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dom0Memory {
    /// How much, if given.
    pub size: Option<Amount>,
    /// `min:` at least.
    pub min: Option<Amount>,
    /// `max:` at most, now and later.
    pub max: Option<Amount>,
}

/// Share of the memory that is left when nothing is said, and the most that is left.
const RESERVE_SHARE: u64 = 16;
const RESERVE_MAX: u64 = 128 << 20 >> 12;

impl Dom0Memory {
    /// Takes over the parts named in `value`; nothing changes if one is malformed.
    pub(crate) fn parse(&mut self, value: &[u8]) -> Option<()> {
        let mut new = *self;
        for part in value.split(|&b| b == b',') {
            let (slot, text) = match (part.strip_prefix(b"max:"), part.strip_prefix(b"min:")) {
                (Some(text), _) => (&mut new.max, text),
                (_, Some(text)) => (&mut new.min, text),
                _ => (&mut new.size, part),
            };
            *slot = Some(Amount::parse(text)?);
        }
        *self = new;
        Some(())
    }

    /// Pages for the first domain, of so many that are free.
    pub fn pages(&self, free: u64) -> u64 {
        let reserve = (free / RESERVE_SHARE).min(RESERVE_MAX);
        let wanted = self.size.map_or(free.saturating_sub(reserve), |a| a.pages(free));
        let at_least = self.min.map_or(0, |a| a.pages(free));
        wanted.max(at_least).min(self.limit(free)).min(free)
    }

    /// Pages that it may ever have; `u64::MAX` for no limit.
    pub fn limit(&self, free: u64) -> u64 {
        self.max.map_or(u64::MAX, |a| a.pages(free))
    }
}
