//! What the tools are called with: the name, options as GNU's getopt takes them, then words.

use std::fmt;

/// The tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Values.
    Read,
    /// Set values.
    Write,
    /// Names of children.
    List,
    /// Remove.
    Rm,
    /// The tree.
    Ls,
    /// Whether nodes exist.
    Exists,
    /// Wait for changes.
    Watch,
    /// Permissions.
    Chmod,
    /// Commands to the daemon.
    Control,
}

impl Mode {
    /// The tool of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "read" => Self::Read,
            "write" => Self::Write,
            "list" => Self::List,
            "rm" => Self::Rm,
            "ls" => Self::Ls,
            "exists" => Self::Exists,
            "watch" => Self::Watch,
            "chmod" => Self::Chmod,
            "control" => Self::Control,
            _ => return None,
        })
    }

    /// Options, but for `s` and `h`, which all take.
    const fn letters(self) -> &'static str {
        match self {
            Self::Read => "pR",
            Self::Write => "R",
            Self::List | Self::Exists => "p",
            Self::Rm => "t",
            Self::Ls => "fp",
            Self::Watch => "n",
            Self::Chmod => "ur",
            Self::Control => "",
        }
    }

    const fn usage(self) -> &'static str {
        match self {
            Self::Read => "read [-h] [-p] [-R] key [...]",
            Self::Write => "write [-h] [-R] key value [...]",
            Self::List => "list [-h] [-p] key [...]",
            Self::Rm => "rm [-h] [-t] key [...]",
            Self::Ls => "ls [-h] [-f] [-p] [path]",
            Self::Exists => "exists [-h] [-p] key [...]",
            Self::Watch => "watch [-h] [-n NR] key",
            Self::Chmod => "chmod [-h] [-u] [-r] key <mode [modes...]>",
            Self::Control => "control <command> [<arg>...]",
        }
    }
}

/// The program's name, and how usage spells the tool.
#[derive(Clone, Debug)]
pub struct Name {
    /// As errors begin.
    pub program: String,
    /// Whether the tool is in the name, or is the first word.
    pub combined: bool,
    /// The tool.
    pub mode: Mode,
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub name: Name,
    /// `-p`: paths before values; for `ls`, permissions.
    pub prefix: bool,
    /// `-f`: whole paths.
    pub flat: bool,
    /// `-R`: bytes as they are.
    pub raw: bool,
    /// `-t`: remove parents that are left empty.
    pub tidy: bool,
    /// `-u`: parents, too.
    pub upto: bool,
    /// `-r`: all below, too.
    pub recurse: bool,
    /// `-n`: events to wait for.
    pub number: Option<i64>,
    /// The rest.
    pub words: Vec<String>,
}

/// A message that ends the program with 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const LONG: &[(&str, char)] = &[
    ("help", 'h'),
    ("flat", 'f'),
    ("socket", 's'),
    ("prefix", 'p'),
    ("tidy", 't'),
    ("upto", 'u'),
    ("recurse", 'r'),
    ("number", 'n'),
    ("raw", 'R'),
];

/// Finds the tool: in the program's name, or as the first word.
///
/// # Errors
/// The message for standard error.
pub fn find(words: &mut Vec<String>) -> Result<Name, Failure> {
    let first = if words.is_empty() { String::new() } else { words.remove(0) };
    let program = first.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(mode) = program.strip_prefix("xenstore-").and_then(Mode::from_name) {
        return Ok(Name { program, combined: false, mode });
    }
    if words.is_empty() {
        return Err(Failure(format!("{program}: Usage: {program} <mode> [-h] [...]")));
    }
    let tool = words.remove(0);
    match Mode::from_name(&tool) {
        Some(mode) => Ok(Name { program, combined: true, mode }),
        None => Err(Failure(format!("{program}: unknown mode {tool}\n"))),
    }
}

impl Name {
    /// How the tool is used, as an error.
    #[must_use]
    pub fn usage(&self) -> Failure {
        let Self { program, combined, mode } = self;
        let rest = mode.usage();
        let tail = if *combined {
            format!(" {rest}")
        } else {
            // The tool's word is in the program's name already.
            rest.find(' ').and_then(|at| rest.get(at..)).unwrap_or_default().to_owned()
        };
        Failure(format!("{program}: Usage: {program}{tail}"))
    }
}

