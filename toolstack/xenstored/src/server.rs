//! The daemon's state, and what a message does to it. Nothing here reads or writes a descriptor:
//! messages come in, answers and events collect in outboxes, changes in the journal.

use crate::journal::{Entry, Pending};
use crate::outbox::Outbox;
use crate::path::Path;
use crate::quota::{Holdings, Quota, Quotas, Refusals};
use crate::rights::Subject;
use crate::transaction::Transaction;
use crate::tree::{Permissions, Tree};
use crate::view::{Change, Refusal, What};
use crate::watch::{Connection, Watch, Watches};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use xenstore::wire::{Header, INTRODUCE_DOMAIN, PAYLOAD_MAX, RELEASE_DOMAIN};
use xenstore::{Errno, MessageType, Permission, Rights};

/// Bytes that may wait for a socket or for dom0's kernel; more costs the client its connection
/// (a socket) or the events (a ring).
pub const PRIVILEGED_OUTPUT_MAX: usize = 8 << 20;
/// Bytes that may wait before a privileged client's next request is left unread.
const PRIVILEGED_OUTPUT_PAUSE: usize = 256 << 10;
/// Transactions that a privileged client may have open.
const PRIVILEGED_TRANSACTIONS: usize = 1024;
/// Watches that a privileged client may have set.
const PRIVILEGED_WATCHES: usize = 8192;
/// Lines kept for the log until the daemon writes them.
const LINES_MAX: usize = 1000;

/// Work of one client's turn, after which others have theirs: a request that many watch is worth
/// as many as its events.
pub const TURN_WORK: u64 = 32;

/// What the hypervisor says of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainState {
    /// It was shut down, or crashed.
    pub shutdown: bool,
    /// It is being destroyed.
    pub dying: bool,
}

/// What the daemon needs of the machine that it runs on.
pub trait Platform {
    /// Maps a domain's ring and binds its event channel; again for a new channel.
    ///
    /// # Errors
    /// `EINVAL` or another error if there is no such domain, ring or channel.
    fn connect(&mut self, domid: u16, gfn: u64, port: u32) -> Result<(), Errno>;
    /// Unmaps and unbinds.
    fn disconnect(&mut self, domid: u16);
    /// A domain's state, `None` if it does not exist.
    fn state(&mut self, domid: u16) -> Option<DomainState>;
}

/// A domain that was introduced.
#[derive(Clone, Copy, Debug)]
pub struct Domain {
    /// Its connection.
    pub connection: Connection,
    /// The frame of its ring.
    pub gfn: u64,
    /// Its event channel's port, on its side.
    pub port: u32,
    /// It was seen shut down.
    pub shutdown: bool,
}

/// One client.
pub struct Client {
    /// Who it is.
    pub subject: Subject,
    /// Whether it is a domain's ring; else a socket.
    pub ring: bool,
    /// What it has not taken yet.
    pub outbox: Outbox,
    /// Its open transactions.
    pub transactions: HashMap<u32, Transaction>,
    pub(crate) next_transaction: u32,
    /// Events were left out since it last took all.
    pub(crate) overflowed: bool,
    /// Soft limit of memory reported.
    pub(crate) warned: bool,
    /// The most that it used of each quota.
    pub(crate) most: BTreeMap<Quota, u64>,
}

/// An answer's payload.
pub(crate) enum Answer {
    /// Done.
    Done,
    /// Bytes.
    Bytes(Vec<u8>),
    /// A node's value, not copied.
    Value(Rc<[u8]>),
}

/// The daemon's state.
pub struct Server {
    /// The nodes.
    pub tree: Tree,
    /// What domains hold of them.
    pub holdings: Holdings,
    /// The limits.
    pub quotas: Quotas,
    /// Who was refused what.
    pub refusals: Refusals,
    /// The watches.
    pub watches: Watches,
    /// The clients.
    pub clients: HashMap<Connection, Client>,
    /// Domains that were introduced.
    pub domains: BTreeMap<u16, Domain>,
    /// What is to be written to the journal.
    pub journal: Pending,
    /// Clients that have something to take.
    pub ready: HashSet<Connection>,
    pub(crate) special: BTreeMap<&'static str, Permissions>,
    pub(crate) mentioned: HashSet<u16>,
    pub(crate) lines: Vec<String>,
    /// A watch just set, whose first event follows the answer.
    pub(crate) first_event: Option<(Connection, Rc<Watch>)>,
    pub(crate) trace: crate::control::Trace,
    /// The most that any domain but dom0 used of each quota.
    pub(crate) most: BTreeMap<Quota, u64>,
    /// Requests done and watches looked at since the start: what a client's turn is measured by.
    pub work: u64,
    next: u64,
}

