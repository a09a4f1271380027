//! What the host's CPUs and devices are.

use crate::cpus;
use crate::frames;
use crate::hypercall::Stop;
use crate::hypercall::control::{element, part, put_part};
use abi::Errno;
use abi::sysctl::{
    CpuInfo, CpuTopo, CpuTopoInfo, GetCpuInfo, INVALID_ID, PHYSCAP_GNTTAB_V1, PHYSCAP_GNTTAB_V2,
    PHYSCAP_PV, PciTopoInfo, PhysInfo,
};
use core::sync::atomic::Ordering::Relaxed;
use machine::guest;
use zerocopy::FromZeros;

/// Bits of leaf 0x80000001 EDX that repeat those of leaf 1 on AMD's CPUs.
const AMD_COMMON: u32 = 0x0183_f3ff;

/// Widths in bits of the thread and of the thread-and-core parts of an APIC id, by CPUID leaf 11.
fn id_widths() -> (u32, u32) {
    let width = |subleaf| machine::cpu::cpuid(0xb, subleaf)[0] & 0x1f;
    let kind = |subleaf| machine::cpu::cpuid(0xb, subleaf)[2] >> 8 & 0xff;
    if machine::cpu::cpuid(0, 0)[0] < 0xb || kind(0) != 1 {
        return (0, 8);
    }
    (width(0), if kind(1) == 2 { width(1) } else { 8 })
}

fn place(cpu: usize, (thread, core): (u32, u32)) -> (u32, u32, u32) {
    let id = cpus::get(cpu).apic_id.load(Relaxed);
    let below = |bits: u32| 1u32.wrapping_shl(bits).wrapping_sub(1);
    (id & below(thread), (id & below(core)) >> thread, id.checked_shr(core).unwrap_or(0))
}

/// How many different values `of` has over the online CPUs.
fn distinct(of: impl Fn(usize) -> u32) -> u32 {
    let mut n = 0u32;
    for cpu in cpus::online().iter() {
        if !cpus::online().iter().take_while(|&c| c < cpu).any(|c| of(c) == of(cpu)) {
            n = n.wrapping_add(1);
        }
    }
    n.max(1)
}

/// The greatest number of an online CPU, plus one.
fn cpu_numbers() -> u32 {
    u64::BITS.wrapping_sub(cpus::online().bits().leading_zeros())
}

/// `XEN_SYSCTL_physinfo`.
pub fn phys_info(u: &mut [u64; 16]) -> Result<(), Stop> {
    let widths = id_widths();
    let host = &crate::policy::policies().host;
    let mut info = PhysInfo::new_zeroed();
    let online = cpus::online();
    info.threads_per_core = distinct(|c| place(c, widths).0);
    info.cores_per_socket = distinct(|c| place(c, widths).1);
    info.nr_cpus = online.len();
    info.max_cpu_id = cpu_numbers().saturating_sub(1);
    info.nr_nodes = 1;
    info.cpu_khz = machine::clock::get().map_or(0, |c| c.tsc_khz());
    info.capabilities = PHYSCAP_PV | PHYSCAP_GNTTAB_V1 | PHYSCAP_GNTTAB_V2;
    info.total_pages = frames::total_pages();
    info.free_pages = frames::heap().free_pages();
    info.outstanding_pages = crate::claims::outstanding();
    info.max_mfn = crate::hypercall::memory::max_ram_page();
    for (to, from) in info.hw_cap.iter_mut().zip(host.featureset().0) {
        *to = from;
    }
    if host.vendor() == cpu_policy::Vendor::Amd {
        // Shown once, in the first word.
        info.hw_cap[2] &= !AMD_COMMON;
    }
    put_part(u, &info);
    Ok(())
}

/// `XEN_SYSCTL_getcpuinfo`.
pub fn cpu_info(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut g: GetCpuInfo = part(u)?;
    let count = cpu_numbers();
    g.nr_cpus = count.min(g.max_cpus);
    for cpu in 0..g.nr_cpus {
        let info = CpuInfo { idletime: cpus::get(cpu as usize).idle_time(crate::time::now()) };
        guest::write(element(g.info, u64::from(cpu)), &info)?;
    }
    put_part(u, &g);
    Ok(())
}

/// `XEN_SYSCTL_cputopoinfo`.
pub fn cpu_topology(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut t: CpuTopoInfo = part(u)?;
    let online = cpus::online();
    let count = cpu_numbers();
    let room = core::mem::replace(&mut t.num_cpus, count);
    put_part(u, &t);
    if t.cputopo.is_null() {
        return Ok(());
    }
    if room < count {
        return Err(Errno::ENOBUFS.into());
    }
    let widths = id_widths();
    for cpu in 0..count {
        let (_, core, socket) = place(cpu as usize, widths);
        let topo = if online.contains(cpu as usize) {
            CpuTopo { core, socket, node: 0 }
        } else {
            CpuTopo { core: INVALID_ID, socket: INVALID_ID, node: INVALID_ID }
        };
        guest::write(element(t.cputopo, u64::from(cpu)), &topo)?;
    }
    Ok(())
}

/// `XEN_SYSCTL_pcitopoinfo`: nothing says which node a device is near to.
pub fn pci_topology(u: &mut [u64; 16]) -> Result<(), Stop> {
    let t: PciTopoInfo = part(u)?;
    if t.devs.is_null() || t.nodes.is_null() {
        return Err(Errno::EINVAL.into());
    }
    for i in 0..t.num_devs.min(4096) {
        guest::write(element(t.nodes, u64::from(i)), &INVALID_ID)?;
    }
    Ok(())
}
