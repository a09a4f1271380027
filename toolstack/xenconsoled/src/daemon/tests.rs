//! The daemon with guests, terminals and a store, without a hypervisor.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::options::{Options, Which};
use super::report::Report;
use super::signals::Signals;
use super::{Daemon, WATCHES};
use crate::fake::{FakeGuest, FakeMachine, FakeStore, Guests};
use crate::link::{Link, Place};
use crate::pty;

const LIMIT: Duration = Duration::from_secs(10);

struct House {
    store: FakeStore,
    guests: Guests,
    daemon: Daemon<FakeMachine>,
}

fn daemon(
    store: &FakeStore,
    guests: &Guests,
    change: impl Fn(&mut Options),
) -> Daemon<FakeMachine> {
    let both = Which { guests: true, hypervisor: true };
    let log_directory = store.directory().to_owned();
    let mut options = Options { log: both, log_directory, ..Options::default() };
    change(&mut options);
    let report = Report::new(false, false, store.directory().join("messages"));
    let link = Link::open(Place::Socket(store.socket()), WATCHES, LIMIT).unwrap();
    Daemon::new(guests.machine(), link, Signals::none().unwrap(), options, report).unwrap()
}

impl House {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl Fn(&mut Options)) -> Self {
        let (store, guests) = (FakeStore::new(), Guests::default());
        let daemon = daemon(&store, &guests, change);
        Self { store, guests, daemon }
    }

    fn guest(&self, domid: u16) -> FakeGuest {
        self.guest_with(domid, "100", "2")
    }

    fn guest_with(&self, domid: u16, ring: &str, port: &str) -> FakeGuest {
        let guest = self.guests.create(domid);
        let home = format!("/local/domain/{domid}");
        self.store.set(&format!("{home}/name"), &format!("vm{domid}"));
        self.store.fire("@introduceDomain");
        for (node, value) in [("ring-ref", ring), ("port", port), ("limit", "8192"), ("tty", "")] {
            self.store.set(&format!("{home}/console/{node}"), value);
        }
        guest
    }

    /// Lets the daemon work until something holds.
    fn until<T>(&mut self, what: &str, mut holds: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            self.daemon.turn(Some(Duration::from_millis(5))).unwrap();
            if let Some(value) = holds(self) {
                return value;
            }
            assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        }
    }

    fn tty(&self, domid: u16) -> Option<String> {
        self.store.get(&format!("/local/domain/{domid}/console/tty")).filter(|t| !t.is_empty())
    }

    fn client(&mut self, domid: u16) -> File {
        let tty = self.until("a terminal in the store", |h| h.tty(domid));
        File::from(pty::open_slave(Path::new(&tty)).unwrap())
    }

    /// Reads until so many bytes came.
    fn read(&mut self, client: &mut File, length: usize) -> String {
        let mut text = Vec::new();
        self.until("text on the terminal", |_| {
            let mut bytes = [0; 4096];
            if let Ok(count) = client.read(&mut bytes) {
                text.extend(&bytes[..count]);
            }
            (text.len() >= length).then_some(())
        });
        String::from_utf8(text).unwrap()
    }

    fn said(&self) -> String {
        self.daemon.report.said.join("\n")
    }
}

#[test]
fn two_guests_each_have_their_terminal_and_log() {
    let mut house = House::new();
    let guests = [house.guest(1), house.guest(2)];
    for (guest, other) in [(&guests[0], &guests[1]), (&guests[1], &guests[0])] {
        let mut client = house.client(guest.domid);
        let text = format!("login {}:\r\n", guest.domid);
        guest.write(text.as_bytes());
        assert_eq!(house.read(&mut client, text.len()), text);
        client.write_all(b"root\r").unwrap();
        let read =
            house.until("typed bytes in the guest", |_| Some(guest.read()).filter(|r| r.len() > 4));
        assert_eq!(read, b"root\r");
        assert!(other.read().is_empty());
        let log = house.store.directory().join(format!("guest-vm{}.log", guest.domid));
        assert_eq!(std::fs::read_to_string(log).unwrap(), text);
    }
    assert_eq!(house.said(), "");
}

