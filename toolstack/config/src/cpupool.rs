//! `xlcpupool.cfg`: a CPU pool that is to be made.

use crate::document::ValueKind;
use crate::keys::{Form, Guests, Key, Status};
use crate::validate::{Check, Lax};
use crate::{CpuList, CpuSet, Diagnostic, Document, Errors};

const SCHEDULERS: &[&str] = &["credit", "credit2", "rtds", "null", "arinc653"];

const fn k(name: &'static str, form: Form, default: &'static str, help: &'static str) -> Key {
    Key { name, form, default, guests: Guests::All, status: Status::Done, help }
}

/// Every key of a pool's file.
pub static POOL_KEYS: &[Key] = &[
    k("name", Form::Text, "required", "unique name of the pool"),
    k("sched", Form::Choice(SCHEDULERS), "the hypervisor's", "scheduler"),
    k("nodes", Form::Any, "", "NUMA nodes whose CPUs it takes"),
    k("cpus", Form::Cpus, "one free CPU", "CPUs that it takes"),
];

/// A CPU pool that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Unique name.
    pub name: String,
    /// Name of the scheduler; `None`: the hypervisor's default.
    pub scheduler: Option<String>,
    /// Which CPUs it takes.
    pub cpus: PoolCpus,
}

/// Which CPUs a pool takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolCpus {
    /// One that is free.
    OneFree,
    /// These.
    Cpus(CpuList),
    /// Those of these nodes.
    Nodes(CpuSet),
}

impl PoolConfig {
    /// Makes a pool's configuration of a document.
    pub fn validate(document: &Document, lax: &Lax) -> Result<(Self, Vec<Diagnostic>), Errors> {
        let mut check = Check::of(document, POOL_KEYS, *lax);
        let name = check.name("the pool").unwrap_or_default();
        let scheduler = check.text("sched");
        let cpus = match (check.has("cpus"), check.has("nodes")) {
            (true, true) => {
                let message = "a pool takes either cpus or nodes, not both".to_owned();
                check.fail("nodes", message, None);
                PoolCpus::OneFree
            }
            (true, false) => cpus(&mut check),
            (false, true) => nodes(&mut check),
            (false, false) => PoolCpus::OneFree,
        };
        check.end(Self { name, scheduler, cpus })
    }
}

fn cpus(check: &mut Check<'_>) -> PoolCpus {
    let text = check.texts("cpus").join(",");
    match CpuList::parse(&text) {
        Ok(list) => PoolCpus::Cpus(list),
        Err(error) => {
            check.fail("cpus", error.to_string(), Some("CPUs are written \"0-3,5\" or [ 0, 1 ]"));
            PoolCpus::OneFree
        }
    }
}

fn nodes(check: &mut Check<'_>) -> PoolCpus {
    let bare = check.value("nodes").is_some_and(|v| matches!(v.kind, ValueKind::Bare(_)));
    let text = check.texts("nodes").join(",");
    match CpuList::parse(&text).ok().and_then(|list| list.fixed()).filter(|_| !bare) {
        Some(set) if !set.is_empty() => PoolCpus::Nodes(set),
        _ => {
            let message = format!("\"{text}\" is no list of NUMA nodes");
            check.fail("nodes", message, Some("nodes are written \"0-1\" or [ 0, 1 ]"));
            PoolCpus::OneFree
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PoolConfig, String> {
        let document = crate::parse(text, "pool.cfg").map_err(|errors| errors.to_string())?;
        PoolConfig::validate(&document, &Lax::default())
            .map(|(pool, _)| pool)
            .map_err(|errors| errors.0.iter().map(|error| error.message.clone()).collect())
    }

    #[test]
    fn a_pool_takes_cpus_or_nodes_or_one_that_is_free() {
        for (text, want) in [
            ("", PoolCpus::OneFree),
            ("cpus = \"1-2,^2\"", PoolCpus::Cpus(CpuList::parse("1-2,^2").unwrap())),
            ("cpus = [ 1, \"2\" ]", PoolCpus::Cpus(CpuList::parse("1,2").unwrap())),
            ("cpus = \"node:1\"", PoolCpus::Cpus(CpuList::parse("node:1").unwrap())),
            ("nodes = 1", PoolCpus::Nodes([1].into_iter().collect())),
            ("nodes = \"0-1\"", PoolCpus::Nodes(CpuSet::first(2))),
            ("nodes = [ 0, 1 ]", PoolCpus::Nodes(CpuSet::first(2))),
        ] {
            let pool = read(&format!("name = \"p\"\nsched = \"credit2\"\n{text}\n"));
            let want = PoolConfig {
                name: "p".to_owned(),
                scheduler: Some("credit2".to_owned()),
                cpus: want,
            };
            assert_eq!(pool, Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_pool_is_said() {
        for (text, want) in [
            ("", "the pool has no name"),
            ("name = \"\"", "the pool's name is empty"),
            ("name = \"p\"\nsched = \"sedf\"", "\"sched\" cannot be \"sedf\""),
            (
                "name = \"p\"\ncpus = \"0\"\nnodes = 0",
                "a pool takes either cpus or nodes, not both",
            ),
            ("name = \"p\"\ncpus = [ \"x\" ]", "\"x\" is no CPU, range of CPUs, node:N or \"all\""),
            ("name = \"p\"\nnodes = \"x\"", "\"x\" is no list of NUMA nodes"),
            ("name = \"p\"\nscheduler = \"credit\"", "unknown key \"scheduler\""),
        ] {
            assert_eq!(read(text), Err(want.to_owned()), "{text}");
        }
    }
}
