//! `list -l`: what each domain was created from, with what of it has changed since.

use super::list;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::format;
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use serde_json::{Map, Value, json};
use sys::{DomainInfo, Scheduler};
use xenlight::{Context, userdata};
use xl_config::{JsonForm, OutputFormat};

/// `xl list -l`.
pub fn list_long(session: &mut Session, words: &[String]) -> Outcome {
    let infos = list::chosen(session, words)?;
    let domids: Vec<_> = infos.iter().map(|info| info.domid).collect();
    let names = domains::names(session.store()?, &domids)?;
    let context = session.context()?;
    let sxp = context.host.output_format == OutputFormat::Sxp;
    let mut all = Vec::new();
    for (info, name) in infos.iter().zip(names) {
        if sxp {
            if let Some(config) = userdata::load(context, info.domid)
                .or_fail(|| format!("cannot read what domain {} was created from", info.domid))?
            {
                output::print(&config.to_sxp(Some(info.domid)));
            }
        } else {
            all.push(json!({ "domid": info.domid, "config": config(context, info, name)? }));
        }
    }
    if !sxp {
        output::print(&(format::json::libxl(&Value::Array(all)) + "\n"));
    }
    Ok(0)
}

/// A domain's stored configuration, and over it what the store and the hypervisor say now.
fn config(
    context: &mut Context,
    info: &DomainInfo,
    name: Option<String>,
) -> Result<Value, Failure> {
    let domid = info.domid;
    let failed = || format!("cannot read what domain {domid} was created from");
    // Domain 0 was not created by anybody here.
    let stored = if domid == 0 { None } else { userdata::load(context, domid).or_fail(failed)? };
    let mut value = stored.map_or_else(stub, |config| config.to_value(JsonForm::Stored));
    let home = format!("/local/domain/{domid}/memory");
    let paths = ["static-max", "target"].map(|node| format!("{home}/{node}"));
    let memory = context.store.read_many(&paths).or_fail(failed)?;
    let number = |at: usize| memory.get(at)?.as_ref()?.parse::<u64>().ok();
    let now = Now {
        name,
        max_kib: number(0),
        target_kib: number(1),
        scheduling: scheduling(context, info),
    };
    now.overlay(&mut value);
    Ok(value)
}

/// What may have changed since a domain was created.
struct Now {
    name: Option<String>,
    max_kib: Option<u64>,
    target_kib: Option<u64>,
    scheduling: Option<Value>,
}

impl Now {
    fn overlay(self, config: &mut Value) {
        if let Some(info) = config.get_mut("c_info").and_then(Value::as_object_mut)
            && let Some(name) = self.name
        {
            info.insert("name".to_owned(), name.into());
        }
        let Some(info) = config.get_mut("b_info").and_then(Value::as_object_mut) else { return };
        for (key, value) in [("target_memkb", self.target_kib), ("max_memkb", self.max_kib)] {
            if let Some(value) = value {
                set(info, key, value.into());
            }
        }
        if let Some(scheduling) = self.scheduling {
            set(info, "sched_params", scheduling);
        }
    }
}

/// Replaces a member where it is; a new one comes first, where libxl has it.
fn set(map: &mut Map<String, Value>, key: &str, value: Value) {
    match map.get_mut(key) {
        Some(old) => *old = value,
        None => {
            map.shift_insert(0, key.to_owned(), value);
        }
    }
}

/// What libxl stores for domain 0.
fn stub() -> Value {
    json!({
        "c_info": { "type": "pv" },
        "b_info": { "sched_params": {}, "type.pv": {}, "arch_arm": {}, "arch_x86": {} },
    })
}

/// Weight and cap of a domain, in libxl's form.
fn scheduling(context: &Context, info: &DomainInfo) -> Option<Value> {
    let xen = &context.xen;
    let scheduler = Scheduler(xen.sched_id().ok()?);
    let (weight, cap) = match scheduler {
        Scheduler::CREDIT2 => xen.credit2(info.domid).map(|p| (p.weight, p.cap)).ok()?,
        Scheduler::CREDIT => xen.credit(info.domid).map(|p| (p.weight, p.cap)).ok()?,
        _ => return None,
    };
    Some(json!({ "sched": scheduler.name()?, "weight": weight, "cap": cap }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_laid_over_what_was_stored() {
        let mut config = json!({
            "c_info": { "type": "pv", "name": "old" },
            "b_info": { "max_vcpus": 1, "max_memkb": 5, "target_memkb": 4, "sched_params": {} },
        });
        let now = Now {
            name: Some("new".to_owned()),
            max_kib: Some(9),
            target_kib: Some(8),
            scheduling: Some(json!({ "sched": "credit2", "weight": 256, "cap": 0 })),
        };
        now.overlay(&mut config);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            text,
            r#"{"c_info":{"type":"pv","name":"new"},"b_info":{"max_vcpus":1,"max_memkb":9,"target_memkb":8,"sched_params":{"sched":"credit2","weight":256,"cap":0}}}"#
        );
    }

    #[test]
    fn domain_0_has_its_memory_before_its_scheduling_as_libxl_prints_it() {
        let mut config = stub();
        let now = Now { name: None, max_kib: Some(9), target_kib: Some(8), scheduling: None };
        now.overlay(&mut config);
        let keys: Vec<_> = config["b_info"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys[..3], ["max_memkb", "target_memkb", "sched_params"]);
    }
}
