//! Forms of values that several options have in common.

/// `yes` and its like; no value at all is yes.
pub(crate) fn boolean(value: Option<&[u8]>) -> Option<bool> {
    match value {
        None | Some(b"1" | b"yes" | b"on" | b"true" | b"enable") => Some(true),
        Some(b"0" | b"no" | b"off" | b"false" | b"disable") => Some(false),
        Some(_) => None,
    }
}

/// A number, hexadecimal after `0x`.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix(b"0x") {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    // `from_str_radix` would take a sign.
    let plain = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = core::str::from_utf8(digits).ok().filter(|_| plain)?;
    u64::from_str_radix(digits, radix).ok()
}

/// The same, for what has 32 bits.
pub(crate) fn number32(text: &[u8]) -> Option<u32> {
    u32::try_from(number(text)?).ok()
}

/// A size in bytes; a bare number is KiB.
pub(crate) fn size(text: &[u8]) -> Option<u64> {
    let (last, head) = text.split_last()?;
    let unit = match last.to_ascii_uppercase() {
        // A hexadecimal number may end so.
        b'B' if text.starts_with(b"0x") => return number(text)?.checked_mul(1 << 10),
        b'B' => 1u64,
        b'K' => 1 << 10,
        b'M' => 1 << 20,
        b'G' => 1 << 30,
        b'T' => 1 << 40,
        _ => return number(text)?.checked_mul(1 << 10),
    };
    number(head)?.checked_mul(unit)
}

/// How many virtual CPUs: as many as there are CPUs, but within these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuRange {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
}

impl VcpuRange {
    /// `N`, `MIN-MAX`, `MIN-` or `-MAX`.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let bound = |text: &[u8], otherwise: u32| {
            if text.is_empty() { Some(otherwise) } else { number32(text).filter(|&n| n > 0) }
        };
        let range = match text.iter().position(|&b| b == b'-') {
            None => {
                let n = number32(text).filter(|&n| n > 0)?;
                VcpuRange { min: n, max: n }
            }
            Some(at) => {
                let (min, max) = text.split_at_checked(at)?;
                if text.len() == 1 {
                    return None;
                }
                VcpuRange { min: bound(min, 1)?, max: bound(max.get(1..)?, u32::MAX)? }
            }
        };
        (range.min <= range.max).then_some(range)
    }

    /// The number for a machine of so many CPUs.
    pub fn choose(self, cpus: u32) -> u32 {
        cpus.max(self.min).min(self.max)
    }
}
