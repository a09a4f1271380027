//! A domain's virtual CPUs: how many are on line, where they run, what share they get.

use sys::{CpuMap, Credit, Credit2, Scheduler};
use xenstore::Access;
use xl_config::{CpuList, CpuListError, CpuSet, DomainConfig, HostCpus};

use crate::Context;

/// Why a domain's CPUs could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// There is no such domain.
    #[error("there is no domain {0}")]
    NoDomain(u16),
    /// No vCPU, or more than the domain can have.
    #[error(
        "domain {domid}: {asked} vCPUs are not possible; it can have 1 to {max} (maxvcpus= in its configuration)"
    )]
    Count {
        /// The domain.
        domid: u16,
        /// What was asked for.
        asked: u32,
        /// What it can have.
        max: u32,
    },
    /// The domain has no such vCPU.
    #[error("domain {domid} has no vCPU {vcpu}; it has 0 to {}", max.saturating_sub(1))]
    NoVcpu {
        /// The domain.
        domid: u16,
        /// The number.
        vcpu: u32,
        /// How many it has.
        max: u32,
    },
    /// The masks of `xl.conf` leave no CPU.
    #[error(
        "domain {domid}: cpus= names no CPU that vm.cpumask and vm.pv.cpumask of xl.conf allow; \
         --ignore-global-affinity-masks passes over them"
    )]
    Masked {
        /// The domain.
        domid: u16,
    },
    /// A list of CPUs that this host cannot fulfil.
    #[error(transparent)]
    List(#[from] CpuListError),
    /// There is no such pool.
    #[error("there is no CPU pool \"{name}\"; pools: {}", pools.join(", "))]
    NoPool {
        /// The name.
        name: String,
        /// Those there are.
        pools: Vec<String>,
    },
    /// The scheduler has no such parameter.
    #[error(
        "domain {domid}: cpu_weight and cap need the scheduler credit or credit2; this host has another"
    )]
    Scheduler {
        /// The domain.
        domid: u16,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] xenstore::Error),
    /// The hypervisor refused.
    #[error("domain {domid}: {what} failed")]
    Xen {
        /// The domain.
        domid: u16,
        /// What was to be done.
        what: String,
        /// Why not.
        #[source]
        source: sys::Error,
    },
}

fn failed(domid: u16, what: impl Into<String>) -> impl FnOnce(sys::Error) -> CpuError {
    let what = what.into();
    move |source| CpuError::Xen { domid, what, source }
}

/// vCPUs that a domain has, on line or not.
///
/// # Errors
/// [`CpuError::NoDomain`].
pub fn count(cx: &Context, domid: u16) -> Result<u32, CpuError> {
    let info = cx.xen.domain_info(domid).map_err(failed(domid, "asking for it"))?;
    info.map(|info| info.vcpus()).ok_or(CpuError::NoDomain(domid))
}

