//! Network interfaces that the kernel's backend serves: on a bridge or routed by our own handler, otherwise
//! by the script that is asked for.

use std::path::Path;

use xenstore::Access;
use xl_config::{Mac, Vif, VifWay};

use super::routed::{self, Routing};
use super::teardown::{Force, devices_of, remove};
use super::{BACKEND_LIMIT, DeviceError, Found, backend_domid, wait_for_backend};
use crate::Context;
use crate::hotplug::{self, Script};
use crate::tree::{self, DeviceKind, DeviceNodes, Node, VifNodes};
use crate::{userdata, wait};

/// The address of the backend's interface: the greatest one that is no broadcast, so that a bridge never
/// takes it for its own.
const BACKEND_MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];
const BRIDGE_SCRIPT: &str = "vif-bridge";

/// An interface that is ready to be written into the store.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Where its nodes are.
    pub at: DeviceNodes,
    /// What they say.
    pub nodes: VifNodes,
    /// What is to be done when its backend is there.
    join: Join,
}

/// How an interface is brought into domain 0's network.
#[derive(Clone, Debug)]
enum Join {
    Bridge,
    Routed(Routing),
    Script(Script),
}

impl Prepared {
    /// The nodes, to be written in one transaction.
    pub fn tree(&self) -> Vec<Node> {
        tree::vif(&self.at, &self.nodes)
    }
}

/// The call of a vif script.
pub(crate) fn script(
    path: &Path,
    command: &str,
    backend: &str,
    interface: &str,
    gateway: &str,
) -> Script {
    let mut env = super::block::environment("vif", backend, path);
    env.push(("netdev", gateway.to_owned()));
    env.push(("vif", interface.to_owned()));
    let args = vec![command.to_owned(), "type_if=vif".to_owned()];
    Script { path: path.to_owned(), args, env }
}

