//! Policies as lists of leaves and MSRs, as the control operations carry them.

use crate::policy::{
    CACHE_LEAVES, EXTD_LEAVES, FEAT_LEAVES, MSR_ARCH_CAPABILITIES, MSR_PLATFORM_INFO,
    PLATFORM_INFO_CPUID_FAULTING, Policy, Regs, TOPO_LEAVES, XSTATE_LEAVES,
};
use abi::arch_x86::{CPUID_FIRST_LEAF, CPUID_NO_SUBLEAF, CpuidLeaf, MsrEntry};

/// Leaves of a list at most.
pub const MAX_LEAVES: u32 = 120;
/// MSRs of a list.
pub const MAX_MSRS: u32 = 2;

const HV2_FIRST_LEAF: u32 = 0x4000_0100;

/// What is wrong with a policy, in the form that the control operation reports: all ones where the
/// part has nothing to do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadLeaf {
    /// The leaf.
    pub leaf: u32,
    /// The subleaf.
    pub subleaf: u32,
    /// The MSR.
    pub msr: u32,
}

impl BadLeaf {
    /// Nothing is wrong.
    pub const NONE: BadLeaf = BadLeaf { leaf: !0, subleaf: !0, msr: !0 };

    fn leaf(leaf: u32, subleaf: u32) -> BadLeaf {
        BadLeaf { leaf, subleaf, ..BadLeaf::NONE }
    }

    fn msr(msr: u32) -> BadLeaf {
        BadLeaf { msr, ..BadLeaf::NONE }
    }
}

/// Entries of a table of subleaves, with the one that ends it.
fn listed(table: &[Regs], last: impl Fn(&Regs) -> bool) -> usize {
    let ended = table.iter().position(last);
    ended.map_or(table.len(), |end| end.saturating_add(1)).min(table.len())
}

fn entry(leaf: u32, subleaf: u32, regs: &Regs) -> CpuidLeaf {
    CpuidLeaf { leaf, subleaf, a: regs.a, b: regs.b, c: regs.c, d: regs.d }
}

fn subleaves(leaf: u32, table: &[Regs]) -> impl Iterator<Item = CpuidLeaf> {
    (0u32..).zip(table).map(move |(i, regs)| entry(leaf, i, regs))
}

impl Policy {
    /// The policy as a list, at most [`MAX_LEAVES`] long.
    pub fn leaves(&self) -> impl Iterator<Item = CpuidLeaf> {
        let cache = listed(&self.cache, |r| r.a & 0x1f == 0);
        let topo = listed(&self.topo, |r| r.c & 0xff00 == 0);
        let components = self.xcr0_mask() | self.xss_mask();
        let xstate = match components.checked_ilog2() {
            Some(top) => usize::try_from(top).unwrap_or(0).saturating_add(1).max(2),
            None => 2,
        };
        let feat = usize::try_from(self.max_feat()).unwrap_or(0).saturating_add(1);
        let lists = [
            (4, self.cache.get(..cache)),
            (7, self.feat.get(..feat.min(FEAT_LEAVES))),
            (0xb, self.topo.get(..topo)),
            (0xd, self.xstate.get(..xstate.min(XSTATE_LEAVES))),
        ];
        let max = self.max_basic();
        let basic = (0u32..).zip(&self.basic).take_while(move |(n, _)| *n <= max);
        let basic = basic.flat_map(move |(n, regs)| {
            let list = lists.iter().find(|(leaf, _)| *leaf == n);
            let plain = list.is_none().then(|| entry(n, CPUID_NO_SUBLEAF, regs));
            let table = list.and_then(|(_, table)| *table).unwrap_or(&[]);
            plain.into_iter().chain(subleaves(n, table))
        });
        let limit = |leaf, a| entry(leaf, CPUID_NO_SUBLEAF, &Regs { a, ..Regs::ZERO });
        let hypervisor =
            [limit(CPUID_FIRST_LEAF, self.hv_limit), limit(HV2_FIRST_LEAF, self.hv2_limit)];
        let max = self.max_extd();
        let extd = (0u32..).zip(&self.extd).take_while(move |(n, _)| *n <= max);
        let extd = extd.map(|(n, regs)| entry(0x8000_0000 | n, CPUID_NO_SUBLEAF, regs));
        basic.chain(hypervisor).chain(extd)
    }

