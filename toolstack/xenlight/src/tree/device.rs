//! The nodes of a device: the frontend's in the guest's home, the backend's, and libxl's record.

use super::{Node, backend, domain_home, frontend, private, read_only};

/// Kind of device, by its name in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Disk.
    Vbd,
    /// Network interface.
    Vif,
    /// Console.
    Console,
}

impl Kind {
    /// The name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vbd => "vbd",
            Self::Vif => "vif",
            Self::Console => "console",
        }
    }
}

/// Where a device's nodes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNodes {
    /// Kind.
    pub kind: Kind,
    /// The guest.
    pub domid: u16,
    /// Domain of the backend.
    pub backend_domid: u16,
    /// Number of the device within its kind.
    pub devid: u32,
}

impl DeviceNodes {
    /// The frontend's directory. The first console has an old place of its own.
    pub fn frontend(&self) -> String {
        let home = domain_home(self.domid);
        match (self.kind, self.devid) {
            (Kind::Console, 0) => format!("{home}/console"),
            _ => format!("{home}/device/{}/{}", self.kind.name(), self.devid),
        }
    }

    /// The backend's directory.
    pub fn backend(&self) -> String {
        format!(
            "{}/backend/{}/{}/{}",
            domain_home(self.backend_domid),
            self.kind.name(),
            self.domid,
            self.devid
        )
    }

    /// libxl's record of the device.
    pub fn record(&self) -> String {
        format!("/libxl/{}/device/{}/{}", self.domid, self.kind.name(), self.devid)
    }

    /// All nodes: `front` and `back` are names and values, in order.
    fn nodes(&self, front: &[(&str, String)], back: &[(&str, String)]) -> Vec<Node> {
        let (front_dir, back_dir, record) = (self.frontend(), self.backend(), self.record());
        let mut nodes = vec![Node::with(&front_dir, "", frontend(self.domid, self.backend_domid))];
        nodes.push(Node::new(format!("{front_dir}/backend"), &back_dir));
        nodes.push(Node::new(format!("{front_dir}/backend-id"), self.backend_domid.to_string()));
        for (name, value) in front {
            nodes.push(Node::new(format!("{front_dir}/{name}"), value));
        }
        nodes.push(Node::with(&back_dir, "", backend(self.domid, self.backend_domid)));
        nodes.push(Node::with(&record, "", private()));
        nodes.push(Node::new(format!("{back_dir}/frontend"), &front_dir));
        nodes.push(Node::new(format!("{record}/frontend"), &front_dir));
        nodes.push(Node::new(format!("{record}/backend"), &back_dir));
        for (name, value) in back {
            nodes.push(Node::new(format!("{back_dir}/{name}"), value));
            nodes.push(Node::new(format!("{record}/{name}"), value));
        }
        nodes
    }
}

/// What a disk's nodes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskNodes {
    /// Name in the guest: `xvda`.
    pub dev: String,
    /// Path of the image or device; empty for an empty drive.
    pub params: String,
    /// Path of the hotplug script.
    pub script: String,
    /// `r`, `w` or `w!`.
    pub mode: &'static str,
    /// A CD drive.
    pub cdrom: bool,
    /// Discard is offered.
    pub discard: bool,
    /// Direct I/O is safe; written only then.
    pub direct_io_safe: bool,
    /// Loop device that an image is attached to.
    pub node: Option<String>,
    /// Device number and path that the backend opens; `None` where a script writes them.
    pub physical: Option<(String, String)>,
    /// The frontend trusts the backend.
    pub trusted: bool,
}

