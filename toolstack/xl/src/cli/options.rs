//! The parser of command lines, after GNU getopt: short letters in clusters, `--word`,
//! `--word=value`, unambiguous beginnings of words, `--`, options and operands in any order.

use super::suggest;
use crate::failure::{Failure, code};
use crate::table::{Command, Opt};

/// `--json`, which every command that lists takes.
pub const JSON: Opt =
    Opt { short: None, long: Some("json"), value: None, help: "Print JSON (see docs/xl-json.md)" };

/// A command line, parsed.
#[derive(Debug)]
pub struct Parsed {
    /// Which command it is of.
    pub command: &'static Command,
    options: Vec<(Opt, String)>,
    /// What is no option, in order.
    pub operands: Vec<String>,
}

/// What parsing gives.
#[derive(Debug)]
pub enum Outcome {
    /// A command line to be run.
    Run(Parsed),
    /// The user asked for help.
    Help,
}

impl Parsed {
    /// Whether an option was given. The name is its long word, or its letter.
    pub fn flag(&self, name: &str) -> bool {
        self.count(name) > 0
    }

    /// How often an option was given.
    pub fn count(&self, name: &str) -> usize {
        debug_assert!(
            known_options(self.command).any(|option| option.is_called(name)),
            "{} has no option {name}",
            self.command.name
        );
        self.options.iter().filter(|(option, _)| option.is_called(name)).count()
    }

    /// The value of an option; the last one wins.
    pub fn value(&self, name: &str) -> Option<&str> {
        let given = |(option, _): &&(Opt, String)| option.is_called(name);
        self.options.iter().rev().find(given).map(|(_, value)| value.as_str())
    }

    /// Whether `--json` was given.
    pub fn json(&self) -> bool {
        self.flag("json")
    }

    /// An operand; the empty text where there is none.
    pub fn operand(&self, index: usize) -> &str {
        self.operands.get(index).map_or("", String::as_str)
    }
}

/// The options that a command takes.
fn known_options(command: &'static Command) -> impl Iterator<Item = &'static Opt> {
    command.options.iter().chain(command.json.then_some(&JSON))
}

/// Parses what follows the command's name.
///
/// # Errors
/// Usage failures, exit code 2, that name the option or operand.
pub fn parse(command: &'static Command, words: &[String]) -> Result<Outcome, Failure> {
    let mut parsed = Parsed { command, options: Vec::new(), operands: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.operands.extend(words.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            if parse_long(&mut parsed, long, &mut words)? {
                return Ok(Outcome::Help);
            }
        } else if let Some(cluster) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            if parse_cluster(&mut parsed, cluster, &mut words)? {
                return Ok(Outcome::Help);
            }
        } else {
            parsed.operands.push(word.clone());
        }
    }
    check_operands(&parsed)?;
    Ok(Outcome::Run(parsed))
}

type Words<'a> = std::slice::Iter<'a, String>;

/// One `--word` or `--word=value`; whether it is the request for help.
fn parse_long(parsed: &mut Parsed, text: &str, words: &mut Words<'_>) -> Result<bool, Failure> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name == "help" {
        return Ok(true);
    }
    let option = find_long(parsed.command, name)?;
    let value = match (option.value, value) {
        (None, Some(_)) => {
            return Err(usage(parsed.command, format!("option `--{name}' takes no value")));
        }
        (None, None) => String::new(),
        (Some(_), Some(value)) => value,
        (Some(kind), None) => next_value(parsed.command, &format!("--{name}"), kind, words)?,
    };
    parsed.options.push((*option, value));
    Ok(false)
}

