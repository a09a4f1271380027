//! Waiting for a guest's end, however often the store's daemon is restarted meanwhile.

use std::path::Path;
use std::time::Duration;

use sys::ShutdownReason;

use super::{MonitorError, Say};
use crate::life::LifeError;
use crate::lock::{self, Lock};
use crate::{Context, ContextError, save, wait};

const TOKEN: &str = "xenlight-monitor";
/// The store tells of each end; it is asked all the same, should it have been down just then.
const AT_LEAST_EVERY: Duration = Duration::from_secs(20);
/// The same for one that is suspended: who saves it may be killed, which nobody tells of.
const WHILE_SUSPENDED: Duration = Duration::from_secs(2);
/// How long between attempts to reach a daemon that is gone.
const RETRY: Duration = Duration::from_millis(500);

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is there, but does not run any more.
    Shutdown(ShutdownReason),
    /// It was destroyed.
    Gone,
}

/// Waits for a guest's end; `ready` is called when that is waited for. One that is suspended is waited for
/// further: it is either resumed or destroyed by who suspended it.
pub(super) fn until_end(
    cx: &mut Context,
    open: &mut dyn FnMut() -> Result<Context, ContextError>,
    domid: u16,
    say: Say<'_>,
    ready: &mut dyn FnMut(),
) -> Result<End, MonitorError> {
    loop {
        match watched(cx, domid, say, ready) {
            Ok(end) => return Ok(end),
            Err(LifeError::Store(error)) if error.is_disconnected() || error.is_timed_out() => {
                reconnect(cx, open, say);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn watched(
    cx: &mut Context,
    domid: u16,
    say: Say<'_>,
    ready: &mut dyn FnMut(),
) -> Result<End, LifeError> {
    // A watch of this connection that is there already stays.
    match cx.store.watch("@releaseDomain", TOKEN) {
        Err(error) if !error.is_exists() => return Err(error.into()),
        _ => {}
    }
    let mut told = false;
    let end = loop {
        let look = look(cx, domid)?;
        if !matches!(look, Look::Ended(_)) && !std::mem::replace(&mut told, true) {
            ready();
        }
        match look {
            Look::Ended(end) => break end,
            Look::Runs => cx.store.next_event(AT_LEAST_EVERY)?,
            Look::Suspended => {
                rescue(cx, domid, say);
                cx.store.next_event(WHILE_SUSPENDED)?
            }
        };
    };
    cx.store.unwatch("@releaseDomain", TOKEN)?;
    Ok(end)
}

/// Lets a guest go on that is suspended because the tool that saved it was killed.
fn rescue(cx: &mut Context, domid: u16, say: Say<'_>) {
    let Some(found) = save::abandoned_of(&cx.paths.run, domid) else { return };
    // Whoever creates a guest just now does this, too.
    let Ok(_lock) = Lock::take(Path::new(&cx.host.lockfile), lock::LIMIT) else { return };
    let saver = found.saver();
    match save::rescue(cx, &found) {
        Ok(done) => say(&format_args!(
            "Process {saver}, which saved domain {domid}, was killed: {}",
            match done {
                save::Rescued::Resumed => "the domain goes on",
                save::Rescued::Ended => "the file is complete, and the domain is ended",
                save::Rescued::Gone => "the domain is gone",
            }
        )),
        Err(error) => say(&crate::life::chain(&error)),
    }
}

/// What a guest does.
enum Look {
    Runs,
    Suspended,
    Ended(End),
}

fn look(cx: &Context, domid: u16) -> Result<Look, LifeError> {
    let info = cx.xen.domain_info(domid);
    let info = info.map_err(|source| LifeError::of(domid, "asking for it", source))?;
    Ok(match info {
        None => Look::Ended(End::Gone),
        Some(info) if info.dying => Look::Ended(End::Gone),
        Some(info) => match info.shutdown {
            None => Look::Runs,
            Some(ShutdownReason::SUSPEND) => Look::Suspended,
            Some(reason) => Look::Ended(End::Shutdown(reason)),
        },
    })
}

/// Waits; whether the guest is still there, ended but not destroyed, after that.
pub(super) fn stays(cx: &Context, domid: u16, time: Duration) -> bool {
    let gone = || {
        let info = cx.xen.domain_info(domid);
        matches!(info, Ok(None) | Ok(Some(sys::DomainInfo { dying: true, .. }))).then_some(())
    };
    wait::poll(time, gone).is_none()
}

/// Connects anew, for as long as it takes.
fn reconnect(
    cx: &mut Context,
    open: &mut dyn FnMut() -> Result<Context, ContextError>,
    say: Say<'_>,
) {
    say(&"xenstored is gone: waiting for it");
    loop {
        std::thread::sleep(RETRY);
        if let Ok(fresh) = open() {
            *cx = fresh;
            say(&"xenstored is back");
            return;
        }
    }
}

/// Connects anew if the connection does not work.
pub(super) fn reconnect_if_lost(
    cx: &mut Context,
    open: &mut dyn FnMut() -> Result<Context, ContextError>,
    say: Say<'_>,
) {
    if let Err(error) = cx.store.domain_path(0)
        && (error.is_disconnected() || error.is_timed_out())
    {
        reconnect(cx, open, say);
    }
}
