//! The console daemon's program.

use std::process::ExitCode;
use std::time::Duration;

use xenconsoled::chain::Chain;
use xenconsoled::daemon::machine::Machine;
use xenconsoled::daemon::options::{self, Options, Request};
use xenconsoled::daemon::report::{Level, Report};
use xenconsoled::daemon::signals::Signals;
use xenconsoled::daemon::{Daemon, WATCHES, start};
use xenconsoled::link::{Link, Place};

/// How long xenstored may take to appear, as both are started one after the other.
const STORE_LIMIT: Duration = Duration::from_secs(5);
/// What a wrong command line ends with: EINVAL, as the C tools do.
const USAGE: u8 = 22;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_else(|| "xenconsoled".to_owned());
    let arguments: Vec<String> = arguments.collect();
    let options = match options::parse(&arguments) {
        Ok(Request::Run(options)) => options,
        Ok(Request::Help) => {
            print!("{}", options::usage(&program));
            return ExitCode::SUCCESS;
        }
        Ok(Request::Version) => {
            println!("Xen Console Daemon 3.0 (Ferroxen {})", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{program}: {}", Chain(&error));
            eprintln!("Try `{program} --help' for more information");
            return ExitCode::from(USAGE);
        }
    };
    if options.interactive || options.background {
        return match run(options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("xenconsoled: {why}");
                ExitCode::FAILURE
            }
        };
    }
    match start::in_background(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xenconsoled: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The daemon itself, in the foreground or as the process that stays.
fn run(mut options: Options) -> Result<(), String> {
    let told = |error: &dyn std::error::Error| Chain(error).to_string();
    for path in [&mut options.pid_file, &mut options.log_directory] {
        *path = std::path::absolute(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if options.background {
        start::leave_session().map_err(|e| told(&e))?;
    }
    start::raise_file_limit();
    let pid_file = start::PidFile::take(&options.pid_file).map_err(|e| told(&e))?;
    let signals = Signals::take().map_err(|e| format!("cannot take signals over: {e}"))?;
    let machine = Machine::open().map_err(|e| {
        let advice = if e.not_on_xen() { " (does this kernel run on Xen?)" } else { "" };
        format!("{}{advice}", Chain(&e))
    })?;
    let link = Link::open(Place::Usual, WATCHES, STORE_LIMIT)
        .map_err(|e| format!("{} (is xenstored running?)", Chain(&e)))?;
    if options.log.guests || options.log.hypervisor {
        let directory = &options.log_directory;
        std::fs::create_dir_all(directory).map_err(|e| {
            format!("cannot make the directory for logs {}: {e}", directory.display())
        })?;
    }
    let fallback = options.log_directory.join("xenconsoled.log");
    let report = Report::new(options.verbose, options.interactive, fallback);
    let background = options.background;
    let mut daemon = Daemon::new(machine, link, signals, options, report).map_err(|e| told(&e))?;
    // The guests that are there already, so that who starts the daemon finds their terminals.
    for _ in 0..2 {
        daemon.turn(Some(Duration::ZERO)).map_err(|e| told(&e))?;
    }
    if background {
        start::ready().map_err(|e| told(&e))?;
    }
    let ended = daemon.run();
    if let Err(error) = &ended {
        daemon.say(Level::Error, &told(error));
    }
    pid_file.remove();
    ended.map_err(|e| told(&e))
}