    /// The MSRs as a list.
    pub fn msrs(&self) -> [MsrEntry; 2] {
        [
            MsrEntry { idx: MSR_PLATFORM_INFO, flags: 0, val: self.platform_info },
            MsrEntry { idx: MSR_ARCH_CAPABILITIES, flags: 0, val: self.arch_caps },
        ]
    }

    /// Takes over one leaf of a list. Fails for leaves and subleaves that no policy has.
    pub fn apply_leaf(&mut self, new: &CpuidLeaf) -> Result<(), BadLeaf> {
        let bad = BadLeaf::leaf(new.leaf, new.subleaf);
        let regs = Regs { a: new.a, b: new.b, c: new.c, d: new.d };
        let sub = usize::try_from(new.subleaf).map_err(|_| bad)?;
        let low = usize::try_from(new.leaf & 0xffff).map_err(|_| bad)?;
        let whole = new.subleaf == CPUID_NO_SUBLEAF;
        let slot = match new.leaf {
            4 => self.cache.get_mut(sub).filter(|_| sub < CACHE_LEAVES),
            7 => self.feat.get_mut(sub).filter(|_| sub < FEAT_LEAVES),
            0xb => self.topo.get_mut(sub).filter(|_| sub < TOPO_LEAVES),
            0xd => self.xstate.get_mut(sub).filter(|_| sub < XSTATE_LEAVES),
            CPUID_FIRST_LEAF | HV2_FIRST_LEAF => {
                if !whole || new.a > 0xff {
                    return Err(bad);
                }
                let limit = match new.leaf {
                    CPUID_FIRST_LEAF => &mut self.hv_limit,
                    _ => &mut self.hv2_limit,
                };
                *limit = new.a;
                return Ok(());
            }
            leaf if leaf >> 16 == 0x8000 => self.extd.get_mut(low).filter(|_| whole),
            leaf if leaf <= 0xffff => self.basic.get_mut(low).filter(|_| whole),
            _ => None,
        };
        *slot.ok_or(bad)? = regs;
        Ok(())
    }

    /// Takes over one MSR of a list. Fails for MSRs that no policy has, for values that they cannot
    /// have, and for flags, of which none is defined.
    pub fn apply_msr(&mut self, new: &MsrEntry) -> Result<(), BadLeaf> {
        let bad = Err(BadLeaf::msr(new.idx));
        match new.idx {
            _ if new.flags != 0 => return bad,
            MSR_PLATFORM_INFO if new.val & !PLATFORM_INFO_CPUID_FAULTING != 0 => return bad,
            MSR_PLATFORM_INFO => self.platform_info = new.val,
            MSR_ARCH_CAPABILITIES => self.arch_caps = new.val,
            _ => return bad,
        }
        Ok(())
    }

    /// Whether a guest with the policy `new` can be given what it asks for, this being the greatest
    /// policy that it may have. Features that it may not have are no error: they are taken away when
    /// the policy is made the domain's ([`Policy::pv_domain`]).
    pub fn validate(&self, new: &Policy) -> Result<(), BadLeaf> {
        if new.max_basic() > self.max_basic() {
            return Err(BadLeaf::leaf(0, CPUID_NO_SUBLEAF));
        }
        if new.max_feat() > self.max_feat() {
            return Err(BadLeaf::leaf(7, 0));
        }
        if new.extd_leaf(0).a > self.extd_leaf(0).a {
            return Err(BadLeaf::leaf(0x8000_0000, CPUID_NO_SUBLEAF));
        }
        if new.platform_info & !self.platform_info != 0 {
            return Err(BadLeaf::msr(MSR_PLATFORM_INFO));
        }
        if new.arch_caps & !self.arch_caps != 0 {
            return Err(BadLeaf::msr(MSR_ARCH_CAPABILITIES));
        }
        Ok(())
    }
}

// What the C tools are told to make room for is what the tables hold: four basic leaves are lists.
const _: () = assert!(
    MAX_LEAVES as usize
        == 10 + CACHE_LEAVES + FEAT_LEAVES + TOPO_LEAVES + XSTATE_LEAVES + 2 + EXTD_LEAVES
);
