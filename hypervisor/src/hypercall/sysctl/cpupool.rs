//! CPU pools. There is one, number 0, with all CPUs.

use crate::cpus;
use crate::domain;
use crate::hypercall::Stop;
use crate::hypercall::control::{part, put_part, write_bitmap};
use abi::sysctl::{
    CPUPOOL_OP_FREEINFO, CPUPOOL_OP_INFO, CPUPOOL_OP_MOVEDOMAIN, CPUPOOL_PAR_ANY, CpupoolOp,
};
use abi::{DomId, Errno};

/// `XEN_SYSCTL_cpupool_op`.
pub fn cpupool_op(u: &mut [u64; 16]) -> Result<(), Stop> {
    let mut p: CpupoolOp = part(u)?;
    match p.op {
        CPUPOOL_OP_INFO => {
            // The first pool from this number on.
            if p.cpupool_id != 0 && p.cpupool_id != CPUPOOL_PAR_ANY {
                return Err(Errno::ENOENT.into());
            }
            p.cpupool_id = 0;
            p.sched_id = super::SCHEDULER;
            p.n_dom = domain::count();
            write_bitmap(&p.cpumap, cpus::online().bits())?;
        }
        CPUPOOL_OP_FREEINFO => write_bitmap(&p.cpumap, 0)?,
        CPUPOOL_OP_MOVEDOMAIN => {
            let id = u16::try_from(p.domid).map_err(|_| Errno::ESRCH)?;
            domain::by_id(DomId(id)).ok_or(Errno::ESRCH)?;
            if p.cpupool_id != 0 {
                return Err(Errno::ENOENT.into());
            }
        }
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    put_part(u, &p);
    Ok(())
}
