//! `save`, `restore`.

use super::create::{Start, no_viewer, start};
use super::{config, wrong};
use crate::cli::options::Parsed;
use crate::domains;
use crate::failure::{Failure, OrFail as _};
use crate::session::{Globals, Session};
use crate::table::Outcome;
use std::path::Path;
use xenlight::restore::SaveFile;
use xenlight::save::{self, After, Options, Progress, Terminal};

/// Says what C's xl says before the guest itself is written, and then how far it has come.
struct Shown<'a> {
    globals: Globals,
    path: &'a str,
    terminal: Terminal,
}

impl Progress for Shown<'_> {
    fn header(&mut self, optional_bytes: usize) {
        let line =
            format!("Saving to {} new xl format (info 0x3/0x0/{optional_bytes})\n", self.path);
        crate::output::error(&self.globals.prefixed(&line));
    }

    fn pages(&mut self, done: u64, total: u64) {
        self.terminal.pages(done, total);
    }
}

/// `xl save`.
pub fn save(session: &mut Session, parsed: &Parsed) -> Outcome {
    let (running, paused) = (parsed.flag("c"), parsed.flag("p"));
    if running && paused {
        return Err(wrong("-c and -p exclude each other"));
    }
    if parsed.flag("D") {
        return Err(wrong("-D is not supported yet: a restored domain gets a new number"));
    }
    let after = match (running, paused) {
        (true, _) => After::Resume,
        (_, true) => After::Pause,
        _ => After::Destroy,
    };
    let config = match parsed.operands.get(2) {
        Some(file) => {
            let request = config::Request::from_words(Some(file), &[])?;
            Some(request.load(false, false)?.config)
        }
        None => None,
    };
    let domid = domains::find(session, parsed.operand(0))?;
    let path = parsed.operand(1);
    let terminal = Terminal::new(&format!("Saving domain {domid}"));
    let mut progress = Shown { globals: session.globals, path, terminal };
    let options = Options { after, config };
    let saved = save::guest(session.context()?, domid, Path::new(path), &options, &mut progress)
        .or_fail(|| format!("cannot save domain {domid} to {path}"))?;
    if let Some(problem) = saved.remains.problems.first() {
        let what = format!("{path} is complete, but not all of domain {domid} could be removed");
        return Err(Failure::caused(what, problem).help("xl doctor shows what is left"));
    }
    Ok(0)
}

/// `xl restore`.
pub fn restore(session: &mut Session, parsed: &Parsed) -> Outcome {
    no_viewer(parsed)?;
    let (given, path) = match parsed.operands.as_slice() {
        [config, path] => (Some(config.as_str()), path.as_str()),
        _ => (None, parsed.operand(0)),
    };
    let mut file =
        SaveFile::open(Path::new(path)).or_fail(|| format!("Can't open restore file: {path}"))?;
    session.say(&format!(
        "Loading new save file {path} (new xl fmt info 0x3/0x0/{})",
        file.optional_bytes
    ));
    session.say(" Savefile contains xl domain config in JSON format");
    session.say(&format!("Parsing config from {}", given.unwrap_or("<saved>")));
    if let Some(given) = given {
        let request = config::Request::from_words(Some(given), &[])?;
        file.config = request.load(false, false)?.config;
    }
    let terminal = Terminal::new(&format!("Restoring {}", file.config.name));
    let mut progress = Shown { globals: session.globals, path, terminal };
    start(session, parsed, &Start::restored(parsed), |session, options| {
        file.restore(session.context()?, options, &mut progress)
            .or_fail(|| format!("cannot restore {path}"))
    })
}
