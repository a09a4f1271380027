//! The xenstore daemon: options, then to the foreground or the background.

use std::process::ExitCode;
use xenstored::{options, start};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let options = match options::parse(arguments.iter().cloned()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("xenstored: {error}");
            return ExitCode::from(1);
        }
    };
    if options.help {
        print!("{}", options::USAGE);
        return ExitCode::SUCCESS;
    }
    let result = if options.no_fork || options.detached {
        start::serve(&options)
    } else {
        start::in_background(&arguments)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenstored: {error}");
            ExitCode::from(1)
        }
    }
}
