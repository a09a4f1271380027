//! The tools against our daemon, in this process: beside recorded output, and beside Debian's own
//! tools where those are unpacked.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::type_complexity,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use mio::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use xenstored::daemon::Daemon;
use xenstored::log::Log;
use xenstored::server::Server;

/// A daemon on a socket of its own; it ends with the test.
struct Store {
    folder: tempfile::TempDir,
}

impl Store {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let log = Log::open(false);
            Daemon::new(listener, Server::new(), None, log).unwrap().run().unwrap();
        });
        Self { folder }
    }

    fn run(&self, mut command: Command) -> Output {
        command.env("XENSTORED_PATH", self.folder.path().join("socket"));
        command.env_remove("XENSTORED_RUNDIR").output().unwrap()
    }

    fn ours(&self, line: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenstore-tools"));
        command.arg0(line[0]).args(&line[1..]);
        self.run(command)
    }

    fn debians(&self, root: &Path, line: &[&str]) -> Output {
        let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
        let bin = match line[0] {
            "xenstore-control" => root.join("usr/lib/xen-4.20/bin/xenstore-control"),
            name => root.join("usr/bin").join(name),
        };
        command.arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu"));
        command.args(["--argv0", line[0]]).arg(bin).args(&line[1..]);
        self.run(command)
    }

    /// Standard output of a tool that is to end well.
    fn text(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let output = self.ours(&words);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn the_tree_is_printed_as_recorded() {
    let store = Store::start();
    store.text("xenstore-write /a/b 1 /a/c two\\n /z \\xff");
    store.text("xenstore-chmod /a/b n0 r5 b7");
    assert_eq!(
        store.text("xenstore-ls"),
        "tool = \"\"\n xenstored = \"\"\na = \"\"\n b = \"1\"\n c = \"two\\n\"\nz = \"\\xff\"\n"
    );
    assert_eq!(
        store.text("xenstore-ls -fp /a"),
        "/a/b = \"1\"   (n0,r5,b7)\n/a/c = \"two\\n\"   (n0)\n"
    );
    assert_eq!(
        store.text("xenstore ls -p /a"),
        "b = \"1\"  . . . . . . . . . . . . . . . . . . . . . . . . . .  (n0,r5,b7)\n\
         c = \"two\\n\"  . . . . . . . . . . . . . . . . . . . . . . . .  (n0)\n"
    );
    assert_eq!(store.text("xenstore-read -p /a/b /a/c"), "/a/b: 1\n/a/c: two\\n\n");
    assert_eq!(store.text("xenstore-list /a"), "b\nc\n");
}

#[test]
fn a_tree_of_many_children_is_printed_whole() {
    let store = Store::start();
    for hundred in 0..10 {
        let mut line = vec!["xenstore-write".to_owned()];
        for one in 0..100 {
            line.push(format!("/wide/child-with-a-long-name-{hundred}{one:02}"));
            line.push("v".to_owned());
        }
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        assert!(store.ours(&words).status.success());
    }
    let text = store.text("xenstore-ls /wide");
    assert_eq!(text.lines().count(), 1000);
    assert_eq!(text.lines().last(), Some("child-with-a-long-name-999 = \"v\""));
}

#[test]
fn a_watch_prints_its_events_and_ends_after_the_asked_number() {
    let store = Store::start();
    store.text("xenstore-write /w/x 1");
    assert_eq!(store.text("xenstore-watch -n 2 /w /w/x"), "/w\n/w/x\n");
}

/// Debian's unpacked packages, where the anchors are.
fn debian() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/anchors/trixie/root");
    root.join("usr/bin/xenstore-ls").exists().then_some(root)
}

