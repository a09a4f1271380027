//! Sessions with a terminal, a domain's terminal and a store.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::options::{ESCAPE, Options};
use super::session::{Ends, Session, Signals, TOKEN};
use super::{Error, Left, find};
use crate::fake::FakeStore;
use crate::link::{Link, Place};
use crate::pty::{Pty, open_slave};

const LIMIT: Duration = Duration::from_secs(10);
const HOME: &str = "/local/domain/5";

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::yield_now();
    }
}

/// A store with domain 5, and its terminal.
fn store() -> (FakeStore, Pty) {
    let store = FakeStore::new();
    let pty = Pty::open().unwrap();
    store.set(&format!("{HOME}/name"), "vm");
    store.set(&format!("{HOME}/console/tty"), &pty.path().to_string_lossy());
    (store, pty)
}

fn link(store: &FakeStore) -> Link {
    let node = format!("{HOME}/console/tty");
    Link::open(Place::Socket(store.socket()), &[(&node, TOKEN)], LIMIT).unwrap()
}

/// The user's side: a terminal or, without one, a pair of sockets.
struct User {
    near: Box<dyn Near>,
    far: File,
    is_terminal: bool,
}

trait Near: Send {
    fn send(&mut self, bytes: &[u8]);
    fn take(&mut self) -> Vec<u8>;
    fn end(&mut self) {}
}

impl Near for Pty {
    fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.write(bytes).unwrap(), Some(bytes.len()));
    }
    fn take(&mut self) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let length = self.read(&mut bytes).unwrap().unwrap_or(0);
        bytes[..length].to_vec()
    }
}

impl Near for UnixStream {
    fn send(&mut self, bytes: &[u8]) {
        self.write_all(bytes).unwrap();
    }
    fn take(&mut self) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let length = self.read(&mut bytes).unwrap_or(0);
        bytes[..length].to_vec()
    }
    fn end(&mut self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl User {
    fn terminal() -> Self {
        let pty = Pty::open().unwrap();
        let far = File::from(open_slave(pty.path()).unwrap());
        Self { near: Box::new(pty), far, is_terminal: true }
    }

    fn pipe() -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let far = File::from(std::os::fd::OwnedFd::from(far));
        Self { near: Box::new(near), far, is_terminal: false }
    }

    fn sees(&mut self, expected: &str) {
        let mut text = Vec::new();
        wait(expected, || {
            text.extend(self.near.take());
            (text.len() >= expected.len()).then_some(())
        });
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }
}

/// Runs a session while `work` does what the user and the machine do.
fn session(
    store: &FakeStore,
    user: &mut User,
    back: Duration,
    work: impl FnOnce(&mut Box<dyn Near>, &mut dyn FnMut(&mut Box<dyn Near>, &str)),
) -> Result<Left, Error> {
    let options = Options::new(5);
    let node = format!("{HOME}/console/tty");
    let mut link = link(store);
    let console = find::wait(&mut link, &options, &node, LIMIT).unwrap();
    let User { near, far, is_terminal } = user;
    let ends = Ends { input: Some(far.as_fd()), output: far.as_fd(), is_terminal: *is_terminal };
    let signals = Signals::take().unwrap();
    let mut session = Session::new(&options, link, signals, node, console, ends);
    session.back_limit = back;
    std::thread::scope(|scope| {
        let running = scope.spawn(move || session.run());
        let mut sees = |near: &mut Box<dyn Near>, expected: &str| {
            let mut text = Vec::new();
            wait(expected, || {
                text.extend(near.take());
                (text.len() >= expected.len()).then_some(())
            });
            assert_eq!(String::from_utf8_lossy(&text), expected);
        };
        work(near, &mut sees);
        wait("the session's end", || running.is_finished().then_some(()));
        running.join().unwrap()
    })
}

fn typed(pty: &mut Pty, expected: &[u8]) {
    let mut text = Vec::new();
    wait("typed bytes", || {
        let mut bytes = [0; 4096];
        let length = pty.read(&mut bytes).unwrap().unwrap_or(0);
        text.extend_from_slice(&bytes[..length]);
        (text.len() >= expected.len()).then_some(())
    });
    assert_eq!(text, expected);
}

#[test]
fn bytes_pass_both_ways_until_the_escape_is_typed() {
    let (store, mut pty) = store();
    let mut user = User::terminal();
    let left = session(&store, &mut user, LIMIT, |near, sees| {
        pty.write(b"login: ").unwrap();
        sees(near, "login: ");
        near.send(b"root\r\x03");
        typed(&mut pty, b"root\r\x03");
        near.send(&[b'x', ESCAPE, b'y']);
    });
    assert_eq!(left.unwrap(), Left::Escape);
    typed(&mut pty, b"x");
    assert!(!pty.unread());
}

#[test]
fn a_pipe_is_read_to_its_end_and_an_escape_within_it_is_data() {
    let (store, mut pty) = store();
    let mut user = User::pipe();
    let left = session(&store, &mut user, LIMIT, |near, _| {
        near.send(b"a\x1db");
        typed(&mut pty, b"a\x1db");
        near.send(b"last words");
        near.end();
    });
    assert_eq!(left.unwrap(), Left::InputEnded);
    typed(&mut pty, b"last words");
}

