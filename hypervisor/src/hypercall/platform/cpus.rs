//! Which physical CPUs there are, and of which kind.

use crate::cpus;
use abi::Errno;
use abi::platform::{PCPU_FLAGS_INVALID, PCPU_FLAGS_ONLINE, PcpuInfo, PcpuVersion};
use core::sync::atomic::Ordering::Relaxed;

/// The number of the last CPU that the firmware describes.
fn max_present() -> u32 {
    let madt = machine::acpi::tables().and_then(|t| t.madt.as_ref());
    let count = madt.map_or(1, |m| m.cpus.len());
    u32::try_from(count).unwrap_or(1).saturating_sub(1)
}

/// `get_cpuinfo`.
pub(super) fn info(info: &mut PcpuInfo) -> Result<(), Errno> {
    let madt = machine::acpi::tables().and_then(|t| t.madt.as_ref());
    info.max_present = max_present();
    let processor = madt.and_then(|m| m.cpus.get(info.xen_cpuid as usize));
    match processor {
        Some(p) => {
            let runs =
                cpus::online().iter().any(|c| cpus::get(c).apic_id.load(Relaxed) == p.apic_id);
            info.flags = if runs { PCPU_FLAGS_ONLINE } else { 0 };
            info.apic_id = p.apic_id;
            info.acpi_id = p.processor_uid;
        }
        None => {
            info.flags = PCPU_FLAGS_INVALID;
            info.apic_id = u32::MAX;
            info.acpi_id = u32::MAX;
        }
    }
    Ok(())
}

/// `get_cpu_version`: zeros for a CPU that does not run. All CPUs are of one kind.
pub(super) fn version(version: &mut PcpuVersion) -> Result<(), Errno> {
    let runs = cpus::online().contains(version.xen_cpuid as usize);
    let signature = if runs { crate::policy::signature() } else { Default::default() };
    version.max_present = max_present();
    version.vendor_id = signature.vendor;
    version.family = signature.family;
    version.model = signature.model;
    version.stepping = signature.stepping;
    Ok(())
}
