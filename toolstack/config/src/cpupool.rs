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
