//! Devices from libxl's values.

use serde_json::Value;

use super::{Fields, JsonError};
use crate::{
    Access, BackendType, Disk, DiskFormat, DomainConfig, Mac, Rate, Vdev, Vfb, Vif, VifType,
};

pub(super) fn all(config: &mut DomainConfig, fields: &Fields<'_>) -> Result<(), JsonError> {
    config.disks = each(fields, "disks", disk)?;
    config.vifs = each(fields, "nics", vif)?;
    config.vfbs = each(fields, "vfbs", vfb)?;
    Ok(())
}

fn each<T>(
    fields: &Fields<'_>,
    name: &str,
    read: impl Fn(&Fields<'_>) -> Result<T, JsonError>,
) -> Result<Vec<T>, JsonError> {
    let items: &[Value] = fields.list(name)?;
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        out.push(read(&Fields::of(item, &format!("{}[{index}]", fields.path(name)))?)?);
    }
    Ok(out)
}

/// The backend's domain by name, or by number where the number is not 0.
fn backend(fields: &Fields<'_>) -> Result<Option<String>, JsonError> {
    match fields.text("backend_domname")? {
        Some(name) => Ok(Some(name)),
        None => {
            let domid = fields.number::<u32>("backend_domid")?.filter(|domid| *domid != 0);
            Ok(domid.map(|domid| domid.to_string()))
        }
    }
}

fn disk(fields: &Fields<'_>) -> Result<Disk, JsonError> {
    let name = fields.text("vdev")?.ok_or_else(|| JsonError::Missing(fields.path("vdev")))?;
    let vdev = Vdev::parse(&name).ok_or_else(|| fields.wrong("vdev"))?;
    if fields.text("specification")?.is_some_and(|kind| kind == "virtio") {
        let what = "a virtio disk".to_owned();
        return Err(JsonError::Unsupported { field: fields.path("specification"), what });
    }
    let format = match fields.text("format")?.as_deref() {
        None | Some("unknown") => DiskFormat::Raw,
        Some(name) => DiskFormat::from_name(name).ok_or_else(|| fields.wrong("format"))?,
    };
    let backend_type = match fields.text("backend")?.as_deref() {
        None | Some("unknown") => None,
        Some(name) => Some(BackendType::from_name(name).ok_or_else(|| fields.wrong("backend"))?),
    };
    let shared = fields.truth("shared")?.unwrap_or(false);
    let access = match fields.truth("readwrite")?.unwrap_or(false) {
        true if shared => Access::Shared,
        true => Access::ReadWrite,
        false => Access::ReadOnly,
    };
    Ok(Disk {
        vdev,
        target: fields.text("pdev_path")?.filter(|path| !path.is_empty()),
        format,
        access,
        cdrom: fields.truth("is_cdrom")?.unwrap_or(false),
        backend: backend(fields)?,
        backend_type,
        script: fields.text("script")?,
        direct_io_safe: fields.truth("direct_io_safe")?.unwrap_or(false),
        discard: fields.truth("discard_enable")?,
        trusted: fields.truth("trusted")?,
        grant_usage: fields.truth("grant_usage")?,
    })
}

fn vif(fields: &Fields<'_>) -> Result<Vif, JsonError> {
    let mac = match fields.text("mac")? {
        None => None,
        Some(text) => Some(text.parse::<Mac>().map_err(|_| fields.wrong("mac"))?),
    };
    let bytes = fields.number::<u64>("rate_bytes_per_interval")?.filter(|bytes| *bytes != 0);
    let interval = fields.number::<u32>("rate_interval_usecs")?;
    let kind = match fields.text("nictype")?.as_deref() {
        None | Some("unknown") => None,
        Some("vif") => Some(VifType::Vif),
        Some("vif_ioemu") => Some(VifType::Ioemu),
        Some(_) => return Err(fields.wrong("nictype")),
    };
    Ok(Vif {
        devid: fields.number("devid")?,
        mac: mac.filter(|mac| !mac.is_zero()),
        bridge: fields.text("bridge")?,
        ip: fields.text("ip")?,
        script: fields.text("script")?,
        vifname: fields.text("ifname")?,
        rate: bytes.zip(interval).map(|(bytes, interval_usecs)| Rate { bytes, interval_usecs }),
        model: fields.text("model")?,
        mtu: fields.number::<u32>("mtu")?.filter(|mtu| *mtu != 0),
        backend: backend(fields)?,
        gatewaydev: fields.text("gatewaydev")?,
        vlan: fields.text("vlan")?,
        trusted: fields.truth("trusted")?,
        kind,
    })
}

fn vfb(fields: &Fields<'_>) -> Result<Vfb, JsonError> {
    let mut vfb = Vfb { keymap: fields.text("keymap")?, ..Vfb::default() };
    if let Some(vnc) = fields.map("vnc")? {
        vfb.vnc = vnc.truth("enable")?;
        vfb.vnc_listen = vnc.text("listen")?;
        vfb.vnc_password = vnc.text("passwd")?;
        vfb.vnc_display = vnc.number("display")?;
        vfb.vnc_unused = vnc.truth("findunused")?;
    }
    if let Some(sdl) = fields.map("sdl")? {
        vfb.sdl = sdl.truth("enable")?;
        vfb.opengl = sdl.truth("opengl")?;
        vfb.display = sdl.text("display")?;
        vfb.xauthority = sdl.text("xauthority")?;
    }
    Ok(vfb)
}
