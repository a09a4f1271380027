//! `create`, `config-update`.

use super::{config, console};
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _, code};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use std::process::Child;
use std::time::Duration;
use xenlight::create::{Created, Options};
use xenlight::monitor::Launch;
use xenlight::{create as birth, life, monitor, userdata};
use xl_config::DomainConfig;

/// How long the console's client is waited for until it is attached.
const ATTACHED: Duration = Duration::from_secs(5);

/// `xl create`.
pub fn create(session: &mut Session, parsed: &Parsed) -> Outcome {
    no_viewer(parsed)?;
    let request = config::Request::of(parsed)?;
    let quiet = parsed.flag("quiet");
    if !quiet {
        session.say(&format!("Parsing config from {}", request.file));
    }
    let loaded = request.load(parsed.flag("lax"), quiet)?;
    if parsed.flag("dryrun") || session.globals.dry_run {
        output::print(&config::shown(session, loaded.config)?);
        return Ok(0);
    }
    let host = crate::session::host_settings(&session.globals)?;
    let mut loaded = loaded;
    host.apply(&mut loaded.config);
    if parsed.flag("d") {
        output::error(&loaded.config.to_json());
    }
    loaded.check_host(quiet)?;
    start(session, parsed, &Start::of(parsed), |session, options| {
        let context = session.context()?;
        if parsed.flag("ignore-global-affinity-masks") {
            (context.host.cpumask, context.host.cpumask_pv) = (None, None);
        }
        let name = &loaded.config.name;
        let created = birth::create(context, &loaded.config, options)
            .or_fail(|| format!("cannot create {name}"))
            .map_err(|failure| failure.code(code::CONFIG))?;
        Ok(created)
    })
}

/// Options that need a virtual frame buffer.
pub fn no_viewer(parsed: &Parsed) -> Result<(), Failure> {
    if parsed.flag("vncviewer") || parsed.flag("vncviewer-autopass") {
        return Err(Failure::new("-V and -A are not supported yet: they need a frame buffer"));
    }
    Ok(())
}

/// How a new or restored domain is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    console: bool,
    foreground: bool,
    paused: bool,
    unwatched: bool,
    /// Without the line that says who watches.
    quiet: bool,
}

impl Start {
    /// What the options of `create` say.
    fn of(parsed: &Parsed) -> Self {
        Self {
            console: parsed.flag("c"),
            foreground: parsed.flag("F"),
            paused: parsed.flag("p"),
            unwatched: parsed.flag("e"),
            quiet: parsed.flag("q"),
        }
    }

    /// What the options of `restore` say.
    pub fn restored(parsed: &Parsed) -> Self {
        Self {
            console: false,
            foreground: false,
            paused: parsed.flag("p"),
            unwatched: parsed.flag("e"),
            quiet: false,
        }
    }
}

/// Lets `make` make a domain, and does around it what the options say: console, monitor, pause.
pub fn start(
    session: &mut Session,
    parsed: &Parsed,
    how: &Start,
    make: impl FnOnce(&mut Session, &Options) -> Result<Created, Failure>,
) -> Outcome {
    let watcher = if how.foreground || how.unwatched {
        None
    } else {
        Some(Launch::own().or_fail(|| "cannot find this program's own file".to_owned())?)
    };
    let options = Options {
        // With a console the domain waits until that is attached: nothing it says is lost.
        paused: how.paused || how.console,
        monitor: watcher,
        ..Options::default()
    };
    let Created { domid, monitor, notes } = make(session, &options)?;
    if let Some(process) = monitor
        && !how.quiet
    {
        output::error(&format!("Daemon running with PID {process}\n"));
    }
    if session.globals.verbose > 0 || parsed.flag("d") {
        for note in notes {
            session.say(&note);
        }
        session.say(&format!("domain {domid} is made"));
    }
    let client = if how.console { Some(attach(domid)?) } else { None };
    if how.console && !how.paused {
        let context = session.context()?;
        life::unpause(context, domid).or_fail(|| format!("cannot start domain {domid}"))?;
    }
    if how.foreground {
        watch(session, domid, &mut || {})?;
    }
    match client {
        Some(mut client) => {
            let status = client.wait().or_fail(|| "cannot wait for the console".to_owned())?;
            Ok(if status.success() { 0 } else { code::FAILED })
        }
        None => Ok(0),
    }
}

