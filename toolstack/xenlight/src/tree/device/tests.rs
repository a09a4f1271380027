//! The nodes beside those that Debian's `xl create -p` of 4.20 was seen to write, as
//! `xenstore-ls -fp` showed them; without what the kernel's backends added.

use super::*;
use crate::tree::Node;
use crate::tree::testing::{listing, recorded};

/// The lines below the three directories of a device.
fn lines(nodes: &[Node], of: &DeviceNodes) -> Vec<String> {
    // What the guest's home and libxl's record are, comes before devices.
    let mut all = vec![
        Node::with("/local/domain/1", "", read_only(1)),
        Node::with("/libxl/1", "", private()),
    ];
    all.extend_from_slice(nodes);
    let dirs = [of.frontend(), of.backend(), of.record()];
    let mut lines = listing(&all);
    lines.retain(|line| dirs.iter().any(|dir| line.starts_with(dir.as_str())));
    lines
}

fn device(kind: Kind, devid: u32) -> DeviceNodes {
    DeviceNodes { kind, domid: 1, backend_domid: 0, devid }
}

#[test]
fn a_read_only_image_has_the_nodes_that_libxl_writes() {
    let of = device(Kind::Vbd, 51712);
    let nodes = disk(
        &of,
        &DiskNodes {
            dev: "xvda".to_owned(),
            params: "/root/disk.img".to_owned(),
            script: "/etc/xen/scripts/block".to_owned(),
            mode: "r",
            cdrom: false,
            discard: false,
            direct_io_safe: false,
            node: Some("/dev/loop1".to_owned()),
            physical: Some(("7:1".to_owned(), "/dev/loop1".to_owned())),
            trusted: true,
        },
    );
    assert_eq!(lines(&nodes, &of), recorded(DISK));
}

#[test]
fn an_interface_has_the_nodes_that_libxl_writes() {
    let of = device(Kind::Vif, 0);
    let mut nodes = vif(
        &of,
        &VifNodes {
            script: "/etc/xen/scripts/vif-bridge".to_owned(),
            mac: "00:16:3e:77:00:02".to_owned(),
            bridge: Some("xenbr0".to_owned()),
            ip: Some("10.0.0.1".to_owned()),
            rate: Some("62500,50000".to_owned()),
            mtu: Some(1400),
            trusted: true,
            ..VifNodes::default()
        },
    );
    nodes.push(mtu_node(&of, 1400));
    assert_eq!(lines(&nodes, &of), recorded(VIF));
}

#[test]
fn the_first_console_has_the_nodes_that_libxl_writes() {
    let of = device(Kind::Console, 0);
    assert_eq!(lines(&console(&of), &of), recorded(CONSOLE));
}

const DISK: &str = r#"
/local/domain/0/backend/vbd/1/51712 = ""   (n0,r1)
/local/domain/0/backend/vbd/1/51712/frontend = "/local/domain/1/device/vbd/51712"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/params = "/root/disk.img"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/script = "/etc/xen/scripts/block"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/frontend-id = "1"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/online = "1"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/removable = "0"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/bootable = "1"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/state = "1"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/dev = "xvda"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/type = "phy"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/mode = "r"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/device-type = "disk"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/discard-enable = "0"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/specification = "xen"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/node = "/dev/loop1"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/physical-device = "7:1"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/physical-device-path = "/dev/loop1"   (n0,r1)
/local/domain/0/backend/vbd/1/51712/hotplug-status = "connected"   (n0,r1)
/local/domain/1/device/vbd/51712 = ""   (n1,r0)
/local/domain/1/device/vbd/51712/backend = "/local/domain/0/backend/vbd/1/51712"   (n1,r0)
/local/domain/1/device/vbd/51712/backend-id = "0"   (n1,r0)
/local/domain/1/device/vbd/51712/state = "1"   (n1,r0)
/local/domain/1/device/vbd/51712/virtual-device = "51712"   (n1,r0)
/local/domain/1/device/vbd/51712/device-type = "disk"   (n1,r0)
/local/domain/1/device/vbd/51712/trusted = "1"   (n1,r0)
/local/domain/1/device/vbd/51712/protocol = "x86_64-abi"   (n1,r0)
/libxl/1/device/vbd/51712 = ""   (n0)
/libxl/1/device/vbd/51712/frontend = "/local/domain/1/device/vbd/51712"   (n0)
/libxl/1/device/vbd/51712/backend = "/local/domain/0/backend/vbd/1/51712"   (n0)
/libxl/1/device/vbd/51712/params = "/root/disk.img"   (n0)
/libxl/1/device/vbd/51712/script = "/etc/xen/scripts/block"   (n0)
/libxl/1/device/vbd/51712/frontend-id = "1"   (n0)
/libxl/1/device/vbd/51712/online = "1"   (n0)
/libxl/1/device/vbd/51712/removable = "0"   (n0)
/libxl/1/device/vbd/51712/bootable = "1"   (n0)
/libxl/1/device/vbd/51712/state = "1"   (n0)
/libxl/1/device/vbd/51712/dev = "xvda"   (n0)
/libxl/1/device/vbd/51712/type = "phy"   (n0)
/libxl/1/device/vbd/51712/mode = "r"   (n0)
/libxl/1/device/vbd/51712/device-type = "disk"   (n0)
/libxl/1/device/vbd/51712/discard-enable = "0"   (n0)
/libxl/1/device/vbd/51712/specification = "xen"   (n0)
"#;

