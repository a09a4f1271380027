//! Names of disks in a guest and their numbers in the store.
//!
//! Source: Xen's `docs/man/xen-vbd-interface`: `xvd` small `202<<8 | disk<<4 | part`, beyond 16
//! disks or 15 partitions `1<<28 | disk<<8 | part`; `sd` `8<<8 | disk<<4 | part`;
//! `hd` `3<<8 | disk<<6 | part` (a, b) and `22<<8 | (disk-2)<<6 | part` (c, d).

use std::fmt;

/// A disk's name in the guest (as the file gave it) and its number in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vdev {
    name: String,
    number: u32,
}

/// Highest disk and partition of the extended form.
const MAX_DISK: u32 = (1 << 20) - 1;
const MAX_PARTITION: u32 = 255;

impl Vdev {
    /// Reads `xvdX[n]`, `sdX[n]`, `hdX[n]`, `dNpM` or a number (decimal, or hexadecimal with `0x`).
    /// `None` where it is none of these, or out of the form's range.
    pub fn parse(name: &str) -> Option<Self> {
        let number = if let Some(rest) = name.strip_prefix('d').filter(|rest| starts_digit(rest)) {
            let (disk, rest) = take_number(rest)?;
            let (partition, rest) = match rest.strip_prefix('p') {
                Some(rest) => take_number(rest)?,
                None => (0, rest),
            };
            if !rest.is_empty() {
                return None;
            }
            xvd(disk, partition)?
        } else if starts_digit(name) {
            match name.strip_prefix("0x").or_else(|| name.strip_prefix("0X")) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => name.parse().ok()?,
            }
        } else {
            let (prefix, number): (_, fn(u32, u32) -> Option<u32>) =
                [("xvd", xvd as fn(u32, u32) -> Option<u32>), ("sd", sd), ("hd", hd)]
                    .into_iter()
                    .find(|(prefix, _)| name.starts_with(prefix))?;
            let (disk, partition) = letters_and_number(name.strip_prefix(prefix)?)?;
            number(disk, partition)?
        };
        Some(Self { name: name.to_owned(), number })
    }

    /// The name as the file has it (`xvda`, `sda1`, `51712`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number in the store (`51712` for `xvda`).
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Disk and partition (0: the whole disk) of the known forms.
    fn place(number: u32) -> Option<(u32, u32)> {
        Some(match number >> 8 {
            8 => (number >> 4 & 15, number & 15),
            3 => (number >> 6 & 3, number & 63),
            22 => ((number >> 6 & 3) + 2, number & 63),
            202 => (number >> 4 & 15, number & 15),
            _ if number >> 28 == 1 => (number >> 8 & MAX_DISK, number & MAX_PARTITION),
            _ => return None,
        })
    }

    /// Whether a Linux guest, which calls disks of all forms `xvd`, has one name for both, or one for a
    /// disk and the other for a partition of it: it then takes the first only.
    pub fn collides_in_linux(&self, other: &Self) -> bool {
        let (Some((disk, part)), Some((other_disk, other_part))) =
            (Self::place(self.number), Self::place(other.number))
        else {
            return false;
        };
        disk == other_disk && (part == other_part || part == 0 || other_part == 0)
    }

    /// The name of a number in the `xvd` form, for numbers that come from the store; numbers of
    /// no known form stay numbers.
    pub fn from_number(number: u32) -> Self {
        let Some((disk, partition)) = Self::place(number) else {
            return Self { name: number.to_string(), number };
        };
        let letters = match number >> 8 {
            8 => "sd",
            3 | 22 => "hd",
            _ => "xvd",
        };
        let mut name = format!("{letters}{}", disk_letters(disk));
        if partition != 0 {
            name.push_str(&partition.to_string());
        }
        Self { name, number }
    }
}

