//! `cpupool-list`, `cpupool-rename`.

use crate::cli::options::Parsed;
use crate::cli::suggest;
use crate::failure::{Failure, OrFail as _};
use crate::format::{self, cpus};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use sys::CpuPool;
use xenstore::{Access as _, Client};

/// Where a pool's name is in the store.
pub fn name_path(id: u32) -> String {
    format!("/local/pool/{id}/name")
}

/// The names of pools; one without a name is called by its number, as in C.
pub fn names(store: &mut Client, ids: &[u32]) -> Result<Vec<String>, Failure> {
    let paths: Vec<_> = ids.iter().map(|id| name_path(*id)).collect();
    let names = store.read_many(&paths).or_fail(|| "cannot read the pools' names".to_owned())?;
    let named = |(id, name): (&u32, Option<String>)| name.unwrap_or_else(|| format!("Pool-{id}"));
    Ok(ids.iter().zip(names).map(named).collect())
}

/// All pools with their names.
pub fn all(session: &mut Session) -> Result<Vec<(CpuPool, String)>, Failure> {
    let failed = || "cannot list the pools of CPUs".to_owned();
    let (xen, store) = session.both()?;
    let cpus = xen.physinfo().or_fail(failed)?.cpus();
    let pools = xen.cpupools(cpus).or_fail(failed)?;
    let ids: Vec<_> = pools.iter().map(|pool| pool.id).collect();
    let names = names(store, &ids)?;
    Ok(pools.into_iter().zip(names).collect())
}

/// The pool that a word means: its name or its number.
///
/// # Errors
/// As the caller says it, with the nearest name.
pub fn find(
    session: &mut Session,
    word: &str,
    unknown: impl FnOnce() -> String,
) -> Result<(CpuPool, String), Failure> {
    let all = all(session)?;
    let names: Vec<String> = all.iter().map(|(_, name)| name.clone()).collect();
    let is_it = |(pool, name): &(CpuPool, String)| {
        name == word || word.parse::<u32>().is_ok_and(|id| id == pool.id)
    };
    all.into_iter().find(is_it).ok_or_else(|| {
        let failure = Failure::new(unknown());
        match suggest::nearest(word, names.iter().map(String::as_str)) {
            Some(near) => failure.help(format!("did you mean {near}?")),
            None => failure.help(format!("there are {}", names.join(", "))),
        }
    })
}

/// `xl cpupool-list`.
pub fn list(session: &mut Session, parsed: &Parsed) -> Outcome {
    let pools = match parsed.operands.first() {
        Some(word) => vec![find(session, word, || format!("Pool '{word}' does not exist"))?],
        None => all(session)?,
    };
    let row = |(pool, name): (CpuPool, String)| cpus::Pool {
        id: pool.id,
        name,
        scheduler: cpus::scheduler(pool.sched_id),
        domains: pool.domains,
        cpus: pool.cpus.iter().collect(),
    };
    let rows: Vec<_> = pools.into_iter().map(row).collect();
    let text = if parsed.json() {
        format::json::ours(&rows)
    } else {
        format::on_terminal(cpus::pools(&rows, parsed.flag("cpus")), output::colours())
    };
    output::print(&text);
    Ok(0)
}

/// `xl cpupool-rename`.
pub fn rename(session: &mut Session, parsed: &Parsed) -> Outcome {
    let (old, new) = (parsed.operand(0), parsed.operand(1));
    let (pool, _) = find(session, old, || format!("unknown cpupool '{old}'"))?;
    if all(session)?.iter().any(|(other, name)| name == new && other.id != pool.id) {
        return Err(Failure::new(format!("Can't rename cpupool '{old}': {new} exists already")));
    }
    session
        .store()?
        .write(&name_path(pool.id), new)
        .or_fail(|| format!("Can't rename cpupool '{old}'"))?;
    Ok(0)
}
