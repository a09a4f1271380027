//! domctl and sysctl: parameters of schedulers.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use abi::GuestPtr;
use abi::domctl::{
    DomctlCmd, SCHEDOP_GETINFO, SCHEDOP_GETVCPUINFO, SCHEDOP_PUTINFO, SCHEDOP_PUTVCPUINFO,
    SCHEDULER_ARINC653, SCHEDULER_CREDIT, SCHEDULER_CREDIT2, SCHEDULER_NULL, SCHEDULER_RTDS,
    SchedCredit, SchedCredit2, SchedParamVcpu, SchedulerOp, SchedulerOpVcpus,
};
use abi::sysctl::{self, Credit2Schedule, CreditSchedule, SysctlCmd};

use crate::error::Result;
use crate::xen::Xen;

const DOM: &str = "domctl scheduler_op";
const HOST: &str = "sysctl scheduler_op";

/// A scheduler, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduler(pub u32);

impl Scheduler {
    /// Credit.
    pub const CREDIT: Self = Self(SCHEDULER_CREDIT);
    /// Credit2.
    pub const CREDIT2: Self = Self(SCHEDULER_CREDIT2);
    /// Real time.
    pub const RTDS: Self = Self(SCHEDULER_RTDS);

    /// The name that `xl` prints; `None` if it is not known.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            4 => "sedf",
            SCHEDULER_CREDIT => "credit",
            SCHEDULER_CREDIT2 => "credit2",
            SCHEDULER_ARINC653 => "arinc653",
            SCHEDULER_RTDS => "rtds",
            SCHEDULER_NULL => "null",
            _ => return None,
        })
    }
}

/// A domain's parameters of credit. 0 (weight) or 65535 (cap) leave the old one when set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Weight.
    pub weight: u16,
    /// Cap in percent of a CPU; 0 for none.
    pub cap: u16,
}

/// A domain's parameters of credit2. 0 (weight) or 65535 (cap) leave the old one when set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit2 {
    /// Weight.
    pub weight: u16,
    /// Cap in percent of a CPU; 0 for none.
    pub cap: u16,
}

/// Credit's own parameters, of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditGlobal {
    /// Time slice in milliseconds.
    pub tslice_ms: u32,
    /// Rate limit in microseconds.
    pub ratelimit_us: u32,
    /// Migration delay in microseconds.
    pub migration_delay_us: u32,
}

/// Credit2's own parameters, of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit2Global {
    /// Rate limit in microseconds.
    pub ratelimit_us: u32,
}

/// Parameters of a vCPU, as its scheduler lays them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuCredit {
    /// Which vCPU.
    pub vcpu: u32,
    /// The scheduler's structure: RTDS has period, budget (both microseconds) and flags.
    pub words: [u32; 3],
}

fn put<T: IntoBytes + Immutable>(to: &mut [u64; 2], value: &T) {
    if let Some(to) = to.as_mut_bytes().get_mut(..size_of::<T>()) {
        to.copy_from_slice(value.as_bytes());
    }
}

fn take<T: FromBytes>(from: &[u64; 2]) -> T {
    T::read_from_prefix(from.as_bytes()).map_or_else(|_| T::new_zeroed(), |(value, _)| value)
}

