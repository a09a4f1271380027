//! `sched-credit`, `sched-credit2`.

use super::{conflict, cpupools, wrong};
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::format::{self, sched};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use std::ops::RangeInclusive;
use sys::{Credit, Credit2, Credit2Global, CreditGlobal, DomainInfo, Scheduler, Xen};

const WEIGHT: RangeInclusive<u16> = 1..=65535;
/// What a domain's cap may be; the hypervisor refuses more than all of its vCPUs could use.
const CAP: RangeInclusive<u16> = 0..=65534;
const RATELIMIT_US: RangeInclusive<u32> = 100..=500_000;
const TSLICE_MS: RangeInclusive<u32> = 1..=1000;
const MIGRATION_DELAY_US: RangeInclusive<u32> = 0..=100_000;

/// What differs between the two schedulers.
trait Kind {
    const SCHEDULER: Scheduler;
    /// Weight and cap of a domain.
    fn get(xen: &Xen, domid: u16) -> sys::Result<(u16, u16)>;
    fn set(xen: &Xen, domid: u16, weight: u16, cap: u16) -> sys::Result<()>;
    /// The line of a pool, and whether its parameters could be had.
    fn pool_line(xen: &Xen, id: u32, name: &str) -> (String, sys::Result<()>);
    /// Sets what is given of a pool's parameters.
    fn set_pool(xen: &Xen, id: u32, parsed: &Parsed) -> Result<(), Failure>;
}

struct CreditKind;
struct Credit2Kind;

impl Kind for CreditKind {
    const SCHEDULER: Scheduler = Scheduler::CREDIT;

    fn get(xen: &Xen, domid: u16) -> sys::Result<(u16, u16)> {
        xen.credit(domid).map(|Credit { weight, cap }| (weight, cap))
    }

    fn set(xen: &Xen, domid: u16, weight: u16, cap: u16) -> sys::Result<()> {
        xen.set_credit(domid, Credit { weight, cap })
    }

    fn pool_line(xen: &Xen, id: u32, name: &str) -> (String, sys::Result<()>) {
        match xen.credit_global(id) {
            Ok(global) => (sched::credit_pool(name, Some(global)), Ok(())),
            Err(error) => (sched::credit_pool(name, None), Err(error)),
        }
    }

    fn set_pool(xen: &Xen, id: u32, parsed: &Parsed) -> Result<(), Failure> {
        let tslice = number(parsed, "tslice_ms", "Time slice", TSLICE_MS)?;
        let ratelimit = number(parsed, "ratelimit_us", "Ratelimit", RATELIMIT_US)?;
        let delay = number(parsed, "migration_delay_us", "Migration delay", MIGRATION_DELAY_US)?;
        let failed = || format!("cannot set the credit scheduler of pool {id}");
        let old = xen.credit_global(id).or_fail(failed)?;
        let new = CreditGlobal {
            tslice_ms: tslice.unwrap_or(old.tslice_ms),
            ratelimit_us: ratelimit.unwrap_or(old.ratelimit_us),
            migration_delay_us: delay.unwrap_or(old.migration_delay_us),
        };
        xen.set_credit_global(id, new).or_fail(failed)
    }
}

impl Kind for Credit2Kind {
    const SCHEDULER: Scheduler = Scheduler::CREDIT2;

    fn get(xen: &Xen, domid: u16) -> sys::Result<(u16, u16)> {
        xen.credit2(domid).map(|Credit2 { weight, cap }| (weight, cap))
    }

    fn set(xen: &Xen, domid: u16, weight: u16, cap: u16) -> sys::Result<()> {
        xen.set_credit2(domid, Credit2 { weight, cap })
    }

    fn pool_line(xen: &Xen, id: u32, name: &str) -> (String, sys::Result<()>) {
        match xen.credit2_global(id) {
            Ok(global) => (sched::credit2_pool(name, Some(global)), Ok(())),
            Err(error) => (sched::credit2_pool(name, None), Err(error)),
        }
    }

    fn set_pool(xen: &Xen, id: u32, parsed: &Parsed) -> Result<(), Failure> {
        let Some(ratelimit_us) = number(parsed, "ratelimit_us", "Ratelimit", RATELIMIT_US)? else {
            return Ok(());
        };
        xen.set_credit2_global(id, Credit2Global { ratelimit_us })
            .or_fail(|| format!("cannot set the credit2 scheduler of pool {id}"))
    }
}

/// `xl sched-credit`.
pub fn credit(session: &mut Session, parsed: &Parsed) -> Outcome {
    let sets = ["tslice_ms", "ratelimit_us", "migration_delay_us"];
    run::<CreditKind>(session, parsed, sets.iter().any(|name| parsed.flag(name)))
}

/// `xl sched-credit2`.
pub fn credit2(session: &mut Session, parsed: &Parsed) -> Outcome {
    run::<Credit2Kind>(session, parsed, parsed.flag("ratelimit_us"))
}

