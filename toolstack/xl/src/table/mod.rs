//! The one table of commands: what help, completion, the man page, the parser and dispatch are
//! made from. Names and option letters are those of Xen 4.20's `xl`; what is ours alone comes last.

mod devices;
mod host;
mod life;
mod looking;
mod resources;

use crate::cli::options::Parsed;
use crate::failure::Failure;
use crate::session::Session;

/// What a command's function returns: the exit code of success or of a quiet failure, or why not.
pub type Outcome = Result<u8, Failure>;

/// One command.
#[derive(Debug)]
pub struct Command {
    /// The word after `xl`.
    pub name: &'static str,
    /// The operands, as the usage line shows them.
    pub args: &'static str,
    /// One line for the list of commands; no full stop.
    pub help: &'static str,
    /// Further lines for `xl help COMMAND` and the man page.
    pub notes: &'static [&'static str],
    /// Its options, in the order in which help shows them.
    pub options: &'static [Opt],
    /// How many operands it needs at least; fewer are a usage error.
    pub needs: usize,
    /// How many operands it takes at most.
    pub takes: usize,
    /// It changes something: the global `-f` is shown in its usage line.
    pub modifies: bool,
    /// It knows the global `-N`: say what would be done.
    pub dry_run: bool,
    /// It takes `--json`.
    pub json: bool,
    /// Where it comes from, and whether people see it.
    pub kind: Kind,
    /// What it does.
    pub action: Action,
}

/// Where a command comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Xen's `xl` has it.
    Xen,
    /// Only ours has it: it never makes a prefix ambiguous that Xen's `xl` takes.
    Ours,
    /// For programs, not for people: not listed, and never found by a prefix.
    Hidden,
}

/// What a command does.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Calls this.
    Run(fn(&mut Session, &Parsed) -> Outcome),
    /// Refuses by name; the text says what is missing, as the rest of "it needs ...".
    NotYet(&'static str),
}

/// One option of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// The letter after one dash.
    pub short: Option<char>,
    /// The word after two dashes.
    pub long: Option<&'static str>,
    /// Whether a value follows, and what help calls it.
    pub value: Option<&'static str>,
    /// What it does, for help.
    pub help: &'static str,
}

impl Opt {
    /// The name by which a command asks for it: the long word, or the letter.
    pub fn is_called(&self, name: &str) -> bool {
        self.long == Some(name) || self.short.is_some_and(|letter| name.chars().eq([letter]))
    }

    /// As help shows it: `-f FILE, --defconfig=FILE`.
    pub fn shown(&self) -> String {
        let mut forms = Vec::new();
        if let Some(letter) = self.short {
            forms.push(match self.value {
                Some(value) => format!("-{letter} {value}"),
                None => format!("-{letter}"),
            });
        }
        if let Some(word) = self.long {
            forms.push(match self.value {
                Some(value) => format!("--{word}={value}"),
                None => format!("--{word}"),
            });
        }
        forms.join(", ")
    }
}

/// Shorthands for the tables: an option without and with a value.
const fn flag(short: char, long: &'static str, help: &'static str) -> Opt {
    Opt { short: Some(short), long: Some(long), value: None, help }
}

const fn letter(short: char, help: &'static str) -> Opt {
    Opt { short: Some(short), long: None, value: None, help }
}

const fn word(long: &'static str, help: &'static str) -> Opt {
    Opt { short: None, long: Some(long), value: None, help }
}

const fn word_valued(long: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { short: None, long: Some(long), value: Some(value), help }
}

const fn valued(short: char, long: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { short: Some(short), long: Some(long), value: Some(value), help }
}

const fn letter_valued(short: char, value: &'static str, help: &'static str) -> Opt {
    Opt { short: Some(short), long: None, value: Some(value), help }
}

/// Any number of operands.
const MANY: usize = usize::MAX;

/// A command that has nothing special about it; tables override what differs.
const PLAIN: Command = Command {
    name: "",
    args: "",
    help: "",
    notes: &[],
    options: &[],
    needs: 0,
    takes: 0,
    modifies: false,
    dry_run: false,
    json: false,
    kind: Kind::Xen,
    action: Action::NotYet(""),
};

/// A command that there is no code for yet. `needs` says what is missing.
const fn not_yet(
    name: &'static str,
    args: &'static str,
    help: &'static str,
    missing: &'static str,
) -> Command {
    Command { name, args, help, takes: MANY, action: Action::NotYet(missing), ..PLAIN }
}

