//! A store that is just enough: nodes, watches, and a daemon that can be killed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use xenstore::MessageType;
use xenstore::wire::{HEADER_SIZE, Header};

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, String>,
    connections: Vec<Connection>,
    writes: Vec<(String, String)>,
}

struct Connection {
    stream: UnixStream,
    watches: Vec<(String, String)>,
}

impl State {
    fn fire(&self, path: &str) {
        for connection in &self.connections {
            for (watched, token) in &connection.watches {
                let below = path.strip_prefix(watched.as_str());
                let above = watched.strip_prefix(path).is_some_and(|r| r.starts_with('/'));
                if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                    send_event(&connection.stream, path, token);
                } else if above && !self.nodes.contains_key(watched) {
                    send_event(&connection.stream, watched, token);
                }
            }
        }
    }
}

fn send_event(stream: &UnixStream, path: &str, token: &str) {
    let head =
        Header { kind: MessageType::WatchEvent as u32, request: 0, transaction: 0, length: 0 };
    send(stream, head, format!("{path}\0{token}\0").as_bytes());
}

fn send(mut stream: &UnixStream, head: Header, payload: &[u8]) {
    let head = Header { length: u32::try_from(payload.len()).unwrap(), ..head };
    let _ = stream.write_all(&[&head.encode(), payload].concat());
}

/// The store with its daemon; both go when dropped.
pub struct FakeStore {
    state: Arc<Mutex<State>>,
    directory: tempfile::TempDir,
    listener: Option<UnixListener>,
}

impl FakeStore {
    /// Starts it.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Self { state: Arc::default(), directory, listener: None };
        store.start();
        store
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// A directory for a test's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the daemon anew, with the same nodes.
    pub fn start(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).unwrap();
        self.listener = Some(listener.try_clone().unwrap());
        let state = Arc::clone(&self.state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let state = Arc::clone(&state);
                thread::spawn(move || serve(&state, &stream));
            }
        });
    }

    /// Kills the daemon: connections end, its socket refuses.
    pub fn kill(&mut self) {
        let listener = self.listener.take().unwrap();
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        for connection in self.state.lock().unwrap().connections.drain(..) {
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Sets a node.
    pub fn set(&self, path: &str, value: &str) {
        let mut state = self.state.lock().unwrap();
        state.nodes.insert(path.to_owned(), value.to_owned());
        state.fire(path);
    }

    /// Removes a node and all below it.
    pub fn remove(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        state.nodes.retain(|node, _| !node.starts_with(path));
        state.fire(path);
    }

    /// Tells of a domain that came or went.
    pub fn fire(&self, special: &str) {
        self.state.lock().unwrap().fire(special);
    }

    /// A node's value.
    pub fn get(&self, path: &str) -> Option<String> {
        self.state.lock().unwrap().nodes.get(path).cloned()
    }

    /// Watches that are set.
    pub fn watches(&self) -> usize {
        self.state.lock().unwrap().connections.iter().map(|c| c.watches.len()).sum()
    }

    /// How often clients wrote a node.
    pub fn writes(&self, path: &str) -> usize {
        self.state.lock().unwrap().writes.iter().filter(|(node, _)| node == path).count()
    }
}

impl Drop for FakeStore {
    fn drop(&mut self) {
        if self.listener.is_some() {
            self.kill();
        }
    }
}

fn serve(state: &Mutex<State>, mut stream: &UnixStream) {
    let own = stream.try_clone().unwrap();
    let inode = |s: &UnixStream| rustix::fs::fstat(s).unwrap().st_ino;
    let this = inode(stream);
    state.lock().unwrap().connections.push(Connection { stream: own, watches: Vec::new() });
    loop {
        let mut head = [0; HEADER_SIZE];
        if stream.read_exact(&mut head).is_err() {
            break;
        }
        let head = Header::decode(&head).unwrap();
        let mut payload = vec![0; head.length as usize];
        if stream.read_exact(&mut payload).is_err() {
            break;
        }
        let mut state = state.lock().unwrap();
        let at = state.connections.iter().position(|c| inode(&c.stream) == this);
        let Some(at) = at else { return };
        answer(&mut state, at, head, &payload, stream);
    }
    state.lock().unwrap().connections.retain(|c| inode(&c.stream) != this);
}

fn answer(state: &mut State, at: usize, head: Header, payload: &[u8], stream: &UnixStream) {
    let text = String::from_utf8_lossy(payload).into_owned();
    let mut words = text.split('\0');
    let path = words.next().unwrap().to_owned();
    let second = words.next().unwrap_or("").to_owned();
    let done = |bytes: &[u8]| send(stream, head, bytes);
    match MessageType::from_u32(head.kind) {
        Some(MessageType::Read) => {
            let below = format!("{path}/");
            let is_directory = state.nodes.keys().any(|node| node.starts_with(&below));
            match state.nodes.get(&path) {
                Some(value) => done(value.as_bytes()),
                None if is_directory => done(b""),
                None => {
                    send(stream, Header { kind: MessageType::Error as u32, ..head }, b"ENOENT\0")
                }
            }
        }
        Some(MessageType::Write) => {
            done(b"OK\0");
            state.writes.push((path.clone(), second.clone()));
            state.nodes.insert(path.clone(), second);
            state.fire(&path);
        }
        Some(MessageType::Watch) => {
            done(b"OK\0");
            send_event(stream, &path, &second);
            state.connections[at].watches.push((path, second));
        }
        Some(MessageType::Unwatch) => {
            done(b"OK\0");
            state.connections[at].watches.retain(|w| *w != (path.clone(), second.clone()));
        }
        other => panic!("the fake store does not know {other:?}"),
    }
}
