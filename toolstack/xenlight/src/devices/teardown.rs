//! Taking devices away: what a guest has, whoever created it, and the ways to end it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xenstore::Access;

use super::images::attached;
use super::{BACKEND_LIMIT, DeviceError, State};
use crate::Context;
use crate::hotplug::{self, Script};
use crate::wait;

/// A device that a guest has according to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The guest.
    pub domid: u16,
    /// Kind, by its name in the store.
    pub kind: String,
    /// Number within its kind.
    pub devid: String,
    /// The frontend's directory.
    pub frontend: String,
    /// The backend's directory.
    pub backend: String,
    /// libxl's record; empty where there is none.
    pub record: String,
}

impl Found {
    /// For messages: `vbd 51712 of domain 3`.
    pub fn name(&self) -> String {
        format!("{} {} of domain {}", self.kind, self.devid, self.domid)
    }

    /// Served by this domain's kernel or daemons.
    fn is_local(&self) -> bool {
        self.backend.starts_with("/local/domain/0/")
    }
}

/// How a device is to be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// The guest must agree.
    No,
    /// The guest is asked, and not waited for longer than the limit.
    AfterLimit,
    /// The guest is not asked.
    Now,
}

/// All devices of a guest: those that libxl's record names, and backends in domain 0 beyond it.
///
/// # Errors
/// The store's.
pub fn devices_of(cx: &mut Context, domid: u16) -> Result<Vec<Found>, DeviceError> {
    let mut found = Vec::new();
    let base = format!("/libxl/{domid}/device");
    for kind in cx.store.try_list(&base)?.unwrap_or_default() {
        for devid in cx.store.try_list(&format!("{base}/{kind}"))?.unwrap_or_default() {
            let record = format!("{base}/{kind}/{devid}");
            let frontend = cx.store.try_read(&format!("{record}/frontend"))?;
            let backend = cx.store.try_read(&format!("{record}/backend"))?;
            found.push(Found {
                domid,
                frontend: frontend
                    .unwrap_or_else(|| format!("/local/domain/{domid}/device/{kind}/{devid}")),
                backend: backend
                    .unwrap_or_else(|| format!("/local/domain/0/backend/{kind}/{domid}/{devid}")),
                kind: kind.clone(),
                devid,
                record,
            });
        }
    }
    let base = "/local/domain/0/backend";
    for kind in cx.store.try_list(base)?.unwrap_or_default() {
        let dir = format!("{base}/{kind}/{domid}");
        for devid in cx.store.try_list(&dir)?.unwrap_or_default() {
            let backend = format!("{dir}/{devid}");
            if found.iter().any(|device| device.backend == backend) {
                continue;
            }
            let frontend = format!("/local/domain/{domid}/device/{kind}/{devid}");
            let (kind, record) = (kind.clone(), String::new());
            found.push(Found { domid, kind, devid, frontend, backend, record });
        }
    }
    Ok(found)
}

/// Takes all devices of a guest away without asking it; what does not work is told and does not stop the
/// rest.
pub fn destroy_all(cx: &mut Context, domid: u16) -> Vec<DeviceError> {
    let devices = match devices_of(cx, domid) {
        Ok(devices) => devices,
        Err(error) => return vec![error],
    };
    let mut problems = Vec::new();
    // All are told before the first is waited for.
    for device in &devices {
        problems.extend(cut(cx, device).err());
    }
    let end = Instant::now() + BACKEND_LIMIT;
    for device in &devices {
        let left = end.saturating_duration_since(Instant::now());
        problems.extend(wait_closed(cx, device, left).err());
        problems.extend(clean(cx, device).err());
    }
    problems
}

/// When a backend that is to close is asked a second time.
const SECOND_REQUEST: Duration = Duration::from_secs(3);

