//! The program itself on this machine, by its socket: start, kill, carry on, and hostile clients.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::type_complexity,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use xenstore::wire::Header;
use xenstore::{Access, Client, Errno, MessageType, Permission, Rights};

const LIMIT: Duration = Duration::from_secs(20);

/// The daemon in the foreground, in a folder of its own.
struct Daemon {
    folder: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    fn command(folder: &std::path::Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenstored"));
        command.env("XENSTORED_RUNDIR", folder).env_remove("XENSTORED_PATH");
        command.arg("--no-domain-init").stdin(Stdio::null());
        command
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Self::command(folder.path()).arg("--no-fork").spawn().unwrap();
        let daemon = Self { folder, child };
        daemon.client();
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A client, once the socket answers.
    fn client(&self) -> Client {
        let until = Instant::now() + LIMIT;
        loop {
            let result = Client::connect(&self.socket().to_string_lossy());
            let result = result.and_then(|mut client| client.exists("/").map(|_| client));
            match result {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < until, "no answer: {error}"),
            }
            std::thread::yield_now();
        }
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        stream
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::command(self.folder.path()).arg("-N").spawn().unwrap();
        self.client();
    }

    /// Kilobytes of memory that are the process' own now.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(kind: MessageType, transaction: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let header = Header { kind: kind as u32, request: 1, transaction, length };
    [&header.encode()[..], payload].concat()
}

#[test]
fn after_a_kill_the_next_daemon_has_every_node_that_was_answered() {
    let mut daemon = Daemon::start();
    let mut client = daemon.client();
    for round in 0..5 {
        for n in 0..50 {
            client.write(&format!("/r{round}/n{n}"), &format!("{round}.{n}")).unwrap();
        }
        client
            .transaction(|t| {
                t.write(&format!("/r{round}/t"), "committed")?;
                t.rm(&format!("/r{round}/n7"))
            })
            .unwrap();
        let list = [Permission::new(3, Rights::Read), Permission::new(5, Rights::Both)];
        client.set_permissions(&format!("/r{round}/n1"), &list).unwrap();
        daemon.kill();
        daemon.restart();
        client = daemon.client();
        for earlier in 0..=round {
            let names = client.list(&format!("/r{earlier}")).unwrap();
            assert_eq!(names.len(), 50, "round {earlier}");
            assert_eq!(names.last().map(String::as_str), Some("t"));
            assert_eq!(client.read(&format!("/r{earlier}/n49")).unwrap(), format!("{earlier}.49"));
            assert_eq!(client.permissions(&format!("/r{earlier}/n1")).unwrap(), list);
        }
    }
}

