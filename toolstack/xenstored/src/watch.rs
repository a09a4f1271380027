//! Watches, found by the path that changed: one look-up for each name of it, however many
//! watches there are.

use crate::path::{self, Path};
use std::collections::HashMap;
use std::rc::Rc;

/// A connection's number; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection(pub u64);

/// One watch.
#[derive(Debug)]
pub struct Watch {
    /// Who set it.
    pub by: Connection,
    /// The node, or a special name.
    pub path: Path,
    /// Bytes at the path's start that events leave out, as the client did.
    pub implied: usize,
    /// The client's word for it.
    pub token: Rc<[u8]>,
    order: u64,
}

impl Watch {
    /// A changed path as the client sees it.
    #[must_use]
    pub fn relative<'p>(&self, changed: &'p str) -> &'p str {
        changed.get(self.implied..).unwrap_or_default()
    }

    /// Bytes of memory that its client answers for.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + 64 + self.path.len() + self.token.len()
    }
}

/// All watches.
#[derive(Default)]
pub struct Watches {
    by_path: HashMap<Path, Vec<Rc<Watch>>>,
    by_connection: HashMap<Connection, Vec<Rc<Watch>>>,
    next: u64,
}

impl Watches {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// A connection's watches, the first set first.
    #[must_use]
    pub fn of(&self, connection: Connection) -> &[Rc<Watch>] {
        self.by_connection.get(&connection).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether this watch exists.
    #[must_use]
    pub fn contains(&self, by: Connection, path: &str, token: &[u8]) -> bool {
        let at = self.by_path.get(path).map(Vec::as_slice).unwrap_or_default();
        at.iter().any(|watch| watch.by == by && *watch.token == *token)
    }

    /// Sets a watch.
    pub fn add(&mut self, by: Connection, path: Path, implied: usize, token: &[u8]) -> Rc<Watch> {
        self.next += 1;
        let key = Rc::clone(&path);
        let watch = Rc::new(Watch { by, path, implied, token: token.into(), order: self.next });
        self.by_path.entry(key).or_default().push(Rc::clone(&watch));
        self.by_connection.entry(by).or_default().push(Rc::clone(&watch));
        watch
    }

    /// Removes a watch; false if there is none.
    pub fn remove(&mut self, by: Connection, path: &str, token: &[u8]) -> bool {
        let found = self.contains(by, path, token);
        if found {
            let keep = |watch: &Rc<Watch>| {
                watch.by != by || *watch.path != *path || *watch.token != *token
            };
            self.retain_path(path, keep);
            if let Some(own) = self.by_connection.get_mut(&by) {
                own.retain(keep);
            }
        }
        found
    }

    /// Removes all watches of a connection.
    pub fn remove_all(&mut self, by: Connection) {
        for watch in self.by_connection.remove(&by).unwrap_or_default() {
            self.retain_path(&watch.path, |other| other.by != by);
        }
    }

    fn retain_path(&mut self, path: &str, keep: impl Fn(&Rc<Watch>) -> bool) {
        if let Some(at) = self.by_path.get_mut(path) {
            at.retain(keep);
            if at.is_empty() {
                self.by_path.remove(path);
            }
        }
    }

    /// The watches that a change concerns, the first set first: those on the path itself, and
    /// unless `exact` those on any node above it.
    #[must_use]
    pub fn concerned(&self, changed: &str, exact: bool) -> Vec<Rc<Watch>> {
        if self.by_path.is_empty() {
            return Vec::new();
        }
        let levels = if exact { 1 } else { usize::MAX };
        let mut found: Vec<Rc<Watch>> = path::upwards(changed)
            .take(levels)
            .filter_map(|path| self.by_path.get(path))
            .flat_map(|at| at.iter().map(Rc::clone))
            .collect();
        found.sort_unstable_by_key(|watch| watch.order);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_watches_on_it_and_above_it() {
        let mut watches = Watches::default();
        let me = Connection(1);
        for path in ["/a/b", "/a", "/", "/a/b/c", "/ab"] {
            watches.add(me, path.into(), 0, path.as_bytes());
        }
        let of = |changed, exact| {
            let found = watches.concerned(changed, exact);
            found.iter().map(|watch| watch.path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("/a/b", false), ["/a/b", "/a", "/"]);
        assert_eq!(of("/a/b", true), ["/a/b"]);
        assert_eq!(of("/x", false), ["/"]);
    }

    #[test]
    fn a_removed_watch_concerns_nothing() {
        let mut watches = Watches::default();
        watches.add(Connection(1), "/a".into(), 0, b"t");
        watches.add(Connection(2), "/a".into(), 0, b"t");
        assert!(watches.remove(Connection(1), "/a", b"t"));
        assert!(!watches.remove(Connection(1), "/a", b"t"));
        assert_eq!(watches.concerned("/a", false).len(), 1);
        watches.remove_all(Connection(2));
        assert!(watches.concerned("/a", false).is_empty());
    }
}