/// Nodes of a disk that the kernel's backend serves.
pub fn disk(of: &DeviceNodes, disk: &DiskNodes) -> Vec<Node> {
    let flag = |set: bool| if set { "1" } else { "0" }.to_owned();
    let device_type = if disk.cdrom { "cdrom" } else { "disk" };
    let mut back = vec![
        ("params", disk.params.clone()),
        ("script", disk.script.clone()),
        ("frontend-id", of.domid.to_string()),
        ("online", flag(true)),
        ("removable", flag(disk.cdrom)),
        ("bootable", flag(true)),
        ("state", "1".to_owned()),
        ("dev", disk.dev.clone()),
        ("type", "phy".to_owned()),
        ("mode", disk.mode.to_owned()),
        ("device-type", device_type.to_owned()),
        ("discard-enable", flag(disk.discard)),
        ("specification", "xen".to_owned()),
    ];
    if disk.direct_io_safe {
        back.push(("direct-io-safe", flag(true)));
    }
    let front = [
        ("state", "1".to_owned()),
        ("virtual-device", of.devid.to_string()),
        ("device-type", device_type.to_owned()),
        ("trusted", flag(disk.trusted)),
        ("protocol", "x86_64-abi".to_owned()),
    ];
    let mut nodes = of.nodes(&front, &back);
    // What the handler finds out is no part of libxl's record.
    let dir = of.backend();
    let mut own = |name: &str, value: &str| nodes.push(Node::new(format!("{dir}/{name}"), value));
    if let Some(node) = &disk.node {
        own("node", node);
    }
    if let Some((number, path)) = &disk.physical {
        own("physical-device", number);
        own("physical-device-path", path);
        own("hotplug-status", "connected");
    }
    nodes
}

/// What a network interface's nodes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VifNodes {
    /// Path of the hotplug script.
    pub script: String,
    /// Address.
    pub mac: String,
    /// Bridge.
    pub bridge: Option<String>,
    /// Addresses for the script.
    pub ip: Option<String>,
    /// `bytes,microseconds`.
    pub rate: Option<String>,
    /// Name of the backend's interface.
    pub vifname: Option<String>,
    /// Outgoing interface.
    pub gatewaydev: Option<String>,
    /// VLANs.
    pub vlan: Option<String>,
    /// MTU.
    pub mtu: Option<u32>,
    /// The frontend trusts the backend.
    pub trusted: bool,
}

/// Nodes of a network interface.
pub fn vif(of: &DeviceNodes, vif: &VifNodes) -> Vec<Node> {
    let mut back = vec![
        ("frontend-id", of.domid.to_string()),
        ("online", "1".to_owned()),
        ("state", "1".to_owned()),
        ("script", vif.script.clone()),
    ];
    back.extend(vif.vifname.clone().map(|value| ("vifname", value)));
    back.push(("mac", vif.mac.clone()));
    back.extend(vif.ip.clone().map(|value| ("ip", value)));
    back.extend(vif.gatewaydev.clone().map(|value| ("gatewaydev", value)));
    back.extend(vif.rate.clone().map(|value| ("rate", value)));
    back.extend(vif.mtu.map(|value| ("mtu", value.to_string())));
    back.extend(vif.bridge.clone().map(|value| ("bridge", value)));
    back.extend(vif.vlan.clone().map(|value| ("vlan", value)));
    back.push(("handle", of.devid.to_string()));
    back.push(("type", "vif".to_owned()));
    back.push(("hotplug-status", String::new()));
    let front = [
        ("state", "1".to_owned()),
        ("handle", of.devid.to_string()),
        ("mac", vif.mac.clone()),
        ("trusted", if vif.trusted { "1" } else { "0" }.to_owned()),
    ];
    of.nodes(&front, &back)
}

/// The MTU that the frontend is told of; only domain 0 may change it.
pub fn mtu_node(of: &DeviceNodes, mtu: u32) -> Node {
    let path = format!("{}/mtu", of.frontend());
    Node::with(path, mtu.to_string(), read_only(of.domid))
}

/// Nodes of the first console, which `xenconsoled` serves.
pub fn console(of: &DeviceNodes) -> Vec<Node> {
    let front = of.frontend();
    let guest = frontend(of.domid, of.backend_domid);
    let back = [
        ("frontend-id", of.domid.to_string()),
        ("online", "1".to_owned()),
        ("state", "1".to_owned()),
        ("protocol", "vt100".to_owned()),
    ];
    let mut nodes = of.nodes(&[], &back);
    // This frontend's directory is domain 0's; the guest owns the backend's number only.
    for node in &mut nodes {
        if node.path == front {
            node.permissions = Some(read_only(of.domid));
        } else if node.path == format!("{front}/backend-id") {
            node.permissions = Some(guest.clone());
        }
    }
    for (name, value) in
        [("limit", "1048576"), ("type", "xenconsoled"), ("output", "pty"), ("tty", "")]
    {
        nodes.push(Node::new(format!("{front}/{name}"), value));
    }
    nodes
}

#[cfg(test)]
mod tests;
