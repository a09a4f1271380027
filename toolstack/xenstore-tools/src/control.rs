//! `xenstore-control`: commands to the daemon.

use std::process::ExitCode;
use xenstore::{Client, Errno, Error};

/// Sends a command, and prints its answer.
pub fn run(words: &[String]) -> ExitCode {
    if words.is_empty() {
        eprintln!("Usage:\nxenstore-control <command> [<arg>...]");
        return ExitCode::from(2);
    }
    let Ok(mut client) = Client::open() else {
        eprintln!("Failed to contact Xenstored.");
        return ExitCode::from(1);
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.first() == Some(&"live-update") {
        eprintln!("live-update is not implemented: restart the daemon, its state is kept.");
        return ExitCode::from(3);
    }
    match client.control(&words) {
        Ok(answer) => {
            if !answer.is_empty() {
                println!("{answer}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            refused(&mut client, &error);
            ExitCode::from(3)
        }
    }
}

fn refused(client: &mut Client, error: &Error) {
    match error.errno() {
        Some(Errno::Invalid) => match client.control(&["help"]) {
            Ok(help) => {
                eprintln!("Command not supported. Valid commands are:");
                eprintln!("{help}");
            }
            Err(_) => eprintln!("Error when executing command."),
        },
        Some(errno) => {
            let number = errno.os().raw_os_error();
            eprintln!("Error {number} when trying to execute command.");
        }
        None => eprintln!("{error}"),
    }
}
