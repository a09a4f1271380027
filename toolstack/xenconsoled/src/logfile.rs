//! The logs of guests and of the hypervisor.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::localtime::Zone;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Each line begins with its time.
    pub timestamps: bool,
    /// The byte ESC becomes a dot, so that reading the log does not drive a terminal.
    pub replace_escape: bool,
}

/// Why a log is not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("cannot open the log {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the log {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A log that is appended to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    style: Style,
    line_begins: bool,
}

impl LogFile {
    /// Opens or makes it.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: PathBuf, style: Style, zone: &Zone) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(source) => return Err(Error::Open { path, source }),
        };
        let mut log = Self { path, file, style, line_begins: true };
        if style.timestamps {
            log.append(b"Logfile Opened\n", zone)?;
        }
        Ok(log)
    }

    /// Opens it again, at the place where it was before somebody moved it away.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn reopen(self, zone: &Zone) -> Result<Self, Error> {
        Self::open(self.path, self.style, zone)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn append(&mut self, bytes: &[u8], zone: &Zone) -> Result<(), Error> {
        let text = self.styled(bytes, zone);
        self.file.write_all(text.as_deref().unwrap_or(bytes)).map_err(|source| {
            let path = self.path.clone();
            Error::Write { path, source }
        })
    }

    /// What is written for these bytes; `None` for the bytes as they are.
    fn styled(&mut self, bytes: &[u8], zone: &Zone) -> Option<Vec<u8>> {
        if !self.style.timestamps && !self.style.replace_escape {
            return None;
        }
        let stamp = self.style.timestamps.then(|| zone.stamp(SystemTime::now()));
        let mut text = Vec::with_capacity(bytes.len() * 2);
        for byte in bytes {
            if self.line_begins {
                text.extend_from_slice(stamp.as_deref().unwrap_or("").as_bytes());
            }
            self.line_begins = *byte == b'\n';
            let shown = if self.style.replace_escape && *byte == 0x1b { b'.' } else { *byte };
            text.push(shown);
        }
        Some(text)
    }
}

/// The log of the guest of a name: a name that a path could be made of loses its slashes.
#[must_use]
pub fn guest_log(directory: &Path, name: &str) -> PathBuf {
    let safe = |c: char| if c == '/' || c.is_control() { '_' } else { c };
    let mut name: String = name.chars().map(safe).collect();
    while name.len() > 200 {
        name.pop();
    }
    directory.join(format!("guest-{name}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_time_and_escapes_are_dots_when_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let zone = Zone::default();
        let path = directory.path().join("guest-a.log");
        let style = Style { timestamps: true, replace_escape: true };
        let mut log = LogFile::open(path.clone(), style, &zone).unwrap();
        log.append(b"one\r\ntw", &zone).unwrap();
        log.append(b"o\n\x1b[0mthree", &zone).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        let ends = ["] Logfile Opened", "] one\r", "] two", "] .[0mthree"];
        assert_eq!(lines.len(), ends.len(), "{text}");
        for (line, end) in lines.iter().zip(ends) {
            assert!(line.starts_with("[20") && line.ends_with(end), "{line:?}");
            assert_eq!(line.matches('[').count(), 1 + end.matches('[').count(), "{line:?}");
        }
    }

    #[test]
    fn a_plain_log_has_the_bytes_as_they_came_and_is_reopened_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let zone = Zone::default();
        let path = guest_log(directory.path(), "a");
        let mut log = LogFile::open(path.clone(), Style::default(), &zone).unwrap();
        log.append(b"\x1b\xff\n", &zone).unwrap();
        let moved = directory.path().join("moved");
        std::fs::rename(&path, &moved).unwrap();
        log = log.reopen(&zone).unwrap();
        log.append(b"new", &zone).unwrap();
        assert_eq!(std::fs::read(moved).unwrap(), b"\x1b\xff\n");
        assert_eq!(std::fs::read(path).unwrap(), b"new");
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_directory() {
        let path = guest_log(Path::new("/logs"), "../../etc/x\n");
        assert_eq!(path, Path::new("/logs/guest-.._.._etc_x_.log"));
        assert!(guest_log(Path::new("/"), &"é".repeat(500)).to_string_lossy().len() < 255);
    }
}
