//! What requests do to nodes, with permissions, limits and accounts: in the store itself, or in a
//! transaction's copy of it.

use crate::path::{self, Path};
use crate::quota::{Holdings, Quota, Quotas};
use crate::rights::{Need, Subject, absent, check};
use crate::tree::{Node, Permissions, Tree};
use std::collections::HashSet;
use std::rc::Rc;
use xenstore::{Errno, Permission};

/// Why a request on nodes was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// By the state of the store.
    Errno(Errno),
    /// By a limit.
    Quota(Quota),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Refusal {
    /// What is answered.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Errno(errno) => errno,
            Self::Quota(_) => Errno::NoSpace,
        }
    }
}

/// What happened to a node, for watches and for the journal.
#[derive(Clone, Debug)]
pub struct Change {
    /// The node.
    pub path: Path,
    /// What happened.
    pub what: What,
    /// The node's permissions after the change, or at its removal.
    pub permissions: Permissions,
    /// Those before, where they changed.
    pub before: Option<Permissions>,
    /// Those of its parent.
    pub above: Permissions,
}

/// Kinds of changes.
#[derive(Clone, Debug)]
pub enum What {
    /// It exists now, with this value. `fires` is false for parents that were created on the
    /// way: the event of the node below tells of them.
    Set {
        /// The value.
        value: Rc<[u8]>,
        /// Whether watches fire.
        fires: bool,
    },
    /// It was removed. `whole` is the node that the request named; for those below it, only
    /// watches on their very path fire.
    Removed {
        /// Whether it is the one that was named.
        whole: bool,
    },
}

/// One change that a transaction asked for, to be done again if others changed the store.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Set a value.
    Write(Path, Rc<[u8]>),
    /// Create.
    Mkdir(Path),
    /// Remove.
    Rm(Path),
    /// Set permissions.
    SetPermissions(Path, Permissions),
}

/// The nodes that requests work on.
pub struct View<'a> {
    /// The tree.
    pub tree: &'a mut Tree,
    /// What domains hold: all of it, or a transaction's differences.
    pub holdings: &'a mut Holdings,
    /// What domains hold outside of the transaction.
    pub base: Option<&'a Holdings>,
    /// The limits.
    pub quotas: &'a Quotas,
    /// Where changes are noted.
    pub changes: &'a mut Vec<Change>,
    /// Where used paths are noted, in a transaction.
    pub used: Option<&'a mut HashSet<Path>>,
}

