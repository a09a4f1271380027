//! Model-specific registers as PV guests see them.

use crate::vcpu::Vcpu;
use machine::cpu::{self, msr};

const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const FEATURE_CONTROL: u32 = 0x3a;
const BIOS_SIGN_ID: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const MTRR_CAP: u32 = 0xfe;
const ARCH_CAPABILITIES: u32 = 0x10a;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MCG_CTL: u32 = 0x17b;
const MISC_ENABLE: u32 = 0x1a0;
const MISC_FEATURES: u32 = 0x140;
const MTRR_PHYS_BASE0: u32 = 0x200;
const MTRR_PHYS_LAST: u32 = 0x20f;
const MTRR_FIX: [u32; 11] =
    [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const MTRR_DEF_TYPE: u32 = 0x2ff;
const PERF_CAPABILITIES: u32 = 0x345;
const MC0_CTL: u32 = 0x400;
const MC_LAST: u32 = 0x47f;
const EFER_SCE_LME_LMA_NX: u64 = 0xd01;
const K8_HWCR: u32 = 0xc001_0015;
const K8_TSEG: [u32; 2] = [0xc001_0112, 0xc001_0113];
const FAM10H_MMIO_CONF_BASE: u32 = 0xc001_0058;
const K8_SYSCFG: u32 = 0xc001_0010;
const K8_NB_CFG: u32 = 0xc001_001f;
const K8_PSTATE: core::ops::RangeInclusive<u32> = 0xc001_0061..=0xc001_006b;

/// RDMSR; `None` is #GP. `bases` are FS, GS of this mode, GS of the other.
pub fn read(v: &Vcpu, index: u32, [fs, gs, other]: [u64; 3]) -> Option<u64> {
    Some(match index {
        msr::FS_BASE => fs,
        msr::GS_BASE => gs,
        msr::KERNEL_GS_BASE => other,
        msr::EFER => EFER_SCE_LME_LMA_NX,
        msr::PAT => cpu::PAT_LAYOUT,
        TSC => cpu::rdtsc(),
        // Enabled; the first vCPU is the one that booted.
        APIC_BASE => 0xfee0_0000 | 0x800 | if v.id.0 == 0 { 0x100 } else { 0 },
        PLATFORM_INFO => v.domain.policy.lock().platform_info(),
        ARCH_CAPABILITIES if has_arch_capabilities(v) => v.domain.policy.lock().arch_capabilities(),
        MISC_ENABLE => cpu::rdmsr_safe(index)? & !(1 << 7) | 0x1800,
        PERF_CAPABILITIES | FEATURE_CONTROL | BIOS_SIGN_ID | MISC_FEATURES => 0,
        msr::TSC_AUX => u64::from(v.id.0),
        // No banks: what is asked of them is nothing.
        MCG_CAP | MCG_STATUS | MCG_CTL | MC0_CTL..=MC_LAST => 0,
        // dom0 reads how the firmware set memory types; it changes them by hypercall only.
        MTRR_CAP | MTRR_DEF_TYPE | MTRR_PHYS_BASE0..=MTRR_PHYS_LAST if v.domain.privileged => {
            cpu::rdmsr_safe(index)?
        }
        _ if MTRR_FIX.contains(&index) && v.domain.privileged => cpu::rdmsr_safe(index)?,
        K8_HWCR | K8_SYSCFG | K8_NB_CFG | FAM10H_MMIO_CONF_BASE if v.domain.privileged => {
            cpu::rdmsr_safe(index).unwrap_or(0)
        }
        _ if K8_TSEG.contains(&index) && v.domain.privileged => cpu::rdmsr_safe(index).unwrap_or(0),
        _ if K8_PSTATE.contains(&index) => 0,
        _ => {
            // Before the kernel has a handler for #GP, a read that fails would be its end.
            let no_handler = v.traps.lock().get(13).is_none_or(|t| t.address == 0);
            return no_handler.then_some(0);
        }
    })
}

fn has_arch_capabilities(v: &Vcpu) -> bool {
    v.domain.policy.lock().leaf(7, 0).d >> 29 & 1 != 0
}

/// WRMSR; `false` is #GP.
pub fn write(v: &Vcpu, index: u32, value: u64) -> bool {
    match index {
        // As it is: nothing may change.
        msr::EFER => value & !0x400 == EFER_SCE_LME_LMA_NX & !0x400,
        msr::PAT => value == cpu::PAT_LAYOUT,
        MISC_ENABLE | MCG_STATUS | MCG_CTL | MC0_CTL..=MC_LAST => true,
        MISC_FEATURES => value == 0,
        // Microcode and revision queries write 0 first.
        BIOS_SIGN_ID => value == 0,
        K8_HWCR | K8_NB_CFG | K8_SYSCFG => v.domain.privileged,
        msr::TSC_AUX => value == u64::from(v.id.0),
        _ => false,
    }
}
