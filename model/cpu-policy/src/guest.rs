//! CPUID as a vCPU executes it: its domain's policy and what depends on the vCPU's state.

use crate::features::f;
use crate::policy::{Policy, Regs, Vendor};
use abi::arch_x86::{
    CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, CPUID_FIRST_LEAF, CPUID_HOST_TSC_RELIABLE,
    CPUID_MAX_NUM_LEAVES, CPUID_RDTSCP_INSTR_AVAIL, CPUID_SIGNATURE_EBX, CPUID_SIGNATURE_ECX,
    CPUID_SIGNATURE_EDX, CPUID_TSC_EMULATED, MSR_HYPERCALL_PAGE,
};

/// CR4: XSAVE is in use.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// CR4: protection keys are in use.
pub const CR4_PKE: u64 = 1 << 22;

/// A domain's time, for the hypervisor's leaf 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeView {
    /// Reads of the TSC trap.
    pub tsc_emulated: bool,
    /// The host's TSC keeps its rate and is the same on all CPUs.
    pub host_tsc_reliable: bool,
    /// The host has RDTSCP.
    pub host_rdtscp: bool,
    /// `TSC_MODE_*`.
    pub tsc_mode: u32,
    /// The guest's frequency in kHz.
    pub guest_khz: u32,
    /// The host's frequency in kHz.
    pub host_khz: u32,
    /// How often the domain was restored.
    pub incarnation: u32,
    /// What is added to the guest's time.
    pub tsc_offset: u64,
    /// Nanoseconds of a shifted tick, times 2^32.
    pub tsc_to_system_mul: u32,
    /// Left shift of a tick count before multiplication.
    pub tsc_shift: i8,
}

/// What the domain of a vCPU is, for CPUID.
#[derive(Clone, Copy, Debug)]
pub struct DomainView<'a> {
    /// It drives the hardware: its kernel is shown some of the host's features.
    pub hardware_domain: bool,
    /// What the CPU says.
    pub raw: &'a Policy,
    /// Bits of a machine address that the domain can meet.
    pub machine_address_bits: u32,
    /// Major version in the upper half, minor in the lower.
    pub version: u32,
    /// Its time.
    pub time: TimeView,
}

/// What CPUID needs to know of a vCPU.
#[derive(Clone, Copy, Debug)]
pub struct VcpuView<'a> {
    /// Its number.
    pub vcpu_id: u32,
    /// CR4 as the guest set it.
    pub cr4: u64,
    /// XCR0 as the guest set it.
    pub xcr0: u64,
    /// It executes CPUID in user mode.
    pub user_mode: bool,
    /// Its domain.
    pub domain: &'a DomainView<'a>,
}

/// CPUID of a PV vCPU: EAX, EBX, ECX, EDX. Leaves that the policy does not have are all zeros.
pub fn cpuid(policy: &Policy, vcpu: &VcpuView<'_>, leaf: u32, subleaf: u32) -> [u32; 4] {
    let mut regs = match leaf >> 8 {
        0x40_0000 => hypervisor(policy, vcpu.domain, leaf.wrapping_sub(CPUID_FIRST_LEAF), subleaf),
        _ => policy.leaf(leaf, subleaf),
    };
    match leaf {
        1 => leaf_1(policy, vcpu, &mut regs),
        // Shown where MONITOR is.
        5 if shows_monitor(vcpu) => regs = vcpu.domain.raw.basic_leaf(5),
        7 if subleaf == 0 && regs.c & f::PKU.mask() != 0 && vcpu.cr4 & CR4_PKE != 0 => {
            regs.c |= f::OSPKE.mask();
        }
        0xb if regs_visible(policy, leaf) && has_basic(policy, f::X2APIC.mask()) => {
            regs.c = (regs.c & !0xff) | (subleaf & 0xff);
            regs.d = apic_id(vcpu.vcpu_id);
        }
        0xd if regs_visible(policy, leaf) => leaf_13(policy, vcpu, subleaf, &mut regs),
        0x8000_0001 if policy.vendor() == Vendor::Amd && leaks_mtrr(vcpu) => {
            regs.d |= f::MTRR.mask();
        }
        _ => {}
    }
    regs.words()
}

fn regs_visible(policy: &Policy, leaf: u32) -> bool {
    leaf <= policy.max_basic()
}

/// vCPUs look like cores with one of two threads each present.
fn apic_id(vcpu_id: u32) -> u32 {
    vcpu_id.wrapping_mul(2)
}

fn has_basic(policy: &Policy, ecx: u32) -> bool {
    policy.basic_leaf(1).c & ecx != 0
}

/// The hardware domain's kernel decides by MONITOR what it tells the firmware's tables about idle
/// states, and takes the answer to the hypervisor.
fn shows_monitor(vcpu: &VcpuView<'_>) -> bool {
    kernel_of_hardware_domain(vcpu) && has_basic(vcpu.domain.raw, f::MONITOR.mask())
}

