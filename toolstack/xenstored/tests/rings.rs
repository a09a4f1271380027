//! Rings of domains, their pages being memory of this test: what they are served, what a hostile one
//! costs, and what is left of all after a kill at any moment.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::type_complexity,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod common;

use common::{Bench, Fake};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use xenstore::wire::ring as layout;
use xenstore::wire::{HEADER_SIZE, Header};
use xenstore::{Errno, MessageType};
use xenstored::quota::Quota;
use xenstored::restore::Restored;
use xenstored::ring::{Broken, Page, Ring};
use xenstored::server::{DomainState, Server};
use xenstored::state_file::bodies;

/// A page that both sides hold.
#[derive(Clone)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Memory {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; 4096])))
    }
}

impl Page for Memory {
    fn read(&self, offset: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0.borrow()[offset..offset + to.len()]);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.0.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
    }

    fn load(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }
}

/// A guest's side of a ring.
struct Guest {
    page: Memory,
    waiting: Vec<u8>,
    input: Vec<u8>,
}

impl Guest {
    fn send(&mut self, request: u32, kind: MessageType, transaction: u32, payload: &[u8]) {
        let length = payload.len() as u32;
        let header = Header { kind: kind as u32, request, transaction, length };
        self.waiting.extend_from_slice(&header.encode());
        self.waiting.extend_from_slice(payload);
    }

    /// Moves bytes both ways, as far as the ring has room.
    fn step(&mut self) {
        let page = &self.page;
        let producer = page.load(layout::REQUEST_PRODUCER);
        let used = producer.wrapping_sub(page.load(layout::REQUEST_CONSUMER));
        let count = self.waiting.len().min((layout::SIZE - used) as usize);
        for (n, byte) in self.waiting.drain(..count).enumerate() {
            let at = (producer.wrapping_add(n as u32) % layout::SIZE) as usize;
            page.write(layout::REQUESTS + at, &[byte]);
        }
        page.store(layout::REQUEST_PRODUCER, producer.wrapping_add(count as u32));
        let consumer = page.load(layout::REPLY_CONSUMER);
        let count = page.load(layout::REPLY_PRODUCER).wrapping_sub(consumer);
        for n in 0..count {
            let mut byte = [0];
            page.read(
                layout::REPLIES + (consumer.wrapping_add(n) % layout::SIZE) as usize,
                &mut byte,
            );
            self.input.push(byte[0]);
        }
        page.store(layout::REPLY_CONSUMER, consumer.wrapping_add(count));
    }

    fn messages(&mut self) -> Vec<(Header, Vec<u8>)> {
        let mut messages = Vec::new();
        while let Some(header) = Header::decode(&self.input) {
            let end = HEADER_SIZE + header.length as usize;
            if self.input.len() < end {
                break;
            }
            messages.push((header, self.input[HEADER_SIZE..end].to_vec()));
            self.input.drain(..end);
        }
        messages
    }
}

/// A server with one guest's ring, doing what the daemon's loop does.
struct Loop {
    server: Server,
    fake: Fake,
    ring: Ring<Memory>,
    frames: Vec<u8>,
}

impl Loop {
    fn new(page: Memory, first_index: u32) -> Self {
        for index in [
            layout::REQUEST_CONSUMER,
            layout::REQUEST_PRODUCER,
            layout::REPLY_CONSUMER,
            layout::REPLY_PRODUCER,
        ] {
            page.store(index, first_index);
        }
        let mut bench = Bench::new(&[1]);
        let home = b"/local/domain/1\0".to_vec();
        bench.tool(MessageType::Mkdir, &home).unwrap();
        bench.tool(MessageType::SetPerms, &[&home[..], b"n1\0"].concat()).unwrap();
        let connection = bench.domain(1);
        let Bench { server, fake, frames, .. } = bench;
        Self { server, fake, ring: Ring::new(page, connection, 1), frames }
    }

