//! The console client's program.

use std::process::ExitCode;

use xenconsoled::chain::Chain;
use xenconsoled::client::options::{self, Request};
use xenconsoled::client::{self, Left};

/// What a wrong command line ends with: EINVAL, as the C client does.
const USAGE: u8 = 22;
const SIGTERM: i32 = 15;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_else(|| "xenconsole".to_owned());
    let arguments: Vec<String> = arguments.collect();
    let options = match options::parse(&arguments) {
        Ok(Request::Attach(options)) => options,
        Ok(Request::Help) => {
            print!("{}", options::usage(&program));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            // The causes are in the message.
            eprintln!("{error}");
            eprintln!("Try `{program} --help' for more information.");
            return ExitCode::from(USAGE);
        }
    };
    match client::run(&options) {
        // As the C client, which takes this signal for the user's wish.
        Ok(Left::Signal(SIGTERM)) => ExitCode::SUCCESS,
        Ok(Left::Signal(number)) => ExitCode::from(128 + u8::try_from(number).unwrap_or(0)),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenconsole: {}", Chain(&error));
            ExitCode::from(error.status())
        }
    }
}