impl Server {
    /// A store with the nodes that it begins with.
    #[must_use]
    pub fn new() -> Self {
        let dom0_only: Permissions = Rc::from([Permission::new(0, Rights::None)]);
        let special = [INTRODUCE_DOMAIN, RELEASE_DOMAIN].map(|name| (name, Rc::clone(&dom0_only)));
        let mut server = Self {
            tree: Tree::new(1),
            holdings: Holdings::default(),
            quotas: Quotas::default(),
            refusals: Refusals::default(),
            watches: Watches::default(),
            clients: HashMap::new(),
            domains: BTreeMap::new(),
            journal: Pending::default(),
            ready: HashSet::new(),
            special: special.into_iter().collect(),
            mentioned: HashSet::new(),
            lines: Vec::new(),
            first_event: None,
            trace: crate::control::Trace::default(),
            most: BTreeMap::new(),
            work: 0,
            next: 0,
        };
        server.tree.set_permissions("/", Rc::clone(&dom0_only));
        for path in ["/tool", "/tool/xenstored"] {
            server.tree.create(path, Rc::from([]), Rc::clone(&dom0_only));
        }
        server.count_holdings();
        server
    }

    /// A new client.
    pub fn add_client(&mut self, subject: Subject, ring: bool) -> Connection {
        self.next += 1;
        let connection = Connection(self.next);
        let client = Client {
            subject,
            ring,
            outbox: Outbox::default(),
            transactions: HashMap::new(),
            next_transaction: 0,
            overflowed: false,
            warned: false,
            most: BTreeMap::new(),
        };
        self.clients.insert(connection, client);
        connection
    }

    /// A client is gone, with its watches and transactions.
    pub fn remove_client(&mut self, connection: Connection) {
        self.watches.remove_all(connection);
        self.clients.remove(&connection);
        self.ready.remove(&connection);
    }

    /// A line for the log.
    pub fn say(&mut self, line: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
    }

    /// The lines since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Whether a client's next request may be read: not while it leaves too much unread itself.
    #[must_use]
    pub fn accepts(&self, connection: Connection) -> bool {
        let Some(client) = self.clients.get(&connection) else { return false };
        if client.subject.is_privileged() {
            return client.outbox.bytes() < PRIVILEGED_OUTPUT_PAUSE;
        }
        let outstanding = client.outbox.answers() as u64 + 1;
        !self.quotas.exceeds(Quota::Outstanding, outstanding)
    }

    /// Whether a socket left so much unread that it is to be closed.
    #[must_use]
    pub fn is_overfull(&self, connection: Connection) -> bool {
        self.clients.get(&connection).is_some_and(|client| client.overflowed && !client.ring)
    }

    /// Does what a message asks, and puts the answer.
    pub fn handle(
        &mut self,
        connection: Connection,
        header: &Header,
        payload: &[u8],
        platform: &mut dyn Platform,
    ) {
        if !self.clients.contains_key(&connection) {
            return;
        }
        self.work += 1;
        self.trace_request(connection, header, payload);
        let kind = MessageType::from_u32(header.kind);
        let result = match kind {
            Some(kind) => self.dispatch(connection, kind, header, payload, platform),
            None => {
                self.say(format!("a client asked for the unknown request {}", header.kind));
                Err(Errno::NotImplemented.into())
            }
        };
        let result = match result {
            Ok(Answer::Value(value)) if value.len() > PAYLOAD_MAX => Err(Errno::TooBig.into()),
            Ok(Answer::Bytes(bytes)) if bytes.len() > PAYLOAD_MAX => Err(Errno::TooBig.into()),
            other => other,
        };
        if let Err(Refusal::Quota(quota)) = result {
            self.refused(connection, quota);
        }
        self.trace_answer(connection, header, result.as_ref().err().map(|refusal| refusal.errno()));
        let Some(client) = self.clients.get_mut(&connection) else { return };
        let answered = kind.unwrap_or(MessageType::Error);
        match result {
            Ok(Answer::Done) => client.outbox.answer(answered, header, b"OK\0"),
            Ok(Answer::Bytes(bytes)) => client.outbox.answer(answered, header, &bytes),
            Ok(Answer::Value(value)) => client.outbox.answer(answered, header, &value),
            Err(refusal) => {
                let mut name = refusal.errno().name().as_bytes().to_vec();
                name.push(0);
                client.outbox.answer(MessageType::Error, header, &name);
            }
        }
        if client.ring {
            self.note_usage(connection);
        }
        self.ready.insert(connection);
        if let Some((to, watch)) = self.first_event.take() {
            self.event(to, watch.relative(&watch.path), &watch.token);
        }
    }

