//! Hypercalls: who calls, what comes back, and the table of all of them.

pub mod callback;
pub mod console_io;
pub mod control;
pub mod domctl;
pub mod event_channel;
pub mod m2p_list;
pub mod machine_check;
pub mod memory;
pub mod misc;
pub mod physdev;
pub mod platform;
pub mod sched;
pub mod sysctl;
pub mod table;
pub mod vcpu;
pub mod version;

use self::table::operations;
use crate::cpus;
use crate::domain::Domain;
use crate::vcpu::Vcpu;
use abi::xen::{Hypercall, MulticallEntry};
use abi::{DomId, Errno};
use alloc::sync::Arc;
use machine::guest::{self, BadAddress};
use machine::regs::GuestRegs;

/// Who calls.
pub struct Caller<'a> {
    /// The vCPU.
    pub vcpu: &'a Arc<Vcpu>,
    /// Its domain.
    pub domain: &'a Arc<Domain>,
    /// Its registers, where they are at hand: to be shown when it crashes.
    pub regs: Option<&'a GuestRegs>,
}

/// Why a hypercall did not complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The caller gets this error.
    Error(Errno),
    /// The call is made again, with its arguments as they are now.
    Again,
}

impl From<Errno> for Stop {
    fn from(e: Errno) -> Self {
        Stop::Error(e)
    }
}

impl From<BadAddress> for Stop {
    fn from(_: BadAddress) -> Self {
        Stop::Error(Errno::EFAULT)
    }
}

/// What a hypercall returns: a value that is not negative, or why not.
pub type Call = Result<u64, Stop>;

/// A hypercall's five arguments. A call that is to be continued writes its progress into them.
pub struct Args([u64; 5]);

impl Args {
    /// All of them.
    pub fn all(&self) -> &[u64; 5] {
        &self.0
    }

    /// Changes one, for the continuation.
    pub fn set(&mut self, index: usize, value: u64) {
        if let Some(a) = self.0.get_mut(index) {
            *a = value;
        }
    }

    /// A count kept by [`Args::set_progress`]. What the guest itself put there is believed: it
    /// only misleads the guest.
    pub fn progress(&self) -> u64 {
        self.0[3] >> 32
    }

    /// Keeps a 32-bit count in the upper half of the fourth argument.
    pub fn set_progress(&mut self, count: u64) {
        self.0[3] = self.0[3] & 0xffff_ffff | count << 32;
    }
}

/// A guest's kernel called.
pub fn enter(regs: &mut GuestRegs) {
    let Some(vcpu) = cpus::current() else { return };
    // It alone replaces the registers, so that there is nothing to return a result in.
    operations! { match hypercall(Hypercall(u32::try_from(regs.rax).unwrap_or(u32::MAX))) {
        Hypercall::IRET [] => return crate::bounce::iret(&vcpu, regs),
        _ [] => {}
    } }
    let mut args = Args([regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8]);
    let mut caller = Caller { vcpu: &vcpu, domain: &vcpu.domain, regs: Some(regs) };
    match dispatch(&mut caller, regs.rax, &mut args) {
        Ok(value) => regs.rax = value,
        Err(Stop::Error(e)) => regs.rax = e.to_ret().cast_unsigned(),
        Err(Stop::Again) => {
            // The SYSCALL is made again; what else is to be done comes first, on the way out.
            regs.rip = regs.rip.wrapping_sub(2);
            [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8] = args.0;
        }
    }
}

