//! Help texts, made from the table.

use super::options::JSON;
use crate::table::{self, Action, Command, Kind};
use std::fmt::Write as _;

/// How wide the names are before their help begins; scripts cut the list there.
const NAME_WIDTH: usize = 19;
/// How wide options are before their help begins.
const OPTION_WIDTH: usize = 23;

/// What `xl` alone and `xl help` print: scripts take the names from the fifth line on.
pub fn overview() -> String {
    let mut text =
        "Usage xl [-vfNtT] <subcommand> [args]\n\nxl full list of subcommands:\n\n".to_owned();
    for command in table::all().filter(|command| command.kind != Kind::Hidden) {
        let name = command.name;
        if name.len() > NAME_WIDTH {
            let _ = writeln!(text, " {name} \n {:NAME_WIDTH$} {}", "", command.help);
        } else {
            let _ = writeln!(text, " {name:NAME_WIDTH$} {}", command.help);
        }
    }
    text
}

/// What `xl help COMMAND` prints.
pub fn of(command: &Command) -> String {
    let f = if command.modifies { "f" } else { "" };
    let n = if command.dry_run { "N" } else { "" };
    let args = if command.args.is_empty() { String::new() } else { format!(" {}", command.args) };
    let mut text = format!("Usage: xl [-vtT{f}{n}] {}{args}\n\n{}.\n", command.name, command.help);
    for note in command.notes {
        let _ = writeln!(text, "{note}");
    }
    if let Action::NotYet(missing) = command.action {
        let _ = writeln!(text, "Not supported yet: it needs {missing}.");
    }
    text.push_str("\nOptions:\n\n");
    for option in command.options.iter().chain(command.json.then_some(&JSON)) {
        let shown = option.shown();
        if shown.len() > OPTION_WIDTH {
            let _ = writeln!(text, "{shown}\n{:OPTION_WIDTH$} {}", "", option.help);
        } else {
            let _ = writeln!(text, "{shown:OPTION_WIDTH$} {}", option.help);
        }
    }
    let _ = writeln!(text, "{:OPTION_WIDTH$} Print this help", "-h, --help");
    text
}

/// Everything about every command.
pub fn everything() -> String {
    let mut text = overview();
    for command in table::all().filter(|command| command.kind != Kind::Hidden) {
        let _ = write!(text, "\n{}", of(command));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Debian's completion script does: `sed '1,4d' | awk '/^ [^ ]/ {print $1}'`.
    fn names_that_scripts_find(text: &str) -> Vec<&str> {
        text.lines()
            .skip(4)
            .filter(|line| line.starts_with(' ') && !line.starts_with("  "))
            .filter_map(|line| line.split_whitespace().next())
            .collect()
    }

    #[test]
    fn scripts_find_every_command_in_the_overview() {
        let text = overview();
        let names: Vec<_> =
            table::all().filter(|c| c.kind != Kind::Hidden).map(|c| c.name).collect();
        assert_eq!(names_that_scripts_find(&text), names);
    }

    #[test]
    fn help_stands_at_column_21_whatever_the_names_length() {
        let text = overview();
        assert!(text.contains("\n list                List the domains"));
        assert!(text.contains("\n pci-assignable-remove \n                     Keep a PCI"));
    }

    #[test]
    fn a_commands_help_begins_as_xens_does() {
        let table::Lookup::Found(create) = table::find("create") else { panic!() };
        let text = of(create);
        assert!(text.starts_with("Usage: xl [-vtTfN] create <ConfigFile> [options] [vars]\n\n"));
        assert!(text.contains("-q, --quiet             Say nothing unless it fails\n"));
        assert!(text.contains("-f FILE, --defconfig=FILE\n                        The config"));
    }

    #[test]
    fn what_is_not_there_yet_says_so_in_its_help() {
        let table::Lookup::Found(migrate) = table::find("migrate") else { panic!() };
        assert!(of(migrate).contains("Not supported yet: it needs live migration"));
    }
}
