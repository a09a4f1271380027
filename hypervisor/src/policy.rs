//! CPUID policies: the machine's, and what domains start with.

use crate::vcpu::Vcpu;
use core::sync::atomic::Ordering::Relaxed;
use cpu_policy::{DomainOptions, DomainView, Host, Policy, TimeView, VcpuView};
use machine::once::Once;

/// The policies that every domain's is made from.
pub struct Policies {
    /// What the CPU says.
    pub raw: Policy,
    /// What the hypervisor uses of it.
    pub host: Policy,
    /// What PV guests may see.
    pub pv_max: Policy,
    /// What PV guests see unless told otherwise.
    pub pv_default: Policy,
}

static POLICIES: Once<Policies> = Once::new();

struct ThisCpu;

impl Host for ThisCpu {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        machine::cpu::cpuid(leaf, subleaf)
    }
    fn msr(&self, index: u32) -> Option<u64> {
        machine::cpu::rdmsr_safe(index)
    }
}

/// Reads the machine's policy, once.
#[inline(never)]
pub fn init() {
    let raw = Policy::raw(&ThisCpu);
    let host = raw.host();
    POLICIES.set(Policies { raw, host, pv_max: host.pv_max(), pv_default: host.pv_default() });
}

/// The machine's policies.
pub fn policies() -> &'static Policies {
    match POLICIES.get() {
        Some(p) => p,
        None => crate::panic::bug("CPUID policies used before they were read"),
    }
}

/// What a new domain sees until it is told otherwise.
#[inline(never)]
pub fn initial(privileged: bool) -> Policy {
    let p = policies();
    if privileged {
        p.host.dom0()
    } else {
        p.pv_default.pv_domain(&p.pv_max, DomainOptions::default())
    }
}

/// CPUID as the running vCPU executes it.
pub fn cpuid(v: &Vcpu, leaf: u32, subleaf: u32) -> [u32; 4] {
    let p = policies();
    let khz = machine::clock::get().map_or(0, |c| c.tsc_khz());
    let scale = machine::clock::get().map(|c| c.to_ns);
    let time = TimeView {
        tsc_emulated: false,
        host_tsc_reliable: tsc_reliable(),
        host_rdtscp: p.raw.leaf(0x8000_0001, 0).d >> 27 & 1 != 0,
        tsc_mode: v.domain.tsc_mode.load(Relaxed),
        guest_khz: khz,
        host_khz: khz,
        incarnation: v.domain.tsc_incarnation.load(Relaxed),
        tsc_offset: 0,
        tsc_to_system_mul: scale.map_or(0, |s| s.mul_frac),
        tsc_shift: scale.map_or(0, |s| s.shift),
    };
    let domain = DomainView {
        hardware_domain: v.domain.privileged,
        raw: &p.raw,
        machine_address_bits: p.raw.physical_address_bits(),
        version: crate::hypercall::version::MAJOR << 16 | crate::hypercall::version::MINOR,
        time,
    };
    let view = VcpuView {
        vcpu_id: v.id.0,
        cr4: v.cr4.load(Relaxed),
        xcr0: v.xcr0.load(Relaxed),
        user_mode: !v.in_kernel(),
        domain: &domain,
    };
    cpu_policy::cpuid(&v.domain.policy.lock(), &view, leaf, subleaf)
}

/// Whether the TSC runs at one rate whatever the CPU does.
pub fn tsc_reliable() -> bool {
    policies().raw.leaf(0x8000_0007, 0).d >> 8 & 1 != 0
}

/// Which processor this is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Signature {
    /// CPUID's vendor string.
    pub vendor: [u8; 12],
    /// Xen's number of the vendor: Intel 1, AMD 2, Centaur 4, Shanghai 8, Hygon 16, others 0.
    pub number: u32,
    /// Family, with the extended one added.
    pub family: u32,
    /// Model, with the extended one.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
}

/// The processor's identity, by CPUID (SDM vol. 2, CPUID leaf 1; APM vol. 3, appendix E).
pub fn signature() -> Signature {
    let [_, b, c, d] = machine::cpu::cpuid(0, 0);
    let mut vendor = [0u8; 12];
    for (to, from) in vendor.iter_mut().zip([b, d, c].map(u32::to_le_bytes).as_flattened()) {
        *to = *from;
    }
    let number = match &vendor {
        b"GenuineIntel" => 1,
        b"AuthenticAMD" => 2,
        b"CentaurHauls" => 4,
        b"  Shanghai  " => 8,
        b"HygonGenuine" => 16,
        _ => 0,
    };
    let [a, ..] = machine::cpu::cpuid(1, 0);
    let base = a >> 8 & 0xf;
    let family = if base == 0xf { base.wrapping_add(a >> 20 & 0xff) } else { base };
    let extended = if base >= 6 { a >> 12 & 0xf0 } else { 0 };
    Signature { vendor, number, family, model: a >> 4 & 0xf | extended, stepping: a & 0xf }
}

const _: () = assert!(size_of::<Policies>() < 1 << 14);
