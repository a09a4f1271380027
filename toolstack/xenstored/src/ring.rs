//! One domain's ring: taking messages out of it, putting answers in. The page is the domain's, too:
//! every index read from it is checked, and nothing in it is believed twice.

use crate::restore::RingState;
use crate::server::Server;
use crate::watch::Connection;
use xenstore::wire::ring as layout;
use xenstore::wire::{HEADER_SIZE, Header, PAYLOAD_MAX};

/// The page that a domain shares with the daemon.
pub trait Page {
    /// Copies out.
    fn read(&self, offset: usize, to: &mut [u8]);
    /// Copies in.
    fn write(&self, offset: usize, from: &[u8]);
    /// An index or field; what is read after it in the program is read after it.
    fn load(&self, offset: usize) -> u32;
    /// Sets an index or field after all that was written before.
    fn store(&self, offset: usize, value: u32);
}

/// Why a ring is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An index was impossible.
    Index,
    /// A message was longer than the protocol allows.
    Length,
}

/// The daemon's side of a ring.
pub struct Ring<P> {
    page: P,
    /// Its client.
    pub connection: Connection,
    /// The event channel's port on this side.
    pub port: u32,
    /// Requests were done up to here.
    done: u32,
    /// Bytes taken after `done`, of a message that is not whole yet.
    partial: Vec<u8>,
    /// Bytes of `partial` that the journal has.
    partial_noted: usize,
    /// Bytes at the outbox' start that the journal has.
    output_noted: usize,
    /// `done` as the journal has it.
    done_noted: Option<u32>,
    broken: Option<Broken>,
}

/// A message out of a ring.
pub struct Message {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8>,
}

const fn whole_ring(count: u32) -> bool {
    count <= layout::SIZE
}

impl<P: Page> Ring<P> {
    /// Takes up a ring where its indices stand.
    pub fn new(page: P, connection: Connection, port: u32) -> Self {
        let done = page.load(layout::REQUEST_CONSUMER);
        let ring = Self {
            page,
            connection,
            port,
            done,
            partial: Vec::new(),
            partial_noted: 0,
            output_noted: 0,
            done_noted: None,
            broken: None,
        };
        ring.page.store(layout::FEATURES, layout::FEATURE_RECONNECTION | layout::FEATURE_ERROR);
        ring
    }

    /// Takes up a ring where the journal says that it stood. What had not reached it yet is given
    /// back, for the outbox.
    pub fn restore(&mut self, state: &RingState) -> Vec<u8> {
        let consumer = self.page.load(layout::REQUEST_CONSUMER);
        self.done = consumer;
        if let Some(consumed) = state.consumed {
            let taken = consumed.wrapping_add(state.partial.len() as u32);
            // Requests that changed nothing are not noted: the ring may be further, not less far.
            if (taken.wrapping_sub(consumer) as i32) >= 0 {
                self.done = consumed;
                self.partial.clone_from(&state.partial);
                self.page.store(layout::REQUEST_CONSUMER, taken);
            }
        }
        self.done_noted = None;
        let producer = self.page.load(layout::REPLY_PRODUCER);
        let given = producer.wrapping_sub(state.position) as usize;
        state.output.get(given..).unwrap_or_default().to_vec()
    }

    /// Where it stands, for a new journal.
    pub fn state(&mut self, server: &Server) -> RingState {
        let outbox = server.clients.get(&self.connection).map(|client| &client.outbox);
        let output = outbox.map(|outbox| outbox.peek(0, usize::MAX)).unwrap_or_default();
        self.output_noted = output.len();
        self.partial_noted = self.partial.len();
        self.done_noted = Some(self.done);
        RingState {
            consumed: Some(self.done),
            partial: self.partial.clone(),
            position: self.page.load(layout::REPLY_PRODUCER),
            output,
        }
    }

    /// Whether the domain asks for the ring to be as new.
    pub fn wants_reset(&self) -> bool {
        self.page.load(layout::CONNECTION) == layout::RECONNECT
    }

    /// Makes the ring as new, and says so to the domain.
    pub fn reset(&mut self) {
        for index in [
            layout::REQUEST_CONSUMER,
            layout::REQUEST_PRODUCER,
            layout::REPLY_CONSUMER,
            layout::REPLY_PRODUCER,
        ] {
            self.page.store(index, 0);
        }
        self.done = 0;
        self.partial.clear();
        self.partial_noted = 0;
        self.output_noted = 0;
        self.done_noted = None;
        self.broken = None;
        self.page.store(layout::ERROR, layout::ERROR_NONE);
        self.page.store(layout::CONNECTION, layout::CONNECTED);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// The ring is broken, and stays so until it is reset.
    pub fn next_message(&mut self) -> Result<Option<Message>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let result = self.take();
        if let Err(broken) = result {
            self.broken = Some(broken);
            let code = match broken {
                Broken::Index => layout::ERROR_INDEX,
                Broken::Length => layout::ERROR_PROTOCOL,
            };
            self.page.store(layout::ERROR, code);
        }
        result
    }

