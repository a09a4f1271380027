//! `network-list`, `block-list`, `channel-list`.

use serde::Serialize;
use std::fmt::Write as _;

/// A network interface. Numbers that the store does not have are -1, as C prints them.
#[derive(Debug, Clone, Serialize)]
pub struct Vif {
    /// Whose.
    pub domid: u16,
    /// Its number.
    pub devid: i64,
    /// The domain of its back end.
    pub backend: i64,
    /// Its address.
    pub mac: String,
    /// Its handle.
    pub handle: i64,
    /// The front end's state: 4 is connected.
    pub state: i64,
    /// Its event channel.
    pub event_channel: i64,
    /// Its rings' grants.
    pub tx_ring_ref: i64,
    /// Its rings' grants.
    pub rx_ring_ref: i64,
    /// Its back end's nodes in the store.
    pub backend_path: String,
}

/// The header of `network-list`.
pub fn vif_header() -> String {
    format!(
        "{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>5}/{:<5} {:<30}\n",
        "Idx", "BE", "Mac Addr.", "handle", "state", "evt-ch", "tx-", "rx-ring-ref", "BE-path"
    )
}

/// The rows of `network-list`.
pub fn vifs(rows: &[Vif]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(
            text,
            "{:<3} {:<2} {}{:6} {:5} {:6} {:5}/{:<11} {:<30}",
            row.devid,
            row.backend,
            row.mac,
            row.handle,
            row.state,
            row.event_channel,
            row.tx_ring_ref,
            row.rx_ring_ref,
            row.backend_path
        );
    }
    text
}

/// A disk.
#[derive(Debug, Clone, Serialize)]
pub struct Vbd {
    /// Whose.
    pub domid: u16,
    /// Its virtual device number.
    pub vdev: i64,
    /// The domain of its back end.
    pub backend: i64,
    /// The domain of its front end, which C calls its handle.
    pub handle: i64,
    /// The front end's state: 4 is connected.
    pub state: i64,
    /// Its event channel.
    pub event_channel: i64,
    /// Its ring's grant.
    pub ring_ref: i64,
    /// Its back end's nodes in the store.
    pub backend_path: String,
    /// Its name in the guest, as xvda.
    pub name: String,
    /// What is behind it: a file or device.
    pub target: String,
    /// r or w.
    pub mode: String,
}

/// The header of `block-list`.
pub fn vbd_header() -> String {
    format!(
        "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}\n",
        "Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path"
    )
}

/// The rows of `block-list`.
pub fn vbds(rows: &[Vbd]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(
            text,
            "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}",
            row.vdev,
            row.backend,
            row.handle,
            row.state,
            row.event_channel,
            row.ring_ref,
            row.backend_path
        );
    }
    text
}

/// A channel.
#[derive(Debug, Clone, Serialize)]
pub struct Channel {
    /// Whose.
    pub domid: u16,
    /// Its number.
    pub devid: i64,
    /// The domain of its back end.
    pub backend: i64,
    /// Its front end's state.
    pub state: i64,
    /// Its event channel.
    pub event_channel: i64,
    /// Its ring's grant.
    pub ring_ref: i64,
    /// pty or socket.
    pub connection: String,
    /// The pty's or socket's path.
    pub path: String,
}

/// The header of `channel-list`.
pub fn channel_header() -> String {
    format!(
        "{:<3} {:<2} {:<5} {:<6} {:>8} {:<10} {:<30}\n",
        "Idx", "BE", "state", "evt-ch", "ring-ref", "connection", ""
    )
}

/// The rows of `channel-list`.
pub fn channels(rows: &[Channel]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(
            text,
            "{:<3} {:<2} {:<5} {:<6} {:<8} {:<10} {:<30}",
            row.devid,
            row.backend,
            row.state,
            row.event_channel,
            row.ring_ref,
            row.connection,
            row.path
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_list_has_debians_bytes() {
        let vif = Vif {
            domid: 1,
            devid: 0,
            backend: 0,
            mac: "00:16:3e:77:00:02".to_owned(),
            handle: 0,
            state: 4,
            event_channel: -1,
            tx_ring_ref: 522,
            rx_ring_ref: 523,
            backend_path: "/local/domain/0/backend/vif/1/0".to_owned(),
        };
        assert_eq!(
            vif_header() + &vifs(&[vif]),
            "Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       \n\
             0   0  00:16:3e:77:00:02     0     4     -1   522/523         /local/domain/0/backend/vif/1/0\n"
        );
    }

    #[test]
    fn block_list_has_debians_bytes() {
        let vbd = Vbd {
            domid: 1,
            vdev: 51712,
            backend: 0,
            handle: 1,
            state: 4,
            event_channel: 8,
            ring_ref: 8,
            backend_path: "/local/domain/0/backend/vbd/1/51712".to_owned(),
            name: "xvda".to_owned(),
            target: "/root/disk.img".to_owned(),
            mode: "w".to_owned(),
        };
        assert_eq!(
            vbd_header() + &vbds(&[vbd]),
            "Vdev  BE  handle state evt-ch ring-ref BE-path                       \n\
             51712 0   1      4     8      8        /local/domain/0/backend/vbd/1/51712\n"
        );
    }

    #[test]
    fn channel_list_has_debians_header() {
        assert_eq!(
            channel_header(),
            "Idx BE state evt-ch ring-ref connection                               \n"
        );
    }
}
