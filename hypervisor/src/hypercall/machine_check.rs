//! `mca`: machine-check telemetry for dom0.
//!
//! Machine checks are not collected: dom0 finds CPUs described and never a record.

use super::table::operations;
use super::{Args, Call, Caller};
use crate::cpus;
use abi::Errno;
use abi::mca::{
    MC_ACK, MC_NODATA, MC_NONURGENT, MC_URGENT, MCA_INTERFACE_VERSION, Mc, McCmd, McFetch,
    McLogicalCpu, McPhyscpuinfo,
};
use core::sync::atomic::Ordering::Relaxed;
use machine::cpu::cpuid;
use machine::guest;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const MCG_CAP: u32 = 0x179;

/// `mca(operation)`.
pub fn mca(caller: &mut Caller, a: &mut Args) -> Call {
    super::need_privilege(caller)?;
    let at = a.all()[0];
    let op: Mc = guest::read(at)?;
    if op.interface_version != MCA_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    operations! { match mca(op.cmd) {
        McCmd::FETCH [EINVAL EFAULT] => {
            let mut fetch: McFetch = part(&op)?;
            fetch_record(&mut fetch)?;
            reply(at, &fetch)?;
        },
        McCmd::PHYSCPUINFO [EINVAL EFAULT] => {
            let mut info: McPhyscpuinfo = part(&op)?;
            describe_cpus(&mut info)?;
            reply(at, &info)?;
        },
        McCmd::MSRINJECT | McCmd::MCEINJECT | McCmd::INJECT_V2 [!ok ENOSYS]
            => return Err(Errno::ENOSYS.into()),
        _ [EINVAL] => return Err(Errno::EINVAL.into()),
    } }
    Ok(0)
}

fn part<T: FromBytes>(op: &Mc) -> Result<T, Errno> {
    T::read_from_prefix(op.u.as_bytes()).map(|(t, _)| t).map_err(|_| Errno::EINVAL)
}

/// Writes the command's structure back, behind the two words of the head.
fn reply<T: IntoBytes + Immutable>(at: u64, value: &T) -> Result<(), Errno> {
    guest::write(at.wrapping_add(8), value).map_err(|_| Errno::EFAULT)
}