/// The table of hypercalls.
fn dispatch(caller: &mut Caller, number: u64, a: &mut Args) -> Call {
    let Ok(number) = u32::try_from(number) else { return Err(Errno::ENOSYS.into()) };
    operations! { match hypercall(Hypercall(number)) {
        Hypercall::MMU_UPDATE [EPERM ESRCH EINVAL EFAULT] => crate::mmu::mmu_update(caller, a),
        Hypercall::MULTICALL [EFAULT] => multicall(caller, a),
        Hypercall::UPDATE_VA_MAPPING [EINVAL EBUSY EPERM EFAULT]
            => crate::mmu::update_va_mapping(caller, a),
        Hypercall::STACK_SWITCH [] => misc::stack_switch(caller, a),
        Hypercall::MMUEXT_OP [EPERM ESRCH EFAULT] => crate::mmu::mmuext_op(caller, a),
        Hypercall::SET_SEGMENT_BASE [EINVAL] => misc::set_segment_base(caller, a),
        Hypercall::FPU_TASKSWITCH [] => misc::fpu_taskswitch(caller, a),
        Hypercall::UPDATE_DESCRIPTOR [EINVAL] => crate::descriptor::update_descriptor(caller, a),
        Hypercall::SCHED_OP [] => sched::sched_op(caller, a),
        Hypercall::EVENT_CHANNEL_OP [] => event_channel::event_channel_op(caller, a),
        Hypercall::XEN_VERSION [] => version::xen_version(caller, a),
        Hypercall::SET_TIMER_OP [] => misc::set_timer_op(caller, a),
        Hypercall::VCPU_OP [ENOENT] => vcpu::vcpu_op(caller, a),
        Hypercall::GRANT_TABLE_OP [EINVAL] => crate::grant::grant_table_op(caller, a),
        Hypercall::MEMORY_OP [] => memory::memory_op(caller, a),
        Hypercall::PHYSDEV_OP [EPERM] => physdev::physdev_op(caller, a),
        Hypercall::CONSOLE_IO [EPERM] => console_io::console_io(caller, a),
        Hypercall::SET_TRAP_TABLE [EFAULT EINVAL] => misc::set_trap_table(caller, a),
        Hypercall::SET_GDT [EINVAL EFAULT] => crate::descriptor::set_gdt(caller, a),
        Hypercall::SET_CALLBACKS [EINVAL] => callback::set_callbacks(caller, a),
        Hypercall::CALLBACK_OP [] => callback::callback_op(caller, a),
        Hypercall::SET_DEBUGREG [EPERM EINVAL ENODEV] => misc::set_debugreg(caller, a),
        Hypercall::GET_DEBUGREG [ENODEV] => misc::get_debugreg(caller, a),
        Hypercall::VM_ASSIST [EINVAL] => misc::vm_assist(caller, a),
        Hypercall::UPDATE_VA_MAPPING_OTHERDOMAIN [EINVAL EBUSY EPERM EFAULT ESRCH]
            => crate::mmu::update_va_mapping_otherdomain(caller, a),
        Hypercall::DOMCTL [EPERM EFAULT EACCES ESRCH] => domctl::domctl(caller, a),
        Hypercall::SYSCTL [EPERM EFAULT EACCES] => sysctl::sysctl(caller, a),
        Hypercall::MCA [EPERM EFAULT EACCES] => machine_check::mca(caller, a),
        Hypercall::PLATFORM_OP [EPERM EFAULT EACCES] => platform::platform_op(caller, a),
        _ [ENOSYS] => Err(Errno::ENOSYS.into()),
    } }
}

/// Entries of a multicall between looks at what else is to be done.
const MULTICALL_BATCH: u32 = 64;

/// `multicall(list, count)`. Entries may be anything but another multicall and iret.
fn multicall(caller: &mut Caller, a: &mut Args) -> Call {
    let [mut at, mut left, ..] = *a.all();
    let mut batch = 0u32;
    while left > 0 {
        if batch == MULTICALL_BATCH {
            a.set(0, at);
            a.set(1, left);
            return Err(Stop::Again);
        }
        batch = batch.wrapping_add(1);
        let mut entry: MulticallEntry = guest::read(at)?;
        let [x, y, z, w, u, _] = entry.args;
        let mut args = Args([x, y, z, w, u]);
        let nested = [Hypercall::MULTICALL.0, Hypercall::IRET.0].map(u64::from);
        let result = if nested.contains(&entry.op) {
            Err(Errno::EINVAL.into())
        } else {
            dispatch(caller, entry.op, &mut args)
        };
        match result {
            Ok(value) => entry.result = value,
            Err(Stop::Error(e)) => entry.result = e.to_ret().cast_unsigned(),
            Err(Stop::Again) => {
                // Progress is kept in the entry; the list goes on from it.
                let [x, y, z, w, u] = args.0;
                entry.args = [x, y, z, w, u, entry.args[5]];
                guest::write(at, &entry)?;
                a.set(0, at);
                a.set(1, left);
                return Err(Stop::Again);
            }
        }
        guest::write(at.wrapping_add(8), &entry.result)?;
        at = at.wrapping_add(64);
        left = left.wrapping_sub(1);
        // The domain may have ended with this entry. Or a page table is half way out of use: that
        // is ended before the next entry looks at it.
        let unfinished = caller.vcpu.base.lock().deferred.is_some();
        if (unfinished || !caller.vcpu.runnable()) && left > 0 {
            a.set(0, at);
            a.set(1, left);
            return Err(Stop::Again);
        }
    }
    Ok(0)
}

/// Which domain an id in an argument means; only dom0 may name others.
pub fn target(caller: &Caller, id: u16) -> Result<Arc<Domain>, Errno> {
    let id = DomId(id);
    if id == DomId::SELF || id == caller.domain.id {
        return Ok(caller.domain.clone());
    }
    let d = crate::domain::by_id(id).ok_or(Errno::ESRCH)?;
    need_privilege(caller)?;
    Ok(d)
}

/// Refuses whoever is not dom0.
pub fn need_privilege(caller: &Caller) -> Result<(), Errno> {
    if caller.domain.privileged { Ok(()) } else { Err(Errno::EPERM) }
}
