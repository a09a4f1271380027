//! A vCPU's state in a stream: with PFNs in place of MFNs, and back.

use abi::xen::VcpuGuestContext;
use zerocopy::{FromBytes, IntoBytes};

/// Descriptors in one page of a GDT.
const DESCRIPTORS: u64 = 512;
/// Pages of a GDT that a guest may have.
const GDT_PAGES: u64 = 14;
/// In `ctrlreg[1]`: the word holds a frame number in the plain form. Very old streams had none.
const USER_TABLE: u64 = 1;

/// A register that holds a frame that is not the guest's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// A frame.
    #[error("{register} holds frame {frame:#x}, which is not the guest's")]
    Frame {
        /// Where.
        register: String,
        /// Which.
        frame: u64,
    },
    /// A GDT larger than can be.
    #[error("a GDT of {0} entries")]
    Gdt(u64),
    /// Not a vCPU's state.
    #[error("{0} bytes of registers; a 64-bit guest has {size}", size = size_of::<VcpuGuestContext>())]
    Size(usize),
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToPfn,
    ToMfn,
}

/// A guest's registers as they go into a stream. vCPU 0 holds the frame of start_info, which a suspend
/// passes to the hypervisor.
///
/// # Errors
/// [`Bad`]
pub fn to_stream(
    context: &VcpuGuestContext,
    vcpu: u32,
    pfn: impl Fn(u64) -> Option<u64>,
) -> Result<Vec<u8>, Bad> {
    let mut context = *context;
    translate(&mut context, vcpu, Way::ToPfn, pfn)?;
    Ok(context.as_bytes().to_vec())
}

/// Registers from a stream as the hypervisor takes them.
///
/// # Errors
/// [`Bad`]
pub fn from_stream(
    bytes: &[u8],
    vcpu: u32,
    mfn: impl Fn(u64) -> Option<u64>,
) -> Result<VcpuGuestContext, Bad> {
    let mut context = registers(bytes)?;
    translate(&mut context, vcpu, Way::ToMfn, mfn)?;
    Ok(context)
}

/// The PFN of start_info, from vCPU 0's state in a stream.
///
/// # Errors
/// [`Bad::Size`]
pub fn start_info_pfn(bytes: &[u8]) -> Result<u64, Bad> {
    Ok(registers(bytes)?.user_regs.rdx)
}

fn registers(bytes: &[u8]) -> Result<VcpuGuestContext, Bad> {
    VcpuGuestContext::read_from_bytes(bytes).map_err(|_| Bad::Size(bytes.len()))
}

fn translate(
    context: &mut VcpuGuestContext,
    vcpu: u32,
    way: Way,
    other: impl Fn(u64) -> Option<u64>,
) -> Result<(), Bad> {
    let change = |register: &str, frame: u64| {
        other(frame).ok_or_else(|| Bad::Frame { register: register.to_owned(), frame })
    };
    if vcpu == 0 {
        context.user_regs.rdx = change("RDX", context.user_regs.rdx)?;
    }
    if context.gdt_ents > GDT_PAGES * DESCRIPTORS {
        return Err(Bad::Gdt(context.gdt_ents));
    }
    let pages = context.gdt_ents.div_ceil(DESCRIPTORS) as usize;
    for (i, frame) in context.gdt_frames.iter_mut().take(pages).enumerate() {
        *frame = change(&format!("GDT page {i}"), *frame)?;
    }
    let [_, user, _, kernel, ..] = &mut context.ctrlreg;
    *kernel = change("CR3", *kernel >> 12)? << 12;
    match way {
        Way::ToPfn if *user != 0 => *user = change("user CR3", *user >> 12)? << 12 | USER_TABLE,
        Way::ToMfn if *user & USER_TABLE != 0 => *user = change("user CR3", *user >> 12)? << 12,
        _ => *user = 0,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn context() -> VcpuGuestContext {
        let mut context = VcpuGuestContext::new_zeroed();
        context.user_regs.rdx = 0x77;
        context.gdt_ents = 513;
        context.gdt_frames[0] = 5;
        context.gdt_frames[1] = 6;
        context.gdt_frames[2] = 99;
        context.ctrlreg[1] = 8 << 12;
        context.ctrlreg[3] = 9 << 12;
        context
    }

    #[test]
    fn a_state_is_the_same_after_a_stream() {
        let there = to_stream(&context(), 0, |mfn| Some(mfn + 0x1000)).unwrap();
        assert_eq!(start_info_pfn(&there), Ok(0x1077));
        let saved = registers(&there).unwrap();
        assert_eq!(saved.gdt_frames[..3], [0x1005, 0x1006, 99]);
        assert_eq!((saved.ctrlreg[1], saved.ctrlreg[3]), (0x100_8001, 0x100_9000));
        let back = from_stream(&there, 0, |pfn| pfn.checked_sub(0x1000)).unwrap();
        assert_eq!(back.as_bytes(), context().as_bytes());
    }

    #[test]
    fn only_the_first_vcpu_has_start_info_and_no_user_table_stays_none() {
        let mut context = context();
        context.ctrlreg[1] = 0;
        let saved = registers(&to_stream(&context, 1, |mfn| Some(mfn + 1)).unwrap()).unwrap();
        assert_eq!(saved.user_regs.rdx, 0x77);
        assert_eq!(saved.ctrlreg[1], 0);
        assert_eq!(from_stream(saved.as_bytes(), 1, |pfn| Some(pfn - 1)).unwrap().ctrlreg[1], 0);
    }

    #[test]
    fn a_frame_that_is_not_the_guests_is_named_with_its_register() {
        let refused = to_stream(&context(), 0, |mfn| (mfn != 6).then_some(mfn));
        assert_eq!(refused, Err(Bad::Frame { register: "GDT page 1".into(), frame: 6 }));
        let refused = from_stream(context().as_bytes(), 0, |pfn| (pfn != 9).then_some(pfn));
        assert_eq!(refused.unwrap_err(), Bad::Frame { register: "CR3".into(), frame: 9 });
    }

    #[test]
    fn a_forged_state_is_refused() {
        assert_eq!(from_stream(&[0; 20], 0, Some).unwrap_err(), Bad::Size(20));
        let mut context = context();
        context.gdt_ents = 7169;
        assert_eq!(to_stream(&context, 1, Some), Err(Bad::Gdt(7169)));
    }
}
