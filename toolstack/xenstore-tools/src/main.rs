//! `xenstore-ls`, `-read`, `-write` and their kin: one program, which tool by its name or its first
//! word. Output, messages and exit codes are those of Xen's tools.

mod commands;
mod control;
mod ls;
mod options;
mod text;

use commands::Failed;
use options::Mode;
use std::io::{self, Write};
use std::process::ExitCode;
use xenstore::Client;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let name = match options::find(&mut words) {
        Ok(name) => name,
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::from(1);
        }
    };
    if name.mode == Mode::Control {
        return control::run(&words);
    }
    let program = name.program.clone();
    let options = match options::parse(name, words, &mut |line| eprintln!("{line}")) {
        Ok(options) => options,
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::from(1);
        }
    };
    let mut client = match Client::open() {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{program}: xs_open: {}", commands::reason(&error));
            return ExitCode::from(1);
        }
    };
    let mut out = Vec::new();
    let result = commands::run(&mut client, &options, &mut out);
    if let Err(Failed::Said(line)) = &result {
        eprintln!("{program}: {line}");
    }
    let written = io::stdout().write_all(&out);
    match (result, written) {
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
        (Err(Failed::Output(error)), _) | (_, Err(error)) => {
            // Whoever reads may have seen enough.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("{program}: output: {error}");
            }
            ExitCode::from(1)
        }
        (Err(_), _) => ExitCode::from(1),
    }
}