    /// Counts a refusal, and logs it with the names of quota and domain.
    pub(crate) fn refused(&mut self, connection: Connection, quota: Quota) {
        let domid = self.clients.get(&connection).map_or(0, |client| client.subject.domid);
        if let Some(count) = self.refusals.count(domid, quota) {
            let (name, limit) = (quota.name(), self.quotas.get(quota));
            self.say(format!(
                "domain {domid} exceeds its quota {name} ({limit}): refused {count} times"
            ));
        }
    }

    /// Makes changes known: to the journal, and to those who watch.
    pub(crate) fn publish(&mut self, changes: &[Change]) {
        let mut fired = HashSet::new();
        for change in changes {
            match &change.what {
                What::Set { value, .. } => {
                    self.journal.put(&change.path, &change.permissions, value);
                    self.mentioned.extend(change.permissions.iter().map(|entry| entry.domid));
                }
                What::Removed { whole: true } => {
                    self.journal.add(&Entry::Remove { path: &change.path });
                }
                What::Removed { whole: false } => {}
            }
            let exact = match change.what {
                What::Set { fires: false, .. } => continue,
                What::Set { .. } | What::Removed { whole: true } => false,
                What::Removed { whole: false } => true,
            };
            if !self.watches.is_empty() && fired.insert((Path::clone(&change.path), exact)) {
                self.fire(change, exact);
            }
        }
    }

    fn fire(&mut self, change: &Change, exact: bool) {
        for watch in self.watches.concerned(&change.path, exact) {
            self.work += 1;
            let Some(client) = self.clients.get(&watch.by) else { continue };
            let reads = |list: &Permissions| client.subject.allowed(list).read;
            let may = reads(&change.permissions)
                || change.before.as_ref().is_some_and(reads)
                || reads(&change.above);
            if may {
                self.event(watch.by, watch.relative(&change.path), &watch.token);
            }
        }
    }

    /// Puts an event of a special name for all who watch it and may.
    pub(crate) fn fire_special(&mut self, name: &'static str) {
        for watch in self.watches.concerned(name, true) {
            let Some(client) = self.clients.get(&watch.by) else { continue };
            let allowed = self.special.get(name).map(|list| client.subject.allowed(list));
            if allowed.is_some_and(|allowed| allowed.read) {
                self.event(watch.by, name, &watch.token);
            }
        }
    }

    /// Puts an event. A client that takes none is left without, at some point: a socket is to be
    /// closed then, a ring misses events.
    pub(crate) fn event(&mut self, to: Connection, path: &str, token: &[u8]) {
        let memory = self.quotas.get(Quota::Memory) as usize;
        let Some(client) = self.clients.get_mut(&to) else { return };
        let privileged = client.subject.is_privileged();
        let most = if privileged || memory == 0 { PRIVILEGED_OUTPUT_MAX } else { memory };
        let domid = client.subject.domid;
        if client.outbox.bytes() < most {
            client.outbox.event(path, token);
            self.ready.insert(to);
        } else if !client.overflowed {
            client.overflowed = true;
            // To be closed, if it is a socket.
            self.ready.insert(to);
            let what = if client.ring { "its ring misses events" } else { "its socket is closed" };
            self.say(format!(
                "domain {domid} leaves {most} bytes of watch events unread (quota memory): {what}"
            ));
        }
    }

    /// A client took so many bytes.
    pub fn took(&mut self, connection: Connection, count: usize) {
        if let Some(client) = self.clients.get_mut(&connection) {
            client.outbox.take(count);
            if client.outbox.is_empty() {
                client.overflowed = false;
                self.ready.remove(&connection);
            }
        }
    }

    /// Drops a client's watches and transactions.
    pub fn reset(&mut self, connection: Connection) {
        self.watches.remove_all(connection);
        if let Some(client) = self.clients.get_mut(&connection) {
            client.transactions.clear();
            if client.ring {
                self.journal.add(&Entry::Reset { domid: client.subject.domid });
            }
        }
    }

    /// Limits of a client's transactions and watches.
    pub(crate) fn too_many(&self, subject: Subject, quota: Quota, count: usize) -> bool {
        if !subject.is_privileged() {
            return self.quotas.exceeds(quota, count as u64);
        }
        let most =
            if quota == Quota::Watches { PRIVILEGED_WATCHES } else { PRIVILEGED_TRANSACTIONS };
        count > most
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}
