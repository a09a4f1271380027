//! The nodes of a guest itself: its home, its entry below `/vm`, its rings.

use super::{Node, own, private, read_only};

/// What a guest's own nodes are made of.
#[derive(Clone, Debug)]
pub struct DomainNodes<'a> {
    /// Number.
    pub domid: u16,
    /// UUID in its usual form.
    pub uuid: &'a str,
    /// Name.
    pub name: &'a str,
    /// For each vCPU that the guest can have, whether it is on line at start.
    pub vcpus: Vec<bool>,
    /// Most memory that the guest is told of, KiB.
    pub static_max_kib: u64,
    /// Memory at start, KiB.
    pub target_kib: u64,
    /// Kernel image.
    pub kernel: Option<&'a str>,
    /// Initial RAM disk.
    pub ramdisk: Option<&'a str>,
    /// Kernel's command line.
    pub cmdline: Option<&'a str>,
    /// Time of the creation: seconds and hundredths since 1970, `1795802483.69`.
    pub start_time: &'a str,
    /// It serves devices of other guests: it may keep libxl's and a device model's nodes in its home.
    pub driver_domain: bool,
}

/// A guest's ring with a daemon in domain 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Frame of the guest's page for the store.
    pub store_gfn: u64,
    /// The guest's port for the store.
    pub store_port: u32,
    /// Frame of the guest's page for the console.
    pub console_gfn: u64,
    /// The guest's port for the console.
    pub console_port: u32,
}

/// The home of a domain, `/local/domain/DOMID`.
pub fn domain_home(domid: u16) -> String {
    format!("/local/domain/{domid}")
}

/// Nodes of a guest before it is built: its home, `/vm/UUID`, `/libxl/DOMID`.
pub fn domain(of: &DomainNodes<'_>) -> Vec<Node> {
    let home = domain_home(of.domid);
    let vm = format!("/vm/{}", of.uuid);
    let mut nodes = vec![
        Node::with(&vm, "", read_only(of.domid)),
        Node::new(format!("{vm}/name"), of.name),
        Node::new(format!("{vm}/uuid"), of.uuid),
        Node::new(format!("{vm}/image"), ""),
        Node::new(format!("{vm}/image/ostype"), "linux"),
    ];
    for (name, value) in [("kernel", of.kernel), ("ramdisk", of.ramdisk), ("cmdline", of.cmdline)] {
        if let Some(value) = value {
            nodes.push(Node::new(format!("{vm}/image/{name}"), value));
        }
    }
    nodes.push(Node::new(format!("{vm}/start_time"), of.start_time));
    nodes.extend(home_nodes(of, &home, &vm));
    nodes.push(Node::with(format!("/libxl/{}", of.domid), "", private()));
    nodes.push(Node::new(format!("/libxl/{}/type", of.domid), "pv"));
    nodes.push(Node::new(format!("/libxl/{}/dm-version", of.domid), "qemu_xen"));
    nodes
}

fn home_nodes(of: &DomainNodes<'_>, home: &str, vm: &str) -> Vec<Node> {
    let mut nodes = vec![
        Node::with(home, "", read_only(of.domid)),
        Node::new(format!("{home}/vm"), vm),
        Node::new(format!("{home}/name"), of.name),
        Node::new(format!("{home}/cpu"), ""),
    ];
    for (vcpu, online) in of.vcpus.iter().enumerate() {
        let state = if *online { "online" } else { "offline" };
        nodes.push(Node::new(format!("{home}/cpu/{vcpu}/availability"), state));
    }
    let here = |path: &str, value: String| Node::new(format!("{home}/{path}"), value);
    let guests = |path: &str| Node::with(format!("{home}/{path}"), "", own(of.domid));
    nodes.extend([
        here("memory", String::new()),
        here("memory/static-max", of.static_max_kib.to_string()),
        here("memory/target", of.target_kib.to_string()),
        here("memory/videoram", "0".to_owned()),
        here("device", String::new()),
        here("device/suspend", String::new()),
        guests("device/suspend/event-channel"),
        here("control", String::new()),
        guests("control/shutdown"),
        guests("control/feature-poweroff"),
        guests("control/feature-reboot"),
        guests("control/feature-suspend"),
        guests("control/sysrq"),
        here("control/platform-feature-multiprocessor-suspend", "1".to_owned()),
        here("control/platform-feature-xs_reset_watches", "1".to_owned()),
    ]);
    nodes.extend(["data", "drivers", "feature", "attr", "error"].map(guests));
    if of.driver_domain {
        nodes.extend(["libxl", "device-model"].map(guests));
    }
    nodes.push(here("domid", of.domid.to_string()));
    nodes
}

