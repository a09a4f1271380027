//! From words to a command: global options, looking the command up, help, and what is printed
//! when it fails.

pub mod completion;
pub mod help;
pub mod manpage;
pub mod options;
pub mod suggest;

use crate::failure::{Failure, code};
use crate::output;
use crate::session::{Globals, Session};
use crate::table::{self, Action, Command, Kind, Lookup};
use options::Outcome;

/// Runs `xl` with the words after its name; the exit code.
pub fn run(words: &[String]) -> u8 {
    let (globals, words) = match global_options(words) {
        Ok(found) => found,
        Err(failure) => return report("xl", &Globals::default(), &failure),
    };
    match dispatch(globals, words) {
        Ok(code) => code,
        Err(failure) => report("xl", &globals, &failure),
    }
}

/// Prints a failure of a program, and says the exit code.
pub fn report(program: &str, globals: &Globals, failure: &Failure) -> u8 {
    output::error(&globals.prefixed(&failure.text(program)));
    failure.code
}

fn dispatch(globals: Globals, words: &[String]) -> table::Outcome {
    let Some((word, rest)) = words.split_first() else {
        output::print(&help::overview());
        return Ok(code::FAILED);
    };
    if matches!(word.as_str(), "-h" | "--help") {
        output::print(&help::overview());
        return Ok(0);
    }
    if word == "--version" {
        output::print(&format!("xl (Ferroxen) {}\n", env!("CARGO_PKG_VERSION")));
        return Ok(0);
    }
    let command = find(word)?;
    run_command(globals, command, rest)
}

/// Looks a command up, or says what could have been meant.
///
/// # Errors
/// "command ... not implemented", as Xen's `xl` says it.
pub fn find(word: &str) -> Result<&'static Command, Failure> {
    let unknown = Failure::new(format!("command \"{word}\" not implemented"));
    match table::find(word) {
        Lookup::Found(command) => Ok(command),
        Lookup::Ambiguous(names) => {
            Err(unknown.help(format!("{word} could be {}", names.join(", "))))
        }
        Lookup::Unknown => {
            let names = table::all().filter(|c| c.kind != Kind::Hidden).map(|c| c.name);
            Err(match suggest::nearest(word, names) {
                Some(near) => unknown.help(format!("did you mean {near}?")),
                None => unknown.help("xl help lists all commands"),
            })
        }
    }
}

fn run_command(globals: Globals, command: &'static Command, words: &[String]) -> table::Outcome {
    let parsed = match options::parse(command, words) {
        Ok(Outcome::Run(parsed)) => parsed,
        Ok(Outcome::Help) => {
            output::print(&help::of(command));
            return Ok(0);
        }
        // Help of what is not there yet needs no right options.
        Err(_) if matches!(command.action, Action::NotYet(_)) => return Err(refusal(command)),
        Err(failure) => return Err(failure),
    };
    match command.action {
        Action::NotYet(_) => Err(refusal(command)),
        Action::Run(_) if globals.dry_run && !command.dry_run => {
            Err(Failure::new("command does not implement -N (dryrun) option")
                .help(format!("run xl {} without -N", command.name)))
        }
        Action::Run(function) => function(&mut Session::new(globals), &parsed),
    }
}

fn refusal(command: &Command) -> Failure {
    let missing = match command.action {
        Action::NotYet(missing) => missing,
        Action::Run(_) => "",
    };
    Failure::new(format!("{} is not supported yet: it needs {missing}", command.name))
}

/// Takes the options before the command's name.
fn global_options(words: &[String]) -> Result<(Globals, &[String]), Failure> {
    let mut globals = Globals::default();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
            break;
        };
        if matches!(word.as_str(), "-h" | "--help" | "--version") {
            break;
        }
        rest = after;
        if cluster == "-" {
            break;
        }
        for letter in cluster.chars() {
            match letter {
                'v' => globals.verbose = globals.verbose.saturating_add(1),
                'f' => globals.force = true,
                'N' => globals.dry_run = true,
                't' => globals.progress = true,
                'T' => globals.timestamps = true,
                _ => {
                    return Err(Failure::new(format!("unknown global option: {word}"))
                        .help("before the command stand -v, -f, -N, -t or -T; xl help says more"));
                }
            }
        }
    }
    Ok((globals, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn global_options_stand_before_the_command_alone_or_together() {
        let words = words(&["-vv", "-N", "list", "-v"]);
        let (globals, rest) = global_options(&words).unwrap();
        assert_eq!((globals.verbose, globals.dry_run, globals.force), (2, true, false));
        assert_eq!(rest, ["list", "-v"]);
    }

    #[test]
    fn an_unknown_global_option_is_named() {
        let failure = global_options(&words(&["-Q", "list"])).unwrap_err();
        assert_eq!((failure.what.as_str(), failure.code), ("unknown global option: -Q", 1));
    }

    #[test]
    fn an_unknown_command_is_named_as_xens_xl_names_it_with_the_nearest() {
        let failure = find("lsit").unwrap_err();
        assert_eq!(
            failure.text("xl"),
            "xl: error: command \"lsit\" not implemented\n  help: did you mean list?\n"
        );
        assert_eq!(failure.code, 1);
    }

    #[test]
    fn an_ambiguous_beginning_names_what_it_could_be() {
        let failure = find("net").unwrap_err();
        let help = failure.help.unwrap();
        assert_eq!(help, "net could be network-attach, network-list, network-detach");
    }

    #[test]
    fn a_command_that_is_not_there_yet_refuses_by_name_whatever_its_words() {
        let table::Lookup::Found(migrate) = table::find("migrate") else { panic!() };
        for line in [&["guest", "host"][..], &["-C", "x", "guest", "host"], &[]] {
            let failure = run_command(Globals::default(), migrate, &words(line)).unwrap_err();
            assert!(failure.what.starts_with("migrate is not supported yet"), "{failure:?}");
            assert_eq!(failure.code, 1);
        }
    }

    #[test]
    fn a_dry_run_of_what_has_none_is_refused() {
        let table::Lookup::Found(pause) = table::find("pause") else { panic!() };
        let globals = Globals { dry_run: true, ..Globals::default() };
        let failure = run_command(globals, pause, &words(&["guest"])).unwrap_err();
        assert_eq!(failure.what, "command does not implement -N (dryrun) option");
    }
}
