//! The one table of CPUID features: where each bit is, what it is called, who may see it.
//!
//! Words, bits and visibility are facts of the public header `arch-x86/cpufeatureset.h` (Xen 4.20).

/// Words of a feature set.
pub const WORDS: usize = 19;

/// Who may see a feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// No guest.
    Nobody,
    /// Every guest, unless it is taken away.
    All,
    /// Every guest, if it is given.
    AllOptIn,
    /// HVM guests, unless it is taken away.
    Hvm,
    /// HVM guests, if it is given.
    HvmOptIn,
    /// HVM guests with nested paging, unless it is taken away.
    Hap,
    /// HVM guests with nested paging, if it is given.
    HapOptIn,
}

/// A feature, by its place: word times 32 plus bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feature(u16);

impl Feature {
    const fn at(word: u16, bit: u16) -> Feature {
        Feature(word.wrapping_mul(32).wrapping_add(bit))
    }

    /// The word.
    pub const fn word(self) -> usize {
        (self.0 >> 5) as usize
    }

    /// The bit in it, as a mask.
    pub const fn mask(self) -> u32 {
        1u32.wrapping_shl(self.0 as u32)
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which feature.
    pub feature: Feature,
    /// Its name, as the C tools print it.
    pub name: &'static str,
    /// Who may see it.
    pub audience: Audience,
}

macro_rules! features {
    ($($id:ident($name:literal) = ($word:literal, $bit:literal) $audience:ident;)*) => {
        /// The features by name.
        #[allow(missing_docs)] // the names say it; the table below is their documentation
        pub mod f {
            use super::Feature;
            $( pub const $id: Feature = Feature::at($word, $bit); )*
        }

        /// The table.
        pub const FEATURES: &[Row] = &[
            $( Row { feature: f::$id, name: $name, audience: Audience::$audience }, )*
        ];
    };
}

features! {
    // Word 0: leaf 1 EDX.
    FPU("fpu") = (0, 0) All;
    VME("vme") = (0, 1) Hvm;
    DE("de") = (0, 2) All;
    PSE("pse") = (0, 3) Hvm;
    TSC("tsc") = (0, 4) All;
    MSR("msr") = (0, 5) All;
    PAE("pae") = (0, 6) All;
    MCE("mce") = (0, 7) All;
    CX8("cx8") = (0, 8) All;
    APIC("apic") = (0, 9) All;
    SEP("sep") = (0, 11) All;
    MTRR("mtrr") = (0, 12) Hvm;
    PGE("pge") = (0, 13) Hvm;
    MCA("mca") = (0, 14) All;
    CMOV("cmov") = (0, 15) All;
    PAT("pat") = (0, 16) All;
    PSE36("pse36") = (0, 17) Hvm;
    CLFLUSH("clflush") = (0, 19) All;
    DS("ds") = (0, 21) Nobody;
    ACPI("acpi") = (0, 22) All;
    MMX("mmx") = (0, 23) All;
    FXSR("fxsr") = (0, 24) All;
    SSE("sse") = (0, 25) All;
    SSE2("sse2") = (0, 26) All;
    SS("ss") = (0, 27) All;
    HTT("htt") = (0, 28) All;
    TM1("tm1") = (0, 29) Nobody;
    PBE("pbe") = (0, 31) Nobody;
    // Word 1: leaf 1 ECX.
    SSE3("sse3") = (1, 0) All;
    PCLMULQDQ("pclmulqdq") = (1, 1) All;
    DTES64("dtes64") = (1, 2) Nobody;
    MONITOR("monitor") = (1, 3) Nobody;
    DSCPL("dscpl") = (1, 4) Nobody;
    VMX("vmx") = (1, 5) HapOptIn;
    SMX("smx") = (1, 6) Nobody;
    EIST("eist") = (1, 7) Nobody;
    TM2("tm2") = (1, 8) Nobody;
    SSSE3("ssse3") = (1, 9) All;
    SDBG("sdbg") = (1, 11) Nobody;
    FMA("fma") = (1, 12) All;
    CX16("cx16") = (1, 13) All;
    XTPR("xtpr") = (1, 14) Nobody;
    PDCM("pdcm") = (1, 15) Nobody;
    PCID("pcid") = (1, 17) Hap;
    DCA("dca") = (1, 18) Nobody;
    SSE4_1("sse4-1") = (1, 19) All;
    SSE4_2("sse4-2") = (1, 20) All;
    X2APIC("x2apic") = (1, 21) Hvm;
    MOVBE("movbe") = (1, 22) All;
    POPCNT("popcnt") = (1, 23) All;
    TSC_DEADLINE("tsc-deadline") = (1, 24) Hvm;
    AESNI("aesni") = (1, 25) All;
    XSAVE("xsave") = (1, 26) All;
    OSXSAVE("osxsave") = (1, 27) Nobody;
    AVX("avx") = (1, 28) All;
    F16C("f16c") = (1, 29) All;
    RDRAND("rdrand") = (1, 30) All;
    HYPERVISOR("hypervisor") = (1, 31) All;
    // Word 2: leaf 0x80000001 EDX.
    SYSCALL("syscall") = (2, 11) All;
    NX("nx") = (2, 20) All;
    MMXEXT("mmxext") = (2, 22) All;
    FFXSR("ffxsr") = (2, 25) All;
    PAGE1GB("page1gb") = (2, 26) Hap;
    RDTSCP("rdtscp") = (2, 27) All;
    LM("lm") = (2, 29) All;
    AMD_3DNOWEXT("3dnowext") = (2, 30) All;
    AMD_3DNOW("3dnow") = (2, 31) All;
    // Word 3: leaf 0x80000001 ECX.
    LAHF_LM("lahf-lm") = (3, 0) All;
    CMP_LEGACY("cmp-legacy") = (3, 1) All;
    SVM("svm") = (3, 2) HapOptIn;
    EXTAPIC("extapic") = (3, 3) Nobody;
    CR8_LEGACY("cr8-legacy") = (3, 4) Hvm;
    ABM("abm") = (3, 5) All;
    SSE4A("sse4a") = (3, 6) All;
    MISALIGNSSE("misalignsse") = (3, 7) All;
    AMD_3DNOWPREFETCH("3dnowprefetch") = (3, 8) All;
    OSVW("osvw") = (3, 9) Nobody;
    IBS("ibs") = (3, 10) Nobody;
    XOP("xop") = (3, 11) All;
    SKINIT("skinit") = (3, 12) Nobody;
    WDT("wdt") = (3, 13) Nobody;
    LWP("lwp") = (3, 15) Nobody;
    FMA4("fma4") = (3, 16) All;
    NODEID_MSR("nodeid-msr") = (3, 19) Nobody;
    TBM("tbm") = (3, 21) All;
    TOPOEXT("topoext") = (3, 22) Nobody;
    DBEXT("dbext") = (3, 26) All;
    MONITORX("monitorx") = (3, 29) Nobody;
    ADDR_MSK_EXT("addr-msk-ext") = (3, 30) All;
    // Word 4: leaf 13.1 EAX.
    XSAVEOPT("xsaveopt") = (4, 0) All;
    XSAVEC("xsavec") = (4, 1) All;
    XGETBV1("xgetbv1") = (4, 2) All;
    XSAVES("xsaves") = (4, 3) Hvm;
    XFD("xfd") = (4, 4) Nobody;
    // Word 5: leaf 7.0 EBX.
    FSGSBASE("fsgsbase") = (5, 0) All;
    TSC_ADJUST("tsc-adjust") = (5, 1) Hvm;
    SGX("sgx") = (5, 2) Nobody;
    BMI1("bmi1") = (5, 3) All;
    HLE("hle") = (5, 4) AllOptIn;
    AVX2("avx2") = (5, 5) All;
    FDP_EXCP_ONLY("fdp-excp-only") = (5, 6) Nobody;
    SMEP("smep") = (5, 7) Hvm;
    BMI2("bmi2") = (5, 8) All;
    ERMS("erms") = (5, 9) All;
    INVPCID("invpcid") = (5, 10) Hap;
    RTM("rtm") = (5, 11) All;
    PQM("pqm") = (5, 12) Nobody;
    NO_FPU_SEL("no-fpu-sel") = (5, 13) Nobody;
    MPX("mpx") = (5, 14) HvmOptIn;
    PQE("pqe") = (5, 15) Nobody;
    AVX512F("avx512f") = (5, 16) All;
    AVX512DQ("avx512dq") = (5, 17) All;
    RDSEED("rdseed") = (5, 18) All;
    ADX("adx") = (5, 19) All;
    SMAP("smap") = (5, 20) Hvm;
    AVX512_IFMA("avx512-ifma") = (5, 21) All;
    CLFLUSHOPT("clflushopt") = (5, 23) All;
    CLWB("clwb") = (5, 24) All;
    PROC_TRACE("proc-trace") = (5, 25) Nobody;
    AVX512PF("avx512pf") = (5, 26) Nobody;
    AVX512ER("avx512er") = (5, 27) Nobody;
    AVX512CD("avx512cd") = (5, 28) All;
    SHA("sha") = (5, 29) All;
    AVX512BW("avx512bw") = (5, 30) All;
    AVX512VL("avx512vl") = (5, 31) All;
    // Word 6: leaf 7.0 ECX.
    PREFETCHWT1("prefetchwt1") = (6, 0) All;
    AVX512_VBMI("avx512-vbmi") = (6, 1) All;
    UMIP("umip") = (6, 2) Hvm;
    PKU("pku") = (6, 3) Hap;
    OSPKE("ospke") = (6, 4) Nobody;
    WAITPKG("waitpkg") = (6, 5) Nobody;
    AVX512_VBMI2("avx512-vbmi2") = (6, 6) All;
    CET_SS("cet-ss") = (6, 7) Nobody;
    GFNI("gfni") = (6, 8) All;
    VAES("vaes") = (6, 9) All;
    VPCLMULQDQ("vpclmulqdq") = (6, 10) All;
    AVX512_VNNI("avx512-vnni") = (6, 11) All;
    AVX512_BITALG("avx512-bitalg") = (6, 12) All;
    TME("tme") = (6, 13) Nobody;
    AVX512_VPOPCNTDQ("avx512-vpopcntdq") = (6, 14) All;
    LA57("la57") = (6, 16) Nobody;
    RDPID("rdpid") = (6, 22) All;
    BLD("bld") = (6, 24) Nobody;
    CLDEMOTE("cldemote") = (6, 25) All;
    MOVDIRI("movdiri") = (6, 27) AllOptIn;
    MOVDIR64B("movdir64b") = (6, 28) AllOptIn;
    ENQCMD("enqcmd") = (6, 29) Nobody;
    SGX_LC("sgx-lc") = (6, 30) Nobody;
    PKS("pks") = (6, 31) Hap;
    // Word 7: leaf 0x80000007 EDX.
    HW_PSTATE("hw-pstate") = (7, 7) Nobody;
    ITSC("itsc") = (7, 8) AllOptIn;
    CPB("cpb") = (7, 9) Nobody;
    EFRO("efro") = (7, 10) Nobody;
    // Word 8: leaf 0x80000008 EBX.
    CLZERO("clzero") = (8, 0) All;
    RSTR_FP_ERR_PTRS("rstr-fp-err-ptrs") = (8, 2) All;
    WBNOINVD("wbnoinvd") = (8, 9) Nobody;
    IBPB("ibpb") = (8, 12) All;
    IBRS("ibrs") = (8, 14) Hvm;
    AMD_STIBP("amd-stibp") = (8, 15) Hvm;
    IBRS_ALWAYS("ibrs-always") = (8, 16) Hvm;
    STIBP_ALWAYS("stibp-always") = (8, 17) Hvm;
    IBRS_FAST("ibrs-fast") = (8, 18) Hvm;
    IBRS_SAME_MODE("ibrs-same-mode") = (8, 19) Hvm;
    NO_LMSL("no-lmsl") = (8, 20) Hvm;
    AMD_PPIN("amd-ppin") = (8, 23) Nobody;
    AMD_SSBD("amd-ssbd") = (8, 24) Hvm;
    VIRT_SSBD("virt-ssbd") = (8, 25) Nobody;
    SSB_NO("ssb-no") = (8, 26) All;
    PSFD("psfd") = (8, 28) Hvm;
    BTC_NO("btc-no") = (8, 29) All;
    IBPB_RET("ibpb-ret") = (8, 30) All;
    // Word 9: leaf 7.0 EDX.
    SGX_KEYS("sgx-keys") = (9, 1) Nobody;
    AVX512_4VNNIW("avx512-4vnniw") = (9, 2) Nobody;
    AVX512_4FMAPS("avx512-4fmaps") = (9, 3) Nobody;
    FSRM("fsrm") = (9, 4) All;
    UINTR("uintr") = (9, 5) Nobody;
    AVX512_VP2INTERSECT("avx512-vp2intersect") = (9, 8) AllOptIn;
    SRBDS_CTRL("srbds-ctrl") = (9, 9) Nobody;
    MD_CLEAR("md-clear") = (9, 10) All;
    RTM_ALWAYS_ABORT("rtm-always-abort") = (9, 11) Nobody;
    TSX_FORCE_ABORT("tsx-force-abort") = (9, 13) Nobody;
    SERIALIZE("serialize") = (9, 14) All;
    HYBRID("hybrid") = (9, 15) Nobody;
    TSXLDTRK("tsxldtrk") = (9, 16) AllOptIn;
    PCONFIG("pconfig") = (9, 18) Nobody;
    ARCH_LBR("arch-lbr") = (9, 19) Nobody;
    CET_IBT("cet-ibt") = (9, 20) Nobody;
    AMX_BF16("amx-bf16") = (9, 22) Nobody;
    AVX512_FP16("avx512-fp16") = (9, 23) All;
    AMX_TILE("amx-tile") = (9, 24) Nobody;
    AMX_INT8("amx-int8") = (9, 25) Nobody;
    IBRSB("ibrsb") = (9, 26) All;
    STIBP("stibp") = (9, 27) All;
    L1D_FLUSH("l1d-flush") = (9, 28) Hvm;
    ARCH_CAPS("arch-caps") = (9, 29) All;
    CORE_CAPS("core-caps") = (9, 30) Nobody;
    SSBD("ssbd") = (9, 31) All;
    // Word 10: leaf 7.1 EAX.
    SHA512("sha512") = (10, 0) All;
    SM3("sm3") = (10, 1) All;
    SM4("sm4") = (10, 2) All;
    AVX_VNNI("avx-vnni") = (10, 4) All;
    AVX512_BF16("avx512-bf16") = (10, 5) All;
    CMPCCXADD("cmpccxadd") = (10, 7) AllOptIn;
    FZRM("fzrm") = (10, 10) All;
    FSRS("fsrs") = (10, 11) All;
    FSRCS("fsrcs") = (10, 12) All;
    FRED("fred") = (10, 17) Nobody;
    WRMSRNS("wrmsrns") = (10, 19) Hvm;
    AMX_FP16("amx-fp16") = (10, 21) Nobody;
    AVX_IFMA("avx-ifma") = (10, 23) All;
    // Word 11: leaf 0x80000021 EAX.
    NO_NEST_BP("no-nest-bp") = (11, 0) All;
    FS_GS_NS("fs-gs-ns") = (11, 1) Hvm;
    LFENCE_DISPATCH("lfence-dispatch") = (11, 2) All;
    VERW_CLEAR("verw-clear") = (11, 5) All;
    NSCB("nscb") = (11, 6) All;
    AUTO_IBRS("auto-ibrs") = (11, 8) Hvm;
    AMD_FSRS("amd-fsrs") = (11, 10) All;
    AMD_FSRC("amd-fsrc") = (11, 11) All;
    CPUID_USER_DIS("cpuid-user-dis") = (11, 17) Nobody;
    EPSF("epsf") = (11, 18) All;
    FSRSC("fsrsc") = (11, 19) All;
    AMD_PREFETCHI("amd-prefetchi") = (11, 20) All;
    SBPB("sbpb") = (11, 27) All;
    IBPB_BRTYPE("ibpb-brtype") = (11, 28) All;
    SRSO_NO("srso-no") = (11, 29) All;
    SRSO_US_NO("srso-us-no") = (11, 30) All;
    SRSO_MSR_FIX("srso-msr-fix") = (11, 31) Nobody;
    // Word 12: leaf 7.1 EBX.
    INTEL_PPIN("intel-ppin") = (12, 0) Nobody;
    // Word 13: leaf 7.2 EDX.
    INTEL_PSFD("intel-psfd") = (13, 0) All;
    IPRED_CTRL("ipred-ctrl") = (13, 1) Hvm;
    RRSBA_CTRL("rrsba-ctrl") = (13, 2) Hvm;
    DDP_CTRL("ddp-ctrl") = (13, 3) Nobody;
    BHI_CTRL("bhi-ctrl") = (13, 4) Hvm;
    MCDT_NO("mcdt-no") = (13, 5) All;
    // Word 15: leaf 7.1 EDX.
    AVX_VNNI_INT8("avx-vnni-int8") = (15, 4) All;
    AVX_NE_CONVERT("avx-ne-convert") = (15, 5) All;
    AMX_COMPLEX("amx-complex") = (15, 8) Nobody;
    AVX_VNNI_INT16("avx-vnni-int16") = (15, 10) All;
    PREFETCHI("prefetchi") = (15, 14) All;
    CET_SSS("cet-sss") = (15, 18) Nobody;
    // Word 16: ARCH_CAPABILITIES, low half.
    RDCL_NO("rdcl-no") = (16, 0) All;
    EIBRS("eibrs") = (16, 1) All;
    RSBA("rsba") = (16, 2) Nobody;
    SKIP_L1DFL("skip-l1dfl") = (16, 3) Nobody;
    INTEL_SSB_NO("intel-ssb-no") = (16, 4) All;
    MDS_NO("mds-no") = (16, 5) All;
    IF_PSCHANGE_MC_NO("if-pschange-mc-no") = (16, 6) All;
    TSX_CTRL("tsx-ctrl") = (16, 7) Nobody;
    TAA_NO("taa-no") = (16, 8) All;
    MCU_CTRL("mcu-ctrl") = (16, 9) Nobody;
    MISC_PKG_CTRL("misc-pkg-ctrl") = (16, 10) Nobody;
    ENERGY_FILTERING("energy-filtering") = (16, 11) Nobody;
    DOITM("doitm") = (16, 12) Nobody;
    SBDR_SSDP_NO("sbdr-ssdp-no") = (16, 13) All;
    FBSDP_NO("fbsdp-no") = (16, 14) All;
    PSDP_NO("psdp-no") = (16, 15) All;
    FB_CLEAR("fb-clear") = (16, 17) All;
    FB_CLEAR_CTRL("fb-clear-ctrl") = (16, 18) Nobody;
    RRSBA("rrsba") = (16, 19) Nobody;
    BHI_NO("bhi-no") = (16, 20) All;
    XAPIC_STATUS("xapic-status") = (16, 21) Nobody;
    OVRCLK_STATUS("ovrclk-status") = (16, 23) Nobody;
    PBRSB_NO("pbrsb-no") = (16, 24) All;
    GDS_CTRL("gds-ctrl") = (16, 25) Nobody;
    GDS_NO("gds-no") = (16, 26) All;
    RFDS_NO("rfds-no") = (16, 27) All;
    RFDS_CLEAR("rfds-clear") = (16, 28) All;
    // Word 17: ARCH_CAPABILITIES, high half.
    PB_OPT_CTRL("pb-opt-ctrl") = (17, 0) Nobody;
    ITS_NO("its-no") = (17, 30) All;
    // Word 18: leaf 0x80000021 ECX.
    TSA_SQ_NO("tsa-sq-no") = (18, 1) All;
    TSA_L1_NO("tsa-l1-no") = (18, 2) All;
}

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeatureSet(pub [u32; WORDS]);

impl FeatureSet {
    /// Whether a feature is in the set.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.get(feature.word()).is_some_and(|w| w & feature.mask() != 0)
    }

