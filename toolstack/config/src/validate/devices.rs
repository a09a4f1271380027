//! Disks, network interfaces, frame buffers: their words, and what two of them cannot share.

use super::Check;
use super::values::text_of;
use crate::device::{DISK_FORM, Grade, WordError, parse_disk, parse_vfb, parse_vif};
use crate::document::{Value, ValueKind};
use crate::{DeviceModel, DomainConfig, Severity, Vfb};

impl Check<'_> {
    pub(super) fn devices(&mut self, config: &mut DomainConfig) {
        self.disks(config);
        self.vifs(config);
        self.vfbs(config);
        config.device_model = DeviceModel {
            program: self.text("device_model_override"),
            args: self.texts("device_model_args"),
            args_pv: self.texts("device_model_args_pv"),
            user: self.text("device_model_user"),
        };
    }

    fn items(&self, key: &str) -> Vec<(Value, String)> {
        let Some(Value { kind: ValueKind::List(items), .. }) = self.value(key) else {
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| Some((item.clone(), text_of(self.document, item)?)))
            .collect()
    }

    fn disks(&mut self, config: &mut DomainConfig) {
        for (value, text) in self.items("disk") {
            if text.trim().is_empty() {
                let error = self.document.error(value.span, "this disk is empty");
                self.diagnostics.push(error.help(DISK_FORM));
                continue;
            }
            let (disk, faults) = parse_disk(&text);
            self.faults(&value, faults);
            let Some(disk) = disk else { continue };
            let same = |earlier: &&crate::Disk| earlier.vdev.number() == disk.vdev.number();
            if let Some(earlier) = config.disks.iter().find(same) {
                let message = format!(
                    "two disks are \"{}\" in the guest: this one and the one of \"{}\"",
                    disk.vdev,
                    earlier.target.as_deref().unwrap_or("an empty drive")
                );
                self.diagnostics.push(self.document.error(value.span, message));
            } else if let Some(earlier) =
                config.disks.iter().find(|earlier| earlier.vdev.collides_in_linux(&disk.vdev))
            {
                let message = format!(
                    "Linux guests have one name for \"{}\" and \"{}\", and take the first only",
                    earlier.vdev, disk.vdev
                );
                let warning = self.document.error(value.span, message).warning();
                self.diagnostics.push(warning.help("use another letter, as in xvdb"));
            }
            config.disks.push(disk);
        }
    }

    fn vifs(&mut self, config: &mut DomainConfig) {
        for (value, text) in self.items("vif") {
            let (vif, faults) = parse_vif(&text);
            self.faults(&value, faults);
            let shared = config.vifs.iter().find_map(|earlier| {
                if vif.mac.is_some() && vif.mac == earlier.mac {
                    vif.mac.map(|mac| format!("the address {mac}"))
                } else if vif.devid.is_some() && vif.devid == earlier.devid {
                    vif.devid.map(|devid| format!("the number (devid) {devid}"))
                } else if vif.vifname.is_some() && vif.vifname == earlier.vifname {
                    vif.vifname.as_ref().map(|name| format!("the name (vifname) {name}"))
                } else {
                    None
                }
            });
            if let Some(shared) = shared {
                let message = format!("two interfaces have {shared}");
                self.diagnostics.push(self.document.error(value.span, message));
            }
            config.vifs.push(vif);
        }
        number_vifs(config);
    }

    fn vfbs(&mut self, config: &mut DomainConfig) {
        for (value, text) in self.items("vfb") {
            let (vfb, faults) = parse_vfb(&text);
            self.faults(&value, faults);
            config.vfbs.push(vfb);
        }
        // A PV guest's top-level keys describe a frame buffer where they ask for VNC and no `vfb`
        // stands beside them.
        if self.flag("vnc") == Some(true) && !self.has("vfb") && config.pv().is_some() {
            config.vfbs.push(Vfb {
                vnc: Some(true),
                vnc_listen: self.text("vnclisten"),
                vnc_display: self.small("vncdisplay"),
                vnc_unused: self.flag("vncunused"),
                vnc_password: self.text("vncpasswd"),
                sdl: self.flag("sdl"),
                opengl: self.flag("opengl"),
                display: self.text("display"),
                xauthority: self.text("xauthority"),
                keymap: self.text("keymap"),
            });
        }
    }

    fn faults(&mut self, value: &Value, faults: Vec<WordError>) {
        for fault in faults {
            let mut error = self.document.error(value.part(fault.start, fault.end), fault.message);
            error.help = fault.help;
            if fault.grade == Grade::Note || fault.grade == Grade::Unknown && self.lax.unknown {
                error.severity = Severity::Warning;
            }
            self.diagnostics.push(error);
        }
    }
}

/// Interfaces without a number get their place in the list, or the lowest number that is free.
fn number_vifs(config: &mut DomainConfig) {
    let mut taken: Vec<u32> = config.vifs.iter().filter_map(|vif| vif.devid).collect();
    for (index, vif) in (0_u32..).zip(&mut config.vifs) {
        if vif.devid.is_none() {
            let devid = if taken.contains(&index) {
                (0..).find(|devid| !taken.contains(devid)).unwrap_or(index)
            } else {
                index
            };
            taken.push(devid);
            vif.devid = Some(devid);
        }
    }
}
