//! CONTROL: commands to the daemon itself, with the answers of Xen's.

use crate::journal::Entry;
use crate::payload;
use crate::quota::Quota;
use crate::requests::Request;
use crate::server::{Answer, Server};
use crate::view::Refusal;
use crate::watch::Connection;
use std::fmt::Write as _;
use xenstore::wire::Header;
use xenstore::{Errno, MessageType};

type Result = std::result::Result<Answer, Refusal>;

/// Bytes of a request's payload that a trace shows at most.
const TRACED_MAX: usize = 200;
/// Lines of trace that are kept until the daemon writes them.
const LINES_MAX: usize = 10_000;

/// What is traced, and where to.
#[derive(Default)]
pub struct Trace {
    /// Requests and answers.
    pub io: bool,
    /// The file, once one was named.
    pub file: Option<String>,
    /// Lines not written yet.
    pub lines: Vec<String>,
    /// A report for a file, not written yet.
    pub report: Option<(String, String)>,
}

const COMMANDS: &[(&str, &str)] = &[
    ("check", ""),
    ("log", "[on|off|+<switch>|-<switch>]"),
    ("logfile", "<file>"),
    ("memreport", "[<file>]"),
    ("print", "<string>"),
    ("quota", "[set <name> <val>|<domid>|max [-r]]"),
    ("quota-soft", "[set <name> <val>]"),
    ("refusals", ""),
    ("help", ""),
];

fn text(words: &str) -> Result {
    let mut bytes = words.as_bytes().to_vec();
    bytes.push(0);
    Ok(Answer::Bytes(bytes))
}

impl Server {
    /// A command to the daemon.
    pub(crate) fn control(&mut self, request: Request<'_>) -> Result {
        if !request.by.is_privileged() {
            return Err(Errno::Access.into());
        }
        let words: Vec<String> = payload::all(request.payload)
            .into_iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match *words.as_slice() {
            ["check"] => self.control_check(),
            ["help"] => {
                let lines = COMMANDS.iter().map(|(name, rest)| format!("{name:<15} {rest}\n"));
                text(&lines.collect::<String>())
            }
            ["log"] => {
                let io = if self.trace.io { "on" } else { "off" };
                text(&format!("Log switch settings:\n{:<8}: {io}\n", "io"))
            }
            ["log", "on" | "+io"] => self.set_trace(true),
            ["log", "off" | "-io"] => self.set_trace(false),
            ["logfile", file] => {
                self.trace.file = Some(file.to_owned());
                Ok(Answer::Done)
            }
            ["memreport"] => {
                let report = self.memory_report();
                report.lines().for_each(|line| self.say(line.to_owned()));
                Ok(Answer::Done)
            }
            ["memreport", file] => {
                self.trace.report = Some((file.to_owned(), self.memory_report()));
                Ok(Answer::Done)
            }
            ["print", line] => {
                self.say(format!("control: {line}"));
                Ok(Answer::Done)
            }
            ["quota", ref rest @ ..] => self.control_quota(rest),
            ["quota-soft", ref rest @ ..] => self.control_soft(rest),
            ["refusals"] => {
                let lines = self.refusals.iter();
                let lines = lines.map(|(domid, quota, count)| {
                    format!("domain {domid} {:<17}: {count}\n", quota.name())
                });
                let lines = lines.collect::<String>();
                text(&lines)
            }
            // A restart takes its place: the state is in the journal at any time.
            ["live-update", ..] => {
                text("live-update is not implemented: restart the daemon, its state is kept")
            }
            _ => Err(Errno::Invalid.into()),
        }
    }

    fn set_trace(&mut self, on: bool) -> Result {
        self.trace.io = on;
        Ok(Answer::Done)
    }

    /// Compares what is counted with what is there.
    fn control_check(&mut self) -> Result {
        let counted = self.holdings.clone();
        let mentioned = self.mentioned.clone();
        self.count_holdings();
        self.mentioned.extend(mentioned);
        if counted != self.holdings {
            self.say("check: what domains hold was counted wrongly, and is right now".to_owned());
        }
        Ok(Answer::Done)
    }

    fn control_quota(&mut self, rest: &[&str]) -> Result {
        match *rest {
            [] => {
                let mut answer = "Quota settings:\n".to_owned();
                for quota in Quota::ALL {
                    let limit = self.quotas.get(*quota);
                    let _ =
                        writeln!(answer, "{:<17}: {limit:>8} {}", quota.name(), quota.meaning());
                }
                text(&answer)
            }
            ["set", name, limit] => {
                let quota = Quota::from_name(name).ok_or(Errno::Invalid)?;
                let limit: u64 = payload::number(limit.as_bytes())?;
                self.quotas.set(quota, limit);
                self.journal.add(&Entry::Quota { name: quota.name(), soft: false, limit });
                Ok(Answer::Done)
            }
            ["max"] => self.control_most(),
            ["max", "-r"] => {
                let answer = self.control_most();
                self.most.clear();
                answer
            }
            [domid] if domid.starts_with(|first: char| first.is_ascii_digit()) => {
                self.control_usage(payload::number(domid.as_bytes())?)
            }
            _ => Err(Errno::Invalid.into()),
        }
    }