/// Takes one device away.
///
/// # Errors
/// [`DeviceError::Busy`] if the guest must agree and does not.
pub fn remove(cx: &mut Context, device: &Found, force: Force) -> Result<(), DeviceError> {
    let state = cx.store.try_read(&format!("{}/state", device.backend))?;
    let connected = state.as_deref().and_then(State::parse) >= Some(State::CONNECTED);
    if force == Force::Now || !connected {
        cut_off(cx, device)?;
        return clean(cx, device);
    }
    close_backend(cx, device)?;
    match wait_closed(cx, device, BACKEND_LIMIT) {
        Ok(()) => clean(cx, device),
        Err(DeviceError::Backend { .. }) if force == Force::AfterLimit => {
            cut_off(cx, device)?;
            clean(cx, device)
        }
        Err(DeviceError::Backend { .. }) => {
            let state = cx.store.try_read(&format!("{}/state", device.frontend))?;
            let state = state.as_deref().and_then(State::parse);
            Err(DeviceError::Busy { device: device.name(), state, limit: BACKEND_LIMIT })
        }
        Err(other) => Err(other),
    }
}

/// Takes the guest's end away and waits for the backend's.
fn cut_off(cx: &mut Context, device: &Found) -> Result<(), DeviceError> {
    cut(cx, device)?;
    if wait_closed(cx, device, SECOND_REQUEST).is_ok() {
        return Ok(());
    }
    // A backend that was just connecting has written that over the request to close.
    close_backend(cx, device)?;
    wait_closed(cx, device, BACKEND_LIMIT)
}

