//! `network-attach`, `network-detach`, `block-attach`, `block-detach`.

use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::format;
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use serde_json::Value;
use xenlight::devices::{Force, block, network};
use xl_config::{Disk, DomainConfig, JsonForm, Vif};

/// The words after the domain, joined as one description.
fn description(parsed: &Parsed) -> String {
    parsed.operands.get(1..).unwrap_or_default().join(",")
}

/// What a dry run prints of a device: its part of libxl's form.
fn shown(what: &str, config: &DomainConfig, list: &str) -> String {
    let value = config.to_value(JsonForm::Parsed);
    let device = value.get(list).and_then(|list| list.get(0)).cloned().unwrap_or(Value::Null);
    format!("{what}: {}\n", format::json::libxl(&device))
}

/// `xl network-attach`.
pub fn network_attach(session: &mut Session, parsed: &Parsed) -> Outcome {
    let text = description(parsed);
    let vif = Vif::parse(&text).or_fail(|| format!("cannot understand the interface {text}"))?;
    let domid = domains::find(session, parsed.operand(0))?;
    if session.globals.dry_run {
        let mut config = DomainConfig::new_pv("", 0);
        config.vifs = vec![vif];
        output::print(&shown("vif", &config, "nics"));
        return Ok(0);
    }
    let info = domains::info(session, domid)?;
    network::attach(session.context()?, domid, &vif, &info.handle)
        .or_fail(|| format!("cannot attach a network interface to domain {domid}"))?;
    Ok(0)
}

/// `xl block-attach`.
pub fn block_attach(session: &mut Session, parsed: &Parsed) -> Outcome {
    let text = description(parsed);
    let disk = Disk::parse(&text).or_fail(|| format!("cannot understand the disk {text}"))?;
    let domid = domains::find(session, parsed.operand(0))?;
    if session.globals.dry_run {
        let mut config = DomainConfig::new_pv("", 0);
        config.disks = vec![disk];
        output::print(&shown("disk", &config, "disks"));
        return Ok(0);
    }
    domains::info(session, domid)?;
    block::attach(session.context()?, domid, &disk)
        .or_fail(|| format!("cannot attach a disk to domain {domid}"))?;
    Ok(0)
}

/// `xl network-detach`. A guest that does not let go within the limit loses the interface all the same.
pub fn network_detach(session: &mut Session, parsed: &Parsed) -> Outcome {
    let device = parsed.operand(1);
    let domid = domains::find(session, parsed.operand(0))?;
    network::detach(session.context()?, domid, device, Force::AfterLimit)
        .or_fail(|| format!("cannot detach network interface {device} of domain {domid}"))?;
    Ok(0)
}

/// `xl block-detach`.
pub fn block_detach(session: &mut Session, parsed: &Parsed) -> Outcome {
    let device = parsed.operand(1);
    let domid = domains::find(session, parsed.operand(0))?;
    let force = if parsed.flag("force") { Force::Now } else { Force::No };
    block::detach(session.context()?, domid, device, force).map_err(|error| match &error {
        xenlight::devices::DeviceError::Missing { .. } => {
            Failure::caused(format!("Device {device} not connected."), &error)
        }
        _ => Failure::caused(format!("cannot detach disk {device} of domain {domid}"), &error),
    })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_prints_a_disk_as_debians_xl_does() {
        let mut config = DomainConfig::new_pv("", 0);
        config.disks = vec![Disk::parse("/root/d2.img,raw,xvdb,w").unwrap()];
        assert_eq!(
            shown("disk", &config, "disks"),
            "disk: {\n    \"pdev_path\": \"/root/d2.img\",\n    \"vdev\": \"xvdb\",\n    \
             \"format\": \"raw\",\n    \"readwrite\": 1\n}\n\n"
        );
    }

    #[test]
    fn a_dry_run_prints_an_interface_as_debians_xl_does() {
        let mut config = DomainConfig::new_pv("", 0);
        config.vifs = vec![Vif::parse("bridge=xenbr0").unwrap()];
        assert_eq!(shown("vif", &config, "nics"), "vif: {\n    \"bridge\": \"xenbr0\"\n}\n\n");
    }
}
