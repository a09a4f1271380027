//! What can go wrong in a domain's life.

use std::time::Duration;

use crate::devices::DeviceError;

/// Why something could not be done to a domain.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] xenstore::Error),
    /// The hypervisor refused.
    #[error("domain {domid}: {what} failed")]
    Xen {
        /// The domain.
        domid: u16,
        /// What was to be done.
        what: &'static str,
        /// Why not.
        #[source]
        source: sys::Error,
    },
    /// No domain has this name.
    #[error("there is no domain named \"{name}\"{}", near(suggestion.as_deref()))]
    NoName {
        /// The name.
        name: String,
        /// A name that is nearly the same.
        suggestion: Option<String>,
    },
    /// No domain has this number.
    #[error("there is no domain {domid}")]
    NoDomain {
        /// The number.
        domid: u32,
    },
    /// Another domain has the name.
    #[error("the name \"{name}\" is in use: domain {domid} has it")]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        domid: u16,
    },
    /// Not a name for a domain.
    #[error("\"{name}\" is no name for a domain: {why}")]
    BadName {
        /// The name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// The domain does not take the request.
    #[error(
        "domain {domid} ({name}) cannot be asked to {request}: it has no driver for it (yet); \
         `xl destroy` ends it without asking"
    )]
    NoDriver {
        /// The domain.
        domid: u16,
        /// Its name.
        name: String,
        /// What was to be asked.
        request: &'static str,
    },
    /// The domain did not take up the request in time.
    #[error(
        "domain {domid} ({name}) did not answer the request to {request} within {} s; \
         `xl destroy` ends it without asking", limit.as_secs()
    )]
    NoAnswer {
        /// The domain.
        domid: u16,
        /// Its name.
        name: String,
        /// What was asked.
        request: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The domain is dead and does not go.
    #[error(
        "domain {domid} is dead but still there after {} s: somebody holds pages of it \
         (`xl debug-keys g` and `xl dmesg` show grants)", limit.as_secs()
    )]
    Zombie {
        /// The domain.
        domid: u16,
        /// How long was waited.
        limit: Duration,
    },
    /// Domain 0 cannot be ended so.
    #[error("domain 0 is this system itself and cannot be destroyed")]
    Domain0,
    /// The domain is gone, but something of it is left.
    #[error("domain {domid} was destroyed, but not all of it could be removed: {}", problems.iter().map(|p| chain(p)).collect::<Vec<_>>().join("; "))]
    Left {
        /// The domain.
        domid: u16,
        /// What went wrong.
        problems: Vec<DeviceError>,
    },
    /// It was being saved by a tool that was killed, and could not be let go on.
    #[error("domain {domid} could not be let go on after its save was cut short")]
    Rescue {
        /// The domain.
        domid: u16,
        /// Why.
        #[source]
        source: Box<crate::save::Error>,
    },
    /// A file of the domain's could not be removed.
    #[error("cannot remove {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl LifeError {
    /// A refusal of the hypervisor; one that says that there is no such domain becomes just that.
    pub(crate) fn of(domid: u16, what: &'static str, source: sys::Error) -> Self {
        if source.no_such_domain() {
            Self::NoDomain { domid: u32::from(domid) }
        } else {
            Self::Xen { domid, what, source }
        }
    }
}

fn near(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