/// Starts the console's client, and waits until it is attached, or a while.
fn attach(domid: u16) -> Result<Child, Failure> {
    let failed = || format!("cannot attach to the console of domain {domid}");
    let (ours, theirs) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).or_fail(failed)?;
    // The client gets the other end under its own number.
    let given = rustix::io::dup(&theirs).or_fail(failed)?;
    rustix::io::fcntl_setfd(&given, rustix::io::FdFlags::empty()).or_fail(failed)?;
    let mut client = console::client(domid, "pv", "0", None);
    client.arg("--start-notify-fd").arg(std::os::fd::AsRawFd::as_raw_fd(&given).to_string());
    let child = client.spawn().or_fail(failed)?;
    drop((given, theirs));
    wait_readable(&ours);
    Ok(child)
}

fn wait_readable(fd: &impl std::os::fd::AsFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec::try_from(ATTACHED).unwrap_or(Timespec { tv_sec: 5, tv_nsec: 0 });
    // Attached, ended, or too slow: the domain is started in any case.
    let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&limit));
}

/// Is the monitor itself, in the foreground.
fn watch(session: &mut Session, domid: u16, ready: &mut dyn FnMut()) -> Result<(), Failure> {
    let globals = session.globals;
    let settings = crate::session::host_settings(&globals)?;
    let mut open = || xenlight::Context::open(settings.clone());
    let mut say = |line: &dyn std::fmt::Display| output::print(&format!("{line}\n"));
    monitor::run(&mut open, domid, &mut say, ready)
        .or_fail(|| format!("cannot watch domain {domid} any longer"))
}

/// `xl monitor`: a session of its own, for one domain; what it says is the log.
pub fn watcher(session: &mut Session, parsed: &Parsed) -> Outcome {
    let text = parsed.value("domid").unwrap_or_else(|| parsed.operand(0));
    let domid = domains::as_number(text)
        .ok_or_else(|| Failure::new(format!("monitor needs a domain's number, not {text}")))?;
    // It fails where this is the leader of a session already, which does as well.
    let _ = rustix::process::setsid();
    watch(session, domid, &mut monitor::watching)?;
    Ok(0)
}

/// `xl config-update`.
pub fn config_update(session: &mut Session, parsed: &Parsed) -> Outcome {
    session.say(
        "WARNING: xl now has better capability to manage domain configuration, avoid using this \
         command when possible",
    );
    let Some((domain, rest)) = parsed.operands.split_first() else {
        return Err(Failure::new("xl config-update requires a domain argument").code(code::USAGE));
    };
    let domid = domains::find(session, domain)?;
    let request = config::Request::from_words(parsed.value("defconfig"), rest)
        .map_err(|failure| failure.code(code::FAILED))?;
    let quiet = parsed.flag("quiet");
    if !quiet {
        session.say(&format!("Parsing config from {}", request.file));
    }
    let loaded = request.load(false, quiet)?;
    if session.globals.dry_run {
        output::print(&config::shown(session, loaded.config)?);
        return Ok(0);
    }
    session.say(&format!("setting dom{domid} configuration"));
    let context = session.context()?;
    let mut new: DomainConfig = loaded.config;
    context.host.apply(&mut new);
    let failed = || format!("failed to update configuration of domain {domid}");
    let old = userdata::load(context, domid).or_fail(failed)?;
    // The guest stays the same guest.
    if let Some(old) = old {
        new.uuid = old.uuid;
    }
    userdata::store(context, domid, &new).or_fail(failed)?;
    Ok(0)
}
