//! A store with domains that exist only here, and what must hold of it at any moment.
#![allow(dead_code, reason = "each target uses a part of it")]

use xenstore::wire::{HEADER_SIZE, Header, PAYLOAD_MAX};
use xenstore::{Errno, MessageType};
use xenstored::quota::Quota;
use xenstored::restore::Restored;
use xenstored::rights::Subject;
use xenstored::server::{DomainState, Platform, Server};
use xenstored::state_file::bodies;
use xenstored::watch::Connection;

/// Domains that exist.
pub const DOMAINS: [u16; 3] = [1, 2, 3];

/// Limits that a short input can reach.
const LIMITS: [(Quota, u64); 7] = [
    (Quota::Nodes, 8),
    (Quota::Watches, 4),
    (Quota::Transactions, 3),
    (Quota::TransactionNodes, 6),
    (Quota::NodePermissions, 3),
    (Quota::NodeSize, 256),
    (Quota::Memory, 16 << 10),
];

/// A machine whose domains are [`DOMAINS`].
pub struct Machine;

impl Platform for Machine {
    fn connect(&mut self, domid: u16, _: u64, _: u32) -> Result<(), Errno> {
        if DOMAINS.contains(&domid) { Ok(()) } else { Err(Errno::Invalid) }
    }

    fn disconnect(&mut self, _: u16) {}

    fn state(&mut self, domid: u16) -> Option<DomainState> {
        DOMAINS.contains(&domid).then(DomainState::default)
    }
}

/// The store, a tool's socket, and the journal so far.
pub struct Store {
    pub server: Server,
    pub tool: Connection,
    pub frames: Vec<u8>,
}

impl Store {
    pub fn new() -> Self {
        let mut server = Server::new();
        for (quota, limit) in LIMITS {
            server.quotas.set(quota, limit);
        }
        let tool = server.add_client(Subject::new(0), false);
        let frames = server.snapshot(&mut |_| Default::default());
        let mut store = Self { server, tool, frames };
        for domid in DOMAINS {
            let home = format!("/local/domain/{domid}\0");
            let words = format!("{domid}\x001\x001\0");
            store.ask(tool, MessageType::Introduce as u32, 0, words.as_bytes());
            store.ask(tool, MessageType::Mkdir as u32, 0, home.as_bytes());
            let rights = format!("{home}n{domid}\0r{}\0", domid % 3 + 1);
            store.ask(tool, MessageType::SetPerms as u32, 0, rights.as_bytes());
        }
        store
    }

    /// A domain's connection, if it is introduced.
    pub fn domain(&self, domid: u16) -> Option<Connection> {
        self.server.domains.get(&domid).map(|domain| domain.connection)
    }

    /// Sends a request and takes all that waits: whole messages, one of which answers it.
    pub fn ask(&mut self, from: Connection, kind: u32, transaction: u32, payload: &[u8]) {
        let header = Header { kind, request: 7, transaction, length: payload.len() as u32 };
        self.server.handle(from, &header, payload, &mut Machine);
        self.keep_journal();
        let Some(client) = self.server.clients.get(&from) else { return };
        let bytes = client.outbox.peek(0, usize::MAX);
        self.server.took(from, bytes.len());
        let mut answers = 0;
        for (header, payload) in whole(&bytes) {
            if header.kind == MessageType::WatchEvent as u32 {
                assert_eq!(payload.iter().filter(|byte| **byte == 0).count(), 2);
                continue;
            }
            answers += 1;
            assert_eq!((header.request, header.transaction), (7, transaction));
            if header.kind == MessageType::Error as u32 {
                let name = payload.strip_suffix(b"\0").expect("a name that ends");
                assert!(Errno::from_name(name).is_some());
            } else {
                assert_eq!(header.kind, kind);
            }
        }
        assert_eq!(answers, 1);
    }

    /// Takes what is to be written over into the journal.
    pub fn keep_journal(&mut self) {
        if !self.server.journal.is_empty() {
            let frame = self.server.journal.frame();
            self.frames.extend(frame);
        }
        self.server.take_lines();
    }

    /// No domain holds more than its limits; `nodes` where nobody else gave it any.
    pub fn bounded(&self, nodes: bool) {
        let server = &self.server;
        for (domid, domain) in &server.domains {
            let client = &server.clients[&domain.connection];
            let most = |quota| server.quotas.get(quota) as usize;
            assert!(server.watches.of(domain.connection).len() <= most(Quota::Watches));
            assert!(client.transactions.len() <= most(Quota::Transactions));
            for transaction in client.transactions.values() {
                assert!(transaction.used() <= most(Quota::TransactionNodes));
            }
            let answers = most(Quota::Outstanding) + 1;
            let room = most(Quota::Memory) + answers * (HEADER_SIZE + PAYLOAD_MAX);
            assert!(client.outbox.bytes() <= room, "{} bytes wait", client.outbox.bytes());
            if nodes {
                assert!(server.holdings.get(*domid).nodes <= most(Quota::Nodes) as _);
            }
        }
    }

    /// Counted anew, domains hold what was counted; a daemon that reads the journal has the same nodes.
    pub fn consistent(&mut self) {
        let counted = self.server.holdings.clone();
        self.ask(self.tool, MessageType::Control as u32, 0, b"check\0");
        assert_eq!(counted, self.server.holdings);
        let (restored, _) = Restored::read(&bodies(&self.frames)).finish(&mut Machine);
        assert_eq!(nodes(&restored), nodes(&self.server));
        assert_eq!(restored.holdings, self.server.holdings);
        let domains = |server: &Server| server.domains.keys().copied().collect::<Vec<u16>>();
        assert_eq!(domains(&restored), domains(&self.server));
    }

    /// Every domain is released: nothing of theirs is left but nodes.
    pub fn released(&mut self) {
        for domid in DOMAINS {
            let Some(connection) = self.domain(domid) else { continue };
            let words = format!("{domid}\0");
            self.ask(self.tool, MessageType::Release as u32, 0, words.as_bytes());
            assert!(self.server.watches.of(connection).is_empty());
            assert!(!self.server.clients.contains_key(&connection));
        }
        assert!(self.server.domains.is_empty());
        self.consistent();
    }
}

/// The messages that these bytes are; nothing may be left over.
fn whole(bytes: &[u8]) -> Vec<(Header, &[u8])> {
    let mut rest = bytes;
    let mut messages = Vec::new();
    while let Some(header) = Header::decode(rest) {
        assert!(header.length as usize <= PAYLOAD_MAX);
        let end = HEADER_SIZE + header.length as usize;
        messages.push((header, rest.get(HEADER_SIZE..end).expect("a whole payload")));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
    messages
}

fn nodes(server: &Server) -> Vec<(String, Vec<u8>, String)> {
    let mut nodes = Vec::new();
    server.tree.walk(&mut |path, node| {
        let list: Vec<String> = node.permissions.iter().map(|entry| entry.to_string()).collect();
        nodes.push((path.to_owned(), node.value.to_vec(), list.join(",")));
    });
    nodes
}