/// An address for an interface that has none: below 00:16:3e, and the same whenever the same guest is
/// created. FNV-1a of the UUID and the number.
pub fn derived_mac(uuid: &[u8; 16], devid: u32) -> Mac {
    let bytes = uuid.iter().copied().chain(devid.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let [a, b, c, ..] = (hash ^ (hash >> 32)).to_le_bytes();
    // libxl keeps the highest bit clear too.
    Mac([0x00, 0x16, 0x3e, a & 0x7f, b, c])
}

/// Fills in what an interface's words leave open: number, address, bridge. What is stored and written is
/// complete, so that a restart makes the same interface again.
pub fn complete(cx: &Context, vif: &Vif, uuid: &[u8; 16], devid: u32) -> Vif {
    let mut vif = vif.clone();
    let devid = *vif.devid.get_or_insert(devid);
    if vif.mac.is_none_or(Mac::is_zero) {
        vif.mac = Some(derived_mac(uuid, devid));
    }
    let host = &cx.host;
    vif.bridge.get_or_insert_with(|| host.vif_bridge.clone().unwrap_or("xenbr0".to_owned()));
    vif.script = vif.script.or_else(|| host.vif_script.clone());
    vif.backend = vif.backend.or_else(|| host.vif_backend.clone());
    vif.gatewaydev = vif.gatewaydev.or_else(|| host.vif_gatewaydev.clone());
    vif
}

fn name(devid: u32) -> String {
    format!("interface {devid}")
}

/// Checks an interface; changes nothing.
///
/// # Errors
/// [`DeviceError::NoBridge`] with the bridges that there are; what keeps a routed one from working.
pub fn check(cx: &Context, vif: &Vif, devid: u32) -> Result<(), DeviceError> {
    let local = vif.backend.as_deref().is_none_or(|name| name == "0" || name == "Domain-0");
    let way = vif.way();
    if !local || way == VifWay::Script {
        return Ok(());
    }
    if vif.vlan.is_some() {
        let what = "vlan= without a script that knows it (script=vif-openvswitch)".to_owned();
        return Err(DeviceError::NotImplemented { device: name(devid), what });
    }
    if way != VifWay::Bridge {
        return Routing::of(cx, vif, 0, devid, &name(devid)).map(drop);
    }
    let bridge = vif.bridge.as_deref().unwrap_or("xenbr0");
    if sys::net::is_bridge(bridge) {
        return Ok(());
    }
    let (device, bridge) = (name(devid), bridge.to_owned());
    Err(DeviceError::NoBridge { device, bridge, bridges: bridges(cx) })
}

/// The bridges of this domain.
fn bridges(cx: &Context) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(cx.paths.sys.join("class/net")) else { return Vec::new() };
    let folder = folder.flatten().filter(|entry| entry.path().join("bridge").is_dir());
    let mut names: Vec<String> =
        folder.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Makes a complete interface (see [`complete`]) ready.
///
/// # Errors
/// [`DeviceError`] says which interface, and why; nothing is changed.
pub fn prepare(cx: &mut Context, domid: u16, vif: &Vif) -> Result<Prepared, DeviceError> {
    let devid = vif.devid.unwrap_or(0);
    check(cx, vif, devid)?;
    let backend = backend_domid(cx, vif.backend.as_deref())?;
    let at = DeviceNodes { kind: DeviceKind::Vif, domid, backend_domid: backend, devid };
    let path =
        hotplug::script_path(&cx.paths.scripts, vif.script.as_deref().unwrap_or(BRIDGE_SCRIPT));
    let nodes = VifNodes {
        script: path.display().to_string(),
        mac: vif.mac.unwrap_or_default().to_string(),
        bridge: vif.bridge.clone(),
        ip: vif.ip.clone(),
        rate: vif.rate.map(|rate| rate.to_string()),
        vifname: vif.vifname.clone(),
        gatewaydev: vif.gatewaydev.clone(),
        vlan: vif.vlan.clone(),
        mtu: vif.mtu,
        trusted: vif.trusted.unwrap_or(true),
    };
    let join = match vif.way() {
        VifWay::Bridge => Join::Bridge,
        // Who has the backend does it.
        VifWay::Route | VifWay::Nat if backend != 0 => Join::Bridge,
        VifWay::Route | VifWay::Nat => {
            Join::Routed(Routing::of(cx, vif, domid, devid, &name(devid))?)
        }
        VifWay::Script => {
            let gateway = vif.gatewaydev.as_deref().unwrap_or_default();
            let interface = format!("vif{domid}.{devid}");
            Join::Script(script(&path, "online", &at.backend(), &interface, gateway))
        }
    };
    Ok(Prepared { at, nodes, join })
}

/// Waits for the backend of an interface whose nodes are written, and brings its end into the network.
///
/// # Errors
/// [`DeviceError`]; the nodes stay.
pub fn connect(cx: &mut Context, vif: &Prepared) -> Result<(), DeviceError> {
    let device = name(vif.at.devid);
    wait_for_backend(cx, &vif.at, &device, BACKEND_LIMIT)?;
    if vif.at.backend_domid != 0 {
        return Ok(());
    }
    let interface = format!("vif{}.{}", vif.at.domid, vif.at.devid);
    // Its folder in /sys is there before it can be used: the kernel itself is asked.
    let net = sys::net::Interfaces::open().map_err(|source| DeviceError::Kernel {
        device: device.clone(),
        what: "opening the network's socket",
        source,
    })?;
    let there = || matches!(net.exists(&interface), Ok(true)).then_some(());
    if wait::poll(BACKEND_LIMIT, there).is_none() {
        return Err(DeviceError::NoInterface { device, interface, limit: BACKEND_LIMIT });
    }
    let back = vif.at.backend();
    let mtu = match &vif.join {
        Join::Script(script) => {
            if let Err(source) = hotplug::run(script, hotplug::LIMIT) {
                let said = cx.store.try_read(&format!("{back}/hotplug-error"))?;
                return Err(DeviceError::Script { device, said, source: Box::new(source) });
            }
            return Ok(());
        }
        Join::Bridge => Some(join_bridge(cx, &net, vif, &device, interface)?),
        Join::Routed(routing) => {
            let interface = ready(cx, &net, vif, &device, interface)?;
            if let Some(mtu) = vif.nodes.mtu {
                net.set_mtu(&interface, mtu).map_err(failed(&device, "setting its MTU"))?;
            }
            routed::join(&cx.paths, &net, routing, &interface, &device)?;
            vif.nodes.mtu
        }
    };
    let mut nodes: Vec<Node> = mtu.map(|mtu| tree::mtu_node(&vif.at, mtu)).into_iter().collect();
    nodes.push(Node::new(format!("{back}/hotplug-status"), "connected"));
    tree::write(&mut cx.store, &nodes)?;
    Ok(())
}

/// A refusal of the kernel's, told with its device.
pub(super) fn failed(
    device: &str,
    what: &'static str,
) -> impl FnOnce(sys::Error) -> DeviceError + use<> {
    let device = device.to_owned();
    move |source| DeviceError::Kernel { device, what, source }
}

/// Takes an interface down and gives it the name that is asked for; its name then.
fn ready(
    cx: &Context,
    net: &sys::net::Interfaces,
    vif: &Prepared,
    device: &str,
    interface: String,
) -> Result<String, DeviceError> {
    net.set_up(&interface, false).map_err(failed(device, "taking its interface down"))?;
    let Some(name) = vif.nodes.vifname.clone().filter(|name| *name != interface) else {
        return Ok(interface);
    };
    if cx.paths.sys.join("class/net").join(&name).exists() {
        return Err(DeviceError::NameTaken { device: device.to_owned(), interface, name });
    }
    net.rename(&interface, &name).map_err(failed(device, "renaming its interface"))?;
    Ok(name)
}

/// What the bridge script does: address, name, MTU, bridge, up. Says the MTU.
fn join_bridge(
    cx: &Context,
    net: &sys::net::Interfaces,
    vif: &Prepared,
    device: &str,
    interface: String,
) -> Result<u32, DeviceError> {
    let bridge = vif.nodes.bridge.as_deref().unwrap_or_default();
    let interface = ready(cx, net, vif, device, interface)?;
    net.set_mac(&interface, BACKEND_MAC)
        .map_err(failed(device, "setting its interface's address"))?;
    let mtu = match vif.nodes.mtu {
        Some(mtu) => mtu,
        None => net.mtu(bridge).map_err(failed(device, "asking for its bridge's MTU"))?,
    };
    net.set_mtu(&interface, mtu).map_err(failed(device, "setting its MTU"))?;
    if sys::net::bridge_of(&interface).as_deref() != Some(bridge) {
        net.bridge_add(bridge, &interface).map_err(failed(device, "adding it to its bridge"))?;
    }
    net.set_up(&interface, true).map_err(failed(device, "bringing its interface up"))?;
    Ok(mtu)
}

/// Takes an interface off its bridge, if it is there and on one.
pub(crate) fn leave_bridge(interface: &str) {
    let Some(bridge) = sys::net::bridge_of(interface) else { return };
    if let Ok(net) = sys::net::Interfaces::open() {
        // It may go at any moment: its backend has closed.
        let _ = net.set_up(interface, false);
        let _ = net.bridge_remove(&bridge, interface);
    }
}

/// Attaches an interface to a running guest; says it as it was completed.
///
/// # Errors
/// [`DeviceError`]; nothing is left then.
pub fn attach(
    cx: &mut Context,
    domid: u16,
    vif: &Vif,
    uuid: &[u8; 16],
) -> Result<Vif, DeviceError> {
    let used: Vec<String> = devices_of(cx, domid)?
        .into_iter()
        .filter(|device| device.kind == "vif")
        .map(|device| device.devid)
        .collect();
    let free = (0..).find(|devid: &u32| !used.contains(&devid.to_string())).unwrap_or_default();
    let vif = complete(cx, vif, uuid, free);
    let devid = vif.devid.unwrap_or(free);
    if used.contains(&devid.to_string()) {
        return Err(DeviceError::Exists { domid, device: devid.to_string() });
    }
    let prepared = prepare(cx, domid, &vif)?;
    let nodes = prepared.tree();
    cx.store.transaction(|t| tree::write(t, &nodes))?;
    if let Err(error) = connect(cx, &prepared) {
        if let Some(found) = find(cx, domid, &devid.to_string())? {
            // The first error is the one to tell.
            let _ = remove(cx, &found, Force::Now);
        }
        return Err(error);
    }
    match userdata::change(cx, domid, |config| config.vifs.push(vif.clone())) {
        Ok(()) => Ok(vif),
        Err(source) => Err(not_stored(devid, "attached", source)),
    }
}

fn not_stored(devid: u32, what: &'static str, source: userdata::UserdataError) -> DeviceError {
    DeviceError::Userdata { device: name(devid), what, source: Box::new(source) }
}

/// Takes an interface away; `device` is its number or address. Says its number.
///
/// # Errors
/// [`DeviceError::Missing`] with the interfaces that there are.
pub fn detach(
    cx: &mut Context,
    domid: u16,
    device: &str,
    force: Force,
) -> Result<u32, DeviceError> {
    let Some(found) = find(cx, domid, device)? else {
        let rows = list(cx, domid)?.into_iter();
        let has = rows.map(|row| format!("{} ({})", row.devid, row.mac)).collect();
        return Err(DeviceError::Missing { domid, device: device.to_owned(), has });
    };
    remove(cx, &found, force)?;
    let devid = found.devid.parse().unwrap_or_default();
    let other = |vif: &Vif| vif.devid != Some(devid);
    match userdata::change(cx, domid, |config| config.vifs.retain(other)) {
        Ok(()) => Ok(devid),
        Err(source) => Err(not_stored(devid, "detached", source)),
    }
}

fn find(cx: &mut Context, domid: u16, device: &str) -> Result<Option<Found>, DeviceError> {
    for found in devices_of(cx, domid)?.into_iter().filter(|device| device.kind == "vif") {
        let mac = cx.store.try_read(&format!("{}/mac", found.backend))?;
        if found.devid == device || mac.is_some_and(|mac| mac.eq_ignore_ascii_case(device)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A row of `xl network-list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number.
    pub devid: String,
    /// Domain of the backend.
    pub backend_domid: Option<u16>,
    /// Address.
    pub mac: String,
    /// The guest's handle: its number again.
    pub handle: Option<u32>,
    /// State of the guest's end.
    pub state: Option<u32>,
    /// The guest's port, where it has one for both directions.
    pub event_channel: Option<u32>,
    /// The guest's grant of its ring for sending.
    pub tx_ring_ref: Option<u32>,
    /// The guest's grant of its ring for receiving.
    pub rx_ring_ref: Option<u32>,
    /// The backend's directory.
    pub backend: String,
    /// Bridge.
    pub bridge: Option<String>,
}

/// The interfaces of a guest.
///
/// # Errors
/// The store's.
pub fn list(cx: &mut Context, domid: u16) -> Result<Vec<Row>, DeviceError> {
    let mut rows = Vec::new();
    for device in devices_of(cx, domid)? {
        if device.kind != "vif" {
            continue;
        }
        let mut front = |name: &str| {
            let value = cx.store.try_read(&format!("{}/{name}", device.frontend));
            value.map(|value| value.and_then(|value| value.parse::<u32>().ok()))
        };
        let (handle, state, event_channel) =
            (front("handle")?, front("state")?, front("event-channel")?);
        let (tx_ring_ref, rx_ring_ref) = (front("tx-ring-ref")?, front("rx-ring-ref")?);
        let backend_domid = front("backend-id")?.and_then(|domid| u16::try_from(domid).ok());
        let mac = cx.store.try_read(&format!("{}/mac", device.backend))?.unwrap_or_default();
        let bridge = cx.store.try_read(&format!("{}/bridge", device.backend))?;
        rows.push(Row {
            devid: device.devid.clone(),
            backend_domid,
            mac,
            handle,
            state,
            event_channel,
            tx_ring_ref,
            rx_ring_ref,
            backend: device.backend.clone(),
            bridge,
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_given_is_the_same_each_time_and_differs_by_guest_and_number() {
        let (a, b) = ([1; 16], [2; 16]);
        assert_eq!(derived_mac(&a, 0), derived_mac(&a, 0));
        let all = [derived_mac(&a, 0), derived_mac(&a, 1), derived_mac(&b, 0)];
        assert!(all.iter().all(|mac| mac.0.starts_with(&[0, 0x16, 0x3e]) && mac.0[3] < 0x80));
        assert!(all[0] != all[1] && all[0] != all[2]);
    }

    #[test]
    fn the_usual_scripts_are_our_own_work_unless_they_are_named_by_their_paths() {
        let way = |script: Option<&str>| {
            Vif { script: script.map(str::to_owned), ..Vif::default() }.way()
        };
        assert_eq!([way(None), way(Some("vif-bridge"))], [VifWay::Bridge; 2]);
        assert_eq!(way(Some("vif-route")), VifWay::Route);
        assert_eq!(way(Some("vif-nat")), VifWay::Nat);
        assert_eq!(way(Some("/etc/xen/scripts/vif-bridge")), VifWay::Script);
        assert_eq!(way(Some("vif-openvswitch")), VifWay::Script);
    }

    #[test]
    fn a_script_is_called_as_libxl_calls_it() {
        let path = Path::new("/etc/xen/scripts/vif-route");
        let script = script(path, "online", "/local/domain/0/backend/vif/3/0", "vif3.0", "eth1");
        assert_eq!(script.args, ["online", "type_if=vif"]);
        let env: Vec<String> = script.env.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(
            env,
            [
                "script=/etc/xen/scripts/vif-route",
                "XENBUS_TYPE=vif",
                "XENBUS_PATH=backend/vif/3/0",
                "XENBUS_BASE_PATH=backend",
                "netdev=eth1",
                "vif=vif3.0"
            ]
        );
    }
}
