//! What CPUID shows, as tables: read from a CPU, or derived from another policy.

use crate::features::{COMMON_1D, FeatureSet, WORDS, f};

/// Registers that CPUID returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Regs {
    /// EAX.
    pub a: u32,
    /// EBX.
    pub b: u32,
    /// ECX.
    pub c: u32,
    /// EDX.
    pub d: u32,
}

impl Regs {
    /// All zero.
    pub const ZERO: Regs = Regs { a: 0, b: 0, c: 0, d: 0 };
    /// As an array, EAX first.
    pub fn words(self) -> [u32; 4] {
        [self.a, self.b, self.c, self.d]
    }
}

impl From<[u32; 4]> for Regs {
    fn from([a, b, c, d]: [u32; 4]) -> Regs {
        Regs { a, b, c, d }
    }
}

/// A CPU that can be asked.
pub trait Host {
    /// CPUID of this leaf and subleaf: EAX, EBX, ECX, EDX.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4];

    /// An MSR of the policy (PLATFORM_INFO, ARCH_CAPABILITIES), if the CPU has it.
    fn msr(&self, index: u32) -> Option<u64> {
        let _ = index;
        None
    }
}

/// Who made a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD or Hygon, which are alike here.
    Amd,
    /// Anyone else.
    Other,
}

/// Basic leaves: 0 to 13.
pub const BASIC_LEAVES: usize = 14;
/// Subleaves of leaf 4.
pub const CACHE_LEAVES: usize = 6;
/// Subleaves of leaf 7.
pub const FEAT_LEAVES: usize = 3;
/// Subleaves of leaf 11.
pub const TOPO_LEAVES: usize = 2;
/// Subleaves of leaf 13.
pub const XSTATE_LEAVES: usize = 63;
/// Extended leaves: 0x80000000 to 0x80000021.
pub const EXTD_LEAVES: usize = 0x22;

/// MSR PLATFORM_INFO.
pub const MSR_PLATFORM_INFO: u32 = 0xce;
/// MSR ARCH_CAPABILITIES.
pub const MSR_ARCH_CAPABILITIES: u32 = 0x10a;
/// In PLATFORM_INFO: CPUID can be made to fault.
pub const PLATFORM_INFO_CPUID_FAULTING: u64 = 1 << 31;

/// Leaf 13: state components that every XSAVE has (x87 and SSE).
pub(crate) const XSTATE_BASE: u64 = 3;

/// What CPUID and two MSRs show. What depends on a vCPU's state is added by [`crate::cpuid`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    pub(crate) basic: [Regs; BASIC_LEAVES],
    pub(crate) cache: [Regs; CACHE_LEAVES],
    pub(crate) feat: [Regs; FEAT_LEAVES],
    pub(crate) topo: [Regs; TOPO_LEAVES],
    pub(crate) xstate: [Regs; XSTATE_LEAVES],
    pub(crate) extd: [Regs; EXTD_LEAVES],
    /// Greatest hypervisor leaf, as a distance from the first; 0 for all.
    pub(crate) hv_limit: u32,
    /// The same of the second range.
    pub(crate) hv2_limit: u32,
    pub(crate) platform_info: u64,
    pub(crate) arch_caps: u64,
}

/// Fills a table of subleaves, up to the one that says it is the last.
fn read_list(host: &impl Host, leaf: u32, table: &mut [Regs], last: impl Fn(Regs) -> bool) {
    for (subleaf, slot) in (0u32..).zip(table) {
        let regs = host.cpuid(leaf, subleaf).into();
        if last(regs) {
            break;
        }
        *slot = regs;
    }
}

impl Policy {
    /// Nothing at all.
    pub const EMPTY: Policy = Policy {
        basic: [Regs::ZERO; BASIC_LEAVES],
        cache: [Regs::ZERO; CACHE_LEAVES],
        feat: [Regs::ZERO; FEAT_LEAVES],
        topo: [Regs::ZERO; TOPO_LEAVES],
        xstate: [Regs::ZERO; XSTATE_LEAVES],
        extd: [Regs::ZERO; EXTD_LEAVES],
        hv_limit: 0,
        hv2_limit: 0,
        platform_info: 0,
        arch_caps: 0,
    };

