//! Reading the journal back, and writing all of the state as a new one.

use crate::journal::{Entry, Pending, Reader};
use crate::quota::Quota;
use crate::rights::Subject;
use crate::server::{Domain, Platform, Server};
use crate::transaction::Transaction;
use crate::tree::{Permissions, Tree};
use crate::watch::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Where a ring stood when it was last written to the journal. Indices count as the ring's do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingState {
    /// Requests were done up to here; `None` if none was noted.
    pub consumed: Option<u32>,
    /// What had been taken of the request that begins there.
    pub partial: Vec<u8>,
    /// Where the bytes in `output` begin.
    pub position: u32,
    /// Answers and events from `position` on.
    pub output: Vec<u8>,
}

#[derive(Default)]
struct Kept {
    gfn: u64,
    port: u32,
    shutdown: bool,
    target: Option<u16>,
    watches: Vec<(String, usize, Vec<u8>)>,
    open: BTreeSet<u32>,
    last: u32,
    ring: RingState,
}

/// What the journal says, collected before anything is connected.
pub struct Restored {
    server: Server,
    domains: BTreeMap<u16, Kept>,
}

impl Restored {
    /// Reads the bodies of frames.
    #[must_use]
    pub fn read(bodies: &[&[u8]]) -> Self {
        let mut restored = Self { server: Server::new(), domains: BTreeMap::new() };
        restored.server.tree = Tree::new(1);
        for body in bodies {
            for entry in Reader(body) {
                restored.apply(entry);
            }
        }
        restored
    }

    fn apply(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Put { path, permissions, value } => {
                self.server.place(path, Rc::from(permissions), value);
            }
            Entry::Remove { path } => _ = self.server.tree.remove(path),
            Entry::Special { path, permissions } => {
                for (name, list) in &mut self.server.special {
                    if *name == path {
                        *list = Permissions::from(permissions.clone());
                    }
                }
            }
            Entry::Introduce { domid, gfn, port } => {
                let kept = self.domains.entry(domid).or_default();
                (kept.gfn, kept.port) = (gfn, port);
            }
            Entry::Release { domid } => _ = self.domains.remove(&domid),
            Entry::Quota { name, soft, limit } => match Quota::from_name(name) {
                Some(_) if soft => self.server.quotas.soft_memory = limit,
                Some(quota) => self.server.quotas.set(quota, limit),
                None => {}
            },
            Entry::Clock { generation } => self.server.tree = Tree::new(generation),
            other => self.apply_domain(other),
        }
    }

    fn apply_domain(&mut self, entry: Entry<'_>) {
        let (Entry::Shutdown { domid, .. }
        | Entry::Target { domid, .. }
        | Entry::Watch { domid, .. }
        | Entry::Unwatch { domid, .. }
        | Entry::Reset { domid }
        | Entry::Begin { domid, .. }
        | Entry::End { domid, .. }
        | Entry::Cursor { domid, .. }
        | Entry::Partial { domid, .. }
        | Entry::Output { domid, .. }) = &entry
        else {
            return;
        };
        let Some(kept) = self.domains.get_mut(domid) else { return };
        match entry {
            Entry::Shutdown { down, .. } => kept.shutdown = down,
            Entry::Target { target, .. } => kept.target = Some(target),
            Entry::Watch { path, implied, token, .. } => {
                kept.watches.push((path.to_owned(), implied as usize, token.to_vec()));
            }
            Entry::Unwatch { path, token, .. } => {
                kept.watches.retain(|(of, _, word)| of != path || word != token);
            }
            Entry::Reset { .. } => {
                kept.watches.clear();
                kept.open.clear();
            }
            Entry::Begin { transaction, .. } => {
                kept.open.insert(transaction);
                kept.last = transaction;
            }
            Entry::End { transaction, .. } => _ = kept.open.remove(&transaction),
            Entry::Cursor { consumed, .. } => {
                kept.ring.consumed = Some(consumed);
                kept.ring.partial.clear();
            }
            Entry::Partial { bytes, .. } => kept.ring.partial.extend_from_slice(bytes),
            Entry::Output { position, bytes, .. } => {
                let ring = &mut kept.ring;
                if ring.position.wrapping_add(ring.output.len() as u32) != position {
                    // What lies between was taken without having been noted.
                    ring.output.clear();
                    ring.position = position;
                }
                ring.output.extend_from_slice(bytes);
            }
            _ => {}
        }
    }

    /// Connects the domains again. Says where each ring stood; one that cannot be connected any
    /// more is left out, and its domain is found gone by the next look.
    pub fn finish(mut self, platform: &mut dyn Platform) -> (Server, Vec<(u16, RingState)>) {
        let mut rings = Vec::new();
        self.server.count_holdings();
        for (domid, kept) in std::mem::take(&mut self.domains) {
            if let Err(errno) = platform.connect(domid, kept.gfn, kept.port) {
                let line = format!(
                    "domain {domid} cannot be connected again (frame {:#x}, port {}): {errno}",
                    kept.gfn, kept.port
                );
                self.server.say(line);
                continue;
            }
            let connection = self.server.add_client(Subject::new(domid), true);
            let Kept { gfn, port, shutdown, .. } = kept;
            self.server.domains.insert(domid, Domain { connection, gfn, port, shutdown });
            let ring = kept.ring.clone();
            self.give_back(connection, kept);
            rings.push((domid, ring));
        }
        (self.server, rings)
    }

    fn give_back(&mut self, connection: Connection, kept: Kept) {
        for (path, implied, token) in &kept.watches {
            self.server.watches.add(connection, path.as_str().into(), *implied, token);
        }
        let Some(client) = self.server.clients.get_mut(&connection) else { return };
        client.subject.target = kept.target;
        client.next_transaction = kept.last;
        for id in kept.open {
            client.transactions.insert(id, Transaction::lost(&self.server.tree));
        }
    }
}

