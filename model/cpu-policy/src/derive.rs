//! How one policy follows from another: host from raw, what guests may and do see from host, a
//! domain's own from what its creator asked for.

use crate::features::{self, Feature, FeatureSet, f};
use crate::policy::{
    BASIC_LEAVES, CACHE_LEAVES, EXTD_LEAVES, FEAT_LEAVES, PLATFORM_INFO_CPUID_FAULTING, Policy,
    Regs, TOPO_LEAVES, Vendor, XSTATE_BASE, XSTATE_LEAVES,
};

const LAST_BASIC: u32 = 13;
const LAST_FEAT: u32 = 2;
const LAST_EXTD: u32 = 0x21;
/// The last extended leaf that Intel defines.
const LAST_EXTD_INTEL: u32 = 8;

const _: () = assert!(LAST_BASIC as usize == BASIC_LEAVES - 1);
const _: () = assert!(LAST_FEAT as usize == FEAT_LEAVES - 1);
const _: () = assert!(LAST_EXTD as usize == EXTD_LEAVES - 1);

/// Features that say that something must be done, or that something is so. A guest that may move
/// must be able to be told; where it runs now, it is told what holds here.
const ONLY_IF_HOST: [Feature; 8] = [
    f::HTT,
    f::CMP_LEGACY,
    f::MD_CLEAR,
    f::FB_CLEAR,
    f::RFDS_CLEAR,
    f::RSBA,
    f::RRSBA,
    f::VERW_CLEAR,
];

/// What else decides about a domain's policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DomainOptions {
    /// The TSC will keep its rate: the domain cannot move, and its TSC is not emulated.
    pub invariant_tsc: bool,
}

impl Policy {
    fn set_limits(&mut self, basic: u32, feat: u32, extd: u32) {
        self.set_basic(0, |r| r.a = basic.min(LAST_BASIC));
        let [feat0, ..] = &mut self.feat;
        feat0.a = feat.min(LAST_FEAT);
        self.set_extd(0, |r| r.a = 0x8000_0000 | extd.min(LAST_EXTD));
    }

    /// What the hypervisor makes use of: this is the raw policy.
    #[must_use]
    pub fn host(&self) -> Policy {
        let mut p = *self;
        let svm = p.extd_leaf(10);
        p.set_limits(self.max_basic(), self.max_feat(), self.max_extd());
        if p.vendor() == Vendor::Amd {
            // SYSENTER does not work in long mode there.
            p.set_basic(1, |r| r.d &= !f::SEP.mask());
        }
        let mut set = p.featureset();
        set.put(f::OSXSAVE, false);
        set.put(f::OSPKE, false);
        if self.has_other_return_predictor() {
            let eibrs = set.has(f::EIBRS);
            set.put(f::RSBA, !eibrs);
            set.put(f::RRSBA, eibrs);
        }
        p.set_featureset(&set);
        p.trim();
        p.set_extd(10, |r| *r = svm);
        p
    }

    /// The policy without some features and what depends on them: for features that the
    /// administrator turns off, or that a weakness of the CPU makes unsafe.
    #[must_use]
    pub fn without(&self, features: &[Feature]) -> Policy {
        let mut p = *self;
        let mut set = p.featureset();
        for feature in features {
            set.put(*feature, false);
        }
        set.drop_orphans();
        p.set_featureset(&set);
        if !features.contains(&f::ARCH_CAPS) {
            // The hypervisor's own knowledge of the CPU does not hang on the bit.
            p.arch_caps = self.arch_caps;
        }
        p.trim_xstate(&set);
        p
    }

    /// Whether a return with an empty return stack may be predicted by other means, so that
    /// retpolines are not safe. A guess from family and model, which errs towards "yes" (Intel,
    /// "Retpoline: A Branch Target Injection Mitigation": Skylake and later).
    fn has_other_return_predictor(&self) -> bool {
        let version = self.basic_leaf(1).a;
        let (family, model) = ((version >> 8) & 0xf, (version >> 12) & 0xf0 | (version >> 4) & 0xf);
        let before_broadwell = matches!(
            model,
            0x00..=0x1f | 0x25 | 0x2a | 0x2c..=0x2f | 0x3a | 0x3c | 0x3e | 0x3f | 0x45 | 0x46
        );
        let atom = matches!(
            model,
            0x26 | 0x27 | 0x35..=0x37 | 0x4a | 0x4c | 0x4d | 0x5a | 0x5c | 0x5d | 0x5f | 0x7a
        );
        self.vendor() == Vendor::Intel && family == 6 && !before_broadwell && !atom
    }

