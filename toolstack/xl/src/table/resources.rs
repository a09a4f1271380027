//! Commands for memory, CPUs and pools of CPUs.

use super::{Action, Command, PLAIN, flag, not_yet, valued, word};
use crate::commands::{cpupools, memory, sched, vcpus};

const SIZE: &str = "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>";
const PSR: &str = "Intel's Resource Director Technology";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "mem-max",
        args: SIZE,
        help: "Set how much memory a domain may have at most",
        notes: &["A bare number is in MiB."],
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(memory::mem_max),
        ..PLAIN
    },
    Command {
        name: "mem-set",
        args: SIZE,
        help: "Ask a domain to use so much memory",
        notes: &["A bare number is in MiB."],
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(memory::mem_set),
        ..PLAIN
    },
    Command {
        name: "vcpu-pin",
        args: "[option] <Domain> <VCPU|all> <Hard affinity|-|all> <Soft affinity|-|all>",
        help: "Say on which CPUs a vCPU must and should run",
        notes: &["CPUs are written 0-3,5,^2, node:1, all, or - to leave that list as it is."],
        options: &[
            flag('f', "force", "Undo a pinning that the guest's kernel asked for"),
            word("ignore-global-affinity-masks", "Do not apply the CPU masks of xl.conf"),
        ],
        needs: 3,
        takes: 4,
        modifies: true,
        dry_run: true,
        action: Action::Run(vcpus::vcpu_pin),
        ..PLAIN
    },
    Command {
        name: "vcpu-set",
        args: "[option] <Domain> <vCPUs>",
        help: "Set how many vCPUs a domain uses",
        options: &[flag('i', "ignore-host", "Allow more vCPUs than the host has CPUs")],
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(vcpus::vcpu_set),
        ..PLAIN
    },
    Command {
        name: "sched-credit",
        args: "[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]] [-s [-t TSLICE] [-r RATELIMIT]] [-p CPUPOOL]",
        help: "Show or set parameters of the credit scheduler",
        options: &[
            valued('d', "domain", "DOMAIN", "The domain"),
            valued('w', "weight", "WEIGHT", "Its share beside others, 1 to 65535"),
            valued('c', "cap", "CAP", "Its limit in percent of one CPU; 0 is none"),
            flag('s', "schedparam", "The scheduler itself"),
            valued('t', "tslice_ms", "TSLICE", "Its time slice, ms"),
            valued('r', "ratelimit_us", "RLIMIT", "The least time that a vCPU runs, us"),
            valued('m', "migration_delay_us", "DLY", "Time before a vCPU is moved, us"),
            valued('p', "cpupool", "CPUPOOL", "Only this pool"),
        ],
        modifies: true,
        json: true,
        action: Action::Run(sched::credit),
        ..PLAIN
    },
    Command {
        name: "sched-credit2",
        args: "[-d <Domain> [-w[=WEIGHT]]] [-p CPUPOOL]",
        help: "Show or set parameters of the credit2 scheduler",
        options: &[
            valued('d', "domain", "DOMAIN", "The domain"),
            valued('w', "weight", "WEIGHT", "Its share beside others, 1 to 65535"),
            valued('c', "cap", "CAP", "Its limit in percent of one CPU; 0 is none"),
            flag('s', "schedparam", "The scheduler itself"),
            valued('r', "ratelimit_us", "RLIMIT", "The least time that a vCPU runs, us"),
            valued('p', "cpupool", "CPUPOOL", "Only this pool"),
        ],
        modifies: true,
        json: true,
        action: Action::Run(sched::credit2),
        ..PLAIN
    },
    not_yet(
        "sched-rtds",
        "[-d <Domain> [-v[=VCPUID/all]] [-p[=PERIOD]] [-b[=BUDGET]] [-e[=Extratime]]]",
        "Show or set parameters of the real-time scheduler",
        "the real-time scheduler",
    ),
    Command {
        name: "cpupool-list",
        args: "[-c|--cpus] [<CPU Pool>]",
        help: "List the pools of CPUs",
        options: &[flag('c', "cpus", "Show which CPUs each has")],
        takes: 1,
        json: true,
        action: Action::Run(cpupools::list),
        ..PLAIN
    },
    not_yet(
        "cpupool-create",
        "[options] [<ConfigFile>] [Variable=value ...]",
        "Make a pool of CPUs",
        "more than one pool of CPUs",
    ),
    not_yet(
        "cpupool-destroy",
        "<CPU Pool>",
        "Dissolve a pool of CPUs",
        "more than one pool of CPUs",
    ),
    Command {
        name: "cpupool-rename",
        args: "<CPU Pool> <new name>",
        help: "Give a pool of CPUs another name",
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(cpupools::rename),
        ..PLAIN
    },
    not_yet(
        "cpupool-cpu-add",
        "<CPU Pool> <CPU nr>|node:<node nr>",
        "Put a CPU into a pool",
        "more than one pool of CPUs",
    ),
    not_yet(
        "cpupool-cpu-remove",
        "<CPU Pool> <CPU nr>|node:<node nr>",
        "Take a CPU out of a pool",
        "more than one pool of CPUs",
    ),
    not_yet(
        "cpupool-migrate",
        "<Domain> <CPU Pool>",
        "Move a domain to another pool of CPUs",
        "more than one pool of CPUs",
    ),
    not_yet(
        "cpupool-numa-split",
        "",
        "Make a pool of CPUs for each NUMA node",
        "more than one pool of CPUs",
    ),
    not_yet("psr-hwinfo", "[options]", "Describe the host's cache and bandwidth controls", PSR),
    not_yet("psr-cmt-attach", "<Domain>", "Watch a domain's use of the cache", PSR),
    not_yet("psr-cmt-detach", "<Domain>", "Stop watching a domain's use of the cache", PSR),
    not_yet("psr-cmt-show", "<PSR-CMT-Type> <Domain>", "Show what was watched of the cache", PSR),
    not_yet("psr-cat-set", "[options] <Domain> <CBM>", "Set a domain's part of the cache", PSR),
    not_yet("psr-cat-show", "[options] <Domain>", "Show a domain's part of the cache", PSR),
    not_yet(
        "psr-mba-set",
        "[options] <Domain> <THRTL>",
        "Throttle a domain's memory bandwidth",
        PSR,
    ),
    not_yet("psr-mba-show", "<Domain>", "Show how a domain's bandwidth is throttled", PSR),
];
