//! Commands for a domain's devices.

use super::{Action, Command, MANY, PLAIN, flag, not_yet};
use crate::commands::{attach, devices};

const PCI: &str = "PCI passthrough";
const USB: &str = "USB passthrough";
const CD: &str = "an emulated CD drive";
const VTPM: &str = "virtual TPMs";
const VKB: &str = "virtual keyboards";
const VDISPL: &str = "virtual displays";
const VSND: &str = "virtual sound cards";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "network-attach",
        args: "<Domain> [type=<type>] [mac=<mac>] [bridge=<bridge>] [ip=<ip>] [script=<script>] \
               [backend=<BackDomain>] [vifname=<name>] [rate=<rate>] [model=<model>] \
               [accel=<accel>] [mtu=<mtu>]",
        help: "Give a domain another network interface",
        needs: 1,
        takes: MANY,
        modifies: true,
        dry_run: true,
        action: Action::Run(attach::network_attach),
        ..PLAIN
    },
    Command {
        name: "network-list",
        args: "<Domain(s)>",
        help: "List the network interfaces of domains",
        needs: 1,
        takes: MANY,
        json: true,
        action: Action::Run(devices::network_list),
        ..PLAIN
    },
    Command {
        name: "network-detach",
        args: "<Domain> <DevId|mac>",
        help: "Take a network interface from a domain",
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(attach::network_detach),
        ..PLAIN
    },
    Command {
        name: "channel-list",
        args: "<Domain(s)>",
        help: "List the channels of domains",
        needs: 1,
        takes: MANY,
        json: true,
        action: Action::Run(devices::channel_list),
        ..PLAIN
    },
    Command {
        name: "block-attach",
        args: "<Domain> <disk-spec-component(s)>...",
        help: "Give a domain another disk",
        needs: 2,
        takes: MANY,
        modifies: true,
        dry_run: true,
        action: Action::Run(attach::block_attach),
        ..PLAIN
    },
    Command {
        name: "block-list",
        args: "<Domain(s)>",
        help: "List the disks of domains",
        needs: 1,
        takes: MANY,
        json: true,
        action: Action::Run(devices::block_list),
        ..PLAIN
    },
    Command {
        name: "block-detach",
        args: "[option] <Domain> <DevId>",
        help: "Take a disk from a domain",
        options: &[flag('f', "force", "Do not wait until the domain lets go of it")],
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(attach::block_detach),
        ..PLAIN
    },
    not_yet("cd-insert", "<Domain> <VirtualDevice> <path>", "Put a disc into a CD drive", CD),
    not_yet("cd-eject", "<Domain> <VirtualDevice>", "Take the disc out of a CD drive", CD),
    not_yet("pci-attach", "<Domain> <PCI_SPEC_STRING>", "Give a domain a PCI device", PCI),
    not_yet("pci-detach", "<Domain> <PCI_SPEC_STRING>", "Take a PCI device from a domain", PCI),
    not_yet("pci-list", "<Domain>", "List the PCI devices of a domain", PCI),
    not_yet("pci-assignable-add", "[options] <BDF>", "Let a PCI device be given to domains", PCI),
    not_yet(
        "pci-assignable-remove",
        "[options] <BDF>|NAME",
        "Keep a PCI device from being given to domains",
        PCI,
    ),
    not_yet(
        "pci-assignable-list",
        "[options]",
        "List the PCI devices that can be given to domains",
        PCI,
    ),
    not_yet(
        "usbctrl-attach",
        "<Domain> [type=pv] [version=<version>] [ports=<number>]",
        "Give a domain a USB controller",
        USB,
    ),
    not_yet("usbctrl-detach", "<Domain> <DevId>", "Take a USB controller from a domain", USB),
    not_yet(
        "usbdev-attach",
        "<Domain> hostbus=<busnum> hostaddr=<devnum> [controller=<DevId> [port=<port>]]",
        "Give a domain a USB device",
        USB,
    ),
    not_yet(
        "usbdev-detach",
        "<Domain> <controller> <port>",
        "Take a USB device from a domain",
        USB,
    ),
    not_yet("usb-list", "<Domain>", "List the USB controllers and devices of a domain", USB),
    not_yet(
        "vtpm-attach",
        "<Domain> [uuid=<uuid>] [backend=<BackDomain>]",
        "Give a domain a virtual TPM",
        VTPM,
    ),
    not_yet("vtpm-list", "<Domain(s)>", "List the virtual TPMs of domains", VTPM),
    not_yet("vtpm-detach", "<Domain> <DevId|uuid>", "Take a virtual TPM from a domain", VTPM),
    not_yet(
        "vkb-attach",
        "<Domain> <vkb-spec-component(s)>...",
        "Give a domain a virtual keyboard",
        VKB,
    ),
    not_yet("vkb-list", "<Domain(s)>", "List the virtual keyboards of domains", VKB),
    not_yet("vkb-detach", "<Domain> <DevId>", "Take a virtual keyboard from a domain", VKB),
    not_yet(
        "vdispl-attach",
        "<Domain> [backend=<BackDomain>] [be-alloc=<BackAlloc>] [connectors='<Connectors>']",
        "Give a domain a virtual display",
        VDISPL,
    ),
    not_yet("vdispl-list", "<Domain(s)>", "List the virtual displays of domains", VDISPL),
    not_yet("vdispl-detach", "<Domain> <DevId>", "Take a virtual display from a domain", VDISPL),
    not_yet(
        "vsnd-attach",
        "<Domain> <vsnd-spec-component(s)>...",
        "Give a domain a virtual sound card",
        VSND,
    ),
    not_yet("vsnd-list", "<Domain(s)>", "List the virtual sound cards of domains", VSND),
    not_yet("vsnd-detach", "<Domain> <DevId>", "Take a virtual sound card from a domain", VSND),
    not_yet(
        "qemu-monitor-command",
        "<Domain> <Command>",
        "Send a command to a domain's device model",
        "a device model",
    ),
    not_yet("devd", "[options]", "Serve devices from a driver domain", "driver domains"),
    not_yet("dt-overlay", "add|remove|attach <.dtbo>", "Change the device tree (Arm only)", "Arm"),
];
