//! Becoming a daemon: a second process of the same program stays, the first waits until it is ready.
//!
//! No `fork`: that would need `unsafe`. The second process is told by an option to make a session of its
//! own, and says on its stdout that it is ready.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType, Resource};

use super::options::BACKGROUND;

/// How long the first process waits for the second.
const READY_LIMIT: Duration = Duration::from_secs(15);
const READY: &[u8] = b"ready\n";

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The second process could not be started.
    #[error("cannot start the process that stays ({})", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It said nothing in time.
    #[error("the process that stays (pid {pid}) was not ready within {READY_LIMIT:?}; ended it")]
    NotReady {
        /// Its number.
        pid: u32,
    },
    /// The file with the process's number.
    #[error("cannot {step} the pid file {}", .path.display())]
    PidFile {
        /// What was done with it.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is one already.
    #[error("xenconsoled is running already{} (it holds {})", of(*pid), .path.display())]
    Running {
        /// Its number, if known.
        pid: Option<i32>,
        /// The file that it holds.
        path: PathBuf,
    },
    /// Leaving the terminal.
    #[error("cannot leave the terminal")]
    Detach(#[source] std::io::Error),
}

fn of(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" as process {pid}")).unwrap_or_default()
}

/// Starts the process that stays with these arguments, and waits until it is ready. What it says until
/// then goes to stderr. The exit status: 0, or its own.
///
/// # Errors
/// It cannot be started, or is not ready in time.
pub fn in_background(arguments: &[String]) -> Result<u8, Error> {
    // The real path, so that the process has the program's name.
    let program = std::env::current_exe().unwrap_or_else(|_| "xenconsoled".into());
    let mut command = Command::new(&program);
    command.args(arguments).arg(format!("--{BACKGROUND}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let spawned = command.spawn();
    let mut child = spawned.map_err(|source| Error::Spawn { program, source })?;
    let until = Instant::now() + READY_LIMIT;
    let mut said = Vec::new();
    let mut ended = false;
    while let Some(stdout) = &mut child.stdout
        && !ended
        && said != READY
    {
        let mut bytes = [0; 16];
        match readable(stdout, until).then(|| stdout.read(&mut bytes)) {
            Some(Ok(0) | Err(_)) => ended = true,
            Some(Ok(length)) => said.extend_from_slice(bytes.get(..length).unwrap_or_default()),
            None => {
                let pid = child.id();
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::NotReady { pid });
            }
        }
    }
    if said == READY {
        return Ok(0);
    }
    let status = child.wait().ok().and_then(|status| status.code());
    Ok(status.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1))
}

fn readable(file: &impl AsFd, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    let limit = Timespec::try_from(left).unwrap_or_default();
    let mut fds = [PollFd::new(file, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Makes this process one that no terminal's end reaches.
///
/// # Errors
/// The kernel's.
pub fn leave_session() -> Result<(), Error> {
    // Fails only for a process that leads its group already, which is as good.
    let _ = rustix::process::setsid();
    // What guests write is not for everybody.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    std::env::set_current_dir("/").map_err(Error::Detach)
}

/// Says that the daemon is ready, and lets the terminal go.
///
/// # Errors
/// The kernel's. That nobody hears it is none.
pub fn ready() -> Result<(), Error> {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(READY).and_then(|()| stdout.flush());
    let null =
        OpenOptions::new().read(true).write(true).open("/dev/null").map_err(Error::Detach)?;
    for replaced in [
        rustix::stdio::dup2_stdin(&null),
        rustix::stdio::dup2_stdout(&null),
        rustix::stdio::dup2_stderr(&null),
    ] {
        replaced.map_err(|errno| Error::Detach(errno.into()))?;
    }
    Ok(())
}

/// The file with this process's number; locked for as long as it is held.
#[derive(Debug)]
pub struct PidFile {
    _file: File,
    path: PathBuf,
}

impl PidFile {
    /// Takes it. The lock is a record lock, as the C daemon's is: the two exclude each other.
    ///
    /// # Errors
    /// [`Error::Running`], or it cannot be written.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let failed = |step| {
            let path = path.to_owned();
            move |source| Error::PidFile { step, path, source }
        };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644);
        let mut file = options.open(path).map_err(failed("open"))?;
        if rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Running { pid: holder(&file), path: path.to_owned() });
        }
        let number = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(number.as_bytes()))
            .map_err(failed("write"))?;
        Ok(Self { _file: file, path: path.to_owned() })
    }

    /// Removes the file: the daemon ends.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process that holds a file's record lock.
fn holder(file: &File) -> Option<i32> {
    let lock = Flock::from(FlockType::WriteLock);
    let other = rustix::process::fcntl_getlk(file, &lock).ok()??;
    other.pid.map(rustix::process::Pid::as_raw_pid)
}

/// Allows this process as many open files as it may have: three for each guest.
pub fn raise_file_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Fewer guests are served then; the terminal that cannot be made is told of.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}
