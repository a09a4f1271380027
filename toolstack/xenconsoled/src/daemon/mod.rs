//! The console daemon: many guests, one thread.
//!
//! Nothing of a guest is kept that its page and the store do not have, so a daemon that is killed is
//! replaced by one that starts anew: it binds the same event channels, and goes on where the indexes in
//! the page say. Only the terminals are new, and the store tells clients so.

pub mod guest;
pub mod hypervisor;
pub mod machine;
pub mod options;
pub mod platform;
pub mod report;
pub mod settings;
pub mod signals;
pub mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use xenstore::Access;

use crate::chain::Chain;
use crate::link::Link;
use crate::localtime::Zone;
use crate::logfile::{LogFile, Style, guest_log};
use guest::Guest;
use hypervisor::HypervisorLog;
use options::Options;
use platform::{Domain, Platform, Port};
use report::{Level, Report};
use signals::Signals;

const FIRED: Token = Token(0);
const STORE: Token = Token(1);
const SIGNALS: Token = Token(2);
/// A guest's terminal has the token of this and its domid.
const TERMINALS: usize = 1 << 16;

/// What the link to xenstored has to watch: domains that come and go.
pub const WATCHES: &[(&str, &str)] = &[("@introduceDomain", DOMAINS), ("@releaseDomain", DOMAINS)];
const DOMAINS: &str = "domlist";

/// Events of the store handled in one turn, so that a flood of them leaves time for the guests.
const STORE_EVENTS: usize = 64;
/// Event channels handled in one turn.
const FIRED_PORTS: usize = 256;
/// How long the list of domains may be old while xenstored is away.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why the daemon cannot go on, or not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The event loop.
    #[error("the event loop failed at {step}")]
    Loop {
        /// Where.
        step: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The event channels' device.
    #[error("cannot read event channels: {0}")]
    Events(String),
    /// The list of domains.
    #[error("cannot list domains: {0}")]
    Domains(String),
}

fn looping(step: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Loop { step, source }
}

/// The daemon.
pub struct Daemon<P: Platform> {
    platform: P,
    link: Link,
    signals: Signals,
    poll: Poll,
    options: Options,
    report: Report,
    zone: Zone,
    guests: BTreeMap<u16, Guest<P>>,
    ports: BTreeMap<Port, u16>,
    hypervisor: Option<HypervisorLog>,
    /// Something is left to do without waiting.
    again: bool,
    /// While xenstored is away nobody tells of domains that go.
    look: Instant,
}

impl<P: Platform> Daemon<P> {
    /// Sets everything up; the guests come with the first turns.
    ///
    /// # Errors
    /// The kernel has no more descriptors.
    pub fn new(
        platform: P,
        link: Link,
        signals: Signals,
        options: Options,
        report: Report,
    ) -> Result<Self, Error> {
        let poll = Poll::new().map_err(looping("making it"))?;
        let mut daemon = Self {
            platform,
            link,
            signals,
            poll,
            options,
            report,
            zone: Zone::of_machine(),
            guests: BTreeMap::new(),
            ports: BTreeMap::new(),
            hypervisor: None,
            again: true,
            look: Instant::now(),
        };
        let events = daemon.platform.events().as_raw_fd();
        let signals = daemon.signals.as_fd().as_raw_fd();
        for (fd, token) in [(events, FIRED), (signals, SIGNALS)] {
            let registry = daemon.poll.registry();
            let registered = registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
            registered.map_err(looping("watching a device"))?;
        }
        daemon.watch_store();
        if daemon.options.log.hypervisor {
            daemon.open_hypervisor_log();
        }
        Ok(daemon)
    }

