//! Other programs: run with a time limit, and with an error that says what was waited for.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Waits for `child` at most `limit`; ends it and fails when the time is up.
pub fn wait(child: &mut Child, limit: Duration, what: &str) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("wait for {what}"))? {
            return Ok(status);
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{what}: not finished after {} s, ended", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// Runs a program with this terminal's output; fails unless it succeeds.
pub fn run(command: &mut Command, limit: Duration, what: &str) -> Result<()> {
    let mut child = spawn(command, what)?;
    let status = wait(&mut child, limit, what)?;
    if !status.success() {
        bail!("{what}: failed ({status})");
    }
    Ok(())
}

/// Runs a program with its output going to `log`; a failure shows the end of it.
pub fn run_logged(command: &mut Command, log: &Path, limit: Duration, what: &str) -> Result<()> {
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let copy = file.try_clone().context("duplicate a log handle")?;
    command.stdin(Stdio::null()).stdout(file).stderr(copy);
    let mut child = spawn(command, what)?;
    let status =
        wait(&mut child, limit, what).with_context(|| format!("log: {}", log.display()))?;
    if !status.success() {
        bail!("{what}: failed ({status}); its last words, from {}:\n{}", log.display(), tail(log));
    }
    Ok(())
}

/// Runs a program and returns what it printed on its standard output.
pub fn capture(command: &mut Command, limit: Duration, what: &str) -> Result<String> {
    let bytes = capture_bytes(command, limit, what)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Like [`capture`], for output that is not text.
pub fn capture_bytes(command: &mut Command, limit: Duration, what: &str) -> Result<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command, what)?;
    let out = collect(child.stdout.take());
    let err = collect(child.stderr.take());
    let status = wait(&mut child, limit, what)?;
    let out = out.join().unwrap_or_default();
    let err = err.join().unwrap_or_default();
    if !status.success() {
        bail!("{what}: failed ({status}): {}", String::from_utf8_lossy(&err).trim());
    }
    Ok(out)
}

/// Whether a program of that name is found on the search path.
pub fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn spawn(command: &mut Command, what: &str) -> Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().with_context(|| format!("{what}: start {program}"))
}

fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A broken pipe ends the output; the exit status tells the rest.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