    fn take(&mut self) -> Result<(), Broken> {
        while self.server.accepts(self.ring.connection) {
            let Some(message) = self.ring.next_message()? else { break };
            let from = self.ring.connection;
            self.server.handle(from, &message.header, &message.payload, &mut self.fake);
        }
        Ok(())
    }

    fn note(&mut self) {
        if !self.server.journal.is_empty() || self.ring.must_be_noted(&self.server) {
            self.ring.note(1, &mut self.server);
        }
        if !self.server.journal.is_empty() {
            let frame = self.server.journal.frame();
            self.frames.extend(frame);
        }
    }

    fn turn(&mut self) {
        self.take().unwrap();
        self.note();
        self.ring.publish(&mut self.server);
    }

    /// What follows a kill: only page and journal are left.
    fn kill(self, page: Memory) -> Self {
        let mut fake = self.fake;
        let (mut server, rings) = Restored::read(&bodies(&self.frames)).finish(&mut fake);
        let (domid, state) = rings[0].clone();
        assert_eq!(domid, 1);
        let mut ring = Ring::new(page, server.domains[&1].connection, 1);
        let rest = ring.restore(&state);
        server.clients.get_mut(&ring.connection).unwrap().outbox.restore(rest);
        // The daemon writes a new journal as it starts.
        let frames = server.snapshot(&mut |_| Default::default());
        let mut next = Self { server, fake, ring, frames };
        next.frames = next.server.snapshot(&mut |_| Default::default());
        let state = next.ring.state(&next.server);
        next.frames = next.server.snapshot(&mut |_| state.clone());
        next
    }
}

/// Requests whose answers tell each other apart, of all sizes, one after the other.
fn conversation(guest: &mut Guest) -> Vec<(u32, Vec<u8>)> {
    let mut expected = Vec::new();
    for n in 0..40u32 {
        let value: Vec<u8> = (0..n * 37 % 1500).map(|k| (k + n) as u8).collect();
        let payload = [format!("data/{n}\0").as_bytes(), &value].concat();
        guest.send(n * 2 + 1, MessageType::Write, 0, &payload);
        expected.push((n * 2 + 1, b"OK\0".to_vec()));
        guest.send(n * 2 + 2, MessageType::Read, 0, format!("data/{n}\0").as_bytes());
        expected.push((n * 2 + 2, value));
    }
    expected
}

#[test]
fn a_conversation_with_a_kill_at_any_moment_is_as_one_without() {
    // Where in the loop, and in which round, the daemon is killed.
    for place in 0..4 {
        for period in [1, 2, 3, 7] {
            let page = Memory::new();
            let mut guest = Guest { page: page.clone(), waiting: Vec::new(), input: Vec::new() };
            let mut daemon = Loop::new(page.clone(), 0u32.wrapping_sub(700));
            let expected = conversation(&mut guest);
            let mut got = Vec::new();
            for round in 0..3000 {
                guest.step();
                got.extend(guest.messages().into_iter().map(|(h, payload)| (h.request, payload)));
                if got.len() >= expected.len() {
                    break;
                }
                let dies = round % period == period - 1;
                if !(dies && place == 0) {
                    daemon.take().unwrap();
                    if !(dies && place == 1) {
                        daemon.note();
                        if !(dies && place == 2) {
                            daemon.ring.publish(&mut daemon.server);
                        }
                    }
                }
                if dies {
                    daemon = daemon.kill(page.clone());
                    // It has to get somewhere between two kills.
                    daemon.turn();
                }
            }
            assert_eq!(got, expected, "killed at place {place}, every {period} rounds");
        }
    }
}

