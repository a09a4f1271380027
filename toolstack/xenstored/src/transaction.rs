//! Transactions: a copy of the tree to work on, and what to compare when it is committed.

use crate::path::Path;
use crate::quota::{Holdings, Quotas};
use crate::rights::Subject;
use crate::tree::Tree;
use crate::view::{Change, Operation, Refusal, View};
use std::collections::HashSet;
use xenstore::Errno;

/// A transaction under way.
pub struct Transaction {
    /// The store as it was when the transaction began.
    start: Tree,
    tree: Tree,
    holdings: Holdings,
    used: HashSet<Path>,
    operations: Vec<Operation>,
    changes: Vec<Change>,
    bytes: usize,
    /// It was open when the daemon ended; what it had done is gone, so it cannot be committed.
    lost: bool,
}

impl Transaction {
    /// Begins: a copy of a pointer.
    #[must_use]
    pub fn begin(tree: &Tree) -> Self {
        Self {
            start: tree.clone(),
            tree: tree.clone(),
            holdings: Holdings::default(),
            used: HashSet::new(),
            operations: Vec::new(),
            changes: Vec::new(),
            bytes: 0,
            lost: false,
        }
    }

    /// Stands in for one that was open when the daemon ended: its client goes on as if nothing
    /// had happened, and is told to begin again when it commits.
    #[must_use]
    pub fn lost(tree: &Tree) -> Self {
        Self { lost: true, ..Self::begin(tree) }
    }

    /// How many nodes it used.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.len()
    }

    /// Bytes that the client's changes take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its view of the nodes.
    pub fn view<'a>(&'a mut self, base: &'a Holdings, quotas: &'a Quotas) -> View<'a> {
        View {
            tree: &mut self.tree,
            holdings: &mut self.holdings,
            base: Some(base),
            quotas,
            changes: &mut self.changes,
            used: Some(&mut self.used),
        }
    }

    /// Notes a change that was done in the view.
    pub fn did(&mut self, operation: Operation) {
        self.bytes += match &operation {
            Operation::Write(path, value) => path.len() + value.len(),
            Operation::Mkdir(path) | Operation::Rm(path) => path.len(),
            Operation::SetPermissions(path, list) => path.len() + list.len() * 4,
        } + 128;
        self.operations.push(operation);
    }

    /// Makes its changes the store's, and says what they are.
    ///
    /// # Errors
    /// `EAGAIN` if a node that it used was changed meanwhile, or a limit. The store is as before
    /// then.
    pub fn commit(
        self,
        by: Subject,
        tree: &mut Tree,
        holdings: &mut Holdings,
        quotas: &Quotas,
    ) -> Result<Vec<Change>, Refusal> {
        if self.lost {
            return Err(Errno::Again.into());
        }
        if self.operations.is_empty() {
            // It saw the store as it was at one moment; nothing of that can be wrong.
            return Ok(Vec::new());
        }
        if self.start.same(tree) {
            *tree = self.tree;
            holdings.merge(&self.holdings);
            return Ok(self.changes);
        }
        let generation = |tree: &Tree, path: &str| tree.get(path).map(|node| node.generation);
        if self.used.iter().any(|path| generation(&self.start, path) != generation(tree, path)) {
            return Err(Errno::Again.into());
        }
        // Others changed other nodes: the same changes again, on what the store is now.
        let mut copy = tree.clone();
        let mut now = holdings.clone();
        let mut changes = Vec::new();
        let mut view = View {
            tree: &mut copy,
            holdings: &mut now,
            base: None,
            quotas,
            changes: &mut changes,
            used: None,
        };
        for operation in &self.operations {
            view.apply(by, operation)?;
        }
        *tree = copy;
        *holdings = now;
        Ok(changes)
    }
}