    /// What PV guests may see: this is the host policy.
    #[must_use]
    pub fn pv_max(&self) -> Policy {
        let mut set = self.featureset().and(&features::PV_MAX);
        self.adjust_max(&mut set);
        let mut p = *self;
        p.become_max(&mut set);
        p.platform_info &= PLATFORM_INFO_CPUID_FAULTING;
        p
    }

    /// What PV guests see: this is the host policy.
    #[must_use]
    pub fn pv_default(&self) -> Policy {
        self.default_of(self.pv_max(), &features::PV_DEFAULT)
    }

    /// What HVM guests with nested paging may see: this is the host policy.
    #[must_use]
    pub fn hvm_max(&self) -> Policy {
        let mut set = self.featureset().and(&features::HVM_MAX);
        self.adjust_max(&mut set);
        set.put(f::APIC, true);
        set.put(f::NO_LMSL, true);
        set.put(f::PKS, false);
        if self.vendor() == Vendor::Amd {
            set.put(f::SEP, true);
        }
        let mut p = *self;
        p.become_max(&mut set);
        // Nested SVM: nested paging as the host has it, clean bits in any case.
        let svm = self.extd_leaf(10);
        if svm != Regs::ZERO {
            p.set_extd(10, |r| *r = Regs { a: svm.a & 1, b: svm.b, c: 0, d: (svm.d & 1) | 0x20 });
        }
        // Reads of the MSR are intercepted, so that faulting can always be emulated.
        p.platform_info = PLATFORM_INFO_CPUID_FAULTING;
        p
    }

    /// What HVM guests with nested paging see: this is the host policy.
    #[must_use]
    pub fn hvm_default(&self) -> Policy {
        self.default_of(self.hvm_max(), &features::HVM_DEFAULT)
    }

    /// What the first domain sees: this is the host policy. It does not move, so that its TSC
    /// keeps its rate.
    #[must_use]
    pub fn dom0(&self) -> Policy {
        let max = self.pv_max();
        let mut p = self.pv_default();
        let itsc = max.featureset().has(f::ITSC);
        let mut set = p.featureset();
        set.put(f::ITSC, itsc);
        p.set_featureset(&set);
        p.pv_domain(&max, DomainOptions { invariant_tsc: true })
    }

    /// What a PV domain gets that was to get this policy and may get at most `max`.
    #[must_use]
    pub fn pv_domain(&self, max: &Policy, options: DomainOptions) -> Policy {
        let mut p = *self;
        let last_extd = match p.vendor() {
            Vendor::Amd => LAST_EXTD,
            Vendor::Intel | Vendor::Other => LAST_EXTD_INTEL,
        };
        p.set_limits(
            p.max_basic().min(max.max_basic()),
            p.max_feat().min(max.max_feat()),
            p.max_extd().min(max.max_extd()).min(last_extd),
        );
        let mut set = p.featureset().and(&max.featureset());
        if !options.invariant_tsc {
            set.put(f::ITSC, false);
        }
        set.drop_orphans();
        p.set_featureset(&set);
        p.trim();
        p.xstate = max.xstate;
        p.trim_xstate(&set);
        let linear = if set.has(f::LM) { 48 } else { 32 };
        let physical = p.physical_address_bits().min(max.physical_address_bits());
        p.set_extd(8, |r| r.a = physical | (linear << 8));
        p.platform_info &= max.platform_info;
        p.repeat_common_features();
        p
    }

    /// What every guest may be told, whatever the host is, so that it can move between hosts.
    fn adjust_max(&self, set: &mut FeatureSet) {
        for feature in [f::HTT, f::CMP_LEGACY, f::X2APIC, f::HYPERVISOR] {
            set.put(feature, true);
        }
        if set.has(f::IBRSB) {
            // Intel's bit covers what AMD's says.
            set.put(f::IBPB, true);
        }
        match self.vendor() {
            Vendor::Amd => set.put(f::VERW_CLEAR, true),
            Vendor::Intel => {
                for feature in [f::ARCH_CAPS, f::MD_CLEAR, f::FB_CLEAR, f::RFDS_CLEAR, f::RSBA] {
                    set.put(feature, true);
                }
                set.put(f::RRSBA, set.has(f::EIBRS));
            }
            Vendor::Other => {}
        }
    }

    fn become_max(&mut self, set: &mut FeatureSet) {
        set.drop_orphans();
        self.set_limits(LAST_BASIC, LAST_FEAT, LAST_EXTD);
        self.set_featureset(set);
        self.trim();
        self.trim_xstate(set);
    }

