//! A domain does to the page that it shares with the daemon what it likes, byte by byte, while the daemon
//! serves it, is killed and started again: nothing panics, what waits for the domain is bounded, and the
//! others are served.
#![no_main]

mod common;

use common::{Machine, Store};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::rc::Rc;
use xenstore::MessageType;
use xenstore::wire::{Header, ring as layout};
use xenstored::restore::Restored;
use xenstored::rights::Subject;
use xenstored::ring::{Page, Ring};
use xenstored::state_file::bodies;

const DOMID: u16 = 1;

#[derive(Clone)]
struct Memory(Rc<RefCell<Vec<u8>>>);

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

impl Memory {
    /// Puts bytes behind those that are there, as an honest domain does, as far as there is room.
    fn send(&self, bytes: &[u8]) {
        let producer = self.load(layout::REQUEST_PRODUCER);
        let used = producer.wrapping_sub(self.load(layout::REQUEST_CONSUMER));
        let count = bytes.len().min(layout::SIZE.saturating_sub(used) as usize);
        for (n, byte) in bytes[..count].iter().enumerate() {
            let at = producer.wrapping_add(n as u32) % layout::SIZE;
            self.write(layout::REQUESTS + at as usize, &[*byte]);
        }
        self.store(layout::REQUEST_PRODUCER, producer.wrapping_add(count as u32));
    }
}

/// What the daemon's loop does with one ring.
struct Daemon {
    store: Store,
    ring: Ring<Memory>,
}

impl Daemon {
    fn turn(&mut self, publishes: bool) {
        let from = self.ring.connection;
        while self.store.server.accepts(from) {
            let Ok(Some(message)) = self.ring.next_message() else { break };
            self.store.server.handle(from, &message.header, &message.payload, &mut Machine);
        }
        if !self.store.server.journal.is_empty() || self.ring.must_be_noted(&self.store.server) {
            self.ring.note(DOMID, &mut self.store.server);
        }
        self.store.keep_journal();
        if publishes {
            self.ring.publish(&mut self.store.server);
        }
    }

    /// Only page and journal are left; the next daemon begins with a new journal.
    fn restarted(self, page: Memory) -> Self {
        let (mut server, rings) = Restored::read(&bodies(&self.store.frames)).finish(&mut Machine);
        server.quotas = self.store.server.quotas.clone();
        let state = rings.iter().find(|(domid, _)| *domid == DOMID).expect("the ring").1.clone();
        let mut ring = Ring::new(page, server.domains[&DOMID].connection, DOMID.into());
        let waiting = ring.restore(&state);
        server.clients.get_mut(&ring.connection).expect("a client").outbox.restore(waiting);
        let tool = server.add_client(Subject::new(0), false);
        let state = ring.state(&server);
        let frames = server.snapshot(&mut |domid| match domid {
            DOMID => state.clone(),
            _ => Default::default(),
        });
        Self { store: Store { server, tool, frames }, ring }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((start, mut rest)) = data.split_first_chunk::<4>() else { return };
    let page = Memory(Rc::new(RefCell::new(vec![0; 4096])));
    for index in [
        layout::REQUEST_CONSUMER,
        layout::REQUEST_PRODUCER,
        layout::REPLY_CONSUMER,
        layout::REPLY_PRODUCER,
    ] {
        page.store(index, u32::from_le_bytes(*start));
    }
    let store = Store::new();
    let connection = store.domain(DOMID).expect("it was introduced");
    let mut daemon = Daemon { ring: Ring::new(page.clone(), connection, DOMID.into()), store };
    while let [what, first, more @ ..] = rest {
        rest = more;
        match what % 10 {
            0 | 1 => {
                let (bytes, after) = more.split_at(more.len().min(usize::from(*first)));
                rest = after;
                page.send(bytes);
            }
            2 => {
                // A whole message with a likely header.
                let (bytes, after) = more.split_at(more.len().min(usize::from(what / 10)));
                rest = after;
                let header = Header {
                    kind: u32::from(first % 23),
                    request: 1,
                    transaction: u32::from(first / 23 % 3),
                    length: bytes.len() as u32,
                };
                page.send(&header.encode());
                page.send(bytes);
            }
            3 => page.store(
                [
                    layout::REQUEST_CONSUMER,
                    layout::REQUEST_PRODUCER,
                    layout::REPLY_CONSUMER,
                    layout::REPLY_PRODUCER,
                    layout::CONNECTION,
                    layout::ERROR,
                ][usize::from(what / 10) % 6],
                more.first_chunk().map_or(u32::from(*first), |word| u32::from_le_bytes(*word)),
            ),
            4 => page.store(layout::REPLY_CONSUMER, page.load(layout::REPLY_PRODUCER)),
            5 => page.write(usize::from(u16::from_le_bytes([*what, *first]) % 4096), &[*first]),
            6 => daemon = daemon.restarted(page.clone()),
            7 => daemon.ring.reset(),
            // Noted, and killed before it is told.
            8 => daemon.turn(false),
            _ => daemon.turn(true),
        }
        daemon.store.bounded(false);
    }
    daemon.turn(true);
    let tool = daemon.store.tool;
    daemon.store.ask(tool, MessageType::Directory as u32, 0, b"/\0");
    daemon.store.consistent();
    daemon.store.released();
});
