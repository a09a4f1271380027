//! The policies against what Xen 4.20 made of the same CPU, and properties of lists.

use std::collections::{BTreeMap, BTreeSet};

use crate::features::{FEATURES, FeatureSet, HVM_MAX, PV_DEFAULT, PV_MAX, f};
use crate::*;
use abi::arch_x86::{CPUID_NO_SUBLEAF, CpuidLeaf, MsrEntry};
use proptest::prelude::*;

type Leaves = BTreeMap<(u32, u32), [u32; 4]>;

struct Section {
    count: usize,
    leaves: Leaves,
    msrs: BTreeMap<u32, u64>,
}

/// What Xen printed of an AMD CPU.
const AMD: &str = include_str!("../testdata/xen-qemu-amd.txt");
/// What Xen printed of an Intel CPU.
const INTEL: &str = include_str!("../testdata/xen-qemu-intel.txt");

/// What Xen printed, by policy.
fn xen(text: &str) -> BTreeMap<String, Section> {
    let mut sections = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let hex = |i: usize| u64::from_str_radix(words[i], 16).unwrap();
        let word = |i: usize| u32::try_from(hex(i)).unwrap();
        match words.as_slice() {
            [] | ["#", ..] => {}
            [title, "leaves", count] => {
                name = title.trim_matches(['[', ']']).to_string();
                let count = count.parse().unwrap();
                let section = Section { count, leaves: Leaves::new(), msrs: BTreeMap::new() };
                sections.insert(name.clone(), section);
            }
            ["msr", ..] => {
                sections.get_mut(&name).unwrap().msrs.insert(word(1), hex(2));
            }
            _ => {
                let regs = [word(2), word(3), word(4), word(5)];
                sections.get_mut(&name).unwrap().leaves.insert((word(0), word(1)), regs);
            }
        }
    }
    sections
}

/// A CPU that answers with the leaves of a list.
struct Listed(Section);

impl Host for Listed {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let whole = self.0.leaves.get(&(leaf, CPUID_NO_SUBLEAF));
        whole.or(self.0.leaves.get(&(leaf, subleaf))).copied().unwrap_or([0; 4])
    }

    fn msr(&self, index: u32) -> Option<u64> {
        self.0.msrs.get(&index).copied()
    }
}

fn raw_of(text: &str) -> Policy {
    Policy::raw(&Listed(xen(text).remove("raw").unwrap()))
}

fn raw() -> Policy {
    raw_of(AMD)
}

fn nonzero(policy: &Policy) -> Leaves {
    let leaves = policy.leaves().map(|l| ((l.leaf, l.subleaf), [l.a, l.b, l.c, l.d]));
    leaves.filter(|(_, regs)| *regs != [0; 4]).collect()
}

/// The host policy. On the Intel CPU, Xen turns AVX off: it takes it for one whose gathers leak (GDS).
fn host(raw: &Policy) -> Policy {
    match raw.vendor() {
        Vendor::Intel => raw.host().without(&[f::AVX]),
        Vendor::Amd | Vendor::Other => raw.host(),
    }
}

/// Asserts that the policy that `make` makes of the raw one is Xen's of this name, on both CPUs.
#[track_caller]
fn same_as_xen(name: &str, make: impl Fn(&Policy) -> Policy) {
    for (cpu, text) in [("AMD", AMD), ("Intel", INTEL)] {
        let policy = make(&raw_of(text));
        let section = xen(text).remove(name).unwrap();
        let (ours, theirs) = (nonzero(&policy), section.leaves);
        let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        let wrong: Vec<String> = keys
            .into_iter()
            .filter(|key| ours.get(key) != theirs.get(key))
            .map(|key| {
                let (mine, xens) = (ours.get(key), theirs.get(key));
                format!("{:08x}:{:08x}: ours {mine:08x?} Xen's {xens:08x?}", key.0, key.1)
            })
            .collect();
        assert!(wrong.is_empty(), "{name} on {cpu} differs:\n{}", wrong.join("\n"));
        assert_eq!(policy.leaves().count(), section.count, "length of the list, {name} on {cpu}");
        for msr in policy.msrs() {
            let theirs = section.msrs.get(&msr.idx);
            assert_eq!(theirs, Some(&msr.val), "MSR {:x}, {name} on {cpu}", msr.idx);
        }
    }
}

#[test]
fn the_raw_policy_is_what_xen_reads() {
    same_as_xen("raw", |raw| *raw);
}

#[test]
fn the_host_policy_is_xens() {
    same_as_xen("host", host);
}