#[test]
fn watches_and_their_undelivered_events_survive_a_kill() {
    let page = Memory::new();
    let mut guest = Guest { page: page.clone(), waiting: Vec::new(), input: Vec::new() };
    let mut daemon = Loop::new(page.clone(), 0);
    guest.send(1, MessageType::Watch, 0, b"control\0tok\0");
    guest.step();
    daemon.turn();
    guest.step();
    assert_eq!(guest.messages().len(), 2);
    let path = b"/local/domain/1/control/shutdown\0reboot";
    let length = path.len() as u32;
    let header = Header { kind: 11, request: 1, transaction: 0, length };
    let tool = daemon.server.add_client(xenstored::rights::Subject::new(0), false);
    daemon.server.handle(tool, &header, path, &mut daemon.fake);
    daemon.note();
    let mut daemon = daemon.kill(page.clone());
    daemon.turn();
    guest.step();
    let events = guest.messages();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1, b"control/shutdown\0tok\0");
    guest.send(2, MessageType::Unwatch, 0, b"control\0tok\0");
    guest.step();
    daemon.turn();
    guest.step();
    assert_eq!(guest.messages()[0].1, b"OK\0");
}

#[test]
fn a_transaction_that_a_kill_cut_off_goes_on_and_ends_with_again() {
    let page = Memory::new();
    let mut guest = Guest { page: page.clone(), waiting: Vec::new(), input: Vec::new() };
    let mut daemon = Loop::new(page.clone(), 0);
    guest.send(1, MessageType::TransactionStart, 0, b"\0");
    guest.step();
    daemon.turn();
    guest.step();
    assert_eq!(guest.messages()[0].1, b"1\0");
    let mut daemon = daemon.kill(page.clone());
    guest.send(2, MessageType::Write, 1, b"x\0y");
    guest.send(3, MessageType::TransactionEnd, 1, b"T\0");
    guest.send(4, MessageType::TransactionStart, 0, b"\0");
    guest.step();
    daemon.turn();
    guest.step();
    let answers: Vec<_> = guest.messages().into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(answers, [b"OK\0".to_vec(), b"EAGAIN\0".to_vec(), b"2\0".to_vec()]);
    assert!(daemon.server.tree.get("/local/domain/1/x").is_none());
}

#[test]
fn a_forged_index_or_length_ends_that_ring_and_is_told_in_its_page() {
    let page = Memory::new();
    let mut daemon = Loop::new(page.clone(), 0);
    page.store(layout::REQUEST_PRODUCER, 1025);
    assert_eq!(daemon.take(), Err(Broken::Index));
    assert_eq!(page.load(layout::ERROR), layout::ERROR_INDEX);
    assert_eq!(daemon.take(), Err(Broken::Index));
    daemon.ring.reset();
    assert_eq!(page.load(layout::ERROR), layout::ERROR_NONE);
    let header = Header { kind: 2, request: 0, transaction: 0, length: 4097 };
    page.write(layout::REQUESTS, &header.encode());
    page.store(layout::REQUEST_PRODUCER, 16);
    assert_eq!(daemon.take(), Err(Broken::Length));
    assert_eq!(page.load(layout::ERROR), layout::ERROR_PROTOCOL);
}

/// Linux writes a header, then a payload, and tells of the second only if the first was taken.
#[test]
fn a_part_of_a_message_is_taken_at_once_and_its_rest_completes_it() {
    let page = Memory::new();
    let mut guest = Guest { page: page.clone(), waiting: Vec::new(), input: Vec::new() };
    let mut daemon = Loop::new(page.clone(), 0);
    guest.send(1, MessageType::Read, 0, b"/tool\0");
    let whole = std::mem::take(&mut guest.waiting);
    for (sent, byte) in whole.iter().enumerate() {
        guest.waiting.push(*byte);
        guest.step();
        assert!(guest.messages().is_empty());
        daemon.turn();
        assert_eq!(page.load(layout::REQUEST_CONSUMER), sent as u32 + 1);
        if sent % 5 == 4 {
            daemon = daemon.kill(page.clone());
        }
    }
    guest.step();
    assert_eq!(guest.messages()[0].1, b"EACCES\0");
}