    fn take(&mut self) -> Result<Option<Message>, Broken> {
        let consumer = self.done.wrapping_add(self.partial.len() as u32);
        let producer = self.page.load(layout::REQUEST_PRODUCER);
        let there = producer.wrapping_sub(consumer);
        if !whole_ring(there) {
            return Err(Broken::Index);
        }
        let mut bytes = std::mem::take(&mut self.partial);
        self.append(&mut bytes, consumer, there);
        // A part of a message is taken as well: Linux tells of what it adds only if all before that
        // was taken.
        let Some(header) = Header::decode(&bytes) else {
            self.partial = bytes;
            return Ok(None);
        };
        let length = header.length as usize;
        if length > PAYLOAD_MAX {
            return Err(Broken::Length);
        }
        let Some(payload) = bytes.get(HEADER_SIZE..HEADER_SIZE + length) else {
            self.partial = bytes;
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.done = self.done.wrapping_add((HEADER_SIZE + length) as u32);
        self.partial_noted = 0;
        Ok(Some(Message { header, payload }))
    }

    /// Copies bytes of the requests' ring, beyond its end from its start on.
    fn append(&self, to: &mut Vec<u8>, from: u32, count: u32) {
        let mut copy = [0; layout::SIZE as usize];
        let (start, count) = ((from % layout::SIZE) as usize, count as usize);
        let first = count.min(layout::SIZE as usize - start);
        if let Some(part) = copy.get_mut(..first) {
            self.page.read(layout::REQUESTS + start, part);
        }
        if let Some(part) = copy.get_mut(first..count) {
            self.page.read(layout::REQUESTS, part);
        }
        to.extend_from_slice(copy.get(..count).unwrap_or_default());
    }

    /// Room for answers in the ring, in bytes.
    fn room(&self) -> Result<u32, Broken> {
        let consumer = self.page.load(layout::REPLY_CONSUMER);
        let producer = self.page.load(layout::REPLY_PRODUCER);
        let used = producer.wrapping_sub(consumer);
        if whole_ring(used) { Ok(layout::SIZE - used) } else { Err(Broken::Index) }
    }

    /// Whether the journal must have this ring before it is published, though nothing else
    /// changed: bytes were taken that the ring does not hold any more, or not all answers fit.
    pub fn must_be_noted(&self, server: &Server) -> bool {
        let waiting =
            server.clients.get(&self.connection).map_or(0, |client| client.outbox.bytes());
        let unnoted =
            waiting > self.output_noted && self.room().is_ok_and(|room| waiting > room as usize);
        self.partial.len() > self.partial_noted || unnoted
    }

    /// Writes to the journal how far the ring is.
    pub fn note(&mut self, domid: u16, server: &mut Server) {
        use crate::journal::Entry;
        if self.done_noted != Some(self.done) {
            server.journal.add(&Entry::Cursor { domid, consumed: self.done });
            self.done_noted = Some(self.done);
            self.partial_noted = 0;
        }
        if let Some(bytes) = self.partial.get(self.partial_noted..)
            && !bytes.is_empty()
        {
            server.journal.add(&Entry::Partial { domid, bytes });
            self.partial_noted = self.partial.len();
        }
        let Some(client) = server.clients.get(&self.connection) else { return };
        let waiting = client.outbox.bytes();
        if waiting > self.output_noted {
            let producer = self.page.load(layout::REPLY_PRODUCER);
            let position = producer.wrapping_add(self.output_noted as u32);
            let bytes = client.outbox.peek(self.output_noted, usize::MAX);
            self.output_noted = waiting;
            server.journal.add(&Entry::Output { domid, position, bytes: &bytes });
        }
    }

    /// Puts what fits of the client's outbox into the ring, then gives the requests' room back.
    /// True if the domain is to be notified.
    pub fn publish(&mut self, server: &mut Server) -> bool {
        let mut news = false;
        if let Some(client) = server.clients.get(&self.connection)
            && !client.outbox.is_empty()
            && self.broken.is_none()
        {
            match self.room() {
                Ok(room) => {
                    let bytes = client.outbox.peek(0, room as usize);
                    if !bytes.is_empty() {
                        self.put(&bytes);
                        server.took(self.connection, bytes.len());
                        self.output_noted = self.output_noted.saturating_sub(bytes.len());
                        news = true;
                    }
                }
                Err(broken) => {
                    self.broken = Some(broken);
                    self.page.store(layout::ERROR, layout::ERROR_INDEX);
                    news = true;
                }
            }
        }
        let taken = self.done.wrapping_add(self.partial.len() as u32);
        if self.page.load(layout::REQUEST_CONSUMER) != taken && self.broken.is_none() {
            self.page.store(layout::REQUEST_CONSUMER, taken);
            news = true;
        }
        news
    }

    fn put(&self, bytes: &[u8]) {
        let producer = self.page.load(layout::REPLY_PRODUCER);
        let start = (producer % layout::SIZE) as usize;
        let (first, second) = bytes.split_at(bytes.len().min(layout::SIZE as usize - start));
        self.page.write(layout::REPLIES + start, first);
        self.page.write(layout::REPLIES, second);
        self.page.store(layout::REPLY_PRODUCER, producer.wrapping_add(bytes.len() as u32));
    }

    /// Whether the domain has not been told yet that room of requests is free.
    pub fn has_unpublished(&self) -> bool {
        let taken = self.done.wrapping_add(self.partial.len() as u32);
        self.broken.is_none() && self.page.load(layout::REQUEST_CONSUMER) != taken
    }

    /// Whether it is not used any more.
    pub const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }
}