    /// Puts a feature in or takes it out.
    pub fn put(&mut self, feature: Feature, present: bool) {
        if let Some(word) = self.0.get_mut(feature.word()) {
            *word = if present { *word | feature.mask() } else { *word & !feature.mask() };
        }
    }

    /// What is in both.
    pub fn and(&self, other: &FeatureSet) -> FeatureSet {
        let mut result = *self;
        for (word, other) in result.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        result
    }

    /// Takes out what depends on something that is not in.
    pub fn drop_orphans(&mut self) {
        // No chain of dependencies is longer than the table.
        for _ in DEPENDENCIES {
            let before = *self;
            for (parent, child) in DEPENDENCIES {
                if !self.has(*parent) {
                    self.put(*child, false);
                }
            }
            if !self.has(f::ARCH_CAPS) {
                for word in self.0.iter_mut().skip(f::RDCL_NO.word()).take(2) {
                    *word = 0;
                }
            }
            if before == *self {
                break;
            }
        }
    }

    /// The features that these audiences may see.
    const fn of(audiences: &[Audience]) -> FeatureSet {
        let mut words = [0u32; WORDS];
        let mut rest = FEATURES;
        while let [row, tail @ ..] = rest {
            rest = tail;
            let mut wanted = audiences;
            while let [audience, others @ ..] = wanted {
                wanted = others;
                if *audience as u8 == row.audience as u8
                    && let Some((_, tail)) = words.split_at_mut_checked(row.feature.word())
                    && let [word, ..] = tail
                {
                    *word |= row.feature.mask();
                }
            }
        }
        FeatureSet(words)
    }
}

