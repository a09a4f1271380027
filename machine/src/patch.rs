//! Places in the code that are made to fit the CPU at boot.
//!
//! Each place names itself in `.patch_sites` and holds, as linked, what a CPU with every feature and
//! no flaw needs: `stac` and `clac`, and five-byte no-operations where the entry code has room for a
//! call to what flawed CPUs need on the way in or out.

use crate::cpu::{cpuid, rdmsr_safe};
use crate::layout::{DIRECT_MAP, IMAGE, IMAGE_PHYS};
use crate::num::index;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// `stac` or `clac`, three bytes.
pub(crate) const SMAP: u8 = 1;
/// Five bytes on every way out to a guest. On every way in there are five as well, of kind 2, which
/// nothing fills yet.
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

/// What was applied, for [`applied`].
static APPLIED: AtomicU8 = AtomicU8::new(0);
const NO_SMAP: u8 = 1;
const VERW: u8 = 2;

/// Buffers are overwritten by VERW, whose operand this is: any writable data selector.
static VERW_SELECTOR: u16 = 0xe010;

/// Overwrites the CPU's buffers, so that what the hypervisor had in them cannot be sampled.
#[unsafe(naked)]
unsafe extern "C" fn exit_verw() {
    naked_asm!("pushfq", "verw {sel}(%rip)", "popfq", "ret", sel = sym VERW_SELECTOR,
               options(att_syntax))
}

/// Whether the CPU leaks buffers on the way out and VERW mends it (MD_CLEAR without MDS_NO).
fn needs_verw() -> bool {
    let edx = cpuid(7, 0)[3];
    let (md_clear, has_capabilities) = (edx >> 10 & 1 != 0, edx >> 29 & 1 != 0);
    let mds_no = has_capabilities && rdmsr_safe(0x10a).is_some_and(|c| c >> 5 & 1 != 0);
    md_clear && !mds_no
}

/// Patches all places for this machine. Once, on the first CPU, before others run and before the
/// first guest does; the image is writable through the direct map.
pub(crate) fn apply() {
    let smap = cpuid(7, 0)[1] >> 20 & 1 != 0;
    let verw = needs_verw();
    let start = (&raw const __patch_start).cast::<Site>();
    let end = (&raw const __patch_end).cast::<Site>();
    let len = end.addr().wrapping_sub(start.addr()).checked_div(size_of::<Site>()).unwrap_or(0);
    // SAFETY: the linker script puts the table, whole and constant, between the two symbols.
    let sites = unsafe { core::slice::from_raw_parts(start, len) };
    for site in sites {
        let base = core::ptr::from_ref(&site.at).addr() as u64;
        let at = base.wrapping_add_signed(i64::from(site.at));
        match site.kind {
            SMAP if !smap => write(at, &[0x0f, 0x1f, 0x00]),
            EXIT if verw => write(at, &call(at, exit_verw as *const () as u64)),
            _ => {}
        }
    }
    let flags = if smap { 0 } else { NO_SMAP } | if verw { VERW } else { 0 };
    APPLIED.store(flags, Relaxed);
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
    // executes it now, and the jump back from here serialises none too late: no guest runs yet.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// What the machine's CPUs needed, in words.
pub fn applied() -> impl Iterator<Item = &'static str> {
    let flags = APPLIED.load(Relaxed);
    let all = [
        (flags & NO_SMAP != 0, "no SMAP: guest memory is reached without its guard"),
        (flags & VERW != 0, "VERW on exit to guests (MDS)"),
    ];
    all.into_iter().filter_map(|(on, text)| on.then_some(text))
}
