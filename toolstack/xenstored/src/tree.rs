//! The tree of nodes. Copies share what neither changed: to begin a transaction is to copy one
//! pointer, and a change copies only the nodes on the path to it.

use crate::path;
use std::cell::Cell;
use std::rc::Rc;
use xenstore::{Permission, Rights};

/// A node's permissions, shared between nodes that inherited them.
pub type Permissions = Rc<[Permission]>;

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    name: Rc<str>,
    /// When it was created: the order in which a parent lists its children.
    order: u64,
    /// When its value, permissions or list of children last changed.
    pub generation: u64,
    /// Its value.
    pub value: Rc<[u8]>,
    /// Who may do what with it.
    pub permissions: Permissions,
    /// Sorted by name.
    children: Vec<Rc<Self>>,
}

impl Node {
    fn position(&self, name: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|child| (*child.name).cmp(name))
    }

    /// The child of a name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Rc<Self>> {
        self.position(name).ok().and_then(|at| self.children.get(at))
    }

    /// The node's name in its parent; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The children in the order in which they were created.
    #[must_use]
    pub fn children(&self) -> Vec<&Rc<Self>> {
        let mut children: Vec<_> = self.children.iter().collect();
        if !children.is_sorted_by_key(|child| child.order) {
            children.sort_unstable_by_key(|child| child.order);
        }
        children
    }

    /// The children's names, each ended by a zero byte.
    #[must_use]
    pub fn listing(&self) -> Vec<u8> {
        let mut names = Vec::with_capacity(self.children.len() * 8);
        for child in self.children() {
            names.extend_from_slice(child.name.as_bytes());
            names.push(0);
        }
        names
    }

    /// Bytes of a node as its size is limited: value, permissions and children's names.
    #[must_use]
    pub fn size(&self) -> usize {
        let names: usize = self.children.iter().map(|child| child.name.len() + 1).sum();
        self.value.len() + self.permissions.len() * 4 + names
    }

    /// Bytes of memory that its owner answers for.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + 64 + self.name.len() + self.value.len() + self.permissions.len() * 4
    }

    /// The domain that owns it.
    #[must_use]
    pub fn owner(&self) -> u16 {
        self.permissions.first().map_or(0, |entry| entry.domid)
    }
}

/// What was found of a path.
pub struct Found<'tree> {
    /// The node itself.
    pub node: Option<&'tree Rc<Node>>,
    /// The deepest node above it that exists.
    pub above: &'tree Rc<Node>,
    /// How many names of the path lead to `above`.
    pub depth: usize,
}

/// The whole store, or a transaction's copy of it.
#[derive(Clone)]
pub struct Tree {
    root: Rc<Node>,
    clock: Rc<Cell<u64>>,
}

impl Tree {
    /// A tree with a root that everybody may read. Its generations begin after `clock`.
    #[must_use]
    pub fn new(clock: u64) -> Self {
        let root = Node {
            name: "".into(),
            order: clock,
            generation: clock,
            value: Rc::from([]),
            permissions: Rc::from([Permission::new(0, Rights::Read)]),
            children: Vec::new(),
        };
        Self { root: Rc::new(root), clock: Rc::new(Cell::new(clock)) }
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// The root.
    #[must_use]
    pub const fn root(&self) -> &Rc<Node> {
        &self.root
    }

    /// The last generation that was given.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock.get()
    }