fn find_long(command: &'static Command, name: &str) -> Result<&'static Opt, Failure> {
    let all: Vec<_> = known_options(command).filter(|option| option.long.is_some()).collect();
    if let Some(exact) = all.iter().find(|option| option.long == Some(name)) {
        return Ok(exact);
    }
    let begins = |option: &&&Opt| option.long.is_some_and(|long| long.starts_with(name));
    let fitting: Vec<_> = all.iter().filter(begins).collect();
    match fitting.as_slice() {
        [one] if !name.is_empty() => Ok(one),
        [] | [_] => {
            let failure = usage(command, format!("option `--{name}' not supported."));
            let words = all.iter().filter_map(|option| option.long);
            Err(match suggest::nearest(name, words) {
                Some(near) => failure.help(format!("did you mean --{near}?")),
                None => failure,
            })
        }
        several => {
            let names: Vec<_> =
                several.iter().filter_map(|o| o.long).map(|long| format!("--{long}")).collect();
            Err(usage(command, format!("option `--{name}' could be {}", names.join(" or "))))
        }
    }
}

/// Letters after one dash; whether help is among them.
fn parse_cluster(
    parsed: &mut Parsed,
    cluster: &str,
    words: &mut Words<'_>,
) -> Result<bool, Failure> {
    let mut letters = cluster.chars();
    while let Some(letter) = letters.next() {
        if letter == 'h' {
            return Ok(true);
        }
        let command = parsed.command;
        let option = known_options(command)
            .find(|option| option.short == Some(letter))
            .ok_or_else(|| usage(command, format!("option `{letter}' not supported.")))?;
        let value = match option.value {
            None => String::new(),
            Some(kind) => {
                let rest = letters.as_str();
                letters = "".chars();
                if rest.is_empty() {
                    next_value(command, &letter.to_string(), kind, words)?
                } else {
                    // The usage lines write -w=WEIGHT, so that people type it.
                    rest.strip_prefix('=').unwrap_or(rest).to_owned()
                }
            }
        };
        parsed.options.push((*option, value));
    }
    Ok(false)
}

fn next_value(
    command: &'static Command,
    shown: &str,
    kind: &str,
    words: &mut Words<'_>,
) -> Result<String, Failure> {
    let missing = || usage(command, format!("option `{shown}' needs a value: {kind}"));
    words.next().cloned().ok_or_else(missing)
}

fn check_operands(parsed: &Parsed) -> Result<(), Failure> {
    let command = parsed.command;
    let given = parsed.operands.len();
    if given < command.needs {
        let plural = if command.needs == 1 { "" } else { "s" };
        return Err(usage(
            command,
            format!("'xl {}' requires at least {} argument{plural}.", command.name, command.needs),
        ));
    }
    if given > command.takes {
        let extra = parsed.operand(command.takes);
        return Err(usage(
            command,
            format!("'xl {}' takes no such argument: {extra}", command.name),
        ));
    }
    Ok(())
}

fn usage(command: &'static Command, what: String) -> Failure {
    Failure::new(what)
        .help(format!("xl help {} says what it takes", command.name))
        .code(code::USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{self, Lookup};

    fn command(name: &str) -> &'static Command {
        match table::find(name) {
            Lookup::Found(command) => command,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn parse_words(name: &str, words: &[&str]) -> Result<Parsed, Failure> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        match parse(command(name), &words)? {
            Outcome::Run(parsed) => Ok(parsed),
            Outcome::Help => panic!("help"),
        }
    }

    #[test]
    fn letters_may_stand_in_one_cluster_and_after_operands() {
        let parsed = parse_words("list", &["guest", "-vc"]).unwrap();
        assert!(parsed.flag("verbose") && parsed.flag("cpupool") && !parsed.flag("numa"));
        assert_eq!(parsed.operands, ["guest"]);
    }

    #[test]
    fn a_value_may_follow_its_letter_at_once_or_as_the_next_word() {
        for words in [&["-d", "g", "-w", "512"][..], &["-dg", "-w512"], &["-d=g", "-w=512"]] {
            let parsed = parse_words("sched-credit2", words).unwrap();
            assert_eq!(parsed.value("domain"), Some("g"));
            assert_eq!(parsed.value("weight"), Some("512"));
        }
    }

    #[test]
    fn long_words_take_values_and_may_be_shortened() {
        let parsed = parse_words("sched-credit2", &["--dom=g", "--weight", "7"]).unwrap();
        assert_eq!((parsed.value("domain"), parsed.value("weight")), (Some("g"), Some("7")));
    }

    #[test]
    fn what_follows_two_dashes_is_no_option() {
        let parsed = parse_words("create", &["--", "-n"]).unwrap();
        assert_eq!(parsed.operands, ["-n"]);
        assert!(!parsed.flag("dryrun"));
    }

    #[test]
    fn a_single_dash_is_an_operand() {
        let parsed = parse_words("vcpu-pin", &["g", "0", "-", "1"]).unwrap();
        assert_eq!(parsed.operands, ["g", "0", "-", "1"]);
    }

    #[test]
    fn an_unknown_letter_is_named_as_xens_xl_names_it() {
        let failure = parse_words("list", &["-Q"]).unwrap_err();
        assert_eq!((failure.what.as_str(), failure.code), ("option `Q' not supported.", 2));
    }

    #[test]
    fn an_unknown_word_is_named_and_the_nearest_suggested() {
        let failure = parse_words("list", &["--verbsoe"]).unwrap_err();
        assert_eq!((failure.what.as_str(), failure.code), ("option `--verbsoe' not supported.", 2));
        assert_eq!(failure.help.as_deref(), Some("did you mean --verbose?"));
    }

    #[test]
    fn a_shortened_word_that_fits_two_is_refused_with_both() {
        let failure = parse_words("create", &["--vnc"]).unwrap_err();
        assert_eq!(failure.what, "option `--vnc' could be --vncviewer or --vncviewer-autopass");
    }

    #[test]
    fn a_missing_value_and_one_too_many_are_told() {
        let failure = parse_words("create", &["-f"]).unwrap_err();
        assert_eq!(failure.what, "option `f' needs a value: FILE");
        let failure = parse_words("list", &["--long=5"]).unwrap_err();
        assert_eq!(failure.what, "option `--long' takes no value");
    }

    #[test]
    fn too_few_operands_are_told_as_xens_xl_tells_it() {
        let failure = parse_words("domid", &[]).unwrap_err();
        assert_eq!(failure.what, "'xl domid' requires at least 1 argument.");
        assert_eq!(failure.code, 2);
        let failure = parse_words("rename", &["a"]).unwrap_err();
        assert_eq!(failure.what, "'xl rename' requires at least 2 arguments.");
    }

    #[test]
    fn an_operand_too_many_is_named() {
        let failure = parse_words("pause", &["a", "b"]).unwrap_err();
        assert_eq!(failure.what, "'xl pause' takes no such argument: b");
    }

    #[test]
    fn help_is_found_as_letter_and_word_wherever_it_stands() {
        for words in [&["-h"][..], &["--help"], &["x", "-lh"]] {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            assert!(matches!(parse(command("list"), &words), Ok(Outcome::Help)));
        }
    }

    #[test]
    fn json_is_taken_by_what_lists_and_by_nothing_else() {
        assert!(parse_words("list", &["--json"]).unwrap().json());
        assert!(parse_words("pause", &["--json", "x"]).is_err());
    }
}
