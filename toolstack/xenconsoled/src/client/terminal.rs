//! The user's terminal: raw while attached, as it was afterwards.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

/// A terminal that passes every byte; put back when dropped.
pub struct Raw<F: AsFd> {
    terminal: F,
    before: Termios,
}

impl<F: AsFd> Raw<F> {
    /// Makes it raw.
    ///
    /// # Errors
    /// The kernel's, as that it is not a terminal.
    pub fn new(terminal: F) -> Result<Self, Errno> {
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl<F: AsFd> Drop for Raw<F> {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Whether this is a terminal.
#[must_use]
pub fn is_terminal(file: impl AsFd) -> bool {
    rustix::termios::isatty(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pty;
    use rustix::termios::LocalModes;

    #[test]
    fn a_terminal_is_raw_while_held_and_as_before_afterwards() {
        let pty = pty::Pty::open().unwrap();
        let slave = pty::open_slave(pty.path()).unwrap();
        let mut cooked = rustix::termios::tcgetattr(&slave).unwrap();
        cooked.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &cooked).unwrap();
        let modes = || rustix::termios::tcgetattr(&slave).unwrap().local_modes;
        let raw = Raw::new(&slave).unwrap();
        assert!(!modes().intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
        drop(raw);
        assert_eq!(modes(), cooked.local_modes);
    }
}
