//! The client: requests one after the other, and events of watches as they come between.

use crate::access::{Access, text};
use crate::connection::{Connection, Message, Stop};
use crate::error::{Errno, Error, Result};
use crate::transaction::Transaction;
use crate::wire::{HEADER_SIZE, Header, MessageType, PAYLOAD_MAX};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The limit of each request unless set otherwise.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How often a transaction is tried before it is given up.
const ATTEMPTS: u32 = 100;
/// Requests that are under way at once at most: few enough to fit any socket's buffer.
const AHEAD: usize = 32;
/// Events kept for the caller at most; what comes beyond drops the oldest.
const EVENTS_MAX: usize = 65_536;

/// The number of a request after another's; 0 is nobody's.
const fn next(request: u32) -> u32 {
    match request.wrapping_add(1) {
        0 => 1,
        number => number,
    }
}

/// A watch fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What changed, as seen from the watch's path (relative if that was).
    pub path: String,
    /// The token that the watch was set with.
    pub token: String,
}

/// A connection to the daemon.
pub struct Client {
    connection: Connection,
    limit: Duration,
    request: u32,
    events: VecDeque<Event>,
}

impl AsFd for Client {
    /// Readable when an event or answer came. Events that came between earlier requests are
    /// kept: ask [`Client::next_event`] with no time first.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl Client {
    /// Connects where the environment says (`XENSTORED_PATH`, `XENSTORED_RUNDIR`), else to the
    /// daemon's socket, else to the kernel's device.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] with every path that was tried.
    pub fn open() -> Result<Self> {
        let mut tried = Vec::new();
        for path in paths() {
            match Connection::open(&path, REQUEST_LIMIT) {
                Ok(connection) => return Ok(Self::new(connection)),
                Err(errno) => {
                    tried.push((path, errno));
                    // A socket that nobody serves: the daemon was here and is gone. The kernel's
                    // device would be silent, as it asks the same daemon.
                    if errno == rustix::io::Errno::CONNREFUSED {
                        break;
                    }
                }
            }
        }
        Err(Error::NoDaemon { tried })
    }

