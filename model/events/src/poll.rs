//! vCPUs that sleep until a certain port is pending (`SCHEDOP_poll`).

use abi::Port;
use core::sync::atomic::{AtomicU32, Ordering};

/// What a vCPU polls for. One for each vCPU; zeroed memory is one that does not poll.
///
/// To sleep: [`arm`](Poller::arm), then look whether a port is pending, and only then block; on any
/// waking [`disarm`](Poller::disarm). After [`Raised`](crate::Raised) says `newly_pending`, ask the
/// domain's polling vCPUs [`wakes`](Poller::wakes). So no event falls between the two.
#[derive(Debug, Default)]
pub struct Poller(AtomicU32);

const ANY: u32 = u32::MAX;

impl Poller {
    /// One that does not poll.
    pub const fn new() -> Poller {
        Poller(AtomicU32::new(0))
    }

    /// Polls for one port; with `None` (or port 0, which never has events), for any: the guest
    /// looks by itself.
    pub fn arm(&self, port: Option<Port>) {
        self.0.store(port.filter(|p| p.0 != 0).map_or(ANY, |p| p.0), Ordering::SeqCst);
    }

    /// No longer polls; returns whether it did.
    pub fn disarm(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) != 0
    }

    /// Whether the event wakes the vCPU; it no longer polls then.
    pub fn wakes(&self, port: Port) -> bool {
        let armed = self.0.load(Ordering::SeqCst);
        armed != 0
            && (armed == ANY || armed == port.0)
            && self.0.compare_exchange(armed, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}
