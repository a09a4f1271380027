//! Command lines as the C tools read them: short options in clusters, long ones that may be shortened,
//! `--` ends them, and they may stand between other arguments.

/// One option of a program.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its letter, if it has one.
    pub short: Option<char>,
    /// Its long name.
    pub long: &'static str,
    /// Whether a value follows.
    pub value: bool,
}

/// What stands on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// An option by its long name, with its value if it takes one.
    Option(&'static str, Option<String>),
    /// Anything else.
    Plain(String),
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such option.
    #[error("unrecognized option '{0}'")]
    Unknown(String),
    /// The beginning of several long options.
    #[error("option '{0}' is ambiguous; it could be {1}")]
    Ambiguous(String, String),
    /// Its value is missing.
    #[error("option '{0}' requires an argument")]
    NoValue(String),
    /// It takes no value.
    #[error("option '{0}' doesn't allow an argument")]
    Value(String),
}

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// The first that is wrong.
pub fn parse(specs: &[Spec], arguments: &[String]) -> Result<Vec<Argument>, Error> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            found.extend(rest.cloned().map(Argument::Plain));
            break;
        } else if let Some(long) = argument.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let spec = long_option(specs, name)?;
            let value = match (spec.value, value) {
                (false, Some(_)) => return Err(Error::Value(format!("--{}", spec.long))),
                (true, None) => {
                    let next = rest.next().cloned();
                    Some(next.ok_or_else(|| Error::NoValue(format!("--{}", spec.long)))?)
                }
                (_, value) => value,
            };
            found.push(Argument::Option(spec.long, value));
        } else if let Some(letters) = argument.strip_prefix('-').filter(|l| !l.is_empty()) {
            cluster(specs, letters, &mut rest, &mut found)?;
        } else {
            found.push(Argument::Plain(argument.clone()));
        }
    }
    Ok(found)
}

fn long_option(specs: &[Spec], name: &str) -> Result<Spec, Error> {
    if let Some(spec) = specs.iter().find(|s| s.long == name) {
        return Ok(*spec);
    }
    let fits: Vec<&Spec> = specs.iter().filter(|s| s.long.starts_with(name)).collect();
    match fits.as_slice() {
        [] => Err(Error::Unknown(format!("--{name}"))),
        [one] => Ok(**one),
        several => {
            let names: Vec<String> = several.iter().map(|s| format!("--{}", s.long)).collect();
            Err(Error::Ambiguous(format!("--{name}"), names.join(" or ")))
        }
    }
}

fn cluster<'a>(
    specs: &[Spec],
    letters: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    found: &mut Vec<Argument>,
) -> Result<(), Error> {
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        let spec = specs.iter().find(|s| s.short == Some(letter));
        let spec = spec.ok_or_else(|| Error::Unknown(format!("-{letter}")))?;
        if !spec.value {
            found.push(Argument::Option(spec.long, None));
            continue;
        }
        let joined = letters.as_str();
        let value = if joined.is_empty() { rest.next().cloned() } else { Some(joined.to_owned()) };
        let value = value.ok_or_else(|| Error::NoValue(format!("-{letter}")))?;
        found.push(Argument::Option(spec.long, Some(value)));
        break;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[Spec] = &[
        Spec { short: Some('i'), long: "interactive", value: false },
        Spec { short: Some('v'), long: "verbose", value: false },
        Spec { short: Some('n'), long: "num", value: true },
        Spec { short: None, long: "log", value: true },
        Spec { short: None, long: "log-dir", value: true },
    ];

    fn read(line: &str) -> Result<Vec<Argument>, Error> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(SPECS, &words)
    }

    fn option(name: &'static str, value: &str) -> Argument {
        Argument::Option(name, Some(value.to_owned()))
    }

    #[test]
    fn values_may_be_joined_or_follow_and_names_be_shortened() {
        let all = read("-iv -n3 5 --num 4 --log=all --log-d /x --inter -n 7 -- -v").unwrap();
        let plain = |s: &str| Argument::Plain(s.to_owned());
        let expected = vec![
            Argument::Option("interactive", None),
            Argument::Option("verbose", None),
            option("num", "3"),
            plain("5"),
            option("num", "4"),
            option("log", "all"),
            option("log-dir", "/x"),
            Argument::Option("interactive", None),
            option("num", "7"),
            plain("-v"),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, message) in [
            ("-x", "unrecognized option '-x'"),
            ("--colour", "unrecognized option '--colour'"),
            ("--lo=all", "option '--lo' is ambiguous; it could be --log or --log-dir"),
            ("--num", "option '--num' requires an argument"),
            ("-vn", "option '-n' requires an argument"),
            ("--verbose=1", "option '--verbose' doesn't allow an argument"),
        ] {
            assert_eq!(read(line).unwrap_err().to_string(), message);
        }
    }
}
