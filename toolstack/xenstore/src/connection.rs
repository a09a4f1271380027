//! A connection to the daemon: bytes in and out of a socket or device, each wait with a limit.

use crate::wire::{HEADER_SIZE, Header, PAYLOAD_MAX};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes of room for each read.
const CHUNK: usize = 16 << 10;

/// One message as received.
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
}

/// Why a transfer stopped.
pub(crate) enum Stop {
    /// The limit passed.
    TimedOut,
    /// The other side closed.
    Closed,
    /// The kernel's error.
    Os(Errno),
    /// The peer's message is longer than the protocol allows, in bytes.
    Oversize(u32),
}

/// A file descriptor with what was read of it and not used yet.
pub(crate) struct Connection {
    fd: OwnedFd,
    socket: bool,
    input: Vec<u8>,
    /// Bytes at the input's start that were used.
    used: usize,
    /// The last read was full: more is there, without a wait.
    more: bool,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Connection {
    /// Connects to a socket, or opens a character device.
    pub(crate) fn open(path: &str, limit: Duration) -> Result<Self, Errno> {
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode);
        let fd = if kind.is_socket() {
            connect_socket(path, limit)?
        } else {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
            rustix::fs::open(path, flags, Mode::empty())?
        };
        Ok(Self { fd, socket: kind.is_socket(), input: Vec::new(), used: 0, more: false })
    }

    /// Whether it is a socket, which takes several requests at once; the kernel's device does not.
    pub(crate) const fn is_socket(&self) -> bool {
        self.socket
    }

    /// Sends all bytes.
    pub(crate) fn send(&self, mut bytes: &[u8], until: Instant) -> Result<(), Stop> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.fd, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, until)?,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Stop::Closed),
                Err(errno) => return Err(Stop::Os(errno)),
            }
        }
        Ok(())
    }

    /// The next message.
    pub(crate) fn receive(&mut self, until: Instant) -> Result<Message, Stop> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            self.fill(until)?;
        }
    }

    /// The next message, if all of it was read already.
    fn buffered(&mut self) -> Result<Option<Message>, Stop> {
        let rest = self.input.get(self.used..).unwrap_or_default();
        let Some(header) = Header::decode(rest) else { return Ok(None) };
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        if length > PAYLOAD_MAX {
            return Err(Stop::Oversize(header.length));
        }
        let Some(payload) = rest.get(HEADER_SIZE..HEADER_SIZE + length) else { return Ok(None) };
        let payload = payload.to_vec();
        self.used += HEADER_SIZE + length;
        if self.used == self.input.len() {
            self.input.clear();
            self.used = 0;
        }
        Ok(Some(Message { header, payload }))
    }

    /// Reads what is there, waiting for at least one byte.
    fn fill(&mut self, until: Instant) -> Result<(), Stop> {
        self.input.drain(..self.used);
        self.used = 0;
        loop {
            if !self.more {
                self.wait(PollFlags::IN, until)?;
            }
            self.input.reserve(CHUNK);
            let room = self.input.capacity() - self.input.len();
            match rustix::io::read(&self.fd, rustix::buffer::spare_capacity(&mut self.input)) {
                Ok(0) => return Err(Stop::Closed),
                Ok(count) => {
                    self.more = count == room;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.more = false,
                Err(Errno::CONNRESET) => return Err(Stop::Closed),
                Err(errno) => return Err(Stop::Os(errno)),
            }
        }
    }

    /// Waits until the descriptor can be read or written.
    fn wait(&self, flags: PollFlags, until: Instant) -> Result<(), Stop> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
            let mut fds = [PollFd::new(&self.fd, flags)];
            match poll(&mut fds, Some(&limit)) {
                Ok(0) => return Err(Stop::TimedOut),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Stop::Os(errno)),
            }
        }
    }
}

/// Connects without waiting longer than the limit for a place in the daemon's queue.
fn connect_socket(path: &str, limit: Duration) -> Result<OwnedFd, Errno> {
    let until = Instant::now() + limit;
    let address = SocketAddrUnix::new(path)?;
    loop {
        let fd = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        match connect(&fd, &address) {
            Ok(()) => return Ok(fd),
            // The queue of connections is full: the daemon has not taken the earlier ones yet.
            Err(Errno::AGAIN) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(errno) => return Err(errno),
        }
    }
}
