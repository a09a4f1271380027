//! The watcher of one guest: a process of its own, which does what the configuration says when the
//! guest ends.
//!
//! `xl create` starts it with [`launch`]; it runs [`run`]. It holds a lock below `/run/xen`, by which
//! others see that it lives ([`status`]); the file stays when it is killed, and [`adopt`] starts a new one.

mod actions;
mod backoff;
mod launch;
mod log;
mod status;
mod watch;

pub use backoff::Backoff;
pub use launch::{Launch, LaunchError, Launched, launch, watching};
pub use log::log_path;
pub(crate) use status::forget;
pub use status::{Adopted, Status, adopt, status};

use std::fmt::Display;
use std::time::{Duration, Instant};

use xl_config::{Action, DomainConfig, Events};

use crate::create::{self, Options};
use crate::lock::{Lock, LockError};
use crate::{Context, ContextError, life, userdata};
use watch::End;

/// How long a monitor waits for another one of the same guest to end, or for one who only asks.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// How often the creation of an ended guest is tried.
const ATTEMPTS: u32 = 4;

/// Why a monitor gave up.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Another one watches the guest.
    #[error("domain {domid} is watched already")]
    Watched {
        /// The guest.
        domid: u16,
        /// Who holds the lock.
        #[source]
        source: LockError,
    },
    /// The hypervisor or the store cannot be reached.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The guest cannot be asked for, or not be ended.
    #[error(transparent)]
    Life(#[from] life::LifeError),
    /// The guest's stored configuration cannot be read.
    #[error(transparent)]
    Userdata(#[from] userdata::UserdataError),
    /// The ended guest could not be created again.
    #[error("{name} could not be created again")]
    Create {
        /// The guest's name.
        name: String,
        /// Why, the last time that it was tried.
        #[source]
        source: Box<create::CreateError>,
    },
}

/// A place for what a monitor says; one call a line.
pub type Say<'a> = &'a mut dyn FnMut(&dyn Display);

/// Watches a guest until it is gone for good. `open` connects anew when the store's daemon was restarted;
/// `ready` is called once the guest is watched.
///
/// # Errors
/// [`MonitorError`].
pub fn run(
    open: &mut dyn FnMut() -> Result<Context, ContextError>,
    domid: u16,
    say: Say<'_>,
    ready: &mut dyn FnMut(),
) -> Result<(), MonitorError> {
    let mut cx = open()?;
    let mut domid = domid;
    let mut backoff = Backoff::default();
    loop {
        let path = status::lock_path(&cx.paths, domid);
        let lock = Lock::take(&path, LOCK_LIMIT)
            .map_err(|source| MonitorError::Watched { domid, source })?;
        let name = cx.name(domid).ok().flatten().unwrap_or_default();
        let pid = std::process::id();
        say(&format_args!("Waiting for domain {name} (domid {domid}) to die [pid {pid}]"));
        let start = Instant::now();
        let end = watch::until_end(&mut cx, open, domid, say, ready)?;
        let mut pause = || backoff.ended(start.elapsed());
        let next = ended(&mut cx, open, domid, say, &mut pause, end)?;
        // The next one's file has another number.
        let _ = std::fs::remove_file(&path);
        drop(lock);
        match next {
            Some(next) => domid = next,
            None => return Ok(()),
        }
    }
}

/// Does what is to be done at a guest's end; the number of its successor.
fn ended(
    cx: &mut Context,
    open: &mut dyn FnMut() -> Result<Context, ContextError>,
    domid: u16,
    say: Say<'_>,
    pause: &mut dyn FnMut() -> Duration,
    end: End,
) -> Result<Option<u16>, MonitorError> {
    let reason = match end {
        End::Gone => {
            say(&format_args!("Domain {domid} has been destroyed."));
            return Ok(None);
        }
        End::Shutdown(reason) => reason,
    };
    let code = reason.0;
    say(&format_args!("Domain {domid} has shut down, reason code {code} {code:#x}"));
    let config = userdata::load(cx, domid);
    let events = match &config {
        Ok(Some(config)) => config.events,
        _ => Events { on_reboot: Action::Destroy, ..Events::default() },
    };
    let action = actions::action_for(reason, &events);
    say(&format_args!("Action for shutdown reason code {code} is {}", action.name()));
    if matches!(action, Action::CoredumpDestroy | Action::CoredumpRestart) {
        actions::dump(cx, domid, say);
    }
    match action {
        Action::Preserve => {
            say(&"Done. Exiting now");
            Ok(None)
        }
        Action::Destroy | Action::CoredumpDestroy => {
            actions::destroy(cx, domid, say)?;
            say(&"Done. Exiting now");
            Ok(None)
        }
        Action::Restart | Action::CoredumpRestart | Action::SoftReset | Action::RenameRestart => {
            let Some(config) = config? else {
                say(&format_args!("Domain {domid} has no stored configuration: it stays as it is"));
                return Ok(None);
            };
            if action == Action::SoftReset {
                say(&"A soft reset of a PV guest is not implemented: the guest is restarted");
            }
            let wait = pause();
            match make_way(cx, domid, config, action, wait, say)? {
                Some(config) => recreate(cx, open, &config, say).map(Some),
                None => Ok(None),
            }
        }
    }
}

/// Waits, and does with the ended guest what is to be done before it is created again: what is created
/// then, if it is.
fn make_way(
    cx: &mut Context,
    domid: u16,
    config: DomainConfig,
    action: Action,
    wait: Duration,
    say: Say<'_>,
) -> Result<Option<DomainConfig>, MonitorError> {
    // While it waits the guest is still there: who destroys it does not want it again.
    if !wait.is_zero() {
        let name = &config.name;
        let seconds = wait.as_secs();
        say(&format_args!(
            "{name} ends again and again soon after its start: waiting for {seconds} s \
             (xl destroy {domid} ends this)"
        ));
    }
    if !watch::stays(cx, domid, wait) {
        say(&format_args!("Domain {domid} was destroyed by somebody: it is not restarted"));
        return Ok(None);
    }
    if action == Action::RenameRestart && !wait.is_zero() {
        // Each one that is kept has its memory: the first ones must do.
        say(&"Enough of them are kept: this one is destroyed");
    }
    let config = if action == Action::RenameRestart && wait.is_zero() {
        actions::preserve(cx, domid, &config, say)?
    } else {
        actions::destroy(cx, domid, say)?;
        config
    };
    say(&"Done. Rebooting now");
    Ok(Some(config))
}

/// Creates the guest again, several times if need be: what it needs may still be in use by its
/// predecessor, or by others.
fn recreate(
    cx: &mut Context,
    open: &mut dyn FnMut() -> Result<Context, ContextError>,
    config: &DomainConfig,
    say: Say<'_>,
) -> Result<u16, MonitorError> {
    let mut attempt = 1;
    loop {
        match create::create(cx, config, &Options::default()) {
            Ok(created) => return Ok(created.domid),
            Err(source) if attempt >= ATTEMPTS => {
                let (name, source) = (config.name.clone(), Box::new(source));
                return Err(MonitorError::Create { name, source });
            }
            Err(error) => {
                let wait = Duration::from_secs(5 * u64::from(attempt));
                say(&format_args!(
                    "{}: {}; trying again in {} s",
                    config.name,
                    life::chain(&error),
                    wait.as_secs()
                ));
                std::thread::sleep(wait);
                watch::reconnect_if_lost(cx, open, say);
            }
        }
        attempt += 1;
    }
}