#[test]
fn what_was_written_before_anybody_attached_is_shown_then_and_the_oldest_goes_when_it_is_too_much()
{
    let mut house = House::new();
    let guest = house.guest(1);
    house.until("a terminal", |h| h.tty(1));
    let (mut sent, mut line) = (0usize, 0);
    while sent < 60_000 {
        let text = format!("line {line:08}\n");
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            rest = &rest[guest.write(rest)..];
            if !rest.is_empty() {
                house.daemon.turn(Some(Duration::from_millis(20))).unwrap();
            }
        }
        sent += text.len();
        line += 1;
    }
    let last = format!("line {:08}\n", line - 1);
    let mut client = house.client(1);
    let mut text = String::new();
    while !text.ends_with(&last) {
        text += &house.read(&mut client, 1);
    }
    // First what the terminal held, then a gap, then the end.
    assert!(text.starts_with("line 00000000\n"), "{text:.40}");
    assert!(text.len() < 40_000, "{} bytes were kept", text.len());
    let log = std::fs::metadata(house.store.directory().join("guest-vm1.log")).unwrap();
    assert_eq!(log.len() as usize, sent);
}

#[test]
fn keeping_output_makes_the_guest_wait_and_loses_nothing() {
    let mut house = House::with(|options| options.overflow = crate::backlog::Overflow::Keep);
    let guest = house.guest(1);
    house.until("a terminal", |h| h.tty(1));
    let all: Vec<u8> =
        (0..200_000u32).flat_map(|n| format!("{n:07}\n").into_bytes()).take(60_000).collect();
    let mut sent = 0;
    let mut stuck = 0;
    while stuck < 20 {
        let written = guest.write(&all[sent..]);
        sent += written;
        stuck = if written == 0 { stuck + 1 } else { 0 };
        house.daemon.turn(Some(Duration::from_millis(20))).unwrap();
    }
    assert!(sent < all.len(), "the guest was never made to wait");
    let mut client = house.client(1);
    let mut text = String::new();
    while text.len() < all.len() {
        sent += guest.write(&all[sent..]);
        text += &house.read(&mut client, 1);
    }
    assert_eq!(text.as_bytes(), all);
}

#[test]
fn a_daemon_that_is_killed_is_replaced_without_losing_a_byte_in_the_rings() {
    let mut house = House::new();
    let guests = [house.guest(1), house.guest(2)];
    let mut client = house.client(1);
    guests[0].write(b"one ");
    house.read(&mut client, 4);
    house.client(2);
    let old = house.tty(1).unwrap();
    // The old one does nothing more; what it had bound is free.
    let next = daemon(&house.store, &house.guests, |_| {});
    let killed = std::mem::replace(&mut house.daemon, next);
    drop(killed);
    guests[0].write(b"two ");
    let writes = house.store.writes("/local/domain/1/console/tty");
    house.until("the store to be told", |h| {
        (h.store.writes("/local/domain/1/console/tty") > writes).then_some(())
    });
    let mut end = [0; 8];
    assert!(!matches!(client.read(&mut end), Ok(1..)), "the old terminal still lives");
    let mut client = house.client(1);
    assert_eq!(house.read(&mut client, 4), "two ");
    client.write_all(b"x").unwrap();
    house.until("typed bytes in the guest", |_| (guests[0].read() == b"x").then_some(()));
    assert!(house.guests.is_bound(2));
    drop(old);
}

#[test]
fn a_store_that_is_killed_and_started_anew_costs_no_guest_anything() {
    let mut house = House::new();
    let first = house.guest(1);
    let mut client = house.client(1);
    let tty = house.tty(1);
    house.store.kill();
    first.write(b"alone");
    assert_eq!(house.read(&mut client, 5), "alone");
    house.until("the daemon to notice", |h| h.said().contains("xenstored is away").then_some(()));
    house.store.start();
    house.until("the daemon to be back", |h| h.said().contains("again").then_some(()));
    let mut client_of_second = {
        house.guest(2);
        house.client(2)
    };
    client_of_second.write_all(b"y").unwrap();
    first.write(b"still");
    assert_eq!(house.read(&mut client, 5), "still");
    assert_eq!(house.tty(1), tty);
    assert_eq!(house.store.writes("/local/domain/1/console/tty"), 1);
}

