//! A domain's life after its creation: lookup, pause, shutdown, end.

mod destroy;
mod error;
mod lookup;
mod shutdown;
mod uptime;

pub use destroy::{Remains, destroy};
pub use error::LifeError;
pub(crate) use error::chain;
pub use lookup::{Domain, check_name, find, name_in_use, names, rename, vm_path};
pub use shutdown::{Request, ask, is_asked, wait_for_shutdown, wait_until_gone};
pub use uptime::{start_time, uptime};

use crate::Context;

/// Stops a domain from running.
///
/// # Errors
/// [`LifeError`]: there is none of this number, or the hypervisor refuses.
pub fn pause(cx: &Context, domid: u16) -> Result<(), LifeError> {
    cx.xen.pause(domid).map_err(|source| LifeError::of(domid, "pausing it", source))
}

/// Lets a domain run again.
///
/// # Errors
/// [`LifeError`]: there is none of this number, or the hypervisor refuses.
pub fn unpause(cx: &Context, domid: u16) -> Result<(), LifeError> {
    cx.xen.unpause(domid).map_err(|source| LifeError::of(domid, "letting it run", source))
}