#[test]
fn a_ring_that_takes_no_answers_is_not_read_on_and_its_memory_is_bounded() {
    let page = Memory::new();
    let mut daemon = Loop::new(page.clone(), 0);
    let mut sent = 0u32;
    for _ in 0..2000 {
        let request = Header { kind: 1, request: sent, transaction: 0, length: 2 };
        let bytes = [&request.encode()[..], b"/\0"].concat();
        let producer = page.load(layout::REQUEST_PRODUCER);
        let used = producer.wrapping_sub(page.load(layout::REQUEST_CONSUMER));
        if used + bytes.len() as u32 <= layout::SIZE {
            for (n, byte) in bytes.iter().enumerate() {
                let at = (producer.wrapping_add(n as u32) % layout::SIZE) as usize;
                page.write(layout::REQUESTS + at, &[*byte]);
            }
            page.store(layout::REQUEST_PRODUCER, producer.wrapping_add(bytes.len() as u32));
            sent += 1;
        }
        daemon.turn();
    }
    // The answers' ring, the outstanding ones, the requests' ring: then it stops.
    assert!(sent < 200, "{sent}");
    let outbox = &daemon.server.clients[&daemon.ring.connection].outbox;
    assert!(outbox.answers() as u64 <= daemon.server.quotas.get(Quota::Outstanding));
}

#[test]
fn a_domain_that_takes_no_events_is_bounded_by_its_memory_quota() {
    let mut bench = Bench::new(&[1]);
    let guest = bench.domain(1);
    bench.tool(MessageType::Mkdir, b"/shared\0").unwrap();
    bench.tool(MessageType::SetPerms, b"/shared\0r0\0").unwrap();
    bench.ask(guest, MessageType::Watch, 0, b"/shared\0t\0").0.unwrap();
    for n in 0..40_000 {
        let path = format!("/shared/{}{n}\0", "x".repeat(100));
        bench.tool(MessageType::Write, path.as_bytes()).unwrap();
        bench.tool(MessageType::Rm, path.as_bytes()).unwrap();
    }
    let quota = bench.server.quotas.get(Quota::Memory) as usize;
    assert!(bench.server.clients[&guest].outbox.bytes() <= quota + 4096);
    let lines = bench.server.take_lines().join("\n");
    assert!(lines.contains("domain 1") && lines.contains("quota memory"), "{lines}");
}

#[test]
fn each_quota_refuses_and_says_its_name_and_the_domain() {
    let mut bench = Bench::new(&[1]);
    bench.tool(MessageType::Mkdir, b"/local/domain/1\0").unwrap();
    bench.tool(MessageType::SetPerms, b"/local/domain/1\0n1\0").unwrap();
    let guest = bench.domain(1);
    for (quota, limit) in [
        (Quota::Nodes, 4),
        (Quota::Watches, 2),
        (Quota::Transactions, 2),
        (Quota::NodePermissions, 2),
        (Quota::NodeSize, 100),
        (Quota::PathLength, 20),
    ] {
        let words = format!("quota\0set\0{}\0{limit}\0", quota.name());
        bench.tool(MessageType::Control, words.as_bytes()).unwrap();
    }
    let mut ask = |kind, payload: &[u8]| bench.ask(guest, kind, 0, payload).0;
    assert!(ask(MessageType::Write, b"a\0").is_ok());
    assert_eq!(ask(MessageType::Write, b"b/c/d/e\0"), Err(Errno::NoSpace));
    assert_eq!(ask(MessageType::Write, &[b"a\0", &[b'x'; 101][..]].concat()), Err(Errno::NoSpace));
    assert_eq!(ask(MessageType::SetPerms, b"a\0n1\0r2\0r3\0"), Err(Errno::NoSpace));
    assert_eq!(ask(MessageType::Read, &[&[b'p'; 21][..], b"\0"].concat()), Err(Errno::Invalid));
    for n in 0..3 {
        let watch = ask(MessageType::Watch, format!("a\0{n}\0").as_bytes());
        assert_eq!(watch.is_ok(), n < 2);
        assert_eq!(watch.err().unwrap_or(Errno::TooBig), Errno::TooBig);
        let begun = ask(MessageType::TransactionStart, b"\0");
        assert_eq!(begun.is_ok(), n < 2);
    }
    let lines = bench.server.take_lines().join("\n");
    for name in ["nodes", "node-size", "node-permissions", "watches", "transactions"] {
        assert!(lines.contains(&format!("domain 1 exceeds its quota {name} ")), "{name}: {lines}");
    }
}

