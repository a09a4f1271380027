//! Waiting for a node of the store to become what is wanted, with a limit.

use std::time::{Duration, Instant};

use xenstore::{Access, Client};

/// The token of all such waits: one at a time on a connection.
const TOKEN: &str = "xenlight-wait";

/// Asks `check` about a node's value (`None`: no such node) now and whenever it changes, until it
/// answers something or `limit` has passed; `Ok(None)` then.
///
/// # Errors
/// The store's.
pub fn until<T>(
    store: &mut Client,
    path: &str,
    limit: Duration,
    mut check: impl FnMut(Option<&str>) -> Option<T>,
) -> Result<Option<T>, xenstore::Error> {
    if let Some(answer) = check(store.try_read(path)?.as_deref()) {
        return Ok(Some(answer));
    }
    let end = Instant::now() + limit;
    store.watch(path, TOKEN)?;
    let answer = watched(store, path, end, check);
    // The connection may be what failed.
    let ended = store.unwatch(path, TOKEN);
    let answer = answer?;
    ended?;
    Ok(answer)
}

fn watched<T>(
    store: &mut Client,
    path: &str,
    end: Instant,
    mut check: impl FnMut(Option<&str>) -> Option<T>,
) -> Result<Option<T>, xenstore::Error> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match store.next_event(left)? {
            None => return Ok(None),
            Some(event) if event.token != TOKEN => {}
            Some(_) => {
                if let Some(answer) = check(store.try_read(path)?.as_deref()) {
                    return Ok(Some(answer));
                }
            }
        }
    }
}

/// Asks `check` every few milliseconds until it answers something, or `limit` has passed: for what the
/// kernel tells nobody of.
pub fn poll<T>(limit: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = check() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