impl Xen {
    fn domain_scheduler<T>(&self, domid: u16, sched: Scheduler, cmd: u32, value: &T) -> Result<T>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let mut op = SchedulerOp { sched_id: sched.0, cmd, u: [0; 2] };
        put(&mut op.u, value);
        self.domctl(DOM, DomctlCmd::SCHEDULER_OP, domid, &mut op)?;
        Ok(take(&op.u))
    }

    fn host_scheduler<T>(&self, pool: u32, sched: Scheduler, cmd: u32, value: &T) -> Result<T>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let mut op =
            sysctl::SchedulerOp { cpupool_id: pool, sched_id: sched.0, cmd, _pad: 0, u: [0; 2] };
        put(&mut op.u, value);
        self.sysctl(HOST, SysctlCmd::SCHEDULER_OP, &mut op)?;
        Ok(take(&op.u))
    }

    /// A domain's parameters of credit.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall): EINVAL, its pool has another scheduler.
    pub fn credit(&self, domid: u16) -> Result<Credit> {
        let zero = SchedCredit::new_zeroed();
        let c = self.domain_scheduler(domid, Scheduler::CREDIT, SCHEDOP_GETINFO, &zero)?;
        Ok(Credit { weight: c.weight, cap: c.cap })
    }

    /// Sets them.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn set_credit(&self, domid: u16, value: Credit) -> Result<()> {
        let value = SchedCredit { weight: value.weight, cap: value.cap };
        self.domain_scheduler(domid, Scheduler::CREDIT, SCHEDOP_PUTINFO, &value).map(drop)
    }

    /// A domain's parameters of credit2.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall): EINVAL, its pool has another scheduler.
    pub fn credit2(&self, domid: u16) -> Result<Credit2> {
        let zero = SchedCredit2::new_zeroed();
        let c = self.domain_scheduler(domid, Scheduler::CREDIT2, SCHEDOP_GETINFO, &zero)?;
        Ok(Credit2 { weight: c.weight, cap: c.cap })
    }

    /// Sets them.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn set_credit2(&self, domid: u16, value: Credit2) -> Result<()> {
        let value = SchedCredit2 { weight: value.weight, cap: value.cap };
        self.domain_scheduler(domid, Scheduler::CREDIT2, SCHEDOP_PUTINFO, &value).map(drop)
    }

    /// Parameters of some vCPUs of a domain.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn vcpu_scheduler(
        &self,
        domid: u16,
        sched: Scheduler,
        vcpus: &[u32],
    ) -> Result<Vec<VcpuCredit>> {
        let asked = vcpus.iter().map(|v| VcpuCredit { vcpu: *v, words: [0; 3] });
        self.vcpu_scheduler_op(domid, sched, SCHEDOP_GETVCPUINFO, asked)
    }

    /// Sets them.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn set_vcpu_scheduler(
        &self,
        domid: u16,
        sched: Scheduler,
        vcpus: &[VcpuCredit],
    ) -> Result<()> {
        self.vcpu_scheduler_op(domid, sched, SCHEDOP_PUTVCPUINFO, vcpus.iter().copied()).map(drop)
    }

    fn vcpu_scheduler_op(
        &self,
        domid: u16,
        sched: Scheduler,
        cmd: u32,
        vcpus: impl Iterator<Item = VcpuCredit>,
    ) -> Result<Vec<VcpuCredit>> {
        let params: Vec<_> = vcpus.map(|v| SchedParamVcpu { u: v.words, vcpuid: v.vcpu }).collect();
        let buffer = self.pool.of(params.as_slice())?;
        let list = SchedulerOpVcpus {
            vcpus: GuestPtr::new(buffer.address()),
            nr_vcpus: u32::try_from(params.len()).unwrap_or(u32::MAX),
            padding: 0,
        };
        self.domain_scheduler(domid, sched, cmd, &list)?;
        let answer = buffer.list::<SchedParamVcpu>(params.len()).into_iter();
        Ok(answer.map(|p| VcpuCredit { vcpu: p.vcpuid, words: p.u }).collect())
    }

    /// Credit's own parameters in a pool.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn credit_global(&self, pool: u32) -> Result<CreditGlobal> {
        let zero = CreditSchedule::new_zeroed();
        let c = self.host_scheduler(pool, Scheduler::CREDIT, sysctl::SCHEDOP_GETINFO, &zero)?;
        Ok(CreditGlobal {
            tslice_ms: c.tslice_ms,
            ratelimit_us: c.ratelimit_us,
            migration_delay_us: c.vcpu_migr_delay_us,
        })
    }

    /// Sets them.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn set_credit_global(&self, pool: u32, value: CreditGlobal) -> Result<()> {
        let value = CreditSchedule {
            tslice_ms: value.tslice_ms,
            ratelimit_us: value.ratelimit_us,
            vcpu_migr_delay_us: value.migration_delay_us,
        };
        let cmd = sysctl::SCHEDOP_PUTINFO;
        self.host_scheduler(pool, Scheduler::CREDIT, cmd, &value).map(drop)
    }

    /// Credit2's own parameters in a pool.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn credit2_global(&self, pool: u32) -> Result<Credit2Global> {
        let zero = Credit2Schedule::new_zeroed();
        let c = self.host_scheduler(pool, Scheduler::CREDIT2, sysctl::SCHEDOP_GETINFO, &zero)?;
        Ok(Credit2Global { ratelimit_us: c.ratelimit_us })
    }

    /// Sets them.
    ///
    /// # Errors
    /// [`Error::Hypercall`](crate::Error::Hypercall).
    pub fn set_credit2_global(&self, pool: u32, value: Credit2Global) -> Result<()> {
        let value = Credit2Schedule { ratelimit_us: value.ratelimit_us };
        let cmd = sysctl::SCHEDOP_PUTINFO;
        self.host_scheduler(pool, Scheduler::CREDIT2, cmd, &value).map(drop)
    }
}
