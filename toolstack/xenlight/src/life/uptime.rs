//! Since when a domain runs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xenstore::Access;

use super::LifeError;
use crate::Context;

/// The time now as `/vm/UUID/start_time` has it: seconds and hundredths since 1970.
pub fn start_time() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:02}", now.as_secs(), now.subsec_millis() / 10)
}

/// How long a domain runs; domain 0: how long this system does. `None` if nobody wrote down its start.
///
/// # Errors
/// The store's.
pub fn uptime(cx: &mut Context, domid: u16) -> Result<Option<Duration>, LifeError> {
    if domid == 0 {
        let text = std::fs::read_to_string(cx.paths.proc.join("uptime")).unwrap_or_default();
        let seconds = text.split(['.', ' ']).next().and_then(|text| text.parse().ok());
        return Ok(seconds.map(Duration::from_secs));
    }
    let Some(vm) = super::vm_path(cx, domid)? else { return Ok(None) };
    let Some(text) = cx.store.try_read(&format!("{vm}/start_time"))? else { return Ok(None) };
    let start = text.split('.').next().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(start.map(|start| Duration::from_secs(now.as_secs().saturating_sub(start))))
}
