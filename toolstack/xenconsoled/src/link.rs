//! The connection to xenstored: watches, and getting it back when the daemon was started anew.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use xenstore::{Access, Client, Event};

/// The limit of one request: while it waits, no guest is served.
const REQUEST_LIMIT: Duration = Duration::from_secs(1);
/// The first wait before a new attempt; each is twice as long as the last.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// The wait after a xenstored that is there and does not answer: each attempt costs the guests
/// [`REQUEST_LIMIT`].
const DELAY_SILENT: Duration = Duration::from_secs(15);

/// A connection, or the wait for one.
pub struct Link {
    place: Place,
    /// Path and token of what every new connection watches.
    watches: Vec<(String, String)>,
    client: Option<Client>,
    delay: Duration,
    next: Instant,
    /// A change of the connection's descriptor that the event loop does not know yet.
    changed: bool,
}

/// Where xenstored is.
#[derive(Clone, Debug)]
pub enum Place {
    /// The usual sockets; the kernel's device only where there is no socket.
    Usual,
    /// This socket.
    Socket(PathBuf),
}

impl Place {
    fn connect(&self) -> Result<Client, xenstore::Error> {
        let mut client = match self {
            Self::Socket(path) => Client::connect(&path.to_string_lossy())?,
            Self::Usual => match sockets().into_iter().find(|path| path.exists()) {
                // Not the device then: the kernel's own connection hangs as long as xenstored is away.
                Some(path) => Client::connect(&path.to_string_lossy())?,
                None => Client::open()?,
            },
        };
        client.set_limit(REQUEST_LIMIT);
        Ok(client)
    }
}

/// Where xenstored's socket is looked for.
fn sockets() -> Vec<PathBuf> {
    let named = std::env::var_os("XENSTORED_PATH").map(PathBuf::from);
    let directory = std::env::var_os("XENSTORED_RUNDIR").map(|d| PathBuf::from(d).join("socket"));
    let usual = ["/run/xenstored/socket", "/var/run/xenstored/socket"].map(PathBuf::from);
    named.into_iter().chain(directory).chain(usual).collect()
}

impl Link {
    /// Connects, trying for as long as `limit`. This and every later connection has these watches, by
    /// path and token.
    ///
    /// # Errors
    /// The last attempt's.
    pub fn open(
        place: Place,
        watches: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Self, xenstore::Error> {
        let now = Instant::now();
        let until = now + limit;
        let own = |(path, token): &(&str, &str)| ((*path).to_owned(), (*token).to_owned());
        let watches = watches.iter().map(own).collect();
        let mut link =
            Self { place, watches, client: None, delay: DELAY_MIN, next: now, changed: false };
        loop {
            match link.try_connect() {
                Ok(()) => return Ok(link),
                Err(error) if Instant::now() + link.delay >= until => return Err(error),
                Err(_) => std::thread::sleep(link.delay),
            }
        }
    }

    fn try_connect(&mut self) -> Result<(), xenstore::Error> {
        let connected = self.place.connect().and_then(|mut client| {
            for (path, token) in &self.watches {
                client.watch(path, token)?;
            }
            Ok(client)
        });
        match connected {
            Ok(client) => {
                self.client = Some(client);
                self.delay = DELAY_MIN;
                self.changed = true;
                Ok(())
            }
            Err(error) => {
                let delay = if error.is_timed_out() { DELAY_SILENT } else { self.delay };
                self.next = Instant::now() + delay;
                self.delay = (self.delay * 2).min(DELAY_MAX);
                Err(error)
            }
        }
    }

    /// Watches one more, on this connection and every later one.
    ///
    /// # Errors
    /// What the store answered, or the connection's end.
    pub fn also_watch(&mut self, path: &str, token: &str) -> Result<(), xenstore::Error> {
        self.watches.push((path.to_owned(), token.to_owned()));
        match &mut self.client {
            Some(client) => client.watch(path, token),
            None => self.try_connect(),
        }
    }

    /// When the next attempt to connect is due; `None` while connected.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.client.is_none().then_some(self.next)
    }

    /// Tries to connect if that is due. Whether a new connection was made: it has no watches but those
    /// that the link was made with.
    pub fn reconnect(&mut self) -> bool {
        self.client.is_none() && Instant::now() >= self.next && self.try_connect().is_ok()
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// The connection's descriptor.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.client.as_ref().map(AsFd::as_fd)
    }

    /// The connection's descriptor, if it changed since the last call.
    pub fn changed(&mut self) -> Option<BorrowedFd<'_>> {
        std::mem::take(&mut self.changed).then_some(())?;
        self.client.as_ref().map(AsFd::as_fd)
    }

    /// Does something with the store. `None` if there is no connection, or none any more.
    ///
    /// # Errors
    /// What the store answered.
    pub fn ask<T>(
        &mut self,
        work: impl FnOnce(&mut Client) -> Result<T, xenstore::Error>,
    ) -> Option<Result<T, xenstore::Error>> {
        let result = work(self.client.as_mut()?);
        match result {
            Err(error) if lost(&error) => {
                self.lose();
                if error.is_timed_out() {
                    self.next = Instant::now() + DELAY_SILENT;
                }
                None
            }
            result => Some(result),
        }
    }

    /// The next event that is there already.
    pub fn event(&mut self) -> Option<Event> {
        self.ask(|client| client.next_event(Duration::ZERO))?.ok().flatten()
    }

    /// A node's value. `None` if it is not there or not readable or there is no connection.
    pub fn read(&mut self, path: &str) -> Option<String> {
        self.ask(|client| client.try_read(path))?.ok().flatten()
    }

    fn lose(&mut self) {
        self.client = None;
        self.delay = DELAY_MIN;
        self.next = Instant::now();
    }
}

/// Whether the connection is of no use any more: closed, out of step, or with an answer still to come.
const fn lost(error: &xenstore::Error) -> bool {
    error.is_disconnected()
        || error.is_timed_out()
        || matches!(error, xenstore::Error::Protocol { .. })
}