#[test]
fn a_domain_that_goes_ends_it_after_its_last_words() {
    let (store, pty) = store();
    let mut user = User::terminal();
    let mut pty = Some(pty);
    let left = session(&store, &mut user, LIMIT, |near, sees| {
        store.remove(HOME);
        pty.as_mut().unwrap().write(b"Power down\r\n").unwrap();
        sees(near, "Power down\r\n");
        pty = None;
    });
    assert_eq!(left.unwrap(), Left::DomainGone);
}

#[test]
fn a_console_that_is_taken_away_before_its_domain_ends_it_too() {
    let (store, pty) = store();
    let mut user = User::terminal();
    let left = session(&store, &mut user, LIMIT, |_, _| {
        store.remove(&format!("{HOME}/console"));
        drop(pty);
    });
    assert_eq!(left.unwrap(), Left::DomainGone);
}

#[test]
fn a_new_daemons_terminal_is_attached_to_by_itself() {
    let (store, first) = store();
    let mut user = User::terminal();
    let left = session(&store, &mut user, LIMIT, |near, sees| {
        drop(first);
        let mut second = Pty::open().unwrap();
        store.set(&format!("{HOME}/console/tty"), &second.path().to_string_lossy());
        second.write(b"back").unwrap();
        sees(near, "back");
        near.send(b"z");
        typed(&mut second, b"z");
        near.send(&[ESCAPE]);
    });
    assert_eq!(left.unwrap(), Left::Escape);
}

#[test]
fn a_daemon_that_does_not_come_back_ends_it_with_what_is_missing() {
    let (store, pty) = store();
    let mut user = User::terminal();
    let left = session(&store, &mut user, Duration::from_secs(1), |_, _| drop(pty));
    let message = left.unwrap_err().to_string();
    assert!(message.starts_with("domain 5's console was lost 1 s ago"), "{message}");
}

#[test]
fn a_store_that_is_killed_and_started_anew_does_not_disturb_it() {
    let (mut store, mut pty) = store();
    let options = Options::new(5);
    let node = format!("{HOME}/console/tty");
    let mut link = link(&store);
    let console = find::wait(&mut link, &options, &node, LIMIT).unwrap();
    let mut user = User::terminal();
    let far = user.far.try_clone().unwrap();
    let running = std::thread::spawn(move || {
        let ends = Ends { input: Some(far.as_fd()), output: far.as_fd(), is_terminal: true };
        let signals = Signals::take().unwrap();
        Session::new(&options, link, signals, node, console, ends).run().unwrap()
    });
    store.kill();
    pty.write(b"alone ").unwrap();
    user.sees("alone ");
    store.start();
    pty.write(b"together ").unwrap();
    user.sees("together ");
    // The watch is there again.
    wait("the watch", || (store.watches() > 0).then_some(()));
    store.remove(HOME);
    drop(pty);
    assert_eq!(running.join().unwrap(), Left::DomainGone);
}

#[test]
fn what_is_missing_is_said() {
    let store = FakeStore::new();
    let mut link = Link::open(Place::Socket(store.socket()), &[], LIMIT).unwrap();
    let options = Options::new(5);
    let error = find::node(&mut link, &options).unwrap_err();
    assert_eq!(error.to_string(), "domain 5 does not exist (`xl list` shows those that do)");

    store.set(&format!("{HOME}/name"), "vm");
    let node = find::node(&mut link, &options).unwrap();
    assert_eq!(node, "/local/domain/5/console/tty");
    let short = Duration::from_millis(10);
    let mut why = || find::wait(&mut link, &options, &node, short).unwrap_err().to_string();
    let head = "domain 5 has no console to attach to: ";
    let ring = "/local/domain/5/console/ring-ref is missing: it was made without a console";
    assert_eq!(why(), format!("{head}{ring}"));
    store.set(&format!("{HOME}/console/ring-ref"), "100");
    let unwritten = "xenconsoled has not written /local/domain/5/console/tty; its log may say why";
    assert_eq!(why(), format!("{head}{unwritten}"));
    store.set(&node, "/nowhere");
    let closed = "Could not open tty `/nowhere' (/local/domain/5/console/tty): No such file or directory (os error 2)";
    assert_eq!(why(), format!("{head}{closed}"));
    store.set(&format!("{HOME}/console/type"), "ioemu");
    assert!(why().contains("served by another program"));
}

#[test]
fn the_serial_port_is_preferred_where_there_is_one() {
    let store = FakeStore::new();
    store.set(&format!("{HOME}/serial/0/tty"), "/dev/pts/1");
    let mut link = Link::open(Place::Socket(store.socket()), &[], LIMIT).unwrap();
    let mut node = |change: &dyn Fn(&mut Options)| {
        let mut options = Options::new(5);
        change(&mut options);
        find::node(&mut link, &options).unwrap()
    };
    use super::options::Kind;
    assert_eq!(node(&|_| {}), "/local/domain/5/serial/0/tty");
    assert_eq!(node(&|o| o.kind = Some(Kind::Pv)), "/local/domain/5/console/tty");
    assert_eq!(node(&|o| o.number = 2), "/local/domain/5/device/console/2/tty");
    assert_eq!(node(&|o| o.kind = Some(Kind::Vuart)), "/local/domain/5/vuart/0/tty");
}
