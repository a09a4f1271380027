//! A session: bytes between the user's terminal and the domain's, until one of them ends it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::find::{self, Console};
use super::options::{Options, escape_name};
use super::{Error, Left};
use crate::link::Link;

/// The token of the watch on the terminal's node.
pub const TOKEN: &str = "tty";
/// How long a console daemon that went away may take to come back.
pub const BACK_LIMIT: Duration = Duration::from_secs(30);
/// How long the last words of a domain that has gone are waited for.
const LAST_WORDS: Duration = Duration::from_millis(1200);
/// How long what was typed last may take to reach the domain when stdin has ended.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Typed bytes that are kept while the domain takes none.
const TYPED_MAX: usize = 64 * 1024;
/// Bytes moved at once. What fits into a pipe without waiting.
const PIECE: usize = 1024;

/// Signals that end a session, so that the terminal is put back before.
pub struct Signals {
    wakes: UnixStream,
    /// Held, so that `wakes` does not end.
    _sender: UnixStream,
    came: Arc<AtomicUsize>,
}

impl Signals {
    /// Takes them over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take() -> std::io::Result<Self> {
        let (wakes, sender) = UnixStream::pair()?;
        let came = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&came), number)?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { wakes, _sender: sender, came })
    }

    fn came(&self) -> Option<i32> {
        match self.came.load(Ordering::SeqCst) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }
}

/// The user's side.
pub struct Ends<'a> {
    /// Where typed bytes come from, if they are read.
    pub input: Option<BorrowedFd<'a>>,
    /// Where the domain's bytes go.
    pub output: BorrowedFd<'a>,
    /// Whether both are terminals: somebody types the escape, and reads messages.
    pub is_terminal: bool,
}

/// What a wait found ready.
#[derive(Default)]
struct Ready {
    input: bool,
    output: bool,
    read: bool,
    write: bool,
}

/// A session.
pub struct Session<'a> {
    options: &'a Options,
    link: Link,
    signals: Signals,
    node: String,
    /// The domain's terminal, while there is one.
    console: Option<Console>,
    ends: Ends<'a>,
    typed: Vec<u8>,
    shown: Vec<u8>,
    /// When the terminal was lost.
    lost: Option<Instant>,
    /// When the session is over, and why: the rest is shown until then.
    leaving: Option<(Instant, Left)>,
    /// How long a console daemon that went away may take to come back.
    pub(super) back_limit: Duration,
}

impl<'a> Session<'a> {
    /// A session that is attached.
    #[must_use]
    pub fn new(
        options: &'a Options,
        link: Link,
        signals: Signals,
        node: String,
        console: Console,
        ends: Ends<'a>,
    ) -> Self {
        Self {
            options,
            link,
            signals,
            node,
            console: Some(console),
            ends,
            typed: Vec::new(),
            shown: Vec::new(),
            lost: None,
            leaving: None,
            back_limit: BACK_LIMIT,
        }
    }

