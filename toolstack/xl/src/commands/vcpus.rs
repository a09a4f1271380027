//! `vcpu-list`, `vcpu-pin`, `vcpu-set`.

use super::{list, wrong};
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::format::cpus::Vcpu;
use crate::format::{self, cpus, list::Columns};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use sys::{CpuMap, DomainInfo, Xen};
use xenlight::{Context, cpus as pinning};
use xl_config::{CpuList, CpuSet, HostCpus};

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
pub fn vcpu_pin(session: &mut Session, parsed: &Parsed) -> Outcome {
    let word = parsed.operand(1);
    let vcpu = match word {
        "all" => None,
        number => Some(number.parse::<u32>().map_err(|_| {
            wrong(format!("Invalid argument {word} as VCPU.")).help("give a number, or all")
        })?),
    };
    let force = parsed.flag("force");
    if force && vcpu.is_none() {
        return Err(wrong("--force and 'all' as VCPU not allowed."));
    }
    let (hard, soft) = (list_of(parsed.operand(2))?, list_of(parsed.operand(3))?);
    if hard.is_none() && soft.is_none() {
        return Err(wrong("neither hard nor soft affinity is given"));
    }
    let domid = domains::find(session, parsed.operand(0))?;
    let dry_run = session.globals.dry_run;
    let context = session.context()?;
    let failed = || format!("Could not set affinity for vcpu `{word}' of domain {domid}");
    let host = pinning::host(context).or_fail(failed)?;
    let resolve = |list: &CpuList| list.resolve(&host).or_fail(failed);
    let mut hard = hard.as_ref().map(resolve).transpose()?;
    let soft = soft.as_ref().map(resolve).transpose()?;
    if !parsed.flag("ignore-global-affinity-masks")
        && let Some(hard) = &mut hard
    {
        apply_masks(context, domid, &host, hard)?;
    }
    if hard.as_ref().is_some_and(CpuSet::is_empty) {
        return Err(wrong("vcpu hard affinity map is empty"));
    }
    if dry_run {
        output::print(&dry(&host.cpus, hard.as_ref(), soft.as_ref()));
        return Ok(0);
    }
    let (hard, soft) = (hard.as_ref().map(CpuList::of), soft.as_ref().map(CpuList::of));
    pinning::pin(context, domid, vcpu, hard.as_ref(), soft.as_ref(), force).or_fail(failed)?;
    Ok(0)
}

/// A list of CPUs; none where a dash, or nothing, leaves it as it is.
fn list_of(text: &str) -> Result<Option<CpuList>, Failure> {
    if matches!(text, "" | "-") {
        return Ok(None);
    }
    CpuList::parse(text).map(Some).or_fail(|| format!("Invalid pcpu range: {text}."))
}

/// Takes out what `xl.conf` keeps guests from.
fn apply_masks(
    context: &Context,
    domid: u16,
    host: &HostCpus,
    hard: &mut CpuSet,
) -> Result<(), Failure> {
    let failed = || "cannot apply the CPU masks of xl.conf".to_owned();
    let info = context.xen.domain_info(domid).or_fail(failed)?;
    let of_kind = match info {
        Some(info) if info.hvm => &context.host.cpumask_hvm,
        _ => &context.host.cpumask_pv,
    };
    for mask in [of_kind, &context.host.cpumask].into_iter().flatten() {
        let mask = mask.resolve(host).or_fail(failed)?;
        *hard = hard.iter().filter(|cpu| mask.contains(*cpu)).collect();
    }
    Ok(())
}

/// What a dry run prints.
fn dry(host: &CpuSet, hard: Option<&CpuSet>, soft: Option<&CpuSet>) -> String {
    let total = host.iter().last().map_or(0, |last| last + 1);
    let total = usize::try_from(total).unwrap_or(0);
    let text = |set: &CpuSet| cpus::set(&CpuMap::from_bytes(&set.to_bytes(), total), total);
    let hard = hard.map(text).unwrap_or_default();
    let soft = soft.map(|soft| format!(" {}", text(soft))).unwrap_or_default();
    format!("cpumap: {hard}{soft}\n")
}

/// `xl vcpu-set`.
pub fn vcpu_set(session: &mut Session, parsed: &Parsed) -> Outcome {
    let word = parsed.operand(1);
    let count: u32 = word.parse().map_err(|_| {
        wrong(format!("Invalid argument {word}.")).help("give how many vCPUs it is to use")
    })?;
    let domid = domains::find(session, parsed.operand(0))?;
    if !parsed.flag("ignore-host") {
        let physical =
            session.xen()?.physinfo().or_fail(|| "cannot look at the host's CPUs".to_owned())?;
        let cpus = physical.online_cpus;
        if count > cpus {
            return Err(wrong(format!(
                "You are overcommmitting! You have {cpus} physical CPUs and want {count} vCPUs! \
                 Aborting, use --ignore-host to continue"
            )));
        }
    }
    pinning::set_online(session.context()?, domid, count)
        .or_fail(|| format!("cannot set the vCPUs of domain {domid} to {count}"))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_prints_the_sets_as_debians_xl_does() {
        let host = CpuSet::first(2);
        let one = |cpu| [cpu].into_iter().collect::<CpuSet>();
        assert_eq!(dry(&host, Some(&one(0)), None), "cpumap: 0\n");
        assert_eq!(dry(&host, Some(&one(0)), Some(&one(1))), "cpumap: 0 1\n");
        assert_eq!(dry(&host, Some(&host), None), "cpumap: all\n");
    }

    #[test]
    fn a_dash_leaves_a_list_and_nonsense_is_named() {
        assert_eq!(list_of("-").unwrap(), None);
        assert!(list_of("0-1").unwrap().is_some());
        assert_eq!(list_of("bogus").unwrap_err().what, "Invalid pcpu range: bogus.");
    }
}