impl View<'_> {
    /// Notes that a path was used.
    fn note(&mut self, path: &str) {
        if let Some(used) = &mut self.used
            && !used.contains(path)
        {
            used.insert(path.into());
        }
    }

    /// A node that exists and allows what is needed.
    ///
    /// # Errors
    /// `ENOENT`, or `EACCES`.
    pub fn node(&mut self, by: Subject, path: &str, need: Need) -> Result<&Rc<Node>, Refusal> {
        self.note(path);
        let found = self.tree.find(path);
        let Some(node) = found.node else { return Err(absent(by, found.above, need).into()) };
        check(by, node, need)?;
        Ok(node)
    }

    /// Whether a node exists, when it may be written or created there.
    fn writable(&mut self, by: Subject, path: &str) -> Result<bool, Refusal> {
        match self.node(by, path, Need::Write) {
            Ok(_) => Ok(true),
            Err(Refusal::Errno(Errno::NotFound)) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// Does one change.
    ///
    /// # Errors
    /// As that change.
    pub fn apply(&mut self, by: Subject, operation: &Operation) -> Result<(), Refusal> {
        match operation {
            Operation::Write(path, value) => self.write(by, path, value),
            Operation::Mkdir(path) => self.mkdir(by, path),
            Operation::Rm(path) => self.rm(by, path),
            Operation::SetPermissions(path, list) => self.set_permissions(by, path, list),
        }
    }

    /// Sets a value, creating the node and its parents if they do not exist.
    fn write(&mut self, by: Subject, path: &Path, value: &Rc<[u8]>) -> Result<(), Refusal> {
        if !self.writable(by, path)? {
            return self.create(by, path, value);
        }
        let Some(node) = self.tree.get(path) else { return Err(Errno::NotFound.into()) };
        let grows = value.len() as i64 - node.value.len() as i64;
        let size = (node.size() + value.len()).saturating_sub(node.value.len());
        let (owner, permissions) = (node.owner(), Rc::clone(&node.permissions));
        self.fits(by, Quota::NodeSize, size as u64)?;
        if grows > 0 {
            self.has_memory(by, owner, grows)?;
        }
        self.tree.set_value(path, Rc::clone(value));
        self.holdings.add(owner, 0, grows);
        self.changed(path, Rc::clone(value), permissions, None, true);
        Ok(())
    }

    /// Creates a node; that it exists is fine.
    fn mkdir(&mut self, by: Subject, path: &Path) -> Result<(), Refusal> {
        if self.writable(by, path)? { Ok(()) } else { self.create(by, path, &Rc::from([])) }
    }

    /// Creates a node and the parents that it lacks. They inherit permissions; what a domain
    /// without privilege creates is its own.
    fn create(&mut self, by: Subject, path: &Path, value: &Rc<[u8]>) -> Result<(), Refusal> {
        let found = self.tree.find(path);
        let (above, depth) = (Rc::clone(found.above), found.depth);
        let mut permissions = Rc::clone(&above.permissions);
        if !by.is_privileged()
            && let Some(first) = permissions.first()
            && first.domid != by.domid
        {
            let own = Permission::new(by.domid, first.rights);
            permissions = std::iter::once(own).chain(permissions.iter().skip(1).copied()).collect();
        }
        let owner = permissions.first().map_or(0, |entry| entry.domid);
        let missing = missing_paths(path, depth);
        if let Some(first) = missing.first() {
            let name = path::last_name(first).len() + 1;
            self.fits(by, Quota::NodeSize, (above.size() + name) as u64)?;
            self.note(path::parent(first));
        }
        drop(above);
        self.fits(by, Quota::NodeSize, (value.len() + permissions.len() * 4) as u64)?;
        let held = self.held(owner);
        if owner == by.domid {
            self.fits(by, Quota::Nodes, (held.0 + missing.len() as i64).unsigned_abs())?;
        }
        self.has_memory(by, owner, (value.len() + missing.len() * 256) as i64)?;
        for now in &missing {
            let last = now == path;
            let value = if last { Rc::clone(value) } else { Rc::from([]) };
            self.note(now);
            self.tree.create(now, Rc::clone(&value), Rc::clone(&permissions));
            let memory = self.tree.get(now).map_or(0, |node| node.memory());
            self.holdings.add(owner, 1, memory as i64);
            self.changed(now, value, Rc::clone(&permissions), None, last);
        }
        Ok(())
    }

    /// Removes a node and all below it. That it does not exist is fine if its parent does.
    fn rm(&mut self, by: Subject, path: &Path) -> Result<(), Refusal> {
        if !self.writable(by, path)? {
            let above = self.tree.get(path::parent(path));
            return above.map(drop).ok_or_else(|| Errno::NotFound.into());
        }
        if &**path == "/" {
            return Err(Errno::Invalid.into());
        }
        self.note(path::parent(path));
        self.take_out(path);
        Ok(())
    }

    /// Removes a node without asking for permission.
    pub fn take_out(&mut self, path: &Path) {
        let above = self.above(path);
        let Some(node) = self.tree.remove(path) else { return };
        self.removed(path, &node, above, true);
    }

    /// Notes the removal of a node after those of all below it.
    fn removed(&mut self, path: &Path, node: &Node, above: Permissions, whole: bool) {
        // Children first; a stack, as a domain decides how deep this is.
        let mut stack = vec![(Rc::clone(path), Rc::new(node.clone()), above, false)];
        while let Some((path, node, above, visited)) = stack.pop() {
            if !visited {
                let children: Vec<_> = node.children().into_iter().map(Rc::clone).collect();
                let own = Rc::clone(&node.permissions);
                stack.push((Rc::clone(&path), node, above, true));
                for child in children.into_iter().rev() {
                    let below = path::child(&path, child.name());
                    stack.push((below, child, Rc::clone(&own), false));
                }
                continue;
            }
            self.holdings.add(node.owner(), -1, -(node.memory() as i64));
            self.changes.push(Change {
                path,
                what: What::Removed { whole: whole && stack.is_empty() },
                permissions: Rc::clone(&node.permissions),
                before: None,
                above,
            });
        }
    }

    /// Sets a node's permissions. Only its owner may, and only dom0 may give it away.
    fn set_permissions(
        &mut self,
        by: Subject,
        path: &Path,
        permissions: &Permissions,
    ) -> Result<(), Refusal> {
        let node = Rc::clone(self.node(by, path, Need::Own)?);
        let owner = permissions.first().map_or(0, |entry| entry.domid);
        if !by.is_privileged() && owner != node.owner() {
            return Err(Errno::NotPermitted.into());
        }
        self.fits(by, Quota::NodePermissions, permissions.len() as u64)?;
        let before = Rc::clone(&node.permissions);
        let memory = node.memory() as i64;
        let after = memory + (permissions.len() as i64 - before.len() as i64) * 4;
        self.holdings.add(node.owner(), -1, -memory);
        self.holdings.add(owner, 1, after);
        let value = Rc::clone(&node.value);
        drop(node);
        self.tree.set_permissions(path, Rc::clone(permissions));
        self.changed(path, value, Rc::clone(permissions), Some(before), true);
        Ok(())
    }

    fn above(&self, path: &str) -> Permissions {
        let above = self.tree.get(path::parent(path)).unwrap_or_else(|| self.tree.root());
        Rc::clone(&above.permissions)
    }

    fn changed(
        &mut self,
        path: &Path,
        value: Rc<[u8]>,
        permissions: Permissions,
        before: Option<Permissions>,
        fires: bool,
    ) {
        let above = self.above(path);
        let (path, what) = (Rc::clone(path), What::Set { value, fires });
        self.changes.push(Change { path, what, permissions, before, above });
    }

    /// Nodes and bytes that a domain holds, this transaction's among them.
    fn held(&self, domid: u16) -> (i64, i64) {
        let own = self.holdings.get(domid);
        let base = self.base.map(|base| base.get(domid)).unwrap_or_default();
        (own.nodes + base.nodes, own.bytes + base.bytes)
    }

    fn fits(&self, by: Subject, quota: Quota, amount: u64) -> Result<(), Refusal> {
        if !by.is_privileged() && self.quotas.exceeds(quota, amount) {
            return Err(Refusal::Quota(quota));
        }
        Ok(())
    }

    fn has_memory(&self, by: Subject, owner: u16, more: i64) -> Result<(), Refusal> {
        if by.domid != owner {
            return Ok(());
        }
        self.fits(by, Quota::Memory, (self.held(owner).1 + more).unsigned_abs())
    }
}

/// The paths from the first that lacks down to the path itself; `depth` names of it exist.
fn missing_paths(path: &Path, depth: usize) -> Vec<Path> {
    let mut paths: Vec<Path> = path::upwards(path).filter(|p| *p != "/").map(Path::from).collect();
    paths.reverse();
    paths.split_off(depth.min(paths.len()))
}
