//! The journal: what changed, as entries in frames, so that a daemon which was killed can be
//! followed by one that carries on. A frame is written as a whole before anybody is answered; one
//! that was cut short by the kill is as if it had never been.

use crate::tree::Permissions;
use xenstore::{Permission, Rights};

/// One thing that changed.
#[expect(missing_docs, reason = "the fields are what the entry's line says")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A node has this value and these permissions.
    Put { path: &'a str, permissions: Vec<Permission>, value: &'a [u8] },
    /// A node is gone, with all below it.
    Remove { path: &'a str },
    /// A special name has these permissions.
    Special { path: &'a str, permissions: Vec<Permission> },
    /// A domain was introduced.
    Introduce { domid: u16, gfn: u64, port: u32 },
    /// A domain is gone.
    Release { domid: u16 },
    /// A domain was seen shut down, or goes on.
    Shutdown { domid: u16, down: bool },
    /// A domain acts for another.
    Target { domid: u16, target: u16 },
    /// A domain set a watch.
    Watch { domid: u16, path: &'a str, implied: u32, token: &'a [u8] },
    /// A domain removed a watch.
    Unwatch { domid: u16, path: &'a str, token: &'a [u8] },
    /// A domain has no watches and transactions any more.
    Reset { domid: u16 },
    /// A domain began a transaction.
    Begin { domid: u16, transaction: u32 },
    /// A domain ended a transaction.
    End { domid: u16, transaction: u32 },
    /// Requests up to this index of a domain's ring were done.
    Cursor { domid: u16, consumed: u32 },
    /// Bytes were taken from a ring for a request that is not complete yet.
    Partial { domid: u16, bytes: &'a [u8] },
    /// Bytes for a domain's ring, from this index on.
    Output { domid: u16, position: u32, bytes: &'a [u8] },
    /// A limit was set.
    Quota { name: &'a str, soft: bool, limit: u64 },
    /// Generations begin after this.
    Clock { generation: u64 },
}

/// Collects entries until they are written.
#[derive(Default)]
pub struct Pending {
    bytes: Vec<u8>,
}

impl Pending {
    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds an entry.
    pub fn add(&mut self, entry: &Entry<'_>) {
        encode(&mut self.bytes, entry);
    }

    /// All entries as one frame; nothing is pending then.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.bytes.len() + 8);
        put_u32(&mut frame, self.bytes.len() as u32);
        put_u32(&mut frame, checksum(&self.bytes));
        frame.append(&mut self.bytes);
        frame
    }

    /// Adds a node's state.
    pub fn put(&mut self, path: &str, permissions: &Permissions, value: &[u8]) {
        self.add(&Entry::Put { path, permissions: permissions.to_vec(), value });
    }
}

/// The entries of each whole frame, in order; ends at the first that is not whole. The second
/// value is how many bytes were whole.
#[must_use]
pub fn frames(mut bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut whole = Vec::new();
    let mut count = 0;
    loop {
        let mut reader = Reader(bytes);
        let (Some(length), Some(sum)) = (reader.u32(), reader.u32()) else { break };
        let Some(body) = reader.cut(length as usize) else { break };
        if checksum(body) != sum {
            break;
        }
        whole.push(body);
        count += 8 + body.len();
        bytes = reader.0;
    }
    (whole, count)
}

/// FNV-1a: tells a torn frame from a whole one.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn put_u16(to: &mut Vec<u8>, value: u16) {
    to.extend_from_slice(&value.to_le_bytes());
}

fn put_u32(to: &mut Vec<u8>, value: u32) {
    to.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(to: &mut Vec<u8>, value: u64) {
    to.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(to, bytes.len() as u32);
    to.extend_from_slice(bytes);
}

fn put_permissions(to: &mut Vec<u8>, permissions: &[Permission]) {
    put_u32(to, permissions.len() as u32);
    for entry in permissions {
        put_u16(to, entry.domid);
        to.push(entry.rights.letter() as u8);
    }
}

fn encode(to: &mut Vec<u8>, entry: &Entry<'_>) {
    match entry {
        Entry::Put { path, permissions, value } => {
            to.push(1);
            put_bytes(to, path.as_bytes());
            put_permissions(to, permissions);
            put_bytes(to, value);
        }
        Entry::Remove { path } => {
            to.push(2);
            put_bytes(to, path.as_bytes());
        }
        Entry::Special { path, permissions } => {
            to.push(3);
            put_bytes(to, path.as_bytes());
            put_permissions(to, permissions);
        }
        Entry::Quota { name, soft, limit } => {
            to.push(16);
            put_bytes(to, name.as_bytes());
            to.push(u8::from(*soft));
            put_u64(to, *limit);
        }
        Entry::Clock { generation } => {
            to.push(17);
            put_u64(to, *generation);
        }
        of_domain => encode_domain(to, of_domain),
    }
}

fn head(to: &mut Vec<u8>, kind: u8, domid: u16) {
    to.push(kind);
    put_u16(to, domid);
}

/// Entries of one domain: the kind, the domain, then the rest.
fn encode_domain(to: &mut Vec<u8>, entry: &Entry<'_>) {
    match entry {
        Entry::Introduce { domid, gfn, port } => {
            head(to, 4, *domid);
            put_u64(to, *gfn);
            put_u32(to, *port);
        }
        Entry::Release { domid } => head(to, 5, *domid),
        Entry::Shutdown { domid, down } => {
            head(to, 6, *domid);
            to.push(u8::from(*down));
        }
        Entry::Target { domid, target } => {
            head(to, 7, *domid);
            put_u16(to, *target);
        }
        Entry::Watch { domid, path, implied, token } => {
            head(to, 8, *domid);
            put_bytes(to, path.as_bytes());
            put_u32(to, *implied);
            put_bytes(to, token);
        }
        Entry::Unwatch { domid, path, token } => {
            head(to, 9, *domid);
            put_bytes(to, path.as_bytes());
            put_bytes(to, token);
        }
        Entry::Reset { domid } => head(to, 10, *domid),
        Entry::Begin { domid, transaction } => {
            head(to, 11, *domid);
            put_u32(to, *transaction);
        }
        Entry::End { domid, transaction } => {
            head(to, 12, *domid);
            put_u32(to, *transaction);
        }
        Entry::Cursor { domid, consumed } => {
            head(to, 13, *domid);
            put_u32(to, *consumed);
        }
        Entry::Partial { domid, bytes } => {
            head(to, 14, *domid);
            put_bytes(to, bytes);
        }
        Entry::Output { domid, position, bytes } => {
            head(to, 15, *domid);
            put_u32(to, *position);
            put_bytes(to, bytes);
        }
        // `encode` has the others.
        _ => {}
    }
}

/// Reads entries out of a frame's body; ends at the first that is not valid.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn cut(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.cut(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.cut(length as usize)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn permissions(&mut self) -> Option<Vec<Permission>> {
        let count = self.u32()?;
        (0..count)
            .map(|_| Some(Permission::new(self.u16()?, Rights::from_letter(self.u8()?)?)))
            .collect()
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        Some(match self.u8()? {
            1 => Entry::Put {
                path: self.text()?,
                permissions: self.permissions()?,
                value: self.bytes()?,
            },
            2 => Entry::Remove { path: self.text()? },
            3 => Entry::Special { path: self.text()?, permissions: self.permissions()? },
            4 => Entry::Introduce { domid: self.u16()?, gfn: self.u64()?, port: self.u32()? },
            5 => Entry::Release { domid: self.u16()? },
            6 => Entry::Shutdown { domid: self.u16()?, down: self.u8()? != 0 },
            7 => Entry::Target { domid: self.u16()?, target: self.u16()? },
            8 => Entry::Watch {
                domid: self.u16()?,
                path: self.text()?,
                implied: self.u32()?,
                token: self.bytes()?,
            },
            9 => Entry::Unwatch { domid: self.u16()?, path: self.text()?, token: self.bytes()? },
            10 => Entry::Reset { domid: self.u16()? },
            11 => Entry::Begin { domid: self.u16()?, transaction: self.u32()? },
            12 => Entry::End { domid: self.u16()?, transaction: self.u32()? },
            13 => Entry::Cursor { domid: self.u16()?, consumed: self.u32()? },
            14 => Entry::Partial { domid: self.u16()?, bytes: self.bytes()? },
            15 => Entry::Output { domid: self.u16()?, position: self.u32()?, bytes: self.bytes()? },
            16 => Entry::Quota { name: self.text()?, soft: self.u8()? != 0, limit: self.u64()? },
            17 => Entry::Clock { generation: self.u64()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry<'static>> {
        let permissions = vec![Permission::new(3, Rights::Both), Permission::new(0, Rights::None)];
        vec![
            Entry::Put { path: "/a", permissions: permissions.clone(), value: b"\0x" },
            Entry::Remove { path: "/a" },
            Entry::Special { path: "@releaseDomain", permissions },
            Entry::Introduce { domid: 1, gfn: 1 << 40, port: 7 },
            Entry::Release { domid: 1 },
            Entry::Shutdown { domid: 2, down: true },
            Entry::Target { domid: 2, target: 9 },
            Entry::Watch { domid: 0, path: "/a/b", implied: 2, token: b"tok" },
            Entry::Unwatch { domid: 0, path: "/a/b", token: b"tok" },
            Entry::Reset { domid: 4 },
            Entry::Begin { domid: 4, transaction: 12 },
            Entry::End { domid: 4, transaction: 12 },
            Entry::Cursor { domid: 4, consumed: u32::MAX },
            Entry::Partial { domid: 4, bytes: b"abc" },
            Entry::Output { domid: 4, position: 77, bytes: b"" },
            Entry::Quota { name: "nodes", soft: false, limit: 5 },
            Entry::Clock { generation: 1 << 50 },
        ]
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        let mut pending = Pending::default();
        entries().iter().for_each(|entry| pending.add(entry));
        let frame = pending.frame();
        assert!(pending.is_empty());
        let (bodies, whole) = frames(&frame);
        assert_eq!(whole, frame.len());
        assert_eq!(Reader(bodies[0]).collect::<Vec<_>>(), entries());
    }

    #[test]
    fn a_frame_that_was_cut_short_or_spoilt_is_left_out() {
        let mut pending = Pending::default();
        pending.add(&Entry::Remove { path: "/one" });
        let mut bytes = pending.frame();
        let first = bytes.len();
        pending.add(&Entry::Remove { path: "/two" });
        bytes.extend(pending.frame());
        for cut in first..bytes.len() {
            assert_eq!(frames(&bytes[..cut]).1, first);
        }
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(frames(&bytes).0.len(), 1);
    }
}
