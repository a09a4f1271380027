//! The control interface, as far as a test needs it to have a second domain.

use crate::hypercall::{addr_mut, call, nr};

/// Operations.
#[allow(missing_docs)]
pub mod op {
    pub const CREATE: u32 = 1;
    pub const DESTROY: u32 = 2;
    pub const UNPAUSE: u32 = 4;
    pub const INFO: u32 = 5;
    pub const MAX_MEM: u32 = 11;
    pub const SET_CONTEXT: u32 = 12;
    pub const MAX_VCPUS: u32 = 15;
    pub const SET_VIRQ_HANDLER: u32 = 66;
}

/// An operation, 144 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Domctl {
    cmd: u32,
    version: u32,
    /// Which domain, in and out.
    pub domid: u16,
    /// What the operation takes and gives.
    pub u: [u64; 16],
}

/// An operation of this number on a domain, with the first words of its argument.
pub fn domctl(cmd: u32, domid: u16, words: &[u64]) -> (i64, Domctl) {
    let mut op = Domctl { cmd, version: 0x17, domid, u: [0; 16] };
    for (to, from) in op.u.iter_mut().zip(words) {
        *to = *from;
    }
    let result = call(nr::DOMCTL, [addr_mut(&mut op), 0, 0, 0, 0]);
    (result, op)
}

/// What a domain is created with.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// The greatest port.
    pub port: u32,
    /// Frames of its grant table.
    pub grant_frames: u32,
    /// The greatest version of that.
    pub grant_version: u32,
}

/// Creates an empty domain, paused; its number.
///
/// # Errors
/// What the hypervisor answered.
pub fn create(limits: Limits) -> Result<u16, i64> {
    let two = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    // Label and name: none. Then flags, IOMMU options and limits, from byte 20 on.
    let words = [
        0,
        0,
        0,
        two(0, limits.vcpus),
        two(limits.port, limits.grant_frames),
        two(limits.grant_frames, limits.grant_version),
        0,
        0,
        0,
    ];
    let (result, op) = domctl(op::CREATE, 0, &words);
    if result != 0 {
        return Err(result);
    }
    let (result, _) = domctl(op::MAX_VCPUS, op.domid, &[limits.vcpus.into()]);
    if result == 0 { Ok(op.domid) } else { Err(result) }
}

/// Ends a domain; the result.
pub fn destroy(domid: u16) -> i64 {
    domctl(op::DESTROY, domid, &[]).0
}

/// The frame that a domain shares with the hypervisor.
///
/// # Errors
/// What the hypervisor answered.
pub fn shared_info(domid: u16) -> Result<u64, i64> {
    let (result, op) = domctl(op::INFO, domid, &[]);
    if result == 0 { Ok(op.u[6]) } else { Err(result) }
}
