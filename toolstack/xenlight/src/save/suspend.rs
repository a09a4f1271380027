//! Asking a guest to suspend, and letting it go on.

use std::time::{Duration, Instant};

use sys::{ShutdownReason, Xen};
use xenstore::{Access, Client};

use super::Error;
use crate::wait;

/// What the guest is given to see the request, and then to stop.
const LIMIT: Duration = Duration::from_secs(60);
const REQUEST: &str = "suspend";

/// Asks a guest to suspend, and waits until it has.
///
/// # Errors
/// [`Error::NotAcknowledged`], [`Error::NotSuspended`], [`Error::Ended`], [`Error::NoSuchDomain`].
pub fn suspend(xen: &Xen, store: &mut Client, domid: u16) -> Result<(), Error> {
    if is_suspended(xen, domid)? {
        return Ok(());
    }
    let node = format!("/local/domain/{domid}/control/shutdown");
    store.write(&node, REQUEST)?;
    let seen = |value: Option<&str>| (value.is_none_or(|value| value != REQUEST)).then_some(());
    if wait::until(store, &node, LIMIT, seen)?.is_none() && !withdraw(store, &node)? {
        return Err(Error::NotAcknowledged { domid, seconds: LIMIT.as_secs() });
    }
    wait_suspended(xen, store, domid)
}

/// Takes the request back; false if the guest has not seen it, and now never will.
fn withdraw(store: &mut Client, node: &str) -> Result<bool, Error> {
    Ok(store.transaction(|t| {
        let seen = t.try_read(node)?.is_none_or(|value| value != REQUEST);
        if !seen {
            t.write(node, "")?;
        }
        Ok(seen)
    })?)
}

/// The store tells of a domain that has stopped.
fn wait_suspended(xen: &Xen, store: &mut Client, domid: u16) -> Result<(), Error> {
    const TOKEN: &str = "xenlight-suspend";
    const WATCHED: &str = "@releaseDomain";
    let end = Instant::now() + LIMIT;
    store.watch(WATCHED, TOKEN)?;
    let stopped = loop {
        match is_suspended(xen, domid) {
            Ok(false) => {}
            done => break done,
        }
        let left = end.saturating_duration_since(Instant::now());
        // The first event comes at once.
        match store.next_event(left) {
            Ok(Some(_)) => {}
            Ok(None) => break Ok(false),
            Err(e) => break Err(e.into()),
        }
    };
    let unwatched = store.unwatch(WATCHED, TOKEN);
    if !stopped? {
        return Err(Error::NotSuspended { domid, seconds: LIMIT.as_secs() });
    }
    Ok(unwatched?)
}

/// Whether it has suspended; an error if it has ended otherwise.
fn is_suspended(xen: &Xen, domid: u16) -> Result<bool, Error> {
    let info = xen.domain_info(domid)?.filter(|info| !info.dying);
    match info.ok_or(Error::NoSuchDomain(domid))?.shutdown {
        None => Ok(false),
        Some(ShutdownReason::SUSPEND) => Ok(true),
        Some(reason) => Err(Error::Ended { domid, reason }),
    }
}

/// Lets a suspended guest go on in place. It is told that its suspend was cancelled, so that it keeps
/// its devices.
///
/// # Errors
/// [`Error::Xen`], [`Error::Store`]
pub fn resume(xen: &Xen, store: &mut Client, domid: u16) -> Result<(), Error> {
    // The suspend call's answer: 1 says cancelled.
    let mut context = xen.vcpu_context(domid, 0)?;
    context.user_regs.rax = 1;
    xen.set_vcpu_context(domid, 0, &context)?;
    xen.resume(domid)?;
    Ok(store.resume(domid)?)
}
