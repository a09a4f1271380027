//! The policies of a host, by the numbers that the control operations give them.

use crate::features::{Feature, FeatureSet};
use crate::policy::{Host, Policy};
use abi::sysctl::{FeaturesetIndex, PolicyIndex};

/// All policies of a host: about 13 KiB, meant for a static.
#[derive(Clone, Copy, Debug)]
pub struct Policies {
    /// What the CPU says.
    pub raw: Policy,
    /// What the hypervisor uses of it.
    pub host: Policy,
    /// What PV guests may see.
    pub pv_max: Policy,
    /// What PV guests see unless told otherwise.
    pub pv_default: Policy,
    /// What HVM guests may see.
    pub hvm_max: Policy,
    /// What HVM guests see unless told otherwise.
    pub hvm_default: Policy,
}

impl Policies {
    /// Before a CPU was asked.
    pub const EMPTY: Policies = Policies {
        raw: Policy::EMPTY,
        host: Policy::EMPTY,
        pv_max: Policy::EMPTY,
        pv_default: Policy::EMPTY,
        hvm_max: Policy::EMPTY,
        hvm_default: Policy::EMPTY,
    };

    /// Asks a CPU and derives the rest, without the features that `off` lists (see
    /// [`Policy::without`]). In place, to spare the stack.
    pub fn read(&mut self, host: &impl Host, off: &[Feature]) {
        self.raw = Policy::raw(host);
        self.host = self.raw.host();
        if !off.is_empty() {
            self.host = self.host.without(off);
        }
        self.pv_max = self.host.pv_max();
        self.pv_default = self.host.pv_default();
        self.hvm_max = self.host.hvm_max();
        self.hvm_default = self.host.hvm_default();
    }

    /// The policy of this number, if there is one (get_cpu_policy).
    pub fn get(&self, index: PolicyIndex) -> Option<&Policy> {
        match index {
            PolicyIndex::RAW => Some(&self.raw),
            PolicyIndex::HOST => Some(&self.host),
            PolicyIndex::PV_MAX => Some(&self.pv_max),
            PolicyIndex::HVM_MAX => Some(&self.hvm_max),
            PolicyIndex::PV_DEFAULT => Some(&self.pv_default),
            PolicyIndex::HVM_DEFAULT => Some(&self.hvm_default),
            _ => None,
        }
    }

    /// The feature words of this number, if there are any (get_cpu_featureset).
    pub fn featureset(&self, index: FeaturesetIndex) -> Option<FeatureSet> {
        let policy = match index {
            FeaturesetIndex::RAW => &self.raw,
            FeaturesetIndex::HOST => &self.host,
            FeaturesetIndex::PV => &self.pv_default,
            FeaturesetIndex::HVM => &self.hvm_default,
            FeaturesetIndex::PV_MAX => &self.pv_max,
            FeaturesetIndex::HVM_MAX => &self.hvm_max,
            _ => return None,
        };
        Some(policy.featureset())
    }
}
