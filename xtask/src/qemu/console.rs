//! Talks to a running machine over its serial console: wait for a line, send text, look at the
//! end. Everything that is seen goes to a log with the seconds since the start.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::Machine;

/// Seen on the console, these end a wait at once.
const FATAL: &str = r"Panic on CPU|Kernel panic|HYPERVISOR PANIC|panicked at|BUG: |double fault|Hardware Dom0 (crashed|halted)";
/// Of these, the hypervisor's own: for a test whose guest may crash.
pub const HYPERVISOR_FATAL: &str = r"Panic on CPU|HYPERVISOR PANIC|panicked at";
/// Bytes sent at once: the depth of a 16550's receive queue.
const PIECE: usize = 16;
/// How long the console must be quiet for its text to be whole.
const SETTLE: Duration = Duration::from_millis(200);
/// Time for the machine to take what was sent.
const PIECE_TIME: Duration = Duration::from_millis(25);
/// Bytes that are looked at together when more came than was looked at yet: each look is at all that
/// waits for its match.
const BATCH: usize = 64 << 10;
/// How much of the console an error shows.
const TAIL_LINES: usize = 25;

/// A running machine and its console. Dropping it ends the machine.
pub struct Console {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    open: bool,
    log: File,
    log_path: PathBuf,
    start: Instant,
    /// Received, not yet matched.
    pending: String,
    /// How far `pending` was searched for fatal lines.
    judged: usize,
    filter: Filter,
    /// The log's unfinished line.
    line: String,
    tail: VecDeque<String>,
    fatal: Option<Regex>,
    echo: bool,
}

impl Console {
    /// Starts the machine; what it says is written to `log`.
    pub fn start(machine: &Machine, log: &Path) -> Result<Self> {
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("create {}", folder.display()))?;
        }
        let mut file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let mut command = bound(machine.command("stdio")?);
        writeln!(file, "{command:?}").context("write the log")?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(file.try_clone().context("duplicate the log's handle")?);
        let mut child = command.spawn().context("start QEMU")?;
        let input = child.stdin.take();
        let mut pipe = child.stdout.take().context("QEMU without an output")?;
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut block) {
                if send.send(block[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            input,
            output,
            open: true,
            log: file,
            log_path: log.to_path_buf(),
            start: Instant::now(),
            pending: String::new(),
            judged: 0,
            filter: Filter::default(),
            line: String::new(),
            tail: VecDeque::new(),
            fatal: Some(Regex::new(FATAL).context("pattern of fatal lines")?),
            echo: false,
        })
    }

    /// Shows the console on this terminal, too.
    pub fn echo(&mut self, on: bool) {
        self.echo = on;
    }

    /// Which lines end a wait at once, in place of the usual ones; none for a test that expects
    /// a crash.
    pub fn fatal_lines(&mut self, pattern: Option<&str>) -> Result<()> {
        self.fatal = pattern.map(Regex::new).transpose().context("pattern of fatal lines")?;
        Ok(())
    }

    /// Waits for `pattern` in what has not been matched yet and answers the match and its groups;
    /// what came before is passed over.
    pub fn expect(&mut self, pattern: &str, limit: Duration) -> Result<Vec<String>> {
        let regex = Regex::new(pattern).with_context(|| format!("pattern {pattern:?}"))?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = regex.captures(&self.pending) {
                let end = found.get(0).map_or(0, |whole| whole.end());
                // What ends where the text ends may be half a word: wait until the console is quiet.
                let so_far = self.pending.len();
                let more = end == so_far && Instant::now() < deadline && self.receive(SETTLE);
                if more && self.pending.len() > so_far {
                    continue;
                }
                let Some(found) = regex.captures(&self.pending) else { continue };
                let groups = found
                    .iter()
                    .map(|group| group.map_or_else(String::new, |text| text.as_str().to_owned()))
                    .collect();
                self.pending.drain(..end);
                self.judged = self.judged.saturating_sub(end);
                return Ok(groups);
            }
            self.judge().with_context(|| format!("while waiting for {pattern:?}"))?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("waited {} s in vain for {pattern:?}{}", limit.as_secs(), self.ending());
            }
            if !self.receive(left) {
                bail!("the machine ended while {pattern:?} was waited for{}", self.ending());
            }
        }
    }

    /// Sends text as if typed: in small pieces, since an emulated UART and its drivers lose what
    /// comes faster than they read.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let input = self.input.as_mut().context("the console is closed")?;
        for piece in text.as_bytes().chunks(PIECE) {
            input.write_all(piece).and_then(|()| input.flush()).context("send to the console")?;
            std::thread::sleep(PIECE_TIME);
        }
        Ok(())
    }

    /// Runs a command in the shell whose prompt ends in `# ` and answers what it printed; fails
    /// when the command does.
    pub fn shell(&mut self, line: &str, limit: Duration) -> Result<String> {
        let (output, code) = self.shell_code(line, limit)?;
        if code != 0 {
            bail!("`{line}` ended with code {code} and said:\n{output}{}", self.ending());
        }
        Ok(output)
    }

    /// Like [`Self::shell`], with the exit code answered, too.
    pub fn shell_code(&mut self, line: &str, limit: Duration) -> Result<(String, i32)> {
        // The echo of the typed line has no digit after "code=", so that only the result matches.
        self.send(&format!("echo begin=$((0)); {line}; echo code=$?.\n"))?;
        self.expect(r"begin=0\n", limit).with_context(|| format!("start of `{line}`"))?;
        let found = self
            .expect(r"(?s)(.*?)code=([0-9]+)\.\n", limit)
            .with_context(|| format!("end of `{line}`"))?;
        let code = found[2].parse().with_context(|| format!("exit code {:?}", found[2]))?;
        Ok((found[1].clone(), code))
    }

    /// Back to dom0's prompt after something went wrong: out of a guest's console, out of what
    /// still runs.
    pub fn recover(&mut self) -> Result<()> {
        self.send("\x1d")?;
        self.send("\x03")?;
        let (_, code) = self.shell_code("true", Duration::from_secs(20))?;
        anyhow::ensure!(code == 0, "the shell is not itself");
        Ok(())
    }

    /// Waits until the machine ends by itself.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.input = None;
        let deadline = Instant::now() + limit;
        while self.open {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "waited {} s in vain for the machine to power off{}",
                    limit.as_secs(),
                    self.ending()
                );
            }
            self.receive(left);
            self.judge().context("while waiting for the machine to power off")?;
        }
        crate::process::wait(&mut self.child, Duration::from_secs(10), "end of QEMU")
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Fails when a fatal line is among what came in.
    fn judge(&mut self) -> Result<()> {
        let Some(fatal) = &self.fatal else { return Ok(()) };
        // A pattern may straddle two pieces: lines are searched whole, from the last line's start.
        let start = self.pending[..self.judged].rfind('\n').map_or(0, |at| at + 1);
        if let Some(found) = fatal.find(&self.pending[start..]) {
            let said = found.as_str().to_owned();
            // What follows explains it: a trace, registers.
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline && self.receive(Duration::from_millis(500)) {}
            bail!("the console says {said:?}{}", self.ending());
        }
        self.judged = self.pending.len();
        Ok(())
    }

    /// Takes in what there is of output, and waits for some if there is none; false when the machine has
    /// closed its console, true also when the time is up.
    fn receive(&mut self, limit: Duration) -> bool {
        match self.output.recv_timeout(limit) {
            Ok(mut bytes) => {
                while bytes.len() < BATCH
                    && let Ok(more) = self.output.try_recv()
                {
                    bytes.extend(more);
                }
                let text = self.filter.text(&bytes);
                self.note(&text);
                self.pending.push_str(&text);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => {
                self.open = false;
                false
            }
        }
    }

    fn note(&mut self, text: &str) {
        if self.echo {
            print!("{text}");
            let _ = std::io::stdout().flush();
        }
        self.line.push_str(text);
        while let Some(at) = self.line.find('\n') {
            let line: String = self.line.drain(..=at).collect();
            self.finish_line(line.trim_end());
        }
    }

    fn finish_line(&mut self, line: &str) {
        // A log that cannot be written must not fail the test that it tells of.
        let _ = writeln!(self.log, "[{:8.2}] {line}", self.start.elapsed().as_secs_f64());
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    /// The end of the console and where the whole lies, for an error.
    fn ending(&mut self) -> String {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.finish_line(&rest);
        }
        let lines: Vec<String> = self.tail.iter().map(|line| format!("    | {line}")).collect();
        format!(
            "; the console's end (all of it: {}):\n{}",
            self.log_path.display(),
            lines.join("\n")
        )
    }
}

