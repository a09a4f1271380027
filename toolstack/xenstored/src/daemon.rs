//! The loop: what came is done, the journal is written, and only then is anybody answered.

use crate::log::Log;
use crate::machine::{Event, Host, Machine};
use crate::restore::RingState;
use crate::rights::Subject;
use crate::server::{Platform, Server, TURN_WORK};
use crate::socket::{Socket, Turn};
use crate::state_file::StateFile;
use crate::watch::Connection;
use mio::net::UnixListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

const LISTENER: Token = Token(0);
const CHANNELS: Token = Token(1);
/// Tokens from here on are sockets'.
const FIRST_SOCKET: u64 = 16;
/// Sockets at a time; more are closed at once.
const SOCKETS_MAX: usize = 1024;
/// Sockets accepted in one turn.
const ACCEPT_TURN: usize = 64;

/// The running daemon.
pub struct Daemon {
    poll: Poll,
    listener: UnixListener,
    server: Server,
    machine: Option<Machine>,
    sockets: HashMap<Connection, Socket>,
    /// Sockets that may have something to do.
    busy: BTreeSet<Connection>,
    busy_rings: BTreeSet<u16>,
    /// Work that clients did beyond their turn: others go first until it is made up for.
    debts: HashMap<Connection, u64>,
    accepting: bool,
    state: Option<StateFile>,
    log: Log,
    trace: Option<(String, std::fs::File)>,
}

impl Daemon {
    /// A daemon that serves what it is given.
    ///
    /// # Errors
    /// If the kernel refuses to watch the descriptors.
    pub fn new(
        mut listener: UnixListener,
        server: Server,
        machine: Option<Machine>,
        log: Log,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        if let Some(machine) = &machine {
            poll.registry().register(&mut SourceFd(&machine.fd()), CHANNELS, Interest::READABLE)?;
        }
        let busy_rings = machine.as_ref().map(|m| m.rings.keys().copied().collect());
        Ok(Self {
            poll,
            listener,
            server,
            machine,
            sockets: HashMap::new(),
            busy: BTreeSet::new(),
            busy_rings: busy_rings.unwrap_or_default(),
            debts: HashMap::new(),
            accepting: true,
            state: None,
            log,
            trace: None,
        })
    }

