//! The daemon's own messages: to stderr in the foreground, else to syslog, else to a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::localtime::Zone;

const SYSLOG: &str = "/dev/log";
/// Messages in each [`WINDOW`]; what comes beyond is counted. A guest must not fill a disk.
const MOST: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// How much a message matters (numbers of RFC 5424).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something is odd.
    Warning = 4,
    /// Only with `-v`.
    Info = 6,
}

/// Where messages go.
#[derive(Debug)]
pub struct Report {
    verbose: bool,
    interactive: bool,
    fallback: PathBuf,
    window: Instant,
    used: u32,
    /// For tests: what was said.
    #[cfg(test)]
    pub said: Vec<String>,
}

impl Report {
    /// `fallback` is the file for when there is no syslog.
    #[must_use]
    pub fn new(verbose: bool, interactive: bool, fallback: PathBuf) -> Self {
        Self {
            verbose,
            interactive,
            fallback,
            window: Instant::now(),
            used: 0,
            #[cfg(test)]
            said: Vec::new(),
        }
    }

    /// Says something.
    pub fn say(&mut self, level: Level, message: &str) {
        if level == Level::Info && !self.verbose {
            return;
        }
        if self.window.elapsed() >= WINDOW {
            let beyond = self.used.saturating_sub(MOST);
            (self.window, self.used) = (Instant::now(), 0);
            if beyond > 0 {
                self.put(Level::Warning, &format!("{beyond} more messages were not written"));
            }
        }
        self.used = self.used.saturating_add(1);
        if self.used <= MOST {
            self.put(level, message);
        }
    }

    /// A failure here has nowhere to be told, so none is.
    fn put(&mut self, level: Level, message: &str) {
        #[cfg(test)]
        self.said.push(message.to_owned());
        if self.interactive {
            eprintln!("xenconsoled: {message}");
            return;
        }
        let process = std::process::id();
        // Facility 3: daemons.
        let line = format!("<{}>xenconsoled[{process}]: {message}", 3 * 8 + level as u8);
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to(line.as_bytes(), SYSLOG)
        });
        if sent.is_err()
            && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(&self.fallback)
        {
            let stamp = Zone::of_machine().stamp(SystemTime::now());
            let _ = writeln!(file, "{stamp}xenconsoled[{process}]: {message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_without_end_are_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let mut report = Report::new(false, false, directory.path().join("log"));
        report.say(Level::Info, "only with -v");
        for _ in 0..1000 {
            report.say(Level::Warning, "again");
        }
        assert_eq!(report.said.len(), MOST as usize);
        report.window = Instant::now().checked_sub(WINDOW).unwrap();
        report.say(Level::Warning, "later");
        assert_eq!(
            report.said[MOST as usize..],
            ["940 more messages were not written".to_owned(), "later".to_owned()]
        );
    }
}
