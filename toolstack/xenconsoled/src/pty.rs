//! The pseudo terminal through which a guest's console is reached.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::OptionalActions;

/// Why there is no terminal.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a pseudo terminal: {step}")]
pub struct Error {
    step: &'static str,
    #[source]
    source: Errno,
}

/// A terminal of ours: the master to read and write, and the path of the slave for others.
#[derive(Debug)]
pub struct Pty {
    master: File,
    /// Held open, so that a client that leaves does not hang the terminal up.
    slave: OwnedFd,
    path: PathBuf,
}

impl Pty {
    /// Opens a new one, raw and without blocking.
    ///
    /// # Errors
    /// The step that failed: usually that there are too many terminals or open files.
    pub fn open() -> Result<Self, Error> {
        let failed = |step| move |source| Error { step, source };
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).map_err(failed("opening /dev/ptmx"))?;
        rustix::pty::grantpt(&master).map_err(failed("granting the slave"))?;
        rustix::pty::unlockpt(&master).map_err(failed("unlocking the slave"))?;
        let name = rustix::pty::ptsname(&master, Vec::new()).map_err(failed("naming the slave"))?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let slave = open_slave(&path).map_err(failed("opening the slave"))?;
        set_raw(&slave).map_err(failed("making it raw"))?;
        rustix::io::ioctl_fionbio(&master, true).map_err(failed("making it non-blocking"))?;
        Ok(Self { master: File::from(master), slave, path })
    }

    /// The slave's path, for the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what a client typed. `None` if there is nothing now.
    ///
    /// # Errors
    /// The terminal is broken.
    pub fn read(&mut self, to: &mut [u8]) -> std::io::Result<Option<usize>> {
        not_blocked(self.master.read(to))
    }

    /// Writes for a client to see. `None` if there is no room now.
    ///
    /// # Errors
    /// The terminal is broken.
    pub fn write(&mut self, from: &[u8]) -> std::io::Result<Option<usize>> {
        not_blocked(self.master.write(from))
    }

    /// Whether a client could still read something that was written.
    #[must_use]
    pub fn unread(&self) -> bool {
        rustix::io::ioctl_fionread(&self.slave).is_ok_and(|bytes| bytes > 0)
    }
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

fn not_blocked(result: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens a terminal without making it ours and without waiting.
///
/// # Errors
/// The kernel's.
pub fn open_slave(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Makes a terminal pass all bytes as they are.
///
/// # Errors
/// The kernel's, as that it is not a terminal.
pub fn set_raw(terminal: impl AsFd) -> Result<(), Errno> {
    let mut state = rustix::termios::tcgetattr(&terminal)?;
    state.make_raw();
    rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// What one side wrote the kernel gives to the other a little later.
    fn wait(what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn bytes_pass_unchanged_both_ways_and_survive_a_client_that_leaves() {
        let mut pty = Pty::open().unwrap();
        let mut text = [0; 64];
        for _ in 0..2 {
            let mut client = File::from(open_slave(pty.path()).unwrap());
            assert!(pty.read(&mut text).unwrap().is_none());
            client.write_all(b"a\r\x03\x1d\n\xff").unwrap();
            let mut typed = Vec::new();
            wait("typed bytes", || {
                let length = pty.read(&mut text).unwrap().unwrap_or(0);
                typed.extend_from_slice(&text[..length]);
                typed.len() == 6
            });
            assert_eq!(typed, b"a\r\x03\x1d\n\xff");
            assert!(!pty.unread());
            pty.write(b"login:\n\x04").unwrap().unwrap();
            wait("unread bytes", || pty.unread());
            let length = client.read(&mut text).unwrap();
            assert_eq!(&text[..length], b"login:\n\x04");
        }
    }

    #[test]
    fn a_terminal_that_nobody_reads_blocks_nobody() {
        let mut pty = Pty::open().unwrap();
        let mut written = 0;
        while let Some(bytes) = pty.write(&[b'x'; 1000]).unwrap() {
            written += bytes;
            assert!(written < 1 << 20, "it takes without end");
        }
        assert!(written > 0);
    }
}
