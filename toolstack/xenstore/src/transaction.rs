//! A transaction: changes that others see all at once, or not at all.

use crate::access::Access;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::wire::MessageType;

/// A transaction under way; dropped without a commit, it is aborted.
pub struct Transaction<'client> {
    client: &'client mut Client,
    id: u32,
    open: bool,
}

impl<'client> Transaction<'client> {
    pub(crate) fn begin(client: &'client mut Client) -> Result<Self> {
        let answer = client.send(MessageType::TransactionStart, 0, "", &[b"\0"])?;
        let digits = answer.strip_suffix(b"\0").unwrap_or(&answer);
        let id = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        match id {
            Some(id) if id != 0 => Ok(Self { client, id, open: true }),
            _ => Err(Error::Protocol {
                request: MessageType::TransactionStart,
                path: String::new(),
                what: "no transaction's number".to_owned(),
            }),
        }
    }

    /// The transaction's number.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Makes the changes visible.
    ///
    /// # Errors
    /// [`Error::is_conflict`] if another client changed what this transaction used.
    pub fn commit(mut self) -> Result<()> {
        self.end(b"T\0")
    }

    /// Drops the changes.
    ///
    /// # Errors
    /// As any request.
    pub fn abort(mut self) -> Result<()> {
        self.end(b"F\0")
    }

    fn end(&mut self, how: &[u8]) -> Result<()> {
        self.open = false;
        self.client.send(MessageType::TransactionEnd, self.id, "", &[how]).map(drop)
    }
}

impl Access for Transaction<'_> {
    fn request(&mut self, kind: MessageType, path: &str, parts: &[&[u8]]) -> Result<Vec<u8>> {
        self.client.send(kind, self.id, path, parts)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            // Nobody is left to tell; the daemon drops it with the connection at the latest.
            let _ = self.end(b"F\0");
        }
    }
}
