//! One guest's console: its page, its event channel, its terminal, its log.

use std::time::{Duration, Instant};

use super::platform::{Domain, Platform, Port};
use super::report::{Level, Report};
use super::settings::Settings;
use crate::backlog::{Backlog, LIMIT_DEFAULT, Overflow};
use crate::chain::Chain;
use crate::localtime::Zone;
use crate::logfile::LogFile;
use crate::pty::Pty;
use crate::rate::Rate;
use crate::ring::{self, Step};

/// How long the last words of a guest that has gone may still be read.
const LINGER: Duration = Duration::from_secs(1);
/// How long the kernel may take until it shows as unread what was written to a terminal.
const SETTLE: Duration = Duration::from_millis(100);

/// What is said once only, as a guest could cause it without end.
#[derive(Debug, Default)]
struct Said {
    ring: bool,
    log: bool,
    terminal: bool,
    /// The last message on its settings.
    settings: String,
}

/// A guest.
#[derive(Debug)]
pub struct Guest<P: Platform> {
    /// The domain.
    pub domain: Domain,
    page: Option<P::Page>,
    port: Option<Port>,
    /// What `page` and `port` were made from.
    settings: Option<Settings>,
    /// Its terminal, once it had a ring.
    pub pty: Option<Pty>,
    /// Whether the store has the terminal's path.
    pub published: bool,
    /// The terminal may have something to read.
    pub readable: bool,
    /// The terminal may have room.
    pub writable: bool,
    backlog: Backlog,
    rate: Rate,
    /// Its log, where one is kept.
    pub log: Option<LogFile>,
    ended: Option<Instant>,
    said: Said,
}

impl<P: Platform> Guest<P> {
    /// A guest of which nothing is known yet.
    #[must_use]
    pub fn new(domain: Domain, overflow: Overflow) -> Self {
        Self {
            domain,
            page: None,
            port: None,
            settings: None,
            pty: None,
            published: false,
            readable: false,
            writable: false,
            backlog: Backlog::new(LIMIT_DEFAULT, overflow),
            rate: Rate::new(Instant::now()),
            log: None,
            ended: None,
            said: Said::default(),
        }
    }

    fn say(&self, report: &mut Report, level: Level, message: &str) {
        report.say(level, &format!("domain {}: {message}", self.domain.domid));
    }

