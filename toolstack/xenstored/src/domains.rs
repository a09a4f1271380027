//! Domains: introduced, released, shut down, gone.

use crate::journal::Entry;
use crate::path::{self, Path};
use crate::payload;
use crate::quota::Holdings;
use crate::requests::Request;
use crate::rights::Subject;
use crate::server::{Answer, Domain, DomainState, Platform, Server};
use crate::tree::Permissions;
use crate::view::{Operation, Refusal, View};
use std::collections::BTreeSet;
use std::rc::Rc;
use xenstore::Errno;
use xenstore::wire::{DOMID_SELF, INTRODUCE_DOMAIN, RELEASE_DOMAIN};

type Result = std::result::Result<Answer, Refusal>;

fn privileged(request: &Request<'_>) -> std::result::Result<(), Errno> {
    if request.by.is_privileged() { Ok(()) } else { Err(Errno::Access) }
}

impl Server {
    /// INTRODUCE: a domain's ring is there, or its event channel is a new one.
    pub(crate) fn introduce(
        &mut self,
        request: Request<'_>,
        platform: &mut dyn Platform,
    ) -> Result {
        privileged(&request)?;
        let ([domid, gfn, port], _) = payload::first::<3>(request.payload)?;
        let domid: u16 = payload::number(domid)?;
        let gfn: u64 = payload::number(gfn)?;
        let port: u32 = payload::number(port)?;
        if port == 0 || domid >= DOMID_SELF {
            return Err(Errno::Invalid.into());
        }
        if let Err(errno) = platform.connect(domid, gfn, port) {
            self.say(format!(
                "domain {domid} cannot be introduced: its ring (frame {gfn:#x}) or port {port}: {errno}"
            ));
            return Err(errno.into());
        }
        self.introduced(domid, gfn, port);
        Ok(Answer::Done)
    }

    /// Notes a domain whose ring is connected.
    pub fn introduced(&mut self, domid: u16, gfn: u64, port: u32) {
        self.journal.add(&Entry::Introduce { domid, gfn, port });
        if let Some(domain) = self.domains.get_mut(&domid) {
            (domain.gfn, domain.port) = (gfn, port);
            return;
        }
        let connection = self.add_client(Subject::new(domid), true);
        self.domains.insert(domid, Domain { connection, gfn, port, shutdown: false });
        if domid != 0 {
            self.fire_special(INTRODUCE_DOMAIN);
        }
    }

    /// RELEASE: a domain's ring is to be left alone.
    pub(crate) fn release_request(
        &mut self,
        request: Request<'_>,
        platform: &mut dyn Platform,
    ) -> Result {
        privileged(&request)?;
        let domid: u16 = payload::number(payload::one(request.payload)?)?;
        if domid == 0 {
            return Err(Errno::Invalid.into());
        }
        if !self.domains.contains_key(&domid) {
            return Err(Errno::NotFound.into());
        }
        if is_gone(platform.state(domid)) {
            self.forget(&BTreeSet::from([domid]));
        }
        self.release(domid, platform);
        self.fire_special(RELEASE_DOMAIN);
        Ok(Answer::Done)
    }

    fn release(&mut self, domid: u16, platform: &mut dyn Platform) {
        let Some(domain) = self.domains.remove(&domid) else { return };
        platform.disconnect(domid);
        self.remove_client(domain.connection);
        self.refusals.forget(domid);
        self.journal.add(&Entry::Release { domid });
        for client in self.clients.values_mut() {
            if client.subject.target == Some(domid) {
                client.subject.target = None;
            }
        }
    }

    /// RESUME: a domain that was shut down goes on.
    pub(crate) fn resume(&mut self, request: Request<'_>) -> Result {
        privileged(&request)?;
        let domid: u16 = payload::number(payload::one(request.payload)?)?;
        let domain = self.domains.get_mut(&domid).ok_or(Errno::NotFound)?;
        domain.shutdown = false;
        self.journal.add(&Entry::Shutdown { domid, down: false });
        Ok(Answer::Done)
    }

    /// SET_TARGET: a domain acts for another.
    pub(crate) fn set_target(&mut self, request: Request<'_>) -> Result {
        privileged(&request)?;
        let ([domid, target], _) = payload::first::<2>(request.payload)?;
        let (domid, target): (u16, u16) = (payload::number(domid)?, payload::number(target)?);
        if !self.domains.contains_key(&target) {
            return Err(Errno::NotFound.into());
        }
        let domain = self.domains.get(&domid).ok_or(Errno::NotFound)?;
        if let Some(client) = self.clients.get_mut(&domain.connection) {
            client.subject.target = Some(target);
        }
        self.journal.add(&Entry::Target { domid, target });
        Ok(Answer::Done)
    }

