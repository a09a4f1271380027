//! The first console of a guest, which xenconsoled serves.

use std::time::Duration;

use super::DeviceError;
use crate::Context;
use crate::tree::{self, DeviceKind, DeviceNodes, Node};
use crate::wait;

/// The console's nodes.
pub fn nodes(domid: u16) -> Vec<Node> {
    tree::console(&DeviceNodes { kind: DeviceKind::Console, domid, backend_domid: 0, devid: 0 })
}

/// Waits until xenconsoled has made a terminal for a guest, and says its path; `None` if it did not
/// within the limit.
///
/// # Errors
/// The store's.
pub fn wait_for_tty(
    cx: &mut Context,
    domid: u16,
    limit: Duration,
) -> Result<Option<String>, DeviceError> {
    let path = format!("/local/domain/{domid}/console/tty");
    let tty = wait::until(&mut cx.store, &path, limit, |value| {
        value.filter(|tty| !tty.is_empty()).map(str::to_owned)
    })?;
    Ok(tty)
}
