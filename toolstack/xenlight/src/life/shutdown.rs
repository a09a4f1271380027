//! Asking a guest to end, and waiting for it.

use std::time::{Duration, Instant};

use xenstore::Access;

use super::LifeError;
use crate::Context;
use crate::wait;

/// What a guest can be asked for by its control node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Power off.
    Poweroff,
    /// Reboot.
    Reboot,
    /// Suspend.
    Suspend,
    /// Halt.
    Halt,
}

impl Request {
    /// The node's value.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Poweroff => "poweroff",
            Self::Reboot => "reboot",
            Self::Suspend => "suspend",
            Self::Halt => "halt",
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Poweroff => "shut down",
            Self::Reboot => "reboot",
            Self::Suspend => "suspend",
            Self::Halt => "halt",
        }
    }
}

/// Writes the request. With an `answer` limit, waits until the guest has taken it up: it clears the node.
///
/// # Errors
/// [`LifeError::NoDomain`], [`LifeError::NoAnswer`].
pub fn ask(
    cx: &mut Context,
    domid: u16,
    request: Request,
    answer: Option<Duration>,
) -> Result<(), LifeError> {
    let info = cx.xen.domain_info(domid);
    let info = info.map_err(|source| LifeError::of(domid, "asking for it", source))?;
    if info.is_none() {
        return Err(LifeError::NoDomain { domid: u32::from(domid) });
    }
    let node = format!("/local/domain/{domid}/control/shutdown");
    cx.store.write(&node, request.word())?;
    let Some(limit) = answer else { return Ok(()) };
    let taken = wait::until(&mut cx.store, &node, limit, |value| {
        value.is_none_or(|value| value != request.word()).then_some(())
    })?;
    if taken.is_some() {
        return Ok(());
    }
    let name = cx.name(domid)?.unwrap_or_default();
    Err(LifeError::NoAnswer { domid, name, request: request.verb(), limit })
}

/// Whether a request is waiting for the guest.
///
/// # Errors
/// The store's.
pub fn is_asked(cx: &mut Context, domid: u16) -> Result<bool, LifeError> {
    let node = format!("/local/domain/{domid}/control/shutdown");
    Ok(cx.store.try_read(&node)?.is_some_and(|value| !value.is_empty()))
}

/// Waits until a domain has shut down or is gone, and says the reason; `None` if it is gone.
///
/// # Errors
/// [`LifeError::NoAnswer`] after `limit`, where there is one.
pub fn wait_for_shutdown(
    cx: &mut Context,
    domid: u16,
    limit: Option<Duration>,
) -> Result<Option<sys::ShutdownReason>, LifeError> {
    let reached = watched(cx, limit, |cx| {
        let info = cx.xen.domain_info(domid);
        let info = info.map_err(|source| LifeError::of(domid, "asking for it", source))?;
        Ok(match info {
            None => Some(None),
            Some(info) if info.dying => Some(None),
            Some(info) => info.shutdown.map(Some),
        })
    })?;
    match reached {
        Some(reason) => Ok(reason),
        None => {
            let name = cx.name(domid)?.unwrap_or_default();
            let limit = limit.unwrap_or_default();
            Err(LifeError::NoAnswer { domid, name, request: "shut down", limit })
        }
    }
}

/// Waits until a domain's number is free.
///
/// # Errors
/// [`LifeError::Zombie`] after `limit`, where there is one.
pub fn wait_until_gone(
    cx: &mut Context,
    domid: u16,
    limit: Option<Duration>,
) -> Result<(), LifeError> {
    let reached = watched(cx, limit, |cx| {
        let info = cx.xen.domain_info(domid);
        let info = info.map_err(|source| LifeError::of(domid, "asking for it", source))?;
        Ok(info.is_none().then_some(()))
    })?;
    reached.ok_or(LifeError::Zombie { domid, limit: limit.unwrap_or_default() })
}

/// Asks `check` now and whenever a domain ends. The store tells of each step once, if the daemon is
/// not down just then: it is asked every few seconds all the same.
fn watched<T>(
    cx: &mut Context,
    limit: Option<Duration>,
    mut check: impl FnMut(&mut Context) -> Result<Option<T>, LifeError>,
) -> Result<Option<T>, LifeError> {
    const TOKEN: &str = "xenlight-end";
    const AT_LEAST_EVERY: Duration = Duration::from_secs(2);
    let end = limit.map(|limit| Instant::now() + limit);
    if let Some(answer) = check(cx)? {
        return Ok(Some(answer));
    }
    cx.store.watch("@releaseDomain", TOKEN)?;
    let answer = loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            break Ok(None);
        }
        let step = left.map_or(AT_LEAST_EVERY, |left| left.min(AT_LEAST_EVERY));
        if let Err(error) = cx.store.next_event(step) {
            break Err(error.into());
        }
        match check(cx) {
            Ok(None) => {}
            Ok(answer) => break Ok(answer),
            Err(error) => break Err(error),
        }
    };
    // The connection may be what failed.
    let _ = cx.store.unwatch("@releaseDomain", TOKEN);
    answer
}
