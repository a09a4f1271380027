//! `network-list`, `block-list`, `channel-list`.

use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _, code};
use crate::format::devices::{self, Channel, Vbd, Vif};
use crate::format::{self};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use serde::Serialize;
use xenstore::{Access as _, Client};

/// A number that the store does not have, as C prints it.
const UNKNOWN: i64 = -1;
/// Devices of one kind that a domain may have and that are looked at.
const MOST: usize = 4096;

/// One device's nodes.
struct Found {
    domid: u16,
    devid: i64,
    frontend: String,
    backend: String,
}

impl Found {
    /// The domain of the back end, by its path.
    fn backend_domid(&self) -> i64 {
        let rest = self.backend.strip_prefix("/local/domain/");
        let number = rest.and_then(|rest| rest.split('/').next());
        number.and_then(|number| number.parse().ok()).unwrap_or(UNKNOWN)
    }

    /// Paths of nodes of both ends, for one request of many.
    fn paths(&self, front: &[&str], back: &[&str]) -> Vec<String> {
        let front = front.iter().map(|name| format!("{}/{name}", self.frontend));
        front.chain(back.iter().map(|name| format!("{}/{name}", self.backend))).collect()
    }
}

/// The devices of a kind that a domain has, by their number.
fn find(store: &mut Client, domid: u16, kind: &str) -> Result<Vec<Found>, Failure> {
    let failed = || format!("cannot look at the devices of domain {domid}");
    let folder = format!("/libxl/{domid}/device/{kind}");
    let mut ids: Vec<i64> = store
        .try_list(&folder)
        .or_fail(failed)?
        .unwrap_or_default()
        .iter()
        .filter_map(|name| name.parse().ok())
        .take(MOST)
        .collect();
    ids.sort_unstable();
    let node = |id: &i64, name: &str| format!("{folder}/{id}/{name}");
    let paths: Vec<_> =
        ids.iter().flat_map(|id| [node(id, "frontend"), node(id, "backend")]).collect();
    let values = store.read_many(&paths).or_fail(failed)?;
    let ends = values.chunks_exact(2).map(|ends| match ends {
        [Some(frontend), Some(backend)] => Some((frontend.clone(), backend.clone())),
        _ => None,
    });
    let found = ids.into_iter().zip(ends).filter_map(|(devid, ends)| {
        let (frontend, backend) = ends?;
        Some(Found { domid, devid, frontend, backend })
    });
    Ok(found.collect())
}

/// The values of a device's nodes.
struct Values(std::vec::IntoIter<Option<String>>);

impl Values {
    fn of(
        store: &mut Client,
        found: &Found,
        front: &[&str],
        back: &[&str],
    ) -> Result<Self, Failure> {
        let values = store.read_many(&found.paths(front, back)).or_fail(|| {
            format!("cannot look at device {} of domain {}", found.devid, found.domid)
        })?;
        Ok(Self(values.into_iter()))
    }

    fn text(&mut self) -> String {
        self.0.next().flatten().unwrap_or_default()
    }

    fn number(&mut self) -> i64 {
        self.0.next().flatten().and_then(|value| value.parse().ok()).unwrap_or(UNKNOWN)
    }
}

/// `xl network-list`.
pub fn network_list(session: &mut Session, parsed: &Parsed) -> Outcome {
    let of = |store: &mut Client, domid| {
        let found = find(store, domid, "vif")?;
        found.iter().map(|found| vif(store, found)).collect()
    };
    table(session, parsed, devices::vif_header(), of, devices::vifs)
}

fn vif(store: &mut Client, found: &Found) -> Result<Vif, Failure> {
    let front = ["handle", "state", "event-channel", "tx-ring-ref", "rx-ring-ref", "mac"];
    let mut values = Values::of(store, found, &front, &[])?;
    Ok(Vif {
        domid: found.domid,
        devid: found.devid,
        backend: found.backend_domid(),
        handle: values.number(),
        state: values.number(),
        event_channel: values.number(),
        tx_ring_ref: values.number(),
        rx_ring_ref: values.number(),
        mac: values.text(),
        backend_path: found.backend.clone(),
    })
}

/// `xl block-list`.
pub fn block_list(session: &mut Session, parsed: &Parsed) -> Outcome {
    let of = |store: &mut Client, domid| {
        let found = find(store, domid, "vbd")?;
        found.iter().map(|found| vbd(store, found)).collect()
    };
    table(session, parsed, devices::vbd_header(), of, devices::vbds)
}

fn vbd(store: &mut Client, found: &Found) -> Result<Vbd, Failure> {
    let front = ["state", "event-channel", "ring-ref"];
    let mut values = Values::of(store, found, &front, &["frontend-id", "dev", "params", "mode"])?;
    Ok(Vbd {
        domid: found.domid,
        vdev: found.devid,
        backend: found.backend_domid(),
        state: values.number(),
        event_channel: values.number(),
        ring_ref: values.number(),
        handle: values.number(),
        name: values.text(),
        target: values.text(),
        mode: values.text(),
        backend_path: found.backend.clone(),
    })
}

/// `xl channel-list`.
pub fn channel_list(session: &mut Session, parsed: &Parsed) -> Outcome {
    let of = |store: &mut Client, domid| {
        let found = find(store, domid, "console")?;
        // Console 0 is the console; channels come after it.
        let channels = found.iter().filter(|found| found.devid > 0);
        channels.map(|found| channel(store, found)).collect()
    };
    table(session, parsed, devices::channel_header(), of, devices::channels)
}

fn channel(store: &mut Client, found: &Found) -> Result<Channel, Failure> {
    let front = ["state", "port", "ring-ref", "tty"];
    let mut values = Values::of(store, found, &front, &["connection", "path"])?;
    let (state, event_channel, ring_ref) = (values.number(), values.number(), values.number());
    let (tty, connection, path) = (values.text(), values.text(), values.text());
    Ok(Channel {
        domid: found.domid,
        devid: found.devid,
        backend: found.backend_domid(),
        state,
        event_channel,
        ring_ref,
        path: if connection == "pty" { tty } else { path },
        connection,
    })
}

/// Prints the devices of all domains that the words mean; says at the end which words meant none.
fn table<T: Serialize>(
    session: &mut Session,
    parsed: &Parsed,
    header: String,
    of: impl Fn(&mut Client, u16) -> Result<Vec<T>, Failure>,
    lines: impl FnOnce(&[T]) -> String,
) -> Outcome {
    let mut rows = Vec::new();
    let mut unknown = None;
    for word in &parsed.operands {
        match domains::find(session, word) {
            Ok(domid) => rows.extend(of(session.store()?, domid)?),
            Err(failure) if failure.code == code::FAILED && failure.because.is_empty() => {
                unknown = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    output::print(&if parsed.json() {
        format::json::ours(&rows)
    } else {
        format::on_terminal(header + &lines(&rows), output::colours())
    });
    match unknown {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}