impl Server {
    /// All of the state as one frame. `ring` says where each domain's ring stands.
    pub fn snapshot(&self, ring: &mut dyn FnMut(u16) -> RingState) -> Vec<u8> {
        let mut all = Pending::default();
        // Far enough ahead that no generation is given twice by this daemon and the next.
        all.add(&Entry::Clock { generation: self.tree.clock() + (1 << 32) });
        for quota in Quota::ALL {
            let limit = self.quotas.get(*quota);
            all.add(&Entry::Quota { name: quota.name(), soft: false, limit });
        }
        let limit = self.quotas.soft_memory;
        all.add(&Entry::Quota { name: Quota::Memory.name(), soft: true, limit });
        for (path, list) in &self.special {
            all.add(&Entry::Special { path, permissions: list.to_vec() });
        }
        self.tree.walk(&mut |path, node| all.put(path, &node.permissions, &node.value));
        for (domid, domain) in &self.domains {
            self.snapshot_domain(&mut all, *domid, domain, ring(*domid));
        }
        all.frame()
    }

    fn snapshot_domain(&self, all: &mut Pending, domid: u16, domain: &Domain, ring: RingState) {
        let Domain { connection, gfn, port, shutdown } = *domain;
        all.add(&Entry::Introduce { domid, gfn, port });
        all.add(&Entry::Shutdown { domid, down: shutdown });
        for watch in self.watches.of(connection) {
            let (path, implied, token) = (&*watch.path, watch.implied as u32, &*watch.token);
            all.add(&Entry::Watch { domid, path, implied, token });
        }
        if let Some(client) = self.clients.get(&connection) {
            if let Some(target) = client.subject.target {
                all.add(&Entry::Target { domid, target });
            }
            for transaction in client.transactions.keys().copied() {
                all.add(&Entry::Begin { domid, transaction });
            }
            if client.next_transaction != 0
                && !client.transactions.contains_key(&client.next_transaction)
            {
                let transaction = client.next_transaction;
                all.add(&Entry::Begin { domid, transaction });
                all.add(&Entry::End { domid, transaction });
            }
        }
        if let Some(consumed) = ring.consumed {
            all.add(&Entry::Cursor { domid, consumed });
            all.add(&Entry::Partial { domid, bytes: &ring.partial });
        }
        all.add(&Entry::Output { domid, position: ring.position, bytes: &ring.output });
    }
}
