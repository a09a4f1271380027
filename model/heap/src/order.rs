//! Sizes of blocks, and the lists that they are kept in.

use abi::Mfn;

/// The largest block is 2^20 frames: 4 GiB.
pub const MAX_ORDER: u32 = 20;

/// How many orders there are.
pub(crate) const ORDERS: usize = 21;

/// Frame numbers have at most 40 bits: x86 physical addresses have at most 52.
pub(crate) const MAX_WIDTH: u32 = 40;

/// How many lists of each order there are: one for each width, 0 not being used.
pub(crate) const WIDTHS: usize = 41;

/// An order that is known to be at most [`MAX_ORDER`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Order(u8);

impl Order {
    pub(crate) const MAX: Order = Order(20);
    pub(crate) const ZERO: Order = Order(0);

    pub(crate) fn new(order: u32) -> Option<Order> {
        u8::try_from(order).ok().filter(|&o| o <= Self::MAX.0).map(Order)
    }

    /// The largest order at which a block may start at `mfn`.
    pub(crate) fn alignment_of(mfn: Mfn) -> Order {
        Self::new(mfn.0.trailing_zeros()).unwrap_or(Self::MAX)
    }

    /// The largest order whose block has no more than `pages` frames; `pages` is not 0.
    pub(crate) fn fitting(pages: u64) -> Order {
        Self::new(pages.checked_ilog2().unwrap_or(0)).unwrap_or(Self::MAX)
    }

    pub(crate) fn get(self) -> u8 {
        self.0
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn pages(self) -> u64 {
        1u64.wrapping_shl(u32::from(self.0))
    }

    pub(crate) fn above(self) -> Option<Order> {
        Self::new(u32::from(self.0).wrapping_add(1))
    }

    pub(crate) fn below(self) -> Option<Order> {
        self.0.checked_sub(1).map(Order)
    }

    pub(crate) fn is_aligned(self, mfn: Mfn) -> bool {
        mfn.0 & self.pages().wrapping_sub(1) == 0
    }

    /// The block of this order that `mfn` lies in.
    pub(crate) fn block_of(self, mfn: Mfn) -> Mfn {
        Mfn(mfn.0 & !self.pages().wrapping_sub(1))
    }

    /// The other half of the block that is one order larger.
    pub(crate) fn buddy_of(self, mfn: Mfn) -> Mfn {
        Mfn(mfn.0 ^ self.pages())
    }

    /// The orders from this one up, as bits.
    pub(crate) fn and_above(self) -> u32 {
        u32::MAX.wrapping_shl(u32::from(self.0))
    }

    pub(crate) fn bit(self) -> u32 {
        1u32.wrapping_shl(u32::from(self.0))
    }
}

/// The significant bits of a frame number: the list that a block starting there is kept in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Width(u32);

impl Width {
    pub(crate) fn of(mfn: Mfn) -> Width {
        Width(64u32.wrapping_sub(mfn.0.leading_zeros()))
    }

    /// The widest one in a set; `None` if it is empty.
    pub(crate) fn widest(set: u64) -> Option<Width> {
        set.checked_ilog2().map(Width)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn bit(self) -> u64 {
        1u64.wrapping_shl(self.0)
    }

    /// The set of widths whose frames lie below 2^`bits` bytes.
    pub(crate) fn below_address_bits(bits: u32) -> u64 {
        match bits.checked_sub(abi::PAGE_SHIFT) {
            None => 0,
            Some(width) if width >= MAX_WIDTH => u64::MAX,
            Some(width) => 2u64.wrapping_shl(width).wrapping_sub(1),
        }
    }
}