#[test]
fn nonsense_in_the_store_costs_only_that_guest() {
    let mut house = House::new();
    house.guest_with(1, "twelve", "2");
    house.guest_with(2, "99", "2");
    house.guest_with(3, "100", "7");
    house.guest(4);
    house.client(4);
    let said = house.said();
    for line in [
        "domain 1: console not served: /local/domain/1/console/ring-ref is \"twelve\", which is not a frame's number",
        "domain 2: console not served: refused: no such frame",
        "domain 3: console not served: its event channel 7: refused: no port for us",
    ] {
        assert_eq!(said.matches(line).count(), 1, "{said}");
    }
    assert!((1..4).all(|domid| house.tty(domid).is_none()));
    // Once put right it is served.
    house.store.set("/local/domain/1/console/ring-ref", "100");
    house.client(1);
}

#[test]
fn a_guest_with_impossible_indexes_is_told_of_once_and_goes_on() {
    let mut house = House::new();
    let guest = house.guest(1);
    let mut client = house.client(1);
    for round in 0..50u32 {
        use crate::ring::Page;
        let words = std::mem::offset_of!(abi::io::ConsoleInterface, in_cons);
        for word in 0..4 {
            guest
                .page
                .store(words + word * 4, round.wrapping_mul(0x9e37_79b9) ^ (word as u32) << 13);
        }
        guest.notify();
        house.daemon.turn(Some(Duration::from_millis(5))).unwrap();
    }
    assert_eq!(house.said().matches("console ring had indexes").count(), 1, "{}", house.said());
    house.until("the ring to be usable", |_| {
        guest.notify();
        (guest.write(b"sane again") == 10).then_some(())
    });
    let mut text = String::new();
    while !text.ends_with("sane again") {
        text += &house.read(&mut client, 1);
    }
}

#[test]
fn a_flood_of_events_is_held_and_others_are_served_at_once() {
    let mut house = House::new();
    let (noisy, quiet) = (house.guest(1), house.guest(2));
    house.client(1);
    let mut client = house.client(2);
    let before = house.guests.taken(1);
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    while start.elapsed() < Duration::from_secs(1) {
        noisy.write(&[b'n'; 2048]);
        let asked = Instant::now();
        quiet.write(b"q");
        house.read(&mut client, 1);
        slowest = slowest.max(asked.elapsed());
    }
    let taken = house.guests.taken(1) - before;
    assert!(taken <= 30 * 7, "{taken} events of the noisy guest in about a second");
    assert!(slowest < Duration::from_millis(500), "the quiet guest waited {slowest:?}");
}

#[test]
fn a_guest_that_has_gone_is_forgotten_after_its_last_words() {
    let mut house = House::new();
    let guest = house.guest(1);
    let mut client = house.client(1);
    guest.write(b"reboot: Power down\r\n");
    house.guests.destroy(1);
    house.store.remove("/local/domain/1");
    house.store.fire("@releaseDomain");
    assert_eq!(house.read(&mut client, 20), "reboot: Power down\r\n");
    house.until("the guest to be forgotten", |h| h.daemon.guests.is_empty().then_some(()));
    assert!(!house.guests.is_bound(1));
    // Another under the same number is a new one.
    house.guest(1);
    house.client(1);
}

#[test]
fn the_hypervisors_log_is_kept_and_reopened() {
    let mut house = House::with(|_| {});
    let path = house.store.directory().join("hypervisor.log");
    house.guests.log("(XEN) one\n");
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    house.until("the log", |_| (text(&path) == "(XEN) one\n").then_some(()));
    let moved = path.with_extension("1");
    std::fs::rename(&path, &moved).unwrap();
    house.daemon.reopen_logs();
    house.guests.log("(XEN) two\n");
    house.until("the log", |_| (text(&path) == "(XEN) two\n").then_some(()));
    assert_eq!(text(&moved), "(XEN) one\n");
}