    /// The port that its events come by.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        self.port
    }

    /// Whether its ring is there.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.page.is_some()
    }

    /// Says what is wrong with its settings, unless that was the last thing said of them.
    pub fn skip(&mut self, report: &mut Report, why: &str) {
        if self.said.settings != why {
            self.say(report, Level::Warning, &format!("console not served: {why}"));
            why.clone_into(&mut self.said.settings);
        }
    }

    /// Maps its ring and binds its event channel as the settings say, unless that is done. Whether they
    /// are there now.
    pub fn attach(&mut self, platform: &mut P, report: &mut Report, settings: Settings) -> bool {
        self.backlog.set_limit(settings.limit);
        let same = |s: &Settings| (s.frame, s.port) == (settings.frame, settings.port);
        if self.page.is_some() && self.settings.as_ref().is_some_and(same) {
            return true;
        }
        self.detach(platform);
        let page = match platform.map(self.domain.domid, settings.frame) {
            Ok(page) => page,
            Err(error) => {
                self.skip(report, &Chain(&error).to_string());
                return false;
            }
        };
        let port = match platform.bind(self.domain.domid, settings.port) {
            Ok(port) => port,
            Err(error) => {
                let why = Chain(&error);
                self.skip(report, &format!("its event channel {}: {why}", settings.port));
                return false;
            }
        };
        self.resynchronised(report, ring::check_input(&page));
        self.said.settings.clear();
        self.page = Some(page);
        self.port = Some(port);
        self.settings = Some(settings);
        self.rate = Rate::new(Instant::now());
        // A daemon that was killed may have moved an index and not told the guest.
        platform.notify(port);
        true
    }

    /// Gives its page and event channel up.
    pub fn detach(&mut self, platform: &mut P) {
        if let Some(port) = self.port.take() {
            platform.unbind(port);
        }
        self.page = None;
        self.settings = None;
    }

    /// Makes its terminal, unless it has one. Whether it has one now.
    pub fn open_terminal(&mut self, report: &mut Report) -> bool {
        if self.pty.is_none() {
            match Pty::open() {
                Ok(pty) => {
                    self.pty = Some(pty);
                    self.published = false;
                    (self.readable, self.writable) = (true, true);
                }
                Err(error) if !self.said.terminal => {
                    self.said.terminal = true;
                    self.say(report, Level::Error, &Chain(&error).to_string());
                }
                Err(_) => {}
            }
        }
        self.pty.is_some()
    }

    /// Its event channel fired: takes what it wrote, gives it what was typed.
    pub fn fired(&mut self, platform: &mut P, report: &mut Report, zone: &Zone, now: Instant) {
        self.take_output(platform, report, zone);
        self.pump(platform, report, zone);
        if let Some(port) = self.port
            && self.rate.event(now)
        {
            platform.unmask(port);
        }
    }

    fn take_output(&mut self, platform: &mut P, report: &mut Report, zone: &Zone) {
        let Some(page) = &self.page else { return };
        if !self.backlog.accepts(ring::output_waiting(page)) {
            return;
        }
        let mut bytes = Vec::new();
        let step = ring::take_output(page, &mut bytes);
        if !bytes.is_empty() {
            self.log(report, &bytes, zone);
            self.backlog.push(&bytes);
        }
        if let (Some(port), true) = (self.port, step != Step::Moved(0)) {
            platform.notify(port);
        }
        self.resynchronised(report, step);
    }

    fn resynchronised(&mut self, report: &mut Report, step: Step) {
        if let Step::Resynchronised { prod, cons } = step
            && !std::mem::replace(&mut self.said.ring, true)
        {
            let what = format!("its console ring had indexes {prod:#x} and {cons:#x}; emptied it");
            self.say(report, Level::Warning, &what);
        }
    }

    fn log(&mut self, report: &mut Report, bytes: &[u8], zone: &Zone) {
        let Some(log) = &mut self.log else { return };
        match log.append(bytes, zone) {
            Ok(()) => self.said.log = false,
            Err(error) if !std::mem::replace(&mut self.said.log, true) => {
                self.say(report, Level::Error, &Chain(&error).to_string());
            }
            Err(_) => {}
        }
    }

    /// Moves what can be moved: from the backlog to the terminal, from the terminal to the guest.
    pub fn pump(&mut self, platform: &mut P, report: &mut Report, zone: &Zone) {
        let moved = self.show();
        // Where output is kept rather than discarded, what the guest waits with fits now.
        let waits = self.page.as_ref().is_some_and(|page| ring::output_waiting(page) > 0);
        if moved && waits && self.rate.due().is_none() {
            self.take_output(platform, report, zone);
            self.show();
        }
        self.give_input(platform, report);
    }

    /// Writes the backlog to the terminal as far as it goes. Whether anything was written.
    fn show(&mut self) -> bool {
        let mut moved = false;
        let Some(pty) = &mut self.pty else { return false };
        while self.writable && !self.backlog.is_empty() {
            match pty.write(self.backlog.front()) {
                Ok(Some(bytes)) => {
                    self.backlog.consume(bytes);
                    moved = true;
                }
                Ok(None) => self.writable = false,
                Err(_) => return self.drop_terminal(),
            }
        }
        moved
    }

    fn give_input(&mut self, platform: &mut P, report: &mut Report) {
        let (Some(page), Some(port), Some(pty)) = (&self.page, self.port, &mut self.pty) else {
            return;
        };
        let checked = ring::check_input(page);
        let room = ring::input_room(page);
        let mut typed = [0; ring::INPUT_SIZE];
        if self.readable && room > 0 {
            match pty.read(typed.get_mut(..room).unwrap_or_default()) {
                Ok(Some(bytes)) => {
                    ring::put_input(page, typed.get(..bytes).unwrap_or_default());
                    platform.notify(port);
                }
                Ok(None) => self.readable = false,
                Err(_) => {
                    self.drop_terminal();
                }
            }
        }
        self.resynchronised(report, checked);
    }

    /// Whether something typed waits and the guest has room for it.
    #[must_use]
    pub fn has_more_to_give(&self) -> bool {
        self.readable
            && self.pty.is_some()
            && self.page.as_ref().is_some_and(|page| ring::input_room(page) > 0)
    }

    /// A terminal that cannot be used any more; the next look at the guest makes a new one.
    fn drop_terminal(&mut self) -> bool {
        self.pty = None;
        self.published = false;
        false
    }

    /// When something is to be done for it without being asked.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let step = Duration::from_millis(50);
        let end = self.ended.map(|_| Instant::now() + step);
        [self.rate.due(), end].into_iter().flatten().min()
    }

    /// Lets its event channel go when its time has come.
    pub fn tick(&mut self, platform: &mut P, now: Instant) {
        if self.rate.release(now)
            && let Some(port) = self.port
        {
            platform.unmask(port);
        }
    }

    /// The domain has gone or goes: takes its last words, gives its page and event channel up.
    pub fn end(&mut self, platform: &mut P, report: &mut Report, zone: &Zone) {
        if self.ended.is_none() {
            self.take_output(platform, report, zone);
            self.detach(platform);
            self.ended = Some(Instant::now());
            let lost = self.backlog.discarded();
            if lost > 0 {
                self.say(report, Level::Info, &format!("{lost} bytes were discarded unread"));
            }
        }
    }

    /// Whether [`Guest::end`] was called.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether nothing remains to be done for a guest that has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let read = self.backlog.is_empty() && !self.pty.as_ref().is_some_and(Pty::unread);
        let over = |since: Instant| since.elapsed() >= if read { SETTLE } else { LINGER };
        self.pty.is_none() && self.ended.is_some() || self.ended.is_some_and(over)
    }
}
