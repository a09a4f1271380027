//! Which CPUs the vCPUs may use and prefer.

use super::Check;
use super::values::text_of;
use crate::document::{Value, ValueKind};
use crate::{CpuList, DomainConfig};

impl Check<'_> {
    pub(super) fn processors(&mut self, config: &mut DomainConfig) {
        config.hard_affinity = self.cpus("cpus", config.max_vcpus);
        config.soft_affinity = self.cpus("cpus_soft", config.max_vcpus);
    }

    /// One text holds for every vCPU; the elements of a list hold for one vCPU each.
    fn cpus(&mut self, key: &str, max_vcpus: u32) -> Vec<CpuList> {
        let Some(value) = self.value(key).cloned() else { return Vec::new() };
        let vcpus = usize::try_from(max_vcpus).unwrap_or(usize::MAX);
        let ValueKind::List(items) = &value.kind else {
            let list = self.cpu_list(key, &value);
            return list.map(|list| vec![list; vcpus]).unwrap_or_default();
        };
        if items.len() > vcpus {
            let message = format!(
                "\"{key}\" has {} elements for {vcpus} vCPUs: the rest is ignored",
                items.len()
            );
            self.warn(key, message, None);
        }
        items.iter().take(vcpus).filter_map(|item| self.cpu_list(key, item)).collect()
    }

    pub(crate) fn cpu_list(&mut self, key: &str, value: &Value) -> Option<CpuList> {
        let Some(text) = text_of(self.document, value) else {
            let message = format!("the elements of \"{key}\" are CPUs: \"0-3,5\"");
            self.diagnostics.push(self.document.error(value.span, message));
            return None;
        };
        match CpuList::parse(&text) {
            Ok(list) => Some(list),
            Err(error) => {
                let error = self.document.error(value.span, error.to_string());
                self.diagnostics.push(
                    error.help("CPUs are written \"all\", \"0-3,5\", \"0-3,^1\", \"node:0\""),
                );
                None
            }
        }
    }
}
