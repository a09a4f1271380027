//! sysctl: CPU pools.

use zerocopy::FromZeros;

use abi::GuestPtr;
use abi::sysctl::{
    CPUPOOL_OP_ADDCPU, CPUPOOL_OP_CREATE, CPUPOOL_OP_DESTROY, CPUPOOL_OP_FREEINFO, CPUPOOL_OP_INFO,
    CPUPOOL_OP_MOVEDOMAIN, CPUPOOL_OP_RMCPU, CPUPOOL_PAR_ANY, CpupoolOp, SysctlCmd,
};
use abi::xen::CtlBitmap;

use crate::Errno;
use crate::error::{Error, Result};
use crate::topology::CpuMap;
use crate::xen::{Call, Xen};

const NAME: &str = "sysctl cpupool_op";

/// A CPU pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuPool {
    /// Its number.
    pub id: u32,
    /// `SCHEDULER_*` of [`abi::domctl`].
    pub sched_id: u32,
    /// Domains in it.
    pub domains: u32,
    /// CPUs in it.
    pub cpus: CpuMap,
}

impl Xen {
    fn cpupool_op(&self, argument: &mut CpupoolOp) -> Result<()> {
        self.until_done(Call::new(NAME), || {
            self.sysctl(NAME, SysctlCmd::CPUPOOL_OP, argument).map(drop)
        })
    }

    /// The pool of number `from`, or the next one; `None` after the last. Its map has `cpus` bits.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn cpupool_info(&self, from: u32, cpus: u32) -> Result<Option<CpuPool>> {
        let bits = cpus.min(16384);
        let buffer = self.pool.get(bits.div_ceil(8) as usize)?;
        let mut argument = CpupoolOp {
            op: CPUPOOL_OP_INFO,
            cpupool_id: from,
            cpumap: CtlBitmap { bitmap: GuestPtr::new(buffer.address()), nr_bits: bits, _pad: 0 },
            ..CpupoolOp::new_zeroed()
        };
        match self.cpupool_op(&mut argument) {
            Ok(()) => {}
            Err(Error::Hypercall { errno: Errno::NOENT, .. }) => return Ok(None),
            Err(e) => return Err(e),
        }
        let cpus = CpuMap::from_bytes(&buffer.bytes(bits.div_ceil(8) as usize), bits as usize);
        Ok(Some(CpuPool {
            id: argument.cpupool_id,
            sched_id: argument.sched_id,
            domains: argument.n_dom,
            cpus,
        }))
    }

    /// All pools in order of their numbers; maps of `cpus` bits.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn cpupools(&self, cpus: u32) -> Result<Vec<CpuPool>> {
        let mut all: Vec<CpuPool> = Vec::new();
        let mut from = 0;
        while let Some(pool) = self.cpupool_info(from, cpus)? {
            // A number that does not rise would never end.
            if pool.id < from {
                break;
            }
            let next = pool.id.checked_add(1);
            all.push(pool);
            let Some(next) = next else { break };
            from = next;
        }
        Ok(all)
    }

    /// CPUs that are in no pool; a map of `cpus` bits.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn cpupool_free_cpus(&self, cpus: u32) -> Result<CpuMap> {
        let bits = cpus.min(16384);
        let buffer = self.pool.get(bits.div_ceil(8) as usize)?;
        let mut argument = CpupoolOp {
            op: CPUPOOL_OP_FREEINFO,
            cpumap: CtlBitmap { bitmap: GuestPtr::new(buffer.address()), nr_bits: bits, _pad: 0 },
            ..CpupoolOp::new_zeroed()
        };
        self.cpupool_op(&mut argument)?;
        Ok(CpuMap::from_bytes(&buffer.bytes(bits.div_ceil(8) as usize), bits as usize))
    }

    /// Makes a pool with a scheduler, and says its number.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn cpupool_create(&self, sched_id: u32) -> Result<u32> {
        let mut argument = CpupoolOp {
            op: CPUPOOL_OP_CREATE,
            cpupool_id: CPUPOOL_PAR_ANY,
            sched_id,
            ..CpupoolOp::new_zeroed()
        };
        self.cpupool_op(&mut argument)?;
        Ok(argument.cpupool_id)
    }

    /// Removes a pool without CPUs and domains.
    ///
    /// # Errors
    /// [`Error::Hypercall`]: EBUSY.
    pub fn cpupool_destroy(&self, pool: u32) -> Result<()> {
        self.cpupool_op(&mut CpupoolOp {
            op: CPUPOOL_OP_DESTROY,
            cpupool_id: pool,
            ..CpupoolOp::new_zeroed()
        })
    }

    /// Gives a pool a CPU; `None` for any free one.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn cpupool_add_cpu(&self, pool: u32, cpu: Option<u32>) -> Result<()> {
        self.cpupool_op(&mut CpupoolOp {
            op: CPUPOOL_OP_ADDCPU,
            cpupool_id: pool,
            cpu: cpu.unwrap_or(CPUPOOL_PAR_ANY),
            ..CpupoolOp::new_zeroed()
        })
    }

    /// Takes a CPU from a pool; `None` for any of its.
    ///
    /// # Errors
    /// [`Error::Hypercall`]: EBUSY.
    pub fn cpupool_remove_cpu(&self, pool: u32, cpu: Option<u32>) -> Result<()> {
        self.cpupool_op(&mut CpupoolOp {
            op: CPUPOOL_OP_RMCPU,
            cpupool_id: pool,
            cpu: cpu.unwrap_or(CPUPOOL_PAR_ANY),
            ..CpupoolOp::new_zeroed()
        })
    }

    /// Moves a domain to a pool.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn cpupool_move_domain(&self, pool: u32, domid: u16) -> Result<()> {
        self.cpupool_op(&mut CpupoolOp {
            op: CPUPOOL_OP_MOVEDOMAIN,
            cpupool_id: pool,
            domid: u32::from(domid),
            ..CpupoolOp::new_zeroed()
        })
    }
}