#[test]
fn the_greatest_pv_policy_is_xens() {
    same_as_xen("pv_max", |raw| host(raw).pv_max());
}

#[test]
fn the_default_pv_policy_is_xens() {
    same_as_xen("pv_default", |raw| host(raw).pv_default());
}

#[test]
fn the_greatest_hvm_policy_is_xens() {
    same_as_xen("hvm_max", |raw| host(raw).hvm_max());
}

#[test]
fn the_default_hvm_policy_is_xens() {
    same_as_xen("hvm_default", |raw| host(raw).hvm_default());
}

#[test]
fn dom0_gets_the_policy_that_xen_gives_it() {
    same_as_xen("dom0", |raw| host(raw).dom0());
}

#[test]
fn cpuid_in_a_program_of_dom0_gives_what_it_gives_on_xen() {
    for text in [AMD, INTEL] {
        let raw = raw_of(text);
        let policy = host(&raw).dom0();
        let section = xen(text).remove("user").unwrap();
        let mut domain = domain(&raw, true);
        // What depends on the machine rather than on the policy.
        let [khz, ..] = section.leaves[&(0x4000_0003, 2)];
        domain.time = TimeView { host_khz: khz, host_rdtscp: true, ..TimeView::default() };
        domain.machine_address_bits = section.leaves[&(0x4000_0005, 0)][1];
        let view = VcpuView {
            vcpu_id: 0,
            cr4: CR4_OSXSAVE,
            xcr0: policy.xcr0_mask(),
            user_mode: true,
            domain: &domain,
        };
        assert_eq!(section.leaves.len(), section.count);
        for ((leaf, subleaf), theirs) in section.leaves {
            let ours = cpuid(&policy, &view, leaf, subleaf);
            assert_eq!(ours, theirs, "leaf {leaf:x}, subleaf {subleaf:x}: {ours:x?} {theirs:x?}");
        }
    }
}

fn domain(raw: &Policy, hardware_domain: bool) -> DomainView<'_> {
    let time = TimeView { guest_khz: 2_000_000, host_khz: 2_000_000, ..TimeView::default() };
    DomainView { hardware_domain, raw, machine_address_bits: 32, version: (4 << 16) | 20, time }
}

fn vcpu<'a>(domain: &'a DomainView<'a>) -> VcpuView<'a> {
    VcpuView { vcpu_id: 3, cr4: 0, xcr0: 1, user_mode: false, domain }
}

