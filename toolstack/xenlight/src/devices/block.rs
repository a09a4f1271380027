//! Disks that the kernel's backend serves: block devices, and plain files on loop devices.

use std::path::{Path, PathBuf};

use xenstore::Access;
use xl_config::{BackendType, Disk, DiskFormat, Vdev};

use super::images::{self, Identity};
use super::teardown::{Force, devices_of, remove};
use super::{BACKEND_LIMIT, DeviceError, Found, State, Users, backend_domid, wait_for_backend};
use crate::Context;
use crate::hotplug::{self, Script};
use crate::journal::Journal;
use crate::lock::{self, Lock};
use crate::tree::{self, DeviceKind, DeviceNodes, DiskNodes, Node};
use crate::userdata;

/// A disk that is ready to be written into the store.
#[derive(Debug)]
pub struct Prepared {
    /// Where its nodes are.
    pub at: DeviceNodes,
    /// What they say.
    pub nodes: DiskNodes,
    /// A script that has to run once the backend is there.
    script: Option<Script>,
    /// The loop device, until the store knows of it.
    loop_device: Option<LoopDevice>,
}

/// A loop device that goes when this is dropped.
#[derive(Debug)]
struct LoopDevice(PathBuf);

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // There is nobody to tell; `cleanup` finds what is left.
        let _ = sys::loopdev::detach(&self.0);
    }
}

impl Prepared {
    /// The nodes, to be written in one transaction.
    pub fn tree(&self) -> Vec<Node> {
        tree::disk(&self.at, &self.nodes)
    }

    /// Says that the nodes are in the store: who takes the device away finds the loop device there.
    pub fn written(&mut self) {
        if let Some(device) = self.loop_device.take() {
            std::mem::forget(device);
        }
    }
}

/// For messages.
fn name(vdev: &Vdev) -> String {
    format!("disk {}", vdev.name())
}

/// The call of a block script.
pub(crate) fn script(path: &Path, command: &str, backend: &str) -> Script {
    Script {
        path: path.to_owned(),
        args: vec![command.to_owned()],
        env: environment("vbd", backend, path),
    }
}

/// What hotplug scripts find in their environment.
pub(crate) fn environment(kind: &str, backend: &str, script: &Path) -> Vec<(&'static str, String)> {
    let relative = backend.strip_prefix("/local/domain/0/").unwrap_or(backend);
    vec![
        ("script", script.display().to_string()),
        ("XENBUS_TYPE", kind.to_owned()),
        ("XENBUS_PATH", relative.to_owned()),
        ("XENBUS_BASE_PATH", "backend".to_owned()),
    ]
}

/// Checks a disk against everything that could be in its way; changes nothing.
///
/// # Errors
/// [`DeviceError`] says which disk, and why.
pub fn check(
    disk: &Disk,
    users: &Users,
    vm: Option<&str>,
) -> Result<Option<images::Image>, DeviceError> {
    let device = || name(&disk.vdev);
    let not = |what: String| DeviceError::NotImplemented { device: device(), what };
    match disk.backend_type {
        None | Some(BackendType::Phy) => {}
        Some(other) => return Err(not(format!("the backend {}", other.name()))),
    }
    let empty = disk.format == DiskFormat::Empty || disk.target.is_none();
    if disk.format != DiskFormat::Raw && !empty {
        let what = format!("the format {} (it needs QEMU in domain 0)", disk.format.name());
        return Err(not(what));
    }
    let local = disk.backend.as_deref().is_none_or(|name| name == "0" || name == "Domain-0");
    let path = match disk.path() {
        Some(path) if !empty && local && disk.script.is_none() => PathBuf::from(path),
        _ => return Ok(None),
    };
    let write = disk.access.writable();
    let vdev = disk.vdev.name();
    let image = images::look(vdev, &path, write)?;
    if disk.access != xl_config::Access::Shared
        && let Some(user) = users.conflict(&image, write, vm)
    {
        return Err(DeviceError::InUse {
            vdev: vdev.to_owned(),
            path: image.path,
            user: user.text.clone(),
            write,
        });
    }
    Ok(Some(image))
}

