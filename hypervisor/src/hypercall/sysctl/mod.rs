//! `sysctl`: what the control tools ask about the machine as a whole.

mod cpupool;
mod host;
mod memory;
mod policy;

use super::control::{element, part, put_part};
use super::table::operations;
use super::{Args, Call, Caller, Stop};
use abi::sysctl::{
    DebugKeys, GetDomainInfoList, ReadConsole, SYSCTL_INTERFACE_VERSION, SchedId, SchedulerOp,
    Sysctl, SysctlCmd,
};
use abi::{DomId, Errno};
use machine::guest;
use zerocopy::{FromBytes, IntoBytes};

/// The scheduler's number: ours answers to credit2's parameters.
pub const SCHEDULER: u32 = abi::domctl::SCHEDULER_CREDIT2;
/// Domains listed, or keys handled, in one call at most.
const MAX_BATCH: u32 = 1024;

/// `sysctl(operation)`.
pub fn sysctl(caller: &mut Caller, a: &mut Args) -> Call {
    super::need_privilege(caller)?;
    let at = a.all()[0];
    let mut op: Sysctl = guest::read(at)?;
    if op.interface_version != SYSCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    // Several operations report how much room they would have needed along with their error.
    let result = dispatch(&mut op);
    if !matches!(result, Err(Stop::Error(Errno::ENOSYS | Errno::EFAULT) | Stop::Again)) {
        guest::write(at, &op)?;
    }
    result.map(|()| 0)
}

/// The table of operations.
fn dispatch(op: &mut Sysctl) -> Result<(), Stop> {
    let u = &mut op.u;
    operations! { match sysctl(op.cmd) {
        SysctlCmd::READCONSOLE [EFAULT] => read_console(u),
        SysctlCmd::PHYSINFO [] => host::phys_info(u),
        SysctlCmd::SCHED_ID [] => {
            put_part(u, &SchedId { sched_id: SCHEDULER });
            Ok(())
        },
        SysctlCmd::GETDOMAININFOLIST [EFAULT] => domain_list(u),
        SysctlCmd::DEBUG_KEYS [EFAULT] => debug_keys(u),
        SysctlCmd::GETCPUINFO [EFAULT] => host::cpu_info(u),
        SysctlCmd::AVAILHEAP [] => memory::avail_heap(u),
        SysctlCmd::CPUTOPOINFO [EFAULT ENOBUFS] => host::cpu_topology(u),
        SysctlCmd::NUMAINFO [EFAULT ENOBUFS] => memory::numa_info(u),
        SysctlCmd::CPUPOOL_OP [EFAULT E2BIG ENOENT ESRCH EOPNOTSUPP] => cpupool::cpupool_op(u),
        SysctlCmd::SCHEDULER_OP [ESRCH EINVAL] => scheduler(u),
        SysctlCmd::PCITOPOINFO [EINVAL EFAULT] => host::pci_topology(u),
        SysctlCmd::GET_CPU_LEVELLING_CAPS [] => {
            // Neither faulting nor masks of CPUID are used.
            put_part(u, &abi::sysctl::CpuLevellingCaps { caps: 0 });
            Ok(())
        },
        SysctlCmd::GET_CPU_FEATURESET [EINVAL EOPNOTSUPP EFAULT ENOBUFS] => policy::featureset(u),
        SysctlCmd::GET_CPU_POLICY [EINVAL EOPNOTSUPP EFAULT ENOBUFS] => policy::policy(u),
        _ [ENOSYS] => Err(Errno::ENOSYS.into()),
    } }
}

/// Copies what the console ring has from a position on; positions are counted modulo 2^32.
fn read_console(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut r: ReadConsole = part(u)?;
    let written = crate::console::written();
    let mut from = 0u64;
    if r.incremental != 0 {
        from = written & !0xffff_ffff | u64::from(r.index);
        if from > written {
            from = from.saturating_sub(1 << 32);
        }
    }
    let mut done = 0u32;
    let mut chunk = [0u8; 256];
    while done < r.count {
        let room = (r.count.wrapping_sub(done) as usize).min(chunk.len());
        let to = chunk.get_mut(..room).unwrap_or(&mut []);
        let (first, n) = crate::console::read_ring(from, to);
        if n == 0 {
            break;
        }
        guest::write_bytes(element(r.buffer, u64::from(done)), to.get(..n).unwrap_or(&[]))?;
        from = first.wrapping_add(n as u64);
        done = done.wrapping_add(u32::try_from(n).unwrap_or(0));
    }
    if r.clear != 0 {
        crate::console::clear_ring();
    }
    r.count = done;
    r.index = (from & 0xffff_ffff) as u32;
    put_part(u, &r);
    Ok(())
}

fn domain_list(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut l: GetDomainInfoList = part(u)?;
    let mut n = 0u32;
    let mut from = DomId(l.first_domain);
    while n < l.max_domains.min(MAX_BATCH) {
        let Some(d) = crate::domain::next_from(from) else { break };
        let info = super::domctl::info::of(&d);
        guest::write(element(l.buffer, u64::from(n)), &info)?;
        n = n.wrapping_add(1);
        from = DomId(d.id.0.wrapping_add(1));
    }
    l.num_domains = n;
    put_part(u, &l);
    Ok(())
}

fn debug_keys(u: &mut [u64; 16]) -> Result<(), Stop> {
    let k: DebugKeys = part(u)?;
    for i in 0..k.nr_keys.min(MAX_BATCH) {
        let key: u8 = guest::read(element(k.keys, u64::from(i)))?;
        crate::debug_keys::handle(key);
    }
    Ok(())
}

/// Scheduler-wide parameters: credit2 has the least time that a vCPU runs, in microseconds.
fn scheduler(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut s: SchedulerOp = part(u)?;
    if s.cpupool_id != 0 {
        return Err(Errno::ESRCH.into());
    }
    if s.sched_id != SCHEDULER {
        return Err(Errno::EINVAL.into());
    }
    if s.cmd == abi::sysctl::SCHEDOP_PUTINFO {
        let wanted = abi::sysctl::Credit2Schedule::read_from_prefix(s.u.as_bytes());
        let (wanted, _) = wanted.map_err(|_| Errno::EINVAL)?;
        crate::schedule::set_ratelimit_us(wanted.ratelimit_us)?;
        return Ok(());
    }
    if s.cmd != abi::sysctl::SCHEDOP_GETINFO {
        return Err(Errno::EINVAL.into());
    }
    let info = abi::sysctl::Credit2Schedule { ratelimit_us: crate::schedule::ratelimit_us() };
    if let Some(to) = s.u.as_mut_bytes().get_mut(..4) {
        to.copy_from_slice(info.as_bytes());
    }
    put_part(u, &s);
    Ok(())
}
