//! `domctl`: how dom0's tools make, look at, change and end domains.

mod create;
pub mod info;
mod memory;
mod permission;
mod policy;
mod run;
mod settings;
mod vcpu;

use super::control::{part, put_part};
use super::table::operations;
use super::{Args, Call, Caller, Stop};
use crate::domain::{self, Domain, Life};
use abi::domctl::{AddressSize, DOMCTL_INTERFACE_VERSION, Domctl, DomctlCmd};
use abi::{DomId, Errno};
use alloc::sync::Arc;
use machine::guest;

/// `domctl(operation)`.
pub fn domctl(caller: &mut Caller, a: &mut Args) -> Call {
    super::need_privilege(caller)?;
    let at = a.all()[0];
    let mut op: Domctl = guest::read(at)?;
    if op.interface_version != DOMCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    match dispatch(caller, &mut op)? {
        Reply::Changed => guest::write(at, &op)?,
        Reply::Refused(e) => {
            guest::write(at, &op)?;
            return Err(e.into());
        }
        Reply::Nothing => {}
    }
    Ok(0)
}

/// Whether the caller's structure is to be written back.
enum Reply {
    /// It has something new in it.
    Changed,
    /// It has not.
    Nothing,
    /// It says what is wrong with the call, which fails.
    Refused(Errno),
}

/// What an operation returns.
type Answer = Result<Reply, Stop>;

/// The table of operations: first those that need no domain.
fn dispatch(caller: &Caller, op: &mut Domctl) -> Answer {
    operations! { match domctl(op.cmd) {
        DomctlCmd::CREATEDOMAIN [EINVAL ESRCH EEXIST ENOMEM] => create::create(op),
        DomctlCmd::GETDOMAININFO [EINVAL ESRCH] => info::get(op),
        _ [ESRCH] => {
            let d = domain::by_id(DomId(op.domain)).ok_or(Errno::ESRCH)?;
            on_domain(caller, op.cmd, &d, &mut op.u)
        }
    } }
}