#[test]
fn the_parent_ends_when_the_background_daemon_answers_and_a_second_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let mut first = Daemon::command(folder.path());
    let status = first.arg("--pid-file").arg(&pid_file).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let number = std::fs::read_to_string(&pid_file).unwrap();
    let socket = folder.path().join("socket");
    let mut client = Client::connect(&socket.to_string_lossy()).unwrap();
    assert!(client.exists("/tool/xenstored").unwrap());
    let second = Daemon::command(folder.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("runs already"), "{said}");
    let pid = rustix::process::Pid::from_raw(number.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_conflict_is_answered_and_repeated_until_it_succeeds() {
    let daemon = Daemon::start();
    let (mut one, mut two) = (daemon.client(), daemon.client());
    one.write("/n", "0").unwrap();
    let mut rounds = 0;
    one.transaction(|t| {
        rounds += 1;
        let value = t.read("/n")?;
        if rounds == 1 {
            two.write("/n", "10")?;
        }
        t.write("/n", &format!("{value}+1"))
    })
    .unwrap();
    assert_eq!((rounds, one.read("/n").unwrap().as_str()), (2, "10+1"));
}

#[test]
fn a_watch_tells_of_changes_below_it_and_not_of_others() {
    let daemon = Daemon::start();
    let (mut watcher, mut writer) = (daemon.client(), daemon.client());
    watcher.watch("/w", "token").unwrap();
    assert_eq!(watcher.watch("/w", "token").unwrap_err().errno(), Some(Errno::Exists));
    let mut next = |expected: &str| {
        let event = watcher.next_event(LIMIT).unwrap().unwrap();
        assert_eq!((event.path.as_str(), event.token.as_str()), (expected, "token"));
    };
    next("/w");
    writer.write("/w/a/b", "1").unwrap();
    next("/w/a/b");
    writer.write("/other", "1").unwrap();
    writer.rm("/w/a").unwrap();
    next("/w/a");
    writer.write("/w", "2").unwrap();
    next("/w");
    watcher.unwatch("/w", "token").unwrap();
    writer.write("/w", "3").unwrap();
    assert_eq!(watcher.next_event(Duration::ZERO).unwrap(), None);
}

/// Fifty clients that each do the worst that they can, in ten ways.
fn hostile(daemon: &Daemon) -> Vec<UnixStream> {
    let mut streams = Vec::new();
    for n in 0..50u32 {
        let mut stream = daemon.raw();
        let flood = |stream: &mut UnixStream, bytes: &[u8]| {
            // Until the daemon takes no more, or as much as a flood is.
            for _ in 0..2000 {
                if stream.write_all(bytes).is_err() {
                    break;
                }
            }
        };
        match n % 10 {
            0 => {
                let header = Header { kind: 2, request: 1, transaction: 0, length: u32::MAX };
                stream.write_all(&header.encode()).unwrap();
            }
            1 => {
                let header = Header { kind: 2, request: 1, transaction: 0, length: 4097 };
                stream.write_all(&header.encode()).unwrap();
            }
            2 => stream.write_all(&request(MessageType::Read, 0, b"/tool\0")[..9]).unwrap(),
            3 => stream.write_all(&request(MessageType::Write, 0, &[b'/'; 4096])[..700]).unwrap(),
            4 => flood(&mut stream, &request(MessageType::TransactionStart, 0, b"\0")),
            5 => {
                for k in 0..512 {
                    let watch = format!("/hostile\0{n}-{k}\0");
                    if stream.write_all(&request(MessageType::Watch, 0, watch.as_bytes())).is_err()
                    {
                        break;
                    }
                }
            }
            6 => flood(&mut stream, &request(MessageType::Directory, 0, b"/\0")),
            7 => flood(&mut stream, &request(MessageType::Control, 0, b"help\0")),
            8 => {
                let junk: Vec<u8> = (0..4096u32).map(|k| (k * 7 + n) as u8).collect();
                let _ = stream.write_all(&junk);
            }
            _ => {
                let path = format!("/hostile/{n}\0value");
                flood(&mut stream, &request(MessageType::Write, 0, path.as_bytes()));
            }
        }
        streams.push(stream);
    }
    streams
}

#[test]
fn fifty_hostile_clients_cost_only_themselves() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let report = tempfile::NamedTempFile::new().unwrap();
    let memory_report = |client: &mut Client| {
        client.control(&["memreport", &report.path().to_string_lossy()]).unwrap();
        client.exists("/").unwrap();
        std::fs::read_to_string(report.path()).unwrap()
    };
    let work = |client: &mut Client| -> u64 {
        let report = memory_report(client);
        let (_, after) = report.split_once("work ").unwrap();
        after.lines().next().unwrap().parse().unwrap()
    };
    // The most that the daemon did, for everybody, while one honest exchange took place.
    let most = |client: &mut Client| -> u64 {
        let mut before = work(client);
        let mut most = 0;
        for n in 0..300 {
            client.write("/honest/node", &n.to_string()).unwrap();
            assert_eq!(client.read("/honest/node").unwrap(), n.to_string());
            let after = work(client);
            most = most.max(after - before);
            before = after;
        }
        most
    };
    // Two requests, and two of the report.
    assert_eq!(most(&mut client), 4);
    let streams = hostile(&daemon);
    // Their floods wait in their sockets. Before each of the four requests lie the rest of one round
    // and at most one more, each with fifty turns and five writes that all their watches see.
    let round = 5 * 5 * 512 + 50 * 64;
    let during = most(&mut client);
    assert!(during > 4, "nothing hostile went on");
    assert!(during < 4 * 2 * round, "{during} requests and events");
    assert!(daemon.memory() < 192 << 10, "{} KiB", daemon.memory());
    drop(streams);
    // Their watches and transactions go with them.
    let until = Instant::now() + LIMIT;
    loop {
        let text = memory_report(&mut client);
        if text.starts_with("clients 1,") {
            break;
        }
        assert!(Instant::now() < until, "{text}");
    }
    assert_eq!(most(&mut client), 4);
}

#[test]
fn a_client_that_reads_nothing_is_closed_and_others_get_their_events() {
    let daemon = Daemon::start();
    let mut deaf = daemon.raw();
    deaf.write_all(&request(MessageType::Watch, 0, b"/flood\0t\0")).unwrap();
    let mut writer = daemon.client();
    let path = "x".repeat(1500);
    let mut closed = false;
    for n in 0..40_000 {
        writer.write(&format!("/flood/{path}/{n}"), "").unwrap();
        if n % 100 == 99 {
            writer.rm("/flood").unwrap();
        }
        if n % 1000 == 999 {
            closed = deaf.write(&[]).is_err() || hung_up(&deaf);
            if closed {
                break;
            }
        }
    }
    assert!(closed, "the deaf client is still connected");
    assert!(daemon.memory() < 96 << 10, "{} KiB", daemon.memory());
    let mut watcher = daemon.client();
    watcher.watch("/calm", "t").unwrap();
    assert!(watcher.next_event(LIMIT).unwrap().is_some());
}

fn hung_up(stream: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
    fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP)
}

#[test]
fn many_requests_in_one_write_are_answered_in_order() {
    let daemon = Daemon::start();
    let mut stream = daemon.raw();
    let mut bytes = Vec::new();
    for n in 0..200 {
        let mut one = request(MessageType::Write, 0, format!("/n{n}\0{n}").as_bytes());
        one[4..8].copy_from_slice(&(n as u32).to_le_bytes());
        bytes.extend(one);
    }
    stream.write_all(&bytes).unwrap();
    for n in 0..200u32 {
        let mut answer = [0; 19];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(Header::decode(&answer).unwrap().request, n);
        assert_eq!(&answer[16..], b"OK\0");
    }
}
