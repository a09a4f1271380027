//! What can be done to nodes, inside a transaction and outside.

use crate::error::{Error, Result};
use crate::permissions::Permission;
use crate::wire::{MessageType, PAYLOAD_MAX};

/// Access to the store's nodes. Paths are absolute, or relative to the caller's own
/// `/local/domain/DOMID`. Every method can fail as [`Error`] says.
pub trait Access {
    /// Sends one request and waits for its answer. `path` names it in errors; the payload is
    /// the parts, one after the other.
    fn request(&mut self, kind: MessageType, path: &str, parts: &[&[u8]]) -> Result<Vec<u8>>;

    /// A node's value.
    fn read_bytes(&mut self, path: &str) -> Result<Vec<u8>> {
        self.request(MessageType::Read, path, &[path.as_bytes(), b"\0"])
    }

    /// A node's value as text; bytes that are no UTF-8 are replaced.
    fn read(&mut self, path: &str) -> Result<String> {
        self.read_bytes(path).map(text)
    }

    /// A node's value as text, `None` if the node does not exist.
    fn try_read(&mut self, path: &str) -> Result<Option<String>> {
        found(self.read(path))
    }

    /// The names of a node's children, however many they are.
    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        match self.request(MessageType::Directory, path, &[path.as_bytes(), b"\0"]) {
            Ok(names) => Ok(split(&names)),
            Err(error) if error.errno() == Some(crate::Errno::TooBig) => list_by_parts(self, path),
            Err(error) => Err(error),
        }
    }

    /// The names of a node's children, `None` if the node does not exist.
    fn try_list(&mut self, path: &str) -> Result<Option<Vec<String>>> {
        found(self.list(path))
    }

    /// Sets a node's value; creates the node, and its parents, if they do not exist.
    fn write_bytes(&mut self, path: &str, value: &[u8]) -> Result<()> {
        self.request(MessageType::Write, path, &[path.as_bytes(), b"\0", value]).map(drop)
    }

    /// Sets a node's value to a text.
    fn write(&mut self, path: &str, value: &str) -> Result<()> {
        self.write_bytes(path, value.as_bytes())
    }

    /// Creates a node with an empty value, and its parents; nothing if it exists.
    fn mkdir(&mut self, path: &str) -> Result<()> {
        self.request(MessageType::Mkdir, path, &[path.as_bytes(), b"\0"]).map(drop)
    }

    /// Removes a node and all below it. That it did not exist is no error.
    fn rm(&mut self, path: &str) -> Result<()> {
        let removed = self.request(MessageType::Rm, path, &[path.as_bytes(), b"\0"]);
        found(removed).map(drop)
    }

    /// Whether a node exists and may be read.
    fn exists(&mut self, path: &str) -> Result<bool> {
        self.try_read(path).map(|value| value.is_some())
    }

    /// A node's permissions; the first entry is the owner.
    fn permissions(&mut self, path: &str) -> Result<Vec<Permission>> {
        let answer = self.request(MessageType::GetPerms, path, &[path.as_bytes(), b"\0"])?;
        let entries = answer.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                Permission::parse(entry).ok_or_else(|| Error::Protocol {
                    request: MessageType::GetPerms,
                    path: path.to_owned(),
                    what: format!("{:?} is no permission", text(entry.to_vec())),
                })
            })
            .collect()
    }

    /// Sets a node's permissions; the first entry is the owner.
    fn set_permissions(&mut self, path: &str, permissions: &[Permission]) -> Result<()> {
        let mut entries = String::new();
        for entry in permissions {
            entries.push_str(&entry.to_string());
            entries.push('\0');
        }
        let parts = [path.as_bytes(), b"\0", entries.as_bytes()];
        self.request(MessageType::SetPerms, path, &parts).map(drop)
    }
}

/// Reads the list of children in parts, from the start whenever it changed meanwhile.
fn list_by_parts<A: Access + ?Sized>(access: &mut A, path: &str) -> Result<Vec<String>> {
    let mut generation = Vec::new();
    let mut names = Vec::new();
    // Each part brings at least one name of at least one byte; a node's size is limited.
    for _ in 0..PAYLOAD_MAX * 16 {
        let offset = names.len().to_string();
        let parts = [path.as_bytes(), b"\0", offset.as_bytes(), b"\0"];
        let answer = access.request(MessageType::DirectoryPart, path, &parts)?;
        let end = answer.iter().position(|byte| *byte == 0).unwrap_or(answer.len());
        let (now, part) = answer.split_at(end);
        let part = part.get(1..).unwrap_or_default();
        if now != generation && !names.is_empty() {
            names.clear();
            generation.clear();
            continue;
        }
        generation = now.to_vec();
        // The last part ends with an empty name.
        let last = part.is_empty() || part.ends_with(b"\0\0") || part == b"\0";
        names.extend_from_slice(part);
        if last {
            return Ok(split(&names));
        }
    }
    let what = "the list of children never ends".to_owned();
    Err(Error::Protocol { request: MessageType::DirectoryPart, path: path.to_owned(), what })
}

/// Names that end with zero bytes.
fn split(names: &[u8]) -> Vec<String> {
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| text(name.to_vec())).collect()
}

/// Bytes as text.
pub(crate) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A result whose "not found" is no error.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
