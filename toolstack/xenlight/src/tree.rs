//! A guest's nodes in the store, as data: what is written, in which order, for whom to read.
//!
//! The same nodes, values and permissions as libxl 4.20 writes, so that kernels, `xenconsoled` and
//! Debian's `xl` find what they look for. A node without permissions of its own has its
//! parent's: that is what the store gives a node that domain 0 creates.

mod device;
mod domain;

pub use device::{
    DeviceNodes, DiskNodes, Kind as DeviceKind, VifNodes, console, disk, mtu_node, vif,
};
pub use domain::{DomainNodes, Rings, console_rings, domain, domain_home};

use xenstore::{Access, Permission, Rights};

/// One node to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Absolute path.
    pub path: String,
    /// Value; empty for a directory.
    pub value: String,
    /// Permissions, where they are not the parent's.
    pub permissions: Option<Vec<Permission>>,
}

impl Node {
    /// A node with its parent's permissions.
    pub fn new(path: impl Into<String>, value: impl Into<String>) -> Self {
        Self { path: path.into(), value: value.into(), permissions: None }
    }

    /// A node with permissions of its own.
    pub fn with(
        path: impl Into<String>,
        value: impl Into<String>,
        permissions: Vec<Permission>,
    ) -> Self {
        Self { path: path.into(), value: value.into(), permissions: Some(permissions) }
    }
}

/// Owned by domain 0, which the guest may read.
pub fn read_only(domid: u16) -> Vec<Permission> {
    vec![Permission::new(0, Rights::None), Permission::new(domid, Rights::Read)]
}

/// Owned by the guest; nobody else but domain 0.
pub fn own(domid: u16) -> Vec<Permission> {
    vec![Permission::new(domid, Rights::None)]
}

/// Owned by the frontend's domain, readable by the backend's.
pub fn frontend(domid: u16, backend: u16) -> Vec<Permission> {
    vec![Permission::new(domid, Rights::None), Permission::new(backend, Rights::Read)]
}

/// Owned by the backend's domain, readable by the frontend's.
pub fn backend(domid: u16, backend: u16) -> Vec<Permission> {
    vec![Permission::new(backend, Rights::None), Permission::new(domid, Rights::Read)]
}

/// Owned by domain 0 alone.
pub fn private() -> Vec<Permission> {
    vec![Permission::new(0, Rights::None)]
}

/// Writes nodes in order.
///
/// # Errors
/// The store's, of the first node that could not be written.
pub fn write(store: &mut impl Access, nodes: &[Node]) -> Result<(), xenstore::Error> {
    for node in nodes {
        store.write(&node.path, &node.value)?;
        if let Some(permissions) = &node.permissions {
            store.set_permissions(&node.path, permissions)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing {
    //! Nodes as `xenstore-ls -fp` shows them, permissions inherited as the store does it.

    use super::Node;
    use std::collections::BTreeMap;
    use std::fmt::Write;

    /// Lines `PATH = "VALUE"   (PERMS)`, sorted; parents that nobody writes are domain 0's.
    pub fn listing(nodes: &[Node]) -> Vec<String> {
        let mut known: BTreeMap<String, (String, String)> = BTreeMap::new();
        for node in nodes {
            let mut permissions = "n0".to_owned();
            let mut path = String::new();
            for name in node.path.split('/').skip(1) {
                write!(path, "/{name}").unwrap();
                let entry = known
                    .entry(path.clone())
                    .or_insert_with(|| (String::new(), permissions.clone()));
                permissions.clone_from(&entry.1);
            }
            if let Some(own) = &node.permissions {
                let own: Vec<String> = own.iter().map(ToString::to_string).collect();
                permissions = own.join(",");
            }
            known.insert(node.path.clone(), (node.value.clone(), permissions));
        }
        let line = |(path, (value, perms))| format!("{path} = \"{value}\"   ({perms})");
        known.into_iter().map(line).collect()
    }

    /// The lines of a recorded `xenstore-ls -fp`, sorted.
    pub fn recorded(text: &str) -> Vec<String> {
        let mut lines: Vec<String> =
            text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
        lines.sort_by(|a, b| a.split(" = ").next().cmp(&b.split(" = ").next()));
        lines
    }
}
