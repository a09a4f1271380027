//! The host's CPUID policies.

use crate::hypercall::Stop;
use crate::hypercall::control::{element, part, put_part, write_leaves, write_msrs};
use abi::Errno;
use abi::sysctl::{CpuFeatureset, CpuPolicy, FeaturesetIndex, PolicyIndex};
use machine::guest;

/// Words of features, of one of the policies.
pub fn featureset(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut f: CpuFeatureset = part(u)?;
    let all = crate::policy::policies();
    let policy = match f.index {
        FeaturesetIndex::RAW => &all.raw,
        FeaturesetIndex::HOST => &all.host,
        FeaturesetIndex::PV => &all.pv_default,
        FeaturesetIndex::PV_MAX => &all.pv_max,
        // There are no HVM guests yet.
        FeaturesetIndex::HVM | FeaturesetIndex::HVM_MAX => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let words = policy.featureset().0;
    let room = core::mem::replace(&mut f.nr_features, u32::try_from(words.len()).unwrap_or(0));
    put_part(u, &f);
    if f.features.is_null() {
        return Ok(());
    }
    for (i, word) in (0..u64::from(room)).zip(words) {
        guest::write(element(f.features, i), &word)?;
    }
    if (room as usize) < words.len() {
        return Err(Errno::ENOBUFS.into());
    }
    Ok(())
}

/// One of the policies, as lists.
pub fn policy(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut p: CpuPolicy = part(u)?;
    if p._rsvd != 0 {
        return Err(Errno::EINVAL.into());
    }
    let all = crate::policy::policies();
    let policy = match p.index {
        PolicyIndex::RAW => &all.raw,
        PolicyIndex::HOST => &all.host,
        PolicyIndex::PV_MAX => &all.pv_max,
        PolicyIndex::PV_DEFAULT => &all.pv_default,
        PolicyIndex::HVM_MAX | PolicyIndex::HVM_DEFAULT => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    write_leaves(policy, p.leaves, &mut p.nr_leaves)?;
    write_msrs(policy, p.msrs, &mut p.nr_msrs)?;
    put_part(u, &p);
    Ok(())
}