    /// Begins the journal with the state as it is.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin_journal(&mut self, path: std::path::PathBuf) -> io::Result<()> {
        let state = self.snapshot();
        self.state = Some(StateFile::create(path, &state)?);
        // What was pending is in the state.
        self.server.journal.frame();
        Ok(())
    }

    fn snapshot(&mut self) -> Vec<u8> {
        let (server, machine) = (&self.server, &mut self.machine);
        server.snapshot(&mut |domid| {
            let ring = machine.as_mut().and_then(|machine| machine.rings.get_mut(&domid));
            ring.map_or_else(RingState::default, |ring| ring.state(server))
        })
    }

    /// Serves until the kernel refuses to wait.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&mut self) -> io::Result<()> {
        // Domains may have ended, and rings may have moved, while no daemon was there.
        self.check_domains();
        for domid in self.busy_rings.clone() {
            if let Some(machine) = &self.machine {
                machine.notify(domid);
            }
        }
        self.settle();
        let mut events = Events::with_capacity(256);
        loop {
            let idle = self.busy.is_empty() && self.busy_rings.is_empty() && !self.accepting;
            let wait = if idle { None } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                self.note_event(event);
            }
            self.accept();
            self.pay_debts();
            self.turn_sockets();
            self.turn_rings();
            self.settle();
        }
    }

    fn note_event(&mut self, event: &mio::event::Event) {
        match event.token() {
            LISTENER => self.accepting = true,
            CHANNELS => self.channels(),
            Token(number) => {
                let connection = Connection(number as u64 - FIRST_SOCKET);
                let Some(socket) = self.sockets.get_mut(&connection) else { return };
                if event.is_read_closed() || event.is_error() {
                    socket.closing = true;
                }
                socket.readable |= event.is_readable() || socket.closing;
                if event.is_writable() && socket.blocked {
                    socket.blocked = false;
                    self.server.ready.insert(connection);
                }
                self.busy.insert(connection);
            }
        }
    }

    fn accept(&mut self) {
        if !self.accepting {
            return;
        }
        for _ in 0..ACCEPT_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => self.add_socket(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accepting = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of descriptors: those who wait are served when others have gone.
                    self.server.say(format!("a client cannot be accepted: {error}"));
                    self.accepting = false;
                    return;
                }
            }
        }
    }

    fn add_socket(&mut self, mut stream: mio::net::UnixStream) {
        if self.sockets.len() >= SOCKETS_MAX {
            self.server.say(format!("a client was turned away: {SOCKETS_MAX} are connected"));
            return;
        }
        let connection = self.server.add_client(Subject::new(0), false);
        let token = Token((connection.0 + FIRST_SOCKET) as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, token, interest) {
            self.server.remove_client(connection);
            self.server.say(format!("a client cannot be watched: {error}"));
            return;
        }
        self.sockets.insert(connection, Socket::new(stream, connection));
        self.busy.insert(connection);
    }

    fn drop_socket(&mut self, connection: Connection) {
        if let Some(mut socket) = self.sockets.remove(&connection) {
            // Closing it ends the watch on it as well.
            let _ = self.poll.registry().deregister(&mut socket.stream);
        }
        self.server.remove_client(connection);
        self.busy.remove(&connection);
        self.debts.remove(&connection);
    }

    /// Makes up for work beyond turns: by the others' turns, or at once if nobody else waits.
    fn pay_debts(&mut self) {
        if self.debts.is_empty() {
            return;
        }
        let rings = self.machine.as_ref().map(|machine| &machine.rings);
        let rings = self.busy_rings.iter().filter_map(|domid| rings?.get(domid));
        let waiting = self.busy.iter().copied().chain(rings.map(|ring| ring.connection));
        let least = waiting.map(|client| self.debts.get(&client).copied().unwrap_or(0)).min();
        let paid = least.unwrap_or(0).max(TURN_WORK);
        self.debts.retain(|_, debt| {
            *debt = debt.saturating_sub(paid);
            *debt > 0
        });
    }

    /// Notes what a client's turn cost beyond what a turn may.
    fn charge(&mut self, connection: Connection, before: u64) {
        let beyond = (self.server.work - before).saturating_sub(TURN_WORK * 2);
        if beyond > 0 {
            self.debts.insert(connection, beyond);
        }
    }

    fn turn_sockets(&mut self) {
        for connection in std::mem::take(&mut self.busy) {
            if self.debts.contains_key(&connection) {
                self.busy.insert(connection);
                continue;
            }
            let before = self.server.work;
            let Some(socket) = self.sockets.get_mut(&connection) else { continue };
            let mut host = Host;
            let platform: &mut dyn Platform = match &mut self.machine {
                Some(machine) => machine,
                None => &mut host,
            };
            let turn = socket.turn(&mut self.server, platform);
            match turn {
                Turn::Idle => {}
                Turn::More => _ = self.busy.insert(connection),
                Turn::Over => self.drop_socket(connection),
            }
            self.charge(connection, before);
            if let Some(machine) = &mut self.machine {
                self.busy_rings.extend(machine.adopt(&self.server));
            }
        }
    }

    fn channels(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        // Until nothing is left: the kernel tells of the device only when it becomes readable.
        loop {
            let events = match machine.events() {
                Ok(events) if events.is_empty() => return,
                Ok(events) => events,
                Err(error) => {
                    self.server.say(format!("event channels: {error}"));
                    return;
                }
            };
            for event in events {
                match event {
                    Event::Domains => self.server.check_domains(machine),
                    Event::Ring(domid) => _ = self.busy_rings.insert(domid),
                }
            }
        }
    }

    fn check_domains(&mut self) {
        if let Some(machine) = &mut self.machine {
            self.server.check_domains(machine);
        }
    }

    fn turn_rings(&mut self) {
        for domid in std::mem::take(&mut self.busy_rings) {
            let ring = self.machine.as_ref().and_then(|machine| machine.rings.get(&domid));
            let Some(connection) = ring.map(|ring| ring.connection) else { continue };
            if self.debts.contains_key(&connection) {
                self.busy_rings.insert(domid);
                continue;
            }
            let before = self.server.work;
            if self.turn_ring(domid) {
                self.busy_rings.insert(domid);
            }
            self.charge(connection, before);
            if let Some(machine) = &mut self.machine {
                self.busy_rings.extend(machine.adopt(&self.server));
            }
        }
    }

    /// Does some of a ring's messages. True if more may be there.
    fn turn_ring(&mut self, domid: u16) -> bool {
        let Some(machine) = &mut self.machine else { return false };
        let end = self.server.work + TURN_WORK;
        while self.server.work < end {
            let Some(ring) = machine.rings.get_mut(&domid) else { return false };
            let connection = ring.connection;
            if ring.wants_reset() {
                ring.reset();
                self.server.reset(connection);
                if let Some(client) = self.server.clients.get_mut(&connection) {
                    client.outbox = crate::outbox::Outbox::default();
                }
                machine.notify(domid);
                return true;
            }
            if let Some(client) = self.server.clients.get(&connection)
                && !client.outbox.is_empty()
            {
                self.server.ready.insert(connection);
            }
            if ring.is_broken() || !self.server.accepts(connection) {
                return false;
            }
            match ring.next_message() {
                Ok(Some(message)) => {
                    self.server.handle(connection, &message.header, &message.payload, machine);
                }
                Ok(None) => return false,
                Err(broken) => {
                    self.server.reset(connection);
                    self.server.say(format!("domain {domid} broke its ring ({broken:?}): ignored"));
                    machine.notify(domid);
                    return false;
                }
            }
        }
        true
    }

    /// Writes the journal, answers, and writes the log.
    fn settle(&mut self) {
        self.note_rings();
        self.write_journal();
        for connection in std::mem::take(&mut self.server.ready) {
            self.publish(connection);
        }
        self.publish_consumed();
        self.write_log();
    }

    /// Notes in the journal where rings stand, if anything in it or in them needs that.
    fn note_rings(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        let dirty = !self.server.journal.is_empty();
        for (domid, ring) in &mut machine.rings {
            if dirty || ring.must_be_noted(&self.server) {
                ring.note(*domid, &mut self.server);
            }
        }
    }

    fn write_journal(&mut self) {
        if self.server.journal.is_empty() {
            return;
        }
        let frame = self.server.journal.frame();
        let Some(state) = &mut self.state else { return };
        let mut result = state.append(&frame);
        if result.is_err() || state.is_long() {
            let all = self.snapshot();
            result = match &mut self.state {
                Some(state) => state.renew(&all),
                None => return,
            };
        }
        if let Err(error) = result {
            self.server.say(format!(
                "the journal cannot be written ({error}): a restart of the daemon would lose changes"
            ));
        }
    }

    fn publish(&mut self, connection: Connection) {
        if let Some(socket) = self.sockets.get_mut(&connection) {
            let sent = socket.flush(&mut self.server);
            if !sent || self.server.is_overfull(connection) {
                self.drop_socket(connection);
            } else if self.server.accepts(connection) {
                let idle = self.server.clients.get(&connection).is_none_or(|c| c.outbox.is_empty());
                if idle && socket.has_input() {
                    self.busy.insert(connection);
                }
            }
            return;
        }
        let Some(machine) = &mut self.machine else { return };
        let Some(domid) = machine.domain_of(connection) else { return };
        self.publish_ring(domid);
    }

    fn publish_ring(&mut self, domid: u16) {
        let Some(machine) = &mut self.machine else { return };
        let Some(ring) = machine.rings.get_mut(&domid) else { return };
        if ring.publish(&mut self.server) {
            machine.notify(domid);
            self.busy_rings.insert(domid);
        }
    }

    /// Gives the room of requests back to rings that had no answer to take with it.
    fn publish_consumed(&mut self) {
        let Some(machine) = &self.machine else { return };
        let stale: Vec<u16> = machine
            .rings
            .iter()
            .filter(|(_, ring)| ring.has_unpublished())
            .map(|(domid, _)| *domid)
            .collect();
        for domid in stale {
            self.publish_ring(domid);
        }
    }

    fn write_log(&mut self) {
        for line in self.server.take_lines() {
            self.log.line(&line);
        }
        let (lines, report) = self.server.take_trace();
        if let Some((path, text)) = report
            && let Err(error) = std::fs::write(&path, text)
        {
            self.log.line(&format!("the memory report {path} cannot be written: {error}"));
        }
        if lines.is_empty() {
            return;
        }
        self.open_trace();
        if let Some((_, file)) = &mut self.trace {
            let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            // A trace that cannot be written is not worth stopping for.
            let _ = file.write_all(text.as_bytes());
        }
    }

    fn open_trace(&mut self) {
        let Some(path) = self.server.trace_file() else { return };
        if self.trace.as_ref().is_some_and(|(open, _)| open == path) {
            return;
        }
        match std::fs::OpenOptions::new().append(true).create(true).open(path) {
            Ok(file) => self.trace = Some((path.to_owned(), file)),
            Err(error) => self.log.line(&format!("the trace {path} cannot be opened: {error}")),
        }
    }
}
