//! sysctl and domctl: CPU policies.

use zerocopy::FromZeros;

use abi::GuestPtr;
use abi::arch_x86::{CpuidLeaf, MsrEntry};
use abi::domctl::{self, CPUID_INPUT_UNUSED, DomctlCmd};
use abi::sysctl::{self, PolicyIndex, SysctlCmd};

use crate::error::{Error, Result};
use crate::xen::Xen;

/// Leaves that a policy has at most, as reported or assumed.
const MAX_LEAVES: u32 = 4096;
/// MSRs that a policy has at most.
const MAX_MSRS: u32 = 1024;

/// What CPUID and some MSRs tell a domain.
#[derive(Clone, Debug)]
pub struct Policy {
    /// CPUID leaves.
    pub leaves: Vec<CpuidLeaf>,
    /// MSRs.
    pub msrs: Vec<MsrEntry>,
}

impl Xen {
    /// How many leaves and MSRs a policy can have.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn cpu_policy_size(&self) -> Result<(u32, u32)> {
        let mut argument = sysctl::CpuPolicy::new_zeroed();
        self.sysctl("sysctl get_cpu_policy", SysctlCmd::GET_CPU_POLICY, &mut argument)?;
        Ok((argument.nr_leaves.min(MAX_LEAVES), argument.nr_msrs.min(MAX_MSRS)))
    }

    /// A policy of the host.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn system_cpu_policy(&self, index: PolicyIndex) -> Result<Policy> {
        let (leaves, msrs) = self.cpu_policy_size()?;
        let leaf_list = self.room::<CpuidLeaf>(leaves as usize)?;
        let msr_list = self.room::<MsrEntry>(msrs as usize)?;
        let mut argument = sysctl::CpuPolicy {
            index,
            nr_leaves: leaves,
            nr_msrs: msrs,
            _rsvd: 0,
            leaves: GuestPtr::new(leaf_list.address()),
            msrs: GuestPtr::new(msr_list.address()),
        };
        self.sysctl("sysctl get_cpu_policy", SysctlCmd::GET_CPU_POLICY, &mut argument)?;
        Ok(Policy {
            leaves: leaf_list.list(argument.nr_leaves.min(leaves) as usize),
            msrs: msr_list.list(argument.nr_msrs.min(msrs) as usize),
        })
    }

    /// A domain's policy.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn domain_cpu_policy(&self, domid: u16) -> Result<Policy> {
        let (leaves, msrs) = self.cpu_policy_size()?;
        let leaf_list = self.room::<CpuidLeaf>(leaves as usize)?;
        let msr_list = self.room::<MsrEntry>(msrs as usize)?;
        let mut argument = domctl::CpuPolicy {
            nr_leaves: leaves,
            nr_msrs: msrs,
            leaves: GuestPtr::new(leaf_list.address()),
            msrs: GuestPtr::new(msr_list.address()),
            ..domctl::CpuPolicy::new_zeroed()
        };
        let name = "domctl get_cpu_policy";
        self.domctl(name, DomctlCmd::GET_CPU_POLICY, domid, &mut argument)?;
        Ok(Policy {
            leaves: leaf_list.list(argument.nr_leaves.min(leaves) as usize),
            msrs: msr_list.list(argument.nr_msrs.min(msrs) as usize),
        })
    }

    /// Sets a domain's policy; leaves and MSRs that are not in it stay as they are.
    ///
    /// # Errors
    /// [`Error::CpuPolicy`] with the place at fault, [`Error::Device`].
    pub fn set_domain_cpu_policy(&self, domid: u16, policy: &Policy) -> Result<()> {
        let leaf_list = self.pool.of(policy.leaves.as_slice())?;
        let msr_list = self.pool.of(policy.msrs.as_slice())?;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut argument = domctl::CpuPolicy {
            nr_leaves: count(policy.leaves.len()),
            nr_msrs: count(policy.msrs.len()),
            leaves: GuestPtr::new(leaf_list.address()),
            msrs: GuestPtr::new(msr_list.address()),
            err_leaf: CPUID_INPUT_UNUSED,
            err_subleaf: CPUID_INPUT_UNUSED,
            err_msr: CPUID_INPUT_UNUSED,
            _pad: 0,
        };
        let name = "domctl set_cpu_policy";
        match self.domctl(name, DomctlCmd::SET_CPU_POLICY, domid, &mut argument) {
            Err(Error::Hypercall { errno, .. }) => {
                let used = |n: u32| Some(n).filter(|n| *n != CPUID_INPUT_UNUSED);
                Err(Error::CpuPolicy {
                    domid,
                    leaf: used(argument.err_leaf),
                    subleaf: used(argument.err_subleaf),
                    msr: used(argument.err_msr),
                    errno,
                })
            }
            other => other,
        }
    }
}