    /// IS_DOMAIN_INTRODUCED.
    pub(crate) fn is_introduced(&self, request: Request<'_>) -> Result {
        let domid: u16 = payload::number(payload::one(request.payload)?)?;
        let domid = if domid == DOMID_SELF { request.by.domid } else { domid };
        let yes = self.domains.contains_key(&domid);
        Ok(Answer::Bytes(if yes { b"T\0" } else { b"F\0" }.to_vec()))
    }

    /// Looks which domains ended since it last looked: tells who watches, and removes what those
    /// that do not exist any more owned.
    pub fn check_domains(&mut self, platform: &mut dyn Platform) {
        let known: BTreeSet<u16> = self
            .domains
            .keys()
            .copied()
            .chain(self.holdings.domains())
            .chain(self.mentioned.iter().copied())
            .filter(|domid| *domid != 0 && *domid < DOMID_SELF)
            .collect();
        let mut gone = BTreeSet::new();
        let mut news = false;
        for domid in known {
            let state = platform.state(domid);
            if is_gone(state) {
                gone.insert(domid);
                news = true;
            } else if state.is_some_and(|state| state.shutdown)
                && let Some(domain) = self.domains.get_mut(&domid)
                && !domain.shutdown
            {
                domain.shutdown = true;
                self.journal.add(&Entry::Shutdown { domid, down: true });
                news = true;
            }
        }
        if !gone.is_empty() {
            self.forget(&gone);
            for domid in &gone {
                self.release(*domid, platform);
            }
        }
        if news {
            self.fire_special(RELEASE_DOMAIN);
        }
    }

    /// Removes the nodes that domains own, and their entries in other nodes' permissions: a later
    /// domain with the same number must not inherit them.
    fn forget(&mut self, gone: &BTreeSet<u16>) {
        let mut owned: Vec<Path> = Vec::new();
        let mut listed: Vec<(Path, Permissions)> = Vec::new();
        self.tree.walk(&mut |path, node| {
            if gone.contains(&node.owner()) && path != "/" {
                let below = owned.last().is_some_and(|top| is_below(path, top));
                if !below {
                    owned.push(path.into());
                }
            } else if node.permissions.iter().skip(1).any(|entry| gone.contains(&entry.domid)) {
                let rest = node.permissions.iter().enumerate();
                let rest = rest.filter(|(at, entry)| *at == 0 || !gone.contains(&entry.domid));
                listed.push((path.into(), rest.map(|(_, entry)| *entry).collect()));
            }
        });
        let mut changes = Vec::new();
        let mut view = View {
            tree: &mut self.tree,
            holdings: &mut self.holdings,
            base: None,
            quotas: &self.quotas,
            changes: &mut changes,
            used: None,
        };
        for path in &owned {
            view.take_out(path);
        }
        for (path, list) in listed {
            // What is gone with a node above it needs no change.
            let _ = view.apply(Subject::new(0), &Operation::SetPermissions(path, list));
        }
        self.publish(&changes);
        self.mentioned.retain(|domid| !gone.contains(domid));
        for list in self.special.values_mut() {
            if list.iter().any(|entry| gone.contains(&entry.domid)) {
                *list = list.iter().filter(|entry| !gone.contains(&entry.domid)).copied().collect();
            }
        }
    }

    /// Counts anew what domains hold, after the tree was read back.
    pub(crate) fn count_holdings(&mut self) {
        let mut holdings = Holdings::default();
        let mut mentioned = BTreeSet::new();
        self.tree.walk(&mut |_, node| {
            holdings.add(node.owner(), 1, node.memory() as i64);
            mentioned.extend(node.permissions.iter().map(|entry| entry.domid));
        });
        self.holdings = holdings;
        self.mentioned = mentioned.into_iter().collect();
    }

    /// Sets a node without asking anybody, for reading back and for the nodes at the start.
    pub(crate) fn place(&mut self, path: &str, permissions: Permissions, value: &[u8]) {
        let value: Rc<[u8]> = value.into();
        if self.tree.get(path).is_some() {
            self.tree.set_value(path, value);
            self.tree.set_permissions(path, permissions);
        } else {
            debug_assert!(self.tree.get(path::parent(path)).is_some());
            self.tree.create(path, value, permissions);
        }
    }
}

fn is_gone(state: Option<DomainState>) -> bool {
    state.is_none_or(|state| state.dying)
}

fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}
