//! The command line, with the options of Xen's daemon.

use crate::quota::{Quota, Quotas};
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the process' number is written.
    pub pid_file: Option<PathBuf>,
    /// Stay in the foreground.
    pub no_fork: bool,
    /// This process is the one that another started for the background.
    pub detached: bool,
    /// Do without dom0's ring and without a hypervisor: for tests on any machine.
    pub no_domain_init: bool,
    /// Where requests are traced.
    pub trace_file: Option<String>,
    /// Print the options.
    pub help: bool,
    /// The limits.
    pub quotas: Quotas,
}

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// An option that does not exist.
    #[error("unknown option {0:?}; --help lists them")]
    Unknown(String),
    /// An option of Xen's daemon that this one does not have.
    #[error("the option {0} is not implemented")]
    NotImplemented(String),
    /// Its value is missing.
    #[error("the option {0} needs a value")]
    Missing(String),
    /// Its value is not a number.
    #[error("invalid parameter value {1:?} of the option {0}")]
    Value(String, String),
    /// A quota that does not exist.
    #[error("unknown quota {0:?}; there are: {names}", names = quota_names())]
    Quota(String),
    /// An argument that is no option.
    #[error("{0}: No arguments desired")]
    Argument(String),
}

fn quota_names() -> String {
    Quota::ALL.iter().map(|quota| quota.name()).collect::<Vec<_>>().join(", ")
}

/// The options, for `--help`.
pub const USAGE: &str = "usage: xenstored [options]
  -F, --pid-file <file>      write the daemon's process number to this file
  -N, --no-fork              stay in the foreground
  -T, --trace-file <file>    trace requests and answers to this file
  -E, --entry-nb <nb>        quota nodes
  -S, --entry-size <bytes>   quota node-size
  -W, --watch-nb <nb>        quota watches
  -t, --transaction <nb>     quota transactions
  -A, --perm-nb <nb>         quota node-permissions
  -M, --path-max <chars>     quota path-length
  -Q, --quota <what>=<nb>    any quota: transaction-nodes, memory, nodes, node-permissions,
                             node-size, outstanding, path-length, transactions, watches
  -q, --quota-soft memory=<bytes>  log when a domain uses more
      --no-domain-init       serve the socket only, without a hypervisor
  -H, --help                 this text
Quotas hold for each domain but dom0; 0 is no limit. XENSTORED_PATH or XENSTORED_RUNDIR say
where the socket is.
";

const LONG: &[(&str, char)] = &[
    ("pid-file", 'F'),
    ("help", 'H'),
    ("no-fork", 'N'),
    ("trace-file", 'T'),
    ("entry-nb", 'E'),
    ("entry-size", 'S'),
    ("watch-nb", 'W'),
    ("transaction", 't'),
    ("perm-nb", 'A'),
    ("path-max", 'M'),
    ("quota", 'Q'),
    ("quota-soft", 'q'),
    ("timeout", 'w'),
    ("keep-orphans", 'K'),
    ("live-update", 'U'),
    ("no-domain-init", 'D'),
    ("detached", '!'),
    ("trace-control", 'c'),
    ("master-domid", 'm'),
    ("priv-domid", 'p'),
];

const WITH_VALUE: &str = "FTESWtAMQqwcmp";

/// Reads the arguments (without the program's name).
///
/// # Errors
/// The first that is wrong.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, Error> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if let Some(long) = argument.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let found = LONG.iter().find(|(of, _)| *of == name);
            let (_, letter) = found.ok_or_else(|| Error::Unknown(argument.clone()))?;
            set(&mut options, *letter, &format!("--{name}"), value, &mut arguments)?;
        } else if let Some(short) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            let mut rest = short;
            while let Some(letter) = rest.chars().next() {
                rest = rest.get(letter.len_utf8()..).unwrap_or_default();
                let takes = WITH_VALUE.contains(letter) && letter != 'c';
                let value = (takes && !rest.is_empty()).then(|| rest.to_owned());
                set(&mut options, letter, &format!("-{letter}"), value, &mut arguments)?;
                if takes {
                    break;
                }
            }
        } else {
            return Err(Error::Argument(argument));
        }
    }
    Ok(options)
}

fn set(
    options: &mut Options,
    letter: char,
    name: &str,
    value: Option<String>,
    more: &mut dyn Iterator<Item = String>,
) -> Result<(), Error> {
    let value = if WITH_VALUE.contains(letter) {
        value.or_else(|| more.next()).ok_or_else(|| Error::Missing(name.to_owned()))?
    } else {
        String::new()
    };
    let quota = match letter {
        'F' => {
            options.pid_file = Some(value.into());
            return Ok(());
        }
        'T' => {
            options.trace_file = Some(value);
            return Ok(());
        }
        'N' => {
            options.no_fork = true;
            return Ok(());
        }
        'D' => {
            options.no_domain_init = true;
            return Ok(());
        }
        'H' => {
            options.help = true;
            return Ok(());
        }
        '!' => {
            options.detached = true;
            return Ok(());
        }
        'Q' | 'q' => return set_quota(options, letter == 'q', name, &value),
        'E' => Quota::Nodes,
        'S' => Quota::NodeSize,
        'W' => Quota::Watches,
        't' => Quota::Transactions,
        'A' => Quota::NodePermissions,
        'M' => Quota::PathLength,
        'w' | 'K' | 'U' | 'c' | 'm' | 'p' => return Err(Error::NotImplemented(name.to_owned())),
        _ => return Err(Error::Unknown(name.to_owned())),
    };
    options.quotas.set(quota, limit(name, &value)?);
    Ok(())
}

/// `<what>=<nb>`; of soft quotas there is one.
fn set_quota(options: &mut Options, soft: bool, name: &str, value: &str) -> Result<(), Error> {
    let (what, number) = value.split_once('=').unwrap_or((value, ""));
    let quota = Quota::from_name(what).filter(|quota| !soft || *quota == Quota::Memory);
    let quota = quota.ok_or_else(|| Error::Quota(what.to_owned()))?;
    let limit = limit(name, number)?;
    if soft {
        options.quotas.soft_memory = limit;
    } else {
        options.quotas.set(quota, limit);
    }
    Ok(())
}

fn limit(name: &str, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::Value(name.to_owned(), text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<Options, Error> {
        parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_of_xens_daemon_mean_the_same() {
        let options =
            of("--pid-file /run/x.pid -N -E 5 -S7 --quota watches=9 -q memory=4 -T t").unwrap();
        assert_eq!(options.pid_file, Some("/run/x.pid".into()));
        assert!(options.no_fork);
        assert_eq!(options.quotas.get(Quota::Nodes), 5);
        assert_eq!(options.quotas.get(Quota::NodeSize), 7);
        assert_eq!(options.quotas.get(Quota::Watches), 9);
        assert_eq!(options.quotas.soft_memory, 4);
        assert_eq!(options.trace_file.as_deref(), Some("t"));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        assert_eq!(of("-K").err(), Some(Error::NotImplemented("-K".into())));
        assert_eq!(of("--frobnicate").err(), Some(Error::Unknown("--frobnicate".into())));
        assert_eq!(of("-Q colour=1").err(), Some(Error::Quota("colour".into())));
        assert_eq!(of("-E").err(), Some(Error::Missing("-E".into())));
        assert_eq!(of("-E many").err(), Some(Error::Value("-E".into(), "many".into())));
        assert_eq!(of("now").err(), Some(Error::Argument("now".into())));
    }
}
