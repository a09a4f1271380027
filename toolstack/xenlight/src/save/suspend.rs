//! Asking a guest to suspend, and letting it go on.

use std::time::{Duration, Instant};

use sys::{ShutdownReason, Xen};
use xenstore::{Access, Client};

use super::Error;

/// What the guest is given to see the request, and then to stop.
const LIMIT: Duration = Duration::from_secs(60);
/// What is written into [`node`].
pub(super) const REQUEST: &str = "suspend";
const TOKEN: &str = "xenlight-suspend";

/// Where a guest is asked.
pub(super) fn node(domid: u16) -> String {
    format!("/local/domain/{domid}/control/shutdown")
}

/// Asks a guest to suspend, and waits until it has. One that has already is left as it is: another
/// tool that saved it was killed.
///
/// # Errors
/// [`Error::NotAcknowledged`], [`Error::NotSuspended`], [`Error::Ended`], [`Error::NoSuchDomain`].
pub fn suspend(xen: &Xen, store: &mut Client, domid: u16) -> Result<(), Error> {
    if is_suspended(xen, domid)? {
        return Ok(());
    }
    let node = node(domid);
    store.write(&node, REQUEST)?;
    // The guest clears the node when it has seen it; the store tells of a domain that has stopped.
    let watched = [node.as_str(), "@releaseDomain"];
    let mut waited = Ok(());
    for path in watched {
        waited = waited.and_then(|()| store.watch(path, TOKEN));
    }
    let suspended = match waited {
        Ok(()) => wait_suspended(xen, store, domid, &node),
        Err(error) => Err(error.into()),
    };
    for path in watched {
        // The connection may be what failed; a watch that was not set is no matter.
        let _ = store.unwatch(path, TOKEN);
    }
    suspended
}

fn wait_suspended(xen: &Xen, store: &mut Client, domid: u16, node: &str) -> Result<(), Error> {
    let mut end = Instant::now() + LIMIT;
    let mut seen = false;
    while !is_suspended(xen, domid)? {
        if !seen && store.try_read(node)?.is_none_or(|value| value != REQUEST) {
            seen = true;
            end = Instant::now() + LIMIT;
        }
        let left = end.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            store.next_event(left)?;
        } else if seen {
            return Err(Error::NotSuspended { domid, seconds: LIMIT.as_secs() });
        } else if !withdraw(store, node)? {
            return Err(Error::NotAcknowledged { domid, seconds: LIMIT.as_secs() });
        }
    }
    Ok(())
}

/// Takes the request back; false if the guest has not seen it, and now never will.
pub(super) fn withdraw(store: &mut Client, node: &str) -> Result<bool, Error> {
    Ok(store.transaction(|t| {
        let seen = t.try_read(node)?.is_none_or(|value| value != REQUEST);
        if !seen {
            t.write(node, "")?;
        }
        Ok(seen)
    })?)
}

/// Whether it has suspended; an error if it has ended otherwise.
pub(super) fn is_suspended(xen: &Xen, domid: u16) -> Result<bool, Error> {
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
