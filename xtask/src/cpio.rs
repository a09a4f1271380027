//! Archives in the "newc" format, which the kernel unpacks as its first file system.
//!
//! Deterministic: entries sorted, owner root, all times zero. Format: Linux's
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Result, bail};

enum Node {
    Folder,
    File { bytes: Vec<u8>, executable: bool },
    Link { target: String },
    Device { major: u32, minor: u32 },
}

/// An archive in the making; paths are relative to the root, with no leading slash.
#[derive(Default)]
pub struct Archive {
    nodes: BTreeMap<String, Node>,
}

const HEADER: usize = 110;

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder and all above it; nothing happens when it is there.
    pub fn folder(&mut self, path: &str) {
        let mut end = 0;
        while let Some(at) = path[end..].find('/') {
            end += at;
            self.nodes.entry(path[..end].to_owned()).or_insert(Node::Folder);
            end += 1;
        }
        self.nodes.entry(path.to_owned()).or_insert(Node::Folder);
    }

    fn parent(&mut self, path: &str) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
    }

    /// Adds a file, in place of what had that path.
    pub fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>, executable: bool) {
        self.parent(path);
        self.nodes.insert(path.to_owned(), Node::File { bytes: bytes.into(), executable });
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parent(path);
        self.nodes.insert(path.to_owned(), Node::Link { target: target.to_owned() });
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.nodes.insert(path.to_owned(), Node::Device { major, minor });
    }

    /// Whether something has that path.
    pub fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// Bytes of all files in it.
    pub fn bytes(&self) -> u64 {
        let size = |node: &Node| match node {
            Node::File { bytes, .. } => bytes.len() as u64,
            _ => 0,
        };
        self.nodes.values().map(size).sum()
    }

    /// The archive's bytes.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for (inode, (path, node)) in (1u32..).zip(&self.nodes) {
            let (mode, bytes, major, minor) = match node {
                Node::Folder => (0o040_755, &[][..], 0, 0),
                Node::File { bytes, executable: true } => (0o100_755, &bytes[..], 0, 0),
                Node::File { bytes, executable: false } => (0o100_644, &bytes[..], 0, 0),
                Node::Link { target } => (0o120_777, target.as_bytes(), 0, 0),
                Node::Device { major, minor } => (0o020_600, &[][..], *major, *minor),
            };
            entry(&mut out, inode, path, mode, bytes, (major, minor))?;
        }
        entry(&mut out, 0, "TRAILER!!!", 0, &[], (0, 0))?;
        out.resize(out.len().next_multiple_of(512), 0);
        Ok(out)
    }
}

fn entry(
    out: &mut Vec<u8>,
    inode: u32,
    path: &str,
    mode: u32,
    bytes: &[u8],
    device: (u32, u32),
) -> Result<()> {
    let Ok(size) = u32::try_from(bytes.len()) else {
        bail!("{path} has {} bytes; the archive's format ends at 4 GiB", bytes.len());
    };
    let name = u32::try_from(path.len() + 1)?;
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name, 0];
    let mut header = String::with_capacity(HEADER);
    header.push_str("070701");
    for field in fields {
        write!(header, "{field:08x}")?;
    }
    out.extend(header.as_bytes());
    out.extend(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive back, naively: (path, mode, bytes) until the trailer.
    fn unpack(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            let field = |index: usize| {
                let start = at + 6 + index * 8;
                let text = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap() as usize
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, name) = (field(1), field(6), field(11));
            let path =
                String::from_utf8(bytes[at + HEADER..at + HEADER + name - 1].to_vec()).unwrap();
            let data = (at + HEADER + name).next_multiple_of(4);
            if path == "TRAILER!!!" {
                return found;
            }
            found.push((path, mode as u32, bytes[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(4);
        }
    }

    #[test]
    fn what_is_packed_is_read_back_in_order_with_its_folders() {
        let mut archive = Archive::new();
        archive.file("usr/bin/tool", *b"12345", true);
        archive.link("bin", "usr/bin");
        archive.file("etc/name", *b"x", false);
        let found = unpack(&archive.pack().unwrap());
        let names: Vec<_> = found.iter().map(|(path, mode, _)| (path.as_str(), *mode)).collect();
        assert_eq!(
            names,
            [
                ("bin", 0o120_777),
                ("etc", 0o040_755),
                ("etc/name", 0o100_644),
                ("usr", 0o040_755),
                ("usr/bin", 0o040_755),
                ("usr/bin/tool", 0o100_755),
            ]
        );
        assert_eq!(found[5].2, b"12345");
        assert_eq!(found[0].2, b"usr/bin");
    }

    #[test]
    fn the_same_content_packs_to_the_same_bytes_whatever_the_order() {
        let (mut one, mut two) = (Archive::new(), Archive::new());
        one.file("a/b", *b"b", false);
        one.file("a/c", *b"c", false);
        two.file("a/c", *b"c", false);
        two.file("a/b", *b"b", false);
        assert_eq!(one.pack().unwrap(), two.pack().unwrap());
    }

    #[test]
    fn a_folder_added_after_a_link_of_its_name_leaves_the_link() {
        let mut archive = Archive::new();
        archive.link("lib", "usr/lib");
        archive.folder("lib");
        assert_eq!(unpack(&archive.pack().unwrap())[0].1, 0o120_777);
    }
}
