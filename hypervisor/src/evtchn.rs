//! What follows when an event was raised: wake, interrupt, end polls.

use crate::domain::{self, Domain};
use abi::{DomId, Port};
use alloc::sync::Arc;
use events::{Raised, Target};

/// Does what a raised event asks for; `port` is the one that became pending, if one is known.
pub fn follow_up(d: &Arc<Domain>, raised: Raised, port: Option<Port>) {
    if let Some(v) = raised.kick.and_then(|id| d.vcpu(id)) {
        crate::schedule::kick(&v);
    }
    if raised.newly_pending && d.pollers.load(core::sync::atomic::Ordering::Acquire) != 0 {
        for v in d.vcpus() {
            if port.is_none_or(|p| v.poller.wakes(p)) && v.poller_done() {
                crate::schedule::kick(&v);
            }
        }
    }
}

/// Sends on a port of `d`.
pub fn send(d: &Arc<Domain>, port: Port) -> Result<(), abi::Errno> {
    match d.events.send(port)? {
        Target::Done(raised) => follow_up(d, raised, None),
        Target::Remote(dom, remote) => notify(dom, remote, d.id, port),
    }
    Ok(())
}

fn notify(dom: DomId, remote: Port, from: DomId, port: Port) {
    if let Some(other) = domain::by_id(dom) {
        let raised = other.events.notify(remote, from, port);
        follow_up(&other, raised, Some(remote));
    }
}
