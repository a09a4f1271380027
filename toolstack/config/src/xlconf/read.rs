//! From the text of `xl.conf` to [`XlConf`].

use super::{Autoballoon, DomidPolicy, OutputFormat, XlConf};
use crate::keys::HOST_KEYS;
use crate::validate::{Check, Lax};
use crate::{CpuList, Diagnostic, DomainConfig, Errors, GrantVersion, Grants};

impl XlConf {
    /// Reads `xl.conf`. Keys that are not known are warnings: the file holds for every command.
    pub fn parse(text: &str, file: &str) -> Result<(Self, Vec<Diagnostic>), Errors> {
        let document = crate::parse(text, file)?;
        let mut check = Check::of(&document, HOST_KEYS, Lax { unknown: true });
        let conf = read(&mut check);
        check.end(conf)
    }

    /// Puts this file's defaults where a guest's own file says nothing.
    pub fn apply(&self, config: &mut DomainConfig) {
        for vif in &mut config.vifs {
            let fill = |field: &mut Option<String>, default: &Option<String>| {
                if field.is_none() {
                    field.clone_from(default);
                }
            };
            fill(&mut vif.script, &self.vif_script);
            fill(&mut vif.bridge, &self.vif_bridge);
            fill(&mut vif.backend, &self.vif_backend);
            fill(&mut vif.gatewaydev, &self.vif_gatewaydev);
        }
        config.claim_mode = self.claim_mode;
        config.run_hotplug_scripts = self.run_hotplug_scripts;
        config.blkdev_start.clone_from(&self.blkdev_start);
        let grants = &mut config.grants;
        grants.max_frames = grants.max_frames.or(self.grants.max_frames);
        grants.max_maptrack_frames = grants.max_maptrack_frames.or(self.grants.max_maptrack_frames);
        grants.max_version = grants.max_version.or(self.grants.max_version);
        if let crate::Kind::Pv(pv) = &mut config.kind {
            pv.bootloader_restrict = pv.bootloader_restrict.or(self.bootloader_restrict);
        }
    }
}

fn read(check: &mut Check<'_>) -> XlConf {
    let usual = XlConf::default();
    let autoballoon = match (check.flag("autoballoon"), check.text("autoballoon").as_deref()) {
        (Some(true), _) | (None, Some("on")) => Autoballoon::On,
        (Some(false), _) | (None, Some("off")) => Autoballoon::Off,
        _ => Autoballoon::Auto,
    };
    XlConf {
        autoballoon,
        run_hotplug_scripts: check.flag("run_hotplug_scripts").unwrap_or(usual.run_hotplug_scripts),
        lockfile: check.text("lockfile").unwrap_or(usual.lockfile),
        vif_script: check.text("vif.default.script").or_else(|| check.text("vifscript")),
        vif_bridge: check.text("vif.default.bridge").or_else(|| check.text("defaultbridge")),
        vif_backend: check.text("vif.default.backend"),
        vif_gatewaydev: check.text("vif.default.gatewaydev"),
        output_format: match check.text("output_format").as_deref() {
            Some("sxp") => OutputFormat::Sxp,
            _ => OutputFormat::Json,
        },
        blkdev_start: check.text("blkdev_start"),
        claim_mode: check.flag("claim_mode").unwrap_or(usual.claim_mode),
        kernel_cache: check.flag("kernel_cache").unwrap_or(usual.kernel_cache),
        domid_policy: match check.text("domid_policy").as_deref() {
            Some("random") => DomidPolicy::Random,
            _ => DomidPolicy::Xen,
        },
        grants: Grants {
            max_frames: check.small("max_grant_frames"),
            max_maptrack_frames: check.small("max_maptrack_frames"),
            max_version: check.number("max_grant_version").map(|version| match version {
                1 => GrantVersion::V1,
                _ => GrantVersion::V2,
            }),
        },
        cpumask: mask(check, "vm.cpumask"),
        cpumask_hvm: mask(check, "vm.hvm.cpumask"),
        cpumask_pv: mask(check, "vm.pv.cpumask"),
        bootloader_restrict: check.flag("bootloader_restrict"),
    }
}

fn mask(check: &mut Check<'_>, key: &str) -> Option<CpuList> {
    let value = check.value(key).cloned()?;
    check.cpu_list(key, &value)
}