    fn default_of(&self, max: Policy, mask: &FeatureSet) -> Policy {
        let mut p = max;
        let host = self.featureset();
        let mut set = max.featureset().and(mask);
        for feature in ONLY_IF_HOST {
            set.put(feature, max.featureset().has(feature) && host.has(feature));
        }
        set.drop_orphans();
        p.set_limits(self.max_basic(), self.max_feat(), self.max_extd());
        p.set_featureset(&set);
        p.trim_xstate(&set);
        p
    }

    /// Removes what describes this CPU's surroundings rather than what programs can use:
    /// topology, power, performance counters.
    fn trim(&mut self) {
        self.set_basic(1, |r| {
            r.a &= 0x0fff_0fff;
            r.b &= 0x00ff_ff00;
        });
        for leaf in [5, 6, 8, 9, 10, 12] {
            self.set_basic(leaf, |r| *r = Regs::ZERO);
        }
        self.topo = [Regs::ZERO; TOPO_LEAVES];
        self.set_extd(7, |r| (r.a, r.b, r.c) = (0, 0, 0));
        self.set_extd(8, |r| {
            r.a &= 0xffff;
            r.d = 0;
        });
        self.set_extd(10, |r| *r = Regs::ZERO);
        match self.vendor() {
            Vendor::Amd => self.trim_amd(),
            Vendor::Intel | Vendor::Other => {
                self.set_basic(2, |r| {
                    if r.a != 0 {
                        r.a = (r.a & !0xff) | 1;
                    }
                });
                self.set_extd(0, |r| (r.b, r.c, r.d) = (0, 0, 0));
                self.set_extd(1, |r| (r.a, r.b) = (0, 0));
                self.set_extd(5, |r| *r = Regs::ZERO);
                self.set_extd(6, |r| (r.a, r.b, r.d) = (0, 0, 0));
                self.set_extd(8, |r| r.c = 0);
            }
        }
    }

    fn trim_amd(&mut self) {
        for leaf in [2, 3] {
            self.set_basic(leaf, |r| *r = Regs::ZERO);
        }
        self.cache = [Regs::ZERO; CACHE_LEAVES];
        let (name, version) = (self.basic_leaf(0), self.basic_leaf(1).a);
        self.set_extd(0, |r| (r.b, r.c, r.d) = (name.b, name.c, name.d));
        self.set_extd(1, |r| {
            r.a = version;
            r.b &= 0xff00_ffff;
        });
        self.set_extd(8, |r| r.c &= 0x0003_f0ff);
        self.set_extd(9, |r| *r = Regs::ZERO);
        for leaf in (0xb..=0x18).chain(0x1b..=0x20) {
            self.set_extd(leaf, |r| *r = Regs::ZERO);
        }
        self.set_extd(0x21, |r| (r.b, r.d) = (0, 0));
    }

    /// Brings leaf 13 in line with the features.
    fn trim_xstate(&mut self, set: &FeatureSet) {
        let old = self.xstate;
        self.xstate = [Regs::ZERO; XSTATE_LEAVES];
        if !set.has(f::XSAVE) {
            return;
        }
        let components = [(f::AVX, 0x4), (f::MPX, 0x18), (f::AVX512F, 0xe0), (f::PKU, 0x200)];
        let mut mask = XSTATE_BASE;
        for (feature, bits) in components {
            if set.has(feature) {
                mask |= bits;
            }
        }
        let (low, high) = (mask & 0xffff_ffff, mask >> 32);
        for (i, (new, old)) in (0u32..).zip(self.xstate.iter_mut().zip(old)) {
            match i {
                0 => {
                    new.a = u32::try_from(low).unwrap_or(0);
                    new.d = u32::try_from(high).unwrap_or(0);
                }
                1 => new.a = old.a,
                _ if (mask >> i) & 1 == 1 => *new = Regs { c: old.c & 3, d: 0, ..old },
                _ => {}
            }
        }
        let size = self.xstate_size(mask);
        let [first, ..] = &mut self.xstate;
        first.c = size;
    }

    /// Bytes of an uncompressed XSAVE area that holds these components.
    pub fn xstate_size(&self, mask: u64) -> u32 {
        // Legacy region and header (SDM volume 1, 13.4).
        let mut size = 576u32;
        for (i, component) in (0u32..).zip(&self.xstate).skip(2) {
            if (mask >> i) & 1 == 1 {
                size = size.max(component.b.saturating_add(component.a));
            }
        }
        size
    }

    /// Bytes of a compressed XSAVE area that holds these components.
    pub fn xstate_size_compressed(&self, mask: u64) -> u32 {
        let mut size = 576u32;
        for (i, component) in (0u32..).zip(&self.xstate).skip(2) {
            if (mask >> i) & 1 == 1 {
                if component.c & 2 != 0 {
                    size = size.saturating_add(63) & !63;
                }
                size = size.saturating_add(component.a);
            }
        }
        size
    }
}
