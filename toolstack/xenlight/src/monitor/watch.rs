//! Waiting for a guest's end, however often the store's daemon is restarted meanwhile.

use std::time::Duration;

use sys::ShutdownReason;

use super::{MonitorError, Say};
use crate::life::LifeError;
use crate::{Context, ContextError};

const TOKEN: &str = "xenlight-monitor";
/// The store tells of each end; it is asked all the same, should it have been down just then.
const AT_LEAST_EVERY: Duration = Duration::from_secs(20);
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

/// Waits for a guest's end. One that is suspended is waited for further: it is either resumed or
/// destroyed by who suspended it.
pub(super) fn until_end(
    cx: &mut Context,
    open: &mut dyn FnMut() -> Result<Context, ContextError>,
    domid: u16,
    say: Say<'_>,
) -> Result<End, MonitorError> {
    loop {
        match watched(cx, domid) {
            Ok(end) => return Ok(end),
            Err(LifeError::Store(error)) if error.is_disconnected() || error.is_timed_out() => {
                reconnect(cx, open, say);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn watched(cx: &mut Context, domid: u16) -> Result<End, LifeError> {
    // A watch of this connection that is there already stays.
    match cx.store.watch("@releaseDomain", TOKEN) {
        Err(error) if !error.is_exists() => return Err(error.into()),
        _ => {}
    }
    let end = loop {
        if let Some(end) = end_of(cx, domid)? {
            break end;
        }
        cx.store.next_event(AT_LEAST_EVERY)?;
    };
    cx.store.unwatch("@releaseDomain", TOKEN)?;
    Ok(end)
}

fn end_of(cx: &Context, domid: u16) -> Result<Option<End>, LifeError> {
    let info = cx.xen.domain_info(domid);
    let info = info.map_err(|source| LifeError::of(domid, "asking for it", source))?;
    Ok(match info {
        None => Some(End::Gone),
        Some(info) if info.dying => Some(End::Gone),
        Some(info) => match info.shutdown {
            None | Some(ShutdownReason::SUSPEND) => None,
            Some(reason) => Some(End::Shutdown(reason)),
        },
    })
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
