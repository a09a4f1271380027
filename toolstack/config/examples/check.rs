//! `check FILE [key=value ...]`: parses, validates, asks the host, prints what is wrong, then the
//! JSON form.
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(file) = words.next() else { return ExitCode::FAILURE };
    let words: Vec<String> = words.collect();
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let checked = xl_config::parse_with_words(&bytes, &file, &words)
        .and_then(|document| xl_config::validate(&document, &xl_config::Lax::default()));
    match checked {
        Ok(validated) => {
            eprint!("{}", xl_config::report(&validated.warnings, false));
            let mut config = validated.config;
            let host = xl_config::HostCpus { cpus: xl_config::CpuSet::first(8), nodes: Vec::new() };
            if let Err(error) = config.resolve_cpus(&host) {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
            match std::env::var_os("SXP") {
                Some(_) => print!("{}", config.to_sxp(None)),
                None => print!("{}", config.to_json()),
            }
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}
