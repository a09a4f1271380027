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

/// The table of operations.
fn dispatch(caller: &Caller, op: &mut Domctl) -> Answer {
    match op.cmd {
        DomctlCmd::CREATEDOMAIN => return create::create(op),
        DomctlCmd::GETDOMAININFO => return info::get(op),
        _ => {}
    }
    let d = &domain::by_id(DomId(op.domain)).ok_or(Errno::ESRCH)?;
    let u = &mut op.u;
    match op.cmd {
        DomctlCmd::DESTROYDOMAIN => run::destroy(caller, d),
        DomctlCmd::PAUSEDOMAIN => run::pause(caller, d),
        DomctlCmd::UNPAUSEDOMAIN => run::unpause(d),
        DomctlCmd::SENDTRIGGER => run::trigger(d, u),
        DomctlCmd::RESUMEDOMAIN => run::resume(caller, d),
        DomctlCmd::MAX_VCPUS => create::max_vcpus(caller, d, u),
        DomctlCmd::MAX_MEM => memory::max_mem(d, u),
        DomctlCmd::HYPERCALL_INIT => memory::hypercall_init(d, u),
        DomctlCmd::GETPAGEFRAMEINFO3 => memory::page_types(d, u),
        DomctlCmd::SHADOW_OP => memory::shadow_op(u),
        DomctlCmd::SETVCPUCONTEXT => vcpu::set_context(caller, d, u),
        DomctlCmd::GETVCPUCONTEXT => vcpu::get_context(caller, d, u),
        DomctlCmd::GETVCPUINFO => vcpu::info(d, u),
        DomctlCmd::SETVCPUAFFINITY => vcpu::set_affinity(d, u),
        DomctlCmd::GETVCPUAFFINITY => vcpu::get_affinity(d, u),
        DomctlCmd::SETNODEAFFINITY => vcpu::set_nodes(u),
        DomctlCmd::GETNODEAFFINITY => vcpu::get_nodes(u),
        DomctlCmd::GET_EXT_VCPUCONTEXT => vcpu::get_extended(d, u),
        DomctlCmd::SET_EXT_VCPUCONTEXT => vcpu::set_extended(d, u),
        DomctlCmd::GETVCPUEXTSTATE => vcpu::get_state(d, u),
        DomctlCmd::SETVCPUEXTSTATE => vcpu::set_state(caller, d, u),
        DomctlCmd::GET_VCPU_MSRS => vcpu::get_msrs(d, u),
        DomctlCmd::SET_VCPU_MSRS => vcpu::set_msrs(d, u),
        DomctlCmd::SCHEDULER_OP => settings::scheduler(d, u),
        DomctlCmd::SETDOMAINHANDLE => settings::handle(d, u),
        DomctlCmd::SETDEBUGGING => settings::debugging(caller, d, u),
        DomctlCmd::SETTIMEOFFSET => settings::time_offset(d, u),
        DomctlCmd::SUBSCRIBE => settings::subscribe(d, u),
        DomctlCmd::GETTSCINFO => settings::get_tsc(d, u),
        DomctlCmd::SETTSCINFO => settings::set_tsc(caller, d, u),
        DomctlCmd::SET_VIRQ_HANDLER => settings::virq_handler(d, u),
        DomctlCmd::IRQ_PERMISSION => permission::interrupt(d, u),
        DomctlCmd::GSI_PERMISSION => permission::gsi(d, u),
        DomctlCmd::IOMEM_PERMISSION => permission::memory(d, u),
        DomctlCmd::IOPORT_PERMISSION => permission::ports(d, u),
        DomctlCmd::GET_CPU_POLICY => policy::get(d, u),
        DomctlCmd::SET_CPU_POLICY => policy::set(caller, d, u),
        DomctlCmd::SET_ADDRESS_SIZE => match part::<AddressSize>(u)?.size {
            64 => Ok(Reply::Nothing),
            // 32-bit PV guests are not supported.
            _ => Err(Errno::EINVAL.into()),
        },
        DomctlCmd::GET_ADDRESS_SIZE => {
            put_part(u, &AddressSize { size: 64 });
            Ok(Reply::Changed)
        }
        // The tools ask for the default colours of every domain, and take this for an answer.
        DomctlCmd::SET_LLC_COLORS => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
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
