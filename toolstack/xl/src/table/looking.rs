//! Commands that only look.

use super::{Action, Command, MANY, Opt, PLAIN, flag, valued};
use crate::commands::{info, list, names, top, uptime, vcpus};

/// The options of `top`, and of `xentop`, which is the same program.
pub const TOP_OPTIONS: &[Opt] = &[
    flag('V', "version", "Say which version this is"),
    valued('d', "delay", "SECONDS", "Time between two looks (3 unless given)"),
    flag('n', "networks", "Add a line for each network interface"),
    flag('x', "vbds", "Add a line for each disk"),
    flag('r', "repeat-header", "Print the header before each domain"),
    flag('v', "vcpus", "Add the CPU time of each vCPU"),
    flag('b', "batch", "Print one table after the other; read no keys"),
    valued('i', "iterations", "COUNT", "End after so many looks"),
    flag('f', "full-name", "Do not cut names short"),
    flag('z', "dom0-first", "Domain 0 first, however the table is sorted"),
];

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "list",
        args: "[options] [Domain]",
        help: "List the domains and their state",
        notes: &["State letters: r running, b blocked, p paused, s shut down, c crashed, d dying."],
        options: &[
            flag('l', "long", "All details, as JSON"),
            flag('v', "verbose", "Add UUID, reason of the end, security label"),
            flag('Z', "context", "Add the security label"),
            flag('c', "cpupool", "Add the CPU pool"),
            flag('n', "numa", "Add the NUMA nodes"),
        ],
        takes: MANY,
        json: true,
        action: Action::Run(list::list),
        ..PLAIN
    },
    Command {
        name: "vm-list",
        help: "List the guests by UUID, without service domains",
        takes: MANY,
        json: true,
        action: Action::Run(names::vm_list),
        ..PLAIN
    },
    Command {
        name: "info",
        args: "[options]",
        help: "Describe the host and its hypervisor",
        options: &[flag('n', "numa", "Add the topology of CPUs, devices and memory")],
        json: true,
        action: Action::Run(info::info),
        ..PLAIN
    },
    Command {
        name: "uptime",
        args: "[-s] [Domain]",
        help: "Say since when domains run",
        options: &[flag('s', "short", "One line a domain, as uptime(1) prints it")],
        takes: MANY,
        json: true,
        action: Action::Run(uptime::uptime),
        ..PLAIN
    },
    Command {
        name: "top",
        help: "Watch what the domains use",
        options: TOP_OPTIONS,
        json: true,
        action: Action::Run(top::top),
        ..PLAIN
    },
    Command {
        name: "dmesg",
        args: "[-c]",
        help: "Print the messages of the hypervisor",
        options: &[flag('c', "clear", "Clear them afterwards")],
        action: Action::Run(info::dmesg),
        ..PLAIN
    },
    Command {
        name: "vcpu-list",
        args: "[Domain, ...]",
        help: "List the vCPUs and where they run",
        takes: MANY,
        json: true,
        action: Action::Run(vcpus::vcpu_list),
        ..PLAIN
    },
    Command {
        name: "domid",
        args: "<DomainName>",
        help: "Say which number the domain of a name has",
        needs: 1,
        takes: 1,
        action: Action::Run(names::domid),
        ..PLAIN
    },
    Command {
        name: "domname",
        args: "<DomainId>",
        help: "Say which name the domain of a number has",
        needs: 1,
        takes: 1,
        action: Action::Run(names::domname),
        ..PLAIN
    },
    Command {
        name: "claims",
        help: "List the domains with the memory claimed for them",
        json: true,
        action: Action::Run(list::claims),
        ..PLAIN
    },
    Command {
        name: "sharing",
        args: "[Domain]",
        help: "List the domains with the memory they share",
        takes: 1,
        json: true,
        action: Action::Run(list::sharing),
        ..PLAIN
    },
];