/// All commands, in the order in which `xl help` lists them.
pub fn all() -> impl Iterator<Item = &'static Command> {
    life::COMMANDS
        .iter()
        .chain(looking::COMMANDS)
        .chain(resources::COMMANDS)
        .chain(devices::COMMANDS)
        .chain(host::COMMANDS)
}

/// What looking a word up in the table gives.
#[derive(Debug)]
pub enum Lookup {
    /// This one is meant.
    Found(&'static Command),
    /// Any of these could be meant.
    Ambiguous(Vec<&'static str>),
    /// None has this name or begins with it.
    Unknown,
}

/// Commands that win where a prefix fits them and nothing but these others besides.
const WINS_OVER: &[(&str, &[&str])] = &[("console", &["config-update"])];

/// Finds a command by its name or an unambiguous beginning of it.
pub fn find(word: &str) -> Lookup {
    if let Some(exact) = all().find(|command| command.name == word) {
        return Lookup::Found(exact);
    }
    for kind in [Kind::Xen, Kind::Ours] {
        let fitting: Vec<_> = all()
            .filter(|command| command.kind == kind && command.name.starts_with(word))
            .collect();
        match fitting.as_slice() {
            [] => {}
            [one] => return Lookup::Found(one),
            several => return first_among(several),
        }
    }
    Lookup::Unknown
}

fn first_among(fitting: &[&'static Command]) -> Lookup {
    for (winner, losers) in WINS_OVER {
        let beats = |command: &&Command| command.name == *winner || losers.contains(&command.name);
        if fitting.iter().all(beats)
            && let Some(found) = fitting.iter().find(|command| command.name == *winner)
        {
            return Lookup::Found(found);
        }
    }
    Lookup::Ambiguous(fitting.iter().map(|command| command.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn found(word: &str) -> &'static str {
        match find(word) {
            Lookup::Found(command) => command.name,
            other => panic!("{word}: {other:?}"),
        }
    }

    #[test]
    fn every_name_of_xens_table_is_known() {
        let ours: BTreeSet<_> =
            all().filter(|c| c.kind == Kind::Xen).map(|command| command.name).collect();
        let theirs: BTreeSet<_> = include_str!("../../tests/xl-4.20-names.txt").lines().collect();
        assert_eq!(ours, theirs);
        assert_eq!(theirs.len(), 95);
    }

    #[test]
    fn no_name_and_no_option_of_a_command_occurs_twice() {
        let names: Vec<_> = all().map(|command| command.name).collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
        for command in all() {
            let letters: Vec<_> = command.options.iter().filter_map(|o| o.short).collect();
            let words: Vec<_> = command.options.iter().filter_map(|o| o.long).collect();
            assert_eq!(letters.len(), letters.iter().collect::<BTreeSet<_>>().len());
            assert_eq!(words.len(), words.iter().collect::<BTreeSet<_>>().len());
            assert!(!letters.contains(&'h'), "{}: -h is every command's help", command.name);
        }
    }

    #[test]
    fn a_prefix_that_fits_one_command_is_that_command() {
        assert_eq!(found("li"), "list");
        assert_eq!(found("des"), "destroy");
        assert_eq!(found("cr"), "create");
    }

    #[test]
    fn con_is_the_console_though_config_update_begins_so_too() {
        assert_eq!(found("con"), "console");
        assert_eq!(found("conf"), "config-update");
        assert!(matches!(find("c"), Lookup::Ambiguous(_)));
    }

    #[test]
    fn our_own_commands_never_take_a_prefix_from_xens() {
        assert_eq!(found("ch"), "channel-list");
        assert_eq!(found("che"), "check");
        assert!(matches!(find("do"), Lookup::Ambiguous(names) if names == ["domid", "domname"]));
        assert_eq!(found("doc"), "doctor");
    }

    #[test]
    fn a_hidden_command_answers_to_its_whole_name_only() {
        assert_eq!(found("monitor"), "monitor");
        assert!(matches!(find("monit"), Lookup::Unknown));
    }

    #[test]
    fn help_lines_fit_a_terminal_and_have_no_full_stop() {
        for command in all() {
            assert!(command.help.len() <= 59, "{}: {}", command.name, command.help);
            assert!(!command.help.ends_with('.') && !command.help.is_empty(), "{}", command.name);
            assert!(command.needs <= command.takes, "{}", command.name);
        }
    }
}
