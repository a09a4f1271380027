//! What a command works with: opened when it is first needed, so that a command pays for nothing
//! that it does not use.

use crate::failure::{Failure, OrFail as _};
use crate::output;
use sys::Xen;
use xenlight::{Context, Paths};
use xenstore::Client;
use xl_config::XlConf;

/// The host's settings.
const XL_CONF: &str = "/etc/xen/xl.conf";

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
    /// Both of them, once a command asked for all that xenlight needs.
    context: Option<Context>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("globals", &self.globals).finish_non_exhaustive()
    }
}

impl Session {
    /// A session with nothing open.
    pub fn new(globals: Globals) -> Self {
        Self { globals, ..Self::default() }
    }

    /// The hypervisor.
    ///
    /// # Errors
    /// Not on Xen, or no right: with the cure.
    pub fn xen(&mut self) -> Result<&Xen, Failure> {
        if let Some(context) = &self.context {
            return Ok(&context.xen);
        }
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
        if let Some(context) = &mut self.context {
            return Ok(&mut context.store);
        }
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
        self.xen()?;
        self.store()?;
        match (&mut self.context, &self.xen, &mut self.store) {
            (Some(context), _, _) => Ok((&context.xen, &mut context.store)),
            (None, Some(xen), Some(store)) => Ok((xen, store)),
            _ => Err(Failure::new("cannot reach the hypervisor and the store")),
        }
    }

    /// All that xenlight needs.
    ///
    /// # Errors
    /// As [`Session::xen`] and [`Session::store`]; a wrong `xl.conf`.
    pub fn context(&mut self) -> Result<&mut Context, Failure> {
        if self.context.is_none() {
            let xen = self.xen.take().map_or_else(open_xen, Ok)?;
            let store = self.store.take().map_or_else(open_store, Ok)?;
            let host = host_settings(&self.globals)?;
            self.context = Some(Context { xen, store, host, paths: Paths::default() });
        }
        self.context.as_mut().ok_or_else(|| Failure::new("cannot reach the hypervisor"))
    }

    /// Prints a message to standard error.
    pub fn say(&self, message: &str) {
        crate::output::error(&self.globals.prefixed(&format!("{message}\n")));
    }
}

fn open_xen() -> Result<Xen, Failure> {
    Xen::open().or_fail(|| "cannot reach the hypervisor".to_owned())
}

/// What `xl.conf` says; its defaults if there is none.
///
/// # Errors
/// It cannot be read, or is wrong: where, and how to correct it.
pub fn host_settings(globals: &Globals) -> Result<XlConf, Failure> {
    let text = match std::fs::read_to_string(XL_CONF) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(XlConf::default()),
        Err(error) => return Err(Failure::caused(format!("cannot read {XL_CONF}"), &error)),
    };
    match XlConf::parse(&text, XL_CONF) {
        Ok((settings, warnings)) => {
            if globals.verbose > 0 {
                output::error(&xl_config::report(&warnings, output::error_colours()));
            }
            Ok(settings)
        }
        Err(errors) => {
            output::error(&xl_config::report(&errors.0, output::error_colours()));
            Err(Failure::new(format!("{XL_CONF} is wrong")).help("correct the lines shown above"))
        }
    }
}

fn open_store() -> Result<Client, Failure> {
    Client::open().or_fail(|| "cannot reach the store".to_owned())
}
