//! The client's program in a real terminal: what it leaves behind, what it ends with.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "../src/fake/store.rs"]
#[expect(dead_code, reason = "the daemon's tests use the rest")]
mod store;

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use store::FakeStore;
use xenconsoled::pty::{Pty, open_slave};

const LIMIT: Duration = Duration::from_secs(20);

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

/// A domain's second console: which program serves it is not looked at.
struct House {
    store: FakeStore,
    console: Pty,
    user: Pty,
    tty: File,
    domid: u16,
}

impl House {
    fn new(domid: u16) -> Self {
        let (store, console, user) = (FakeStore::new(), Pty::open().unwrap(), Pty::open().unwrap());
        let node = format!("/local/domain/{domid}/device/console/1/tty");
        store.set(&node, &console.path().to_string_lossy());
        let tty = File::from(open_slave(user.path()).unwrap());
        let mut cooked = tcgetattr(&tty).unwrap();
        cooked.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(&tty, OptionalActions::Now, &cooked).unwrap();
        Self { store, console, user, tty, domid }
    }

    fn start(&self, more: &[&str]) -> Child {
        let slave = || Stdio::from(File::from(open_slave(self.user.path()).unwrap()));
        Command::new(env!("CARGO_BIN_EXE_xenconsole"))
            .arg(self.domid.to_string())
            .args(["--num", "1", "--type", "pv"])
            .args(more)
            .env("XENSTORED_PATH", self.store.socket())
            .stdin(slave())
            .stdout(slave())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn is_cooked(&self) -> bool {
        tcgetattr(&self.tty).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn is_attached(&self) {
        wait("the terminal to be raw", || (!self.is_cooked()).then_some(()));
    }

    fn end(&self, child: &mut Child) -> (ExitStatus, String) {
        let status = wait("its end", || child.try_wait().unwrap());
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(self.is_cooked(), "the terminal was not put back");
        (status, text)
    }
}

#[test]
fn the_terminal_is_put_back_and_the_lock_removed_after_the_escape() {
    let mut house = House::new(30_001);
    let mut child = house.start(&["--escape", "^A"]);
    house.is_attached();
    assert!(std::path::Path::new("/var/lock/xenconsole.30001").exists());
    house.console.write(b"hello").unwrap();
    let mut text = Vec::new();
    wait("text", || {
        let mut bytes = [0; 64];
        let length = house.user.read(&mut bytes).unwrap().unwrap_or(0);
        text.extend_from_slice(&bytes[..length]);
        (text == b"hello").then_some(())
    });
    house.user.write(b"\x01").unwrap();
    let (status, said) = house.end(&mut child);
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
    assert!(!std::path::Path::new("/var/lock/xenconsole.30001").exists());
}

#[test]
fn signals_put_the_terminal_back() {
    let house = House::new(30_002);
    for (signal, code) in [(Signal::TERM, 0), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut child = house.start(&[]);
        house.is_attached();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let (status, said) = house.end(&mut child);
        assert_eq!((status.code(), said.as_str()), (Some(code), ""), "{signal:?}");
    }
}

#[test]
fn the_second_client_is_told_who_has_the_console() {
    let house = House::new(30_003);
    let mut first = house.start(&[]);
    house.is_attached();
    let mut second = house.start(&[]);
    let status = wait("the second's end", || second.try_wait().unwrap());
    let mut said = String::new();
    second.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let holder = format!("by process {} (xenconsole)", first.id());
    assert!(said.contains("Could not lock /var/lock/xenconsole.30003") && said.contains(&holder));
    assert_eq!(status.code(), Some(11), "{said}");
    kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
    house.end(&mut first);
}

#[test]
fn a_parent_that_waits_is_told_once_attached() {
    let house = House::new(30_004);
    let (mut reader, writer) = std::io::pipe().unwrap();
    // The program's own stderr is the one descriptor that is sure to be passed on.
    let slave = || Stdio::from(File::from(open_slave(house.user.path()).unwrap()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_xenconsole"))
        .args(["30004", "--num", "1", "--start-notify-fd", "2"])
        .env("XENSTORED_PATH", house.store.socket())
        .stdin(slave())
        .stdout(slave())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut byte = [1];
    reader.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [0]);
    assert!(!house.is_cooked());
    house.store.remove("/local/domain/30004");
    drop(house.console);
    assert_eq!(wait("its end", || child.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn without_a_terminal_output_is_shown_and_input_is_read_only_when_asked_for() {
    let mut house = House::new(30_005);
    let run = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_xenconsole"))
            .args(["30005", "--num", "1"])
            .args(more)
            .env("XENSTORED_PATH", house.store.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut child = run(&["--interactive"]);
    child.stdin.take().unwrap().write_all(b"reboot\n").unwrap();
    assert_eq!(wait("its end", || child.try_wait().unwrap()).code(), Some(0));
    let mut typed = Vec::new();
    wait("typed bytes", || {
        let mut bytes = [0; 64];
        let length = house.console.read(&mut bytes).unwrap().unwrap_or(0);
        typed.extend_from_slice(&bytes[..length]);
        (typed == b"reboot\n").then_some(())
    });

    let mut child = run(&[]);
    drop(child.stdin.take());
    house.console.write(b"log line\n").unwrap();
    let mut shown = [0; 9];
    child.stdout.take().unwrap().read_exact(&mut shown).unwrap();
    assert_eq!(&shown, b"log line\n");
    // Nobody reads its output any more: that ends it, not the end of its input.
    house.console.write(b"more\n").unwrap();
    assert_eq!(wait("its end", || child.try_wait().unwrap()).code(), Some(0));
}
