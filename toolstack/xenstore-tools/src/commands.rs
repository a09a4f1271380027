//! The tools but `ls`: each as Xen's, to the byte.

use crate::options::{Mode, Options};
use crate::text::{escape, unescape};
use std::io::{self, Write};
use std::time::Duration;
use xenstore::{Access, Client, Error, Permission, Rights};

/// How long one wait for an event lasts before the next; there is no limit to all of them.
const WATCH_WAIT: Duration = Duration::from_secs(3600);

/// Why a tool ends with 1: what it was doing, and the daemon's answer where that is said.
#[derive(Debug)]
pub enum Failed {
    /// What failed, with the cause in words of the C library.
    Said(String),
    /// Nothing is said.
    Silent,
    /// Standard output cannot be written.
    Output(io::Error),
}

impl Failed {
    /// What failed, and why.
    #[must_use]
    pub fn on(what: String, error: Error) -> Self {
        Self::Said(format!("{what}: {}", reason(&error)))
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// An error as the C library says it.
#[must_use]
pub fn reason(error: &Error) -> String {
    let os = match error {
        Error::NoDaemon { tried } => tried.first().map(|(_, errno)| *errno),
        Error::Connect { source, .. } | Error::Io { source, .. } => Some(*source),
        other => other.errno().map(xenstore::Errno::os),
    };
    match os {
        Some(errno) => {
            let text = io::Error::from(errno).to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
        None => error.to_string(),
    }
}

/// Runs the tool. What it prints collects in `out` also when it fails.
///
/// # Errors
/// Why it ends with 1.
pub fn run(client: &mut Client, options: &Options, out: &mut Vec<u8>) -> Result<(), Failed> {
    match options.name.mode {
        Mode::Ls => crate::ls::ls(client, options, out),
        Mode::Watch => watch(client, options),
        // One request is a transaction by itself.
        Mode::Read | Mode::List | Mode::Exists if options.words.len() == 1 => {
            work(client, options, out)
        }
        Mode::Write if options.words.len() == 2 => work(client, options, out),
        Mode::Rm if options.words.len() == 1 && !options.tidy => work(client, options, out),
        _ => in_transaction(client, options, out),
    }
}

/// What a transaction's work ended with, when not well.
enum Stop {
    Conflict(Error),
    Failed(Failed),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Conflict(error)
    }
}

fn in_transaction(client: &mut Client, options: &Options, out: &mut Vec<u8>) -> Result<(), Failed> {
    let result = client.transaction_with(|transaction| {
        out.clear();
        work(transaction, options, out).map_err(Stop::Failed)
    });
    result.map_err(|stop| match stop {
        Stop::Failed(failed) => failed,
        Stop::Conflict(error) => Failed::on("couldn't end transaction".to_owned(), error),
    })
}

fn work(access: &mut dyn Access, options: &Options, out: &mut Vec<u8>) -> Result<(), Failed> {
    match options.name.mode {
        Mode::Chmod => return chmod(access, options),
        Mode::Write => return write(access, options),
        _ => {}
    }
    for path in &options.words {
        match options.name.mode {
            Mode::Read => read(access, options, path, out)?,
            Mode::List => list(access, options, path, out)?,
            Mode::Rm => rm(access, options, path)?,
            _ => {
                if access.read_bytes(path).is_err() {
                    return Err(Failed::Silent);
                }
            }
        }
    }
    Ok(())
}

fn read(
    access: &mut dyn Access,
    options: &Options,
    path: &str,
    out: &mut Vec<u8>,
) -> Result<(), Failed> {
    let value =
        access.read_bytes(path).map_err(|_| Failed::Said(format!("couldn't read path {path}")))?;
    if options.prefix {
        write!(out, "{path}: ")?;
    }
    if options.raw {
        out.extend_from_slice(&value);
    } else {
        writeln!(out, "{}", escape(&value))?;
    }
    Ok(())
}

fn list(
    access: &mut dyn Access,
    options: &Options,
    path: &str,
    out: &mut Vec<u8>,
) -> Result<(), Failed> {
    let names =
        access.list(path).map_err(|_| Failed::Said(format!("could not list path {path}")))?;
    for name in names {
        if options.prefix {
            write!(out, "{path}/")?;
        }
        writeln!(out, "{name}")?;
    }
    Ok(())
}

fn write(access: &mut dyn Access, options: &Options) -> Result<(), Failed> {
    let mut words = options.words.iter();
    while let (Some(path), Some(text)) = (words.next(), words.next()) {
        let value = if options.raw { text.as_bytes().to_vec() } else { unescape(text.as_bytes()) };
        access
            .write_bytes(path, &value)
            .map_err(|_| Failed::Said(format!("could not write path {path}")))?;
    }
    Ok(())
}

fn rm(access: &mut dyn Access, options: &Options, path: &str) -> Result<(), Failed> {
    let failed = |path: &str| Failed::Said(format!("could not remove path {path}"));
    // Unlike the library, the tool says when there is nothing above it either.
    let request = xenstore::MessageType::Rm;
    access.request(request, path, &[path.as_bytes(), b"\0"]).map_err(|_| failed(path))?;
    let mut path = path;
    while options.tidy
        && let Some(slash) = path.rfind('/').filter(|at| *at > 0)
    {
        path = path.get(..slash).unwrap_or_default();
        let empty = access.list(path).is_ok_and(|names| names.is_empty())
            && access.read_bytes(path).is_ok_and(|value| value.is_empty());
        if !empty {
            break;
        }
        access.rm(path).map_err(|_| failed(path))?;
    }
    Ok(())
}

fn chmod(access: &mut dyn Access, options: &Options) -> Result<(), Failed> {
    let Some((path, modes)) = options.words.split_first() else { return Ok(()) };
    let modes = modes.iter().map(|mode| permission(mode)).collect::<Result<Vec<_>, _>>()?;
    set(access, path, &modes)?;
    if options.recurse {
        set_below(access, path, &modes)?;
    }
    let mut path = path.as_str();
    while options.upto
        && let Some(slash) = path.rfind('/').filter(|at| *at > 0)
    {
        path = path.get(..slash).unwrap_or_default();
        set(access, path, &modes)?;
    }
    Ok(())
}

/// A letter and a number; what is no number is 0, as Xen's tools take it.
fn permission(mode: &str) -> Result<(Rights, i64), Failed> {
    let letter = mode.bytes().next();
    let invalid = || {
        let shown: String = mode.chars().take(1).collect();
        Failed::Said(format!("Invalid permission specification: '{shown}'"))
    };
    let rights = letter.and_then(Rights::from_letter).ok_or_else(invalid)?;
    let digits: String = mode.chars().skip(1).take_while(char::is_ascii_digit).collect();
    Ok((rights, digits.parse().unwrap_or(0)))
}

fn set(access: &mut dyn Access, path: &str, modes: &[(Rights, i64)]) -> Result<(), Failed> {
    let failed = |why: String| {
        Failed::Said(format!("Error occurred setting permissions on '{path}': {why}"))
    };
    let list = modes
        .iter()
        .map(|(rights, domid)| Some(Permission::new(u16::try_from(*domid).ok()?, *rights)))
        .collect::<Option<Vec<_>>>();
    let Some(list) = list else {
        return Err(failed(reason(&Error::Refused {
            request: xenstore::MessageType::SetPerms,
            path: path.to_owned(),
            errno: xenstore::Errno::Invalid,
        })));
    };
    access.set_permissions(path, &list).map_err(|error| failed(reason(&error)))
}

fn set_below(access: &mut dyn Access, path: &str, modes: &[(Rights, i64)]) -> Result<(), Failed> {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let names = access.list(&path).map_err(|error| {
            Failed::on(format!("Error occurred setting permissions on '{path}'"), error)
        })?;
        for name in names.iter().rev() {
            let base = path.strip_suffix('/').unwrap_or(&path);
            let child = format!("{base}/{name}");
            set(access, &child, modes)?;
            waiting.push(child);
        }
    }
    Ok(())
}

fn watch(client: &mut Client, options: &Options) -> Result<(), Failed> {
    for path in &options.words {
        client
            .watch(path, path)
            .map_err(|_| Failed::Said(format!("Unable to add watch on {path}")))?;
    }
    let mut left = options.number.unwrap_or(-1);
    let mut out = io::stdout().lock();
    while left != 0 {
        let event = client
            .next_event(WATCH_WAIT)
            .map_err(|error| Failed::on("xs_read_watch".to_owned(), error))?;
        if let Some(event) = event {
            writeln!(out, "{}", event.path)?;
            out.flush()?;
            left = (left - 1).max(-1);
        }
    }
    Ok(())
}
