//! Requests of any kind with any payload, from a tool and three domains in any order, in and out of
//! transactions: each is answered once and wholly, no domain gets beyond its limits, counts and journal stay
//! true, and a released domain leaves nothing.
//!
//! A request in the input: who (2 bits) and transaction (3 bits), kind, length of the payload, payload. Paths
//! of more than a few bytes come by words: a byte from 0x80 up in a payload stands for one of them.
#![no_main]

mod common;

use common::{DOMAINS, Store};
use libfuzzer_sys::fuzz_target;
use xenstore::MessageType;

const WORDS: [&[u8]; 12] = [
    b"/local/domain/1",
    b"/local/domain/2",
    b"/local/domain/3",
    b"/tool",
    b"data/",
    b"a/b",
    b"@releaseDomain",
    b"@introduceDomain",
    b"\0n1\0",
    b"\0r2\0",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    b"T\0",
];

fn spelled(bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for byte in bytes {
        match WORDS.get(usize::from(byte.wrapping_sub(0x80))) {
            Some(word) => payload.extend_from_slice(word),
            None => payload.push(*byte),
        }
    }
    payload.truncate(xenstore::wire::PAYLOAD_MAX);
    payload
}

fuzz_target!(|data: &[u8]| {
    let mut store = Store::new();
    let mut alone = true;
    let mut rest = data;
    while let [who, kind, length, more @ ..] = rest {
        let (payload, after) = more.split_at(more.len().min(usize::from(*length)));
        rest = after;
        let payload = spelled(payload);
        let kind = u32::from(*kind) % 25;
        let transaction = u32::from(who >> 2) % 8;
        let by_tool = who % 4 == 0;
        let from = match DOMAINS.get(usize::from(who % 4).wrapping_sub(1)) {
            Some(domid) => store.domain(*domid),
            None => Some(store.tool),
        };
        let Some(from) = from else { continue };
        // The tool may lift limits, which are looked at here.
        if by_tool && kind == MessageType::Control as u32 && payload.starts_with(b"quota") {
            continue;
        }
        alone &= !by_tool;
        store.ask(from, kind, transaction, &payload);
        store.bounded(alone);
    }
    store.consistent();
    store.released();
});
