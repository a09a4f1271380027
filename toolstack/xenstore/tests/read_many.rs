//! Reading many nodes at once, against a daemon that answers only after it has seen many requests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use xenstore::wire::{HEADER_SIZE, Header};
use xenstore::{Access, Client, MessageType};

/// One message from the client: its header and payload.
fn request(stream: &mut UnixStream) -> Option<(Header, Vec<u8>)> {
    let mut bytes = [0; HEADER_SIZE];
    stream.read_exact(&mut bytes).ok()?;
    let header = Header::decode(&bytes)?;
    let mut payload = vec![0; header.length as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((header, payload))
}

fn answer(stream: &mut UnixStream, to: &Header, kind: MessageType, payload: &[u8]) {
    let length = payload.len() as u32;
    let header = Header { kind: kind as u32, length, ..*to };
    stream.write_all(&header.encode()).unwrap();
    stream.write_all(payload).unwrap();
}

/// Takes `ahead` requests before it answers any of them, then one after the other. A path's last letter
/// is its value; one that ends with "gone" is not there, one that ends with "secret" is forbidden.
fn daemon(ahead: usize) -> (PathBuf, tempfile::TempDir, JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut held = Vec::new();
        while held.len() < ahead {
            held.extend(request(&mut stream));
        }
        loop {
            for (header, payload) in held.drain(..) {
                let path = String::from_utf8(payload).unwrap();
                let path = path.trim_end_matches('\0');
                match path {
                    path if path.ends_with("gone") => {
                        answer(&mut stream, &header, MessageType::Error, b"ENOENT\0");
                    }
                    path if path.ends_with("secret") => {
                        answer(&mut stream, &header, MessageType::Error, b"EACCES\0");
                    }
                    path => {
                        let value = &path.as_bytes()[path.len() - 1..];
                        answer(&mut stream, &header, MessageType::Read, value);
                    }
                }
            }
            match request(&mut stream) {
                Some(next) => held.push(next),
                None => return,
            }
        }
    };
    (path, folder, std::thread::spawn(serve))
}

fn paths(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("/{name}")).collect()
}

#[test]
fn requests_go_ahead_of_answers_and_values_come_in_order() {
    let (path, _folder, daemon) = daemon(3);
    let mut client = Client::connect(path.to_str().unwrap()).unwrap();
    let values = client.read_many(&paths(&["a", "gone", "c"])).unwrap();
    assert_eq!(values, [Some("a".to_owned()), None, Some("c".to_owned())]);
    drop(client);
    daemon.join().unwrap();
}

#[test]
fn more_than_one_batch_is_read_in_order() {
    let (path, _folder, daemon) = daemon(2);
    let mut client = Client::connect(path.to_str().unwrap()).unwrap();
    let many: Vec<String> = (0..100).map(|n| format!("/x{}", n % 10)).collect();
    let values = client.read_many(&many).unwrap();
    let expected: Vec<_> = (0..100).map(|n| Some((n % 10).to_string())).collect();
    assert_eq!(values, expected);
    drop(client);
    daemon.join().unwrap();
}

#[test]
fn after_a_refusal_in_the_middle_later_requests_get_their_own_answers() {
    let (path, _folder, daemon) = daemon(3);
    let mut client = Client::connect(path.to_str().unwrap()).unwrap();
    let error = client.read_many(&paths(&["a", "secret", "c"])).unwrap_err();
    assert_eq!(error.errno().map(|errno| errno.name()), Some("EACCES"));
    assert_eq!(client.read("/d").unwrap(), "d");
    drop(client);
    daemon.join().unwrap();
}

#[test]
fn nothing_is_asked_for_no_paths() {
    let (path, _folder, daemon) = daemon(0);
    let mut client = Client::connect(path.to_str().unwrap()).unwrap();
    assert!(client.read_many(&[]).unwrap().is_empty());
    drop(client);
    daemon.join().unwrap();
}
