//! What CPUID tells a PV domain.
//!
//! The hypervisor gives a new domain its default policy. One thing of it is corrected, as Xen's tools do:
//! where CPUID cannot be made to fault, a PV guest sees the host's topology anyway, so the two bits that
//! say how to read it must be the host's.

use abi::arch_x86::CpuidLeaf;
use sys::{Policy, PolicyIndex, Xen};

/// Leaf 1 EDX: the package has several logical processors.
const HTT: u32 = 1 << 28;
/// Leaf 0x8000_0001 ECX: they are cores, not threads (AMD).
const CMP_LEGACY: u32 = 1 << 1;

/// Sets the domain's policy where it must differ from the default.
pub(super) fn apply(xen: &Xen, domid: u16) -> Result<(), sys::Error> {
    let host = xen.system_cpu_policy(PolicyIndex::HOST)?;
    let mut policy = xen.domain_cpu_policy(domid)?;
    let changed: Vec<CpuidLeaf> = policy
        .leaves
        .iter_mut()
        .filter_map(|leaf| {
            let like = host.leaves.iter().find(|h| h.leaf == leaf.leaf)?;
            let old = (leaf.c, leaf.d);
            match leaf.leaf {
                1 => leaf.d = leaf.d & !HTT | like.d & HTT,
                0x8000_0001 => leaf.c = leaf.c & !CMP_LEGACY | like.c & CMP_LEGACY,
                _ => {}
            }
            ((leaf.c, leaf.d) != old).then_some(*leaf)
        })
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    xen.set_domain_cpu_policy(domid, &Policy { leaves: changed, msrs: Vec::new() })
}