/// Makes a disk ready: checks it, and attaches a plain file to a loop device.
///
/// # Errors
/// [`DeviceError`] says which disk, and why; nothing is left then.
pub fn prepare(
    cx: &mut Context,
    domid: u16,
    disk: &Disk,
    users: &Users,
    vm: Option<&str>,
) -> Result<Prepared, DeviceError> {
    let image = check(disk, users, vm)?;
    let backend = backend_domid(cx, disk.backend.as_deref())?;
    let at = DeviceNodes {
        kind: DeviceKind::Vbd,
        domid,
        backend_domid: backend,
        devid: disk.vdev.number(),
    };
    let own = disk.script.is_none();
    let script_path = match &disk.script {
        Some(name) => hotplug::script_path(&cx.paths.scripts, name),
        None => cx.paths.scripts.join("block"),
    };
    let mut nodes = DiskNodes {
        dev: disk.vdev.name().to_owned(),
        params: disk.path().unwrap_or_default(),
        script: script_path.display().to_string(),
        mode: disk.access.mode(),
        cdrom: disk.cdrom,
        discard: disk.discard.unwrap_or(disk.access.writable()),
        direct_io_safe: disk.direct_io_safe,
        trusted: disk.trusted.unwrap_or(true),
        node: None,
        physical: None,
    };
    let mut prepared = Prepared { at, nodes: nodes.clone(), script: None, loop_device: None };
    if backend != 0 {
        return Ok(prepared);
    }
    if !own {
        prepared.script = Some(script(&script_path, "add", &prepared.at.backend()));
        return Ok(prepared);
    }
    let (path, identity) = match image {
        Some(image) => (image.path, image.identity),
        None => empty_drive(cx, domid, disk.vdev.name())?,
    };
    if disk.path().is_none() {
        nodes.params = path.display().to_string();
    }
    match identity {
        Identity::Device(rdev) => {
            nodes.physical = Some((images::number(rdev), path.display().to_string()));
        }
        Identity::File(..) => {
            let device = attach_file(disk, &path)?;
            let text = device.0.display().to_string();
            let rdev = images::rdev(&device.0)
                .map_err(|source| image_error(disk.vdev.name(), &device.0, source))?;
            nodes.node = Some(text.clone());
            nodes.physical = Some((images::number(rdev), text));
            prepared.loop_device = Some(device);
        }
    }
    prepared.nodes = nodes;
    Ok(prepared)
}

fn image_error(vdev: &str, path: &Path, source: std::io::Error) -> DeviceError {
    DeviceError::Image { vdev: vdev.to_owned(), path: path.to_owned(), source }
}

fn attach_file(disk: &Disk, path: &Path) -> Result<LoopDevice, DeviceError> {
    let options = sys::loopdev::Options {
        read_only: !disk.access.writable(),
        autoclear: false,
        direct_io: disk.direct_io_safe,
    };
    sys::loopdev::attach(path, options).map(LoopDevice).map_err(|source| DeviceError::Kernel {
        device: name(&disk.vdev),
        what: "attaching the image to a loop device",
        source,
    })
}

/// An empty drive is a file of no bytes, as libxl does it.
fn empty_drive(cx: &Context, domid: u16, vdev: &str) -> Result<(PathBuf, Identity), DeviceError> {
    let path = empty_drive_path(cx, domid);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| image_error(vdev, folder, e))?;
    }
    std::fs::write(&path, b"").map_err(|e| image_error(vdev, &path, e))?;
    let image = images::look(vdev, &path, false)?;
    Ok((image.path, image.identity))
}

/// The file of a guest's empty drives.
pub(crate) fn empty_drive_path(cx: &Context, domid: u16) -> PathBuf {
    cx.paths.run.join(format!("empty-cdrom.{domid}"))
}

/// Waits for the backend of a disk whose nodes are written, and runs its script.
///
/// # Errors
/// [`DeviceError`]; the nodes stay.
pub fn connect(cx: &mut Context, disk: &Prepared) -> Result<(), DeviceError> {
    let device = format!("disk {}", disk.nodes.dev);
    wait_for_backend(cx, &disk.at, &device, BACKEND_LIMIT)?;
    let back = disk.at.backend();
    if let Some(script) = &disk.script {
        if let Err(source) = hotplug::run(script, hotplug::LIMIT) {
            let said = cx.store.try_read(&format!("{back}/hotplug-error"))?;
            return Err(DeviceError::Script { device, said, source: Box::new(source) });
        }
        if !cx.store.exists(&format!("{back}/physical-device"))? {
            let (script, node) = (script.path.clone(), "physical-device");
            return Err(DeviceError::ScriptSilent { device, script, node });
        }
    }
    match super::kernel_error(cx, &disk.at)? {
        None => Ok(()),
        why => {
            let state = cx.store.try_read(&format!("{back}/state"))?;
            Err(DeviceError::Backend {
                device,
                path: back,
                state: state.as_deref().and_then(State::parse),
                wanted: State::INIT_WAIT,
                limit: BACKEND_LIMIT,
                why,
            })
        }
    }
}

