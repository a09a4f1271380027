//! Bridges and interfaces of dom0.

use std::fs;

use super::{About, Look, last};
use crate::{Vif, VifWay};

/// The bridge of interfaces that name none.
const DEFAULT_BRIDGE: &str = "xenbr0";

/// The script that joins interfaces to a bridge.
const BRIDGE_SCRIPT: &str = "vif-bridge";

/// Where the kernel shows its interfaces.
const NET: &str = "/sys/class/net";

/// Most bridges that are named.
const MAX_NAMES: usize = 5;

impl Look<'_> {
    pub(super) fn vif(&mut self, index: usize, vif: &Vif) {
        let about = |part| About { key: "vif", index: Some(index), part };
        if vif.backend.as_deref().is_some_and(|domain| !matches!(domain, "0" | "Domain-0")) {
            return;
        }
        // What the usual scripts do is part of the tools; others must be there.
        let script = vif.script.as_deref().unwrap_or(BRIDGE_SCRIPT);
        let bridged = script.rsplit('/').next() == Some(BRIDGE_SCRIPT);
        if vif.way() == VifWay::Script {
            self.script(about(script), script);
        }
        if bridged {
            self.bridge(about(vif.bridge.as_deref().unwrap_or("")), vif);
        }
        if let Some(name) = &vif.vifname
            && self.host.path(NET).join(name).exists()
        {
            let message = format!("there is an interface \"{name}\" already");
            self.say(about(name), message, Some("choose another vifname".to_owned()));
        }
    }

    fn bridge(&mut self, about: About<'_>, vif: &Vif) {
        let name = vif.bridge.as_deref().unwrap_or(DEFAULT_BRIDGE);
        let net = self.host.path(NET);
        if !net.is_dir() {
            // No sysfs: nothing can be said.
            return;
        }
        let interface = net.join(name);
        if interface.join("bridge").is_dir() {
            return;
        }
        if interface.exists() {
            let message = format!("\"{name}\" is an interface but no bridge");
            let help = format!(
                "make a bridge and add it: ip link add {DEFAULT_BRIDGE} type bridge; \
                 ip link set {name} master {DEFAULT_BRIDGE}"
            );
            return self.say(about, message, Some(help));
        }
        let mut bridges: Vec<String> = fs::read_dir(&net)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join("bridge").is_dir())
            .map(|entry| last(&entry.path()))
            .collect();
        bridges.sort();
        bridges.truncate(MAX_NAMES);
        let unnamed = if vif.bridge.is_none() { " (the interface names none)" } else { "" };
        let message = format!("there is no bridge \"{name}\"{unnamed}");
        let make = format!("make it: ip link add {name} type bridge && ip link set {name} up");
        let help = match bridges.as_slice() {
            [] => make,
            [one] => format!("write bridge={one}, or {make}"),
            several => format!("there is {}; or {make}", several.join(", ")),
        };
        self.say(about, message, Some(help));
    }
}