#[test]
fn a_domain_that_is_gone_leaves_no_node_no_right_and_no_watch_and_its_end_is_told() {
    let mut bench = Bench::new(&[1, 2]);
    for path in ["/local/domain/1", "/shared"] {
        bench.tool(MessageType::Mkdir, format!("{path}\0").as_bytes()).unwrap();
    }
    bench.tool(MessageType::SetPerms, b"/local/domain/1\0n1\0").unwrap();
    bench.tool(MessageType::SetPerms, b"/shared\0n0\0b1\0r2\0").unwrap();
    let guest = bench.domain(1);
    bench.ask(guest, MessageType::Write, 0, b"a/b\0v").0.unwrap();
    bench.ask(guest, MessageType::Watch, 0, b"/shared\0t\0").0.unwrap();
    let tool = bench.tool;
    bench.ask(tool, MessageType::Watch, 0, b"@releaseDomain\0r\0").0.unwrap();
    bench.fake.states.insert(1, DomainState { shutdown: true, dying: false });
    bench.server.check_domains(&mut bench.fake);
    assert_eq!(bench.events(tool), ["@releaseDomain"]);
    bench.server.check_domains(&mut bench.fake);
    assert!(bench.events(tool).is_empty(), "told once");
    assert!(bench.fake.connected.contains(&1));
    bench.fake.states.insert(1, DomainState { shutdown: true, dying: true });
    bench.server.check_domains(&mut bench.fake);
    assert_eq!(bench.events(tool), ["@releaseDomain"]);
    assert_eq!(bench.fake.connected, BTreeSet::from([2]));
    let nodes = bench.nodes();
    assert!(!nodes.iter().any(|(path, ..)| path.starts_with("/local/domain/1")));
    let shared = nodes.iter().find(|(path, ..)| path == "/shared").unwrap();
    assert_eq!(shared.2, "n0,r2");
    assert!(bench.server.watches.of(guest).is_empty());
    assert_eq!(bench.tool(MessageType::IsDomainIntroduced, b"1\0"), Ok(b"F\0".to_vec()));
}

#[test]
fn a_domain_sees_events_only_of_what_it_may_read() {
    let mut bench = Bench::new(&[1]);
    let guest = bench.domain(1);
    bench.ask(guest, MessageType::Watch, 0, b"/\0t\0").0.unwrap();
    bench.tool(MessageType::Write, b"/secret/a\0v").unwrap();
    assert!(bench.events(guest).is_empty());
    bench.tool(MessageType::SetPerms, b"/secret/a\0n0\0r1\0").unwrap();
    assert_eq!(bench.events(guest), ["/secret/a"]);
    bench.tool(MessageType::Write, b"/secret/a\0w").unwrap();
    assert_eq!(bench.events(guest), ["/secret/a"]);
    bench.tool(MessageType::SetPerms, b"/secret/a\0n0\0").unwrap();
    assert_eq!(bench.events(guest), ["/secret/a"], "it could see that it cannot any more");
    bench.tool(MessageType::Rm, b"/secret\0").unwrap();
    assert!(bench.events(guest).is_empty());
}

#[test]
fn what_only_dom0_may_is_refused_to_domains() {
    let mut bench = Bench::new(&[1]);
    let guest = bench.domain(1);
    for (kind, payload) in [
        (MessageType::Introduce, &b"2\x001\x001\0"[..]),
        (MessageType::Release, b"1\0"),
        (MessageType::Resume, b"1\0"),
        (MessageType::SetTarget, b"1\x000\0"),
        (MessageType::Control, b"help\0"),
        (MessageType::GetPerms, b"@releaseDomain\0"),
        (MessageType::SetPerms, b"@releaseDomain\0n1\0"),
        (MessageType::Write, b"/tool/x\0"),
    ] {
        assert_eq!(bench.ask(guest, kind, 0, payload).0, Err(Errno::Access), "{kind:?}");
    }
}
