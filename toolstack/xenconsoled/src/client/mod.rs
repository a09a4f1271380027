//! The console client: the program `xenconsole`, and the same for `xl console`.

pub mod find;
pub mod lock;
pub mod options;
pub mod session;
pub mod terminal;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use crate::link::{Link, Place};
use lock::Lock;
use options::Options;
use session::{Ends, Session, Signals};

/// How long xenstored may take to answer.
const STORE_LIMIT: Duration = Duration::from_secs(2);

/// Why a console was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The user typed the escape.
    Escape,
    /// The domain has gone.
    DomainGone,
    /// Nothing more comes from stdin.
    InputEnded,
    /// Nobody reads stdout any more.
    OutputEnded,
    /// A signal of this number.
    Signal(i32),
}

/// Why a console could not be attached to, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// xenstored.
    #[error("Could not contact XenStore (is xenstored running?)")]
    Store(#[source] xenstore::Error),
    /// Another client.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// There is no console to attach to.
    #[error(transparent)]
    Find(#[from] find::Error),
    /// The descriptor that is to be told.
    #[error("Could not notify parent with fd {fd}")]
    Notify {
        /// Its number.
        fd: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something of the process's own.
    #[error("cannot {step}")]
    Own {
        /// What.
        step: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The console daemon went away and did not come back.
    #[error("domain {domid}'s console was lost {seconds} s ago and did not come back: {why}")]
    Lost {
        /// The domain.
        domid: u16,
        /// How long it was waited.
        seconds: u64,
        /// What is missing.
        why: String,
    },
}

impl Error {
    /// The exit status of the C client for the same: the error's number where there is one.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Lock(lock::Error::Held { .. }) => 11,
            Self::Store(_) | Self::Find(_) => 2,
            _ => 1,
        }
    }
}

/// Attaches this process's terminal to a domain's console until the user leaves it or it ends.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn run(options: &Options) -> Result<Left, Error> {
    let signals = Signals::take().map_err(|source| {
        let step = "take signals over";
        Error::Own { step, source }
    })?;
    let place = Place::Usual;
    let mut link = Link::open(place, &[], STORE_LIMIT).map_err(Error::Store)?;
    let node = find::node(&mut link, options)?;
    let _lock = Lock::take(Path::new(lock::DIRECTORY), options.domid)?;
    link.also_watch(&node, session::TOKEN).map_err(Error::Store)?;
    let console = find::wait(&mut link, options, &node, find::LIMIT)?;

    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let terminals = terminal::is_terminal(&stdin) && terminal::is_terminal(&stdout);
    let raw = terminals.then(|| terminal::Raw::new(stdin.as_fd()));
    let raw = raw.transpose().map_err(|errno| {
        let step = "make the terminal raw";
        Error::Own { step, source: errno.into() }
    })?;
    if let Some(fd) = options.start_notify_fd {
        notify(fd)?;
    }
    let ends = Ends {
        input: (terminals || options.interactive).then(|| stdin.as_fd()),
        output: stdout.as_fd(),
        is_terminal: terminals,
    };
    let left = Session::new(options, link, signals, node, console, ends).run();
    drop(raw);
    left
}

/// Tells whoever waits that we are attached. The descriptor is opened anew through `/proc`: to take one
/// over by its number is not safe.
fn notify(fd: u32) -> Result<(), Error> {
    let opened = OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"));
    let written = opened.and_then(|mut file| file.write_all(&[0]));
    written.map_err(|source| Error::Notify { fd, source })
}
