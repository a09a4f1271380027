//! Places in the code that are made to fit the CPU at boot.
//!
//! Each place names itself in `.patch_sites` and holds, as linked, what a CPU with every feature and
//! no flaw needs: `stac` and `clac`, and five-byte no-operations where the entry code has room for a
//! call to what flawed CPUs need on the way in or out (see [`crate::mitigate`]).

use crate::cpu::cpuid;
use crate::layout::{DIRECT_MAP, IMAGE, IMAGE_PHYS};
use crate::num::index;

/// `stac` or `clac`, three bytes.
pub(crate) const SMAP: u8 = 1;
/// Five bytes on every way in from a guest, before anything is done there that a guest may steer.
pub(crate) const ENTRY: u8 = 2;
/// Five bytes on every way out to a guest.
pub(crate) const EXIT: u8 = 3;

/// One place.
#[repr(C)]
struct Site {
    at: i32,
    kind: u8,
    _pad: [u8; 3],
}

unsafe extern "C" {
    static __patch_start: [Site; 0];
    static __patch_end: [Site; 0];
}

/// Every place.
fn sites() -> &'static [Site] {
    let start = (&raw const __patch_start).cast::<Site>();
    let end = (&raw const __patch_end).cast::<Site>();
    let len = end.addr().wrapping_sub(start.addr()).checked_div(size_of::<Site>()).unwrap_or(0);
    // SAFETY: the linker script puts the table, whole and constant, between the two symbols.
    unsafe { core::slice::from_raw_parts(start, len) }
}

/// Calls `change` with the address of each place of a kind.
fn each(kind: u8, change: impl Fn(u64)) {
    for site in sites().iter().filter(|s| s.kind == kind) {
        let base = core::ptr::from_ref(&site.at).addr() as u64;
        change(base.wrapping_add_signed(i64::from(site.at)));
    }
}

/// Takes `stac` and `clac` out on a machine without SMAP. Returns whether it has SMAP. Once, on the
/// first CPU, before guest memory is touched.
pub(crate) fn guards() -> bool {
    let smap = cpuid(7, 0)[1] >> 20 & 1 != 0;
    if !smap {
        each(SMAP, |at| write(at, &[0x0f, 0x1f, 0x00]));
    }
    smap
}

/// Five bytes that do nothing.
const ROOM: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Whether every way in and out has its room for a call: what an assembler made of the source.
pub(crate) fn has_room() -> bool {
    sites().iter().filter(|s| matches!(s.kind, ENTRY | EXIT)).all(|site| {
        let base = core::ptr::from_ref(&site.at).addr() as u64;
        let at = index(base.wrapping_add_signed(i64::from(site.at)));
        // SAFETY: code of the image, which nothing changes while this runs.
        let bytes = unsafe { core::ptr::with_exposed_provenance::<[u8; 5]>(at).read_unaligned() };
        bytes == ROOM
    })
}

/// Makes every way in (or out) call `routine`. Once, on the first CPU, before others run and
/// before the first guest does; the image is writable through the direct map.
pub(crate) fn call_everywhere(kind: u8, routine: unsafe extern "C" fn()) {
    let target = routine as *const () as u64;
    each(kind, |at| write(at, &call(at, target)));
}

/// The bytes of a direct call at `at`.
fn call(at: u64, target: u64) -> [u8; 5] {
    let [a, b, c, d, ..] = target.wrapping_sub(at.wrapping_add(5)).to_le_bytes();
    [0xe8, a, b, c, d]
}

fn write(at: u64, bytes: &[u8]) {
    let phys = at.wrapping_sub(IMAGE).wrapping_add(IMAGE_PHYS);
    let to = core::ptr::with_exposed_provenance_mut::<u8>(index(DIRECT_MAP.wrapping_add(phys)));
    // SAFETY: a place that the assembly set aside in the image, seen through the direct map; no CPU
    // executes it now, and there is time until one does: no guest runs yet.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}
