//! Memory type ranges, as the firmware set them. They are read only: page attributes do what
//! changing them was for.

use abi::Errno;
use abi::platform::ReadMemtype;
use machine::cpu::rdmsr_safe;

const MTRR_CAP: u32 = 0xfe;
const PHYS_BASE_0: u32 = 0x200;
const PAGE_BITS: u64 = 0xfff;
const VALID: u64 = 1 << 11;

/// `read_memtype` (SDM vol. 3, "Memory Type Range Registers"): an unused register has no frames.
pub(super) fn read(r: &mut ReadMemtype) -> Result<(), Errno> {
    let count = rdmsr_safe(MTRR_CAP).map_or(0, |cap| cap & 0xff);
    if u64::from(r.reg) >= count {
        return Err(Errno::EINVAL);
    }
    let register = PHYS_BASE_0.wrapping_add(r.reg.wrapping_mul(2));
    let base = rdmsr_safe(register).unwrap_or(0);
    let mask = rdmsr_safe(register.wrapping_add(1)).unwrap_or(0);
    (r.mfn, r.nr_mfns, r.kind) = (0, 0, 0);
    if mask & VALID != 0 {
        let width = crate::policy::policies().host.physical_address_bits().clamp(32, 52);
        let address = 1u64.wrapping_shl(width).wrapping_sub(1) & !PAGE_BITS;
        r.mfn = (base & address) >> 12;
        // The mask's zeros within the address say how much is covered; a mask with gaps covers
        // several stretches, of which the lowest is told.
        let lowest = mask & address;
        r.nr_mfns = (lowest & lowest.wrapping_neg()) >> 12;
        r.kind = crate::util::low8(base).into();
    }
    Ok(())
}