fn fetch_record(f: &mut McFetch) -> Result<(), Errno> {
    match f.flags {
        MC_NONURGENT | MC_URGENT => {
            (f.flags, f.fetch_id) = (MC_NODATA, 0);
            Ok(())
        }
        flags if flags & MC_ACK != 0 && matches!(flags & !MC_ACK, MC_NONURGENT | MC_URGENT) => {
            f.flags = 0;
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}

fn describe_cpus(info: &mut McPhyscpuinfo) -> Result<(), Errno> {
    let online = cpus::online();
    if info.info.addr() == 0 {
        info.ncpus = online.len();
        return Ok(());
    }
    if info.ncpus == 0 {
        return Err(Errno::EINVAL);
    }
    info.ncpus = info.ncpus.min(online.len());
    let template = describe_kind();
    let topology = Topology::read();
    let mut at = info.info.addr();
    for cpu in online.iter().take(info.ncpus as usize) {
        let mut entry = template;
        entry.mc_cpunr = u32::try_from(cpu).unwrap_or(u32::MAX);
        topology.place(cpus::get(cpu).apic_id.load(Relaxed), &mut entry);
        guest::write(at, &entry).map_err(|_| Errno::EFAULT)?;
        at = at.wrapping_add(size_of::<McLogicalCpu>() as u64);
    }
    Ok(())
}

/// What all CPUs have in common.
fn describe_kind() -> McLogicalCpu {
    let mut c = McLogicalCpu::new_zeroed();
    let signature = crate::policy::signature();
    let [level, ..] = cpuid(0, 0);
    let [extended, ..] = cpuid(0x8000_0000, 0);
    let [_, ebx, ecx, edx] = cpuid(1, 0);
    c.mc_cpuid_level = level.cast_signed();
    (c.mc_family, c.mc_model, c.mc_step) = (signature.family, signature.model, signature.stepping);
    c.mc_vendor = signature.number;
    for (to, from) in c.mc_vendorid.iter_mut().zip(signature.vendor) {
        *to = from;
    }
    c.mc_cpu_caps = [edx, 0, 0, 0, ecx, 0, 0];
    c.mc_cache_alignment = (ebx >> 8 & 0xff).wrapping_mul(8);
    if extended >= 0x8000_0001 {
        let [_, _, ecx, edx] = cpuid(0x8000_0001, 0);
        c.mc_cpu_caps = {
            let [std_edx, _, tm, linux, std_ecx, via, _] = c.mc_cpu_caps;
            [std_edx, edx, tm, linux, std_ecx, via, ecx]
        };
    }
    if extended >= 0x8000_0004 {
        let words = [0x8000_0002, 0x8000_0003, 0x8000_0004].map(|leaf| cpuid(leaf, 0));
        for (to, from) in c.mc_brandid.iter_mut().zip(words.as_bytes()) {
            *to = *from;
        }
    }
    if extended >= 0x8000_0006 {
        let [_, _, l2, _] = cpuid(0x8000_0006, 0);
        c.mc_cache_size = l2 >> 16;
    }
    if let Some(value) = machine::cpu::rdmsr_safe(MCG_CAP)
        && let Some(first) = c.mc_msrvalues.first_mut()
    {
        (first.reg, first.value) = (MCG_CAP.into(), value);
        c.mc_nmsrvals = 1;
    }
    c
}

/// How APIC ids divide into package, core and thread.
struct Topology {
    /// Bits that number threads in a core.
    thread_bits: u32,
    /// Bits that number threads in a package.
    package_bits: u32,
    threads: u32,
    cores: u32,
}

impl Topology {
    /// By leaf 0xb where there is one, by leaf 1's count of threads in a package otherwise.
    fn read() -> Self {
        let [level, ..] = cpuid(0, 0);
        let [core_shift, threads, ..] = if level >= 0xb { cpuid(0xb, 0) } else { [0; 4] };
        if threads & 0xffff == 0 {
            let [_, ebx, _, edx] = cpuid(1, 0);
            let count = if edx >> 28 & 1 != 0 { (ebx >> 16 & 0xff).max(1) } else { 1 };
            let package_bits = count.next_power_of_two().trailing_zeros();
            return Topology { thread_bits: 0, package_bits, threads: 1, cores: count };
        }
        let [package_shift, all, ..] = cpuid(0xb, 1);
        let threads = threads & 0xffff;
        Topology {
            thread_bits: core_shift & 0x1f,
            package_bits: package_shift & 0x1f,
            threads,
            cores: (all & 0xffff).checked_div(threads).unwrap_or(1).max(1),
        }
    }

    fn place(&self, apic_id: u32, c: &mut McLogicalCpu) {
        let below = |bits: u32| apic_id & 1u32.wrapping_shl(bits).wrapping_sub(1);
        let core = below(self.package_bits).wrapping_shr(self.thread_bits);
        c.mc_apicid = apic_id;
        c.mc_chipid = apic_id.wrapping_shr(self.package_bits);
        c.mc_coreid = crate::util::low16(core.into());
        c.mc_threadid = crate::util::low16(below(self.thread_bits).into());
        (c.mc_ncores, c.mc_nthreads) = (self.cores, self.threads);
        let package = c.mc_chipid;
        let active = cpus::online().iter().filter(|&other| {
            let id = cpus::get(other).apic_id.load(Relaxed);
            id.wrapping_shr(self.package_bits) == package
        });
        c.mc_ncores_active =
            u32::try_from(active.count()).unwrap_or(0).checked_div(self.threads).unwrap_or(0);
        c.mc_ncores_active = c.mc_ncores_active.max(1);
    }
}