    fn control_soft(&mut self, rest: &[&str]) -> Result {
        match *rest {
            [] => {
                let limit = self.quotas.soft_memory;
                let meaning = "Total Xenstore memory per domain (warning level)";
                text(&format!("Quota settings:\n{:<17}: {limit:>8} {meaning}\n", "memory"))
            }
            ["set", "memory", limit] => {
                let limit: u64 = payload::number(limit.as_bytes())?;
                self.quotas.soft_memory = limit;
                self.journal.add(&Entry::Quota { name: "memory", soft: true, limit });
                Ok(Answer::Done)
            }
            _ => Err(Errno::Invalid.into()),
        }
    }

    /// What a domain uses now of what is counted.
    pub(crate) fn usage(&self, connection: Connection) -> Vec<(Quota, u64)> {
        let Some(client) = self.clients.get(&connection) else { return Vec::new() };
        let nodes = self.holdings.get(client.subject.domid).nodes;
        vec![
            (Quota::Nodes, nodes.max(0).unsigned_abs()),
            (Quota::Watches, self.watches.of(connection).len() as u64),
            (Quota::Outstanding, client.outbox.answers() as u64),
            (Quota::Transactions, client.transactions.len() as u64),
        ]
    }

    /// Keeps the most that a domain used of each.
    pub(crate) fn note_usage(&mut self, connection: Connection) {
        let used = self.usage(connection);
        let Some(client) = self.clients.get_mut(&connection) else { return };
        let privileged = client.subject.is_privileged();
        for (quota, used) in used {
            let own = client.most.entry(quota).or_default();
            *own = used.max(*own);
            if !privileged {
                let all = self.most.entry(quota).or_default();
                *all = used.max(*all);
            }
        }
    }

    fn control_usage(&self, domid: u16) -> Result {
        let domain = self.domains.get(&domid).ok_or(Errno::NotFound)?;
        let client = self.clients.get(&domain.connection).ok_or(Errno::NotFound)?;
        let mut used = self.usage(domain.connection);
        used.push((Quota::Memory, self.memory(domain.connection)));
        let mut answer = format!("Domain {domid}:\n");
        for quota in Quota::ALL {
            let now = used.iter().find(|(of, _)| of == quota).map_or(0, |(_, now)| *now);
            let most = client.most.get(quota).copied().unwrap_or(0).max(now);
            let _ = writeln!(answer, "{:<17}: {now:>8} (max {most:>8})", quota.name());
        }
        text(&answer)
    }

    fn control_most(&self) -> Result {
        let mut answer = "Max. seen accounting values:\n".to_owned();
        for quota in Quota::ALL {
            let most = self.most.get(quota).copied().unwrap_or(0);
            let _ = writeln!(answer, "{:<17}: {most:>8}", quota.name());
        }
        text(&answer)
    }

    fn memory_report(&self) -> String {
        let mut report = format!(
            "clients {}, domains {}, generation {}, work {}\n",
            self.clients.len(),
            self.domains.len(),
            self.tree.clock(),
            self.work
        );
        for domid in self.holdings.domains() {
            let held = self.holdings.get(domid);
            let _ = writeln!(report, "domain {domid}: {} nodes, {} bytes", held.nodes, held.bytes);
        }
        for (connection, client) in &self.clients {
            let _ = writeln!(
                report,
                "client {}: domain {}, {} watches, {} transactions, {} bytes unread",
                connection.0,
                client.subject.domid,
                self.watches.of(*connection).len(),
                client.transactions.len(),
                client.outbox.bytes()
            );
        }
        report
    }

    pub(crate) fn trace_request(&mut self, from: Connection, header: &Header, payload: &[u8]) {
        if self.trace.io {
            let shown = payload.get(..TRACED_MAX).unwrap_or(payload);
            let words = String::from_utf8_lossy(shown).replace('\0', " ");
            self.trace_line(from, "IN", header, words.trim_end());
        }
    }

    pub(crate) fn trace_answer(&mut self, to: Connection, header: &Header, errno: Option<Errno>) {
        if self.trace.io {
            self.trace_line(to, "OUT", header, errno.map_or("OK", Errno::name));
        }
    }

    fn trace_line(&mut self, client: Connection, way: &str, header: &Header, words: &str) {
        if self.trace.lines.len() >= LINES_MAX {
            return;
        }
        let domid = self.clients.get(&client).map_or(0, |client| client.subject.domid);
        let kind = MessageType::from_u32(header.kind).map_or("UNKNOWN", MessageType::name);
        let (number, transaction) = (client.0, header.transaction);
        self.trace
            .lines
            .push(format!("io: {way} {number} (d{domid}) {kind} tx {transaction} ({words})"));
    }

    /// What the trace has for its file.
    pub fn take_trace(&mut self) -> (Vec<String>, Option<(String, String)>) {
        (std::mem::take(&mut self.trace.lines), self.trace.report.take())
    }

    /// Traces requests to a file from now on.
    pub fn trace_to(&mut self, file: String) {
        self.trace.file = Some(file);
        self.trace.io = true;
    }

    /// The file that is traced to.
    #[must_use]
    pub fn trace_file(&self) -> Option<&str> {
        self.trace.file.as_deref()
    }
}
