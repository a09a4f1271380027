//! Grant tables, version 1: our own entries, and using them.

use crate::hypercall::{addr_mut, call3, nr};
use crate::memory::{self, PRESENT, Page, WRITE};
use crate::outcome::{Outcome, expect};
use core::sync::atomic::{AtomicU32, Ordering};

static TABLE: Page = Page::new();

/// Any operation, on one argument.
pub fn op<T>(number: u64, argument: &mut T) -> i64 {
    call3(nr::GRANT_TABLE_OP, number, addr_mut(argument), 1)
}

/// `setup_table`: the result and the status.
pub fn setup_table(dom: u16, frames: u32, list: &mut [u64]) -> (i64, i16) {
    #[repr(C)]
    struct Setup {
        dom: u16,
        frames: u32,
        status: i16,
        list: u64,
    }
    let mut setup = Setup { dom, frames, status: 99, list: addr_mut(list) };
    (op(2, &mut setup), setup.status)
}

/// Chooses the version of our table's entries; the result.
pub fn choose(version: u32) -> i64 {
    op(8, &mut [version])
}

/// Maps the first frame of our table, in version 1.
///
/// # Errors
/// When there is no grant table to be had.
pub fn install() -> Outcome {
    expect("version 1 of the grant table", choose(1), 0)?;
    let mut list = [0u64; 1];
    let (result, status) = setup_table(0x7ff0, 1, &mut list);
    expect("setting up the grant table", result, 0)?;
    expect("its status", i64::from(status), 0)?;
    let entry = memory::entry(list[0], PRESENT | WRITE);
    let mapped = crate::hypercall::update_va_mapping(TABLE.va(), entry, 2);
    expect("mapping the grant table", mapped, 0)
}

/// The status of an operation, or the error of the whole call.
fn status_of(result: i64, status: i16) -> i16 {
    if result == 0 { status } else { i16::try_from(result).unwrap_or(i16::MIN) }
}

fn word(index: usize) -> &'static AtomicU32 {
    assert!(index < 1024);
    let word = (TABLE.va() as *const AtomicU32).wrapping_add(index);
    // SAFETY: the page is ours or the table that `install` mapped over it: aligned, in bounds,
    // and changed by atomic accesses alone, the hypervisor's included.
    unsafe { &*word }
}

/// Writes an entry: 1 permits access, 4 makes that read-only.
pub fn grant(gref: u32, flags: u16, to: u16, frame: u64) {
    let index = gref as usize * 2;
    word(index + 1).store(frame as u32, Ordering::SeqCst);
    word(index).store((u32::from(to) << 16) | u32::from(flags), Ordering::SeqCst);
}

/// The flags of an entry now.
pub fn flags(gref: u32) -> u16 {
    (word(gref as usize * 2).load(Ordering::SeqCst) & 0xffff) as u16
}

/// A map request.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Map {
    /// Where.
    pub host_addr: u64,
    /// 1 device, 2 host, 4 read-only, 16 the address is that of a page-table entry.
    pub flags: u32,
    /// The grant.
    pub gref: u32,
    /// Whose.
    pub dom: u16,
    /// How it went.
    pub status: i16,
    /// What stands for it.
    pub handle: u32,
    /// For devices.
    pub bus_addr: u64,
}

/// Maps a grant.
pub fn map(dom: u16, gref: u32, flags: u32, host_addr: u64) -> Map {
    let mut map = Map { host_addr, flags, gref, dom, status: 99, handle: !0, bus_addr: 0 };
    let result = op(0, &mut map);
    map.status = status_of(result, map.status);
    map
}

/// Unmaps; the status.
pub fn unmap(handle: u32, host_addr: u64) -> i16 {
    #[repr(C)]
    struct Unmap {
        host_addr: u64,
        bus_addr: u64,
        handle: u32,
        status: i16,
    }
    let mut unmap = Unmap { host_addr, bus_addr: 0, handle, status: 99 };
    let result = op(1, &mut unmap);
    status_of(result, unmap.status)
}

/// One side of a copy.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Side {
    /// A grant or a frame.
    pub value: u64,
    /// Whose.
    pub dom: u16,
    /// First byte.
    pub offset: u16,
}

/// Copies; the status. `flags`: 1 the source is a grant, 2 the destination is.
pub fn copy(source: Side, dest: Side, len: u16, flags: u16) -> i16 {
    #[repr(C)]
    struct Copy {
        source: Side,
        dest: Side,
        len: u16,
        flags: u16,
        status: i16,
    }
    let mut copy = Copy { source, dest, len, flags, status: 99 };
    let result = op(5, &mut copy);
    status_of(result, copy.status)
}

/// Any operation, on several arguments.
pub fn batch<T>(number: u64, arguments: &mut [T]) -> i64 {
    call3(nr::GRANT_TABLE_OP, number, addr_mut(arguments), arguments.len() as u64)
}

/// An unmap request.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Unmap {
    /// Where it was mapped, or 0.
    pub host_addr: u64,
    /// The address that devices had, or 0.
    pub bus_addr: u64,
    /// Which mapping.
    pub handle: u32,
    /// How it went.
    pub status: i16,
}

/// Unmaps `host_addr` and moves the mapping of `new_addr` there; the status.
pub fn replace(handle: u32, host_addr: u64, new_addr: u64) -> i16 {
    let mut op = Unmap { host_addr, bus_addr: new_addr, handle, status: 99 };
    let result = self::op(7, &mut op);
    status_of(result, op.status)
}

/// Exchanges two entries; the status.
pub fn swap(a: u32, b: u32) -> i16 {
    #[repr(C)]
    struct Swap {
        a: u32,
        b: u32,
        status: i16,
    }
    let mut swap = Swap { a, b, status: 99 };
    let result = op(11, &mut swap);
    status_of(result, swap.status)
}

/// The frames of version 2's status words; the status.
pub fn status_frames(dom: u16, frames: u32, list: &mut [u64]) -> i16 {
    #[repr(C)]
    struct Get {
        frames: u32,
        dom: u16,
        status: i16,
        list: u64,
    }
    let mut get = Get { frames, dom, status: 99, list: addr_mut(list) };
    let result = op(9, &mut get);
    status_of(result, get.status)
}

/// Writes an entry of version 2. `span`: a part's first byte, and its length from bit 16 on.
pub fn grant_v2(gref: u32, flags: u16, to: u16, span: u32, frame: u64) {
    let index = gref as usize * 4;
    word(index + 1).store(span, Ordering::SeqCst);
    word(index + 2).store(frame as u32, Ordering::SeqCst);
    word(index + 3).store((frame >> 32) as u32, Ordering::SeqCst);
    word(index).store((u32::from(to) << 16) | u32::from(flags), Ordering::SeqCst);
}

/// Gives a page away; the status.
pub fn transfer(mfn: u64, dom: u16, gref: u32) -> i16 {
    #[repr(C)]
    struct Transfer {
        mfn: u64,
        dom: u16,
        gref: u32,
        status: i16,
    }
    let mut transfer = Transfer { mfn, dom, gref, status: 99 };
    let result = op(4, &mut transfer);
    status_of(result, transfer.status)
}

/// The frame that an entry names.
pub fn frame(gref: u32) -> u32 {
    word(gref as usize * 2 + 1).load(Ordering::SeqCst)
}
