//! Starting: into the background, the socket, the state of a daemon before this one.

use crate::daemon::Daemon;
use crate::log::Log;
use crate::machine::{Host, Machine};
use crate::options::Options;
use crate::quota::{Quota, Quotas};
use crate::restore::Restored;
use crate::server::{Platform, Server};
use crate::state_file;
use mio::net::UnixListener;
use rustix::fs::{FlockOperation, Mode};
use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the background process may take until its socket answers.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another one runs.
    #[error("xenstored runs already: it holds {}", .0.display())]
    Running(PathBuf),
    /// A file or folder.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The hypervisor's devices.
    #[error("cannot use Xen's devices: {0} (not a dom0? --no-domain-init serves the socket only)")]
    Devices(#[source] sys::Error),
    /// dom0's own ring.
    #[error("cannot connect dom0's own ring: {0}")]
    Dom0(xenstore::Errno),
    /// The process for the background.
    #[error("cannot start the background process: {0}")]
    Background(#[source] io::Error),
    /// It ended.
    #[error("the background process ended: {0}")]
    Ended(std::process::ExitStatus),
    /// It did not get ready.
    #[error("the socket {} did not answer within {} s", .0.display(), READY_LIMIT.as_secs())]
    NotReady(PathBuf),
    /// The loop.
    #[error("the daemon cannot go on: {0}")]
    Loop(#[source] io::Error),
}

fn file_error<'p>(what: &'static str, path: &'p Path) -> impl Fn(io::Error) -> Error + use<'p> {
    move |source| Error::File { what, path: path.to_owned(), source }
}

/// Where things are.
pub struct Places {
    /// The socket.
    pub socket: PathBuf,
    folder: PathBuf,
}

impl Places {
    /// As the environment says, as for Xen's daemon and clients.
    #[must_use]
    pub fn find() -> Self {
        let folder = std::env::var_os("XENSTORED_RUNDIR").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| "/run/xenstored".into());
        match std::env::var_os("XENSTORED_PATH").map(PathBuf::from) {
            Some(socket) => {
                let folder = socket.parent().map_or(folder, Path::to_owned);
                Self { socket, folder }
            }
            None => Self { socket: folder.join("socket"), folder },
        }
    }
}

/// Starts another process of this program for the background, and waits until it answers.
///
/// # Errors
/// [`Error::Ended`] if it failed (it has said why), [`Error::NotReady`].
pub fn in_background(arguments: &[String]) -> Result<(), Error> {
    let program = std::env::current_exe().map_err(Error::Background)?;
    let places = Places::find();
    let mut child = Command::new(program)
        .arg0("xenstored")
        .args(arguments)
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(Error::Background)?;
    let until = Instant::now() + READY_LIMIT;
    let socket = places.socket.to_string_lossy().into_owned();
    let number = child.id();
    while Instant::now() < until {
        if let Some(status) = child.try_wait().map_err(Error::Background)? {
            return Err(Error::Ended(status));
        }
        // The lock names who serves: an earlier daemon's socket does not count.
        let mine = std::fs::read_to_string(places.folder.join("lock"));
        if mine.is_ok_and(|text| text.trim() == number.to_string())
            && let Ok(mut client) = xenstore::Client::connect(&socket)
            && xenstore::Access::exists(&mut client, "/").unwrap_or(false)
        {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(Error::NotReady(places.socket))
}

/// Serves, in this process.
///
/// # Errors
/// Why it does not start, or cannot go on.
pub fn serve(options: &Options) -> Result<(), Error> {
    if options.detached {
        // It fails only for the leader of a group, which a child is not.
        let _ = rustix::process::setsid();
        let _ = std::env::set_current_dir("/");
    }
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let places = Places::find();
    std::fs::create_dir_all(&places.folder).map_err(file_error("create", &places.folder))?;
    let _lock = lock(&places.folder.join("lock"))?;
    let mut machine =
        if options.no_domain_init { None } else { Some(Machine::open().map_err(Error::Devices)?) };
    let state = places.folder.join("state");
    let log = Log::open(options.detached);
    let server = begin(options, &state, machine.as_mut(), &log)?;
    let listener = listen(&places.socket)?;
    write_pid(options)?;
    let mut daemon = Daemon::new(listener, server, machine, log).map_err(Error::Loop)?;
    daemon.begin_journal(state.clone()).map_err(file_error("write", &state))?;
    tell_ready();
    if options.detached {
        leave_terminal();
    }
    daemon.run().map_err(Error::Loop)
}

/// The store to begin with: what a daemon before this one left, or a new one.
fn begin(
    options: &Options,
    state: &Path,
    mut machine: Option<&mut Machine>,
    log: &Log,
) -> Result<Server, Error> {
    let loaded = state_file::load(state).map_err(file_error("read", state))?;
    let bodies = loaded.as_deref().map(state_file::bodies).unwrap_or_default();
    let mut host = Host;
    let mut server = if bodies.is_empty() {
        let mut server = Server::new();
        server.quotas = options.quotas.clone();
        server
    } else {
        let platform: &mut dyn Platform = match &mut machine {
            Some(machine) => *machine,
            None => &mut host,
        };
        let (mut server, rings) = Restored::read(&bodies).finish(platform);
        if let Some(machine) = &mut machine {
            machine.adopt(&server);
            machine.restore(&mut server, &rings);
        }
        // What was set meanwhile stays, but for what this command line says.
        let default = Quotas::default();
        for quota in Quota::ALL {
            if options.quotas.get(*quota) != default.get(*quota) {
                server.quotas.set(*quota, options.quotas.get(*quota));
            }
        }
        log.line(&format!("carries on, with {} domains", server.domains.len()));
        server
    };
    if let Some(machine) = machine
        && !server.domains.contains_key(&0)
    {
        machine.connect(0, 0, 0).map_err(Error::Dom0)?;
        server.introduced(0, 0, 0);
        machine.adopt(&server);
    }
    if let Some(file) = &options.trace_file {
        server.trace_to(file.clone());
    }
    Ok(server)
}

/// Keeps a second daemon away. The kernel lets go of it when this process ends, however it does.
fn lock(path: &Path) -> Result<File, Error> {
    let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = open.map_err(file_error("open", path))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Error::Running(path.to_owned()))?;
    let write = file.set_len(0).and_then(|()| {
        io::Write::write_all(&mut file, format!("{}\n", std::process::id()).as_bytes())
    });
    write.map_err(file_error("write", path))?;
    Ok(file)
}

fn listen(path: &Path) -> Result<UnixListener, Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(file_error("remove the old", path)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(file_error("bind", path))?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o600))
        .map_err(|errno| file_error("restrict", path)(errno.into()))?;
    Ok(listener)
}

fn write_pid(options: &Options) -> Result<(), Error> {
    let Some(path) = &options.pid_file else { return Ok(()) };
    let text = format!("{}\n", std::process::id());
    std::fs::write(path, text).map_err(file_error("write", path))
}

/// Tells systemd, if it asked.
fn tell_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let sent = match path.to_string_lossy().strip_prefix('@') {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            std::os::unix::net::SocketAddr::from_abstract_name(name)
                .and_then(|address| socket.send_to_addr(b"READY=1\n", &address))
        }
        None => socket.send_to(b"READY=1\n", &path),
    };
    // Whoever waits for it has a limit of its own.
    let _ = sent;
}

/// What the parent left on the standard descriptors goes nowhere from here on.
fn leave_terminal() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
