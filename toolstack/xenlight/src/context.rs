//! What every operation on a domain needs: the hypervisor, the store, the host's settings.

use std::path::{Path, PathBuf};

use xenstore::Access;
use xl_config::XlConf;

/// Connections and settings of one run of a tool.
pub struct Context {
    /// The hypervisor.
    pub xen: sys::Xen,
    /// The store.
    pub store: xenstore::Client,
    /// `xl.conf`.
    pub host: XlConf,
    /// Where files are.
    pub paths: Paths,
}

/// Where the toolstack keeps and finds files; tests give other places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Stored configurations: `userdata-d.DOMID.UUID.libxl-json`.
    pub lib: PathBuf,
    /// What holds until the next boot: journals of creations, locks of monitors.
    pub run: PathBuf,
    /// What can be made again at any time: unpacked kernels.
    pub cache: PathBuf,
    /// Logs of monitors.
    pub log: PathBuf,
    /// Hotplug scripts.
    pub scripts: PathBuf,
    /// Core dumps of guests.
    pub dump: PathBuf,
    /// Folder of the kernel's files about itself.
    pub proc: PathBuf,
    /// Folder of the kernel's files about devices.
    pub sys: PathBuf,
    /// Folder of device files.
    pub dev: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            lib: "/var/lib/xen".into(),
            run: "/run/xen".into(),
            cache: "/var/cache/xen".into(),
            log: "/var/log/xen".into(),
            scripts: "/etc/xen/scripts".into(),
            dump: "/var/lib/xen/dump".into(),
            proc: "/proc".into(),
            sys: "/sys".into(),
            dev: "/dev".into(),
        }
    }
}

impl Paths {
    /// The same places below another root, for tests.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let of = |path: PathBuf| root.join(path.strip_prefix("/").unwrap_or(&path));
        let Self { lib, run, cache, log, scripts, dump, proc, sys, dev } = Self::default();
        Self {
            lib: of(lib),
            run: of(run),
            cache: of(cache),
            log: of(log),
            scripts: of(scripts),
            dump: of(dump),
            proc: of(proc),
            sys: of(sys),
            dev: of(dev),
        }
    }
}

/// Why the tools cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// No hypervisor, or no right to speak to it.
    #[error("cannot reach the hypervisor")]
    Xen(#[source] sys::Error),
    /// No store.
    #[error("cannot reach xenstored")]
    Store(#[source] xenstore::Error),
}

impl Context {
    /// Connects to the hypervisor and the store.
    ///
    /// # Errors
    /// [`ContextError`] says which could not be reached, and why.
    pub fn open(host: XlConf) -> Result<Self, ContextError> {
        let xen = sys::Xen::open().map_err(ContextError::Xen)?;
        let store = xenstore::Client::open().map_err(ContextError::Store)?;
        Ok(Self { xen, store, host, paths: Paths::default() })
    }

    /// A domain's name in the store.
    ///
    /// # Errors
    /// The store's.
    pub fn name(&mut self, domid: u16) -> Result<Option<String>, xenstore::Error> {
        let name = self.store.try_read(&format!("/local/domain/{domid}/name"))?;
        Ok(name.filter(|name| !name.is_empty()))
    }
}