    /// Connects to the socket or device at a path.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect(path: &str) -> Result<Self> {
        let connection = Connection::open(path, REQUEST_LIMIT);
        connection.map(Self::new).map_err(|source| Error::Connect { path: path.to_owned(), source })
    }

    fn new(connection: Connection) -> Self {
        Self { connection, limit: REQUEST_LIMIT, request: 0, events: VecDeque::new() }
    }

    /// Sets the limit of each request that follows.
    pub const fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Runs `work` in a transaction and commits it; again from the start when another client
    /// changed the same nodes, a bounded number of times.
    ///
    /// # Errors
    /// What `work` answers (the transaction is dropped then), or [`Error::Conflict`].
    pub fn transaction<T>(
        &mut self,
        work: impl FnMut(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.transaction_with(work)
    }

    /// As [`Client::transaction`], for work with errors of its own.
    ///
    /// # Errors
    /// What `work` answers (the transaction is dropped then), or [`Error::Conflict`].
    pub fn transaction_with<T, E: From<Error>>(
        &mut self,
        mut work: impl FnMut(&mut Transaction<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        for _ in 0..ATTEMPTS {
            let mut transaction = Transaction::begin(self)?;
            let value = work(&mut transaction)?;
            match transaction.commit() {
                Ok(()) => return Ok(value),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Conflict { attempts: ATTEMPTS }.into())
    }

    /// Begins a transaction that the caller commits or aborts.
    ///
    /// # Errors
    /// As any request.
    pub fn begin(&mut self) -> Result<Transaction<'_>> {
        Transaction::begin(self)
    }

    /// Watches a node and all below it (or `@introduceDomain`, `@releaseDomain`). One event
    /// comes at once.
    ///
    /// # Errors
    /// As any request; [`Error::is_exists`] if the same path and token are watched already.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<()> {
        self.words(MessageType::Watch, &[path, token]).map(drop)
    }

    /// Removes a watch.
    ///
    /// # Errors
    /// As any request; [`Error::is_not_found`] if it is not there.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<()> {
        self.words(MessageType::Unwatch, &[path, token])?;
        self.events.retain(|event| event.token != token);
        Ok(())
    }

    /// The next event, waiting for it up to `limit`; `None` if none came.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::Io`].
    pub fn next_event(&mut self, limit: Duration) -> Result<Option<Event>> {
        let until = Instant::now() + limit;
        while self.events.is_empty() {
            match self.connection.receive(until) {
                Ok(message) => self.keep_event(&message),
                Err(Stop::TimedOut) => return Ok(None),
                Err(stop) => return Err(self.failed(stop, MessageType::WatchEvent, "", limit)),
            }
        }
        Ok(self.events.pop_front())
    }

    /// Tells the daemon of a domain's ring: its frame and event channel.
    ///
    /// # Errors
    /// As any request.
    pub fn introduce(&mut self, domid: u16, gfn: u64, port: u32) -> Result<()> {
        let words = [&domid.to_string(), &gfn.to_string(), &port.to_string()];
        self.words(MessageType::Introduce, &words.map(String::as_str)).map(drop)
    }

    /// Takes a domain's ring away from the daemon.
    ///
    /// # Errors
    /// As any request.
    pub fn release(&mut self, domid: u16) -> Result<()> {
        self.words(MessageType::Release, &[&domid.to_string()]).map(drop)
    }

    /// Says that a domain which was shut down goes on.
    ///
    /// # Errors
    /// As any request.
    pub fn resume(&mut self, domid: u16) -> Result<()> {
        self.words(MessageType::Resume, &[&domid.to_string()]).map(drop)
    }

    /// Lets a domain act for another.
    ///
    /// # Errors
    /// As any request.
    pub fn set_target(&mut self, domid: u16, target: u16) -> Result<()> {
        let words = [&domid.to_string(), &target.to_string()];
        self.words(MessageType::SetTarget, &words.map(String::as_str)).map(drop)
    }

    /// Whether the daemon knows a domain's ring.
    ///
    /// # Errors
    /// As any request.
    pub fn is_introduced(&mut self, domid: u16) -> Result<bool> {
        let answer = self.words(MessageType::IsDomainIntroduced, &[&domid.to_string()])?;
        Ok(answer.starts_with(b"T"))
    }

    /// A domain's home, `/local/domain/DOMID`.
    ///
    /// # Errors
    /// As any request.
    pub fn domain_path(&mut self, domid: u16) -> Result<String> {
        let mut answer = self.words(MessageType::GetDomainPath, &[&domid.to_string()])?;
        if answer.last() == Some(&0) {
            answer.pop();
        }
        Ok(text(answer))
    }

    /// A command to the daemon itself; its answer.
    ///
    /// # Errors
    /// As any request.
    pub fn control(&mut self, words: &[&str]) -> Result<String> {
        let mut answer = self.words(MessageType::Control, words)?;
        if answer.last() == Some(&0) {
            answer.pop();
        }
        Ok(text(answer))
    }

    /// Many nodes' values as text, in order; `None` for a node that does not exist. Over a socket the
    /// requests are sent ahead of the answers, so that many cost little more than one.
    ///
    /// # Errors
    /// As any request.
    pub fn read_many(&mut self, paths: &[String]) -> Result<Vec<Option<String>>> {
        let requests: Vec<_> =
            paths.iter().map(|path| (MessageType::Read, path.as_str())).collect();
        let answers = self.batch(&requests)?.into_iter();
        answers
            .map(|answer| match answer {
                Ok(value) => Ok(Some(text(value))),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            })
            .collect()
    }

    /// Many requests of one path each, and the answer to each in order, as [`Client::read_many`].
    /// They are not a transaction.
    ///
    /// # Errors
    /// If the connection fails; what the daemon refuses is among the answers.
    pub fn batch(&mut self, requests: &[(MessageType, &str)]) -> Result<Vec<Result<Vec<u8>>>> {
        // The kernel's device takes one request at a time.
        let ahead = if self.connection.is_socket() { AHEAD } else { 1 };
        let mut answers = Vec::with_capacity(requests.len());
        for part in requests.chunks(ahead) {
            self.exchange(part, &mut answers)?;
        }
        Ok(answers)
    }

    fn exchange(
        &mut self,
        requests: &[(MessageType, &str)],
        answers: &mut Vec<Result<Vec<u8>>>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        let first = self.request;
        for (kind, path) in requests {
            let parts: [&[u8]; 2] = [path.as_bytes(), b"\0"];
            bytes.extend_from_slice(&self.encode(*kind, 0, path, &parts)?);
        }
        let last = std::mem::replace(&mut self.request, first);
        let until = Instant::now() + self.limit;
        let mut sent = self.connection.send(&bytes, until);
        for (kind, path) in requests {
            self.request = next(self.request);
            let answer = std::mem::replace(&mut sent, Ok(()))
                .and_then(|()| self.answer(*kind, until))
                .map_err(|stop| self.failed(stop, *kind, path, self.limit));
            if answer.is_err() {
                // What is still under way is answered to nobody.
                self.request = last;
            }
            answers.push(check(*kind, path, answer?));
        }
        Ok(())
    }

    /// A request of words, each ended by a zero byte.
    fn words(&mut self, kind: MessageType, words: &[&str]) -> Result<Vec<u8>> {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(words.len() * 2);
        for word in words {
            if word.as_bytes().contains(&0) {
                return Err(Error::ZeroByte { request: kind, path: (*word).to_owned() });
            }
            parts.push(word.as_bytes());
            parts.push(b"\0");
        }
        self.send(kind, 0, words.first().copied().unwrap_or_default(), &parts)
    }

    /// Sends a request and waits for its answer; keeps events that come before it.
    pub(crate) fn send(
        &mut self,
        kind: MessageType,
        transaction: u32,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>> {
        let bytes = self.encode(kind, transaction, path, parts)?;
        let until = Instant::now() + self.limit;
        let answer = self
            .connection
            .send(&bytes, until)
            .and_then(|()| self.answer(kind, until))
            .map_err(|stop| self.failed(stop, kind, path, self.limit))?;
        check(kind, path, answer)
    }

    /// A request as it goes over the wire, under the next number.
    fn encode(
        &mut self,
        kind: MessageType,
        transaction: u32,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>> {
        if path.as_bytes().contains(&0) {
            return Err(Error::ZeroByte { request: kind, path: path.to_owned() });
        }
        let length = parts.iter().map(|part| part.len()).sum();
        if length > PAYLOAD_MAX {
            return Err(Error::TooLong { request: kind, path: path.to_owned(), length });
        }
        self.request = next(self.request);
        let header =
            Header { kind: kind as u32, request: self.request, transaction, length: length as u32 };
        let mut bytes = Vec::with_capacity(HEADER_SIZE + length);
        bytes.extend_from_slice(&header.encode());
        for part in parts {
            bytes.extend_from_slice(part);
        }
        Ok(bytes)
    }

    /// The answer to the request just sent.
    fn answer(&mut self, kind: MessageType, until: Instant) -> std::result::Result<Message, Stop> {
        loop {
            let message = self.connection.receive(until)?;
            // Linux's device makes up its own answers to these two, numbered 0.
            let made_up = message.header.request == 0
                && message.header.kind == kind as u32
                && matches!(kind, MessageType::Watch | MessageType::Unwatch);
            if message.header.kind == MessageType::WatchEvent as u32 {
                self.keep_event(&message);
            } else if message.header.request == self.request || made_up {
                return Ok(message);
            }
            // What is left answers a request whose limit had passed.
        }
    }

    /// Keeps a watch's event; other messages are answers that nobody waits for any more.
    fn keep_event(&mut self, message: &Message) {
        if message.header.kind != MessageType::WatchEvent as u32 {
            return;
        }
        let mut words = message.payload.split(|byte| *byte == 0);
        let (Some(path), Some(token)) = (words.next(), words.next()) else { return };
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event { path: text(path.to_vec()), token: text(token.to_vec()) });
    }

    fn failed(&self, stop: Stop, request: MessageType, path: &str, limit: Duration) -> Error {
        let path = path.to_owned();
        match stop {
            Stop::TimedOut => Error::TimedOut { request, path, limit },
            Stop::Closed => Error::Closed { request, path },
            Stop::Os(source) => Error::Io { request, path, source },
            Stop::Oversize(length) => {
                Error::Protocol { request, path, what: format!("it has {length} bytes") }
            }
        }
    }
}

