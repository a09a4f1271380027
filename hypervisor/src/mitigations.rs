//! What is done about the CPU's speculation flaws: chosen by `model/cpu-policy`, put in place by
//! `machine`, told to the user.

use crate::options::options;
use crate::policy::policies;
use cpu_policy::features::f;
use cpu_policy::mitigations::{
    Open, Plan, SPEC_CTRL_BHI_DIS_S, SPEC_CTRL_IBRS, SPEC_CTRL_RRSBA_DIS_S, Wish,
};
use machine::mitigate::{self, Mitigations};

/// Chooses, puts in place and says what.
#[inline(never)]
pub fn apply() {
    let cpu = &policies().raw;
    let asked = options().spec_ctrl;
    let wish =
        Wish { ibrs: asked.ibrs, ibpb: asked.ibpb, ibpb_entry: asked.ibpb_entry, verw: asked.verw };
    let plan = Plan::choose(cpu, wish);
    let wanted = Mitigations {
        spec_ctrl: plan.spec_ctrl,
        spec_ctrl_switched: plan.spec_ctrl_switched,
        auto_ibrs: plan.auto_ibrs,
        ibpb_entry: plan.ibpb_entry,
        ibpb_switch: plan.ibpb_switch,
        verw: plan.verw,
    };
    let done = mitigate::apply(wanted);
    crate::info!("Speculative mitigation facilities:");
    crate::info!("  Compiled-in: retpolines, return thunks, direct dispatch (no jump tables)");
    applied(&done, cpu.featureset().has(f::SMAP));
    if done != wanted {
        crate::warning!("  Not all that was chosen could be done: the CPU lacks a register for it");
    }
    open(plan.open);
}

fn applied(done: &Mitigations, smap: bool) {
    let bit = |bit: u64| done.spec_ctrl & bit != 0;
    let all = [
        (smap, "SMAP guards every access to guest memory"),
        (bit(SPEC_CTRL_IBRS) && !done.spec_ctrl_switched, "IBRS, always on"),
        (bit(SPEC_CTRL_IBRS) && done.spec_ctrl_switched, "IBRS, on entry from guests"),
        (bit(SPEC_CTRL_RRSBA_DIS_S), "RRSBA_DIS_S"),
        (bit(SPEC_CTRL_BHI_DIS_S), "BHI_DIS_S"),
        (done.auto_ibrs, "Automatic IBRS"),
        (done.ibpb_entry, "IBPB on entry from guests"),
        (done.ibpb_switch, "IBPB between domains"),
        (done.verw, "VERW on exit to guests"),
    ];
    for (_, what) in all.iter().filter(|(on, _)| *on) {
        crate::info!("  Applied: {what}");
    }
}

/// Says what nothing is done about.
fn open(flaws: Open) {
    let all = [
        (flaws.meltdown, "Meltdown and L1TF (no XPTI, no shadowing of page tables)"),
        (flaws.steering, "branch target injection through returns (the CPU has no barrier)"),
        (flaws.buffers, "sampling of buffers (needs newer microcode)"),
    ];
    for (_, what) in all.iter().filter(|(on, _)| *on) {
        crate::warning!("  NOT MITIGATED on this CPU: {what}; run no untrusted guests here");
    }
}
