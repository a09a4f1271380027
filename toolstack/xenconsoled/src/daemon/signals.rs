//! Signals, as something that the event loop can wait for.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// SIGHUP opens logs anew; SIGTERM and SIGINT end the daemon.
#[derive(Debug)]
pub struct Signals {
    wakes: UnixStream,
    /// Held, so that `wakes` does not end.
    sender: UnixStream,
    hangup: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Signals {
    /// Takes these signals over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take() -> std::io::Result<Self> {
        let signals = Self::none()?;
        for (signal, flag) in
            [(SIGHUP, &signals.hangup), (SIGTERM, &signals.ended), (SIGINT, &signals.ended)]
        {
            // The flag first: whoever is woken finds it set.
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, signals.sender.try_clone()?)?;
        }
        Ok(signals)
    }

    /// None, for tests.
    ///
    /// # Errors
    /// The kernel's.
    pub fn none() -> std::io::Result<Self> {
        let (wakes, sender) = UnixStream::pair()?;
        wakes.set_nonblocking(true)?;
        Ok(Self { wakes, sender, hangup: Arc::default(), ended: Arc::default() })
    }

    /// Whether SIGHUP came since the last call.
    pub fn hangup(&mut self) -> bool {
        let mut bytes = [0; 64];
        while matches!(self.wakes.read(&mut bytes), Ok(1..)) {}
        self.hangup.swap(false, Ordering::SeqCst)
    }

    /// Whether the daemon is to end.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }
}
