//! `xendomains`: starts guests when the host starts, and ends them before it ends.
//!
//! Guests are the configurations in `XENDOMAINS_AUTO` (/etc/xen/auto, by habit links), in the order of
//! their names. With `XENDOMAINS_SAVE` guests are saved into that folder in place of being shut down, and
//! come back from there (`XENDOMAINS_RESTORE`). What is in /etc/default/xendomains, or
//! /etc/sysconfig/xendomains, holds.

mod saved;
mod settings;

use crate::cli;
use crate::commands::config::Request;
use crate::domains;
use crate::failure::{Failure, OrFail as _, code};
use crate::format::list::{self, Columns};
use crate::output;
use crate::session::{Globals, Session};
use settings::Settings;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xenlight::life::{self, Request as Ask};

const NAME: &str = "xendomains";
/// How long a guest that has shut down may take to go.
const GOES: Duration = Duration::from_secs(10);

/// Runs it; the exit code.
pub fn run(words: &[String]) -> u8 {
    let mut session = Session::new(Globals::default());
    let settings = Settings::read();
    let result =
        match words.first().map(String::as_str) {
            Some("start") => start(&mut session, &settings),
            Some("stop") => stop(&mut session, &settings),
            Some("restart" | "reload" | "force-reload") => {
                stop(&mut session, &settings).and_then(|()| start(&mut session, &settings))
            }
            Some("status") => status(&mut session),
            _ => Err(Failure::new("usage: xendomains {start|stop|restart|reload|status}")
                .code(code::USAGE)),
        };
    match result {
        Ok(()) => 0,
        Err(failure) => cli::report(NAME, &Globals::default(), &failure),
    }
}

/// The table of `xl list`.
fn status(session: &mut Session) -> Result<(), Failure> {
    let rows = crate::commands::list::rows(session, &[], Columns::default())?;
    output::print(&list::table(&rows, Columns::default()));
    Ok(())
}

/// Restores what was saved, then starts what is linked and does not run, one after the other; goes on
/// after a failure, and tells of all failures at the end.
fn start(session: &mut Session, settings: &Settings) -> Result<(), Failure> {
    let mut failed = Vec::new();
    let saved = settings.save.as_deref().filter(|_| settings.restore);
    for path in saved.map_or_else(|| Ok(Vec::new()), saved::files)? {
        if let Err(failure) = saved::restore_one(session, &path) {
            cli::report(NAME, &Globals::default(), &failure);
            failed.push(path.display().to_string());
        }
    }
    for path in settings.auto.as_deref().map_or_else(|| Ok(Vec::new()), configurations)? {
        if let Err(failure) = start_one(session, settings, &path) {
            cli::report(NAME, &Globals::default(), &failure);
            failed.push(path.display().to_string());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("these guests could not be started: {}", failed.join(", "))))
}

/// The configurations in a folder, by name. Editors' and packages' own files are not meant.
fn configurations(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::caused(format!("cannot read {}", folder.display()), &error));
        }
    };
    let odd = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let ends = ["~", ".bak", ".rpmsave", ".rpmnew", ".dpkg-old", ".dpkg-new", ".dpkg-dist"];
        name.starts_with('.') || name.starts_with('#') || ends.iter().any(|end| name.ends_with(end))
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file() && !odd(path))
        .collect();
    paths.sort();
    Ok(paths)
}

/// The name of a configuration's guest.
fn name_in(path: &Path) -> Result<String, Failure> {
    let request = Request::from_words(Some(&path.to_string_lossy()), &[])?;
    Ok(request.load(false, true)?.config.name)
}

fn start_one(session: &mut Session, settings: &Settings, path: &Path) -> Result<(), Failure> {
    let name = name_in(path)?;
    if domains::find_name(session, &name)?.0.is_some() {
        output::print(&format!("Xen domain {name} already running\n"));
        return Ok(());
    }
    if let Some(file) = settings.save.as_ref().map(|folder| folder.join(&name))
        && settings.restore
        && file.exists()
    {
        let what = format!("{name} is not started anew: {} could not be restored", file.display());
        return Err(Failure::new(what).help("xl restore it by hand, or remove it to start afresh"));
    }
    let file = path.to_string_lossy();
    output::print(&format!("Starting Xen domain {name} (from {file})\n"));
    own_command(&["create", "--quiet", "--defconfig", &file], &format!("cannot start {name}"))
}

