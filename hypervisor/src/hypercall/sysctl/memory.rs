//! What memory the host has.

use crate::frames;
use crate::hypercall::Stop;
use crate::hypercall::control::{element, part, put_part};
use abi::Errno;
use abi::sysctl::{AvailHeap, MemInfo, NumaInfo};
use machine::guest;

/// Distance of a node to itself, by the ACPI's definition.
const LOCAL_DISTANCE: u32 = 10;

/// Free memory, within a range of address widths.
pub fn avail_heap(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut a: AvailHeap = part(u)?;
    let heap = frames::heap();
    let below = |bits: u32| match bits {
        0 => heap.free_pages(),
        b => heap.free_pages_below(b),
    };
    let low = if a.min_bitwidth == 0 { 0 } else { below(a.min_bitwidth.saturating_sub(1)) };
    let pages = match a.node {
        -1 | 0 => below(a.max_bitwidth).saturating_sub(low),
        _ => 0,
    };
    a.avail_bytes = pages << 12;
    drop(heap);
    put_part(u, &a);
    Ok(())
}

/// The machine is one node.
pub fn numa_info(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut n: NumaInfo = part(u)?;
    let room = core::mem::replace(&mut n.num_nodes, 1);
    put_part(u, &n);
    if n.meminfo.is_null() && n.distance.is_null() {
        return Ok(());
    }
    if room < 1 {
        return Err(Errno::ENOBUFS.into());
    }
    if !n.meminfo.is_null() {
        let free = frames::heap().free_pages() << 12;
        let info = MemInfo { memsize: frames::total_pages() << 12, memfree: free };
        guest::write(element(n.meminfo, 0), &info)?;
    }
    if !n.distance.is_null() {
        guest::write(element(n.distance, 0), &LOCAL_DISTANCE)?;
    }
    Ok(())
}
