//! A domain's CPUID policy.

use super::{Answer, Reply, alive, not_own, part, put_part};
use crate::domain::Domain;
use crate::hypercall::control::{element, write_leaves, write_msrs};
use crate::hypercall::{Caller, Stop};
use abi::Errno;
use abi::arch_x86::{CpuidLeaf, MsrEntry};
use abi::domctl::CpuPolicy;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Acquire;
use cpu_policy::{BadLeaf, DomainOptions, MAX_LEAVES, MAX_MSRS, Policy};
use machine::guest;

/// `XEN_DOMCTL_get_cpu_policy`.
pub fn get(d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    let mut c: CpuPolicy = part(u)?;
    let policy = *d.policy.lock();
    write_leaves(&policy, c.leaves, &mut c.nr_leaves)?;
    write_msrs(&policy, c.msrs, &mut c.nr_msrs)?;
    put_part(u, &c);
    Ok(Reply::Changed)
}

/// `XEN_DOMCTL_set_cpu_policy`: before the domain runs for the first time. What is wrong with the
/// policy is reported in the structure.
pub fn set(caller: &Caller, d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    not_own(caller, d)?;
    alive(d)?;
    let c: CpuPolicy = part(u)?;
    if d.vcpus().any(|v| v.initialised.load(Acquire)) {
        return Err(Errno::EEXIST.into());
    }
    if c.nr_leaves > MAX_LEAVES || c.nr_msrs > MAX_MSRS {
        return Err(Errno::E2BIG.into());
    }
    let mut new = *d.policy.lock();
    let max = &crate::policy::policies().pv_max;
    let outcome = read(&mut new, &c)?.and_then(|()| max.validate(&new));
    let bad = outcome.err().unwrap_or(BadLeaf::NONE);
    let report = CpuPolicy { err_leaf: bad.leaf, err_subleaf: bad.subleaf, err_msr: bad.msr, ..c };
    put_part(u, &report);
    if outcome.is_err() {
        return Ok(Reply::Refused(Errno::EINVAL));
    }
    *d.policy.lock() = new.pv_domain(max, DomainOptions::default());
    Ok(Reply::Changed)
}

/// Reads the caller's lists into a policy. The inner error is of their content.
fn read(new: &mut Policy, c: &CpuPolicy) -> Result<Result<(), BadLeaf>, Stop> {
    for i in 0..u64::from(c.nr_leaves) {
        let leaf: CpuidLeaf = guest::read(element(c.leaves, i))?;
        if let Err(bad) = new.apply_leaf(&leaf) {
            return Ok(Err(bad));
        }
    }
    for i in 0..u64::from(c.nr_msrs) {
        let msr: MsrEntry = guest::read(element(c.msrs, i))?;
        if let Err(bad) = new.apply_msr(&msr) {
            return Ok(Err(bad));
        }
    }
    Ok(Ok(()))
}