/// Those on a domain.
fn on_domain(caller: &Caller, cmd: DomctlCmd, d: &Arc<Domain>, u: &mut [u64; 16]) -> Answer {
    operations! { match domctl(cmd) {
        DomctlCmd::DESTROYDOMAIN [EINVAL] => run::destroy(caller, d),
        DomctlCmd::PAUSEDOMAIN [EINVAL EOVERFLOW] => run::pause(caller, d),
        DomctlCmd::UNPAUSEDOMAIN [EINVAL] => run::unpause(d),
        DomctlCmd::SENDTRIGGER [EINVAL ENOSYS ESRCH] => run::trigger(d, u),
        DomctlCmd::RESUMEDOMAIN [EINVAL] => run::resume(caller, d),
        DomctlCmd::MAX_VCPUS [EINVAL ENOMEM] => create::max_vcpus(caller, d, u),
        DomctlCmd::MAX_MEM [] => memory::max_mem(d, u),
        DomctlCmd::HYPERCALL_INIT [EINVAL EACCES] => memory::hypercall_init(d, u),
        DomctlCmd::GETPAGEFRAMEINFO3 [E2BIG EFAULT] => memory::page_types(d, u),
        DomctlCmd::SHADOW_OP [EOPNOTSUPP] => memory::shadow_op(u),
        DomctlCmd::SETVCPUCONTEXT [EINVAL ESRCH EOPNOTSUPP EFAULT ENOMEM]
            => vcpu::set_context(caller, d, u),
        DomctlCmd::GETVCPUCONTEXT [EINVAL ESRCH ENODATA EFAULT ENOMEM]
            => vcpu::get_context(caller, d, u),
        DomctlCmd::GETVCPUINFO [EINVAL ESRCH] => vcpu::info(d, u),
        DomctlCmd::SETVCPUAFFINITY [EINVAL ESRCH EFAULT E2BIG] => vcpu::set_affinity(d, u),
        DomctlCmd::GETVCPUAFFINITY [EINVAL ESRCH EFAULT E2BIG] => vcpu::get_affinity(d, u),
        DomctlCmd::SETNODEAFFINITY [EINVAL EFAULT E2BIG] => vcpu::set_nodes(u),
        DomctlCmd::GETNODEAFFINITY [EFAULT E2BIG] => vcpu::get_nodes(u),
        DomctlCmd::GET_EXT_VCPUCONTEXT [EINVAL ESRCH] => vcpu::get_extended(d, u),
        DomctlCmd::SET_EXT_VCPUCONTEXT [EINVAL ESRCH] => vcpu::set_extended(d, u),
        DomctlCmd::GETVCPUEXTSTATE [EINVAL ESRCH EFAULT] => vcpu::get_state(d, u),
        DomctlCmd::SETVCPUEXTSTATE [EINVAL ESRCH EFAULT ENOMEM] => vcpu::set_state(caller, d, u),
        DomctlCmd::GET_VCPU_MSRS [EINVAL ESRCH] => vcpu::get_msrs(d, u),
        DomctlCmd::SET_VCPU_MSRS [EINVAL ESRCH EFAULT] => vcpu::set_msrs(d, u),
        DomctlCmd::SCHEDULER_OP [EINVAL] => settings::scheduler(d, u),
        DomctlCmd::SETDOMAINHANDLE [] => settings::handle(d, u),
        DomctlCmd::SETDEBUGGING [EINVAL] => settings::debugging(caller, d, u),
        DomctlCmd::SETTIMEOFFSET [EINVAL] => settings::time_offset(d, u),
        DomctlCmd::SUBSCRIBE [EINVAL] => settings::subscribe(d, u),
        DomctlCmd::GETTSCINFO [] => settings::get_tsc(d, u),
        DomctlCmd::SETTSCINFO [EINVAL EOPNOTSUPP] => settings::set_tsc(caller, d, u),
        DomctlCmd::SET_VIRQ_HANDLER [EINVAL] => settings::virq_handler(d, u),
        DomctlCmd::IRQ_PERMISSION [EINVAL ENOSPC ENOMEM] => permission::interrupt(d, u),
        DomctlCmd::GSI_PERMISSION [EINVAL ENOSPC ENOMEM] => permission::gsi(d, u),
        DomctlCmd::IOMEM_PERMISSION [EINVAL ENOSPC ENOMEM] => permission::memory(d, u),
        DomctlCmd::IOPORT_PERMISSION [EINVAL ENOSPC ENOMEM] => permission::ports(d, u),
        DomctlCmd::GET_CPU_POLICY [EFAULT ENOBUFS] => policy::get(d, u),
        DomctlCmd::SET_CPU_POLICY [EINVAL EEXIST E2BIG EFAULT] => policy::set(caller, d, u),
        // 32-bit PV guests are not supported.
        DomctlCmd::SET_ADDRESS_SIZE [EINVAL] => match part::<AddressSize>(u)?.size {
            64 => Ok(Reply::Nothing),
            _ => Err(Errno::EINVAL.into()),
        },
        DomctlCmd::GET_ADDRESS_SIZE [] => {
            put_part(u, &AddressSize { size: 64 });
            Ok(Reply::Changed)
        },
        // The tools ask for the default colours of every domain, and take this for an answer.
        DomctlCmd::SET_LLC_COLORS [!ok EOPNOTSUPP] => Err(Errno::EOPNOTSUPP.into()),
        _ [ENOSYS] => Err(Errno::ENOSYS.into()),
    } }
}

/// Refuses operations on the caller's own domain that would stop the caller half way.
fn not_own(caller: &Caller, d: &Arc<Domain>) -> Result<(), Errno> {
    if Arc::ptr_eq(caller.domain, d) { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Refuses operations that would give something to a domain that is being taken apart.
fn alive(d: &Domain) -> Result<(), Errno> {
    if d.life() == Life::Alive { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Does something while none of another domain's vCPUs runs.
fn while_paused<R>(d: &Domain, f: impl FnOnce() -> R) -> R {
    d.pause();
    let result = f();
    d.unpause();
    result
}
