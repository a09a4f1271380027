//! The hypervisor's log as a file.

use super::platform::{Platform, Port};
use super::report::{Level, Report};
use crate::chain::Chain;
use crate::localtime::Zone;
use crate::logfile::LogFile;

/// Pieces read for one event; the rest waits for the next turn.
const PIECES: usize = 16;

/// The log, and how far it was read.
#[derive(Debug)]
pub struct HypervisorLog {
    port: Port,
    index: u32,
    /// The file.
    pub file: Option<LogFile>,
    failed: bool,
}

impl HypervisorLog {
    /// Binds the event that tells of new lines.
    ///
    /// # Errors
    /// Somebody else has it.
    pub fn open<P: Platform>(platform: &mut P, file: LogFile) -> Result<Self, P::Error> {
        let port = platform.bind_hypervisor_log()?;
        Ok(Self { port, index: 0, file: Some(file), failed: false })
    }

    /// The event's port.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Appends what is new.
    pub fn fired<P: Platform>(&mut self, platform: &mut P, report: &mut Report, zone: &Zone) {
        if let Err(why) = self.copy(platform, zone)
            && !std::mem::replace(&mut self.failed, true)
        {
            report.say(Level::Error, &format!("hypervisor log: {why}"));
        }
        platform.unmask(self.port);
    }

    fn copy<P: Platform>(&mut self, platform: &mut P, zone: &Zone) -> Result<(), String> {
        for _ in 0..PIECES {
            let read = platform.hypervisor_log(self.index);
            let (bytes, next) = read.map_err(|e| Chain(&e).to_string())?;
            if bytes.is_empty() {
                break;
            }
            self.index = next;
            if let Some(file) = &mut self.file {
                file.append(&bytes, zone).map_err(|e| Chain(&e).to_string())?;
            }
        }
        Ok(())
    }
}
