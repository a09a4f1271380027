//! Hotplug in the backend's domain: scripts, with a limit, and what they said when they fail. What needs
//! no script is done by the devices' modules themselves.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How long a script may take.
pub const LIMIT: Duration = Duration::from_secs(40);
/// What of a script's last words is kept.
const WORDS_MAX: u64 = 4096;

/// A script to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Path.
    pub path: PathBuf,
    /// Arguments.
    pub args: Vec<String>,
    /// Variables added to this process's own.
    pub env: Vec<(&'static str, String)>,
}

/// Why a script did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It cannot be started.
    #[error("cannot run the hotplug script {}", path.display())]
    Start {
        /// The script.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("hotplug script {} {} {how}{}", path.display(), args.join(" "), quoted(said))]
    Failed {
        /// The script.
        path: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// How it ended.
        how: String,
        /// What it wrote to its standard error.
        said: String,
    },
    /// It did not end in time and was killed.
    #[error("hotplug script {} {} did not end within {} s and was killed{}", path.display(), args.join(" "), limit.as_secs(), quoted(said))]
    TimedOut {
        /// The script.
        path: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// The limit.
        limit: Duration,
        /// What it wrote to its standard error.
        said: String,
    },
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

/// The path of a script: names without a slash are looked for in the scripts' folder.
pub fn script_path(folder: &Path, name: &str) -> PathBuf {
    if name.contains('/') { PathBuf::from(name) } else { folder.join(name) }
}

/// Runs a script to its end.
///
/// # Errors
/// [`ScriptError`], with what the script wrote to its standard error.
pub fn run(script: &Script, limit: Duration) -> Result<(), ScriptError> {
    let start = |source| ScriptError::Start { path: script.path.clone(), source };
    let mut words: File =
        memfd_create("hotplug", MemfdFlags::CLOEXEC).map_err(|errno| start(errno.into()))?.into();
    let stderr = words.try_clone().map_err(start)?;
    let mut command = Command::new(&script.path);
    command.args(&script.args).envs(script.env.iter().map(|(name, value)| (name, value)));
    // A group of its own, so that what it started ends with it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).process_group(0);
    let mut child = command.spawn().map_err(start)?;
    let ended = end_of(&mut child, limit).map_err(start)?;
    let (path, args) = (script.path.clone(), script.args.clone());
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            Err(ScriptError::Failed { path, args, how: how(status), said: said(&mut words) })
        }
        None => Err(ScriptError::TimedOut { path, args, limit, said: said(&mut words) }),
    }
}

/// Waits for a child's end; kills its group when the limit has passed.
fn end_of(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let time = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let ready = loop {
        match poll(&mut fds, Some(&time)) {
            Ok(ready) => break ready,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    if ready == 0 {
        // It may have ended just now; the group may be gone.
        let _ = kill_process_group(pid, Signal::KILL);
        child.wait()?;
        return Ok(None);
    }
    child.wait().map(Some)
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with error status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

/// The last words, bounded, on one line.
fn said(words: &mut File) -> String {
    let mut text = Vec::new();
    let end = words.seek(SeekFrom::End(0)).unwrap_or(0);
    let from = SeekFrom::Start(end.saturating_sub(WORDS_MAX));
    if words.seek(from).and_then(|_| words.take(WORDS_MAX).read_to_end(&mut text)).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        Script {
            path: "/bin/sh".into(),
            args: vec!["-c".to_owned(), text.to_owned()],
            env: vec![("XENBUS_TYPE", "vbd".to_owned())],
        }
    }

    #[test]
    fn a_script_gets_its_environment() {
        run(&script("test \"$XENBUS_TYPE\" = vbd"), LIMIT).unwrap();
    }

    #[test]
    fn a_script_that_fails_is_quoted() {
        let error = run(&script("echo no bridge >&2; exit 3"), LIMIT).unwrap_err().to_string();
        assert!(error.ends_with("exited with error status 3: no bridge"), "{error}");
    }

    #[test]
    fn a_script_that_hangs_is_killed_with_what_it_started() {
        let error = run(&script("echo wait >&2; sleep 600 & wait"), Duration::ZERO).unwrap_err();
        assert!(matches!(error, ScriptError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_script_that_is_not_there_is_named() {
        let missing = Script { path: "/nowhere/vif".into(), args: vec![], env: vec![] };
        let error = run(&missing, LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "cannot run the hotplug script /nowhere/vif");
    }

    #[test]
    fn names_are_found_in_the_folder_and_paths_are_taken_as_they_are() {
        let folder = Path::new("/etc/xen/scripts");
        assert_eq!(script_path(folder, "vif-nat"), folder.join("vif-nat"));
        assert_eq!(script_path(folder, "/opt/x"), Path::new("/opt/x"));
    }
}