/// Attaches a disk to a running guest, and adds it to the stored configuration.
///
/// # Errors
/// [`DeviceError`]; nothing is left then.
pub fn attach(cx: &mut Context, domid: u16, disk: &Disk) -> Result<(), DeviceError> {
    let at = format!("/libxl/{domid}/device/vbd/{}", disk.vdev.number());
    if cx.store.exists(&at)? {
        return Err(DeviceError::Exists { domid, device: disk.vdev.name().to_owned() });
    }
    // Two who look at the same moment whether an image is free must not both find it so.
    let lock = Lock::take(Path::new(&cx.host.lockfile), lock::LIMIT)?;
    let users = Users::find(cx)?;
    let vm = cx.store.try_read(&format!("/local/domain/{domid}/vm"))?;
    let image = check(disk, &users, vm.as_deref())?;
    let before = images::attached(&cx.paths).into_iter().map(|found| found.device).collect();
    let images = image.into_iter().map(|image| image.path).collect();
    let _journal = Journal::attach(&cx.paths.run, domid, disk.vdev.name(), images, before)?;
    let mut prepared = prepare(cx, domid, disk, &users, vm.as_deref())?;
    let nodes = prepared.tree();
    cx.store.transaction(|t| tree::write(t, &nodes))?;
    prepared.written();
    drop(lock);
    if let Err(error) = connect(cx, &prepared) {
        if let Some(found) = find(cx, domid, &disk.vdev)? {
            // The first error is the one to tell.
            let _ = remove(cx, &found, Force::Now);
        }
        return Err(error);
    }
    let stored = userdata::change(cx, domid, |config| config.disks.push(disk.clone()));
    stored.map_err(|source| not_stored(&disk.vdev, "attached", source))
}

fn not_stored(vdev: &Vdev, what: &'static str, source: userdata::UserdataError) -> DeviceError {
    DeviceError::Userdata { device: name(vdev), what, source: Box::new(source) }
}

/// Takes a disk away from a running guest; `device` is its name or number.
///
/// # Errors
/// [`DeviceError::Missing`] with the disks that there are; [`DeviceError::Busy`].
pub fn detach(
    cx: &mut Context,
    domid: u16,
    device: &str,
    force: Force,
) -> Result<Vdev, DeviceError> {
    let vdev = Vdev::parse(device).ok_or_else(|| DeviceError::Vdev(device.to_owned()))?;
    let Some(found) = find(cx, domid, &vdev)? else {
        let has = list(cx, domid)?.into_iter().map(|row| row.name).collect();
        return Err(DeviceError::Missing { domid, device: device.to_owned(), has });
    };
    remove(cx, &found, force)?;
    let gone = |disk: &Disk| disk.vdev.number() != vdev.number();
    match userdata::change(cx, domid, |config| config.disks.retain(gone)) {
        Ok(()) => Ok(vdev),
        Err(source) => Err(not_stored(&vdev, "detached", source)),
    }
}

fn find(cx: &mut Context, domid: u16, vdev: &Vdev) -> Result<Option<Found>, DeviceError> {
    let number = vdev.number().to_string();
    let devices = devices_of(cx, domid)?;
    Ok(devices.into_iter().find(|device| device.kind == "vbd" && device.devid == number))
}

/// A row of `xl block-list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number.
    pub vdev: String,
    /// Name in the guest.
    pub name: String,
    /// Domain of the backend.
    pub backend_domid: Option<u16>,
    /// The guest.
    pub frontend_domid: u16,
    /// State of the guest's end.
    pub state: Option<u32>,
    /// The guest's port.
    pub event_channel: Option<u32>,
    /// The guest's grant of its ring.
    pub ring_ref: Option<u32>,
    /// The backend's directory.
    pub backend: String,
    /// Image or device.
    pub params: String,
    /// `r`, `w`, `w!`.
    pub mode: String,
}

/// The disks of a guest.
///
/// # Errors
/// The store's.
pub fn list(cx: &mut Context, domid: u16) -> Result<Vec<Row>, DeviceError> {
    let mut rows = Vec::new();
    for device in devices_of(cx, domid)? {
        if device.kind != "vbd" {
            continue;
        }
        let mut front = |name: &str| cx.store.try_read(&format!("{}/{name}", device.frontend));
        let (state, port) = (front("state")?, front("event-channel")?);
        let (ring, backend_domid) = (front("ring-ref")?, front("backend-id")?);
        let mut back = |name: &str| cx.store.try_read(&format!("{}/{name}", device.backend));
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        rows.push(Row {
            name: back("dev")?.unwrap_or_default(),
            params: back("params")?.unwrap_or_default(),
            mode: back("mode")?.unwrap_or_default(),
            vdev: device.devid.clone(),
            backend_domid: backend_domid.and_then(|text| text.parse().ok()),
            frontend_domid: domid,
            state: number(state),
            event_channel: number(port),
            ring_ref: number(ring),
            backend: device.backend.clone(),
        });
    }
    Ok(rows)
}