/// The hardware domain's kernel decides by MTRR whether to ask for the memory types.
fn leaks_mtrr(vcpu: &VcpuView<'_>) -> bool {
    kernel_of_hardware_domain(vcpu) && vcpu.domain.raw.basic_leaf(1).d & f::MTRR.mask() != 0
}

fn kernel_of_hardware_domain(vcpu: &VcpuView<'_>) -> bool {
    vcpu.domain.hardware_domain && !vcpu.user_mode
}

fn leaf_1(policy: &Policy, vcpu: &VcpuView<'_>, regs: &mut Regs) {
    // PV kernels have always been shown this bit with XSAVE, before they set it; user programs see
    // what their kernel chose.
    let xsave = has_basic(policy, f::XSAVE.mask());
    if xsave && (!vcpu.user_mode || vcpu.cr4 & CR4_OSXSAVE != 0) {
        regs.c |= f::OSXSAVE.mask();
    }
    if shows_monitor(vcpu) {
        regs.c |= f::MONITOR.mask();
    }
    if kernel_of_hardware_domain(vcpu) {
        regs.c |= vcpu.domain.raw.basic_leaf(1).c & f::EIST.mask();
    }
    if leaks_mtrr(vcpu) {
        regs.d |= f::MTRR.mask();
    }
}

fn leaf_13(policy: &Policy, vcpu: &VcpuView<'_>, subleaf: u32, regs: &mut Regs) {
    if !has_basic(policy, f::XSAVE.mask()) {
        return;
    }
    match subleaf {
        0 => regs.b = policy.xstate_size(vcpu.xcr0),
        1 if regs.a & (f::XSAVEC.mask() | f::XSAVES.mask()) != 0 => {
            regs.b = policy.xstate_size_compressed(vcpu.xcr0);
        }
        _ => {}
    }
}

impl Policy {
    /// A leaf as the policy has it, without a vCPU's state. Zeros beyond the limits.
    pub fn leaf(&self, leaf: u32, subleaf: u32) -> Regs {
        let index = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let regs = match leaf {
            _ if leaf >> 16 == 0x8000 => {
                let n = leaf & 0xffff;
                (n <= self.max_extd()).then(|| self.extd_leaf(index(n)))
            }
            _ if leaf > self.max_basic() => None,
            4 => self.cache.get(index(subleaf)).copied(),
            7 if subleaf > self.max_feat() => None,
            7 => self.feat.get(index(subleaf)).copied(),
            0xb => self.topo.get(index(subleaf)).copied(),
            0xd => self.xstate.get(index(subleaf)).copied(),
            _ => Some(self.basic_leaf(index(leaf))),
        };
        regs.unwrap_or_default()
    }
}

/// The hypervisor's own leaves (public `arch-x86/cpuid.h`).
fn hypervisor(policy: &Policy, domain: &DomainView<'_>, n: u32, subleaf: u32) -> Regs {
    let limit = match policy.hv_limit {
        0 => CPUID_MAX_NUM_LEAVES,
        limit => limit.clamp(2, CPUID_MAX_NUM_LEAVES),
    };
    if n > limit {
        return Regs::ZERO;
    }
    let time = &domain.time;
    match (n, subleaf) {
        (0, _) => Regs {
            a: CPUID_FIRST_LEAF | limit,
            b: CPUID_SIGNATURE_EBX,
            c: CPUID_SIGNATURE_ECX,
            d: CPUID_SIGNATURE_EDX,
        },
        (1, _) => Regs { a: domain.version, ..Regs::ZERO },
        // One hypercall page, by this MSR.
        (2, _) => {
            Regs { a: 1, b: MSR_HYPERCALL_PAGE, c: CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, d: 0 }
        }
        (3, 0) => {
            let flag = |on: bool, bit: u32| if on { bit } else { 0 };
            Regs {
                a: flag(time.tsc_emulated, CPUID_TSC_EMULATED)
                    | flag(time.host_tsc_reliable, CPUID_HOST_TSC_RELIABLE)
                    | flag(time.host_rdtscp, CPUID_RDTSCP_INSTR_AVAIL),
                b: time.tsc_mode,
                c: time.guest_khz,
                d: time.incarnation,
            }
        }
        (3, 1) => Regs {
            a: u32::try_from(time.tsc_offset & 0xffff_ffff).unwrap_or(0),
            b: u32::try_from(time.tsc_offset >> 32).unwrap_or(0),
            c: time.tsc_to_system_mul,
            d: u32::from(time.tsc_shift.cast_unsigned()),
        },
        (3, 2) => Regs { a: time.host_khz, ..Regs::ZERO },
        (5, 0) => Regs { b: domain.machine_address_bits & 0xff, ..Regs::ZERO },
        _ => Regs::ZERO,
    }
}
