//! What is chosen for CPUs that are known, as their CPUID describes them.

use crate::features::{Feature, f};
use crate::mitigations::*;
use crate::{Host, Policy};

/// A CPU of that maker, family, model, with these features.
struct Cpu {
    vendor: &'static [u8; 12],
    signature: u32,
    features: Vec<Feature>,
}

/// Leaf and register of each word of features that matters here.
const PLACES: [(usize, u32, u32, usize); 7] = [
    (5, 7, 0, 1),
    (8, 0x8000_0008, 0, 1),
    (9, 7, 0, 3),
    (11, 0x8000_0021, 0, 0),
    (13, 7, 2, 3),
    (14, 7, 1, 2),
    (18, 0x8000_0021, 0, 2),
];

impl Cpu {
    fn word(&self, word: usize) -> u32 {
        self.features.iter().filter(|f| f.word() == word).fold(0, |all, f| all | f.mask())
    }
}

impl Host for Cpu {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let mut regs = [0; 4];
        match leaf {
            0 => {
                let part = |i: usize| {
                    u32::from_le_bytes(self.vendor[i * 4..i * 4 + 4].try_into().unwrap())
                };
                regs = [7, part(0), part(2), part(1)];
            }
            1 => regs[0] = self.signature,
            7 if subleaf == 0 => regs[0] = 2,
            0x8000_0000 => regs[0] = 0x8000_0021,
            _ => {}
        }
        for (word, l, s, register) in PLACES {
            if (l, s) == (leaf, subleaf) {
                regs[register] = self.word(word);
            }
        }
        regs
    }

    fn msr(&self, index: u32) -> Option<u64> {
        let capabilities = u64::from(self.word(16)) | u64::from(self.word(17)) << 32;
        (index == crate::MSR_ARCH_CAPABILITIES).then_some(capabilities)
    }
}

fn intel(signature: u32, features: &[Feature]) -> Plan {
    let cpu = Cpu { vendor: b"GenuineIntel", signature, features: features.to_vec() };
    Plan::choose(&Policy::raw(&cpu), Wish::default())
}

fn amd(signature: u32, features: &[Feature]) -> Plan {
    let cpu = Cpu { vendor: b"AuthenticAMD", signature, features: features.to_vec() };
    Plan::choose(&Policy::raw(&cpu), Wish::default())
}

#[test]
fn skylake_gets_ibrs_on_entry_and_verw_and_is_said_to_have_meltdown() {
    let plan = intel(0x0005_06e3, &[f::IBRSB, f::MD_CLEAR, f::RTM]);
    let expected = Plan {
        spec_ctrl: SPEC_CTRL_IBRS,
        spec_ctrl_switched: true,
        ibpb_switch: true,
        verw: true,
        open: Open { meltdown: true, ..Open::default() },
        ..Plan::default()
    };
    assert_eq!(plan, expected);
}

#[test]
fn skylake_without_microcode_is_said_to_be_open() {
    let plan = intel(0x0005_06e3, &[]);
    let open = Open { meltdown: true, steering: true, buffers: true };
    assert_eq!(plan, Plan { open, ..Plan::default() });
}

#[test]
fn haswell_needs_no_ibrs_beside_retpolines() {
    let plan = intel(0x0003_06c3, &[f::IBRSB, f::MD_CLEAR]);
    assert_eq!((plan.spec_ctrl, plan.open.steering), (0, false));
    assert!(plan.ibpb_switch && plan.verw);
}

#[test]
fn a_cpu_with_enhanced_ibrs_keeps_it_on_with_what_goes_with_it() {
    let modern = [
        f::IBRSB,
        f::MD_CLEAR,
        f::ARCH_CAPS,
        f::RDCL_NO,
        f::EIBRS,
        f::MDS_NO,
        f::TAA_NO,
        f::SBDR_SSDP_NO,
        f::FBSDP_NO,
        f::PSDP_NO,
        f::RRSBA,
        f::RRSBA_CTRL,
        f::BHI_CTRL,
    ];
    let plan = intel(0x0008_06f8, &modern);
    let expected = Plan {
        spec_ctrl: SPEC_CTRL_IBRS | SPEC_CTRL_RRSBA_DIS_S | SPEC_CTRL_BHI_DIS_S,
        ibpb_switch: true,
        ..Plan::default()
    };
    assert_eq!(plan, expected);
    let with = |feature| intel(0x0008_06f8, &[&modern[..], &[feature]].concat());
    assert!(with(f::RFDS_CLEAR).verw, "register file data sampling");
    assert!(!with(f::RTM).verw, "TAA_NO");
}

#[test]
fn buffers_are_cleared_for_each_of_their_flaws() {
    let base = [f::ARCH_CAPS, f::RDCL_NO, f::MDS_NO, f::MD_CLEAR];
    let with = |more: &[Feature]| intel(0x0005_06e3, &[&base[..], more].concat()).verw;
    assert!(!with(&[]));
    assert!(with(&[f::RTM]), "TAA");
    assert!(with(&[f::FB_CLEAR]), "stale data of devices");
    assert!(!with(&[f::FB_CLEAR, f::SBDR_SSDP_NO, f::FBSDP_NO, f::PSDP_NO]));
    assert!(!with(&[f::RFDS_CLEAR, f::RFDS_NO]));
}

#[test]
fn zen_gets_a_barrier_on_entry_until_it_says_that_it_needs_none() {
    let zen2 = amd(0x0083_0f10, &[f::IBPB]);
    assert!(zen2.ibpb_entry && !zen2.ibpb_switch && !zen2.open.steering);
    assert!(amd(0x0083_0f10, &[]).open.steering);
    let zen4 = amd(0x00a1_0f11, &[f::IBPB, f::AUTO_IBRS, f::VERW_CLEAR, f::BTC_NO]);
    assert!(zen4.ibpb_entry && zen4.auto_ibrs && zen4.verw);
    let zen5 = amd(
        0x00b0_0f21,
        &[f::IBPB, f::AUTO_IBRS, f::SRSO_US_NO, f::VERW_CLEAR, f::TSA_SQ_NO, f::TSA_L1_NO],
    );
    assert!(!zen5.ibpb_entry && zen5.ibpb_switch && !zen5.verw);
    assert_eq!(zen5.open, Open::default());
}

#[test]
fn a_cpu_that_an_emulator_made_up_needs_nothing() {
    assert_eq!(amd(0x0000_0663, &[]), Plan::default());
}

#[test]
fn the_command_line_has_the_last_word_but_flaws_stay_told() {
    let cpu = Cpu {
        vendor: b"GenuineIntel",
        signature: 0x0005_06e3,
        features: vec![f::IBRSB, f::MD_CLEAR],
    };
    let raw = Policy::raw(&cpu);
    let no = Some(false);
    let off = Plan::choose(&raw, Wish { ibrs: no, ibpb: no, ibpb_entry: no, verw: no });
    assert_eq!(off, Plan { open: off.open, ..Plan::default() });
    assert!(off.open.meltdown);
    let entry = Plan::choose(&raw, Wish { ibpb_entry: Some(true), ..Wish::default() });
    assert!(entry.ibpb_entry && !entry.ibpb_switch, "one barrier is enough");
    let made_up = Cpu { vendor: b"AuthenticAMD", signature: 0x0663, features: vec![] };
    let forced = Plan::choose(&Policy::raw(&made_up), Wish { ibrs: Some(true), ..Wish::default() });
    assert_eq!((forced.spec_ctrl, forced.spec_ctrl_switched), (SPEC_CTRL_IBRS, true));
}
