//! What a frame may be used as.

use core::fmt;

/// The one use that a frame is in. The numbers are those stored in the frame's type word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Nothing yet since it was assigned.
    None = 0,
    /// A level 1 page table (its entries map pages).
    L1 = 1,
    /// A level 2 page table.
    L2 = 2,
    /// A level 3 page table.
    L3 = 3,
    /// A level 4 page table: what CR3 may point to.
    L4 = 4,
    /// Part of a descriptor table (GDT or LDT).
    Segment = 5,
    /// Mapped writable, or written by the hypervisor on its owner's behalf.
    Writable = 6,
}

impl Kind {
    /// The table kind of a level, 1 to 4.
    #[must_use]
    pub const fn table(level: Level) -> Self {
        match level {
            Level::L1 => Self::L1,
            Level::L2 => Self::L2,
            Level::L3 => Self::L3,
            Level::L4 => Self::L4,
        }
    }

    /// The level, if this is a page table.
    #[inline]
    #[must_use]
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::L1 => Some(Level::L1),
            Self::L2 => Some(Level::L2),
            Self::L3 => Some(Level::L3),
            Self::L4 => Some(Level::L4),
            Self::None | Self::Segment | Self::Writable => None,
        }
    }

    /// The kind of a number as stored; numbers never stored read as [`Kind::None`].
    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        match bits {
            1 => Self::L1,
            2 => Self::L2,
            3 => Self::L3,
            4 => Self::L4,
            5 => Self::Segment,
            6 => Self::Writable,
            _ => Self::None,
        }
    }

    /// The number as stored.
    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self as u64
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "untyped",
            Self::L1 => "L1 table",
            Self::L2 => "L2 table",
            Self::L3 => "L3 table",
            Self::L4 => "L4 table",
            Self::Segment => "descriptor table",
            Self::Writable => "writable",
        })
    }
}

/// A level of page tables. Level 1 maps pages, level 4 is the root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// 4 KiB pages.
    L1 = 1,
    /// 2 MiB regions.
    L2 = 2,
    /// 1 GiB regions.
    L3 = 3,
    /// 512 GiB regions.
    L4 = 4,
}

impl Level {
    /// The level that this one's entries point to; `None` for level 1.
    #[inline]
    #[must_use]
    pub const fn below(self) -> Option<Level> {
        match self {
            Self::L1 => None,
            Self::L2 => Some(Self::L1),
            Self::L3 => Some(Self::L2),
            Self::L4 => Some(Self::L3),
        }
    }
}
