//! The end of a domain: devices, the domain itself, its nodes, its files.

use std::time::Duration;

use xenstore::Access;

use super::LifeError;
use crate::Context;
use crate::devices::{self, DeviceError};
use crate::userdata;
use crate::wait;

/// How long a destroyed domain may take to give its number back.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// What a destroyed domain leaves.
#[derive(Debug, Default)]
pub struct Remains {
    /// What could not be removed, and why.
    pub problems: Vec<DeviceError>,
    /// Somebody still holds pages of the domain.
    pub zombie: bool,
}

/// Ends a domain at once and removes all that belongs to it. Works on what is left of a half-created or
/// half-destroyed one too, as long as any of it is there.
///
/// # Errors
/// [`LifeError::NoDomain`] if neither hypervisor nor store know it.
pub fn destroy(cx: &mut Context, domid: u16) -> Result<Remains, LifeError> {
    if domid == 0 {
        return Err(LifeError::Domain0);
    }
    let info = cx.xen.domain_info(domid);
    let info = info.map_err(|source| LifeError::of(domid, "asking for it", source))?;
    let home = format!("/local/domain/{domid}");
    if info.is_none() && !cx.store.exists(&home)? && !cx.store.exists(&format!("/libxl/{domid}"))? {
        return Err(LifeError::NoDomain { domid: u32::from(domid) });
    }
    let vm = cx.store.try_read(&format!("{home}/vm"))?;
    if info.is_some() {
        // It must not use its devices while they go; one that cannot be paused is dead already.
        let _ = cx.xen.pause(domid);
    }
    let mut remains = Remains { problems: devices::destroy_all(cx, domid), zombie: false };
    if info.is_some() {
        match cx.xen.destroy_domain(domid) {
            Ok(()) => {}
            Err(error) if error.no_such_domain() => {}
            Err(source) => return Err(LifeError::of(domid, "destroying it", source)),
        }
    }
    nodes(cx, domid, &home, vm.as_deref())?;
    userdata::remove_all(&cx.paths, domid);
    let _ = std::fs::remove_file(devices::block::empty_drive_path(cx, domid));
    let gone = wait::poll(GONE_LIMIT, || {
        let info = cx.xen.domain_info(domid);
        matches!(info, Ok(None) | Err(_)).then_some(())
    });
    remains.zombie = gone.is_none();
    Ok(remains)
}

/// Removes a domain's nodes, and tells the daemon that its ring is gone.
fn nodes(cx: &mut Context, domid: u16, home: &str, vm: Option<&str>) -> Result<(), LifeError> {
    // The daemon knows by itself when the domain is gone.
    let _ = cx.store.release(domid);
    if let Some(vm) = vm.filter(|vm| vm.starts_with("/vm/")) {
        // A preserved guest's restarted copy may have taken the entry over: it belongs to its reader.
        if owner_is(cx, vm, domid)? {
            cx.store.rm(vm)?;
        }
    }
    cx.store.rm(home)?;
    cx.store.rm(&format!("/libxl/{domid}"))?;
    Ok(())
}

/// Whether a `/vm` entry is of this domain: readable by it.
fn owner_is(cx: &mut Context, vm: &str, domid: u16) -> Result<bool, LifeError> {
    match cx.store.permissions(vm) {
        Ok(permissions) => Ok(permissions.iter().all(|p| p.domid == domid || p.domid == 0)),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
