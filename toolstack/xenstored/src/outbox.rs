//! What a client has not taken yet: answers and events, in order.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use xenstore::MessageType;
use xenstore::wire::{HEADER_SIZE, Header};

struct Message {
    bytes: Vec<u8>,
    /// For an event, a hash of its payload; answers have none.
    event: Option<u64>,
}

/// Messages to one client.
#[derive(Default)]
pub struct Outbox {
    messages: VecDeque<Message>,
    /// Bytes of the first message that were taken.
    taken: usize,
    bytes: usize,
    answers: usize,
    events: HashSet<u64>,
}

impl Outbox {
    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Answers that wait.
    #[must_use]
    pub const fn answers(&self) -> usize {
        self.answers
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Puts an answer.
    pub fn answer(&mut self, kind: MessageType, to: &Header, payload: &[u8]) {
        let header = Header { kind: kind as u32, length: payload.len() as u32, ..*to };
        self.answers += 1;
        self.push(&header, &[payload], None);
    }

    /// Puts an event, unless the same one waits already: whoever takes that will look at the
    /// store afterwards, and so miss nothing. False if it was left out.
    pub fn event(&mut self, path: &str, token: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        (path, token).hash(&mut hasher);
        let hash = hasher.finish();
        if !self.events.insert(hash) {
            return false;
        }
        let length = (path.len() + token.len() + 2) as u32;
        let kind = MessageType::WatchEvent as u32;
        let header = Header { kind, request: 0, transaction: 0, length };
        self.push(&header, &[path.as_bytes(), b"\0", token, b"\0"], Some(hash));
        true
    }

    fn push(&mut self, header: &Header, parts: &[&[u8]], event: Option<u64>) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut bytes = Vec::with_capacity(HEADER_SIZE + length);
        bytes.extend_from_slice(&header.encode());
        for part in parts {
            bytes.extend_from_slice(part);
        }
        self.bytes += bytes.len();
        self.messages.push_back(Message { bytes, event });
    }

    /// Puts bytes that a client had not taken when the daemon ended.
    pub fn restore(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.messages.push_back(Message { bytes, event: None });
            self.answers += 1;
        }
    }

    /// Copies what waits, up to so many bytes, from a position on.
    #[must_use]
    pub fn peek(&self, skip: usize, most: usize) -> Vec<u8> {
        let mut copy = Vec::with_capacity(most.min(self.bytes.saturating_sub(skip)));
        let mut skip = skip + self.taken;
        for message in &self.messages {
            if copy.len() >= most {
                break;
            }
            let rest = message.bytes.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(message.bytes.len());
            let count = rest.len().min(most - copy.len());
            copy.extend_from_slice(rest.get(..count).unwrap_or_default());
        }
        copy
    }

    /// Takes so many bytes out.
    pub fn take(&mut self, count: usize) {
        let mut count = count.min(self.bytes);
        self.bytes -= count;
        while count > 0
            && let Some(first) = self.messages.front()
        {
            let rest = first.bytes.len() - self.taken;
            if count < rest {
                self.taken += count;
                return;
            }
            count -= rest;
            self.taken = 0;
            match first.event {
                Some(hash) => _ = self.events.remove(&hash),
                None => self.answers = self.answers.saturating_sub(1),
            }
            self.messages.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_waits_is_not_put_twice() {
        let mut outbox = Outbox::default();
        assert!(outbox.event("/a", b"t"));
        assert!(!outbox.event("/a", b"t"));
        assert!(outbox.event("/a", b"u"));
        let all = outbox.bytes();
        assert_eq!(outbox.peek(0, usize::MAX).len(), all);
        // The first is taken whole: from then on the same event is news again.
        outbox.take(all / 2);
        assert!(outbox.event("/a", b"t"));
    }

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_the_portions() {
        let to = Header { kind: 0, request: 9, transaction: 0, length: 0 };
        for portion in [1, 3, 7, 16, 100] {
            let mut outbox = Outbox::default();
            for n in 0..20 {
                outbox.answer(MessageType::Read, &to, &vec![n; usize::from(n)]);
            }
            let whole = outbox.peek(0, usize::MAX);
            let mut got = Vec::new();
            while !outbox.is_empty() {
                let part = outbox.peek(0, portion);
                assert_eq!(
                    outbox.peek(1, portion),
                    whole[got.len() + 1..].iter().copied().take(portion).collect::<Vec<_>>()
                );
                outbox.take(part.len());
                got.extend(part);
            }
            assert_eq!(got, whole);
            assert_eq!(outbox.answers(), 0);
        }
    }
}