/// Asks a backend to close; the guest's end follows.
fn close_backend(cx: &mut Context, device: &Found) -> Result<(), DeviceError> {
    let (state, online) =
        (format!("{}/state", device.backend), format!("{}/online", device.backend));
    cx.store.transaction(|t| {
        if let Some(now) = t.try_read(&state)? {
            t.write(&online, "0")?;
            if State::parse(&now).is_none_or(|now| now < State::CLOSING) {
                t.write(&state, "5")?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Takes the guest's end away, whatever it is doing.
fn cut(cx: &mut Context, device: &Found) -> Result<(), DeviceError> {
    if !device.frontend.is_empty() {
        cx.store.rm(&device.frontend)?;
    }
    if device.kind == "console" { Ok(()) } else { close_backend(cx, device) }
}

/// Waits until a backend has closed or is gone. One that the kernel never looked at is not waited for,
/// nor is xenconsoled, which has no states.
fn wait_closed(cx: &mut Context, device: &Found, limit: Duration) -> Result<(), DeviceError> {
    if device.kind == "console" {
        return Ok(());
    }
    if device.is_local() && !known_to_kernel(cx, device) {
        return Ok(());
    }
    let mut last = None;
    let closed =
        wait::until(&mut cx.store, &format!("{}/state", device.backend), limit, |value| {
            last = value.and_then(State::parse);
            match (value, last) {
                (None, _) | (_, Some(State::CLOSED)) => Some(()),
                _ => None,
            }
        })?;
    match closed {
        Some(()) => Ok(()),
        None => Err(DeviceError::Backend {
            device: device.name(),
            path: device.backend.clone(),
            state: last,
            wanted: State::CLOSED,
            limit,
            why: None,
        }),
    }
}

/// Whether this domain's kernel has a backend for it, as far as the kernel tells.
fn known_to_kernel(cx: &Context, device: &Found) -> bool {
    let bus = cx.paths.sys.join("bus/xen-backend/devices");
    let name = format!("{}-{}-{}", device.kind, device.domid, device.devid);
    !bus.exists() || bus.join(name).exists()
}

/// What is to be done in this domain when a device has closed, and its nodes.
fn clean(cx: &mut Context, device: &Found) -> Result<(), DeviceError> {
    let hotplug = if device.is_local() { unplug(cx, device) } else { Ok(()) };
    // The nodes go in any case: what they describe is gone.
    rm_with_parents(cx, &device.backend)?;
    if !device.record.is_empty() {
        rm_with_parents(cx, &device.record)?;
    }
    rm_with_parents(cx, &device.frontend)?;
    hotplug
}

/// Removes a node, and its parents for as long as they are empty: in a transaction, as others may fill
/// them at the same time.
fn rm_with_parents(cx: &mut Context, path: &str) -> Result<(), DeviceError> {
    cx.store.transaction(|t| {
        t.rm(path)?;
        for parent in parents(path) {
            match t.try_list(parent)? {
                Some(children) if children.is_empty() => t.rm(parent)?,
                Some(_) => break,
                None => {}
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// What may go with a device, nearest first: all below a domain's home, and below libxl's entry of it.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    let depth = if path.starts_with("/libxl/") { 2 } else { 3 };
    fn up<'a>(path: &&'a str) -> Option<&'a str> {
        path.rsplit_once('/').map(|(parent, _)| parent)
    }
    std::iter::successors(Some(path), up)
        .skip(1)
        .take_while(move |parent| parent.matches('/').count() > depth)
}

fn unplug(cx: &mut Context, device: &Found) -> Result<(), DeviceError> {
    let script = cx.store.try_read(&format!("{}/script", device.backend))?;
    let script = script.filter(|path| !path.is_empty()).map(PathBuf::from);
    match device.kind.as_str() {
        "vbd" => unplug_disk(cx, device, script.as_deref()),
        "vif" => unplug_vif(cx, device, script.as_deref()),
        _ => Ok(()),
    }
}

fn unplug_disk(cx: &mut Context, device: &Found, script: Option<&Path>) -> Result<(), DeviceError> {
    if let Some(path) = script.filter(|path| **path != cx.paths.scripts.join("block")) {
        return run_script(cx, device, super::block::script(path, "remove", &device.backend));
    }
    let Some(node) = cx.store.try_read(&format!("{}/node", device.backend))? else { return Ok(()) };
    let params = cx.store.try_read(&format!("{}/params", device.backend))?.unwrap_or_default();
    // The number may have been used again since.
    let params = std::fs::canonicalize(&params).unwrap_or_else(|_| PathBuf::from(&params));
    let ours = attached(&cx.paths).into_iter().any(|loops| {
        let file = loops.file.to_string_lossy();
        let file = Path::new(file.strip_suffix(" (deleted)").unwrap_or(&file)).to_owned();
        loops.device == Path::new(&node) && file == params
    });
    if !ours {
        return Ok(());
    }
    match sys::loopdev::detach(Path::new(&node)) {
        Ok(()) => Ok(()),
        Err(error) if error.errno() == Some(sys::Errno::NXIO) => Ok(()),
        Err(source) => Err(DeviceError::Kernel {
            device: device.name(),
            what: "detaching its loop device",
            source,
        }),
    }
}

fn unplug_vif(cx: &mut Context, device: &Found, script: Option<&Path>) -> Result<(), DeviceError> {
    let name = cx.store.try_read(&format!("{}/vifname", device.backend))?;
    let kernels = format!("vif{}.{}", device.domid, device.devid);
    let usual = |name: &str| script == Some(cx.paths.scripts.join(name).as_path());
    let interface = name.as_deref().unwrap_or(&kernels);
    // The interface goes with the backend; it is taken off its bridge, its routes and address go, should
    // it stay.
    if script.is_none() || usual("vif-bridge") {
        super::network::leave_bridge(interface);
    } else if usual("vif-route") || usual("vif-nat") {
        super::routed::leave(interface);
    } else if let Some(path) = script {
        let gateway = cx.store.try_read(&format!("{}/gatewaydev", device.backend))?;
        let gateway = gateway.unwrap_or_default();
        let script = super::network::script(path, "offline", &device.backend, &kernels, &gateway);
        return run_script(cx, device, script);
    }
    Ok(())
}

fn run_script(cx: &mut Context, device: &Found, script: Script) -> Result<(), DeviceError> {
    if !script.path.exists() {
        return Ok(());
    }
    let failed = hotplug::run(&script, hotplug::LIMIT).err();
    let Some(source) = failed else { return Ok(()) };
    let said = cx.store.try_read(&format!("{}/hotplug-error", device.backend))?;
    Err(DeviceError::Script { device: device.name(), said, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_go_with_the_last_device_and_homes_stay() {
        let all = |path| parents(path).collect::<Vec<_>>();
        assert_eq!(
            all("/local/domain/0/backend/vbd/1/51712"),
            [
                "/local/domain/0/backend/vbd/1",
                "/local/domain/0/backend/vbd",
                "/local/domain/0/backend"
            ]
        );
        assert_eq!(all("/libxl/1/device/vif/0"), ["/libxl/1/device/vif", "/libxl/1/device"]);
        assert_eq!(all("/local/domain/1/console"), Vec::<&str>::new());
    }
}
