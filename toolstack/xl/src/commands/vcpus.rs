//! `vcpu-list`, `vcpu-pin`, `vcpu-set`.

use super::list;
use crate::cli::options::Parsed;
use crate::failure::{Failure, OrFail as _};
use crate::format::cpus::Vcpu;
use crate::format::{self, cpus, list::Columns};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use sys::{DomainInfo, Xen};

/// `xl vcpu-list`.
pub fn vcpu_list(session: &mut Session, parsed: &Parsed) -> Outcome {
    let rows = list::rows(session, &parsed.operands, Columns::default())?;
    let xen = session.xen()?;
    let count = host_cpus(xen)?;
    let mut vcpus = Vec::new();
    for row in rows {
        of_domain(xen, &row.info, row.name.as_ref(), count, &mut vcpus)?;
    }
    let total = usize::try_from(count).unwrap_or(0);
    let text = if parsed.json() {
        format::json::ours(&cpus::vcpus_json(&vcpus, total))
    } else {
        format::on_terminal(cpus::vcpus(&vcpus, total), output::colours())
    };
    output::print(&text);
    Ok(0)
}

/// How many CPUs the host has, those that are off included.
pub fn host_cpus(xen: &Xen) -> Result<u32, Failure> {
    let physical = xen.physinfo().or_fail(|| "cannot look at the host's CPUs".to_owned())?;
    Ok(physical.cpus())
}

fn of_domain(
    xen: &Xen,
    info: &DomainInfo,
    name: Option<&String>,
    cpus: u32,
    into: &mut Vec<Vcpu>,
) -> Result<(), Failure> {
    let domid = info.domid;
    let failed = || format!("cannot look at the vCPUs of domain {domid}");
    for vcpu in 0..info.vcpus() {
        into.push(Vcpu {
            name: name.cloned(),
            domid,
            info: xen.vcpu_info(domid, vcpu).or_fail(failed)?,
            affinity: xen.vcpu_affinity(domid, vcpu, cpus).or_fail(failed)?,
        });
    }
    Ok(())
}

/// `xl vcpu-pin`.
pub fn vcpu_pin(_session: &mut Session, parsed: &Parsed) -> Outcome {
    Err(Failure::new(format!("{} is not supported yet", parsed.command.name)))
}

/// `xl vcpu-set`.
pub fn vcpu_set(_session: &mut Session, parsed: &Parsed) -> Outcome {
    Err(Failure::new(format!("{} is not supported yet", parsed.command.name)))
}
