//! A guest's devices: what they have in common. Disks, interfaces and consoles each have a module.

pub mod block;
pub mod console;
mod error;
mod images;
pub mod network;
mod routed;
mod sharing;
mod teardown;

pub use error::DeviceError;
pub use images::{Attached, Image, attached};
pub use sharing::{User, Users};
pub use teardown::{Force, Found, destroy_all, devices_of, remove};

use std::time::Duration;

use xenstore::Access;

use crate::Context;
use crate::tree::DeviceNodes;
use crate::wait;

/// How long the kernel's backend may take to answer.
pub const BACKEND_LIMIT: Duration = Duration::from_secs(10);

/// State of a device's end: the numbers of the xenbus protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State(pub u32);

impl State {
    /// Nobody has looked at it yet.
    pub const INITIALISING: Self = Self(1);
    /// The backend waits for the frontend.
    pub const INIT_WAIT: Self = Self(2);
    /// Works.
    pub const CONNECTED: Self = Self(4);
    /// An end wants to close.
    pub const CLOSING: Self = Self(5);
    /// Closed.
    pub const CLOSED: Self = Self(6);

    /// The state that a node's value means.
    pub fn parse(value: &str) -> Option<Self> {
        value.parse().ok().map(Self)
    }

    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "Initialising",
            2 => "InitWait",
            3 => "Initialised",
            4 => "Connected",
            5 => "Closing",
            6 => "Closed",
            7 => "Reconfiguring",
            8 => "Reconfigured",
            _ => "unknown",
        }
    }
}

/// Waits until a backend is there and waits for its frontend.
pub(crate) fn wait_for_backend(
    cx: &mut Context,
    of: &DeviceNodes,
    device: &str,
    limit: Duration,
) -> Result<(), DeviceError> {
    let path = format!("{}/state", of.backend());
    let mut last = None;
    let reached = wait::until(&mut cx.store, &path, limit, |value| {
        last = value.and_then(State::parse);
        match last {
            Some(state) if state >= State::CLOSING => Some(false),
            Some(state) if state >= State::INIT_WAIT => Some(true),
            _ => None,
        }
    })?;
    if reached == Some(true) {
        return Ok(());
    }
    let hotplug = cx.store.try_read(&format!("{}/hotplug-error", of.backend()))?;
    Err(DeviceError::Backend {
        device: device.to_owned(),
        path: of.backend(),
        state: last,
        wanted: State::INIT_WAIT,
        limit,
        why: hotplug.or(kernel_error(cx, of)?),
    })
}

/// What the kernel's backend said went wrong.
pub(crate) fn kernel_error(
    cx: &mut Context,
    of: &DeviceNodes,
) -> Result<Option<String>, DeviceError> {
    let home = format!("/local/domain/{}", of.backend_domid);
    let back = of.backend();
    let Some(rest) = back.strip_prefix(&home) else { return Ok(None) };
    Ok(cx.store.try_read(&format!("{home}/error{rest}/error"))?)
}

/// A backend's domain by name or number.
pub(crate) fn backend_domid(cx: &mut Context, name: Option<&str>) -> Result<u16, DeviceError> {
    let Some(name) = name else { return Ok(0) };
    match crate::life::find(cx, name) {
        Ok(found) => Ok(found.domid),
        Err(source) => {
            Err(DeviceError::BackendDomain { name: name.to_owned(), source: Box::new(source) })
        }
    }
}
