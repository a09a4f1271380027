//! What is done about a CPU's speculation flaws, chosen from what the CPU says of itself.
//!
//! The image has its part compiled in, whatever the CPU: indirect branches are retpolines, and all
//! returns go through one thunk in the upper half of a cache line. What is chosen here comes on
//! top, where a CPU's flaw asks for it. The sources are the makers' guidance documents, and for
//! bits of ARCH_CAPABILITIES and of leaf 0x80000021 the public header `cpufeatureset.h`.

use crate::features::{FeatureSet, f};
use crate::{Policy, Vendor};

/// In SPEC_CTRL: indirect branches are not steered from less privileged code.
pub const SPEC_CTRL_IBRS: u64 = 1;
/// In SPEC_CTRL: returns do not fall back to other predictors.
pub const SPEC_CTRL_RRSBA_DIS_S: u64 = 1 << 6;
/// In SPEC_CTRL: user code's branch history does not steer the supervisor's branches.
pub const SPEC_CTRL_BHI_DIS_S: u64 = 1 << 10;

/// What the command line says; nothing means "as the CPU needs".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// IBRS while the hypervisor runs.
    pub ibrs: Option<bool>,
    /// A prediction barrier between domains.
    pub ibpb: Option<bool>,
    /// A prediction barrier on every entry.
    pub ibpb_entry: Option<bool>,
    /// Buffers overwritten on every exit.
    pub verw: Option<bool>,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// SPEC_CTRL's value while the hypervisor runs; 0 where the register is left alone.
    pub spec_ctrl: u64,
    /// SPEC_CTRL is 0 while guests run: set on each entry, cleared on each exit.
    pub spec_ctrl_switched: bool,
    /// EFER's bit for automatic IBRS is set.
    pub auto_ibrs: bool,
    /// A prediction barrier on every entry.
    pub ibpb_entry: bool,
    /// A prediction barrier when another domain's vCPU is loaded.
    pub ibpb_switch: bool,
    /// VERW on every exit.
    pub verw: bool,
    /// Flaws for which nothing is there.
    pub open: Open,
}

/// Flaws for which nothing is there: this hypervisor must not run untrusted guests on such a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Open {
    /// Meltdown and L1TF: user code can read what is mapped, or cached, for the hypervisor.
    pub meltdown: bool,
    /// Returns or branches can be steered, and the CPU lacks the means against it.
    pub steering: bool,
    /// Buffers can be sampled, and the CPU lacks the means (newer microcode) against it.
    pub buffers: bool,
}

impl Plan {
    /// For a CPU that says this, and whose family, model and stepping leaf 1 gives.
    pub fn choose(cpu: &Policy, wish: Wish) -> Plan {
        let set = cpu.featureset();
        let (family, model) = family_and_model(cpu.basic_leaf(1).a);
        let mut plan = match cpu.vendor() {
            Vendor::Intel => Plan::intel(&set, family, model),
            Vendor::Amd => Plan::amd(&set, family),
            Vendor::Other => Plan::default(),
        };
        match wish.ibrs {
            Some(false) => (plan.spec_ctrl, plan.auto_ibrs) = (0, false),
            Some(true) if plan.spec_ctrl == 0 && !plan.auto_ibrs => {
                (plan.spec_ctrl, plan.spec_ctrl_switched) = (SPEC_CTRL_IBRS, true);
            }
            _ => {}
        }
        plan.spec_ctrl_switched &= plan.spec_ctrl != 0;
        plan.ibpb_entry = wish.ibpb_entry.unwrap_or(plan.ibpb_entry);
        plan.ibpb_switch = wish.ibpb.unwrap_or(plan.ibpb_switch) && !plan.ibpb_entry;
        plan.verw = wish.verw.unwrap_or(plan.verw);
        plan
    }

    fn intel(set: &FeatureSet, family: u32, model: u32) -> Plan {
        let mut plan = Plan { ibpb_switch: set.has(f::IBRSB), ..Plan::default() };
        // Returns of these fall back to the branch predictor when the stack of them is empty.
        let skylake =
            family == 6 && matches!(model, 0x4e | 0x5e | 0x55 | 0x66 | 0x8e | 0x9e | 0xa5 | 0xa6);
        if set.has(f::EIBRS) {
            plan.spec_ctrl = SPEC_CTRL_IBRS;
            if set.has(f::RRSBA_CTRL) {
                plan.spec_ctrl |= SPEC_CTRL_RRSBA_DIS_S;
            }
            if set.has(f::BHI_CTRL) {
                plan.spec_ctrl |= SPEC_CTRL_BHI_DIS_S;
            }
        } else if skylake || set.has(f::RSBA) {
            if set.has(f::IBRSB) {
                (plan.spec_ctrl, plan.spec_ctrl_switched) = (SPEC_CTRL_IBRS, true);
            } else {
                plan.open.steering = true;
            }
        }
        let transactions = set.has(f::RTM) && !set.has(f::TAA_NO);
        let buffers = !set.has(f::MDS_NO) || transactions;
        let device_data =
            !(set.has(f::SBDR_SSDP_NO) && set.has(f::FBSDP_NO) && set.has(f::PSDP_NO));
        plan.verw = set.has(f::MD_CLEAR) && buffers
            || set.has(f::FB_CLEAR) && device_data
            || set.has(f::RFDS_CLEAR) && !set.has(f::RFDS_NO);
        plan.open.meltdown = !set.has(f::RDCL_NO);
        plan.open.buffers = !set.has(f::MDS_NO) && !set.has(f::MD_CLEAR);
        plan
    }

    fn amd(set: &FeatureSet, family: u32) -> Plan {
        let mut plan = Plan { auto_ibrs: set.has(f::AUTO_IBRS), ..Plan::default() };
        // Zen 1 and 2 (Hygon's too) take returns for other branches; Zen 3 and 4 let user code fill
        // the stack of returns; a barrier on entry mends both, on Zen 3 with newer microcode.
        let steered = match family {
            0x17 | 0x18 => !set.has(f::BTC_NO),
            0x19 => !set.has(f::SRSO_NO) && !set.has(f::SRSO_US_NO),
            _ => false,
        };
        plan.ibpb_entry = steered && set.has(f::IBPB);
        plan.open.steering = steered && !set.has(f::IBPB);
        plan.ibpb_switch = set.has(f::IBPB);
        plan.verw = set.has(f::VERW_CLEAR) && !(set.has(f::TSA_SQ_NO) && set.has(f::TSA_L1_NO));
        plan
    }
}

/// Family and model as leaf 1's EAX spells them (SDM vol. 2, APM vol. 3).
fn family_and_model(signature: u32) -> (u32, u32) {
    let base = signature >> 8 & 0xf;
    let family = if base == 0xf { base.wrapping_add(signature >> 20 & 0xff) } else { base };
    let extended = if base == 6 || base == 0xf { signature >> 12 & 0xf0 } else { 0 };
    (family, signature >> 4 & 0xf | extended)
}
