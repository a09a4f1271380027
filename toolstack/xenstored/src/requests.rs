//! Requests on nodes, watches and transactions.

use crate::journal::Entry;
use crate::path::{Canonical, canonical, is_special};
use crate::payload;
use crate::quota::Quota;
use crate::rights::{Need, Subject};
use crate::server::{Answer, Platform, Server};
use crate::transaction::Transaction;
use crate::tree::{Node, Permissions};
use crate::view::{Operation, Refusal, View};
use crate::watch::Connection;
use std::rc::Rc;
use xenstore::wire::{Header, PAYLOAD_MAX, RELATIVE_PATH_MAX};
use xenstore::{Errno, MessageType};

type Result<T = Answer> = std::result::Result<T, Refusal>;

/// A request with who sent it.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) from: Connection,
    pub(crate) by: Subject,
    pub(crate) transaction: u32,
    pub(crate) payload: &'a [u8],
}

impl Server {
    /// Does what a request of a known type asks.
    pub(crate) fn dispatch(
        &mut self,
        from: Connection,
        kind: MessageType,
        header: &Header,
        payload: &[u8],
        platform: &mut dyn Platform,
    ) -> Result {
        let client = self.clients.get(&from).ok_or(Errno::Invalid)?;
        let by = client.subject;
        let request = Request { from, by, transaction: header.transaction, payload };
        if !by.is_privileged() && adds(kind) {
            self.check_memory(from)?;
        }
        match kind {
            MessageType::Read => self.read(request),
            MessageType::Directory => self.directory(request),
            MessageType::DirectoryPart => self.directory_part(request),
            MessageType::GetPerms => self.get_permissions(request),
            MessageType::Write => self.write(request),
            MessageType::Mkdir => {
                let path = self.path(by, payload::one(payload)?)?;
                self.change(request, Operation::Mkdir(path.path))
            }
            MessageType::Rm => {
                let path = self.path(by, payload::one(payload)?)?;
                self.change(request, Operation::Rm(path.path))
            }
            MessageType::SetPerms => self.set_permissions(request, platform),
            MessageType::Watch => self.watch(request),
            MessageType::Unwatch => self.unwatch(request),
            MessageType::ResetWatches => {
                self.reset(from);
                Ok(Answer::Done)
            }
            MessageType::TransactionStart => self.transaction_start(request),
            MessageType::TransactionEnd => self.transaction_end(request),
            MessageType::Introduce => self.introduce(request, platform),
            MessageType::Release => self.release_request(request, platform),
            MessageType::Resume => self.resume(request),
            MessageType::SetTarget => self.set_target(request),
            MessageType::IsDomainIntroduced => self.is_introduced(request),
            MessageType::GetDomainPath => domain_path(request),
            MessageType::Control => self.control(request),
            MessageType::WatchEvent | MessageType::Error => Err(Errno::NotImplemented.into()),
        }
    }

    /// A path as this client means it.
    fn path(&self, by: Subject, text: &[u8]) -> Result<Canonical> {
        let longest = match self.quotas.get(Quota::PathLength) {
            limit if limit == 0 || by.is_privileged() => usize::MAX,
            limit => limit as usize,
        };
        Ok(canonical(text, by.domid, longest)?)
    }