/// Reads options; they may stand between words, until `--`.
///
/// # Errors
/// The usage. What getopt would complain of on the way goes to `complain`.
pub fn parse(
    name: Name,
    words: Vec<String>,
    complain: &mut dyn FnMut(String),
) -> Result<Options, Failure> {
    let mut options = Options {
        name,
        prefix: false,
        flat: false,
        raw: false,
        tidy: false,
        upto: false,
        recurse: false,
        number: None,
        words: Vec::new(),
    };
    let program = options.name.program.clone();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            options.words.extend(words);
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (key, value) = long.split_once('=').map_or((long, None), |(k, v)| (k, Some(v)));
            match long_option(key) {
                Some('n') => match value.map(str::to_owned).or_else(|| words.next()) {
                    Some(value) => options.set('n', &value)?,
                    None => {
                        complain(format!("{program}: option '--number' requires an argument"));
                    }
                },
                Some(letter) => options.set(letter, "")?,
                None => complain(format!("{program}: unrecognized option '--{long}'")),
            }
        } else if let Some(short) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            let mut rest = short.chars();
            while let Some(letter) = rest.next() {
                if letter == 'n' {
                    let own = rest.as_str().to_owned();
                    let value = if own.is_empty() { words.next() } else { Some(own) };
                    match value {
                        Some(value) => options.set('n', &value)?,
                        None => complain(format!("{program}: option requires an argument -- 'n'")),
                    }
                    break;
                }
                if "hfspturR".contains(letter) {
                    options.set(letter, "")?;
                } else {
                    complain(format!("{program}: invalid option -- '{letter}'"));
                }
            }
        } else {
            options.words.push(word);
        }
    }
    options.check()
}

/// The letter of a long option, which may be shortened.
fn long_option(key: &str) -> Option<char> {
    let exact = LONG.iter().find(|(name, _)| *name == key);
    let mut short = LONG.iter().filter(|(name, _)| name.starts_with(key) && !key.is_empty());
    let (one, more) = (short.next(), short.next());
    exact.or(if more.is_none() { one } else { None }).map(|(_, letter)| *letter)
}

impl Options {
    fn set(&mut self, letter: char, value: &str) -> Result<(), Failure> {
        if letter == 's' {
            // Once: only by the socket. It is tried first in any case.
            return Ok(());
        }
        if letter == 'h' || !self.name.mode.letters().contains(letter) {
            return Err(self.name.usage());
        }
        match letter {
            'p' => self.prefix = true,
            'f' => self.flat = true,
            'R' => self.raw = true,
            't' => self.tidy = true,
            'u' => self.upto = true,
            'r' => self.recurse = true,
            _ => {
                let digits: String =
                    value.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
                self.number = Some(digits.parse().unwrap_or(0));
            }
        }
        Ok(())
    }

    fn check(self) -> Result<Self, Failure> {
        let count = self.words.len();
        let wrong = match self.name.mode {
            Mode::Ls | Mode::Control => false,
            Mode::Write => count == 0 || count % 2 == 1,
            _ => count == 0,
        };
        if wrong { Err(self.name.usage()) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<(Options, Vec<String>), Failure> {
        let mut words = line.split(' ').map(str::to_owned).collect();
        let name = find(&mut words)?;
        let mut said = Vec::new();
        parse(name, words, &mut |line| said.push(line)).map(|options| (options, said))
    }

    #[test]
    fn a_tool_is_found_in_the_name_or_after_it() {
        let (options, _) = of("/usr/bin/xenstore-ls -f /a").unwrap();
        assert!(options.flat && options.name.mode == Mode::Ls);
        assert_eq!(options.words, ["/a"]);
        let (options, _) = of("xenstore read -p /a --raw").unwrap();
        assert!(options.prefix && options.raw && options.name.mode == Mode::Read);
    }

    #[test]
    fn usage_is_as_xens_tools_say_it() {
        let usage = |line| of(line).err().map(|failure| failure.0);
        assert_eq!(
            usage("xenstore-read"),
            Some("xenstore-read: Usage: xenstore-read [-h] [-p] [-R] key [...]".into())
        );
        assert_eq!(
            usage("xenstore ls -h"),
            Some("xenstore: Usage: xenstore ls [-h] [-f] [-p] [path]".into())
        );
        assert_eq!(usage("xenstore"), Some("xenstore: Usage: xenstore <mode> [-h] [...]".into()));
        assert_eq!(usage("xenstore foo"), Some("xenstore: unknown mode foo\n".into()));
        assert!(usage("xenstore-rm -p /a").is_some());
        assert!(usage("xenstore-write a b c").is_some());
    }

    #[test]
    fn an_option_that_is_none_is_said_and_passed_over() {
        let (options, said) = of("xenstore-ls -z /a").unwrap();
        assert_eq!(said, ["xenstore-ls: invalid option -- 'z'"]);
        assert_eq!(options.words, ["/a"]);
    }
}