/// Command lines, one after the other on the same store. Words are parted by one space.
const LINES: &[&str] = &[
    "xenstore-ls",
    "xenstore-write /x 1 /a/b/c 2",
    "xenstore-ls -f",
    "xenstore-ls -p",
    "xenstore-ls -fp /",
    "xenstore-ls -z",
    "xenstore-ls /nosuch",
    "xenstore-ls --flat /a",
    "xenstore-ls -R /a",
    "xenstore-read /x",
    "xenstore-read -p /x /a/b/c",
    "xenstore-read /x /nosuch /a",
    "xenstore-read /bad//path",
    "xenstore-read relative",
    "xenstore-write relative 5",
    "xenstore-read relative",
    "xenstore-read -R /x",
    "xenstore-read --pre /x",
    "xenstore-read -f /x",
    "xenstore-read -n",
    "xenstore-read -z",
    "xenstore-read",
    "xenstore-write",
    "xenstore-write a",
    "xenstore-write a b c",
    "xenstore-write / root",
    "xenstore-write /bad/ 1",
    "xenstore-write --raw /rr \\x41",
    "xenstore-read /rr",
    "xenstore-write /e \\x41\\102\\t\\n\\r\\\\\\\"q\\e",
    "xenstore-read /e",
    "xenstore-read -R /e",
    "xenstore-write /e \\x4",
    "xenstore-read /e",
    "xenstore-write /e \\8\\1",
    "xenstore-read /e",
    "xenstore-write /e \\777\\12",
    "xenstore-read /e",
    "xenstore-write /e abc\\",
    "xenstore-read /e",
    "xenstore-write /e \\xz",
    "xenstore-read /e",
    "xenstore-write /e \\0\\00\\000\\0000\\00000",
    "xenstore-read /e",
    "xenstore-write /long xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xenstore-write /long/deeper/and/deeper \\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n",
    "xenstore-ls",
    "xenstore-ls -p",
    "xenstore-list /",
    "xenstore-list -p /a /a/b",
    "xenstore-list /nosuch",
    "xenstore-list",
    "xenstore-exists /x /a",
    "xenstore-exists /x /nosuch",
    "xenstore-exists",
    "xenstore-exists -t /x",
    "xenstore-rm /nosuch",
    "xenstore-rm /no/such",
    "xenstore-rm /",
    "xenstore-rm",
    "xenstore-rm -p /x",
    "xenstore-rm /x /nosuch/y",
    "xenstore-exists /x",
    "xenstore-rm -t /a/b/c",
    "xenstore-exists /a",
    "xenstore-write /v/w 1 /v val",
    "xenstore-rm -t /v/w",
    "xenstore-read /v",
    "xenstore-write /p/q/r 1 /p/q/s/t 2",
    "xenstore-chmod -r /p/q r3",
    "xenstore-ls -fp /p",
    "xenstore-chmod -u /p/q/s/t w4 n1",
    "xenstore-ls -fp /p",
    "xenstore-chmod /p/q x",
    "xenstore-chmod /p/q r",
    "xenstore-chmod /p/q r1x",
    "xenstore-chmod /p/q",
    "xenstore-chmod /nosuch r1",
    "xenstore-chmod",
    "xenstore-ls -p /p",
    "xenstore-watch",
    "xenstore-watch -n 2 /v /p",
    "xenstore-watch -n x /v",
    "xenstore-watch -n 1 @releaseDomain",
    "xenstore",
    "xenstore foo",
    "xenstore ls -f /p",
    "xenstore ls -h",
    "xenstore read -h",
    "xenstore write -h",
    "xenstore list -h",
    "xenstore rm -h",
    "xenstore chmod -h",
    "xenstore exists -h",
    "xenstore watch -h",
    "xenstore read --help",
    "xenstore-control",
    "xenstore-control nosuch",
    "xenstore-control quota",
    "xenstore-control quota set nodes 5",
    "xenstore-control quota set nodes",
    "xenstore-control quota 77",
    "xenstore-control quota-soft",
    "xenstore-control check",
    "xenstore-control print hello",
];

#[test]
fn output_and_exit_codes_are_those_of_debians_tools() {
    let Some(root) = debian() else {
        eprintln!("Debian's tools are not unpacked here: nothing compared");
        return;
    };
    let (one, two) = (Store::start(), Store::start());
    let mut different = Vec::new();
    for line in LINES {
        let words: Vec<&str> = line.split(' ').collect();
        let (ours, theirs) = (one.ours(&words), two.debians(&root, &words));
        let code = (ours.status.code(), theirs.status.code());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if code.0 != code.1 || ours.stdout != theirs.stdout || ours.stderr != theirs.stderr {
            different.push(format!(
                "{line}\n  ours   {:?} {:?} {:?}\n  theirs {:?} {:?} {:?}",
                code.0,
                text(&ours.stdout),
                text(&ours.stderr),
                code.1,
                text(&theirs.stdout),
                text(&theirs.stderr)
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
