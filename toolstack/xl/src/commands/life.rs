//! Commands of a domain's life: pause, end, rename, events, dump.

use super::wrong;
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::session::Session;
use crate::table::Outcome;
use std::path::Path;
use xenlight::life::{self, Remains};
use xenlight::lock::{self, Lock};
use xenlight::save::{self, Rescued, Terminal};
use xenlight::{Paths, dump};
use xenstore::Access as _;

/// `xl pause`.
pub fn pause(session: &mut Session, parsed: &Parsed) -> Outcome {
    let domid = domains::find(session, parsed.operand(0))?;
    session.xen()?.pause(domid).or_fail(|| format!("cannot pause domain {domid}"))?;
    Ok(0)
}

/// `xl unpause`. One that is not paused is only told of, as in C: what was wanted holds. One that a save
/// left suspended, because it was killed, goes on.
pub fn unpause(session: &mut Session, parsed: &Parsed) -> Outcome {
    let domid = domains::find(session, parsed.operand(0))?;
    if rescued(session, domid)? {
        return Ok(0);
    }
    let xen = session.xen()?;
    match xen.unpause(domid) {
        Ok(()) => Ok(0),
        Err(error) if error.errno() == Some(sys::Errno::INVAL) => {
            session.say(&format!("xl: warning: domain {domid} is not paused"));
            Ok(0)
        }
        Err(error) => Err(Failure::caused(format!("cannot unpause domain {domid}"), &error)),
    }
}

/// Whether a domain's save was killed, and the domain dealt with.
fn rescued(session: &mut Session, domid: u16) -> Result<bool, Failure> {
    let run = Paths::default().run;
    let Some(found) = save::abandoned_of(&run, domid) else { return Ok(false) };
    let failed = || format!("cannot let domain {domid} go on after its save was cut short");
    let context = session.context()?;
    let file = Path::new(&context.host.lockfile);
    let _lock = Lock::take(file, lock::LIMIT).or_fail(failed)?;
    let done = save::rescue(context, &found).or_fail(failed)?;
    let saver = found.saver();
    session.say(&match done {
        Rescued::Resumed => {
            format!("domain {domid} goes on: process {saver}, which saved it, was killed")
        }
        Rescued::Ended => format!(
            "domain {domid} is ended: process {saver}, which saved it, was killed when its file was complete"
        ),
        // It was another one that had the number.
        Rescued::Gone => return Ok(false),
    });
    Ok(true)
}

/// The events that `trigger` sends, with their numbers (public/domctl.h).
const TRIGGERS: &[(&str, u32)] =
    &[("nmi", 0), ("reset", 1), ("init", 2), ("power", 3), ("sleep", 4)];

/// `xl trigger`.
pub fn trigger(session: &mut Session, parsed: &Parsed) -> Outcome {
    let (word, vcpu) = (parsed.operand(1), parsed.operand(2));
    if word == "s3resume" {
        return Err(Failure::new("s3resume is not supported yet: it needs HVM guests"));
    }
    let number = TRIGGERS.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    let number = number.ok_or_else(|| {
        wrong(format!("Invalid trigger \"{word}\""))
            .help("give nmi, reset, init, power, sleep or s3resume")
    })?;
    let vcpu = match vcpu {
        "" => 0,
        text => text.parse().or_fail(|| format!("Invalid vcpuid: {text}"))?,
    };
    let domid = domains::find(session, parsed.operand(0))?;
    send(session, domid, word, number, vcpu)
}

fn send(session: &mut Session, domid: u16, word: &str, number: u32, vcpu: u32) -> Outcome {
    session.xen()?.send_trigger(domid, number, vcpu).map_err(|error| {
        let failure =
            Failure::caused(format!("cannot send trigger '{word}' to domain {domid}"), &error);
        match error.errno() {
            Some(sys::Errno::SRCH) => {
                failure.help(format!("is there a vCPU {vcpu}? see xl vcpu-list"))
            }
            Some(sys::Errno::INVAL) => failure.help("a PV guest takes nmi only"),
            _ => failure,
        }
    })?;
    Ok(0)
}

/// `xl button-press`.
pub fn button_press(session: &mut Session, parsed: &Parsed) -> Outcome {
    session.say("WARNING: \"button-press\" is deprecated. Please use \"trigger\"");
    let word = parsed.operand(1);
    let number = match word {
        "power" => 3,
        "sleep" => 4,
        _ => return Err(wrong(format!("{word} is an invalid button identifier"))),
    };
    let domid = domains::find(session, parsed.operand(0))?;
    send(session, domid, word, number, 0)
}

/// `xl sysrq`.
pub fn sysrq(session: &mut Session, parsed: &Parsed) -> Outcome {
    let letter = parsed.operand(1);
    if letter.chars().count() != 1 {
        return Err(wrong(format!("Invalid sysrq: {letter}")).help("give one letter, as in h"));
    }
    let domid = domains::find(session, parsed.operand(0))?;
    domains::info(session, domid)?;
    session
        .store()?
        .write(&format!("/local/domain/{domid}/control/sysrq"), letter)
        .or_fail(|| format!("cannot send sysrq {letter} to domain {domid}"))?;
    Ok(0)
}

/// `xl destroy`.
pub fn destroy(session: &mut Session, parsed: &Parsed) -> Outcome {
    let domid = domains::find(session, parsed.operand(0))?;
    if domid == 0 && !parsed.flag("force") {
        return Err(wrong("Not destroying domain 0; use -f to force.")
            .help("domain 0 is this system itself: poweroff or reboot ends it"));
    }
    let failed = || format!("cannot destroy domain {domid}");
    let remains = life::destroy(session.context()?, domid).or_fail(failed)?;
    still_there(domid, &remains)
}

/// What is left of a domain that was to be gone.
fn still_there(domid: u16, remains: &Remains) -> Outcome {
    if remains.zombie {
        return Err(Failure::new(format!(
            "domain {domid} is dead, but somebody still holds pages of it"
        ))
        .help("xl debug-keys g, then xl dmesg, show who; its number stays in use until then"));
    }
    match remains.problems.first() {
        None => Ok(0),
        Some(problem) => {
            let what = format!("domain {domid} was destroyed, but not all of it could be removed");
            Err(Failure::caused(what, problem).help("xl doctor shows what is left"))
        }
    }
}

/// `xl rename`.
pub fn rename(session: &mut Session, parsed: &Parsed) -> Outcome {
    let (old, new) = (parsed.operand(0), parsed.operand(1));
    let domid = domains::find(session, old)?;
    domains::info(session, domid)?;
    life::rename(session.context()?, domid, new)
        .or_fail(|| format!("Can't rename domain '{old}'."))?;
    Ok(0)
}

/// `xl dump-core`.
pub fn dump_core(session: &mut Session, parsed: &Parsed) -> Outcome {
    let domid = domains::find(session, parsed.operand(0))?;
    let path = Path::new(parsed.operand(1));
    let mut progress = Terminal::new("Dumping");
    dump::dump(session.xen()?, domid, path, &mut progress)
        .or_fail(|| format!("core dump of domain {domid} failed"))?;
    Ok(0)
}
