//! Limits for each domain, what each domain uses, and who was refused what.

use std::collections::BTreeMap;
use xenstore::wire::RELATIVE_PATH_MAX;

macro_rules! quotas {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $default:expr, $meaning:literal;)*) => {
        /// What is limited, for each domain but dom0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Quota {
            $($(#[$doc])* $name,)*
        }

        impl Quota {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in options and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it limits, in words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            const fn default(self) -> u64 {
                match self { $(Self::$name => $default,)* }
            }
        }
    };
}

// Names and numbers as Xen 4.20's daemon has them.
quotas! {
    /// Nodes that a domain owns.
    Nodes = "nodes", 1000, "Nodes per domain";
    /// Watches that a domain has set.
    Watches = "watches", 128, "Watches per domain";
    /// Requests whose answers a domain has not taken.
    Outstanding = "outstanding", 20, "Outstanding requests per domain";
    /// Bytes for a domain's nodes, watches, transactions and answers.
    Memory = "memory", 2_621_440, "Total Xenstore memory per domain (error level)";
    /// Transactions that a domain has open.
    Transactions = "transactions", 10, "Active transactions per domain";
    /// Nodes that one transaction uses.
    TransactionNodes = "transaction-nodes", 1024, "Max. number of accessed nodes per transaction";
    /// Entries in one node's permissions.
    NodePermissions = "node-permissions", 5, "Max. number of permissions per node";
    /// Bytes of a path below a domain's home, or of any other path.
    PathLength = "path-max", RELATIVE_PATH_MAX as u64, "Max. length of a node path";
    /// Bytes of one node: value, permissions and names of children.
    NodeSize = "node-size", 2048, "Max. size of a node";
}

impl Quota {
    /// The quota of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        // Xen's daemon says one name in its help and another in its reports.
        let name = if name == "path-length" { Self::PathLength.name() } else { name };
        Self::ALL.iter().copied().find(|quota| quota.name() == name)
    }
}

/// The limits in force. 0 stands for no limit, as in Xen's daemon.
#[derive(Clone, Debug)]
pub struct Quotas {
    hard: BTreeMap<Quota, u64>,
    /// Bytes of memory from which on a warning is logged.
    pub soft_memory: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        let hard = Quota::ALL.iter().map(|quota| (*quota, quota.default())).collect();
        Self { hard, soft_memory: 2 * 1024 * 1024 }
    }
}

impl Quotas {
    /// A limit.
    #[must_use]
    pub fn get(&self, quota: Quota) -> u64 {
        self.hard.get(&quota).copied().unwrap_or(0)
    }

    /// Sets a limit.
    pub fn set(&mut self, quota: Quota, limit: u64) {
        self.hard.insert(quota, limit);
    }

    /// Whether an amount is above a limit.
    #[must_use]
    pub fn exceeds(&self, quota: Quota, amount: u64) -> bool {
        let limit = self.get(quota);
        limit != 0 && amount > limit
    }
}

/// What a domain holds of the store. In a transaction: by how much that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Nodes that it owns.
    pub nodes: i64,
    /// Bytes of these nodes.
    pub bytes: i64,
}

/// Holdings by domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings(BTreeMap<u16, Holding>);

impl Holdings {
    /// A domain's.
    #[must_use]
    pub fn get(&self, domid: u16) -> Holding {
        self.0.get(&domid).copied().unwrap_or_default()
    }

    /// Adds to a domain's (or takes away).
    pub fn add(&mut self, domid: u16, nodes: i64, bytes: i64) {
        let holding = self.0.entry(domid).or_default();
        holding.nodes += nodes;
        holding.bytes += bytes;
        if *holding == Holding::default() {
            self.0.remove(&domid);
        }
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Self) {
        for (domid, holding) in &other.0 {
            self.add(*domid, holding.nodes, holding.bytes);
        }
    }

    /// The domains that hold anything.
    pub fn domains(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.keys().copied()
    }
}

/// How often each domain was refused for each quota, and what to log of it.
#[derive(Default)]
pub struct Refusals(BTreeMap<(u16, Quota), u64>);

impl Refusals {
    /// Counts a refusal. Says the count when it is to be logged: the first, and each time that
    /// the count has doubled, so that a domain cannot flood the log.
    pub fn count(&mut self, domid: u16, quota: Quota) -> Option<u64> {
        let count = self.0.entry((domid, quota)).or_default();
        *count += 1;
        count.is_power_of_two().then_some(*count)
    }

    /// Each domain and quota with its count.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Quota, u64)> + '_ {
        self.0.iter().map(|((domid, quota), count)| (*domid, *quota, *count))
    }

    /// Forgets a domain.
    pub fn forget(&mut self, domid: u16) {
        self.0.retain(|(of, _), _| *of != domid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_at_the_first_and_at_each_doubling() {
        let mut refusals = Refusals::default();
        let logged = (0..100).filter_map(|_| refusals.count(3, Quota::Nodes)).collect::<Vec<_>>();
        assert_eq!(logged, [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn no_limit_is_exceeded_by_nothing() {
        let mut quotas = Quotas::default();
        assert!(quotas.exceeds(Quota::Nodes, 1001));
        quotas.set(Quota::Nodes, 0);
        assert!(!quotas.exceeds(Quota::Nodes, u64::MAX));
    }
}
