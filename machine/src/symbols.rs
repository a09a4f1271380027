//! The image's own symbols, for backtraces: a table that the build writes into the linked image,
//! or nothing.
//!
//! Layout of the table, little-endian: the count (`u32`); for each symbol, by address, its distance
//! from [`IMAGE`] and the end of its name among the names (two `u32`); the names, one after another.

use crate::layout::IMAGE;
use crate::num::index;

// Room for the table, in a section of its own. The compiler must not know what it holds.
core::arch::global_asm!(
    ".pushsection .symbols, \"a\", @progbits",
    ".balign 8",
    ".globl ferroxen_symbols",
    ".type ferroxen_symbols, @object",
    ".size ferroxen_symbols, {room}",
    "ferroxen_symbols:",
    ".fill {room}, 1, 0",
    ".popsection",
    room = const ROOM,
);

/// Bytes of room.
const ROOM: usize = 128 << 10;

unsafe extern "C" {
    safe static ferroxen_symbols: [u8; ROOM];
}

/// A function of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where it begins.
    pub address: u64,
    /// Its name, without the crate's hash.
    pub name: &'static str,
}

fn word(at: usize) -> Option<u32> {
    let bytes = ferroxen_symbols.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Entry `i`: distance from the image's start, and where its name ends.
fn entry(i: u32) -> Option<(u32, u32)> {
    let at = index(u64::from(i).wrapping_mul(8).wrapping_add(4));
    Some((word(at)?, word(at.wrapping_add(4))?))
}

/// How many symbols there are; 0 when the build wrote none.
pub fn count() -> u32 {
    word(0).unwrap_or(0)
}

/// Symbol `i`, by address.
pub fn get(i: u32) -> Option<Symbol> {
    let count = count();
    if i >= count {
        return None;
    }
    let (distance, end) = entry(i)?;
    let start = match i.checked_sub(1) {
        Some(before) => entry(before)?.1,
        None => 0,
    };
    let names = index(u64::from(count).wrapping_mul(8).wrapping_add(4));
    let names = ferroxen_symbols.get(names..)?;
    let name = names.get(start as usize..end as usize)?;
    Some(Symbol {
        address: IMAGE.wrapping_add(distance.into()),
        name: core::str::from_utf8(name).ok()?,
    })
}

/// The function that `address` lies in, and how far.
pub fn find(address: u64) -> Option<(Symbol, u64)> {
    if !crate::paging::is_hypervisor_text(address) {
        return None;
    }
    let distance = address.checked_sub(IMAGE)?;
    let (mut low, mut high) = (0, count());
    while low < high {
        let middle = low.midpoint(high);
        if u64::from(entry(middle)?.0) <= distance {
            low = middle.wrapping_add(1);
        } else {
            high = middle;
        }
    }
    let symbol = get(low.checked_sub(1)?)?;
    Some((symbol, address.wrapping_sub(symbol.address)))
}

/// An address as a backtrace shows it: in brackets, then the function and the distance into it.
pub struct Place(pub u64);

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "[<{:016x}>]", self.0)?;
        match find(self.0) {
            Some((symbol, distance)) => write!(f, " {}+{distance:#x}", symbol.name),
            None => Ok(()),
        }
    }
}