fn run<K: Kind>(session: &mut Session, parsed: &Parsed, sets_pool: bool) -> Outcome {
    let domain = parsed.value("domain");
    let weight = number(parsed, "weight", "Cpu weight", WEIGHT)?;
    let cap = number(parsed, "cap", "Cpu cap", CAP)?;
    if parsed.flag("schedparam") {
        if weight.is_some() || cap.is_some() {
            return Err(conflict("Specifying a weight or cap is not allowed with -s."));
        }
        if sets_pool {
            return set_pool::<K>(session, parsed);
        }
        return show_pools::<K>(session, parsed, false);
    }
    if sets_pool {
        return Err(
            conflict("Must specify schedparam to set schedule parameter values.").help("add -s")
        );
    }
    let Some(domain) = domain else {
        if weight.is_some() || cap.is_some() {
            return Err(wrong("Must specify a domain.").help("add -d DOMAIN"));
        }
        return show_pools::<K>(session, parsed, true);
    };
    if parsed.flag("cpupool") {
        return Err(conflict("Specifying a cpupool is not allowed with other options."));
    }
    let domid = domains::find(session, domain)?;
    let name = domains::names(session.store()?, &[domid])?.into_iter().next().flatten();
    let xen = session.xen()?;
    let failed = || format!("cannot read the {} parameters of domain {domid}", scheduler::<K>());
    let (old_weight, old_cap) = K::get(xen, domid).map_err(|error| {
        let other = error.errno() == Some(sys::Errno::INVAL);
        let failure = Failure::caused(failed(), &error);
        if other {
            failure.help("is the domain under another scheduler? see xl list -c")
        } else {
            failure
        }
    })?;
    if weight.is_none() && cap.is_none() {
        let row = sched::Domain { domid, name, weight: old_weight, cap: old_cap };
        show(
            parsed,
            sched::HEADER.to_owned() + &sched::domains(std::slice::from_ref(&row)),
            &[row],
        );
        return Ok(0);
    }
    K::set(xen, domid, weight.unwrap_or(old_weight), cap.unwrap_or(old_cap))
        .or_fail(|| format!("cannot set the {} parameters of domain {domid}", scheduler::<K>()))?;
    Ok(0)
}

fn scheduler<K: Kind>() -> &'static str {
    format::cpus::scheduler(K::SCHEDULER.0)
}

fn show(parsed: &Parsed, text: String, rows: &[sched::Domain]) {
    output::print(&if parsed.json() { format::json::ours(&rows) } else { text });
}

/// The pools that are asked for.
fn chosen(session: &mut Session, parsed: &Parsed) -> Result<Vec<(u32, String, u32)>, Failure> {
    let pools = match parsed.value("cpupool") {
        Some(word) => {
            vec![cpupools::find(session, word, || format!("unknown cpupool '{word}'"))?]
        }
        None => cpupools::all(session)?,
    };
    Ok(pools.into_iter().map(|(pool, name)| (pool.id, name, pool.sched_id)).collect())
}

fn set_pool<K: Kind>(session: &mut Session, parsed: &Parsed) -> Outcome {
    // Without a pool the first one is meant, as in C.
    let pools = chosen(session, parsed)?;
    let (id, _, _) = pools.first().ok_or_else(|| wrong("there is no pool of CPUs"))?;
    K::set_pool(session.xen()?, *id, parsed)?;
    Ok(0)
}

/// Each pool under this scheduler, with its domains if asked for.
fn show_pools<K: Kind>(session: &mut Session, parsed: &Parsed, domains: bool) -> Outcome {
    let pools = chosen(session, parsed)?;
    let infos = if domains { domains::list(session)? } else { Vec::new() };
    let mut text = String::new();
    let mut all = Vec::new();
    for (id, name, sched_id) in pools {
        if sched_id != K::SCHEDULER.0 {
            continue;
        }
        let (line, result) = K::pool_line(session.xen()?, id, &name);
        text.push_str(&line);
        if let Err(error) = result {
            session.say(&format!("xl: warning: pool {name}: {error}"));
        }
        if domains {
            let rows = rows::<K>(session, infos.iter().filter(|info| info.cpupool == id))?;
            text.push_str(sched::HEADER);
            text.push_str(&sched::domains(&rows));
            all.extend(rows);
        }
    }
    show(parsed, text, &all);
    Ok(0)
}

fn rows<'a, K: Kind>(
    session: &mut Session,
    infos: impl Iterator<Item = &'a DomainInfo>,
) -> Result<Vec<sched::Domain>, Failure> {
    let domids: Vec<_> = infos.map(|info| info.domid).collect();
    let names = domains::names(session.store()?, &domids)?;
    let xen = session.xen()?;
    let mut rows = Vec::new();
    for (domid, name) in domids.into_iter().zip(names) {
        let (weight, cap) = K::get(xen, domid)
            .or_fail(|| format!("cannot read the parameters of domain {domid}"))?;
        rows.push(sched::Domain { domid, name, weight, cap });
    }
    Ok(rows)
}

/// A number that an option gives, in its range.
fn number<T>(
    parsed: &Parsed,
    option: &str,
    what: &str,
    range: RangeInclusive<T>,
) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let Some(text) = parsed.value(option) else { return Ok(None) };
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => Err(wrong(format!(
            "{what} out of range, valid values are within range from {} to {}: {text}",
            range.start(),
            range.end()
        ))),
    }
}