const VIF: &str = r#"
/local/domain/0/backend/vif/1/0 = ""   (n0,r1)
/local/domain/0/backend/vif/1/0/frontend = "/local/domain/1/device/vif/0"   (n0,r1)
/local/domain/0/backend/vif/1/0/frontend-id = "1"   (n0,r1)
/local/domain/0/backend/vif/1/0/online = "1"   (n0,r1)
/local/domain/0/backend/vif/1/0/state = "1"   (n0,r1)
/local/domain/0/backend/vif/1/0/script = "/etc/xen/scripts/vif-bridge"   (n0,r1)
/local/domain/0/backend/vif/1/0/mac = "00:16:3e:77:00:02"   (n0,r1)
/local/domain/0/backend/vif/1/0/ip = "10.0.0.1"   (n0,r1)
/local/domain/0/backend/vif/1/0/rate = "62500,50000"   (n0,r1)
/local/domain/0/backend/vif/1/0/mtu = "1400"   (n0,r1)
/local/domain/0/backend/vif/1/0/bridge = "xenbr0"   (n0,r1)
/local/domain/0/backend/vif/1/0/handle = "0"   (n0,r1)
/local/domain/0/backend/vif/1/0/type = "vif"   (n0,r1)
/local/domain/0/backend/vif/1/0/hotplug-status = ""   (n0,r1)
/local/domain/1/device/vif/0 = ""   (n1,r0)
/local/domain/1/device/vif/0/backend = "/local/domain/0/backend/vif/1/0"   (n1,r0)
/local/domain/1/device/vif/0/backend-id = "0"   (n1,r0)
/local/domain/1/device/vif/0/state = "1"   (n1,r0)
/local/domain/1/device/vif/0/handle = "0"   (n1,r0)
/local/domain/1/device/vif/0/mac = "00:16:3e:77:00:02"   (n1,r0)
/local/domain/1/device/vif/0/trusted = "1"   (n1,r0)
/local/domain/1/device/vif/0/mtu = "1400"   (n0,r1)
/libxl/1/device/vif/0 = ""   (n0)
/libxl/1/device/vif/0/frontend = "/local/domain/1/device/vif/0"   (n0)
/libxl/1/device/vif/0/backend = "/local/domain/0/backend/vif/1/0"   (n0)
/libxl/1/device/vif/0/frontend-id = "1"   (n0)
/libxl/1/device/vif/0/online = "1"   (n0)
/libxl/1/device/vif/0/state = "1"   (n0)
/libxl/1/device/vif/0/script = "/etc/xen/scripts/vif-bridge"   (n0)
/libxl/1/device/vif/0/mac = "00:16:3e:77:00:02"   (n0)
/libxl/1/device/vif/0/ip = "10.0.0.1"   (n0)
/libxl/1/device/vif/0/rate = "62500,50000"   (n0)
/libxl/1/device/vif/0/mtu = "1400"   (n0)
/libxl/1/device/vif/0/bridge = "xenbr0"   (n0)
/libxl/1/device/vif/0/handle = "0"   (n0)
/libxl/1/device/vif/0/type = "vif"   (n0)
/libxl/1/device/vif/0/hotplug-status = ""   (n0)
"#;

const CONSOLE: &str = r#"
/local/domain/0/backend/console/1/0 = ""   (n0,r1)
/local/domain/0/backend/console/1/0/frontend = "/local/domain/1/console"   (n0,r1)
/local/domain/0/backend/console/1/0/frontend-id = "1"   (n0,r1)
/local/domain/0/backend/console/1/0/online = "1"   (n0,r1)
/local/domain/0/backend/console/1/0/state = "1"   (n0,r1)
/local/domain/0/backend/console/1/0/protocol = "vt100"   (n0,r1)
/local/domain/1/console = ""   (n0,r1)
/local/domain/1/console/backend = "/local/domain/0/backend/console/1/0"   (n0,r1)
/local/domain/1/console/backend-id = "0"   (n1,r0)
/local/domain/1/console/limit = "1048576"   (n0,r1)
/local/domain/1/console/type = "xenconsoled"   (n0,r1)
/local/domain/1/console/output = "pty"   (n0,r1)
/local/domain/1/console/tty = ""   (n0,r1)
/libxl/1/device/console/0 = ""   (n0)
/libxl/1/device/console/0/frontend = "/local/domain/1/console"   (n0)
/libxl/1/device/console/0/backend = "/local/domain/0/backend/console/1/0"   (n0)
/libxl/1/device/console/0/frontend-id = "1"   (n0)
/libxl/1/device/console/0/online = "1"   (n0)
/libxl/1/device/console/0/state = "1"   (n0)
/libxl/1/device/console/0/protocol = "vt100"   (n0)
"#;