/// Puts the first `online` vCPUs of a domain on line and the others off line (`xl vcpu-set`): its kernel
/// follows in its own time.
///
/// # Errors
/// [`CpuError::Count`].
pub fn set_online(cx: &mut Context, domid: u16, online: u32) -> Result<(), CpuError> {
    let max = count(cx, domid)?;
    if online == 0 || online > max {
        return Err(CpuError::Count { domid, asked: online, max });
    }
    let home = format!("/local/domain/{domid}/cpu");
    cx.store.transaction(|t| {
        for vcpu in 0..max {
            let state = if vcpu < online { "online" } else { "offline" };
            t.write(&format!("{home}/{vcpu}/availability"), state)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The host's CPUs and nodes, for lists that name them.
///
/// # Errors
/// The hypervisor's.
pub fn host(cx: &Context) -> Result<HostCpus, CpuError> {
    let topology = cx.xen.cpu_topology().map_err(failed(0, "asking for the host's CPUs"))?;
    let mut host = HostCpus { cpus: CpuSet::new(), nodes: Vec::new() };
    for (cpu, place) in topology.iter().enumerate() {
        let (Some(place), Ok(cpu)) = (place, u32::try_from(cpu)) else { continue };
        host.cpus.insert(cpu);
        let node = usize::try_from(place.node).unwrap_or(usize::MAX);
        // Nodes are few; a number beyond all sense is no node.
        if node < 256 {
            while host.nodes.len() <= node {
                host.nodes.push(CpuSet::new());
            }
            if let Some(cpus) = host.nodes.get_mut(node) {
                cpus.insert(cpu);
            }
        }
    }
    if host.cpus.is_empty() {
        // Xen does not tell where a lone CPU is; it is there all the same, on one node.
        let info = cx.xen.physinfo().map_err(failed(0, "asking for the host's CPUs"))?;
        host.cpus = CpuSet::first(info.cpus());
        host.nodes = vec![host.cpus.clone()];
    }
    Ok(host)
}

/// The set that a list means here, as the hypervisor takes it; "all" is every CPU there could be.
fn map(cx: &Context, host: &HostCpus, list: &CpuList) -> Result<CpuMap, CpuError> {
    let info = cx.xen.physinfo().map_err(failed(0, "asking for the host's CPUs"))?;
    let bits = usize::try_from(info.cpus()).unwrap_or(usize::MAX);
    if list.is_all() {
        return Ok(CpuMap::all(bits));
    }
    let set = list.resolve(host)?;
    let mut map = CpuMap::new(bits);
    for cpu in set.iter() {
        map.set(usize::try_from(cpu).unwrap_or(usize::MAX), true);
    }
    Ok(map)
}

/// Sets where vCPUs may and should run (`xl vcpu-pin`); `vcpu` `None`: all of them, `None` for a list:
/// it stays.
///
/// # Errors
/// [`CpuError::NoVcpu`], [`CpuError::List`].
pub fn pin(
    cx: &Context,
    domid: u16,
    vcpu: Option<u32>,
    hard: Option<&CpuList>,
    soft: Option<&CpuList>,
    force: bool,
) -> Result<(), CpuError> {
    let max = count(cx, domid)?;
    let host = host(cx)?;
    let hard = hard.map(|list| map(cx, &host, list)).transpose()?;
    let soft = soft.map(|list| map(cx, &host, list)).transpose()?;
    let vcpus = match vcpu {
        Some(vcpu) if vcpu >= max => return Err(CpuError::NoVcpu { domid, vcpu, max }),
        Some(vcpu) => vcpu..vcpu.saturating_add(1),
        None => 0..max,
    };
    for vcpu in vcpus {
        cx.xen
            .set_vcpu_affinity(domid, vcpu, hard.as_ref(), soft.as_ref(), force)
            .map_err(failed(domid, format!("setting where its vCPU {vcpu} runs")))?;
    }
    Ok(())
}

/// Sets the affinities of a configuration, and those of `xl.conf` where it has none.
pub(crate) fn apply_affinity(
    cx: &Context,
    domid: u16,
    config: &DomainConfig,
) -> Result<(), CpuError> {
    let plain = config.hard_affinity.is_empty() && config.soft_affinity.is_empty();
    let masks: Vec<&CpuList> = cx.host.cpumask_pv.iter().chain(&cx.host.cpumask).collect();
    if plain && masks.is_empty() {
        return Ok(());
    }
    let host = host(cx)?;
    let allowed = allowed(&host, &masks)?;
    for vcpu in 0..config.max_vcpus {
        let index = usize::try_from(vcpu).unwrap_or(usize::MAX);
        let hard = within(&host, config.hard_affinity.get(index), allowed.as_ref(), domid)?;
        let (hard, soft) = (hard.as_ref(), config.soft_affinity.get(index));
        if hard.is_none() && soft.is_none() {
            continue;
        }
        let hard = hard.map(|list| map(cx, &host, list)).transpose()?;
        let soft = soft.map(|list| map(cx, &host, list)).transpose()?;
        cx.xen
            .set_vcpu_affinity(domid, vcpu, hard.as_ref(), soft.as_ref(), false)
            .map_err(failed(domid, format!("setting where its vCPU {vcpu} runs")))?;
    }
    Ok(())
}

/// The CPUs that all masks of `xl.conf` allow; `None` where there are no masks.
fn allowed(host: &HostCpus, masks: &[&CpuList]) -> Result<Option<CpuSet>, CpuError> {
    let mut all: Option<CpuSet> = None;
    for mask in masks {
        let mask = mask.resolve(host)?;
        all = Some(match all {
            Some(all) => all.iter().filter(|cpu| mask.contains(*cpu)).collect(),
            None => mask,
        });
    }
    Ok(all)
}

/// Where a vCPU may run: as its configuration says, and within the masks.
fn within(
    host: &HostCpus,
    wanted: Option<&CpuList>,
    allowed: Option<&CpuSet>,
    domid: u16,
) -> Result<Option<CpuList>, CpuError> {
    let Some(allowed) = allowed else { return Ok(wanted.cloned()) };
    let set = match wanted {
        Some(wanted) => wanted.resolve(host)?.iter().filter(|cpu| allowed.contains(*cpu)).collect(),
        None => allowed.clone(),
    };
    if set.is_empty() {
        return Err(CpuError::Masked { domid });
    }
    Ok(Some(CpuList::of(&set)))
}

/// Sets weight and cap where they are given.
pub(crate) fn apply_weight(
    cx: &Context,
    domid: u16,
    weight: Option<u16>,
    cap: Option<u16>,
) -> Result<(), CpuError> {
    if weight.is_none() && cap.is_none() {
        return Ok(());
    }
    let what = "setting its share of CPU time";
    match cx.xen.sched_id().map(Scheduler).map_err(failed(domid, what))? {
        Scheduler::CREDIT2 => {
            let mut now = cx.xen.credit2(domid).map_err(failed(domid, what))?;
            now = Credit2 { weight: weight.unwrap_or(now.weight), cap: cap.unwrap_or(now.cap) };
            cx.xen.set_credit2(domid, now).map_err(failed(domid, what))
        }
        Scheduler::CREDIT => {
            let mut now = cx.xen.credit(domid).map_err(failed(domid, what))?;
            now = Credit { weight: weight.unwrap_or(now.weight), cap: cap.unwrap_or(now.cap) };
            cx.xen.set_credit(domid, now).map_err(failed(domid, what))
        }
        _ => Err(CpuError::Scheduler { domid }),
    }
}

/// The number of a pool of CPUs by its name; none named: Pool-0.
pub(crate) fn pool(cx: &mut Context, name: Option<&str>) -> Result<u32, CpuError> {
    let Some(name) = name.filter(|name| *name != "Pool-0") else { return Ok(0) };
    let mut pools = Vec::new();
    for number in cx.store.try_list("/local/pool")?.unwrap_or_default() {
        let found = cx.store.try_read(&format!("/local/pool/{number}/name"))?;
        if found.as_deref() == Some(name) || number == name {
            return Ok(number.parse().unwrap_or(0));
        }
        pools.extend(found);
    }
    Err(CpuError::NoPool { name: name.to_owned(), pools })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostCpus {
        HostCpus { cpus: CpuSet::first(8), nodes: Vec::new() }
    }

    fn list(text: &str) -> CpuList {
        CpuList::parse(text).unwrap()
    }

    fn affinity(wanted: Option<&str>, masks: &[&str]) -> Result<Option<Vec<u32>>, CpuError> {
        let masks: Vec<CpuList> = masks.iter().map(|mask| list(mask)).collect();
        let allowed = allowed(&host(), &masks.iter().collect::<Vec<_>>())?;
        let wanted = wanted.map(list);
        let found = within(&host(), wanted.as_ref(), allowed.as_ref(), 1)?;
        Ok(found.map(|list| list.resolve(&host()).unwrap().iter().collect()))
    }

    #[test]
    fn a_guest_runs_where_its_configuration_and_all_masks_allow_it() {
        assert_eq!(affinity(None, &[]).unwrap(), None);
        assert_eq!(affinity(Some("1-3"), &[]).unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(affinity(Some("1-3"), &["2-7"]).unwrap(), Some(vec![2, 3]));
        assert_eq!(affinity(None, &["2-7", "0-4"]).unwrap(), Some(vec![2, 3, 4]));
    }

    #[test]
    fn masks_that_leave_no_cpu_are_told() {
        assert!(matches!(affinity(Some("0"), &["2-7"]), Err(CpuError::Masked { domid: 1 })));
    }
}
