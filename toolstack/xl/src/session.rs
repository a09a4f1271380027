//! What a command works with: opened when it is first needed, so that a command pays for nothing
//! that it does not use.

use crate::failure::{Failure, OrFail as _};
use sys::Xen;
use xenstore::Client;

/// The options before the command's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Globals {
    /// How much more to say (`-v`, repeated).
    pub verbose: u8,
    /// Go on where a guard would stop (`-f`).
    pub force: bool,
    /// Only say what would be done (`-N`).
    pub dry_run: bool,
    /// Progress with carriage returns even without a terminal (`-t`).
    pub progress: bool,
    /// Time and process before each message (`-T`).
    pub timestamps: bool,
}

impl Globals {
    /// A message as it is printed: `-T` puts the time and the process before it.
    pub fn prefixed(&self, message: &str) -> String {
        if !self.timestamps {
            return message.to_owned();
        }
        let now = crate::format::time::utc(crate::format::time::now());
        format!("{now} UTC [{}] {message}", std::process::id())
    }
}

/// The connections of one command.
#[derive(Default)]
pub struct Session {
    /// The options before the command's name.
    pub globals: Globals,
    xen: Option<Xen>,
    store: Option<Client>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("globals", &self.globals).finish_non_exhaustive()
    }
}

impl Session {
    /// A session with nothing open.
    pub fn new(globals: Globals) -> Self {
        Self { globals, xen: None, store: None }
    }

    /// The hypervisor.
    ///
    /// # Errors
    /// Not on Xen, or no right: with the cure.
    pub fn xen(&mut self) -> Result<&Xen, Failure> {
        Ok(match &mut self.xen {
            Some(xen) => xen,
            slot @ None => slot.insert(open_xen()?),
        })
    }

    /// The store.
    ///
    /// # Errors
    /// The daemon does not run or answer: with the cure.
    pub fn store(&mut self) -> Result<&mut Client, Failure> {
        Ok(match &mut self.store {
            Some(store) => store,
            slot @ None => slot.insert(open_store()?),
        })
    }

    /// Both at once.
    ///
    /// # Errors
    /// As [`Session::xen`] and [`Session::store`].
    pub fn both(&mut self) -> Result<(&Xen, &mut Client), Failure> {
        if self.xen.is_none() {
            self.xen = Some(open_xen()?);
        }
        if self.store.is_none() {
            self.store = Some(open_store()?);
        }
        match (&self.xen, &mut self.store) {
            (Some(xen), Some(store)) => Ok((xen, store)),
            _ => Err(Failure::new("cannot reach the hypervisor and the store")),
        }
    }

    /// Prints a message to standard error.
    pub fn say(&self, message: &str) {
        crate::output::error(&self.globals.prefixed(&format!("{message}\n")));
    }
}

fn open_xen() -> Result<Xen, Failure> {
    Xen::open().or_fail(|| "cannot reach the hypervisor".to_owned())
}

fn open_store() -> Result<Client, Failure> {
    Client::open().or_fail(|| "cannot reach the store".to_owned())
}