    /// Runs until it is over.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn run(mut self) -> Result<Left, Error> {
        loop {
            let ready = self.wait();
            if let Some(signal) = self.signals.came() {
                return Ok(Left::Signal(signal));
            }
            if ready.input
                && let Some(left) = self.take_input()
            {
                return Ok(left);
            }
            if ready.write || !self.typed.is_empty() {
                self.send_typed();
            }
            if ready.read {
                self.read_console();
            }
            if (ready.output || !self.shown.is_empty()) && !self.show() {
                return Ok(Left::OutputEnded);
            }
            self.look_at_store()?;
            if let Some(left) = self.over() {
                return Ok(left);
            }
        }
    }

    fn wait(&self) -> Ready {
        let flags = |on: bool, flag| if on { flag } else { PollFlags::empty() };
        let typing = self.ends.is_terminal || self.typed.len() < TYPED_MAX;
        let input = self.ends.input.filter(|_| typing && self.leaving.is_none());
        let mut places = [None; 3];
        let mut fds = vec![PollFd::new(&self.signals.wakes, PollFlags::IN)];
        let mut add = |place: &mut Option<usize>, fd, flags: PollFlags| {
            if !flags.is_empty() {
                *place = Some(fds.len());
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
        };
        let [input_place, output_place, console_place] = &mut places;
        if let Some(fd) = input {
            add(input_place, fd, PollFlags::IN);
        }
        add(output_place, self.ends.output, flags(!self.shown.is_empty(), PollFlags::OUT));
        if let Some(console) = &self.console {
            let wanted = flags(self.shown.is_empty(), PollFlags::IN)
                | flags(!self.typed.is_empty(), PollFlags::OUT);
            add(console_place, console.file.as_fd(), wanted);
        }
        if let Some(fd) = self.link.fd() {
            add(&mut None, fd, PollFlags::IN);
        }
        let limit = self.limit().map(|limit| Timespec::try_from(limit).unwrap_or_default());
        if rustix::event::poll(&mut fds, limit.as_ref()).is_err() {
            // Interrupted: nothing is known to be ready.
            return Ready::default();
        }
        let found = |place: Option<usize>| {
            place.and_then(|at| fds.get(at)).map_or(PollFlags::empty(), PollFd::revents)
        };
        let [input, output, console] = places.map(found);
        let ends = PollFlags::HUP | PollFlags::ERR;
        Ready {
            input: !input.is_empty(),
            output: !output.is_empty(),
            read: console.intersects(PollFlags::IN | ends) && self.shown.is_empty(),
            write: console.intersects(PollFlags::OUT),
        }
    }

    /// How long a wait may last.
    fn limit(&self) -> Option<Duration> {
        let back = self.lost.map(|since| since + self.back_limit);
        let leaving = self.leaving.map(|(at, _)| at);
        let due = [back, leaving, self.link.due()].into_iter().flatten().min();
        due.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    /// Reads what was typed. Why the session is over, if it is.
    fn take_input(&mut self) -> Option<Left> {
        let mut bytes = [0; PIECE];
        let length = match self.ends.input.map(|fd| rustix::io::read(fd, &mut bytes)) {
            Some(Ok(length)) => length,
            Some(Err(Errno::INTR | Errno::AGAIN)) | None => return None,
            Some(Err(_)) => 0,
        };
        if length == 0 {
            self.leaving = Some((Instant::now() + FLUSH_LIMIT, Left::InputEnded));
            return None;
        }
        let typed = bytes.get(..length).unwrap_or_default();
        // Somebody who types means it wherever it stands; in other input it has to stand alone, as there it
        // may be data.
        let escape = typed.iter().position(|byte| *byte == self.options.escape);
        let escape = escape.filter(|_| self.ends.is_terminal || length == 1);
        let typed = typed.get(..escape.unwrap_or(length)).unwrap_or_default();
        let room = TYPED_MAX.saturating_sub(self.typed.len());
        self.typed.extend_from_slice(typed.get(..room.min(typed.len())).unwrap_or_default());
        escape.map(|_| {
            self.send_typed();
            Left::Escape
        })
    }

    fn send_typed(&mut self) {
        let Some(console) = &mut self.console else { return };
        while !self.typed.is_empty() {
            match console.file.write(&self.typed) {
                Ok(length) => drop(self.typed.drain(..length)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.lose(),
            }
        }
    }

    fn read_console(&mut self) {
        let Some(console) = &mut self.console else { return };
        let mut bytes = [0; PIECE];
        match console.file.read(&mut bytes) {
            Ok(length @ 1..) => {
                self.shown.extend_from_slice(bytes.get(..length).unwrap_or_default());
            }
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Ok(0) | Err(_) => self.lose(),
        }
    }

    /// Writes what the domain wrote. False if nobody reads it any more.
    fn show(&mut self) -> bool {
        if self.shown.is_empty() {
            return true;
        }
        match rustix::io::write(self.ends.output, &self.shown) {
            Ok(length) => drop(self.shown.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
        true
    }

    /// The domain's terminal has ended.
    fn lose(&mut self) {
        self.console = None;
        if self.lost.is_none() && self.leaving.is_none() {
            self.lost = Some(Instant::now());
        }
    }

    fn look_at_store(&mut self) -> Result<(), Error> {
        let again = self.link.reconnect();
        let mut changed = again;
        while let Some(event) = self.link.event() {
            changed |= event.token == TOKEN;
        }
        if changed && self.link.is_connected() && self.leaving.is_none() {
            self.follow(again);
        }
        match self.lost {
            Some(since) if since.elapsed() >= self.back_limit && self.leaving.is_none() => {
                let why = find::missing(&mut self.link, self.options, &self.node);
                let (domid, seconds) = (self.options.domid, self.back_limit.as_secs());
                Err(Error::Lost { domid, seconds, why })
            }
            _ => Ok(()),
        }
    }

    /// The node changed: goes where it points. Only then: what it has had all the time while a terminal
    /// was lost may be another program's terminal by now.
    fn follow(&mut self, reconnected: bool) {
        if !self.link.is_connected() {
            return;
        }
        let Some(path) = self.link.read(&self.node) else {
            // The toolstack takes a console's nodes away before the domain's others, and tells of no later
            // step here. Only a store that was started anew may not have them yet.
            let gone = !reconnected || !find::exists(&mut self.link, self.options.domid);
            if self.link.is_connected() && gone {
                self.leaving = Some((Instant::now() + LAST_WORDS, Left::DomainGone));
                self.lost = None;
            }
            return;
        };
        if self.console.as_ref().is_some_and(|c| c.path == path && is_same(c)) {
            return;
        }
        // With a new connection an event comes that means nothing.
        if reconnected && self.console.is_some() && path.is_empty() {
            return;
        }
        match find::open(&mut self.link, &self.node) {
            Some(console) => {
                self.console = Some(console);
                self.lost = None;
                self.tell("console daemon restarted; attached again");
            }
            None => {
                if self.console.take().is_some() || self.lost.is_none() {
                    self.lost = Some(Instant::now());
                    let escape = escape_name(self.options.escape);
                    self.tell(&format!(
                        "console daemon has gone; waiting {} s for it ({escape} leaves)",
                        self.back_limit.as_secs()
                    ));
                }
            }
        }
    }

    /// Says something to the user, whose terminal is raw.
    fn tell(&self, message: &str) {
        let end = if self.ends.is_terminal { "\r\n" } else { "\n" };
        let start = if self.ends.is_terminal { "\r\n" } else { "" };
        let line = format!("{start}xenconsole: {message}{end}");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// Why the session is over now, if it is.
    fn over(&self) -> Option<Left> {
        let (until, left) = self.leaving?;
        let rest = match left {
            Left::InputEnded => !self.typed.is_empty() && self.console.is_some(),
            _ => self.console.is_some() || !self.shown.is_empty(),
        };
        (!rest || Instant::now() >= until).then_some(left)
    }
}

/// Whether a terminal's path still leads to it.
fn is_same(console: &Console) -> bool {
    match (console.file.metadata(), std::fs::metadata(&console.path)) {
        (Ok(opened), Ok(there)) => {
            (opened.st_dev(), opened.st_ino(), opened.st_rdev())
                == (there.st_dev(), there.st_ino(), there.st_rdev())
        }
        _ => false,
    }
}