/// The guest's end of its ring for the store, and of its first console; the console's directory
/// is there already.
pub fn console_rings(domid: u16, rings: &Rings) -> Vec<Node> {
    let home = domain_home(domid);
    vec![
        Node::new(format!("{home}/store"), ""),
        Node::new(format!("{home}/store/port"), rings.store_port.to_string()),
        Node::new(format!("{home}/store/ring-ref"), rings.store_gfn.to_string()),
        Node::new(format!("{home}/console/port"), rings.console_port.to_string()),
        Node::new(format!("{home}/console/ring-ref"), rings.console_gfn.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::testing::{listing, recorded};

    /// Recorded of Debian's `xl create pv.cfg`, before the guest wrote anything.
    const HOME: &str = r#"
/libxl = ""   (n0)
/libxl/1 = ""   (n0)
/libxl/1/dm-version = "qemu_xen"   (n0)
/libxl/1/type = "pv"   (n0)
/local = ""   (n0)
/local/domain = ""   (n0)
/local/domain/1 = ""   (n0,r1)
/local/domain/1/attr = ""   (n1)
/local/domain/1/control = ""   (n0,r1)
/local/domain/1/control/feature-poweroff = ""   (n1)
/local/domain/1/control/feature-reboot = ""   (n1)
/local/domain/1/control/feature-suspend = ""   (n1)
/local/domain/1/control/platform-feature-multiprocessor-suspend = "1"   (n0,r1)
/local/domain/1/control/platform-feature-xs_reset_watches = "1"   (n0,r1)
/local/domain/1/control/shutdown = ""   (n1)
/local/domain/1/control/sysrq = ""   (n1)
/local/domain/1/cpu = ""   (n0,r1)
/local/domain/1/cpu/0 = ""   (n0,r1)
/local/domain/1/cpu/0/availability = "online"   (n0,r1)
/local/domain/1/data = ""   (n1)
/local/domain/1/device = ""   (n0,r1)
/local/domain/1/device/suspend = ""   (n0,r1)
/local/domain/1/device/suspend/event-channel = ""   (n1)
/local/domain/1/domid = "1"   (n0,r1)
/local/domain/1/drivers = ""   (n1)
/local/domain/1/error = ""   (n1)
/local/domain/1/feature = ""   (n1)
/local/domain/1/memory = ""   (n0,r1)
/local/domain/1/memory/static-max = "196608"   (n0,r1)
/local/domain/1/memory/target = "196608"   (n0,r1)
/local/domain/1/memory/videoram = "0"   (n0,r1)
/local/domain/1/name = "pv1"   (n0,r1)
/local/domain/1/vm = "/vm/f2125129-6dd3-48b2-b66e-c645004efd31"   (n0,r1)
/vm = ""   (n0)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31 = ""   (n0,r1)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31/image = ""   (n0,r1)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31/image/cmdline = "console=hvc0"   (n0,r1)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31/image/kernel = "/boot/vmlinuz"   (n0,r1)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31/image/ostype = "linux"   (n0,r1)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31/image/ramdisk = "/boot/guest.cpio"   (n0,r1)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31/name = "pv1"   (n0,r1)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31/start_time = "1795802483.69"   (n0,r1)
/vm/f2125129-6dd3-48b2-b66e-c645004efd31/uuid = "f2125129-6dd3-48b2-b66e-c645004efd31"   (n0,r1)
"#;

    fn example() -> DomainNodes<'static> {
        DomainNodes {
            domid: 1,
            uuid: "f2125129-6dd3-48b2-b66e-c645004efd31",
            name: "pv1",
            vcpus: vec![true],
            static_max_kib: 196_608,
            target_kib: 196_608,
            kernel: Some("/boot/vmlinuz"),
            ramdisk: Some("/boot/guest.cpio"),
            cmdline: Some("console=hvc0"),
            start_time: "1795802483.69",
            driver_domain: false,
        }
    }

    #[test]
    fn a_guests_home_has_the_nodes_and_permissions_that_libxl_writes() {
        assert_eq!(listing(&domain(&example())), recorded(HOME));
    }

    #[test]
    fn a_driver_domain_may_write_where_the_tools_in_it_do() {
        let lines = listing(&domain(&DomainNodes { driver_domain: true, ..example() }));
        for node in ["libxl", "device-model"] {
            let line = format!("/local/domain/1/{node} = \"\"   (n1)");
            assert!(lines.contains(&line), "{lines:?}");
        }
    }

    #[test]
    fn vcpus_beyond_those_at_start_are_off_line() {
        let of = DomainNodes { vcpus: vec![true, false], ..example() };
        let lines = listing(&domain(&of));
        assert!(
            lines
                .contains(&"/local/domain/1/cpu/1/availability = \"offline\"   (n0,r1)".to_owned())
        );
    }
}
