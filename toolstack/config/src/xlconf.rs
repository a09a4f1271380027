//! `xl.conf`: what holds for the whole host.

mod read;

use crate::{CpuList, Grants};

/// What `xl.conf` says; [`Default`]: what holds where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XlConf {
    /// Dom0 gives memory up for new guests.
    pub autoballoon: Autoballoon,
    /// Hotplug scripts are run by the tools, not by udev.
    pub run_hotplug_scripts: bool,
    /// File that serialises creations.
    pub lockfile: String,
    /// Script of interfaces that name none.
    pub vif_script: Option<String>,
    /// Bridge of interfaces that name none.
    pub vif_bridge: Option<String>,
    /// Backend domain of interfaces that name none.
    pub vif_backend: Option<String>,
    /// Outgoing interface of interfaces that name none.
    pub vif_gatewaydev: Option<String>,
    /// Form of long outputs.
    pub output_format: OutputFormat,
    /// First name for disks attached to dom0 for a boot loader; `None`: `xvda`.
    pub blkdev_start: Option<String>,
    /// Memory is claimed before it is populated.
    pub claim_mode: bool,
    /// Unpacked kernels are kept, so that the next guest of a kernel is made sooner.
    pub kernel_cache: bool,
    /// How domain numbers are chosen.
    pub domid_policy: DomidPolicy,
    /// Limits of guests' grant tables.
    pub grants: Grants,
    /// CPUs that guests may run on.
    pub cpumask: Option<CpuList>,
    /// The same for HVM and PVH guests.
    pub cpumask_hvm: Option<CpuList>,
    /// The same for PV guests.
    pub cpumask_pv: Option<CpuList>,
    /// Boot loaders run without privileges.
    pub bootloader_restrict: Option<bool>,
}

impl Default for XlConf {
    fn default() -> Self {
        Self {
            autoballoon: Autoballoon::Auto,
            run_hotplug_scripts: true,
            lockfile: "/var/lock/xl".to_owned(),
            vif_script: None,
            vif_bridge: None,
            vif_backend: None,
            vif_gatewaydev: None,
            output_format: OutputFormat::Json,
            blkdev_start: None,
            claim_mode: true,
            kernel_cache: true,
            domid_policy: DomidPolicy::Xen,
            grants: Grants::default(),
            cpumask: None,
            cpumask_hvm: None,
            cpumask_pv: None,
            bootloader_restrict: None,
        }
    }
}

/// Dom0 gives memory up for new guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Autoballoon {
    /// Always.
    On,
    /// Never.
    Off,
    /// Unless the hypervisor was started with `dom0_mem`.
    #[default]
    Auto,
}

/// Form of long outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// JSON.
    #[default]
    Json,
    /// S-expressions, as `xm` had.
    Sxp,
}

/// How domain numbers are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DomidPolicy {
    /// By the hypervisor: the next one.
    #[default]
    Xen,
    /// At random.
    Random,
}