/// The features that a vCPU finds by executing CPUID.
fn seen(policy: &Policy, view: &VcpuView<'_>) -> BTreeSet<&'static str> {
    let mut shown = Policy::EMPTY;
    for leaf in (0..14).chain(0x8000_0000..0x8000_0022) {
        let subleaves = match leaf {
            7 => 3,
            13 => 2,
            _ => 1,
        };
        for subleaf in 0..subleaves {
            let [a, b, c, d] = cpuid(policy, view, leaf, subleaf);
            let subleaf = if matches!(leaf, 4 | 7 | 11 | 13) { subleaf } else { CPUID_NO_SUBLEAF };
            shown.apply_leaf(&CpuidLeaf { leaf, subleaf, a, b, c, d }).unwrap();
        }
    }
    let set = shown.featureset();
    FEATURES.iter().filter(|row| set.has(row.feature)).map(|row| row.name).collect()
}

#[test]
fn dom0s_linux_finds_the_flags_that_it_finds_on_xen() {
    // /proc/cpuinfo of Debian's kernel as dom0 of Debian's Xen on this CPU.
    let line = "fpu de tsc msr pae mce cx8 apic mca cmov pat clflush acpi mmx fxsr sse sse2 ss \
        syscall nx mmxext rdtscp lm 3dnowext 3dnow pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 \
        movbe popcnt aes xsave avx f16c rdrand hypervisor lahf_lm cmp_legacy abm sse4a \
        3dnowprefetch fsgsbase bmi1 avx2 bmi2 rdseed adx clflushopt clwb sha_ni xsaveopt xgetbv1 \
        xsaveerptr vaes rdpid";
    // Names in which Linux differs; features that it does not show or, as a PV guest, not use.
    let renamed = [("sse3", "pni"), ("aesni", "aes"), ("sha", "sha_ni")];
    let renamed: BTreeMap<_, _> =
        renamed.into_iter().chain([("rstr-fp-err-ptrs", "xsaveerptr")]).collect();
    let hidden = ["htt", "osxsave", "mtrr", "monitor", "fzrm", "fsrs", "fsrcs"];
    let raw = raw();
    let domain = domain(&raw, true);
    let seen = seen(&raw.host().dom0(), &vcpu(&domain));
    let ours: BTreeSet<String> = seen
        .into_iter()
        .filter(|name| !hidden.contains(name))
        .map(|name| renamed.get(name).copied().unwrap_or(name).replace('-', "_"))
        .collect();
    let theirs: BTreeSet<String> = line.split_whitespace().map(str::to_string).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn only_the_hardware_domains_kernel_is_shown_monitor_and_mtrr() {
    let raw = raw();
    let (dom0, domu) = (domain(&raw, true), domain(&raw, false));
    let policy = raw.host().dom0();
    let kernel = vcpu(&dom0);
    assert_eq!(cpuid(&policy, &kernel, 1, 0)[2] & f::MONITOR.mask(), f::MONITOR.mask());
    assert_eq!(cpuid(&policy, &kernel, 1, 0)[3] & f::MTRR.mask(), f::MTRR.mask());
    assert_eq!(cpuid(&policy, &kernel, 5, 0), [0, 0, 3, 0]);
    for other in [VcpuView { user_mode: true, ..kernel }, vcpu(&domu)] {
        assert_eq!(cpuid(&policy, &other, 1, 0)[2] & f::MONITOR.mask(), 0);
        assert_eq!(cpuid(&policy, &other, 1, 0)[3] & f::MTRR.mask(), 0);
        assert_eq!(cpuid(&policy, &other, 5, 0), [0; 4]);
    }
}

#[test]
fn user_programs_see_osxsave_once_their_kernel_has_set_it() {
    let raw = raw();
    let domain = domain(&raw, false);
    let policy = raw.host().pv_default();
    let user = VcpuView { user_mode: true, ..vcpu(&domain) };
    let osxsave = |view: &VcpuView<'_>| cpuid(&policy, view, 1, 0)[2] & f::OSXSAVE.mask() != 0;
    assert!(!osxsave(&user));
    assert!(osxsave(&VcpuView { cr4: CR4_OSXSAVE, ..user }));
    assert!(osxsave(&VcpuView { user_mode: false, ..user }));
}

#[test]
fn the_size_of_the_xsave_area_follows_xcr0() {
    let raw = raw();
    let domain = domain(&raw, false);
    let policy = raw.host().pv_default();
    let size = |xcr0| cpuid(&policy, &VcpuView { xcr0, ..vcpu(&domain) }, 13, 0)[1];
    assert_eq!((size(1), size(3), size(7)), (576, 576, 832));
}

#[test]
fn the_hypervisors_leaves_are_xens() {
    let raw = raw();
    let mut domain = domain(&raw, true);
    domain.time.tsc_offset = 0x1_2345_6789;
    domain.time.tsc_shift = -1;
    let policy = raw.host().dom0();
    let leaf = |n: u32, subleaf| cpuid(&policy, &vcpu(&domain), 0x4000_0000 + n, subleaf);
    let [max, b, c, d] = leaf(0, 0);
    let name: Vec<u8> = [b, c, d].iter().flat_map(|w| w.to_le_bytes()).collect();
    assert_eq!((max, name.as_slice()), (0x4000_0005, b"XenVMMXenVMM".as_slice()));
    assert_eq!(leaf(1, 0)[0], 0x4_0014);
    assert_eq!(leaf(2, 0), [1, 0x4000_0000, 1, 0]);
    assert_eq!(leaf(3, 0), [0, 0, 2_000_000, 0]);
    assert_eq!(leaf(3, 1), [0x2345_6789, 1, 0, 0xff]);
    assert_eq!(leaf(3, 2), [2_000_000, 0, 0, 0]);
    assert_eq!(leaf(4, 0), [0; 4]);
    assert_eq!(leaf(5, 0), [0, 32, 0, 0]);
    assert_eq!(leaf(6, 0), [0; 4]);
    assert_eq!(leaf(0x100, 0), [0; 4]);
}

#[test]
fn the_toolstack_can_lower_the_number_of_hypervisor_leaves_to_two() {
    let raw = raw();
    let domain = domain(&raw, false);
    let mut policy = raw.host().pv_default();
    for (asked, given) in [(0, 5), (1, 2), (3, 3), (9, 5)] {
        let limit =
            CpuidLeaf { leaf: 0x4000_0000, subleaf: CPUID_NO_SUBLEAF, a: asked, b: 0, c: 0, d: 0 };
        policy.apply_leaf(&limit).unwrap();
        assert_eq!(cpuid(&policy, &vcpu(&domain), 0x4000_0000, 0)[0], 0x4000_0000 + given);
    }
}

#[test]
fn no_row_of_the_table_has_the_place_or_the_name_of_another() {
    let places: BTreeSet<_> =
        FEATURES.iter().map(|r| (r.feature.word(), r.feature.mask())).collect();
    let names: BTreeSet<_> = FEATURES.iter().map(|r| r.name).collect();
    assert_eq!((places.len(), names.len()), (FEATURES.len(), FEATURES.len()));
}

#[test]
fn pv_guests_never_see_what_only_hardware_virtualization_can_give() {
    for feature in [
        f::VMX,
        f::SVM,
        f::PCID,
        f::INVPCID,
        f::SMEP,
        f::SMAP,
        f::UMIP,
        f::PKU,
        f::MTRR,
        f::PGE,
        f::PSE,
        f::VME,
        f::MONITOR,
        f::LA57,
        f::CET_SS,
        f::PAGE1GB,
        f::XSAVES,
        f::TSC_DEADLINE,
    ] {
        assert!(!PV_MAX.has(feature), "{feature:?}");
    }
    assert_eq!(PV_DEFAULT.and(&PV_MAX), PV_DEFAULT);
    assert_eq!(PV_MAX.and(&HVM_MAX), PV_MAX);
}

#[test]
fn without_xsave_there_is_nothing_that_needs_it() {
    let raw = raw();
    let max = raw.host().pv_max();
    let mut asked = raw.host().pv_default();
    let mut set = asked.featureset();
    set.put(f::XSAVE, false);
    asked.set_featureset(&set);
    let given = asked.pv_domain(&max, DomainOptions::default());
    for feature in [f::AVX, f::AVX2, f::FMA, f::F16C, f::XSAVEOPT, f::VAES] {
        assert!(!given.featureset().has(feature), "{feature:?}");
    }
    assert_eq!(given.leaf(13, 0), Regs::ZERO);
}

#[test]
fn a_list_that_asks_for_too_much_is_refused_by_name() {
    let max = raw().host().pv_max();
    let default = raw().host().pv_default();
    assert_eq!(max.validate(&default), Ok(()));
    let change = |leaf, subleaf, a| {
        let mut p = default;
        let old = default.leaf(leaf, subleaf);
        let new = CpuidLeaf { leaf, subleaf, a, b: old.b, c: old.c, d: old.d };
        p.apply_leaf(&new).unwrap();
        max.validate(&p).unwrap_err()
    };
    let at = |leaf, subleaf| BadLeaf { leaf, subleaf, msr: !0 };
    assert_eq!(change(0, !0, 14), at(0, !0));
    assert_eq!(change(7, 0, 3), at(7, 0));
    assert_eq!(change(0x8000_0000, !0, 0x8000_0022), at(0x8000_0000, !0));
    let mut p = default;
    p.apply_msr(&MsrEntry { idx: 0xce, flags: 0, val: 1 << 31 }).unwrap();
    assert_eq!(max.validate(&p), Err(BadLeaf { leaf: !0, subleaf: !0, msr: 0xce }));
    let mut p = default;
    p.apply_msr(&MsrEntry { idx: 0x10a, flags: 0, val: 1 }).unwrap();
    assert_eq!(max.validate(&p), Err(BadLeaf { leaf: !0, subleaf: !0, msr: 0x10a }));
}

#[test]
fn leaves_and_msrs_that_no_policy_has_are_refused() {
    let mut p = Policy::EMPTY;
    let places = [
        (14, !0),
        (0, 0),
        (4, 6),
        (4, !0),
        (7, 3),
        (0xb, 2),
        (0xd, 63),
        (0x4000_0001, !0),
        (0x4000_0000, 0),
        (0x8000_0022, !0),
        (0x8000_0001, 0),
        (0x8001_0000, !0),
        (!0, !0),
    ];
    for (leaf, subleaf) in places {
        let result = p.apply_leaf(&CpuidLeaf { leaf, subleaf, a: 1, b: 1, c: 1, d: 1 });
        assert_eq!(result, Err(BadLeaf { leaf, subleaf, msr: !0 }));
    }
    for (idx, flags, val) in [(0xcf, 0, 0), (0xce, 1, 0), (0xce, 0, 1), (0x10a, 2, 0)] {
        assert!(p.apply_msr(&MsrEntry { idx, flags, val }).is_err());
    }
    assert_eq!(p, Policy::EMPTY);
}

fn any_leaf() -> impl Strategy<Value = CpuidLeaf> {
    let leaf = prop_oneof![0u32..16, 0x8000_0000u32..0x8000_0024, Just(0x4000_0000), any::<u32>()];
    let subleaf = prop_oneof![Just(CPUID_NO_SUBLEAF), 0u32..64];
    (leaf, subleaf, any::<[u32; 4]>()).prop_map(|(leaf, subleaf, [a, b, c, d])| CpuidLeaf {
        leaf,
        subleaf,
        a,
        b,
        c,
        d,
    })
}

/// A policy that a toolstack could have made, starting from the default.
fn any_policy() -> impl Strategy<Value = Policy> {
    prop::collection::vec(any_leaf(), 0..60).prop_map(|leaves| {
        let mut policy = raw().host().pv_default();
        for leaf in leaves {
            let _ = policy.apply_leaf(&leaf);
        }
        policy
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn whatever_is_asked_for_a_domain_gets_no_more_than_the_most(asked in any_policy()) {
        let max = raw().host().pv_max();
        let given = asked.pv_domain(&max, DomainOptions::default());
        let mut allowed = max.featureset();
        // The repeated bits of leaf 0x80000001 are those of leaf 1.
        allowed.0[2] |= given.featureset().0[0] & features::COMMON_1D;
        prop_assert_eq!(given.featureset().and(&allowed), given.featureset());
        prop_assert_eq!(max.validate(&given), Ok(()));
        prop_assert_eq!(given.xcr0_mask() & !max.xcr0_mask(), 0);
        prop_assert!(given.leaves().count() <= MAX_LEAVES as usize);
        // Once more changes nothing.
        prop_assert_eq!(given.pv_domain(&max, DomainOptions::default()), given);
    }

    #[test]
    fn a_list_read_back_is_the_policy(asked in any_policy()) {
        let given = asked.pv_domain(&raw().host().pv_max(), DomainOptions::default());
        let mut copy = Policy::EMPTY;
        for leaf in given.leaves() {
            copy.apply_leaf(&leaf).unwrap();
        }
        for msr in given.msrs() {
            copy.apply_msr(&msr).unwrap();
        }
        let list: Vec<_> = given.leaves().map(|l| (l.leaf, l.subleaf, l.a, l.b, l.c, l.d)).collect();
        let back: Vec<_> = copy.leaves().map(|l| (l.leaf, l.subleaf, l.a, l.b, l.c, l.d)).collect();
        prop_assert_eq!(list, back);
        prop_assert_eq!(given.msrs().map(|m| m.val), copy.msrs().map(|m| m.val));
    }

    #[test]
    fn no_leaf_beyond_the_limits_is_anything_but_zero(
        leaf in any::<u32>(), subleaf in any::<u32>(), user_mode in any::<bool>(),
    ) {
        let raw = raw();
        let policy = raw.host().dom0();
        let domain = domain(&raw, true);
        let view = VcpuView { user_mode, ..vcpu(&domain) };
        let known = leaf <= policy.max_basic()
            || (0x4000_0000..0x4000_0006).contains(&leaf)
            || (leaf >> 16 == 0x8000 && leaf & 0xffff <= policy.max_extd());
        if !known {
            prop_assert_eq!(cpuid(&policy, &view, leaf, subleaf), [0; 4]);
        }
    }

    #[test]
    fn feature_words_survive_the_way_through_the_leaves(words in any::<[u32; 19]>()) {
        let mut policy = Policy::EMPTY;
        policy.set_featureset(&FeatureSet(words));
        prop_assert_eq!(policy.featureset().0, words);
    }
}

#[test]
fn the_control_operations_find_each_policy_by_its_number() {
    use abi::sysctl::{FeaturesetIndex, PolicyIndex};
    let mut policies = Policies::EMPTY;
    policies.read(&Listed(xen(AMD).remove("raw").unwrap()), &[]);
    let host = raw().host();
    assert_eq!(policies.get(PolicyIndex::RAW), Some(&raw()));
    assert_eq!(policies.get(PolicyIndex::PV_MAX), Some(&host.pv_max()));
    assert_eq!(policies.get(PolicyIndex::HVM_DEFAULT), Some(&host.hvm_default()));
    assert_eq!(policies.get(PolicyIndex(6)), None);
    let pv = policies.featureset(FeaturesetIndex::PV).unwrap();
    // The set that xen-cpuid prints of this CPU as "PV Default", but for hyper-threading.
    let printed = [0x0fc9_c3f5, 0xf6d8_3203, 0xe850_0800, 0x0000_0163, 5, 0x218c_0129, 0x0040_0200];
    assert_eq!(pv.0[..7], printed);
    assert_eq!(policies.featureset(FeaturesetIndex(6)), None);
}