impl fmt::Display for Vdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn xvd(disk: u32, partition: u32) -> Option<u32> {
    if disk <= 15 && partition <= 15 {
        Some(202 << 8 | disk << 4 | partition)
    } else if disk <= MAX_DISK && partition <= MAX_PARTITION {
        Some(1 << 28 | disk << 8 | partition)
    } else {
        None
    }
}

fn sd(disk: u32, partition: u32) -> Option<u32> {
    (disk <= 15 && partition <= 15).then_some(8 << 8 | disk << 4 | partition)
}

fn hd(disk: u32, partition: u32) -> Option<u32> {
    match disk {
        0 | 1 if partition <= 63 => Some(3 << 8 | disk << 6 | partition),
        2 | 3 if partition <= 63 => Some(22 << 8 | (disk - 2) << 6 | partition),
        _ => None,
    }
}

fn starts_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

fn take_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

/// `a` is 0, `z` 25, `aa` 26.
fn letters_and_number(text: &str) -> Option<(u32, u32)> {
    let end = text.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(text.len());
    let (letters, rest) = text.split_at_checked(end)?;
    if letters.is_empty() {
        return None;
    }
    let mut disk = 0_u32;
    for letter in letters.bytes() {
        disk = disk.checked_mul(26)?.checked_add(u32::from(letter - b'a') + 1)?;
    }
    if rest.is_empty() {
        return Some((disk - 1, 0));
    }
    let (partition, rest) = take_number(rest)?;
    (rest.is_empty() && partition != 0).then_some((disk - 1, partition))
}

fn disk_letters(disk: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = disk + 1;
    while rest > 0 {
        let digit = u8::try_from((rest - 1) % 26).unwrap_or(0);
        letters.push(char::from(b'a' + digit));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_has_one_name_for_disks_of_different_forms() {
        let collide =
            |a: &str, b: &str| Vdev::parse(a).unwrap().collides_in_linux(&Vdev::parse(b).unwrap());
        for (a, b) in [("xvda", "sda1"), ("xvda", "hda"), ("sda1", "xvda1"), ("xvdc", "hdc")] {
            assert!(collide(a, b) && collide(b, a), "{a} {b}");
        }
        for (a, b) in [("sda1", "sda2"), ("xvda", "xvdb"), ("xvda", "hdc"), ("xvdaa", "sda")] {
            assert!(!collide(a, b) && !collide(b, a), "{a} {b}");
        }
    }

    #[test]
    fn names_have_the_numbers_of_the_interface() {
        for (name, number) in [
            ("xvda", 51712),
            ("xvda1", 51713),
            ("xvdp15", 51967),
            ("xvdq", 1 << 28 | 16 << 8),
            ("xvda16", 1 << 28 | 16),
            ("xvdaa", 1 << 28 | 26 << 8),
            ("d0", 51712),
            ("d0p1", 51713),
            ("d536p37", 1 << 28 | 536 << 8 | 37),
            ("sda1", 2049),
            ("sdb", 2064),
            ("hda", 768),
            ("hdc", 5632),
            ("hdd1", 5697),
            ("51712", 51712),
            ("0x10002", 0x10002),
        ] {
            assert_eq!(Vdev::parse(name).map(|vdev| vdev.number()), Some(number), "{name}");
        }
    }

    #[test]
    fn what_is_no_disk_name_is_refused() {
        for name in [
            "",
            "xvd",
            "sdq",
            "sda16",
            "hde",
            "hda64",
            "xvda0",
            "xvdA",
            "vda",
            "d",
            "d0p",
            "dp1",
            "xvda1x",
            "99999999999",
            "xvdzzzzzzzz",
        ] {
            assert_eq!(Vdev::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_number_is_named_as_the_parser_reads_it() {
        for name in ["xvda", "xvdp15", "xvdq", "xvdaa3", "sda1", "hdc", "hdb5", "xvdzz"] {
            let vdev = Vdev::parse(name).unwrap();
            assert_eq!(Vdev::from_number(vdev.number()), vdev);
        }
        assert_eq!(Vdev::from_number(7).name(), "7");
    }
}
