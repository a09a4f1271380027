//! A node's permissions: a list of domains with rights. The first entry names the owner, and its
//! rights are those of every domain that has no entry of its own.

use std::fmt;

/// What a domain may do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Rights {
    /// Nothing (`n`).
    #[default]
    None,
    /// Read (`r`).
    Read,
    /// Write (`w`).
    Write,
    /// Read and write (`b`).
    Both,
}

impl Rights {
    /// The letter on the wire.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::None => 'n',
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Both => 'b',
        }
    }

    /// The rights that a letter means.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'n' => Some(Self::None),
            b'r' => Some(Self::Read),
            b'w' => Some(Self::Write),
            b'b' => Some(Self::Both),
            _ => None,
        }
    }

    /// Whether reading is among them.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Both)
    }

    /// Whether writing is among them.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Both)
    }
}

/// One entry of a node's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// The domain.
    pub domid: u16,
    /// Its rights; in the first entry, everybody else's.
    pub rights: Rights,
}

impl Permission {
    /// An entry.
    #[must_use]
    pub const fn new(domid: u16, rights: Rights) -> Self {
        Self { domid, rights }
    }

    /// The entry that a text like `r5` means.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (letter, digits) = text.split_first()?;
        let rights = Rights::from_letter(*letter)?;
        if !digits.first()?.is_ascii_digit() {
            return None;
        }
        let domid = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(Self { domid, rights })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.rights.letter(), self.domid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        for text in ["n0", "r5", "w32751", "b7"] {
            assert_eq!(
                Permission::parse(text.as_bytes()).map(|p| p.to_string()),
                Some(text.into())
            );
        }
        for text in ["", "r", "x1", "r-1", "r+1", "r70000", "r1 "] {
            assert_eq!(Permission::parse(text.as_bytes()), None, "{text}");
        }
    }
}