    /// What a CPU says, unchanged.
    pub fn raw(host: &impl Host) -> Policy {
        let mut p = Policy::EMPTY;
        let max = host.cpuid(0, 0).first().copied().unwrap_or(0);
        for (leaf, slot) in (0u32..).zip(&mut p.basic).take_while(|(leaf, _)| *leaf <= max) {
            if !matches!(leaf, 4 | 7 | 0xb | 0xd) {
                *slot = host.cpuid(leaf, 0).into();
            }
        }
        if max >= 4 {
            read_list(host, 4, &mut p.cache, |r| r.a & 0x1f == 0);
        }
        if max >= 7 {
            let last = Regs::from(host.cpuid(7, 0)).a;
            for (i, slot) in (0u32..).zip(&mut p.feat).take_while(|(i, _)| *i <= last) {
                *slot = host.cpuid(7, i).into();
            }
        }
        if max >= 0xb {
            read_list(host, 0xb, &mut p.topo, |r| r.c & 0xff00 == 0);
        }
        if max >= 0xd {
            p.read_xstate(host);
        }
        let max = Regs::from(host.cpuid(0x8000_0000, 0)).a;
        if max & 0xffff_0000 == 0x8000_0000 {
            for (leaf, slot) in
                (0x8000_0000u32..).zip(&mut p.extd).take_while(|(leaf, _)| *leaf <= max)
            {
                *slot = host.cpuid(leaf, 0).into();
            }
        }
        p.platform_info = host.msr(MSR_PLATFORM_INFO).unwrap_or(0) & PLATFORM_INFO_CPUID_FAULTING;
        if p.featureset().has(f::ARCH_CAPS) {
            p.arch_caps = host.msr(MSR_ARCH_CAPABILITIES).unwrap_or(0);
        }
        p
    }

    fn read_xstate(&mut self, host: &impl Host) {
        let (all, first) = self.xstate.split_at_mut(2);
        for (i, slot) in (0u32..).zip(all) {
            *slot = host.cpuid(0xd, i).into();
        }
        for (i, slot) in (2u32..).zip(first) {
            let regs = Regs::from(host.cpuid(0xd, i));
            if regs.a != 0 {
                *slot = regs;
            }
        }
        // EBX is the size for the present XCR0, which is no property of the CPU.
        for slot in self.xstate.iter_mut().take(2) {
            slot.b = 0;
        }
    }

    /// Who made the CPU.
    pub fn vendor(&self) -> Vendor {
        let Regs { b, c, d, .. } = self.basic_leaf(0);
        match (b, d, c) {
            (0x756e_6547, 0x4965_6e69, 0x6c65_746e) => Vendor::Intel,
            (0x6874_7541, 0x6974_6e65, 0x444d_4163) | (0x6f67_7948, 0x6e65_476e, 0x656e_6975) => {
                Vendor::Amd
            }
            _ => Vendor::Other,
        }
    }

    pub(crate) fn basic_leaf(&self, leaf: usize) -> Regs {
        self.basic.get(leaf).copied().unwrap_or_default()
    }

    pub(crate) fn extd_leaf(&self, leaf: usize) -> Regs {
        self.extd.get(leaf).copied().unwrap_or_default()
    }

    pub(crate) fn set_basic(&mut self, leaf: usize, change: impl FnOnce(&mut Regs)) {
        if let Some(regs) = self.basic.get_mut(leaf) {
            change(regs);
        }
    }

    pub(crate) fn set_extd(&mut self, leaf: usize, change: impl FnOnce(&mut Regs)) {
        if let Some(regs) = self.extd.get_mut(leaf) {
            change(regs);
        }
    }

