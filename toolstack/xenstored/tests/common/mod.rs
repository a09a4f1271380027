//! A server without descriptors: messages in, messages out.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use xenstore::wire::{HEADER_SIZE, Header};
use xenstore::{Errno, MessageType};
use xenstored::rights::Subject;
use xenstored::server::{DomainState, Platform, Server};
use xenstored::watch::Connection;

/// Domains that exist, as the test says.
#[derive(Default)]
pub struct Fake {
    pub states: BTreeMap<u16, DomainState>,
    pub connected: BTreeSet<u16>,
}

impl Platform for Fake {
    fn connect(&mut self, domid: u16, _: u64, _: u32) -> Result<(), Errno> {
        if !self.states.contains_key(&domid) {
            return Err(Errno::Invalid);
        }
        self.connected.insert(domid);
        Ok(())
    }

    fn disconnect(&mut self, domid: u16) {
        self.connected.remove(&domid);
    }

    fn state(&mut self, domid: u16) -> Option<DomainState> {
        self.states.get(&domid).copied()
    }
}

/// A server with a tool's socket and domains.
pub struct Bench {
    pub server: Server,
    pub fake: Fake,
    pub tool: Connection,
    pub frames: Vec<u8>,
}

/// An answer: its type, its payload.
pub type Reply = (MessageType, Vec<u8>);

impl Bench {
    pub fn new(domains: &[u16]) -> Self {
        let mut server = Server::new();
        let states = domains.iter().map(|domid| (*domid, DomainState::default())).collect();
        let fake = Fake { states, ..Fake::default() };
        let tool = server.add_client(Subject::new(0), false);
        let frames = server.snapshot(&mut |_| Default::default());
        let mut bench = Self { server, fake, tool, frames };
        for domid in domains {
            let words = format!("{domid}\x001\x001\0");
            assert_eq!(bench.tool(MessageType::Introduce, words.as_bytes()), Ok(b"OK\0".to_vec()));
        }
        bench
    }

    pub fn domain(&self, domid: u16) -> Connection {
        self.server.domains[&domid].connection
    }

    /// Asks, and takes all that waits: the answer, and events.
    pub fn ask(
        &mut self,
        from: Connection,
        kind: MessageType,
        transaction: u32,
        payload: &[u8],
    ) -> (Result<Vec<u8>, Errno>, Vec<(String, String)>) {
        let length = payload.len() as u32;
        let header = Header { kind: kind as u32, request: 7, transaction, length };
        self.server.handle(from, &header, payload, &mut self.fake);
        let mut answer = None;
        let mut events = Vec::new();
        for (header, payload) in self.take(from) {
            let text = String::from_utf8_lossy(&payload).into_owned();
            let words: Vec<&str> = text.split('\0').collect();
            if header.kind == MessageType::WatchEvent as u32 {
                events.push((words[0].to_owned(), words[1].to_owned()));
            } else {
                assert_eq!((header.request, header.transaction), (7, transaction));
                answer = Some(if header.kind == MessageType::Error as u32 {
                    Err(Errno::from_name(words[0].as_bytes()).unwrap())
                } else {
                    assert_eq!(header.kind, kind as u32);
                    Ok(payload)
                });
            }
        }
        if !self.server.journal.is_empty() {
            let frame = self.server.journal.frame();
            self.frames.extend(frame);
        }
        (answer.unwrap(), events)
    }

    pub fn tool(&mut self, kind: MessageType, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        self.ask(self.tool, kind, 0, payload).0
    }

    /// All messages that wait for a client.
    pub fn take(&mut self, from: Connection) -> Vec<(Header, Vec<u8>)> {
        let outbox = &self.server.clients[&from].outbox;
        let bytes = outbox.peek(0, usize::MAX);
        self.server.took(from, bytes.len());
        let mut rest = bytes.as_slice();
        let mut messages = Vec::new();
        while let Some(header) = Header::decode(rest) {
            let end = HEADER_SIZE + header.length as usize;
            messages.push((header, rest[HEADER_SIZE..end].to_vec()));
            rest = &rest[end..];
        }
        assert!(rest.is_empty());
        messages
    }

    /// Paths of the events that wait for a client.
    pub fn events(&mut self, from: Connection) -> Vec<String> {
        let messages = self.take(from);
        let event = |payload: &[u8]| {
            String::from_utf8_lossy(payload).split('\0').next().unwrap().to_owned()
        };
        messages.iter().map(|(_, payload)| event(payload)).collect()
    }

    /// Each node with value and permissions, in the order of listing.
    pub fn nodes(&self) -> Vec<(String, Vec<u8>, String)> {
        nodes(&self.server)
    }
}

/// Each node of a server with value and permissions, in the order of listing.
pub fn nodes(server: &Server) -> Vec<(String, Vec<u8>, String)> {
    let mut nodes = Vec::new();
    server.tree.walk(&mut |path, node| {
        let list: Vec<String> = node.permissions.iter().map(|entry| entry.to_string()).collect();
        nodes.push((path.to_owned(), node.value.to_vec(), list.join(",")));
    });
    nodes
}