    /// Works on the nodes that the request means: the store's, or a transaction's.
    fn view<T>(
        &mut self,
        request: Request<'_>,
        work: impl FnOnce(&mut View<'_>) -> Result<T>,
    ) -> Result<T> {
        if request.transaction == 0 {
            let mut changes = Vec::new();
            let mut view = View {
                tree: &mut self.tree,
                holdings: &mut self.holdings,
                base: None,
                quotas: &self.quotas,
                changes: &mut changes,
                used: None,
            };
            let result = work(&mut view);
            self.publish(&changes);
            return result;
        }
        let client = self.clients.get_mut(&request.from).ok_or(Errno::Invalid)?;
        let transaction =
            client.transactions.get_mut(&request.transaction).ok_or(Errno::NotFound)?;
        if !request.by.is_privileged()
            && self.quotas.exceeds(Quota::TransactionNodes, transaction.used() as u64)
        {
            return Err(Refusal::Quota(Quota::TransactionNodes));
        }
        work(&mut transaction.view(&self.holdings, &self.quotas))
    }

    /// Looks at a node.
    fn look<T>(&mut self, request: Request<'_>, see: impl FnOnce(&Node) -> T) -> Result<T> {
        let path = self.path(request.by, payload::one(request.payload)?)?;
        let by = request.by;
        self.view(request, |view| view.node(by, &path.path, Need::Read).map(|node| see(node)))
    }

    fn read(&mut self, request: Request<'_>) -> Result {
        self.look(request, |node| Rc::clone(&node.value)).map(Answer::Value)
    }

    fn directory(&mut self, request: Request<'_>) -> Result {
        self.look(request, Node::listing).map(Answer::Bytes)
    }

    fn directory_part(&mut self, request: Request<'_>) -> Result {
        let ([text, offset], _) = payload::first::<2>(request.payload)?;
        let path = self.path(request.by, text)?;
        let offset: usize = payload::number(offset)?;
        let by = request.by;
        let (generation, listing) = self.view(request, |view| {
            let node = view.node(by, &path.path, Need::Read)?;
            Ok((node.generation, node.listing()))
        })?;
        Ok(Answer::Bytes(part(generation, &listing, offset)))
    }

    fn get_permissions(&mut self, request: Request<'_>) -> Result {
        let name = payload::one(request.payload)?;
        let list = if is_special(name) {
            let list = self.special_permissions(name)?;
            if !request.by.allowed(&list).read {
                return Err(Errno::Access.into());
            }
            list
        } else {
            self.look(request, |node| Rc::clone(&node.permissions))?
        };
        let text: String = list.iter().map(|entry| format!("{entry}\0")).collect();
        Ok(Answer::Bytes(text.into_bytes()))
    }

    fn set_permissions(&mut self, request: Request<'_>, platform: &mut dyn Platform) -> Result {
        let ([name], rest) = payload::first::<1>(request.payload)?;
        let list: Permissions = payload::permissions(rest)?.into();
        // What nobody owns, nobody would remove.
        let owner = list.first().map_or(0, |entry| entry.domid);
        let known = owner == 0 || self.domains.contains_key(&owner);
        if !known && platform.state(owner).is_none() {
            return Err(Errno::NotFound.into());
        }
        if is_special(name) {
            if !request.by.allowed(&self.special_permissions(name)?).owner {
                return Err(Errno::Access.into());
            }
            return self.set_special(name, list);
        }
        let path = self.path(request.by, name)?;
        self.change(request, Operation::SetPermissions(path.path, list))
    }

    fn special_permissions(&self, name: &[u8]) -> Result<Permissions> {
        let found = self.special.iter().find(|(special, _)| special.as_bytes() == name);
        Ok(found.map(|(_, list)| Rc::clone(list)).ok_or(Errno::NotFound)?)
    }

    fn set_special(&mut self, name: &[u8], list: Permissions) -> Result {
        for (special, permissions) in &mut self.special {
            if special.as_bytes() == name {
                let permissions_now = list.to_vec();
                self.journal.add(&Entry::Special { path: special, permissions: permissions_now });
                self.mentioned.extend(list.iter().map(|entry| entry.domid));
                *permissions = list;
                return Ok(Answer::Done);
            }
        }
        Err(Errno::NotFound.into())
    }

    fn write(&mut self, request: Request<'_>) -> Result {
        let ([text], value) = payload::first::<1>(request.payload)?;
        let path = self.path(request.by, text)?;
        self.change(request, Operation::Write(path.path, value.into()))
    }

    /// Does one change, at once or in the request's transaction.
    fn change(&mut self, request: Request<'_>, operation: Operation) -> Result {
        let by = request.by;
        self.view(request, |view| view.apply(by, &operation))?;
        if request.transaction != 0
            && let Some(client) = self.clients.get_mut(&request.from)
            && let Some(transaction) = client.transactions.get_mut(&request.transaction)
        {
            transaction.did(operation);
        }
        Ok(Answer::Done)
    }

    fn watch(&mut self, request: Request<'_>) -> Result {
        let ([text, token], _) = payload::first::<2>(request.payload)?;
        let (path, implied) = self.watched(request.by, text)?;
        if self.watches.contains(request.from, &path, token) {
            return Err(Errno::Exists.into());
        }
        let count = self.watches.of(request.from).len() + 1;
        if self.too_many(request.by, Quota::Watches, count) {
            self.refused(request.from, Quota::Watches);
            return Err(Errno::TooBig.into());
        }
        let watch = self.watches.add(request.from, path, implied, token);
        if self.is_ring(request.from) {
            let (domid, implied) = (request.by.domid, implied as u32);
            self.journal.add(&Entry::Watch { domid, path: &watch.path, implied, token });
        }
        self.first_event = Some((request.from, watch));
        Ok(Answer::Done)
    }

    /// What a watch's path means: a node's, or a special name.
    fn watched(&self, by: Subject, text: &[u8]) -> Result<(Rc<str>, usize)> {
        if is_special(text) {
            let name = std::str::from_utf8(text).map_err(|_| Errno::Invalid)?;
            if name.len() > RELATIVE_PATH_MAX {
                return Err(Errno::Invalid.into());
            }
            return Ok((name.into(), 0));
        }
        self.path(by, text).map(|found| (found.path, found.implied))
    }

    fn unwatch(&mut self, request: Request<'_>) -> Result {
        let ([text, token], _) = payload::first::<2>(request.payload)?;
        let (path, _) = self.watched(request.by, text)?;
        if !self.watches.remove(request.from, &path, token) {
            return Err(Errno::NotFound.into());
        }
        if self.is_ring(request.from) {
            let domid = request.by.domid;
            self.journal.add(&Entry::Unwatch { domid, path: &path, token });
        }
        Ok(Answer::Done)
    }

    fn is_ring(&self, connection: Connection) -> bool {
        self.clients.get(&connection).is_some_and(|client| client.ring)
    }

    fn transaction_start(&mut self, request: Request<'_>) -> Result {
        if request.transaction != 0 {
            return Err(Errno::Busy.into());
        }
        let client = self.clients.get(&request.from).ok_or(Errno::Invalid)?;
        if self.too_many(request.by, Quota::Transactions, client.transactions.len() + 1) {
            return Err(Refusal::Quota(Quota::Transactions));
        }
        let begun = Transaction::begin(&self.tree);
        let client = self.clients.get_mut(&request.from).ok_or(Errno::Invalid)?;
        let mut id = client.next_transaction;
        loop {
            id = id.wrapping_add(1).max(1);
            if !client.transactions.contains_key(&id) {
                break;
            }
        }
        client.next_transaction = id;
        client.transactions.insert(id, begun);
        if client.ring {
            self.journal.add(&Entry::Begin { domid: request.by.domid, transaction: id });
        }
        Ok(Answer::Bytes(format!("{id}\0").into_bytes()))
    }

    fn transaction_end(&mut self, request: Request<'_>) -> Result {
        let commit = match payload::one(request.payload)? {
            b"T" => true,
            b"F" => false,
            _ => return Err(Errno::Invalid.into()),
        };
        let client = self.clients.get_mut(&request.from).ok_or(Errno::Invalid)?;
        let ended = client.transactions.remove(&request.transaction).ok_or(Errno::NotFound)?;
        if client.ring {
            let (domid, transaction) = (request.by.domid, request.transaction);
            self.journal.add(&Entry::End { domid, transaction });
        }
        if commit {
            let changes =
                ended.commit(request.by, &mut self.tree, &mut self.holdings, &self.quotas)?;
            self.publish(&changes);
        }
        Ok(Answer::Done)
    }

    /// Bytes that a client's domain uses: nodes, watches, transactions, unread answers.
    pub(crate) fn memory(&self, connection: Connection) -> u64 {
        let Some(client) = self.clients.get(&connection) else { return 0 };
        let watches: usize = self.watches.of(connection).iter().map(|watch| watch.memory()).sum();
        let transactions: usize = client.transactions.values().map(|open| open.bytes() + 512).sum();
        let nodes = self.holdings.get(client.subject.domid).bytes.max(0).unsigned_abs();
        nodes + (watches + transactions + client.outbox.bytes()) as u64
    }

    fn check_memory(&mut self, connection: Connection) -> Result<()> {
        let memory = self.memory(connection);
        let soft = self.quotas.soft_memory;
        let Some(client) = self.clients.get_mut(&connection) else { return Ok(()) };
        let above = soft != 0 && memory > soft;
        if above != client.warned {
            client.warned = above;
            let domid = client.subject.domid;
            let how = if above { "exceeds" } else { "is below" };
            self.say(format!("domain {domid} {how} its soft quota memory ({soft})"));
        }
        if self.quotas.exceeds(Quota::Memory, memory) {
            return Err(Refusal::Quota(Quota::Memory));
        }
        Ok(())
    }
}

/// Whether a request can make its domain use more memory.
const fn adds(kind: MessageType) -> bool {
    use MessageType as T;
    matches!(kind, T::Write | T::Mkdir | T::SetPerms | T::Watch | T::TransactionStart)
}

/// One part of a list of children: the generation, then whole names, then an empty one if
/// nothing follows.
fn part(generation: u64, listing: &[u8], offset: usize) -> Vec<u8> {
    let mut answer = format!("{generation}\0").into_bytes();
    let rest = listing.get(offset..).unwrap_or_default();
    let room = PAYLOAD_MAX - answer.len() - 1;
    let end = if rest.len() <= room {
        rest.len()
    } else {
        let window = rest.get(..room).unwrap_or_default();
        window.iter().rposition(|byte| *byte == 0).map_or(0, |at| at + 1)
    };
    answer.extend_from_slice(rest.get(..end).unwrap_or_default());
    if end == rest.len() {
        answer.push(0);
    }
    answer
}

fn domain_path(request: Request<'_>) -> Result {
    let domid: u16 = payload::number(payload::one(request.payload)?)?;
    Ok(Answer::Bytes(format!("/local/domain/{domid}\0").into_bytes()))
}
