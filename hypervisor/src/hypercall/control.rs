//! What the control hypercalls (domctl and sysctl) share: their unions, bitmaps and policy lists.

use super::Stop;
use abi::arch_x86::{CpuidLeaf, MsrEntry};
use abi::xen::CtlBitmap;
use abi::{Errno, GuestPtr};
use cpu_policy::Policy;
use machine::guest;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The structure of one command, from the union of its hypercall.
pub fn part<T: FromBytes>(union: &[u64; 16]) -> Result<T, Errno> {
    T::read_from_prefix(union.as_bytes()).map(|(t, _)| t).map_err(|_| Errno::EINVAL)
}

/// Puts the structure of a command back into the union.
pub fn put_part<T: IntoBytes + Immutable>(union: &mut [u64; 16], part: &T) {
    let bytes = part.as_bytes();
    if let Some(to) = union.as_mut_bytes().get_mut(..bytes.len()) {
        to.copy_from_slice(bytes);
    }
}

/// Address of element `index` of an array of `size`-byte elements.
pub fn element<T>(array: GuestPtr<T>, index: u64) -> u64 {
    array.addr().wrapping_add(index.wrapping_mul(size_of::<T>() as u64))
}

/// Longest bitmap, in bytes. More CPUs or nodes than this nobody has: a longer one is a mistake.
const MAX_BITMAP: u32 = 8192;

/// The bytes of a bitmap that is not too long.
fn bitmap_len(b: &CtlBitmap) -> Result<u32, Errno> {
    Some(b.nr_bits.div_ceil(8)).filter(|&len| len <= MAX_BITMAP).ok_or(Errno::E2BIG)
}

/// Reads the first 64 bits of a bitmap; bits that it does not have are 0.
pub fn read_bitmap(b: &CtlBitmap) -> Result<u64, Stop> {
    let mut bytes = [0u8; 8];
    let len = (bitmap_len(b)? as usize).min(8);
    guest::read_bytes(b.bitmap.addr(), bytes.get_mut(..len).unwrap_or(&mut []))?;
    let bits = u64::from_le_bytes(bytes);
    let mask = 1u64.checked_shl(b.nr_bits).map_or(u64::MAX, |top| top.wrapping_sub(1));
    Ok(bits & mask)
}

/// Writes 64 bits to a bitmap: what it has no room for is left out, what it has more is zeroed.
pub fn write_bitmap(b: &CtlBitmap, bits: u64) -> Result<(), Stop> {
    let len = bitmap_len(b)?;
    let mask = 1u64.checked_shl(b.nr_bits).map_or(u64::MAX, |top| top.wrapping_sub(1));
    let bytes = (bits & mask).to_le_bytes();
    for at in 0..len {
        let byte = bytes.get(at as usize).copied().unwrap_or(0);
        guest::write_bytes(b.bitmap.addr().wrapping_add(u64::from(at)), &[byte])?;
    }
    Ok(())
}

/// Writes a policy's leaves. A null list asks only for their number, which comes back in `count`.
pub fn write_leaves(p: &Policy, to: GuestPtr<CpuidLeaf>, count: &mut u32) -> Result<(), Stop> {
    if to.is_null() {
        *count = cpu_policy::MAX_LEAVES;
        return Ok(());
    }
    let mut n = 0u32;
    for leaf in p.leaves() {
        if n == *count {
            return Err(Errno::ENOBUFS.into());
        }
        guest::write(element(to, u64::from(n)), &leaf)?;
        n = n.wrapping_add(1);
    }
    *count = n;
    Ok(())
}

/// Writes a policy's MSRs, as [`write_leaves`] does.
pub fn write_msrs(p: &Policy, to: GuestPtr<MsrEntry>, count: &mut u32) -> Result<(), Stop> {
    if to.is_null() {
        *count = cpu_policy::MAX_MSRS;
        return Ok(());
    }
    let mut n = 0u32;
    for msr in p.msrs() {
        if n == *count {
            return Err(Errno::ENOBUFS.into());
        }
        guest::write(element(to, u64::from(n)), &msr)?;
        n = n.wrapping_add(1);
    }
    *count = n;
    Ok(())
}
