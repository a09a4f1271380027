//! Commands for the host, and those that only ours has.

use super::{Action, Command, Kind, MANY, PLAIN, not_yet, word};
use crate::commands::{check, doctor, help, host};

const FLASK: &str = "the Flask security module";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "debug-keys",
        args: "<Keys>",
        help: "Press debug keys of the hypervisor",
        notes: &["What they print is in xl dmesg. Key h lists them."],
        needs: 1,
        takes: 1,
        modifies: true,
        action: Action::Run(host::debug_keys),
        ..PLAIN
    },
    not_yet(
        "set-parameters",
        "<Params>",
        "Set parameters of the running hypervisor",
        "a hypervisor that takes them while it runs; put them on its command line",
    ),
    Command {
        name: "getenforce",
        help: "Say whether the Flask security module enforces",
        action: Action::Run(host::getenforce),
        ..PLAIN
    },
    not_yet(
        "setenforce",
        "<1|0|Enforcing|Permissive>",
        "Let the Flask security module enforce, or only warn",
        FLASK,
    ),
    not_yet("loadpolicy", "<policy file>", "Load a policy of the Flask security module", FLASK),
    Command {
        name: "check",
        args: "[options] <ConfigFile> [vars]",
        help: "Check a configuration file and touch nothing",
        options: &[word("lax", "Warn of unknown keys, do not refuse them")],
        needs: 1,
        takes: MANY,
        json: true,
        kind: Kind::Ours,
        action: Action::Run(check::check),
        ..PLAIN
    },
    Command {
        name: "doctor",
        help: "Look for what is wrong with this host, and say the cure",
        options: &[word("cure", "Remove what dead domains and killed tools left behind first")],
        json: true,
        kind: Kind::Ours,
        action: Action::Run(doctor::doctor),
        ..PLAIN
    },
    Command {
        name: "completion",
        args: "bash",
        help: "Print the completion script for a shell",
        needs: 1,
        takes: 1,
        kind: Kind::Ours,
        action: Action::Run(help::completion),
        ..PLAIN
    },
    Command {
        name: "help",
        args: "[--long] [command]",
        help: "Describe all commands, or one",
        options: &[word("long", "Everything about every command")],
        takes: 1,
        kind: Kind::Ours,
        action: Action::Run(help::help),
        ..PLAIN
    },
    Command {
        name: "man",
        help: "Print this program's page of the manual, as roff",
        kind: Kind::Ours,
        action: Action::Run(help::man),
        ..PLAIN
    },
];
