//! Commands of a domain's life.

use super::{
    Action, Command, Kind, MANY, Opt, PLAIN, flag, letter, letter_valued, not_yet, valued, word,
    word_valued,
};
use crate::commands::{console, create, life, saving, stopping};

const VIEWER: [Opt; 2] = [
    flag('V', "vncviewer", "Start a VNC viewer once the domain runs"),
    flag('A', "vncviewer-autopass", "Hand the viewer its password on standard input"),
];

const STOPPING: [Opt; 3] = [
    flag('a', "all", "All guests"),
    letter('F', "Use the ACPI event where the guest has no Xen drivers"),
    flag('w', "wait", "Wait until the guest has stopped; twice: until it is gone"),
];

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "create",
        args: "<ConfigFile> [options] [vars]",
        help: "Make a domain from a configuration file and start it",
        notes: &["Words KEY=VALUE after the file are read as lines at its end: a later line wins."],
        options: &[
            letter('c', "Attach to the console of the new domain"),
            letter('d', "Print the configuration and more about what is done"),
            letter('e', "Leave nobody behind who waits for the domain's end"),
            letter('F', "Stay in the foreground until the domain ends"),
            valued('f', "defconfig", "FILE", "The configuration file"),
            flag('n', "dryrun", "Only print the configuration (older form of the global -N)"),
            letter('p', "Leave the domain paused"),
            flag('q', "quiet", "Say nothing unless it fails"),
            VIEWER[0],
            VIEWER[1],
            word("ignore-global-affinity-masks", "Do not apply the CPU masks of xl.conf"),
            word("lax", "Warn of unknown configuration keys, do not refuse them"),
        ],
        takes: MANY,
        modifies: true,
        dry_run: true,
        action: Action::Run(create::create),
        ..PLAIN
    },
    Command {
        name: "config-update",
        args: "<Domain> <ConfigFile> [options] [vars]",
        help: "Replace the configuration that the next reboot will use",
        options: &[
            valued('f', "defconfig", "FILE", "The configuration file"),
            letter('d', "Print the configuration and more about what is done"),
            flag('q', "quiet", "Say nothing unless it fails"),
        ],
        takes: MANY,
        modifies: true,
        dry_run: true,
        action: Action::Run(create::config_update),
        ..PLAIN
    },
    Command {
        name: "destroy",
        args: "[options] <Domain>",
        help: "End a domain at once",
        options: &[flag('f', "force", "Let domain 0 be named")],
        needs: 1,
        takes: 1,
        modifies: true,
        action: Action::Run(life::destroy),
        ..PLAIN
    },
    Command {
        name: "shutdown",
        args: "[options] <-a|Domain>",
        help: "Ask a domain to shut itself down",
        options: &STOPPING,
        takes: 1,
        modifies: true,
        action: Action::Run(stopping::shutdown),
        ..PLAIN
    },
    Command {
        name: "reboot",
        args: "[options] <-a|Domain>",
        help: "Ask a domain to restart itself",
        options: &STOPPING,
        takes: 1,
        modifies: true,
        action: Action::Run(stopping::reboot),
        ..PLAIN
    },
    Command {
        name: "pause",
        args: "<Domain>",
        help: "Stop scheduling a domain",
        needs: 1,
        takes: 1,
        modifies: true,
        action: Action::Run(life::pause),
        ..PLAIN
    },
    Command {
        name: "unpause",
        args: "<Domain>",
        help: "Schedule a paused domain again",
        needs: 1,
        takes: 1,
        modifies: true,
        action: Action::Run(life::unpause),
        ..PLAIN
    },
    Command {
        name: "console",
        args: "[options] <Domain>",
        help: "Attach to a domain's console",
        notes: &["Ctrl-] leaves the console."],
        options: &[
            letter_valued('t', "TYPE", "Which console: pv or serial"),
            letter_valued('n', "NUMBER", "Which of several consoles"),
            letter_valued('e', "ESCAPE", "Another character than ] to leave by"),
        ],
        needs: 1,
        takes: 1,
        action: Action::Run(console::console),
        ..PLAIN
    },
    not_yet("vncviewer", "[options] <Domain>", "Show a domain's screen", "a virtual frame buffer"),
    Command {
        name: "save",
        args: "[options] <Domain> <CheckpointFile> [<ConfigFile>]",
        help: "Write a domain to a file, to be restored later",
        options: &[
            letter('c', "Let the domain run on"),
            letter('p', "Leave the domain there, paused"),
            letter('D', "Keep the domain's number"),
        ],
        needs: 2,
        takes: 3,
        modifies: true,
        action: Action::Run(saving::save),
        ..PLAIN
    },
    not_yet(
        "migrate",
        "[options] <Domain> <host>",
        "Move a domain to another host",
        "live migration; save, copy and restore it instead",
    ),
    Command {
        name: "restore",
        args: "[options] [<ConfigFile>] <CheckpointFile>",
        help: "Start a domain from a file that save wrote",
        options: &[
            letter('p', "Leave the domain paused"),
            letter('e', "Leave nobody behind who waits for the domain's end"),
            letter('d', "Print the configuration and more about what is done"),
            VIEWER[0],
            VIEWER[1],
        ],
        needs: 1,
        takes: 2,
        modifies: true,
        action: Action::Run(saving::restore),
        ..PLAIN
    },
    not_yet("migrate-receive", "", "Receive a domain that migrate sends", "live migration"),
    not_yet("suspend", "<Domain>", "Put a domain to sleep in memory", "suspend to RAM"),
    not_yet("resume", "<Domain>", "Wake a domain that sleeps in memory", "suspend to RAM"),
    Command {
        name: "dump-core",
        args: "<Domain> <filename>",
        help: "Write a domain's memory to a core file",
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(life::dump_core),
        ..PLAIN
    },
    Command {
        name: "rename",
        args: "<Domain> <NewDomainName>",
        help: "Give a domain another name",
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(life::rename),
        ..PLAIN
    },
    Command {
        name: "trigger",
        args: "<Domain> <nmi|reset|init|power|sleep|s3resume> [<VCPU>]",
        help: "Send a domain an NMI or another such event",
        needs: 2,
        takes: 3,
        modifies: true,
        action: Action::Run(life::trigger),
        ..PLAIN
    },
    Command {
        name: "sysrq",
        args: "<Domain> <letter>",
        help: "Press a magic SysRq key in a domain",
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(life::sysrq),
        ..PLAIN
    },
    Command {
        name: "button-press",
        args: "<Domain> <power|sleep>",
        help: "Press a domain's ACPI button (older form of trigger)",
        needs: 2,
        takes: 2,
        modifies: true,
        action: Action::Run(life::button_press),
        ..PLAIN
    },
    not_yet(
        "remus",
        "[options] <Domain> [<host>]",
        "Keep a running copy of a domain elsewhere",
        "live migration",
    ),
    Command {
        name: "monitor",
        args: "--domid <DomainId>",
        help: "Wait for a domain's end and do what its configuration says",
        options: &[word_valued("domid", "DOMID", "The domain's number")],
        takes: 1,
        kind: Kind::Hidden,
        action: Action::Run(create::watcher),
        ..PLAIN
    },
];