    /// The greatest basic leaf.
    pub fn max_basic(&self) -> u32 {
        self.basic_leaf(0).a
    }

    /// The greatest extended leaf, as a distance from 0x80000000.
    pub fn max_extd(&self) -> u32 {
        self.extd_leaf(0).a & 0xffff
    }

    /// The greatest subleaf of leaf 7.
    pub fn max_feat(&self) -> u32 {
        self.feat.first().copied().unwrap_or_default().a
    }

    /// Bits of a physical address (leaf 0x80000008, 36 without it).
    pub fn physical_address_bits(&self) -> u32 {
        match self.extd_leaf(8).a & 0xff {
            0 => 36,
            bits => bits,
        }
    }

    /// State components that XCR0 may hold (leaf 13).
    pub fn xcr0_mask(&self) -> u64 {
        let Regs { a, d, .. } = self.xstate.first().copied().unwrap_or_default();
        u64::from(a) | (u64::from(d) << 32)
    }

    /// State components that XSS may hold (leaf 13.1).
    pub fn xss_mask(&self) -> u64 {
        let Regs { c, d, .. } = self.xstate.get(1).copied().unwrap_or_default();
        u64::from(c) | (u64::from(d) << 32)
    }

    /// MSR PLATFORM_INFO as the guest sees it.
    pub fn platform_info(&self) -> u64 {
        self.platform_info
    }

    /// MSR ARCH_CAPABILITIES as the guest sees it.
    pub fn arch_capabilities(&self) -> u64 {
        self.arch_caps
    }

    /// The features as words, in the order of the public interface.
    pub fn featureset(&self) -> FeatureSet {
        let feat = |i: usize| self.feat.get(i).copied().unwrap_or_default();
        let low = |v: u64| u32::try_from(v & 0xffff_ffff).unwrap_or(0);
        let words: [u32; WORDS] = [
            self.basic_leaf(1).d,
            self.basic_leaf(1).c,
            self.extd_leaf(1).d,
            self.extd_leaf(1).c,
            self.xstate.get(1).copied().unwrap_or_default().a,
            feat(0).b,
            feat(0).c,
            self.extd_leaf(7).d,
            self.extd_leaf(8).b,
            feat(0).d,
            feat(1).a,
            self.extd_leaf(0x21).a,
            feat(1).b,
            feat(2).d,
            feat(1).c,
            feat(1).d,
            low(self.arch_caps),
            low(self.arch_caps >> 32),
            self.extd_leaf(0x21).c,
        ];
        FeatureSet(words)
    }

    /// Puts the features of these words into the leaves.
    pub fn set_featureset(&mut self, set: &FeatureSet) {
        let [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15, w16, w17, w18] =
            set.0;
        self.set_basic(1, |r| (r.d, r.c) = (w0, w1));
        self.set_extd(1, |r| (r.d, r.c) = (w2, w3));
        self.set_extd(7, |r| r.d = w7);
        self.set_extd(8, |r| r.b = w8);
        self.set_extd(0x21, |r| (r.a, r.c) = (w11, w18));
        let [feat0, feat1, feat2] = &mut self.feat;
        (feat0.b, feat0.c, feat0.d) = (w5, w6, w9);
        (feat1.a, feat1.b, feat1.c, feat1.d) = (w10, w12, w14, w15);
        feat2.d = w13;
        if let Some(regs) = self.xstate.get_mut(1) {
            regs.a = w4;
        }
        self.arch_caps = u64::from(w16) | (u64::from(w17) << 32);
    }

    /// AMD repeats part of leaf 1 EDX in leaf 0x80000001 EDX.
    pub(crate) fn repeat_common_features(&mut self) {
        let common = match self.vendor() {
            Vendor::Amd => self.basic_leaf(1).d & COMMON_1D,
            _ => 0,
        };
        self.set_extd(1, |r| r.d = (r.d & !COMMON_1D) | common);
    }
}
