//! Finding a domain's terminal, and saying what is missing when there is none.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::link::Link;
use crate::pty;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::options::{Kind, Options};

/// How long a domain's terminal may take to appear.
pub const LIMIT: Duration = Duration::from_secs(3);

/// Why there is no terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such domain.
    #[error("domain {domid} does not exist (`xl list` shows those that do)")]
    NoDomain {
        /// Its number.
        domid: u16,
    },
    /// Nobody serves its console.
    #[error("domain {domid} has no console to attach to: {why}")]
    NoConsole {
        /// Its number.
        domid: u16,
        /// What is missing, and what to do.
        why: String,
    },
}

/// The node that has the terminal's path.
///
/// # Errors
/// [`Error::NoDomain`].
pub fn node(link: &mut Link, options: &Options) -> Result<String, Error> {
    let domid = options.domid;
    let domain = format!("/local/domain/{domid}");
    if !exists(link, domid) {
        return Err(Error::NoDomain { domid });
    }
    let number = options.number;
    let serial = format!("{domain}/serial/{number}/tty");
    let pv = match number {
        0 => format!("{domain}/console/tty"),
        _ => format!("{domain}/device/console/{number}/tty"),
    };
    Ok(match options.kind {
        Some(Kind::Vuart) => format!("{domain}/vuart/0/tty"),
        Some(Kind::Pv) => pv,
        // As the C client does: a domain that was made without a serial port has the other.
        Some(Kind::Serial) | None => match link.read(&serial) {
            Some(_) => serial,
            None => pv,
        },
    })
}

/// Whether the store knows a domain.
pub fn exists(link: &mut Link, domid: u16) -> bool {
    link.read(&format!("/local/domain/{domid}")).is_some()
}

/// A domain's terminal.
#[derive(Debug)]
pub struct Console {
    /// Opened.
    pub file: File,
    /// What the store said.
    pub path: String,
}

/// Opens what a node names, if it names something.
pub fn open(link: &mut Link, node: &str) -> Option<Console> {
    let path = link.read(node).filter(|path| !path.is_empty())?;
    let slave = pty::open_slave(Path::new(&path)).ok()?;
    pty::set_raw(&slave).ok()?;
    Some(Console { file: File::from(slave), path })
}

/// Waits until a node that is watched names a terminal.
///
/// # Errors
/// The domain has gone, or nothing appeared in time.
pub fn wait(
    link: &mut Link,
    options: &Options,
    node: &str,
    limit: Duration,
) -> Result<Console, Error> {
    let until = Instant::now() + limit;
    let domid = options.domid;
    loop {
        while link.event().is_some() {}
        if !is_stale(options, node)
            && let Some(console) = open(link, node)
        {
            return Ok(console);
        }
        if link.is_connected() && !exists(link, domid) {
            return Err(Error::NoDomain { domid });
        }
        if Instant::now() >= until {
            return Err(Error::NoConsole { domid, why: missing(link, options, node) });
        }
        sleep(link, until);
        link.reconnect();
    }
}

/// Waits for the store's word, but not for long: a terminal may also come to be without one.
fn sleep(link: &Link, until: Instant) {
    let left = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(200));
    let limit = Timespec::try_from(left).unwrap_or_default();
    let waited = match &link.fd() {
        Some(fd) => {
            let mut fds = [PollFd::new(fd, PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&limit))
        }
        None => rustix::event::poll(&mut [], Some(&limit)),
    };
    // An interrupted wait is a short one.
    let _ = waited;
}

/// Whether a node of the console daemon's is there but no such daemon is: the terminal that it names could
/// be another program's by now.
fn is_stale(options: &Options, node: &str) -> bool {
    is_daemons(options, node) && daemon_process().is_none()
}

fn is_daemons(options: &Options, node: &str) -> bool {
    options.number == 0 && node.ends_with("/console/tty")
}

/// What is missing that a terminal is not there, and what to do.
pub fn missing(link: &mut Link, options: &Options, node: &str) -> String {
    if !link.is_connected() {
        return "xenstored does not answer; start it (systemctl start xenstored)".to_owned();
    }
    let path = link.read(node);
    if is_daemons(options, node) {
        let directory = node.trim_end_matches("/tty");
        if daemon_process().is_none() {
            return "xenconsoled is not running; start it (systemctl start xenconsoled)".to_owned();
        }
        if let Some(kind) = link.read(&format!("{directory}/type"))
            && kind != "xenconsoled"
        {
            return format!(
                "{directory}/type is {kind:?}: its console is served by another program"
            );
        }
        if link.read(&format!("{directory}/ring-ref")).is_none() {
            return format!("{directory}/ring-ref is missing: it was made without a console");
        }
        if path.as_deref().unwrap_or("").is_empty() {
            return format!("xenconsoled has not written {node}; its log may say why");
        }
    }
    match path {
        Some(path) if !path.is_empty() => {
            let why = pty::open_slave(Path::new(&path)).err();
            let why = why.map_or("it is not a terminal".to_owned(), |errno| errno.to_string());
            format!("Could not open tty `{path}' ({node}): {why}")
        }
        _ => format!("{node} is missing or empty: the domain has no such console"),
    }
}

/// The process of a console daemon, this one or C's.
#[must_use]
pub fn daemon_process() -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        name.starts_with("xenconsoled").then_some(pid)
    })
}
