//! Where the daemon's lines go: standard error, or the system's log once it has none.

use std::os::unix::net::UnixDatagram;

const SYSTEM_LOG: &str = "/dev/log";
/// Facility daemon (3), severity warning (4).
const PRIORITY: u32 = 3 * 8 + 4;

/// A place for lines.
pub struct Log {
    system: Option<UnixDatagram>,
}

impl Log {
    /// To standard error, or with `detached` to the system's log.
    #[must_use]
    pub fn open(detached: bool) -> Self {
        let system = detached.then(|| UnixDatagram::unbound().ok()).flatten();
        if let Some(socket) = &system {
            // A log that does not read must not stop the daemon.
            let _ = socket.set_nonblocking(true);
        }
        Self { system }
    }

    /// Writes a line.
    pub fn line(&self, line: &str) {
        match &self.system {
            Some(socket) => {
                let text = format!("<{PRIORITY}>xenstored[{}]: {line}", std::process::id());
                // Without a system log there is nobody to tell.
                let _ = socket.send_to(text.as_bytes(), SYSTEM_LOG);
            }
            None => eprintln!("xenstored: {line}"),
        }
    }
}