    /// Whether nothing has changed between two copies.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.root, &other.root)
    }

    /// A node.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Rc<Node>> {
        path::names(path).try_fold(&self.root, |node, name| node.child(name))
    }

    /// A node, or what exists above it.
    #[must_use]
    pub fn find(&self, path: &str) -> Found<'_> {
        let mut above = &self.root;
        let mut node = &self.root;
        let mut depth = 0;
        for name in path::names(path) {
            above = node;
            match node.child(name) {
                Some(child) => node = child,
                None => return Found { node: None, above, depth },
            }
            depth += 1;
        }
        Found { node: Some(node), above, depth: depth.saturating_sub(1) }
    }

    /// The node as one that may be changed; copies of the tree keep the old one.
    fn edit(&mut self, path: &str) -> Option<&mut Node> {
        self.get(path)?;
        let mut node = Rc::make_mut(&mut self.root);
        for name in path::names(path) {
            let at = node.position(name).ok()?;
            node = Rc::make_mut(node.children.get_mut(at)?);
        }
        Some(node)
    }

    /// Creates a node whose parent exists. Nothing if there is no parent, or it exists.
    pub fn create(&mut self, path: &str, value: Rc<[u8]>, permissions: Permissions) -> bool {
        let generation = self.tick();
        let name = path::last_name(path);
        let Some(above) = self.edit(path::parent(path)) else { return false };
        let Err(at) = above.position(name) else { return false };
        let name = name.into();
        let children = Vec::new();
        let node = Node { name, order: generation, generation, value, permissions, children };
        above.children.insert(at, Rc::new(node));
        above.generation = generation;
        true
    }

    /// Sets the value of a node that exists.
    pub fn set_value(&mut self, path: &str, value: Rc<[u8]>) -> bool {
        let generation = self.tick();
        let Some(node) = self.edit(path) else { return false };
        node.value = value;
        node.generation = generation;
        true
    }

    /// Sets the permissions of a node that exists.
    pub fn set_permissions(&mut self, path: &str, permissions: Permissions) -> bool {
        let generation = self.tick();
        let Some(node) = self.edit(path) else { return false };
        node.permissions = permissions;
        node.generation = generation;
        true
    }

    /// Takes a node out, with all below it. The root stays.
    pub fn remove(&mut self, path: &str) -> Option<Rc<Node>> {
        if path == "/" {
            return None;
        }
        self.get(path)?;
        let generation = self.tick();
        let above = self.edit(path::parent(path))?;
        let at = above.position(path::last_name(path)).ok()?;
        above.generation = generation;
        Some(above.children.remove(at))
    }

    /// Visits each node with its path, a parent before its children, in the order of creation.
    pub fn walk(&self, visit: &mut dyn FnMut(&str, &Node)) {
        let mut stack = vec![(path::Path::from("/"), &self.root)];
        while let Some((path, node)) = stack.pop() {
            visit(&path, node);
            for child in node.children().into_iter().rev() {
                stack.push((path::child(&path, &child.name), child));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new(0);
        let permissions = Rc::clone(&tree.root().permissions);
        for path in paths {
            assert!(tree.create(path, Rc::from([]), Rc::clone(&permissions)), "{path}");
        }
        tree
    }

    #[test]
    fn children_are_listed_as_they_were_created() {
        let tree = tree(&["/z", "/a", "/m", "/a/2", "/a/1"]);
        assert_eq!(tree.root().listing(), b"z\0a\0m\0");
        let mut seen = Vec::new();
        tree.walk(&mut |path, _| seen.push(path.to_owned()));
        assert_eq!(seen, ["/", "/z", "/a", "/a/2", "/a/1", "/m"]);
    }

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut now = tree(&["/a", "/a/b"]);
        let before = now.clone();
        assert!(now.same(&before));
        now.set_value("/a/b", Rc::from(*b"new"));
        now.remove("/a/b");
        assert!(!now.same(&before));
        assert!(now.get("/a/b").is_none());
        assert_eq!(before.get("/a/b").map(|node| node.value.len()), Some(0));
    }

    #[test]
    fn a_generation_moves_with_each_change_of_its_node_alone() {
        let mut tree = tree(&["/a", "/a/b"]);
        let of = |tree: &Tree, path| tree.get(path).unwrap().generation;
        let (a, b) = (of(&tree, "/a"), of(&tree, "/a/b"));
        tree.set_value("/a/b", Rc::from(*b"1"));
        assert_eq!(of(&tree, "/a"), a);
        assert!(of(&tree, "/a/b") > b);
        tree.remove("/a/b");
        assert!(of(&tree, "/a") > a);
    }
}
