//! The page of the manual, made from the table.

use super::options::JSON;
use crate::table::{self, Action, Command, Kind};
use std::fmt::Write as _;

/// What stands before the list of commands.
const HEAD: &str = "\
.TH XL 1 \"\" Ferroxen \"Ferroxen manual\"
.SH NAME
xl \\- administer a Xen host and its guests
.SH SYNOPSIS
.B xl
.RB [ \\-vfNtT ]
.I command
.RI [ arguments ]
.SH DESCRIPTION
Makes, watches and ends guests of a Xen host. It runs as root in domain 0.
A command may be shortened as long as it stays unambiguous.
A domain is named by its name or its number.
.SH GLOBAL OPTIONS
.TP
.B \\-v
Say more; may be repeated.
.TP
.B \\-f
Go on where a guard would stop the command.
.TP
.B \\-N
Dry run: say what would be done, and do nothing.
.TP
.B \\-t
Print progress with carriage returns even where the output is no terminal.
.TP
.B \\-T
Put the time and the process number before each message.
.SH COMMANDS
";

/// What stands after it.
const FOOT: &str = "\
.SH EXIT STATUS
0 on success; 2 where options or operands are wrong; 1 where something else failed, and
.I create
has more: see docs/differences.md.
.SH FILES
.TP
.I /etc/xen/xl.conf
Settings that concern every guest.
.TP
.I /etc/xen/*.cfg
Configurations of guests, by habit.
.TP
.I /var/log/xen/xl\\-NAME.log
What the process that waits for a guest's end wrote.
.SH SEE ALSO
.BR xl.cfg (5),
.BR xl.conf (5),
.BR xentop (1)
";

/// The page as roff.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    for command in table::all().filter(|command| command.kind != Kind::Hidden) {
        one(&mut text, command);
    }
    text.push_str(FOOT);
    text
}

fn one(text: &mut String, command: &Command) {
    let _ = writeln!(text, ".TP\n.BI \"{} \" \"{}\"", escape(command.name), escape(command.args));
    let _ = writeln!(text, "{}.", escape(command.help));
    for note in command.notes {
        let _ = writeln!(text, "{}", escape(note));
    }
    if let Action::NotYet(missing) = command.action {
        let _ = writeln!(text, "Not supported yet: it needs {}.", escape(missing));
    }
    let mut options = command.options.iter().chain(command.json.then_some(&JSON)).peekable();
    if options.peek().is_none() {
        return;
    }
    text.push_str(".RS\n");
    for option in options {
        let _ = writeln!(text, ".TP\n.B \"{}\"\n{}.", escape(&option.shown()), escape(option.help));
    }
    text.push_str(".RE\n");
}

/// Roff's own characters, taken literally.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    // A line must not begin like a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_command_and_option_that_is_shown() {
        let page = page();
        for command in table::all().filter(|command| command.kind != Kind::Hidden) {
            let line = format!("\n.BI \"{} \"", escape(command.name));
            assert!(page.contains(&line), "{}", command.name);
            for option in command.options {
                assert!(page.contains(&escape(&option.shown())), "{}", command.name);
            }
        }
    }

    #[test]
    fn no_text_of_the_table_can_become_a_request() {
        assert_eq!(escape(".dtbo"), "\\&.dtbo");
        assert_eq!(escape("-a \\ \"x\""), "\\-a \\e \\(dqx\\(dq");
        let requests = [".TH", ".SH", ".TP", ".B", ".BI", ".BR", ".RB", ".RI", ".I", ".RS", ".RE"];
        for line in page().lines().filter(|line| line.starts_with('.')) {
            let request = line.split(' ').next().unwrap_or_default();
            assert!(requests.contains(&request), "{line}");
        }
    }
}
