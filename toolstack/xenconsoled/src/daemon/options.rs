//! The daemon's command line.

use std::path::PathBuf;

use crate::backlog::Overflow;
use crate::getopt::{self, Argument, Spec};

/// Where logs go unless said otherwise.
pub const LOG_DIRECTORY: &str = "/var/log/xen/console";
/// Where the process's number is kept unless said otherwise.
pub const PID_FILE: &str = "/var/run/xen/xenconsoled.pid";

/// Guests, the hypervisor, both or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// The guests'.
    pub guests: bool,
    /// The hypervisor's.
    pub hypervisor: bool,
}

/// What the daemon is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tell more.
    pub verbose: bool,
    /// Stay in the foreground, messages to stderr.
    pub interactive: bool,
    /// Whose output is logged.
    pub log: Which,
    /// Whose logs have times.
    pub timestamps: Which,
    /// Where logs go.
    pub log_directory: PathBuf,
    /// Where the process's number is kept, and locked.
    pub pid_file: PathBuf,
    /// What happens to output that nobody reads.
    pub overflow: Overflow,
    /// ESC becomes a dot in logs.
    pub replace_escape: bool,
    /// This is the process that stays, started by one that waits for it.
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verbose: false,
            interactive: false,
            log: Which::default(),
            timestamps: Which::default(),
            log_directory: LOG_DIRECTORY.into(),
            pid_file: PID_FILE.into(),
            overflow: Overflow::Discard,
            replace_escape: false,
            background: false,
        }
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To run.
    Run(Options),
    /// How it is used.
    Help,
    /// Its version.
    Version,
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option itself.
    #[error(transparent)]
    Option(#[from] getopt::Error),
    /// An option's value.
    #[error("--{option}={value}: must be one of {allowed}")]
    Value {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// There are no other arguments.
    #[error("unexpected argument '{0}'")]
    Extra(String),
}

/// The option that marks the process that stays.
pub const BACKGROUND: &str = "background-child";

const SPECS: &[Spec] = &[
    Spec { short: Some('h'), long: "help", value: false },
    Spec { short: Some('V'), long: "version", value: false },
    Spec { short: Some('v'), long: "verbose", value: false },
    Spec { short: Some('i'), long: "interactive", value: false },
    Spec { short: None, long: "log", value: true },
    Spec { short: None, long: "log-dir", value: true },
    Spec { short: None, long: "pid-file", value: true },
    Spec { short: Some('t'), long: "timestamp", value: true },
    Spec { short: Some('o'), long: "overflow-data", value: true },
    Spec { short: None, long: "replace-escape", value: false },
    Spec { short: None, long: BACKGROUND, value: false },
];

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// The first that is wrong.
pub fn parse(arguments: &[String]) -> Result<Request, Error> {
    let mut options = Options::default();
    for argument in getopt::parse(SPECS, arguments)? {
        let (name, value) = match argument {
            Argument::Option(name, value) => (name, value.unwrap_or_default()),
            Argument::Plain(word) => return Err(Error::Extra(word)),
        };
        match name {
            "help" => return Ok(Request::Help),
            "version" => return Ok(Request::Version),
            "verbose" => options.verbose = true,
            "interactive" => options.interactive = true,
            "log" => options.log = which("log", value)?,
            "timestamp" => options.timestamps = which("timestamp", value)?,
            "log-dir" => options.log_directory = value.into(),
            "pid-file" => options.pid_file = value.into(),
            "overflow-data" => {
                options.overflow = match value.as_str() {
                    "discard" => Overflow::Discard,
                    "keep" => Overflow::Keep,
                    _ => {
                        let (option, allowed) = ("overflow-data", "discard, keep");
                        return Err(Error::Value { option, value, allowed });
                    }
                }
            }
            "replace-escape" => options.replace_escape = true,
            _ => options.background = true,
        }
    }
    Ok(Request::Run(options))
}

fn which(option: &'static str, value: String) -> Result<Which, Error> {
    match value.as_str() {
        "none" => Ok(Which { guests: false, hypervisor: false }),
        "guest" => Ok(Which { guests: true, hypervisor: false }),
        "hv" => Ok(Which { guests: false, hypervisor: true }),
        "all" => Ok(Which { guests: true, hypervisor: true }),
        _ => Err(Error::Value { option, value, allowed: "none, guest, hv, all" }),
    }
}

/// How the program is used.
#[must_use]
pub fn usage(program: &str) -> String {
    format!(
        "Usage: {program} [-h] [-V] [-v] [-i] [--log=none|guest|hv|all] [--log-dir=DIR] \
         [--pid-file=PATH] [-t, --timestamp=none|guest|hv|all] \
         [-o, --overflow-data=discard|keep] [--replace-escape]\n\
         \x20 --log             whose output is appended to files: guest-NAME.log, hypervisor.log\n\
         \x20 --log-dir         where those are ({LOG_DIRECTORY})\n\
         \x20 --timestamp       whose log lines begin with the time\n\
         \x20 --overflow-data   what nobody reads: discard the oldest, or make the guest wait\n\
         \x20 --replace-escape  a dot for each ESC in logs\n\
         \x20 --pid-file        where the process's number is kept ({PID_FILE})\n\
         \x20 -i, --interactive stay in the foreground\n\
         SIGHUP makes it open its logs anew.\n"
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
    fn the_lines_of_units_and_init_scripts_are_understood() {
        let line = "--log=all --log-dir=/l --pid-file=/p -t guest -o keep --replace-escape -vi";
        let expected = Options {
            verbose: true,
            interactive: true,
            log: Which { guests: true, hypervisor: true },
            timestamps: Which { guests: true, hypervisor: false },
            log_directory: "/l".into(),
            pid_file: "/p".into(),
            overflow: Overflow::Keep,
            replace_escape: true,
            background: false,
        };
        assert_eq!(read(line), Ok(Request::Run(expected)));
        assert_eq!(read(""), Ok(Request::Run(Options::default())));
        assert_eq!(read("-i --help"), Ok(Request::Help));
        assert_eq!(read("-V"), Ok(Request::Version));
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_it_may_be() {
        for (line, message) in [
            ("--log=guests", "--log=guests: must be one of none, guest, hv, all"),
            ("-t yes", "--timestamp=yes: must be one of none, guest, hv, all"),
            ("-o drop", "--overflow-data=drop: must be one of discard, keep"),
            ("start", "unexpected argument 'start'"),
            ("--timestamps", "unrecognized option '--timestamps'"),
        ] {
            assert_eq!(read(line).unwrap_err().to_string(), message);
        }
    }
}