    fn watch_store(&mut self) {
        let Some(fd) = self.link.changed().map(|fd| fd.as_raw_fd()) else { return };
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut SourceFd(&fd), STORE, Interest::READABLE) {
            self.report.say(Level::Error, &format!("cannot wait for xenstored: {error}"));
        }
    }

    fn style(&self, timestamps: bool) -> Style {
        Style { timestamps, replace_escape: self.options.replace_escape }
    }

    fn open_hypervisor_log(&mut self) {
        let path = self.options.log_directory.join("hypervisor.log");
        let style = self.style(self.options.timestamps.hypervisor);
        let opened = LogFile::open(path, style, &self.zone).map_err(|e| Chain(&e).to_string());
        let log = opened.and_then(|file| {
            HypervisorLog::open(&mut self.platform, file).map_err(|e| Chain(&e).to_string())
        });
        match log {
            Ok(mut log) => {
                log.fired(&mut self.platform, &mut self.report, &self.zone);
                self.hypervisor = Some(log);
            }
            Err(why) => self.report.say(Level::Error, &format!("no hypervisor log: {why}")),
        }
    }

    /// Says something where the daemon says things.
    pub fn say(&mut self, level: Level, message: &str) {
        self.report.say(level, message);
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// What cannot be gone on after.
    pub fn run(&mut self) -> Result<(), Error> {
        while self.turn(None)? {}
        self.withdraw();
        Ok(())
    }

    /// Waits for something to do, at most for `limit`, and does it. False if the daemon is to end.
    ///
    /// # Errors
    /// What cannot be gone on after.
    pub fn turn(&mut self, limit: Option<Duration>) -> Result<bool, Error> {
        let mut events = Events::with_capacity(256);
        let wait = self.wait(limit);
        match self.poll.poll(&mut events, wait) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(looping("waiting")(error));
            }
            _ => {}
        }
        self.again = false;
        for event in &events {
            let Some(domid) = event.token().0.checked_sub(TERMINALS) else { continue };
            let guest = u16::try_from(domid).ok().and_then(|domid| self.guests.get_mut(&domid));
            if let Some(guest) = guest {
                guest.readable |= event.is_readable();
                guest.writable |= event.is_writable();
            }
        }
        if self.signals.hangup() {
            self.reopen_logs();
        }
        self.serve_ports()?;
        self.serve_guests();
        self.serve_store();
        Ok(!self.signals.ended())
    }

    /// How long to wait: until the first thing that is due.
    fn wait(&self, limit: Option<Duration>) -> Option<Duration> {
        if self.again {
            return Some(Duration::ZERO);
        }
        let guests = self.guests.values().filter_map(Guest::due).min();
        let look = (!self.link.is_connected()).then_some(self.look);
        let due = [guests, self.link.due(), look].into_iter().flatten().min();
        // A millisecond more, as the kernel's clock for this is coarse.
        let due =
            due.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        [due, limit].into_iter().flatten().min()
    }

    fn serve_ports(&mut self) -> Result<(), Error> {
        for _ in 0..FIRED_PORTS {
            let fired = self.platform.fired();
            let port = match fired.map_err(|e| Error::Events(Chain(&e).to_string()))? {
                Some(port) => port,
                None => return Ok(()),
            };
            if let Some(log) = self.hypervisor.as_mut().filter(|log| log.port() == port) {
                log.fired(&mut self.platform, &mut self.report, &self.zone);
                continue;
            }
            let guest = self.ports.get(&port).and_then(|domid| self.guests.get_mut(domid));
            if let Some(guest) = guest {
                let now = Instant::now();
                guest.fired(&mut self.platform, &mut self.report, &self.zone, now);
            }
        }
        self.again = true;
        Ok(())
    }

    /// Moves bytes between terminals and guests, and does what is due.
    fn serve_guests(&mut self) {
        let now = Instant::now();
        let mut over = Vec::new();
        for (domid, guest) in &mut self.guests {
            guest.tick(&mut self.platform, now);
            guest.pump(&mut self.platform, &mut self.report, &self.zone);
            self.again |= guest.has_more_to_give();
            if guest.is_over() {
                over.push(*domid);
            }
        }
        for domid in over {
            self.forget(domid);
        }
        let broken: Vec<u16> = self
            .guests
            .iter()
            .filter(|(_, g)| g.is_attached() && (g.pty.is_none() || !g.published))
            .map(|(domid, _)| *domid)
            .collect();
        for domid in broken {
            self.publish(domid);
        }
    }

    fn serve_store(&mut self) {
        if !self.link.is_connected() && Instant::now() >= self.look {
            self.look = Instant::now() + LOOK_AGAIN;
            self.list_domains();
        }
        if self.link.reconnect() {
            self.report.say(Level::Warning, "connected to xenstored again");
            self.watch_store();
            self.watch_guests();
        }
        let was_connected = self.link.is_connected();
        for step in 0.. {
            let Some(event) = self.link.event() else { break };
            if event.token == DOMAINS {
                self.list_domains();
            } else if let Some(domid) = event.token.strip_prefix("dom").and_then(|d| d.parse().ok())
            {
                self.configure(domid);
            }
            if step == STORE_EVENTS {
                self.again = true;
                break;
            }
        }
        if was_connected && !self.link.is_connected() {
            self.report.say(Level::Warning, "xenstored is away; guests are served all the same");
            self.look = Instant::now() + LOOK_AGAIN;
        }
    }

    /// Asks for events on each guest's console; the first comes at once.
    fn watch_guests(&mut self) {
        let domids: Vec<u16> = self.guests.keys().copied().collect();
        domids.into_iter().for_each(|domid| self.watch(domid));
    }

    fn watch(&mut self, domid: u16) {
        let (path, token) = (settings::directory(domid), format!("dom{domid}"));
        match self.link.ask(|client| client.watch(&path, &token)) {
            Some(Err(error)) if !error.is_exists() => {
                let why = Chain(&error);
                self.report.say(Level::Error, &format!("cannot watch {path}: {why}"));
            }
            _ => {}
        }
    }

    /// Looks which domains there are: meets new ones, parts from others.
    fn list_domains(&mut self) {
        let domains = match self.platform.domains() {
            Ok(domains) => domains,
            Err(error) => {
                let why = Chain(&error);
                self.report.say(Level::Error, &format!("cannot list domains: {why}"));
                return;
            }
        };
        let now: BTreeMap<u16, Domain> = domains.into_iter().map(|d| (d.domid, d)).collect();
        let mut replaced = Vec::new();
        for (domid, guest) in &mut self.guests {
            let lives = now.get(domid).filter(|d| !d.dying && d.handle == guest.domain.handle);
            if lives.is_none() && !guest.has_ended() {
                if let Some(port) = guest.port() {
                    self.ports.remove(&port);
                }
                guest.end(&mut self.platform, &mut self.report, &self.zone);
            }
            if guest.has_ended() && now.get(domid).is_some_and(|d| !d.dying) {
                replaced.push(*domid);
            }
        }
        replaced.into_iter().for_each(|domid| self.forget(domid));
        for (domid, domain) in now {
            if !domain.dying && !self.guests.contains_key(&domid) {
                self.report.say(Level::Info, &format!("new domain {domid}"));
                self.guests.insert(domid, Guest::new(domain, self.options.overflow));
                self.watch(domid);
            }
        }
    }

    fn forget(&mut self, domid: u16) {
        let Some(mut guest) = self.guests.remove(&domid) else { return };
        self.report.say(Level::Info, &format!("domain {domid} has gone"));
        if let Some(port) = guest.port() {
            self.ports.remove(&port);
        }
        guest.detach(&mut self.platform);
        if let Some(pty) = &guest.pty {
            let _ = self.poll.registry().deregister(&mut SourceFd(&pty.as_fd().as_raw_fd()));
        }
        let (path, token) = (settings::directory(domid), format!("dom{domid}"));
        // That it has no watch any more is as good.
        let _ = self.link.ask(|client| client.unwatch(&path, &token));
    }

    /// Something changed below a guest's console in the store.
    fn configure(&mut self, domid: u16) {
        let read = settings::read(&mut self.link, domid);
        let Some(guest) = self.guests.get_mut(&domid).filter(|guest| !guest.has_ended()) else {
            return;
        };
        let settings = match read {
            Ok(Some(settings)) => settings,
            Ok(None) => return,
            Err(nonsense) => return guest.skip(&mut self.report, &nonsense.to_string()),
        };
        if let Some(port) = guest.port() {
            self.ports.remove(&port);
        }
        let attached = guest.attach(&mut self.platform, &mut self.report, settings);
        if let Some(port) = guest.port() {
            self.ports.insert(port, domid);
        }
        if attached {
            self.open_log(domid);
            self.publish(domid);
        }
    }

    fn open_log(&mut self, domid: u16) {
        let path = format!("/local/domain/{domid}/name");
        let style = self.style(self.options.timestamps.guests);
        let Some(guest) = self.guests.get_mut(&domid) else { return };
        if !self.options.log.guests || guest.log.is_some() {
            return;
        }
        let name = self.link.read(&path).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| format!("domain-{domid}"));
        let path = guest_log(&self.options.log_directory, &name);
        match LogFile::open(path, style, &self.zone) {
            Ok(log) => guest.log = Some(log),
            Err(error) => guest.skip(&mut self.report, &format!("no log: {}", Chain(&error))),
        }
    }

    /// Makes a guest's terminal if it has none, and tells the store of it if that does not know.
    fn publish(&mut self, domid: u16) {
        let Some(guest) = self.guests.get_mut(&domid) else { return };
        let is_new = guest.pty.is_none();
        if !guest.open_terminal(&mut self.report) {
            return;
        }
        let Some(pty) = &guest.pty else { return };
        let fd = pty.as_fd().as_raw_fd();
        let path = pty.path().to_string_lossy().into_owned();
        let node = format!("{}/tty", settings::directory(domid));
        let published = guest.published;
        if is_new {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(TERMINALS + usize::from(domid));
            if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token, interest) {
                guest.skip(&mut self.report, &format!("cannot wait for its terminal: {error}"));
            }
            self.again = true;
        }
        // Not written again if it is there: each write makes every client open the terminal anew.
        let told = self.link.ask(|client| match client.try_read(&node)? {
            Some(known) if known == path && published => Ok(()),
            _ => client.write(&node, &path),
        });
        match told {
            Some(Ok(())) => guest.published = true,
            Some(Err(error)) => {
                guest.published = true;
                guest.skip(&mut self.report, &format!("cannot write {node}: {}", Chain(&error)));
            }
            None => {}
        }
    }

    fn reopen_logs(&mut self) {
        let logs = self.guests.values_mut().map(|guest| &mut guest.log);
        for log in logs.chain(self.hypervisor.iter_mut().map(|log| &mut log.file)) {
            *log = match log.take().map(|log| log.reopen(&self.zone)) {
                Some(Ok(new)) => Some(new),
                Some(Err(error)) => {
                    self.report.say(Level::Error, &Chain(&error).to_string());
                    None
                }
                None => None,
            };
        }
    }

    /// Takes the terminals out of the store: nobody is to open what another program's may be by then.
    fn withdraw(&mut self) {
        let domids: Vec<u16> = self.guests.keys().copied().collect();
        for domid in domids {
            let node = format!("{}/tty", settings::directory(domid));
            if self.guests.get(&domid).is_some_and(|g| g.pty.is_some() && g.published) {
                let _ = self.link.ask(|client| client.write(&node, ""));
            }
        }
    }
}
