//! libxl 4.20's JSON form of a configuration: what `xl create -n` prints, what
//! `/var/lib/xen/userdata-*.libxl-json` and saved guests carry.
//!
//! Fields stand in the order of `libxl_types.idl`; a field with its default value is left out.

mod read;
mod write;
mod yajl;

pub use read::JsonError;
pub use yajl::pretty;

use serde_json::Value;

use crate::DomainConfig;

/// Which of libxl's two forms is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonForm {
    /// What the file said, as `xl create -n` prints it.
    Parsed,
    /// With the defaults that libxl settles at creation, as it keeps it beside a running guest.
    Stored,
}

impl DomainConfig {
    /// What `xl create -n` prints. Lists of CPUs must be [resolved](Self::resolve_cpus) before:
    /// those that depend on the host are left out.
    pub fn to_json(&self) -> String {
        pretty(&self.to_value(JsonForm::Parsed))
    }

    /// What libxl keeps beside a running guest.
    pub fn to_stored_json(&self) -> String {
        pretty(&self.to_value(JsonForm::Stored))
    }

    /// The same as a value, for `xl list -l`.
    pub fn to_value(&self, form: JsonForm) -> Value {
        write::domain(self, form)
    }

    /// Reads either form. What libxl knows and this system does not support yet is refused by
    /// name; what it has no use for (defaults of the device model) is passed over.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        let value: Value = serde_json::from_str(text.trim_end_matches('\0'))?;
        Self::from_value(&value)
    }

    /// The same from a value.
    pub fn from_value(value: &Value) -> Result<Self, JsonError> {
        read::domain(value)
    }
}
