//! The client's command line.

use crate::getopt::{self, Argument, Spec};

/// What kind of console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The paravirtual one.
    Pv,
    /// An emulated serial port.
    Serial,
    /// An emulated serial port of Arm.
    Vuart,
}

/// What to attach to and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The domain.
    pub domid: u16,
    /// Which of its consoles of that kind.
    pub number: u32,
    /// Which kind; `None` for the emulated serial port if the domain has one, else the paravirtual one.
    pub kind: Option<Kind>,
    /// The byte that leaves.
    pub escape: u8,
    /// A descriptor of this process to which a zero byte is written once attached.
    pub start_notify_fd: Option<u32>,
    /// Read stdin even where it or stdout is not a terminal.
    pub interactive: bool,
}

/// Ctrl-].
pub const ESCAPE: u8 = 0x1d;

impl Options {
    /// A domain's first console, as `xl console` opens it.
    #[must_use]
    pub const fn new(domid: u16) -> Self {
        Self {
            domid,
            number: 0,
            kind: None,
            escape: ESCAPE,
            start_notify_fd: None,
            interactive: false,
        }
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To attach.
    Attach(Options),
    /// How it is used.
    Help,
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option itself.
    #[error("Invalid argument: {0}")]
    Option(#[from] getopt::Error),
    /// `--type`.
    #[error("Invalid type argument `{0}'; console types supported are: serial, pv, vuart")]
    Kind(String),
    /// `--escape`.
    #[error("Invalid escape argument `{0}': one character, or ^ and one for Ctrl with it")]
    Escape(String),
    /// `--num` or `--start-notify-fd`.
    #[error("Invalid argument: --{0}={1} is not a number")]
    Number(&'static str, String),
    /// No domain.
    #[error("DOMID should be specified")]
    NoDomain,
    /// Not a domain.
    #[error("Invalid DOMID `{0}'")]
    Domain(String),
    /// dom0 has no console of this kind.
    #[error("Can't specify Domain-0")]
    Dom0,
    /// More than one.
    #[error("Invalid argument: `{0}' after DOMID")]
    Extra(String),
}

const SPECS: &[Spec] = &[
    Spec { short: None, long: "type", value: true },
    Spec { short: Some('n'), long: "num", value: true },
    Spec { short: Some('h'), long: "help", value: false },
    Spec { short: None, long: "start-notify-fd", value: true },
    Spec { short: None, long: "interactive", value: false },
    Spec { short: None, long: "escape", value: true },
];

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// The first that is wrong.
pub fn parse(arguments: &[String]) -> Result<Request, Error> {
    let mut options = Options::new(0);
    let mut domain = None;
    for argument in getopt::parse(SPECS, arguments)? {
        match argument {
            Argument::Plain(word) if domain.is_none() => domain = Some(word),
            Argument::Plain(word) => return Err(Error::Extra(word)),
            Argument::Option("help", _) => return Ok(Request::Help),
            Argument::Option("interactive", _) => options.interactive = true,
            Argument::Option(name, value) => {
                let value = value.unwrap_or_default();
                let number = |value: String| value.parse().map_err(|_| Error::Number(name, value));
                match name {
                    "type" => options.kind = Some(kind(value)?),
                    "num" => options.number = number(value)?,
                    "escape" => options.escape = escape(&value).ok_or(Error::Escape(value))?,
                    _ => options.start_notify_fd = Some(number(value)?),
                }
            }
        }
    }
    let domain = domain.ok_or(Error::NoDomain)?;
    options.domid = match domain.parse() {
        Ok(0) => return Err(Error::Dom0),
        // Numbers from 0x7ff0 on are the hypervisor's own.
        Ok(domid) if domid < 0x7ff0 => domid,
        _ => return Err(Error::Domain(domain)),
    };
    Ok(Request::Attach(options))
}

fn kind(word: String) -> Result<Kind, Error> {
    match word.as_str() {
        "pv" => Ok(Kind::Pv),
        "serial" => Ok(Kind::Serial),
        "vuart" => Ok(Kind::Vuart),
        _ => Err(Error::Kind(word)),
    }
}

/// The byte that an escape's name means: `x` itself, `^x` for Ctrl with it.
#[must_use]
pub fn escape(word: &str) -> Option<u8> {
    match word.as_bytes() {
        [byte] => Some(*byte),
        [b'^', byte] => Some(byte & 0x1f),
        _ => None,
    }
}

/// How a user types an escape.
#[must_use]
pub fn escape_name(byte: u8) -> String {
    match byte {
        0..0x20 => format!("Ctrl-{}", char::from(byte | 0x40)),
        _ => format!("{:?}", char::from(byte)),
    }
}

/// How the program is used.
#[must_use]
pub fn usage(program: &str) -> String {
    format!(
        "Usage: {program} [OPTION] DOMID\n\
         Connects the terminal with a domain's console; Ctrl-] leaves.\n\n\
         \x20 -h, --help             this text\n\
         \x20 -n, --num N            the console of this number\n\
         \x20 --type TYPE            the kind of console: pv, serial or vuart\n\
         \x20 --escape E             what leaves: a character, or ^ and one\n\
         \x20 --interactive          read stdin even where it is no terminal\n\
         \x20 --start-notify-fd N    write a zero byte there once attached\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, Error> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn what_xl_passes_is_understood() {
        let line = "5 --num 0 --type pv --start-notify-fd 7 --escape ^5 --interactive";
        let expected = Options {
            domid: 5,
            number: 0,
            kind: Some(Kind::Pv),
            escape: b'5' & 0x1f,
            start_notify_fd: Some(7),
            interactive: true,
        };
        assert_eq!(read(line), Ok(Request::Attach(expected)));
        assert_eq!(read("5"), Ok(Request::Attach(Options::new(5))));
        assert_eq!(escape("^]"), Some(ESCAPE));
        assert_eq!(escape("q"), Some(b'q'));
        assert_eq!(escape("^"), Some(b'^'));
        assert_eq!(escape_name(ESCAPE), "Ctrl-]");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, message) in [
            ("", "DOMID should be specified"),
            ("abc", "Invalid DOMID `abc'"),
            ("40000", "Invalid DOMID `40000'"),
            ("0", "Can't specify Domain-0"),
            ("5 6", "Invalid argument: `6' after DOMID"),
            ("5 -V", "Invalid argument: unrecognized option '-V'"),
            ("5 -n x", "Invalid argument: --num=x is not a number"),
            (
                "5 --type tty",
                "Invalid type argument `tty'; console types supported are: serial, pv, vuart",
            ),
            (
                "5 --escape ^AB",
                "Invalid escape argument `^AB': one character, or ^ and one for Ctrl with it",
            ),
        ] {
            assert_eq!(read(line).unwrap_err().to_string(), message);
        }
    }
}