/// The same command, ended by the kernel when this program is: a machine must not outlive a
/// killed test run.
fn bound(command: Command) -> Command {
    if !crate::process::exists("setpriv") {
        return command;
    }
    let mut outer = Command::new("setpriv");
    outer.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    outer
}

impl Drop for Console {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.finish_line(&rest);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Turns console bytes into text: no carriage returns, no escape sequences, which may be cut
/// anywhere between two pieces.
#[derive(Default)]
struct Filter {
    state: Escape,
    partial: Vec<u8>,
}

#[derive(Default, PartialEq)]
enum Escape {
    #[default]
    None,
    Started,
    Control,
}

impl Filter {
    fn text(&mut self, bytes: &[u8]) -> String {
        for &byte in bytes {
            match (&self.state, byte) {
                (Escape::None, 0x1b) => self.state = Escape::Started,
                (Escape::None, b'\r' | 0) => {}
                (Escape::None, _) => self.partial.push(byte),
                (Escape::Started, b'[') => self.state = Escape::Control,
                (Escape::Started, _) | (Escape::Control, 0x40..=0x7e) => self.state = Escape::None,
                (Escape::Control, _) => {}
            }
        }
        // A character cut in two waits for its rest.
        let whole = match std::str::from_utf8(&self.partial) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.partial.len(),
        };
        let rest = self.partial.split_off(whole);
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial = rest;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_vanish_even_when_cut_in_two() {
        let mut filter = Filter::default();
        assert_eq!(filter.text(b"a\x1b[6"), "a");
        assert_eq!(filter.text(b"nb\r\n"), "b\n");
    }

    #[test]
    fn a_character_cut_in_two_is_whole_in_the_end() {
        let mut filter = Filter::default();
        let bytes = "é".as_bytes();
        assert_eq!(filter.text(&bytes[..1]), "");
        assert_eq!(filter.text(&bytes[1..]), "é");
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_rest() {
        assert!(Filter::default().text(b"\xff\xfeok\n").ends_with("ok\n"));
    }
}
