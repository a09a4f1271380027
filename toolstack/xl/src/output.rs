//! Standard output and error. A closed pipe (`xl list | head -1`) ends the program quietly, as it
//! ends programs in C.

use rustix::io::Errno;
use rustix::stdio;
use std::os::fd::BorrowedFd;

/// What a shell says of a program that SIGPIPE ended.
const CLOSED_PIPE: i32 = 128 + 13;

/// Writes to standard output, all at once.
pub fn print(text: &str) {
    write(stdio::stdout(), text);
}

/// Writes to standard error.
pub fn error(text: &str) {
    write(stdio::stderr(), text);
}

/// Whether standard output is a terminal that wants colours.
pub fn colours() -> bool {
    rustix::termios::isatty(stdio::stdout()) && std::env::var_os("NO_COLOR").is_none()
}

/// Whether standard error is one.
pub fn error_colours() -> bool {
    rustix::termios::isatty(stdio::stderr()) && std::env::var_os("NO_COLOR").is_none()
}

fn write(fd: BorrowedFd<'_>, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(fd, rest) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(fd),
            Err(Errno::PIPE) => std::process::exit(CLOSED_PIPE),
            // There is nowhere to tell of it.
            Err(_) => return,
        }
    }
}

/// Until a pipe that somebody made non-blocking takes more.
fn wait(fd: BorrowedFd<'_>) {
    use rustix::event::{PollFd, PollFlags, poll};
    let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None);
}
