//! A domain's memory as its tools see it.

use super::{Answer, Reply, alive, part};
use crate::domain::Domain;
use crate::frames::{self, pages};
use crate::hypercall::control::element;
use abi::domctl::{
    GetPageFrameInfo3, HypercallInit, MaxMem, PFINFO_L1TAB, PFINFO_LPINTAB, PFINFO_NOTAB,
    PFINFO_XTAB, SHADOW_OP_OFF, ShadowOp,
};
use abi::{Errno, Mfn};
use alloc::sync::Arc;
use machine::guest;
use pages::{Budget, Kind, Level};

/// Frames asked about in one call at most.
const MAX_FRAMES: u64 = 1024;

/// `XEN_DOMCTL_max_mem`. A domain that has more keeps it.
pub fn max_mem(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    d.memory.lock().max = part::<MaxMem>(u)?.max_memkb >> 2;
    Ok(Reply::Nothing)
}

/// Code of the stub for hypercall `number`: saves what SYSCALL destroys, calls, returns. The one
/// for `iret` leaves the frame that `iret` expects, and does not come back.
fn stub(number: u32) -> [u8; 32] {
    let mut code = [0xcc; 32];
    let [a, b, c, d] = number.to_le_bytes();
    let usual = [0x51, 0x41, 0x53, 0xb8, a, b, c, d, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
    let iret = [0x51, 0x41, 0x53, 0x50, 0xb8, a, b, c, d, 0x0f, 0x05, 0xcc, 0xcc, 0xcc];
    let chosen = if number == abi::xen::Hypercall::IRET.0 { iret } else { usual };
    for (to, from) in code.iter_mut().zip(chosen) {
        *to = from;
    }
    code
}

/// `XEN_DOMCTL_hypercall_init`: fills a page of the guest's with stubs.
pub fn hypercall_init(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let mfn = Mfn(part::<HypercallInit>(u)?.gmfn);
    alive(d)?;
    let mut budget = Budget::new(16);
    let page = pages().get_typed(mfn, d.id, Kind::Writable, &mut budget);
    let page = page.map_err(|_| Errno::EACCES)?;
    for number in 0..128u32 {
        let code = stub(number);
        machine::memory::write_page(mfn, (number as usize).wrapping_mul(32), &code);
    }
    // A writable page's use has nothing to defer.
    let _ = pages().put_typed(page, &mut budget);
    Ok(Reply::Nothing)
}

/// `XEN_DOMCTL_getpageframeinfo3`: which of the frames are page tables, and pinned. Those that are
/// not the domain's, or only lent to it (shared information, grant tables), are none of its memory.
pub fn page_types(d: &Arc<Domain>, u: &[u64; 16]) -> Answer {
    let g: GetPageFrameInfo3 = part(u)?;
    if g.num > MAX_FRAMES {
        return Err(Errno::E2BIG.into());
    }
    for i in 0..g.num {
        let at = element(g.array, i);
        let mfn = Mfn(guest::read(at)?);
        guest::write(at, &u64::from(page_type(d, mfn)))?;
    }
    Ok(Reply::Nothing)
}

fn page_type(d: &Domain, mfn: Mfn) -> u32 {
    let state = frames::frame(mfn).map(|f| f.snapshot());
    if state.is_some_and(|s| s.shared) {
        return PFINFO_XTAB;
    }
    let Some(page) = pages().get(mfn, d.id) else { return PFINFO_XTAB };
    let level = match pages().kind_of(&page).level() {
        Some(Level::L1) => PFINFO_L1TAB,
        Some(Level::L2) => abi::domctl::PFINFO_L2TAB,
        Some(Level::L3) => abi::domctl::PFINFO_L3TAB,
        Some(Level::L4) => abi::domctl::PFINFO_L4TAB,
        None => PFINFO_NOTAB,
    };
    pages().put(page);
    let pinned = state.is_some_and(|s| s.pinned);
    if pinned && level != PFINFO_NOTAB { level | PFINFO_LPINTAB } else { level }
}

/// `XEN_DOMCTL_shadow_op`: there are no shadows, so that turning them off is all there is to do.
pub fn shadow_op(u: &[u64; 16]) -> Answer {
    match part::<ShadowOp>(u)?.op {
        SHADOW_OP_OFF => Ok(Reply::Nothing),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}
