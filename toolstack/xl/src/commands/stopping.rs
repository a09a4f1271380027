//! `shutdown`, `reboot`: asking guests to end, and waiting until they have.

use super::wrong;
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::session::Session;
use crate::table::Outcome;
use std::time::{Duration, Instant};
use xenlight::life::{self, Request};

/// How long guests have to take a request up.
const ANSWER: Duration = Duration::from_secs(30);
/// How often guests that were all asked at once are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// `xl shutdown`.
pub fn shutdown(session: &mut Session, parsed: &Parsed) -> Outcome {
    stop(session, parsed, Request::Poweroff, "Shutting down")
}

/// `xl reboot`.
pub fn reboot(session: &mut Session, parsed: &Parsed) -> Outcome {
    stop(session, parsed, Request::Reboot, "Rebooting")
}

fn stop(session: &mut Session, parsed: &Parsed, request: Request, doing: &str) -> Outcome {
    let domids = if parsed.flag("all") {
        if let Some(word) = parsed.operands.first() {
            return Err(wrong(format!("-a means all guests: why {word}?")));
        }
        let all = domains::list(session)?.into_iter();
        let running = all.filter(|info| info.domid != 0 && !info.dying && info.shutdown.is_none());
        running.map(|info| info.domid).collect()
    } else if let Some(word) = parsed.operands.first() {
        vec![domains::find(session, word)?]
    } else {
        return Err(wrong("You must specify -a or a domain id.").help("xl list shows the domains"));
    };
    if domids.contains(&0) {
        return Err(wrong("domain 0 is this system itself")
            .help("poweroff or reboot ends it; xendomains stop ends its guests first"));
    }
    for domid in &domids {
        session.say(&format!("{doing} domain {domid}"));
    }
    ask(session, &domids, request)?;
    let waits = parsed.count("wait");
    if waits > 0 {
        session.say(&format!("Waiting for {} domains", domids.len()));
        for domid in &domids {
            wait(session, *domid, waits > 1)?;
        }
    }
    Ok(0)
}

/// Asks all, then waits until each has taken it up.
fn ask(session: &mut Session, domids: &[u16], request: Request) -> Result<(), Failure> {
    let failed = |domid: &u16| format!("{} of domain {domid} failed", request.word());
    let context = session.context()?;
    if let [domid] = domids {
        return life::ask(context, *domid, request, Some(ANSWER)).or_fail(|| failed(domid));
    }
    for domid in domids {
        life::ask(context, *domid, request, None).or_fail(|| failed(domid))?;
    }
    let end = Instant::now() + ANSWER;
    let mut left = domids.to_vec();
    while !left.is_empty() && Instant::now() < end {
        std::thread::sleep(LOOK);
        let mut deaf = Vec::new();
        for domid in left {
            if life::is_asked(context, domid).or_fail(|| failed(&domid))? {
                deaf.push(domid);
            }
        }
        left = deaf;
    }
    if left.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = left.iter().map(u16::to_string).collect();
    Err(Failure::new(format!(
        "these domains did not answer within {} s: {}",
        ANSWER.as_secs(),
        names.join(", ")
    ))
    .help("xl destroy ends a domain without asking"))
}

/// Waits until a domain has shut down, or with `gone` until it is no more.
fn wait(session: &mut Session, domid: u16, gone: bool) -> Result<(), Failure> {
    let failed = || format!("cannot wait for domain {domid}");
    let context = session.context()?;
    let reason = life::wait_for_shutdown(context, domid, None).or_fail(failed)?;
    let Some(reason) = reason else {
        session.say(&format!("Domain {domid} has been destroyed"));
        return Ok(());
    };
    session.say(&format!("Domain {domid} has been shut down, reason code {}", reason.0));
    if gone {
        session.say(&format!("Domain {domid} continue waiting for death"));
        life::wait_until_gone(session.context()?, domid, None).or_fail(failed)?;
        session.say(&format!("Domain {domid} has been destroyed"));
    }
    Ok(())
}
