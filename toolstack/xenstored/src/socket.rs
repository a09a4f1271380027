//! One client's socket: messages in, answers out, never more in memory than is allowed.

use crate::server::{Platform, Server, TURN_WORK};
use crate::watch::Connection;
use mio::net::UnixStream;
use std::io::{ErrorKind, Read, Write};
use xenstore::wire::{HEADER_SIZE, Header, PAYLOAD_MAX};

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;
/// Bytes written at a time.
const WRITE_MAX: usize = 64 << 10;

/// A client's socket.
pub struct Socket {
    /// The stream.
    pub stream: UnixStream,
    /// Its client.
    pub connection: Connection,
    input: Vec<u8>,
    /// More can be read without waiting.
    pub readable: bool,
    /// The other side takes no more for now.
    pub blocked: bool,
    /// The other side has closed its end: what it sent before is done still.
    pub closing: bool,
}

/// Whether a socket goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing left to do until something comes.
    Idle,
    /// More to do, after the others.
    More,
    /// It is over: closed, failed, or what came is no message.
    Over,
}

impl Socket {
    /// A new client's.
    #[must_use]
    pub const fn new(stream: UnixStream, connection: Connection) -> Self {
        Self {
            stream,
            connection,
            input: Vec::new(),
            readable: true,
            blocked: false,
            closing: false,
        }
    }

    /// Does some of the messages that came.
    pub fn turn(&mut self, server: &mut Server, platform: &mut dyn Platform) -> Turn {
        let mut used = 0;
        let end = server.work + TURN_WORK;
        while server.work < end {
            if !server.accepts(self.connection) {
                // It goes on when it has taken answers.
                self.input.drain(..used);
                return Turn::Idle;
            }
            let rest = self.input.get(used..).unwrap_or_default();
            let header = Header::decode(rest);
            if header.is_some_and(|header| header.length as usize > PAYLOAD_MAX) {
                return Turn::Over;
            }
            let whole = header.and_then(|header| {
                let payload = rest.get(HEADER_SIZE..HEADER_SIZE + header.length as usize)?;
                Some((header, payload))
            });
            match whole {
                Some((header, payload)) => {
                    server.handle(self.connection, &header, payload, platform);
                    used += HEADER_SIZE + payload.len();
                }
                None if self.readable => {
                    self.input.drain(..used);
                    used = 0;
                    if !self.fill() {
                        return Turn::Over;
                    }
                }
                None => {
                    self.input.drain(..used);
                    return Turn::Idle;
                }
            }
        }
        self.input.drain(..used);
        Turn::More
    }

    /// Reads what is there. False if the socket is over.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; CHUNK];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => {
                    // A short read of a stream says that no more is there.
                    self.readable = count == CHUNK || self.closing;
                    self.input.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return true;
                }
                Err(_) => return false,
            }
        }
    }

    /// Sends what the client can take now. False if the socket is over.
    pub fn flush(&mut self, server: &mut Server) -> bool {
        while !self.blocked {
            let Some(client) = server.clients.get(&self.connection) else { return false };
            if client.outbox.is_empty() {
                break;
            }
            let bytes = client.outbox.peek(0, WRITE_MAX);
            match self.stream.write(&bytes) {
                Ok(count) => {
                    server.took(self.connection, count);
                    self.blocked = count < bytes.len();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Socket {
    /// Whether something may be there that was not done yet.
    #[must_use]
    pub const fn has_input(&self) -> bool {
        self.readable || self.input.len() >= HEADER_SIZE
    }
}