/// What a PV guest may see at most.
pub const PV_MAX: FeatureSet = FeatureSet::of(&[Audience::All, Audience::AllOptIn]);
/// What a PV guest sees if nobody says otherwise.
pub const PV_DEFAULT: FeatureSet = FeatureSet::of(&[Audience::All]);
/// What an HVM guest may see at most, with nested paging.
pub const HVM_MAX: FeatureSet = FeatureSet::of(&[
    Audience::All,
    Audience::AllOptIn,
    Audience::Hvm,
    Audience::HvmOptIn,
    Audience::Hap,
    Audience::HapOptIn,
]);
/// What an HVM guest with nested paging sees if nobody says otherwise.
pub const HVM_DEFAULT: FeatureSet = FeatureSet::of(&[Audience::All, Audience::Hvm, Audience::Hap]);

/// Bits of leaf 1 EDX that AMD repeats in leaf 0x80000001 EDX.
pub const COMMON_1D: u32 = 0x0183_f3ff;

/// What cannot be without what: (parent, child), from the processor manuals.
const DEPENDENCIES: &[(Feature, Feature)] = &[
    (f::FPU, f::MMX),
    (f::TSC, f::TSC_DEADLINE),
    (f::TSC, f::RDTSCP),
    (f::TSC, f::TSC_ADJUST),
    (f::TSC, f::ITSC),
    (f::APIC, f::X2APIC),
    (f::APIC, f::TSC_DEADLINE),
    (f::APIC, f::EXTAPIC),
    (f::PSE, f::PSE36),
    (f::PAE, f::LM),
    (f::MMX, f::MMXEXT),
    (f::MMX, f::AMD_3DNOW),
    (f::AMD_3DNOW, f::AMD_3DNOWEXT),
    (f::FXSR, f::FFXSR),
    (f::FXSR, f::SSE),
    (f::SSE, f::SSE2),
    (f::SSE, f::MISALIGNSSE),
    (f::SSE2, f::SSE3),
    (f::SSE2, f::LM),
    (f::SSE2, f::AESNI),
    (f::SSE2, f::PCLMULQDQ),
    (f::SSE2, f::SHA),
    (f::SSE2, f::GFNI),
    (f::SSE3, f::SSSE3),
    (f::SSE3, f::SSE4A),
    (f::SSSE3, f::SSE4_1),
    (f::SSE4_1, f::SSE4_2),
    (f::XSAVE, f::XSAVEOPT),
    (f::XSAVE, f::XSAVEC),
    (f::XSAVE, f::XGETBV1),
    (f::XSAVEC, f::XSAVES),
    (f::XSAVE, f::AVX),
    (f::XSAVE, f::MPX),
    (f::XSAVE, f::PKU),
    (f::AVX, f::FMA),
    (f::AVX, f::FMA4),
    (f::AVX, f::F16C),
    (f::AVX, f::XOP),
    (f::AVX, f::AVX2),
    (f::AVX2, f::VAES),
    (f::AVX2, f::VPCLMULQDQ),
    (f::AVX2, f::AVX_VNNI),
    (f::AVX2, f::AVX_IFMA),
    (f::AVX2, f::AVX_VNNI_INT8),
    (f::AVX2, f::AVX_VNNI_INT16),
    (f::AVX2, f::AVX_NE_CONVERT),
    (f::AVX2, f::SHA512),
    (f::AVX, f::SM3),
    (f::AVX2, f::SM4),
    (f::AESNI, f::VAES),
    (f::PCLMULQDQ, f::VPCLMULQDQ),
    (f::AVX2, f::AVX512F),
    (f::AVX512F, f::AVX512DQ),
    (f::AVX512F, f::AVX512_IFMA),
    (f::AVX512F, f::AVX512PF),
    (f::AVX512F, f::AVX512ER),
    (f::AVX512F, f::AVX512CD),
    (f::AVX512F, f::AVX512BW),
    (f::AVX512F, f::AVX512VL),
    (f::AVX512F, f::AVX512_VNNI),
    (f::AVX512F, f::AVX512_VPOPCNTDQ),
    (f::AVX512F, f::AVX512_4VNNIW),
    (f::AVX512F, f::AVX512_4FMAPS),
    (f::AVX512F, f::AVX512_VP2INTERSECT),
    (f::AVX512BW, f::AVX512_VBMI),
    (f::AVX512BW, f::AVX512_VBMI2),
    (f::AVX512BW, f::AVX512_BITALG),
    (f::AVX512BW, f::AVX512_BF16),
    (f::AVX512BW, f::AVX512_FP16),
    (f::LM, f::CX16),
    (f::LM, f::PCID),
    (f::LM, f::LAHF_LM),
    (f::LM, f::PAGE1GB),
    (f::LM, f::PKU),
    (f::LM, f::NO_LMSL),
    (f::LM, f::FSGSBASE),
    (f::PCID, f::INVPCID),
    (f::HLE, f::TSXLDTRK),
    (f::IBRSB, f::STIBP),
    (f::IBRSB, f::SSBD),
    (f::IBRSB, f::INTEL_PSFD),
    (f::IBRSB, f::EIBRS),
    (f::STIBP, f::IPRED_CTRL),
    (f::STIBP, f::RRSBA_CTRL),
    (f::STIBP, f::BHI_CTRL),
    (f::IBRS, f::AMD_STIBP),
    (f::IBRS, f::AMD_SSBD),
    (f::IBRS, f::PSFD),
    (f::IBRS, f::AUTO_IBRS),
    (f::IBRS, f::IBRS_ALWAYS),
    (f::IBRS, f::IBRS_FAST),
    (f::IBRS, f::IBRS_SAME_MODE),
    (f::AMD_STIBP, f::STIBP_ALWAYS),
    (f::IBPB, f::IBPB_RET),
    (f::IBPB, f::SBPB),
    (f::IBPB, f::IBPB_BRTYPE),
];