impl Access for Client {
    fn request(&mut self, kind: MessageType, path: &str, parts: &[&[u8]]) -> Result<Vec<u8>> {
        self.send(kind, 0, path, parts)
    }
}

/// An answer's payload, or the error that it carries.
fn check(request: MessageType, path: &str, answer: Message) -> Result<Vec<u8>> {
    let path = || path.to_owned();
    if answer.header.kind == MessageType::Error as u32 {
        let name = answer.payload.strip_suffix(b"\0").unwrap_or(&answer.payload);
        return Err(match Errno::from_name(name) {
            Some(errno) => Error::Refused { request, path: path(), errno },
            None => Error::Protocol {
                request,
                path: path(),
                what: format!("unknown error {:?}", String::from_utf8_lossy(name)),
            },
        });
    }
    if answer.header.kind != request as u32 {
        let what = format!("its type is {}", answer.header.kind);
        return Err(Error::Protocol { request, path: path(), what });
    }
    Ok(answer.payload)
}

/// Where the daemon may be reached, first choice first.
fn paths() -> Vec<String> {
    if let Ok(path) = std::env::var("XENSTORED_PATH") {
        return vec![path];
    }
    if let Ok(folder) = std::env::var("XENSTORED_RUNDIR") {
        return vec![format!("{folder}/socket")];
    }
    let paths = [
        "/run/xenstored/socket",
        "/var/run/xenstored/socket",
        "/dev/xen/xenbus",
        "/proc/xen/xenbus",
    ];
    paths.map(str::to_owned).to_vec()
}