/// Runs this program as `xl`, in a process of its own: what goes wrong with one guest does not concern the
/// next.
fn own_command(words: &[&str], failed: &str) -> Result<(), Failure> {
    let program = std::env::current_exe().or_fail(|| failed.to_owned())?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    let status = command.status().or_fail(|| failed.to_owned())?;
    if status.success() { Ok(()) } else { Err(Failure::new(failed)) }
}

/// Ends all guests: saves them, or asks all at once, or one after the other, and waits as long as is set.
fn stop(session: &mut Session, settings: &Settings) -> Result<(), Failure> {
    for name in &settings.unsupported {
        output::error(&format!("xendomains: warning: {name} is not supported yet\n"));
    }
    let mut guests: Vec<u16> = domains::list(session)?
        .iter()
        .filter(|info| info.domid != 0 && !info.dying && info.shutdown.is_none())
        .map(|info| info.domid)
        .collect();
    if settings.auto_only {
        let folder = settings.auto.as_deref().map_or_else(|| Ok(Vec::new()), configurations)?;
        let names: Vec<String> = folder.iter().filter_map(|path| name_in(path).ok()).collect();
        guests.retain(|domid| {
            let name = session.context().ok().and_then(|cx| cx.name(*domid).ok().flatten());
            name.is_some_and(|name| names.contains(&name))
        });
    }
    if let Some(folder) = &settings.save {
        guests.retain(|domid| match saved::save_one(session, folder, *domid) {
            Ok(()) => false,
            Err(failure) => {
                // It is shut down in its place.
                cli::report(NAME, &Globals::default(), &failure);
                true
            }
        });
    }
    let mut left = Vec::new();
    let groups: Vec<&[u16]> =
        if settings.parallel { vec![&guests] } else { guests.chunks(1).collect() };
    for group in groups {
        left.extend(stop_group(session, group, settings)?);
    }
    if left.is_empty() {
        return Ok(());
    }
    let numbers: Vec<_> = left.iter().map(u16::to_string).collect();
    Err(Failure::new(format!(
        "these domains still run after {} s: {}",
        settings.wait.as_secs(),
        numbers.join(", ")
    ))
    .help(
        "xl destroy ends a domain without asking; XENDOMAINS_STOP_MAXWAIT sets how long is waited",
    ))
}

/// Shuts down some guests; those that still run after the limit.
fn stop_group(
    session: &mut Session,
    group: &[u16],
    settings: &Settings,
) -> Result<Vec<u16>, Failure> {
    let mut asked = Vec::new();
    for domid in group {
        output::print(&format!("Shutting down Xen domain {domid}\n"));
        match life::ask(session.context()?, *domid, Ask::Poweroff, None) {
            Ok(()) => asked.push(*domid),
            Err(life::LifeError::NoDomain { .. }) => {}
            Err(error) => {
                let what = format!("cannot ask domain {domid} to shut down");
                cli::report(NAME, &Globals::default(), &Failure::caused(what, &error));
            }
        }
    }
    let end = Instant::now() + settings.wait;
    let mut left = Vec::new();
    for domid in asked {
        let limit = end.saturating_duration_since(Instant::now());
        let context = session.context()?;
        if life::wait_for_shutdown(context, domid, Some(limit)).is_err() {
            left.push(domid);
            continue;
        }
        // Its name is free when it is gone. One that its configuration keeps does not go.
        let _ = life::wait_until_gone(context, domid, Some(GOES));
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_come_by_name_and_leftovers_of_editors_do_not_come() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["20-b.cfg", "10-a.cfg", "10-a.cfg~", ".hidden", "x.dpkg-old", "#y#"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let found = configurations(folder.path()).unwrap();
        let names: Vec<_> =
            found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["10-a.cfg", "20-b.cfg"]);
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing() {
        assert!(configurations(Path::new("/nosuch/folder")).unwrap().is_empty());
    }
}
